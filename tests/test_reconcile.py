"""Book against exchange: each difference, what is concluded from it, and that failures conclude nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.book import NotOpened
from execution.reconcile import Reconciler
from tests.test_position_manager import opened
from tests.trading_house import SYMBOL, a_manager, an_account, an_entry_request, exit_rules, risk_rules
from trading.errors import ExchangeUnavailable, NothingToClose
from trading.facts import ExitReason, OrderRequest, OrderSide, Priority, Side
from trading.lifecycle import PositionState
from trading.reconciliation import Kind

D = Decimal
OTHER = "ETH/USDT:USDT"


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


@pytest.mark.parametrize("call", ["fetch_positions", "fetch_stop_orders", "fetch_open_orders"])
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


@pytest.mark.parametrize(("side", "kind"), [(OrderSide.BUY, Kind.LARGER), (OrderSide.SELL, Kind.TURNED)])
def test_more_or_the_other_side_is_unexplained(side: OrderSide, kind: Kind) -> None:
    """RAD neither sells what it did not buy nor follows a turn: it reports and blocks entries."""
    house = a_manager()
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, side, D(100))
    result = house.reconciler.run()
    assert kinds(result) == [kind]
    assert not result.agrees
    assert house.exchange.exits() == []


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
    house = a_manager()
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(7))
    guard = Reconciler(house.exchange, house.manager, house.sender, house.journal, protect=True, adopt=True)
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
def test_an_entry_taken_up_again_numbers_on_from_the_stop_it_had(fired: bool) -> None:
    """Killed after its stop, before the position was written down: the stop is found, its id not used again."""
    house = a_manager()
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
        assert [order.client_oid for order in house.exchange.fetch_stop_orders()] == [f"rad-{plan.position_id}-s2"]


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
    house.reconciler.catch_up()
    house.reconciler.run()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.STOP_LOSS
    assert trade.exit_price == D(48_990)
    assert house.reconciler.run().found == ()


@pytest.mark.parametrize("lots", [D(39), D(9)])
def test_an_exit_whose_fills_alone_were_booked_before_a_crash_is_booked(lots: Decimal) -> None:
    """Killed between the fills and the position: the fills in the journal do not make it closed."""
    house = a_manager()
    position = opened(house)
    exit_oid = f"rad-{position.position_id}-x1"
    order_id = house.exchange.place_order(
        OrderRequest(client_oid=exit_oid, symbol=SYMBOL, side=OrderSide.SELL, quantity=lots, reduce_only=True),
        Priority.CRITICAL,
    )
    house.journal.record_fills(exit_oid, house.exchange.fetch_order_fills(order_id))
    house.reconciler.catch_up()
    assert house.reconciler.run().agrees
    left = house.manager.find(SYMBOL)
    assert (left.quantity if left else D(0)) == D(39) - lots
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
    house.reconciler.catch_up()
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
    with pytest.raises(NothingToClose):
        house.manager.close_position(SYMBOL)

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["fetch_positions"] = fail
    with pytest.raises(ExchangeUnavailable):
        house.reconciler.run()
    assert house.manager.has_uncertain()
    del house.exchange.before["fetch_positions"]
    house.reconciler.run()
    assert len(house.journal.trades) == 1


def test_fills_listed_late_are_booked_later() -> None:
    """The exchange lists an exit's fills a minute late: the fee was estimated, the fills are booked then."""
    house = a_manager()
    opened(house)
    listed = house.exchange.fetch_order_fills
    house.exchange.fetch_order_fills = lambda order_id, priority=Priority.HIGH: ()   # type: ignore[method-assign]
    house.manager.close_position(SYMBOL)
    booked = len(house.journal.fills)
    house.exchange.fetch_order_fills = listed                     # type: ignore[method-assign]
    house.reconciler.run()
    assert len(house.journal.fills) == booked + 1
    assert len(house.journal.fills) == len(house.exchange.fills)
