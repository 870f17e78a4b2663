"""The next process: what died half way is booked once, and what two threads find is booked by one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.orders import Execution
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened
from tests.trading_house import (
    SYMBOL,
    TradingHouse,
    a_manager,
    an_account,
    an_entry_request,
    exit_rules,
    restarted,
)
from trading.errors import ExchangeUnavailable
from trading.facts import ExitReason, OrderRequest, OrderSide, Position, Priority
from trading.lifecycle import IntentState, PositionState
from trading.reconciliation import Kind

D = Decimal
OTHER = "ETH/USDT:USDT"


def kinds(result: object) -> list[Kind]:
    return [difference.kind for difference in result.found]       # type: ignore[attr-defined]


class Killed(BaseException):
    """kill -9 in the middle of a call."""


def killed_in(house: TradingHouse, call: str) -> None:
    """Let the process end inside the next such call."""
    def kill(_what: object) -> None:
        house.exchange.before.clear()
        raise Killed

    house.exchange.before[call] = kill


def a_part_leaves(house: TradingHouse, position: Position, lots: int = 20) -> None:
    """Let the first rung of the ladder leave, unrecorded."""
    house.exchange.prices[SYMBOL] = D(52_100)
    house.exchange.place_order(
        OrderRequest(
            client_oid=f"rad-{position.position_id}-x1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(lots),
            reduce_only=True,
        ),
        Priority.CRITICAL,
    )


@pytest.mark.parametrize("call", ["fetch_order", "fetch_order_fills", "fetch_stop_orders"])
def test_an_exit_is_booked_once_wherever_the_process_ends(call: str) -> None:
    """Killed between the exit's fill and its booking: the next start books it whole, once, and agrees."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.prices[SYMBOL] = D(48_900)
    killed_in(house, call)
    with pytest.raises(Killed):
        house.manager.close_position(SYMBOL)
    house = restarted(house)
    house.reconciler.run()
    (trade,) = house.journal.trades
    assert trade.exit_price == D(48_900)
    assert trade.fee == D("2.31426")                              # 39 × 0.001 × (50,000 + 48,900) × 0.0006
    assert len(house.journal.fills) == 2
    assert house.manager.snapshot() == ()
    house.reconciler.run()
    assert house.exchange.fetch_stop_orders() == ()
    assert house.reconciler.run().found == ()


def test_a_rung_that_left_before_a_crash_is_not_taken_again() -> None:
    """Booked as the rung it was, before the monitor may send another: 39 lots, 20 have left, 19 stay."""
    rules = exit_rules(trailing=None, break_even=None)
    house = a_manager(exits=rules)
    a_part_leaves(house, opened(house))
    house = restarted(house, exits=rules)
    house.prices.set(SYMBOL, D(52_100))
    house.manager.update_positions()                              # the monitor runs before reconciliation
    house.reconciler.run()
    house.manager.update_positions()
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.quantity, position.steps_taken, position.state) == (D(19), 1, PositionState.OPEN)
    assert house.exchange.net[SYMBOL] == D(19)
    assert house.reconciler.run().found == ()


def test_after_a_restart_parts_wait_until_what_left_before_would_show(clock: ManualClock) -> None:
    """A rung may be in flight unseen: the next leaves after eight seconds, under a number of its own."""
    rules = exit_rules(trailing=None, break_even=None)
    house = a_manager(exits=rules, clock=clock)
    clock.flows = True
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    house = restarted(house, exits=rules, clock=clock)
    house.exchange.prices[SYMBOL] = D(52_100)
    house.prices.set(SYMBOL, D(52_100))
    house.manager.update_positions()
    assert house.exchange.exits() == []
    clock.advance(8)
    house.manager.update_positions()
    (leaving,) = house.exchange.exits()
    assert leaving.client_oid.endswith("-x4")                     # three numbers are passed over


def test_two_uncertain_exits_are_each_resolved_once() -> None:
    """The second cannot be read yet; the first is not looked up again while its next exit is under way."""
    house = a_manager(symbols=[SYMBOL, OTHER], exits=exit_rules(take_profit=()))
    opened(house)
    opened(house, symbol=OTHER)
    for symbol in (SYMBOL, OTHER):
        claimed = house.manager.claim_closing(symbol, ExitReason.MANUAL)
        assert claimed is not None
        house.manager.mark_uncertain(claimed.position_id, is_refused=True)
    looks: list[object] = []

    def fail_second(what: object) -> None:
        looks.append(what)
        if len(looks) == 2:
            raise ExchangeUnavailable("no answer")

    house.exchange.before["fetch_positions"] = fail_second
    with pytest.raises(ExchangeUnavailable):
        house.reconciler.run()
    house.exchange.before.clear()
    first = next(p for p in house.manager.snapshot() if p.state is PositionState.OPEN)
    assert first.position_id not in house.manager.uncertain()
    assert len(house.manager.uncertain()) == 1


