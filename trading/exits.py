"""When to leave a position: one pure decision from a position, a price and the rules."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from trading.facts import ZERO, ExitReason, Instrument, Position, Price, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """A distance in price: a fraction of the price, or a multiple of the ATR at entry."""

    fraction: Decimal | None = None
    atr: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.atr is None):
            raise ValueError("a distance is either a fraction or a multiple of ATR")

    def of(self, price: Decimal, atr: Decimal) -> Decimal:
        """Return it in quote currency."""
        return price * self.fraction if self.fraction is not None else atr * (self.atr or ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeProfit:
    """One rung of the ladder: at this profit, this share of the initial quantity leaves."""

    at: Distance
    share: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailing:
    """From a profit of *activate* on, the stop follows the best price at *distance*."""

    activate: Distance
    distance: Distance


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRules:
    """Which exits are on; None or empty switches one off. The stop cannot be: sizes are reckoned from it."""

    stop_loss: Distance
    take_profit: tuple[TakeProfit, ...] = ()
    break_even: Distance | None = None    # at this profit the stop moves to entry plus fees
    trailing: Trailing | None = None
    max_age_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStop:
    """Stay, with a better stop; *stop_price* is unchanged when only the best price is new."""

    stop_price: Decimal
    best_price: Decimal
    reason: ExitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """Leave with *quantity* lots."""

    reason: ExitReason
    quantity: Decimal


HOLD = Hold()


def decide(
    position: Position, price: Price, now_ms: int, rules: ExitRules, instrument: Instrument
) -> Hold | MoveStop | Exit:
    """Return what to do about *position* at *price*.

    Judged by what leaving would fetch: the bid for a long, the ask for a short. Runs on every tick
    of a held symbol. A stop moves towards profit only, and never as far as the price. An exit on a
    turned signal would be one more reason here, after the take profit, with the score as a parameter.
    """
    leaving = price.to_leave(position.side)
    if position.side.is_beyond(position.stop_price, leaving):
        return Exit(reason=position.stop_reason, quantity=position.quantity)
    step = _next_step(position, rules)
    if step is not None and position.side.is_beyond(leaving, _target(position, step)):
        return Exit(reason=ExitReason.TAKE_PROFIT, quantity=_share(position, step, instrument))
    if rules.max_age_ms is not None and now_ms - position.opened_ms >= rules.max_age_ms:
        return Exit(reason=ExitReason.MAX_AGE, quantity=position.quantity)
    return _better_stop(position, leaving, rules, instrument)


def initial_stop(
    side: Side, entry_price: Decimal, atr: Decimal, rules: ExitRules, instrument: Instrument
) -> Decimal:
    """Return where a position entered at *entry_price* is first given up; on a tick, never at the entry itself."""
    distance = max(rules.stop_loss.of(entry_price, atr), instrument.tick_size)
    stop = instrument.stop_towards_price(side, entry_price - distance * side.sign)
    return max(stop, instrument.tick_size)


def _next_step(position: Position, rules: ExitRules) -> TakeProfit | None:
    if position.steps_taken < len(rules.take_profit):
        return rules.take_profit[position.steps_taken]
    return None


def _target(position: Position, step: TakeProfit) -> Decimal:
    return position.entry_price + step.at.of(position.entry_price, position.atr) * position.side.sign


def _share(position: Position, step: TakeProfit, instrument: Instrument) -> Decimal:
    """The rung's lots: never none, never more than there is, and all if the rest were less than a lot."""
    lots = (position.initial_quantity * step.share / instrument.lot_size).to_integral_value(ROUND_CEILING)
    quantity = max(lots * instrument.lot_size, instrument.min_quantity)
    if position.quantity - quantity < instrument.min_quantity:
        return position.quantity
    return quantity


def _better_stop(
    position: Position, leaving: Decimal, rules: ExitRules, instrument: Instrument
) -> Hold | MoveStop:
    """The best of break-even and trailing, if it is better than the stop there is."""
    side = position.side
    best = leaving if side.is_beyond(leaving, position.best_price) else position.best_price
    profit = (best - position.entry_price) * side.sign
    nearest = _nearest_stop(side, leaving, instrument)
    stop, reason = position.stop_price, position.stop_reason
    if rules.break_even is not None and profit >= rules.break_even.of(position.entry_price, position.atr):
        lock = _break_even_price(position, instrument)
        if _is_better(side, lock, stop) and side.is_beyond(nearest, lock):
            stop, reason = lock, ExitReason.BREAK_EVEN
    if rules.trailing is not None and profit >= rules.trailing.activate.of(position.entry_price, position.atr):
        behind = best - rules.trailing.distance.of(best, position.atr) * side.sign
        trail = instrument.stop_towards_price(side, behind)
        # Rules may have grown tighter while nobody watched: as near as may be is then the best there is.
        trail = min(trail, nearest) if side is Side.LONG else max(trail, nearest)
        if _is_better(side, trail, stop):
            stop, reason = trail, ExitReason.TRAILING_STOP
    if best == position.best_price and stop == position.stop_price:
        return HOLD
    return MoveStop(stop_price=stop, best_price=best, reason=reason)


def _is_better(side: Side, stop: Decimal, than: Decimal) -> bool:
    return stop > than if side is Side.LONG else stop < than


def _nearest_stop(side: Side, leaving: Decimal, instrument: Instrument) -> Decimal:
    """The closest tick to *leaving* that is not hit by it."""
    if side is Side.LONG:
        return instrument.price_up(leaving) - instrument.tick_size
    return instrument.price_down(leaving) + instrument.tick_size


def _break_even_price(position: Position, instrument: Instrument) -> Decimal:
    """Where leaving pays for the entry and both fees: exit × (1 ∓ fee rate) = entry × (1 ± fee rate)."""
    paid = instrument.taker_fee_rate * position.side.sign
    exact = position.entry_price * (1 + paid) / (1 - paid)
    return instrument.stop_towards_price(position.side, exact)
