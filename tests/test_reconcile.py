"""Book against exchange: each difference, what is concluded from it, and that failures conclude nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from execution.book import NotOpened
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened
from tests.trading_house import (
    SYMBOL,
    a_manager,
    an_account,
    an_entry_request,
    exit_rules,
    restarted,
    risk_rules,
)
from trading.errors import ExchangeError, ExchangeUnavailable, NothingToClose, OrderRejected
from trading.escalation import Shape
from trading.facts import ExitReason, OrderRequest, OrderSide, Priority, Side
from trading.lifecycle import PositionState
from trading.reconciliation import Kind

D = Decimal
OTHER = "ETH/USDT:USDT"


def refuse_exits(request: object) -> None:
    """A hook: every exit is answered with a plain no that says nothing of its size."""
    if "-x" in request.client_oid:                                # type: ignore[attr-defined]
        raise OrderRejected("system busy", code="300002")


def refuse_after_first_exit() -> Callable[[object], None]:
    """A hook: the first exit is taken, the next ones are refused."""
    seen: list[object] = []

    def refuse(request: object) -> None:
        seen.append(request)
        if len(seen) > 1:
            refuse_exits(request)

    return refuse


def kinds(result: object) -> list[Kind]:
    return [difference.kind for difference in result.found]       # type: ignore[attr-defined]


def test_agreement_is_a_no_op_twice() -> None:
    """With book and exchange in agreement nothing is found and nothing is sent, however often."""
    house = a_manager()
    opened(house)
    sent = len(house.exchange.received)
    for _ in range(2):
        result = house.reconciler.run()
        assert result.found == ()
        assert result.agrees
    assert len(house.exchange.received) == sent


@pytest.mark.parametrize(
    "call", ["fetch_positions", "fetch_stop_orders", "fetch_open_orders", "fetch_recent_fills", "find_order"]
)
def test_a_failed_query_changes_nothing(call: str) -> None:
    """One unanswered call of the look, and no conclusion is drawn: positions are not forgotten."""
    house = a_manager()
    position = opened(house)
    house.exchange.net[SYMBOL] = D(0)

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before[call] = fail
    with pytest.raises(ExchangeUnavailable):
        house.reconciler.run()
    assert house.manager.find(SYMBOL) == position
    assert house.journal.trades == []


def test_a_stop_that_fired_unseen_is_booked() -> None:
    """Gone from the exchange, and the stop has filled: closed with its fills, named exchange_stop."""
    house = a_manager()
    opened(house)
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trigger_stop(SYMBOL)
    result = house.reconciler.run()
    assert kinds(result) == [Kind.GONE]
    assert result.agrees
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.EXCHANGE_STOP
    assert house.reconciler.run().found == ()


def test_a_close_by_somebody_else_is_booked_as_external() -> None:
    """Sold on the website: booked from those fills, the resting stop swept."""
    house = a_manager()
    opened(house)
    house.exchange.prices[SYMBOL] = D(50_500)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39))
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.EXTERNAL
    assert trade.exit_price == D(50_500)
    assert house.exchange.fetch_stop_orders() == ()


def test_a_partial_close_by_somebody_else_shrinks_the_book() -> None:
    """Nine lots sold elsewhere: thirty are left in the book, open and protected."""
    house = a_manager()
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9))
    assert house.reconciler.run().agrees
    assert house.manager.find(SYMBOL).quantity == D(30)           # type: ignore[union-attr]
    assert house.reconciler.run().found == ()


def test_gone_without_a_trace_is_not_forgotten() -> None:
    """Nothing explains it: the book keeps the position, and entries are blocked until something does."""
    house = a_manager()
    opened(house)
    house.exchange.net[SYMBOL] = D(0)
    result = house.reconciler.run()
    assert kinds(result) == [Kind.GONE]
    assert not result.agrees
    assert house.manager.find(SYMBOL) is not None


def test_more_is_unexplained_and_only_ours_is_closed() -> None:
    """Added by hand: entries are blocked, RAD's exit closes its own 39 lots, and the rest is foreign then."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(100))
    result = house.reconciler.run()
    assert kinds(result) == [Kind.LARGER]
    assert not result.agrees
    assert house.exchange.exits() == []
    house.manager.close_position(SYMBOL)
    assert house.exchange.net[SYMBOL] == D(100)
    assert house.exchange.fetch_stop_orders() == ()
    assert kinds(house.reconciler.run()) == [Kind.FOREIGN]