def test_an_exit_found_by_two_is_booked_once() -> None:
    """Worker and reconciliation hold the same filled exit: the second to book it changes nothing."""
    house = a_manager(exits=exit_rules(take_profit=()))
    position = opened(house)
    claimed = house.manager.claim_closing(SYMBOL, ExitReason.MANUAL)
    assert claimed is not None
    a_part_leaves(house, position)
    order = house.exchange.find_order(f"rad-{position.position_id}-x1")
    assert order is not None
    for _ in range(2):
        house.manager.book_exit(claimed, order.client_oid, Execution(order=order), ExitReason.MANUAL)
    assert house.manager.find(SYMBOL).quantity == D(19)           # type: ignore[union-attr]


def test_only_what_is_missing_is_booked_as_somebody_elses() -> None:
    """Thirty sold and bought back changed nothing; of twelve sold then, with two bought again, ten are booked."""
    house = a_manager()
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(30))
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(30))
    assert house.reconciler.run().found == ()
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(12))
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(2))
    assert house.reconciler.run().agrees
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert position.quantity == D(29)
    assert position.fee == D("1.47")                              # 1.17 to enter, 10 × 50 × 0.0006 of the twelve
    assert len(house.exchange.fetch_stop_orders()) == 1
    assert house.reconciler.run().found == ()


def test_a_claimed_position_that_nothing_explains_is_unexplained_too() -> None:
    """Gone without a trace while an exit was under way: entries stay blocked, run after run."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.net[SYMBOL] = D(0)
    house.prices.set(SYMBOL, D(48_900))
    house.manager.update_positions()
    assert house.manager.find(SYMBOL).state is PositionState.CLOSING      # type: ignore[union-attr]
    for _ in range(2):
        result = house.reconciler.run()
        assert kinds(result) == [Kind.GONE]
        assert not result.agrees


def test_a_close_by_somebody_else_that_meets_our_exit_is_booked() -> None:
    """The monitor claims between reconciliation's look and its claim: whoever comes second finds the fills."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39))
    met: list[object] = []

    def meet(_symbol: object) -> None:
        if not met:
            met.append(True)
            house.prices.set(SYMBOL, D(48_900))
            house.manager.update_positions()

    house.exchange.before["fetch_recent_fills"] = meet
    for _ in range(3):
        house.reconciler.run()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.EXTERNAL
    assert house.reconciler.run().agrees


def test_an_adopted_position_keeps_its_own_margin_mode() -> None:
    """Opened by hand in cross while RAD works isolated: its stop and its exit say cross."""
    house = a_manager(adopt=True)
    house.exchange.margin_modes[SYMBOL] = "cross"
    theirs = OrderRequest(
        client_oid="web-1", symbol=SYMBOL, side=OrderSide.BUY, quantity=D(5), margin_mode="cross"
    )
    house.exchange.place_order(theirs, Priority.HIGH)
    house.reconciler.run()
    assert house.manager.find(SYMBOL).protective_stop is not None         # type: ignore[union-attr]
    assert house.manager.close_position(SYMBOL) is not None
    assert house.exchange.net[SYMBOL] == 0


def test_a_position_whose_exit_is_uncertain_is_not_left_without_a_stop(clock: ManualClock) -> None:
    """Killed before its first stop, an exit perhaps on the way: a stop rests while the eight seconds pass."""
    house = a_manager(clock=clock)
    clock.flows = True
    killed_in(house, "fetch_stop_orders")                         # its stop was sent and never read back
    with pytest.raises(Killed):
        house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    for stop in house.exchange.fetch_stop_orders():
        house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    (position,) = house.journal.positions.values()
    house.journal.positions[position.position_id] = replace(
        position, state=PositionState.CLOSING, exit_attempt=1, exit_reason=ExitReason.STOP_LOSS
    )
    house = restarted(house, clock=clock)
    house.reconciler.run()
    assert house.manager.find(SYMBOL).state is PositionState.CLOSING      # type: ignore[union-attr]
    assert len(house.exchange.fetch_stop_orders()) == 1
    for _ in range(9):
        clock.advance(1)
        house.reconciler.run()
    assert house.manager.find(SYMBOL).state is PositionState.OPEN         # type: ignore[union-attr]
    assert len(house.exchange.fetch_stop_orders()) == 1


def a_stop_fires(house: TradingHouse, position: Position, number: int) -> OrderRequest:
    """Let the stop of that number take the first one's place, unrecorded, and fire."""
    request = a_stop_replaces_it(house, position, number)
    house.exchange.prices[SYMBOL] = D(49_400)
    house.exchange.trigger_stop(SYMBOL)
    return request


