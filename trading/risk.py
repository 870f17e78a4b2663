"""May this be opened, and how large? Pure; only what `approve` has approved can be placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from enum import Enum

from trading.facts import ZERO, Instrument, Side, Ticker

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRules:
    """The limits; None switches one off. Fractions are of equity unless they say otherwise.

    *risk_per_trade* is what the first stop costs, fees of entry and exit included.
    """

    risk_per_trade: Decimal
    leverage: Decimal
    max_open: int
    max_notional: Decimal | None = None        # quote currency, of one position
    max_exposure: Decimal | None = None        # quote currency, of all
    max_spread: Decimal | None = None          # fraction of the price
    max_slippage: Decimal = Decimal("0.005")   # fraction of the price an entry may slip
    price_band: Decimal | None = Decimal("0.05")   # fraction the price may be away from mark and last
    min_notional: Decimal | None = None        # quote currency; smaller positions are not worth their fees
    stale_after_ms: int = 10_000
    daily_loss: Decimal | None = None
    drawdown: Decimal | None = None
    losses_in_a_row: int | None = None
    cooldown_ms: int = 0
    orders_per_minute: int | None = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRequest:
    """The wish to open; *notional* in quote currency, None for what the risk per trade allows."""

    instrument: Instrument
    side: Side
    price: Ticker
    atr: Decimal
    stop_price: Decimal
    notional: Decimal | None = None
    strategy: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What the limits are measured against, in quote currency."""

    equity: Decimal
    available: Decimal
    peak_equity: Decimal = ZERO
    day_start_equity: Decimal = ZERO
    losses_in_a_row: int = 0
    exposure: Mapping[str, Decimal] = field(default_factory=dict)      # notional by symbol, claims too
    last_exit_ms: Mapping[str, int] = field(default_factory=dict)
    entry_times_ms: tuple[int, ...] = ()


class RefusalReason(Enum):
    HALTED = "halted"
    TOO_MANY = "too_many"
    COOLDOWN = "cooldown"
    ORDER_RATE = "order_rate"
    NOT_TRADABLE = "not_tradable"
    STALE = "stale"
    SPREAD = "spread"
    PRICE_BAND = "price_band"
    STOP = "stop"
    NO_BALANCE = "no_balance"
    TOO_SMALL = "too_small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why not, for the machine and in words."""

    reason: RefusalReason
    text: str


