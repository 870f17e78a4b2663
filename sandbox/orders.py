"""Orders and fills as the exchange keeps them, from acceptance to done."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(slots=True, kw_only=True)
class Order:
    """One order in KuCoin's field set; the exchange's loop alone changes it."""

    id: str
    user_id: str
    client_oid: str
    symbol: str
    type: str                       # limit / market
    side: str                       # buy / sell
    price: Decimal                  # 0 for a market order
    size: int                       # lots
    leverage: Decimal
    margin_mode: str                # ISOLATED / CROSS
    time_in_force: str = "GTC"
    post_only: bool = False
    hidden: bool = False
    iceberg: bool = False
    visible_size: int = 0
    reduce_only: bool = False
    close_order: bool = False
    force_hold: bool = False
    stop: str = ""                  # "" / up / down
    stop_price: Decimal | None = None
    stop_price_type: str = ""       # TP / MP / IP
    take_profit: Decimal | None = None   # triggerStopUpPrice of an st-order
    stop_loss: Decimal | None = None     # triggerStopDownPrice
    sibling_of: str = ""            # entry order whose attached pair of stops this belongs to
    stp: str = ""
    remark: str | None = None
    trade_type: str = "trade"       # trade / liquid
    created_ms: int
    order_ns: int
    updated_ms: int = 0
    end_ms: int | None = None
    stop_triggered: bool = False
    active: bool = True
    resting: bool = False           # matched once and now in the book
    cancel_exist: bool = False
    filled_size: int = 0
    canceled_size: int = 0          # cut off or canceled; size keeps what was asked
    filled_value: Decimal = ZERO
    hold: Decimal = ZERO            # margin and fees frozen for it
    visible_at: float = 0.0         # monotonic seconds before which reads do not know it yet

    @property
    def sign(self) -> int:
        return 1 if self.side == "buy" else -1

    @property
    def remaining(self) -> int:
        return self.size - self.filled_size - self.canceled_size

    @property
    def is_waiting_stop(self) -> bool:
        return bool(self.stop) and not self.stop_triggered

    @property
    def reduces_only(self) -> bool:
        return self.reduce_only or self.close_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution: what was traded, at what price, and what it cost in fees."""

    trade_id: str
    order_id: str
    client_oid: str
    user_id: str
    symbol: str
    side: str
    order_type: str
    liquidity: str                  # maker / taker
    price: Decimal
    size: int                       # lots
    value: Decimal                  # quote currency
    fee_rate: Decimal
    open_fee: Decimal
    close_fee: Decimal
    realised_gross: Decimal         # profit of the closing part before fees
    margin_mode: str
    stop: str
    trade_type: str
    trade_ns: int

    @property
    def fee(self) -> Decimal:
        return self.open_fee + self.close_fee


@dataclass(slots=True)
class Numbers:
    """Ids that never repeat, across restarts too: the counters are part of the saved books."""

    last: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def order_id(self, now_ms: int) -> str:
        """Return an 18-digit id that grows with time, as KuCoin's futures ids do."""
        self.last = max(self.last + 1, (now_ms - 1_650_000_000_000) << 21)
        return str(self.last)

    def following(self, name: str, start: int = 1) -> int:
        """Return the next number of the series *name*."""
        value = self.counters.get(name, start - 1) + 1
        self.counters[name] = value
        return value
