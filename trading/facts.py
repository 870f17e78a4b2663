"""The facts everybody speaks of: frozen, exact, in the exchange's words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import Enum, IntEnum
from types import MappingProxyType

from trading.lifecycle import PositionState

ZERO = Decimal(0)
NOT_WRITTEN = MappingProxyType({"written": False})    # of a field that lives in memory alone


class Side(Enum):
    """Which way a position looks."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 for long, −1 for short."""
        return 1 if self is Side.LONG else -1

    @property
    def entry(self) -> OrderSide:
        """The side of an order that opens it."""
        return OrderSide.BUY if self is Side.LONG else OrderSide.SELL

    @property
    def exit(self) -> OrderSide:
        """The side of an order that closes it."""
        return OrderSide.SELL if self is Side.LONG else OrderSide.BUY

    def is_beyond(self, price: Decimal, level: Decimal) -> bool:
        """Whether *price* is at or past *level* in the direction of profit."""
        return (price - level) * self.sign >= 0


class OrderSide(Enum):
    BUY = "buy"
    SELL = "sell"


class Priority(IntEnum):
    """Whose request goes first; lower is more urgent."""

    CRITICAL = 0   # closes an exposure or protects it
    HIGH = 1       # opens one, looks up an order, prices of held symbols
    NORMAL = 2     # balance, positions, reconciliation
    SCAN = 3       # candles and tickers for the scanner


