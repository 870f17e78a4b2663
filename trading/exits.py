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
    """Which exits are on; None or empty switches one off."""

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

    Judged by what leaving would fetch: the bid for a long, the ask for a short.
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
    """Return where a position entered at *entry_price* is first given up; at least one tick away."""
    distance = max(rules.stop_loss.of(entry_price, atr), instrument.tick_size)
    stop = instrument.stop_towards_price(side, entry_price - distance * side.sign)
    if stop == entry_price:
        stop = entry_price - instrument.tick_size * side.sign
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
    found = _best_stop(position, best, rules, instrument)
    if best == position.best_price and found == (position.stop_price, position.stop_reason):
        return HOLD
    stop_price, reason = found
    return MoveStop(stop_price=stop_price, best_price=best, reason=reason)


def _best_stop(
    position: Position, best: Decimal, rules: ExitRules, instrument: Instrument
) -> tuple[Decimal, ExitReason]:
    """Return the stop and its name for a best price of *best*; never a worse one than there is."""
    side = position.side
    profit = (best - position.entry_price) * side.sign
    stop, reason = position.stop_price, position.stop_reason
    for candidate, name in _candidates(position, best, profit, rules, instrument):
        rounded = instrument.price_down(candidate) if side is Side.LONG else instrument.price_up(candidate)
        if (rounded - stop) * side.sign > 0 and (best - rounded) * side.sign > 0:
            stop, reason = rounded, name
    return stop, reason


def _candidates(
    position: Position, best: Decimal, profit: Decimal, rules: ExitRules, instrument: Instrument
) -> list[tuple[Decimal, ExitReason]]:
    entry, atr, sign = position.entry_price, position.atr, position.side.sign
    found = []
    if rules.break_even is not None and profit >= rules.break_even.of(entry, atr):
        fees = entry * instrument.taker_fee_rate * 2
        found.append((entry + fees * sign, ExitReason.BREAK_EVEN))
    if rules.trailing is not None and profit >= rules.trailing.activate.of(entry, atr):
        found.append((best - rules.trailing.distance.of(best, atr) * sign, ExitReason.TRAILING_STOP))
    return found
