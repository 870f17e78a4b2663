"""What an execution makes of a position: pure arithmetic, exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from trading.exits import ExitRules, initial_stop
from trading.facts import (
    ZERO,
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    ExitReason,
    Fill,
    Funding,
    Instrument,
    Position,
)
from trading.lifecycle import PositionState, check
from trading.risk import Approved


def planned(approved: Approved, position_id: str, client_oid: str, now_ms: int) -> EntryPlan:
    """Return what was approved as a plan with an id of its own."""
    return EntryPlan(
        position_id=position_id,
        client_oid=client_oid,
        symbol=approved.symbol,
        side=approved.side,
        quantity=approved.quantity,
        price=approved.price,
        worst_price=approved.worst_price,
        stop_price=approved.stop_price,
        notional=approved.notional,
        leverage=approved.leverage,
        atr=approved.atr,
        planned_ms=now_ms,
        strategy=approved.strategy,
        reasons=approved.reasons,
    )


def opened(
    plan: EntryPlan,
    instrument: Instrument,
    quantity: Decimal,
    price: Decimal,
    fee: Decimal,
    opened_ms: int,
    margin_mode: str = "isolated",
) -> Position:
    """Return the position an entry made: the stop keeps its planned distance from the real price."""
    distance = abs(plan.price - plan.stop_price)
    stop_price = instrument.stop_towards_price(plan.side, price - distance * plan.side.sign)
    stop_price = max(stop_price, instrument.tick_size)      # filled far below the plan: still a price
    return Position(
        position_id=plan.position_id,
        symbol=plan.symbol,
        side=plan.side,
        state=PositionState.OPEN,
        quantity=quantity,
        initial_quantity=quantity,
        multiplier=instrument.multiplier,
        entry_price=price,
        initial_stop_price=stop_price,
        stop_price=stop_price,
        stop_reason=ExitReason.STOP_LOSS,
        best_price=price,
        atr=plan.atr,
        opened_ms=opened_ms,
        leverage=plan.leverage,
        margin_mode=margin_mode,
        fee=fee,
        strategy=plan.strategy,
        reasons=plan.reasons,
    )


def adopted(
    theirs: ExchangePosition, instrument: Instrument, position_id: str, rules: ExitRules, atr: Decimal, now_ms: int
) -> Position:
    """Return somebody else's position as one of RAD's: the stop is measured from where the price is now.

    From the entry it might lie on the wrong side of the price already, and would close at once.
    """
    stop_price = initial_stop(theirs.side, theirs.mark_price, atr, rules, instrument)
    return Position(
        position_id=position_id,
        symbol=theirs.symbol,
        side=theirs.side,
        state=PositionState.OPEN,
        quantity=theirs.quantity,
        initial_quantity=theirs.quantity,
        multiplier=instrument.multiplier,
        entry_price=theirs.entry_price,
        initial_stop_price=stop_price,
        stop_price=stop_price,
        stop_reason=ExitReason.STOP_LOSS,
        best_price=theirs.mark_price,
        atr=atr,
        opened_ms=now_ms,
        leverage=theirs.leverage,
        margin_mode=theirs.margin_mode,
        strategy="adopted",
        reasons=("opened by somebody else",),
    )


def rebuilt(
    theirs: ExchangePosition, instrument: Instrument, position_id: str, opened_ms: int, quantity: Decimal,
    entry_price: Decimal, stop_price: Decimal | None, first_stop: Decimal | None, rules: ExitRules,
) -> Position:
    """Return a position RAD has forgotten as it was entered, from what the exchange still knows of it.

    *stop_price* and *first_stop* are RAD's own behind the latest and the first of its resting stops.
    Without any, the stop lies where it would at entry. One percent stands in for the ATR.
    """
    atr = entry_price / 100
    planned = initial_stop(theirs.side, entry_price, atr, rules, instrument)
    first = first_stop or planned
    if not theirs.side.is_beyond(entry_price, first):
        first = planned                 # a stop in profit is no first one
    stop = stop_price or first
    best = theirs.mark_price if theirs.side.is_beyond(theirs.mark_price, entry_price) else entry_price
    trailed = stop != first and theirs.side.is_beyond(stop, first)
    return Position(
        position_id=position_id,
        symbol=theirs.symbol,
        side=theirs.side,
        state=PositionState.OPEN,
        quantity=quantity,
        initial_quantity=quantity,
        multiplier=instrument.multiplier,
        entry_price=entry_price,
        initial_stop_price=first,
        stop_price=stop,
        stop_reason=ExitReason.TRAILING_STOP if trailed else ExitReason.STOP_LOSS,
        best_price=best,
        atr=atr,
        opened_ms=opened_ms,
        leverage=theirs.leverage,
        margin_mode=theirs.margin_mode,
        strategy="rebuilt",
        reasons=("rebuilt from its orders on the exchange",),
    )


def closing(position: Position, reason: ExitReason) -> Position:
    """Return *position* claimed for one exit, with the number of its attempt."""
    return replace(
        position,
        state=check(position.state, PositionState.CLOSING),
        exit_reason=reason,
        exit_attempt=position.exit_attempt + 1,
    )


def put_back(position: Position) -> Position:
    """Return *position* open again: the exit certainly did not happen, or not wholly."""
    return replace(position, state=check(position.state, PositionState.OPEN), exit_reason=None)


def unsent(position: Position) -> Position:
    """Return *position* open again: its exit certainly never left, so that its number is still unused."""
    return replace(put_back(position), exit_attempt=position.exit_attempt - 1)


def reduced(
    position: Position, quantity: Decimal, price: Decimal, fee: Decimal, reason: ExitReason, *, more: bool = False
) -> Position:
    """Return what is left after *quantity* lots were closed at *price*; never less than nothing.

    *more*: of a step that counts as taken already.
    """
    closed = min(quantity, position.quantity)
    base_qty = closed * position.multiplier
    return replace(
        position,
        quantity=position.quantity - closed,
        realised_pnl=position.realised_pnl + (price - position.entry_price) * position.side.sign * base_qty,
        exit_value=position.exit_value + price * base_qty,
        fee=position.fee + fee,
        steps_taken=position.steps_taken + (reason is ExitReason.TAKE_PROFIT and not more),
    )


def with_fee(position: Position, fee: Decimal) -> Position:
    """Return *position* with *fee* added to what it paid."""
    return replace(position, fee=position.fee + fee)


def trade_of(position: Position, closed_ms: int, reason: ExitReason) -> ClosedTrade:
    """Return the closed trade of a position of which nothing is left; its funding is not known yet."""
    base_qty = (position.initial_quantity - position.quantity) * position.multiplier
    exit_price = position.exit_value / base_qty if base_qty else position.entry_price
    return ClosedTrade(
        position_id=position.position_id,
        symbol=position.symbol,
        side=position.side,
        quantity=position.initial_quantity,
        entry_price=position.entry_price,
        exit_price=exit_price,
        opened_ms=position.opened_ms,
        closed_ms=max(closed_ms, position.opened_ms),
        exit_reason=reason,
        fee=position.fee,
        funding=ZERO,
        funding_known=False,
        realised_pnl=position.realised_pnl - position.fee,
        r_multiple=position.r_multiple(exit_price),
        strategy=position.strategy,
    )


def with_funding(trade: ClosedTrade, paid: Iterable[Funding]) -> ClosedTrade:
    """Return *trade*, whose funding was not known, with its share of what was *paid* in its symbol."""
    funding = funding_of(trade, paid)
    return replace(trade, funding=funding, realised_pnl=trade.realised_pnl + funding, funding_known=True)


def funding_of(trade: ClosedTrade, paid: Iterable[Funding]) -> Decimal:
    """Return what of *paid* fell between opening and close: the rest is another position's."""
    return sum((each.amount for each in paid if trade.opened_ms <= each.at_ms <= trade.closed_ms), ZERO)


def total_fee(fills: tuple[Fill, ...]) -> Decimal:
    """Return what *fills* cost in quote currency."""
    return sum((fill.fee for fill in fills), ZERO)