class ExitReason(Enum):
    STOP_LOSS = "stop_loss"
    TRAILING_STOP = "trailing_stop"
    BREAK_EVEN = "break_even"
    TAKE_PROFIT = "take_profit"
    MAX_AGE = "max_age"
    SIGNAL = "signal"
    MANUAL = "manual"
    FLATTEN = "flatten"
    UNPROTECTED = "unprotected"          # no confirmed stop within protect.deadline
    EXCHANGE_STOP = "exchange_stop"      # the stop resting on the exchange fired
    EXTERNAL = "external"                # closed by someone else
    LIQUIDATION = "liquidation"          # by the exchange: liquidated or auto-deleveraged


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """The rules of one market. Source: GET /api/v1/contracts/active, /api/v2/symbols."""

    symbol: str                # ccxt's: BTC/USDT:USDT
    exchange_id: str           # KuCoin's: XBTUSDTM
    base: str
    quote: str
    multiplier: Decimal        # base currency per unit of quantity; 1 on spot
    lot_size: Decimal          # quantity step
    tick_size: Decimal         # price step
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal = ZERO
    max_leverage: Decimal = Decimal(1)
    maker_fee_rate: Decimal = Decimal("0.0002")
    taker_fee_rate: Decimal = Decimal("0.0006")
    tradable: bool = True
    first_open_ms: int = 0     # when it was listed; 0 when unknown

    def __post_init__(self) -> None:
        if min(self.multiplier, self.lot_size, self.tick_size) <= 0:
            raise ValueError(f"{self.symbol}: multiplier, lot size and tick size must be positive")

    def notional(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Value in quote currency of *quantity* at *price*."""
        return quantity * self.multiplier * price

    def quantity_down(self, quantity: Decimal) -> Decimal:
        """*quantity* rounded down to the lot: rounding never raises the risk."""
        return (quantity / self.lot_size).to_integral_value(ROUND_FLOOR) * self.lot_size

    def price_down(self, price: Decimal) -> Decimal:
        """*price* on the tick at or below."""
        return (price / self.tick_size).to_integral_value(ROUND_FLOOR) * self.tick_size

    def price_up(self, price: Decimal) -> Decimal:
        """*price* on the tick at or above."""
        return (price / self.tick_size).to_integral_value(ROUND_CEILING) * self.tick_size

    def stop_towards_price(self, side: Side, stop_price: Decimal) -> Decimal:
        """*stop_price* on the tick that risks less: up for a long, down for a short."""
        return self.price_up(stop_price) if side is Side.LONG else self.price_down(stop_price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """One instrument's line of the all-tickers answer; ages are judged by *ts_ms*."""

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    mark: Decimal              # last where the market has no mark price
    volume_24h: Decimal        # quote currency
    ts_ms: int

    @property
    def spread(self) -> Decimal:
        """(ask − bid) / mid, a fraction."""
        return (self.ask - self.bid) * 2 / (self.ask + self.bid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What is known of one held symbol's price, and when we came to know it."""

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    mark: Decimal
    ts_ms: int                 # exchange time
    received: float            # Clock.monotonic() at receipt, seconds

    def to_leave(self, side: Side) -> Decimal:
        """What closing a position of *side* would fetch: the bid for a long, the ask for a short."""
        return self.bid if side is Side.LONG else self.ask

    def age_s(self, monotonic: float) -> float:
        """Seconds since receipt."""
        return monotonic - self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The margin account in its settle currency."""

    currency: str
    equity: Decimal            # with unrealised profit
    available: Decimal
    unrealised_pnl: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangePosition:
    """A position as the exchange reports it."""

    symbol: str
    side: Side
    quantity: Decimal          # lots, positive
    entry_price: Decimal
    mark_price: Decimal
    leverage: Decimal
    margin_mode: str           # isolated / cross
    unrealised_pnl: Decimal
    liquidation_price: Decimal | None
    opened_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order to be: a market order unless *price* is given, a stop if *stop_price* is."""

    client_oid: str
    symbol: str
    side: OrderSide
    quantity: Decimal | None = None      # None only with close_order
    leverage: Decimal | None = None      # needed to open, ignored when closing
    price: Decimal | None = None
    immediate_or_cancel: bool = False
    reduce_only: bool = False
    close_order: bool = False            # close whatever is there
    stop_price: Decimal | None = None    # triggered by the mark price
    stop_is_below: bool = False          # KuCoin's stop=down: fires at or below stop_price
    margin_mode: str = "isolated"
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as the exchange reports it. Filled amounts are true even before fills are listed."""

    order_id: str
    client_oid: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    filled_quantity: Decimal
    filled_value: Decimal                # quote currency
    average_price: Decimal | None        # None until something filled
    is_active: bool                      # may still fill, or a stop that may still trigger
    is_cancelled: bool                   # some part of it was cancelled
    reduce_only: bool
    close_order: bool
    stop_price: Decimal | None
    stop_triggered: bool
    created_ms: int

    @property
    def is_stop(self) -> bool:
        """Whether it still waits for its trigger."""
        return self.stop_price is not None and not self.stop_triggered


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Something that traded: the only source of size, price and fee."""

    trade_id: str
    order_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    fee: Decimal                         # quote currency, positive when paid
    ts_ms: int
    kind: str = "trade"                  # KuCoin's tradeType: trade, liquid, adl, settlement


def total_quantity(fills: Iterable[Fill]) -> Decimal:
    """Return what *fills* traded together, in lots."""
    return sum((fill.quantity for fill in fills), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """An approved entry, written down before it is sent: enough to book it after a crash."""

    position_id: str
    client_oid: str
    symbol: str
    side: Side
    quantity: Decimal                    # lots
    price: Decimal                       # when it was approved
    worst_price: Decimal                 # what it may slip to
    stop_price: Decimal
    notional: Decimal                    # quote currency
    leverage: Decimal
    atr: Decimal
    planned_ms: int
    strategy: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectiveStop:
    """The stop order that rests on the exchange for one position."""

    client_oid: str
    order_id: str
    stop_price: Decimal
    confirmed_ms: int                    # when it was read back from the stop list


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One exposure to one instrument: prices in quote currency."""

    position_id: str                     # short, unique, in every client id of its orders
    symbol: str
    side: Side
    state: PositionState
    quantity: Decimal                    # lots on futures, base currency on spot
    initial_quantity: Decimal
    multiplier: Decimal                  # base currency per unit of quantity; 1 on spot
    entry_price: Decimal
    initial_stop_price: Decimal          # never moves: R is measured from here
    stop_price: Decimal                  # where the monitor leaves; only ever towards profit
    stop_reason: ExitReason              # what leaving at stop_price is called
    best_price: Decimal                  # high-water mark of a long, low-water mark of a short
    atr: Decimal                         # at entry, quote currency
    opened_ms: int                       # by the exchange's clock, as its fills are
    leverage: Decimal = Decimal(1)
    margin_mode: str = "isolated"        # the symbol's: each of its orders has to say the same
    steps_taken: int = 0                 # of the take-profit ladder
    fee: Decimal = ZERO                  # paid so far, quote currency
    realised_pnl: Decimal = ZERO         # of parts already closed, before fees
    exit_value: Decimal = ZERO           # quote value of parts already closed
    exit_attempt: int = 0                # numbers the client ids of exits
    stop_attempt: int = 0                # numbers the client ids of protective stops
    protective_stop: ProtectiveStop | None = None
    exit_reason: ExitReason | None = None    # set while CLOSING
    part_left: Decimal = ZERO            # lots still to go of a part that has begun to leave
    strategy: str = ""
    reasons: tuple[str, ...] = ()
    version: int = field(default=0, compare=False, metadata=NOT_WRITTEN)    # of two, the book's later one

    def __post_init__(self) -> None:
        if self.quantity < 0 or self.entry_price <= 0 or self.multiplier <= 0:
            raise ValueError(f"{self.symbol}: a position needs a quantity, a price and a multiplier")

    @property
    def base_qty(self) -> Decimal:
        """Size in base currency."""
        return self.quantity * self.multiplier

    @property
    def risk_per_unit(self) -> Decimal:
        """Distance from entry to the first stop, in quote currency per unit of base."""
        return abs(self.entry_price - self.initial_stop_price)

    def notional(self, price: Decimal) -> Decimal:
        """Value in quote currency at *price*."""
        return self.base_qty * price

    def unrealised_pnl(self, mark_price: Decimal) -> Decimal:
        """Profit in quote currency if closed at *mark_price*, before fees."""
        return (mark_price - self.entry_price) * self.side.sign * self.base_qty

    def r_multiple(self, price: Decimal) -> Decimal:
        """Profit per unit over risk per unit: −1 at the first stop."""
        if not self.risk_per_unit:
            return ZERO
        return (price - self.entry_price) * self.side.sign / self.risk_per_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """A position that has come to its end."""

    position_id: str
    symbol: str
    side: Side
    quantity: Decimal                    # what was opened, lots
    entry_price: Decimal
    exit_price: Decimal                  # average over all parts
    opened_ms: int
    closed_ms: int                       # of the last exit's last fill, by the exchange's clock
    exit_reason: ExitReason
    fee: Decimal
    funding: Decimal                     # paid is negative
    realised_pnl: Decimal                # after fees and funding
    r_multiple: Decimal
    strategy: str = ""
    funding_known: bool = True           # False: still to be looked up, and counted as none until then


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """One funding moment of whatever was held in a symbol."""

    at_ms: int
    amount: Decimal                      # paid is negative


@dataclass(frozen=True, slots=True, kw_only=True)
class Opportunity:
    """A signal worth money, with what the scanner saw when it found it."""

    symbol: str
    side: Side
    score: float                         # 0..1, the strength of the signal
    price: Decimal                       # last price of the scan's ticker
    atr: Decimal                         # quote currency, of the last closed candle
    spread: Decimal                      # a fraction
    volume_24h: Decimal                  # quote currency
    candle_ms: int                       # opening time of the candle the signal is from
    strategy: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """One scan, whole: published at once, consumed once."""

    sequence: int
    started_ms: int
    finished_ms: int
    opportunities: tuple[Opportunity, ...]   # best first
    scores: dict[str, float] = field(default_factory=dict)   # signed score of every symbol read
    scanned: int = 0
    failed: int = 0                      # fetches that failed: not "no signal"
    left_out: int = 0                    # not reached within the time limit
    universe: int = 0                    # symbols that passed the filter
    complete: bool = True