def test_a_refused_exit_of_a_shared_position_never_closes_it_all() -> None:
    """closeOrder would sell what a person has added: the ladder leaves that rung out."""
    clock = ManualClock()
    house = a_manager(clock=clock, exits=exit_rules(take_profit=()))
    opened(house, now_ms=clock.now_ms())
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(100))
    house.reconciler.run()
    house.exchange.before["place_order"] = refuse_exits
    with pytest.raises(ExchangeError):
        house.manager.close_position(SYMBOL)
    for _ in range(8):
        clock.advance(2.1)
        house.manager.update_positions()
    leaving = house.manager.leaving(SYMBOL)
    assert leaving is not None
    assert leaving.ladder.refusals == 9
    assert leaving.ladder.shape is Shape.WHOLE


def test_the_resting_stop_closes_what_others_have_added_too() -> None:
    """closeOrder knows one position: 139 lots go, RAD books its 39 and their share of the fee."""
    house = a_manager()
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(100))
    house.reconciler.run()
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trigger_stop(SYMBOL)
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades
    assert (trade.quantity, trade.exit_price, trade.exit_reason) == (D(39), D(48_900), ExitReason.EXCHANGE_STOP)
    # 39 × 50 × 0.0006 to enter, 39 × 48.9 × 0.0006 to leave
    assert trade.fee.quantize(D("0.000001")) == D("1.17") + D("1.144260")


def test_a_position_turned_by_hand_is_closed_and_the_rest_is_foreign() -> None:
    """100 lots sold through a long of 39: RAD's part is closed by those fills, the short of 61 is left alone."""
    house = a_manager()
    opened(house)
    house.exchange.prices[SYMBOL] = D(50_500)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(100))
    result = house.reconciler.run()
    assert kinds(result) == [Kind.TURNED]
    assert result.agrees
    (trade,) = house.journal.trades
    assert (trade.quantity, trade.exit_reason, trade.exit_price) == (D(39), ExitReason.EXTERNAL, D(50_500))
    assert house.exchange.fetch_stop_orders() == ()
    refused = house.manager.open_position(an_entry_request(), an_account())
    assert isinstance(refused, NotOpened)
    assert kinds(house.reconciler.run()) == [Kind.FOREIGN]
    assert house.exchange.exits() == []


def test_a_turn_that_nothing_explains_blocks_entries_and_sends_nothing() -> None:
    """The other side, and no fills that say so: RAD neither follows nor fights it."""
    house = a_manager()
    opened(house)
    house.exchange.net[SYMBOL] = D(-61)
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)
    sent = len(house.exchange.received)
    result = house.reconciler.run()
    assert kinds(result) == [Kind.TURNED]
    assert not result.agrees
    assert house.manager.find(SYMBOL) is not None
    assert len(house.exchange.received) == sent


def test_a_turn_that_fills_explain_in_part_only_changes_nothing() -> None:
    """Of 100 sold only 20 are listed: RAD's 39 are not proven closed, the book stays as it is."""
    house = a_manager()
    position = opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(20))
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(80))
    late = house.exchange.fills.pop()
    result = house.reconciler.run()
    assert kinds(result) == [Kind.TURNED]
    assert not result.agrees
    assert house.manager.find(SYMBOL) == position
    house.exchange.fills.append(late)
    assert house.reconciler.run().agrees
    assert house.manager.find(SYMBOL) is None


def test_an_exit_that_meets_the_other_side_is_not_sent_again_and_again(clock: ManualClock) -> None:
    """What is there is not RAD's position: claimed and reported, no exit after exit into somebody else's."""
    clock.flows = True
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    house.exchange.net[SYMBOL] = D(-61)
    sent: list[object] = []
    house.exchange.before["place_order"] = sent.append
    with pytest.raises(NothingToClose):
        house.manager.close_position(SYMBOL)
    for _ in range(3):
        assert not house.reconciler.run().agrees
        clock.advance(5)
        house.manager.update_positions()
    assert len(sent) == 1


@pytest.mark.parametrize("kind", ["liquid", "adl"])
def test_a_liquidation_is_booked_as_one(kind: str) -> None:
    """Taken over by the exchange: booked from its fills, under its name, stops swept."""
    house = a_manager()
    opened(house)
    house.exchange.prices[SYMBOL] = D(41_000)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39), kind)
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades
    assert (trade.exit_reason, trade.exit_price) == (ExitReason.LIQUIDATION, D(41_000))
    assert house.exchange.fetch_stop_orders() == ()