def a_stop_replaces_it(house: TradingHouse, position: Position, number: int) -> OrderRequest:
    """Let the stop of that number take the place of the one that rests, unrecorded."""
    request = OrderRequest(
        client_oid=f"rad-{position.position_id}-s{number}", symbol=SYMBOL, side=OrderSide.SELL,
        reduce_only=True, close_order=True, stop_price=D(49_400), stop_is_below=True,
    )
    (first,) = house.exchange.fetch_stop_orders()
    house.exchange.place_order(request, Priority.CRITICAL)
    house.exchange.cancel_order(first.order_id, Priority.CRITICAL)
    return request


@pytest.mark.parametrize("written", [True, False], ids=["in the journal", "in no journal"])
def test_a_fired_stop_far_beyond_the_saved_number_is_booked(written: bool) -> None:
    """Neither a position row that is behind nor a gap in the numbers hides what closed the position."""
    house = a_manager()
    position = opened(house)
    request = a_stop_fires(house, position, number=9)
    if written:
        house.journal.record_intent(position.position_id, request, "s", wait=False)
    house = restarted(house)
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.EXCHANGE_STOP
    assert len(house.journal.fills) == 2
    assert house.reconciler.run().found == ()


def test_an_order_of_its_own_that_still_trades_is_nobody_elses() -> None:
    """Ten of its lots are gone by a stop that has fired and is not over: that explains it once it is."""
    house = a_manager()
    position = opened(house)
    request = a_stop_replaces_it(house, position, number=9)
    house.exchange.fill_resting(request.client_oid, D(10))
    (order,) = [each for each in house.exchange.orders.values() if each.client_oid == request.client_oid]
    house.exchange.orders[order.order_id] = replace(
        order, is_active=True, is_cancelled=False, stop_triggered=True, stop_price=None
    )
    house.reconciler.run()
    assert house.manager.snapshot()[0].quantity == D(39)
    house.exchange.orders[order.order_id] = order
    assert house.reconciler.run().agrees
    assert house.manager.snapshot()[0].quantity == D(29)
    assert house.journal.is_booked(SYMBOL, house.exchange.fills[-1].trade_id)


def test_fills_of_another_position_or_of_before_explain_nothing() -> None:
    """Gone without a trace: what was sold there before, and what another position's order sold, is not it."""
    house = a_manager()
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39))
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(39))
    house.exchange.fills = [replace(fill, ts_ms=fill.ts_ms - 60_000) for fill in house.exchange.fills]
    opened(house)
    other = OrderRequest(client_oid="rad-0000000000zz-x1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(39))
    house.exchange.place_order(other, Priority.CRITICAL)
    house.journal.record_intent("0000000000zz", other, "x", wait=False)
    (order,) = [each for each in house.exchange.orders.values() if each.client_oid == other.client_oid]
    house.journal.settle_intent(other.client_oid, IntentState.ACCEPTED, order.order_id)
    assert not house.reconciler.run().agrees
    assert house.manager.snapshot()[0].quantity == D(39)


def test_numbers_go_on_behind_those_the_journal_knows() -> None:
    """Orders that were refused have used theirs up too; the exchange knows nothing of them."""
    house = a_manager()
    position = opened(house)
    for purpose in ("x", "s"):
        request = OrderRequest(
            client_oid=f"rad-{position.position_id}-{purpose}7", symbol=SYMBOL, side=OrderSide.SELL,
            reduce_only=True,
        )
        house.journal.record_intent(position.position_id, request, purpose, wait=False)
        house.journal.settle_intent(request.client_oid, IntentState.REJECTED)
    house = restarted(house)
    position = house.manager.snapshot()[0]
    assert (position.exit_attempt, position.stop_attempt) == (10, 10)
    assert position.state is PositionState.OPEN


def test_where_the_numbers_go_on_is_on_disk_before_the_first_is_used() -> None:
    """Two deaths, each before the stop just placed was written down: no client id twice, none overlooked."""
    house = a_manager()
    position = opened(house)
    for number in (5, 9):
        house = restarted(house)
        assert house.journal.positions[position.position_id].stop_attempt == number - 1
        a_stop_replaces_it(house, position, number)              # and the process ends
    house = restarted(house)
    assert house.manager.snapshot()[0].stop_attempt == 12


def test_a_stop_that_never_left_uses_up_no_number(clock: ManualClock) -> None:
    """However often there is no connection: the number that leaves at last is the next one."""
    house = a_manager(clock=clock)
    opened(house)
    house.manager.stop_lost(SYMBOL, house.manager.snapshot()[0].position_id)
    (first,) = house.exchange.fetch_stop_orders()
    house.exchange.cancel_order(first.order_id, Priority.CRITICAL)
    failures = iter(range(5))

    def unreachable(_request: object) -> None:
        if next(failures, None) is not None:
            raise ExchangeUnavailable("no connection")

    house.exchange.before["place_order"] = unreachable
    clock.flows = True
    assert house.manager.protect(SYMBOL)
    (stop,) = house.exchange.fetch_stop_orders()
    assert stop.client_oid.endswith("-s2")