_APPROVAL = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An entry within every limit. Only `approve` can make one."""

    symbol: str
    side: Side
    quantity: Decimal          # lots
    leverage: Decimal
    price: Decimal             # what it would cost now
    worst_price: Decimal       # what it may slip to
    stop_price: Decimal
    notional: Decimal          # the most it can be worth, quote currency
    atr: Decimal
    strategy: str = ""
    reasons: tuple[str, ...] = ()
    approval: InitVar[object]  # not kept, so that `replace` cannot enlarge what was approved

    def __post_init__(self, approval: object) -> None:
        if approval is not _APPROVAL:
            raise TypeError("an Approved comes from trading.risk.approve alone")


def approve(
    request: EntryRequest, account: AccountState, rules: RiskRules, now_ms: int
) -> Approved | Refused:
    """Return the entry sized within every limit, or the first reason why not."""
    refusal = _refusal(request, account, rules, now_ms)
    if refusal is not None:
        return refusal
    instrument = request.instrument
    price, worst = _price(request), _worst_price(request, rules)
    dearest = max(price, worst)      # a short that does not slip is worth more than one that does
    limits = _limits(request, account, rules, dearest)
    tightest = min(limits, key=limits.__getitem__)
    quantity = instrument.quantity_down(max(limits[tightest], ZERO))
    notional = instrument.notional(quantity, dearest)
    # Not at the dearest: one that does not slip is worth less, and is to be large enough too.
    smallest = max(
        instrument.notional(instrument.min_quantity, price), instrument.min_notional, rules.min_notional or ZERO
    )
    if quantity < instrument.min_quantity or instrument.notional(quantity, price) < smallest:
        allowed = max(instrument.notional(limits[tightest], price), ZERO)
        text = f"{tightest} allows {allowed:.2f} {instrument.quote}, the smallest order is {smallest:.2f}"
        return Refused(reason=RefusalReason.TOO_SMALL, text=text)
    return Approved(
        symbol=instrument.symbol,
        side=request.side,
        quantity=quantity,
        leverage=min(rules.leverage, instrument.max_leverage),
        price=price,
        worst_price=worst,
        stop_price=request.stop_price,
        notional=notional,
        atr=request.atr,
        strategy=request.strategy,
        reasons=request.reasons,
        approval=_APPROVAL,
    )


def halt_reason(account: AccountState, rules: RiskRules) -> str | None:
    """Return why no entry may be made at all, in words; None when nothing halts."""
    day = account.day_start_equity
    if rules.daily_loss is not None and day > 0 and day - account.equity >= day * rules.daily_loss:
        return f"daily loss limit: {account.equity - day:.2f} since the day began"
    peak = account.peak_equity
    if rules.drawdown is not None and peak > 0 and peak - account.equity >= peak * rules.drawdown:
        return f"drawdown limit: {(1 - account.equity / peak) * 100:.1f}% below the peak"
    if rules.losses_in_a_row is not None and account.losses_in_a_row >= rules.losses_in_a_row:
        return f"{account.losses_in_a_row} losses in a row"
    return None


def _refusal(
    request: EntryRequest, account: AccountState, rules: RiskRules, now_ms: int
) -> Refused | None:
    symbol, ticker, instrument = request.instrument.symbol, request.price, request.instrument
    halted = halt_reason(account, rules)
    if halted:
        return Refused(reason=RefusalReason.HALTED, text=halted)
    if len(account.exposure) >= rules.max_open:
        return Refused(reason=RefusalReason.TOO_MANY, text=f"{rules.max_open} positions are open already")
    since_exit = now_ms - account.last_exit_ms.get(symbol, -(10**15))
    if since_exit < rules.cooldown_ms:
        left_s = (rules.cooldown_ms - since_exit) / 1000
        return Refused(reason=RefusalReason.COOLDOWN, text=f"cooling down for another {left_s:.0f} s")
    recent = sum(now_ms - sent_ms < MINUTE_MS for sent_ms in account.entry_times_ms)
    if rules.orders_per_minute is not None and recent >= rules.orders_per_minute:
        return Refused(reason=RefusalReason.ORDER_RATE, text=f"{recent} entries in the last minute already")
    if not instrument.tradable:
        return Refused(reason=RefusalReason.NOT_TRADABLE, text="the exchange does not let it be traded now")
    if now_ms - ticker.ts_ms > rules.stale_after_ms:
        return Refused(reason=RefusalReason.STALE, text=f"the price is {(now_ms - ticker.ts_ms) / 1000:.1f} s old")
    if rules.max_spread is not None and ticker.spread > rules.max_spread:
        return Refused(reason=RefusalReason.SPREAD, text=f"the spread is {ticker.spread * 100:.2f}%")
    price = _price(request)
    away = min(abs(price / known - 1) for known in (ticker.mark, ticker.last))   # the mark may be a scan old
    if rules.price_band is not None and away > rules.price_band:
        text = f"the price is {away * 100:.1f}% away from mark and last trade"
        return Refused(reason=RefusalReason.PRICE_BAND, text=text)
    if (price - request.stop_price) * request.side.sign <= 0:
        return Refused(reason=RefusalReason.STOP, text="the stop is on the wrong side of the price")
    if min(account.equity, account.available) <= 0:
        text = f"no balance: {account.available:.2f} of {account.equity:.2f} {instrument.quote} are available"
        return Refused(reason=RefusalReason.NO_BALANCE, text=text)
    return None


def _price(request: EntryRequest) -> Decimal:
    return request.price.ask if request.side is Side.LONG else request.price.bid


def _worst_price(request: EntryRequest, rules: RiskRules) -> Decimal:
    worst = _price(request) * (1 + rules.max_slippage * request.side.sign)
    down = request.side is Side.LONG
    return request.instrument.price_down(worst) if down else request.instrument.price_up(worst)


def _limits(
    request: EntryRequest, account: AccountState, rules: RiskRules, dearest: Decimal
) -> dict[str, Decimal]:
    """The most lots that each limit allows, by its name; value, margin and fees at the dearest price."""
    instrument = request.instrument
    per_lot = instrument.notional(Decimal(1), dearest)
    both_fees = per_lot * instrument.taker_fee_rate * 2
    # The stop keeps its distance from whatever price the entry gets: slipping does not widen it.
    lost_at_stop = instrument.notional(Decimal(1), abs(_price(request) - request.stop_price)) + both_fees
    margin = per_lot / min(rules.leverage, instrument.max_leverage)
    limits = {
        "the risk per trade": account.equity * rules.risk_per_trade / lost_at_stop,
        "the available balance": account.available / (margin + both_fees),
        "the exchange": instrument.max_quantity,
    }
    if request.notional is not None:
        limits["the size asked for"] = request.notional / per_lot
    if rules.max_notional is not None:
        limits["the largest position"] = rules.max_notional / per_lot
    if rules.max_exposure is not None:
        limits["the largest exposure"] = (rules.max_exposure - sum(account.exposure.values(), ZERO)) / per_lot
    return limits