def test_a_part_deleveraged_shrinks_the_book_and_the_rest_goes_on() -> None:
    """ADL takes nine lots: thirty are left, with their stop; RAD's exit later closes those thirty."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9), "adl")
    house.exchange.prices[SYMBOL] = D(51_000)
    assert house.reconciler.run().agrees
    assert house.reconciler.run().found == ()
    trade = house.manager.close_position(SYMBOL)
    assert trade is not None
    assert [request.quantity for request in house.exchange.exits()] == [D(30)]
    assert trade.quantity == D(39)
    assert trade.exit_price.quantize(D("0.01")) == D("50769.23")  # (9 × 50,000 + 30 × 51,000) / 39
    # fees: 1.17 to enter, 9 × 50 × 0.0006 = 0.27 and 30 × 51 × 0.0006 = 0.918 to leave
    assert trade.realised_pnl == D(30) - D("1.17") - D("0.27") - D("0.918")


def test_a_mismatch_is_explained_once_the_fills_are_listed() -> None:
    """Sold elsewhere, its fills listed late: unexplained first, booked by the next run, nothing stays blocked."""
    house = a_manager()
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9))
    late = house.exchange.fills.pop()
    assert not house.reconciler.run().agrees
    house.exchange.fills.append(late)
    assert house.reconciler.run().agrees
    assert house.manager.find(SYMBOL).quantity == D(30)           # type: ignore[union-attr]
    assert house.reconciler.run().found == ()


def test_our_own_fills_are_never_taken_for_somebody_elses(clock: ManualClock) -> None:
    """An exit booked on an estimate, its fills unlisted; nine more go elsewhere: each is booked once."""
    clock.flows = True
    house = a_manager(exits=exit_rules(take_profit=()), clock=clock)
    opened(house)
    house.exchange.fillable = D(20)
    listed = house.exchange.fetch_order_fills
    house.exchange.fetch_order_fills = lambda order_id, priority=Priority.HIGH: ()   # type: ignore[method-assign]
    house.exchange.before["place_order"] = refuse_after_first_exit()
    with pytest.raises(ExchangeError):
        house.manager.close_position(SYMBOL)                      # 20 of 39, then a no
    house.exchange.fetch_order_fills = listed                     # type: ignore[method-assign]
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9))
    ours = house.exchange.fills.pop(1)

    def list_in_the_middle(symbol: object) -> None:
        if symbol == SYMBOL and ours not in house.exchange.fills:  # when somebody else is looked for, not before
            house.exchange.fills.append(ours)

    house.exchange.before["fetch_recent_fills"] = list_in_the_middle
    assert house.reconciler.run().agrees
    assert house.manager.find(SYMBOL).quantity == D(10)           # type: ignore[union-attr]
    assert house.exchange.net[SYMBOL] == D(10)


def test_orders_and_stops_of_other_clients_in_our_symbol_are_left_alone() -> None:
    """Somebody's limit order and stop beside RAD's: no difference, and neither is cancelled."""
    house = a_manager()
    opened(house)
    house.exchange.order_elsewhere("theirs", quantity=D(5))
    house.exchange.order_elsewhere("their-stop", client_oid="my-stop", close_order=True, stop_price=D(45_000))
    result = house.reconciler.run()
    assert result.found == ()
    assert house.exchange.orders["theirs"].is_active
    house.manager.close_position(SYMBOL)
    assert [order.order_id for order in house.exchange.fetch_stop_orders()] == ["their-stop"]


def test_a_stray_order_of_ours_is_cancelled() -> None:
    """An order under a client id of RAD's that nothing accounts for is taken off the exchange."""
    house = a_manager()
    house.exchange.order_elsewhere("stray", client_oid="rad-0abcdefgh001-x3", quantity=D(5))
    result = house.reconciler.run()
    assert kinds(result) == [Kind.STRAY_ORDER]
    assert result.agrees
    assert not house.exchange.orders["stray"].is_active


def test_a_stop_that_cannot_be_placed_again_flattens(clock: ManualClock) -> None:
    """The resting stop is gone and no new one is taken: flat within the deadline, and said why."""
    clock.flows = True
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)

    def refuse(request: object) -> None:
        if "-s" in request.client_oid:                            # type: ignore[attr-defined]
            raise OrderRejected("system busy", code="300002")

    house.exchange.before["place_order"] = refuse
    since = clock.monotonic()
    house.reconciler.run()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.UNPROTECTED
    assert clock.monotonic() - since <= 5.5
    assert house.exchange.net[SYMBOL] == 0


