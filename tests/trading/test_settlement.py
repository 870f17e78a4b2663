"""What fills make of a position, by hand."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from tests.builders import NOW_MS, D, a_position, an_account, an_entry, an_instrument, risk_rules
from trading import settlement
from trading.facts import ZERO, EntryPlan, ExitReason, Fill, Funding, OrderSide, Position, Side
from trading.lifecycle import IllegalTransition, PositionState
from trading.risk import Approved, approve

BOTH = pytest.mark.parametrize("side", list(Side))


def a_plan(side: Side = Side.LONG, **request: Any) -> EntryPlan:
    """A plan at 100 with a stop two away."""
    approved = approve(an_entry(side, **request), an_account(), risk_rules(), NOW_MS)
    assert isinstance(approved, Approved)
    return settlement.planned(approved, "000001000011", "rad-000001000011-e1", NOW_MS)


def opened(plan: EntryPlan, price: str, **contract: Any) -> Position:
    return settlement.opened(plan, an_instrument(**contract), D(7), D(price), D("0.03"), NOW_MS + 5)


def test_a_plan_is_what_was_approved() -> None:
    """Every figure goes over; the plan adds its ids and its time."""
    approved = approve(an_entry(), an_account(), risk_rules(), NOW_MS)
    assert isinstance(approved, Approved)
    plan = settlement.planned(approved, "p", "c", NOW_MS)
    for field in fields(approved):
        assert getattr(plan, field.name) == getattr(approved, field.name)
    assert (plan.position_id, plan.client_oid, plan.planned_ms) == ("p", "c", NOW_MS)


@pytest.mark.parametrize(("side", "price", "stop"), [
    (Side.LONG, "100", "98"), (Side.SHORT, "100", "102"),
    (Side.LONG, "100.5", "98.5"), (Side.SHORT, "99.5", "101.5"),       # slipped: as far away as planned
    (Side.LONG, "100.07", "98.1"), (Side.SHORT, "99.93", "101.9"),     # 98.07 up, 101.93 down: the lesser risk
])
def test_a_position_is_what_was_filled(side: Side, price: str, stop: str) -> None:
    """Size, price and fee come from the fills; the stop keeps its distance from them, on a tick."""
    plan = a_plan(side)
    position = opened(plan, price)
    assert (position.quantity, position.initial_quantity, position.fee) == (D(7), D(7), D("0.03"))
    assert plan.quantity != D(7)
    assert position.entry_price == position.best_price == D(price)
    assert position.stop_price == position.initial_stop_price == D(stop)
    assert (position.state, position.stop_reason) == (PositionState.OPEN, ExitReason.STOP_LOSS)
    assert (position.opened_ms, position.position_id) == (NOW_MS + 5, "000001000011")
    assert (position.realised_pnl, position.exit_value, position.steps_taken) == (0, 0, 0)


def test_a_fill_far_below_the_plan_has_a_stop_all_the_same() -> None:
    """Planned at 100 with a stop at 1, filled at 95: 99 below is no price, so the lowest one it is."""
    assert opened(a_plan(stop_price=D(1)), "95").stop_price == D("0.1")


@BOTH
def test_a_trade_in_two_parts(side: Side) -> None:
    """Four lots leave at +5, six at +10 per unit; fees and funding come off."""
    position = a_position(side, fee=D("0.01"))
    half = settlement.reduced(position, D(4), 100 + D(5) * side.sign, D("0.02"), ExitReason.TAKE_PROFIT)
    assert (half.quantity, half.steps_taken, half.realised_pnl) == (D(6), 1, D("0.2"))      # 5 × 4 × 0.01
    rest = settlement.reduced(half, D(6), 100 + D(10) * side.sign, D("0.03"), ExitReason.MAX_AGE)
    assert (rest.quantity, rest.steps_taken) == (0, 1)                # only a rung climbs the ladder
    closed = settlement.trade_of(rest, rest.opened_ms + 10, ExitReason.MAX_AGE)
    assert (closed.realised_pnl, closed.funding_known) == (D("0.74"), False)      # 0.2 + 10 × 6 × 0.01 − 0.06
    paid = [Funding(at_ms=rest.opened_ms + after_ms, amount=amount) for after_ms, amount in (
        (-1, D(7)), (0, D("-0.03")), (10, D("-0.01")), (11, D(9)),       # before it and after it: somebody else's
    )]
    trade = settlement.with_funding(closed, paid)
    assert (trade.funding, trade.realised_pnl, trade.funding_known) == (D("-0.04"), D("0.70"), True)
    assert trade.exit_price == 100 + D(8) * side.sign      # (5 × 4 + 10 × 6) / 10
    assert (trade.quantity, trade.fee, trade.r_multiple) == (D(10), D("0.06"), D(4))


@BOTH
def test_a_loss_is_a_loss(side: Side) -> None:
    """Ten lots stopped three away from the entry, a fee of 0.12 on the way."""
    gone = settlement.reduced(a_position(side), D(10), 100 - D(3) * side.sign, D("0.12"), ExitReason.STOP_LOSS)
    trade = settlement.trade_of(gone, 1, ExitReason.STOP_LOSS)
    assert trade.realised_pnl == D("-0.42")                # −3 × 10 × 0.01 − 0.12
    assert trade.r_multiple == D("-1.5")                   # the stop was two away


def test_more_than_there_is_closes_what_there_is() -> None:
    """An exchange that reports eleven of ten lots closed has closed ten."""
    gone = settlement.reduced(a_position(), D(11), D(105), ZERO, ExitReason.MANUAL)
    assert (gone.quantity, gone.realised_pnl) == (0, D("0.5"))        # 5 × 10 × 0.01


def test_a_trade_nobody_saw_close_claims_nothing() -> None:
    """Without one known exit the trade costs its fees, at the price it began with."""
    trade = settlement.trade_of(a_position(fee=D("0.06")), 1, ExitReason.EXTERNAL)
    assert (trade.exit_price, trade.realised_pnl, trade.r_multiple) == (D(100), D("-0.06"), 0)
    assert trade.closed_ms == trade.opened_ms              # nothing ends before it has begun


def test_fees_add_up_and_rebates_come_off() -> None:
    """Two fees and a rebate."""
    fills = tuple(
        Fill(trade_id=str(n), order_id="o", symbol="S", side=OrderSide.BUY, quantity=D(1), price=D(1),
             fee=Decimal(fee), ts_ms=0)
        for n, fee in enumerate(("0.03", "0.02", "-0.01"))
    )
    assert settlement.total_fee(fills) == D("0.04")
    assert settlement.total_fee(()) == 0
    assert settlement.with_fee(a_position(fee=D("0.01")), D("0.04")).fee == D("0.05")


def test_only_an_open_position_can_be_claimed_for_closing() -> None:
    """The second claim raises: two closers never both hold one position."""
    claimed = settlement.closing(a_position(), ExitReason.MANUAL)
    assert (claimed.state, claimed.exit_attempt, claimed.exit_reason) == (
        PositionState.CLOSING, 1, ExitReason.MANUAL
    )
    with pytest.raises(IllegalTransition):
        settlement.closing(claimed, ExitReason.MANUAL)
    back = settlement.put_back(claimed)
    assert (back.state, back.exit_reason) == (PositionState.OPEN, None)
    assert settlement.closing(back, ExitReason.STOP_LOSS).exit_attempt == 2      # a new id for a new order
    with pytest.raises(IllegalTransition):
        settlement.put_back(back)