def test_neither_a_stop_nor_an_exit_is_taken_and_that_blocks_entries(clock: ManualClock) -> None:
    """The stop is gone, and everything is refused: the run says so, and the exit goes on."""
    clock.flows = True
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)

    def refuse(_request: object) -> None:
        raise OrderRejected("suspended", code="300002")

    house.exchange.before["place_order"] = refuse
    assert not house.reconciler.run().agrees
    del house.exchange.before["place_order"]
    clock.advance(0.11)
    house.manager.update_positions()
    assert house.exchange.net[SYMBOL] == 0


def test_a_position_whose_exit_met_nothing_and_nobody_explains_is_said(clock: ManualClock) -> None:
    """It stays in the book, claimed; the difference is reported, so that entries stay blocked."""
    clock.flows = True
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    house.exchange.net[SYMBOL] = D(0)
    with pytest.raises(NothingToClose):
        house.manager.close_position(SYMBOL)
    for _ in range(2):
        result = house.reconciler.run()
        assert kinds(result) == [Kind.GONE]
        assert not result.agrees
    assert house.manager.find(SYMBOL) is not None


def test_a_foreign_position_is_reported_and_left_alone() -> None:
    """Somebody else's position is no error; RAD only keeps out of that symbol."""
    house = a_manager(symbols=[SYMBOL, OTHER])
    house.exchange.trade_elsewhere(OTHER, OrderSide.BUY, D(5))
    result = house.reconciler.run()
    assert kinds(result) == [Kind.FOREIGN]
    assert result.agrees
    refused = house.manager.open_position(an_entry_request(symbol=OTHER), an_account())
    assert isinstance(refused, NotOpened)
    assert "not RAD's" in refused.reason
    assert house.exchange.net[OTHER] == D(5)


def test_a_foreign_position_is_adopted_where_configured() -> None:
    """Opened by hand, with adopt on: in the book, protected on the exchange, trailed and closed like any other."""
    house = a_manager(adopt=True)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(7))
    guard = house.reconciler
    guard.run()
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.side, position.quantity, position.strategy) == (Side.SHORT, D(7), "adopted")
    assert position.stop_price == D(51_000)                       # 2 % above the mark price
    assert position.protective_stop is not None
    assert guard.run().found == ()
    house.manager.close_position(SYMBOL)
    assert house.exchange.net[SYMBOL] == 0


def test_an_exit_begun_while_an_entry_is_settled_is_left_to_its_thread() -> None:
    """An uncertain entry becomes a position, and the monitor leaves at once: one of the two books the exit."""
    house = a_manager()
    plan = house.manager.claim_opening(an_entry_request(), an_account(), risk_rules())
    assert not isinstance(plan, NotOpened)
    entry = OrderRequest(client_oid=plan.client_oid, symbol=SYMBOL, side=OrderSide.BUY, quantity=plan.quantity)
    house.exchange.place_order(entry, Priority.HIGH)
    house.manager.mark_uncertain(plan.position_id)

    def leave(_symbol: object) -> None:
        claimed = house.manager.claim_closing(SYMBOL, ExitReason.TAKE_PROFIT)
        if claimed is not None:
            exit_oid = f"rad-{claimed.position_id}-x1"
            house.exchange.place_order(
                OrderRequest(
                    client_oid=exit_oid, symbol=SYMBOL, side=OrderSide.SELL, quantity=D(9), reduce_only=True
                ),
                Priority.CRITICAL,
            )

    house.exchange.before["fetch_stop_orders"] = leave
    house.reconciler.run()
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.state, position.quantity) == (PositionState.CLOSING, D(39))


@pytest.mark.parametrize("fired", [False, True])
def test_an_entry_taken_up_again_numbers_on_from_the_stop_it_had(clock: ManualClock, fired: bool) -> None:
    """Killed after its stop, before the position was written down: the stop is found, its id not used again."""
    clock.flows = True
    house = a_manager(clock=clock)
    plan = house.manager.claim_opening(an_entry_request(), an_account(), risk_rules())
    assert not isinstance(plan, NotOpened)
    entry = OrderRequest(client_oid=plan.client_oid, symbol=SYMBOL, side=OrderSide.BUY, quantity=plan.quantity)
    house.journal.record_intent(plan.position_id, entry, "e", plan=plan, wait=True)
    house.exchange.place_order(entry, Priority.HIGH)
    stop = OrderRequest(
        client_oid=f"rad-{plan.position_id}-s1", symbol=SYMBOL, side=OrderSide.SELL, close_order=True,
        stop_price=D(49_000), stop_is_below=True,
    )
    house.exchange.place_order(stop, Priority.CRITICAL)
    if fired:
        house.exchange.prices[SYMBOL] = D(48_900)
        house.exchange.trigger_stop(SYMBOL)
    house.manager.restore_entry(plan)
    for _ in range(2):
        assert house.reconciler.run().agrees
    sent = [request.client_oid for request in house.exchange.received]
    assert len(set(sent)) == len(sent)
    if fired:
        assert [trade.exit_reason for trade in house.journal.trades] == [ExitReason.EXCHANGE_STOP]
    else:
        assert [order.client_oid for order in house.exchange.fetch_stop_orders()] == [f"rad-{plan.position_id}-s7"]


@pytest.mark.parametrize("arrived", [True, False], ids=["accepted", "never arrived"])
def test_an_entry_no_look_up_tells_of_is_covered(clock: ManualClock, arrived: bool) -> None:
    """Its answer is lost and so is every look-up: one stop rests as soon as its position shows."""
    house = a_manager(clock=clock)
    clock.flows = True
    if arrived:
        house.exchange.lose_answer = lambda request: "-e" in request.client_oid
    else:
        house.exchange.lose_request = lambda request: "-e" in request.client_oid

    def blind(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = blind
    assert isinstance(
        house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account()), NotOpened
    )
    for _ in range(2):
        house.reconciler.run()
        assert [stop.stop_price for stop in house.exchange.fetch_stop_orders()] == [D(48_951)] * arrived
    del house.exchange.before["find_order"]
    for _ in range(9):
        clock.advance(1)
        house.reconciler.run()
    assert [position.quantity for position in house.manager.snapshot()] == [D(39)] * arrived
    assert len(house.exchange.fetch_stop_orders()) == arrived
    assert house.manager.entries_under_way() == ()
    assert house.reconciler.run().found == ()


def test_a_stop_for_an_entry_that_never_was_is_swept(clock: ManualClock) -> None:
    """The position that showed was somebody else's: no stop of RAD's stays on it."""
    house = a_manager(clock=clock)
    clock.flows = True
    house.exchange.lose_request = lambda request: "-e" in request.client_oid

    def blind(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = blind
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    by_hand = OrderRequest(client_oid="by-hand", symbol=SYMBOL, side=OrderSide.BUY, quantity=D(5))
    house.exchange.place_order(by_hand, Priority.HIGH)
    house.reconciler.run()
    assert len(house.exchange.fetch_stop_orders()) == 1
    del house.exchange.before["find_order"]
    for _ in range(9):
        clock.advance(1)
        house.reconciler.run()
    assert house.manager.snapshot() == ()
    assert house.exchange.fetch_stop_orders() == ()
    assert house.exchange.net[SYMBOL] == D(5)


def test_a_missing_stop_is_placed_again() -> None:
    """Somebody cancelled the resting stop: a new one rests and is confirmed."""
    house = a_manager()
    opened(house)
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)
    result = house.reconciler.run()
    assert kinds(result) == [Kind.UNPROTECTED]
    (again,) = house.exchange.fetch_stop_orders()
    assert again.order_id != stop.order_id
    assert house.reconciler.run().found == ()


@pytest.mark.parametrize("call", ["fetch_stop_orders", "cancel_order"])
def test_a_symbol_whose_stop_was_not_swept_is_not_entered(call: str) -> None:
    """The sweep after an exit failed: that stop would close the next position, so it is waited for."""
    house = a_manager()
    opened(house)

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before[call] = fail
    house.manager.close_position(SYMBOL)
    del house.exchange.before[call]
    assert isinstance(house.manager.open_position(an_entry_request(), an_account()), NotOpened)
    assert house.manager.has_uncertain()                          # so that reconciliation comes soon
    assert kinds(house.reconciler.run()) == [Kind.ORPHAN_STOP]
    house.reconciler.run()
    assert not house.manager.has_uncertain()
    opened(house)


def test_an_orphaned_stop_is_cancelled_and_foreign_ones_are_not() -> None:
    """A stop of RAD's without a position goes; a stop somebody else placed stays."""
    house = a_manager(exits=exit_rules())
    opened(house)
    (stop,) = house.exchange.fetch_stop_orders()
    elsewhere = replace(stop, symbol=OTHER)
    house.exchange.orders["orphan"] = replace(elsewhere, order_id="orphan", client_oid="rad-0abcdefgh001-s1")
    house.exchange.orders["theirs"] = replace(elsewhere, order_id="theirs", client_oid="my-own-stop")
    result = house.reconciler.run()
    assert kinds(result) == [Kind.ORPHAN_STOP]
    assert {order.order_id for order in house.exchange.fetch_stop_orders()} == {stop.order_id, "theirs"}


def test_an_exit_that_left_just_before_a_crash_is_booked_as_our_own() -> None:
    """The order filled and nothing was written: after the restart it is found by its client id."""
    house = a_manager()
    position = opened(house)
    exit_oid = f"rad-{position.position_id}-x1"
    house.exchange.prices[SYMBOL] = D(48_990)
    house.exchange.place_order(
        OrderRequest(client_oid=exit_oid, symbol=SYMBOL, side=OrderSide.SELL, quantity=D(39), reduce_only=True),
        Priority.CRITICAL,
    )
    house = restarted(house)
    house.reconciler.run()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.STOP_LOSS
    assert trade.exit_price == D(48_990)
    assert house.reconciler.run().found == ()


def test_a_client_id_used_before_a_crash_is_not_used_again() -> None:
    """An exit filled in part and was not recorded: the next one carries the next number."""
    house = a_manager()
    position = opened(house)
    house.exchange.fillable = D(9)
    house.exchange.place_order(
        OrderRequest(
            client_oid=f"rad-{position.position_id}-x1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(39),
            reduce_only=True,
        ),
        Priority.CRITICAL,
    )
    house.exchange.fillable = None
    house = restarted(house)
    house.reconciler.run()
    assert house.manager.find(SYMBOL).quantity == D(30)           # type: ignore[union-attr]
    house.manager.close_position(SYMBOL)
    oids = [request.client_oid for request in house.exchange.exits()]
    assert len(set(oids)) == len(oids) == 2
    assert house.exchange.net[SYMBOL] == 0


def test_what_is_uncertain_stays_so_when_the_look_up_fails() -> None:
    """The exchange fails in the middle of resolving: the exit is looked at again by the next run."""
    house = a_manager()
    opened(house)
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trigger_stop(SYMBOL)
    listed = house.exchange.orders.copy()
    house.exchange.orders.clear()                                 # for a moment it shows none of them
    fills = house.exchange.fills.copy()
    house.exchange.fills.clear()
    with pytest.raises(NothingToClose):
        house.manager.close_position(SYMBOL)
    house.exchange.orders.update(listed)
    house.exchange.fills += fills

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["fetch_positions"] = fail
    with pytest.raises(ExchangeUnavailable):
        house.reconciler.run()
    assert house.manager.has_uncertain()
    del house.exchange.before["fetch_positions"]
    house.reconciler.run()
    assert len(house.journal.trades) == 1


def test_a_day_of_fills_is_looked_up_in_the_journal_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found booked is not asked for again, as long as the exchange lists it."""
    house = a_manager()
    for _ in range(3):
        opened(house)
        house.manager.close_position(SYMBOL, ExitReason.MANUAL)
    asked: list[str] = []
    is_booked = house.journal.is_booked

    def noting(symbol: str, trade_id: str) -> bool:
        asked.append(trade_id)
        return is_booked(symbol, trade_id)

    monkeypatch.setattr(house.journal, "is_booked", noting)
    house.reconciler.run()
    house.reconciler.run()
    assert sorted(asked) == sorted(fill.trade_id for fill in house.exchange.fills)


def test_fills_listed_late_are_booked_later(clock: ManualClock) -> None:
    """The exchange lists an exit's fills a minute late: the fee was estimated, the fills are booked then."""
    clock.flows = True
    house = a_manager(clock=clock)
    opened(house)
    listed = house.exchange.fetch_order_fills
    house.exchange.fetch_order_fills = lambda order_id, priority=Priority.HIGH: ()   # type: ignore[method-assign]
    house.manager.close_position(SYMBOL)
    booked = len(house.journal.fills)
    house.exchange.fetch_order_fills = listed                     # type: ignore[method-assign]
    house.reconciler.run()
    assert len(house.journal.fills) == booked + 1
    assert len(house.journal.fills) == len(house.exchange.fills)
