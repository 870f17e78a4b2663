"""A journal put back from a copy: what RAD has done since is found on the exchange, once, and as what it was."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.catching_up import PATIENT_TRIES, UNREAD
from tests.fake_exchange import FakeJournal
from tests.test_position_manager import opened
from tests.test_restart import a_stop_replaces_it
from tests.trading_house import SYMBOL, TradingHouse, a_manager, exit_rules, restarted
from trading.errors import BadResponse, ExchangeUnavailable, JournalError
from trading.facts import ExitReason, OrderRequest, OrderSide, Position, Priority
from trading.lifecycle import PositionState

D = Decimal
ALL_OUT = exit_rules(take_profit=())


def a_copy(journal: FakeJournal) -> FakeJournal:
    """Return the journal as it is at this moment."""
    copy = FakeJournal()
    for name in ("intents", "order_ids", "requests", "fills", "positions"):
        getattr(copy, name).update(getattr(journal, name))
    copy.trades.extend(journal.trades)
    return copy


def put_back(house: TradingHouse, copy: FakeJournal) -> TradingHouse:
    """The next start, on the same exchange with a journal of before."""
    return restarted(replace(house, journal=copy), exits=ALL_OUT)


def the_next_in_its_symbol(house: TradingHouse, price: int) -> Position:
    """Let RAD open another position where the last one has ended."""
    house.exchange.prices[SYMBOL] = D(price)
    return opened(house, price=D(price))


@pytest.mark.parametrize("ended_by", ["its stop", "its exit", "a part, then its stop"])
def test_another_position_in_its_symbol_is_not_taken_for_the_old_one(ended_by: str) -> None:
    """The old one is booked as it ended; the new one keeps its stop, is rebuilt, and nothing is sold."""
    house = a_manager(exits=ALL_OUT)
    old = opened(house)
    copy = a_copy(house.journal)
    if ended_by == "its exit":
        house.exchange.prices[SYMBOL] = D(49_400)
        assert house.manager.close_position(SYMBOL) is not None
    else:
        if ended_by == "a part, then its stop":
            house.exchange.place_order(OrderRequest(
                client_oid=f"rad-{old.position_id}-x1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(20),
                reduce_only=True,
            ), Priority.CRITICAL)
        house.exchange.prices[SYMBOL] = D(48_900)
        house.exchange.trigger_stop(SYMBOL)
        while house.manager.snapshot():
            house.reconciler.run()
    new = the_next_in_its_symbol(house, 48_000)
    sent = len(house.exchange.received)
    house = put_back(house, copy)
    assert [position.state for position in house.manager.snapshot()] in ([], [PositionState.CLOSING])
    house.reconciler.run()
    (trade,) = house.journal.trades
    assert trade.position_id == old.position_id
    assert (trade.exit_reason is ExitReason.EXCHANGE_STOP) == (ended_by != "its exit")
    assert len(house.exchange.received) == sent
    (held,) = house.manager.snapshot()
    assert (held.position_id, held.quantity, held.entry_price) == (new.position_id, new.quantity, D(48_000))
    assert new.protective_stop is not None
    assert held.protective_stop is not None
    assert held.protective_stop.order_id == new.protective_stop.order_id
    assert house.reconciler.run().found == ()


def test_an_old_position_that_is_still_there_is_left_alone() -> None:
    """A part has left since, under a number starts of which the journal knows nothing have passed over to."""
    house = a_manager(exits=ALL_OUT)
    old = opened(house)
    copy = a_copy(house.journal)
    house.exchange.place_order(OrderRequest(
        client_oid=f"rad-{old.position_id}-x7", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(20),
        reduce_only=True,
    ), Priority.CRITICAL)
    a_stop_replaces_it(house, old, number=9)
    house = put_back(house, copy)
    house.reconciler.run()
    (held,) = house.manager.snapshot()
    assert (held.position_id, held.quantity, held.state) == (old.position_id, D(19), PositionState.OPEN)
    assert (held.exit_attempt, held.stop_attempt) >= (7, 9)
    assert house.manager.close_position(SYMBOL) is not None
    oids = [request.client_oid for request in house.exchange.received]
    assert len(oids) == len(set(oids))


def test_what_cannot_be_read_is_asked_again() -> None:
    """The start waits for its answer, and what was booked in the first try is not booked in the second."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    copy = a_copy(house.journal)
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trigger_stop(SYMBOL)
    house.reconciler.run()
    the_next_in_its_symbol(house, 48_000)
    restored = a_manager(exchange=house.exchange, journal=copy, exits=ALL_OUT)
    for position in copy.positions.values():
        restored.manager.restore(position)

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    for call in ("fetch_positions", "fetch_order"):
        house.exchange.before[call] = fail
        with pytest.raises(ExchangeUnavailable):
            restored.reconciler.catch_up()
        house.exchange.before.clear()
    restored.reconciler.catch_up()
    restored.reconciler.catch_up()
    assert len(restored.journal.trades) == 1
    assert restored.reconciler.run().agrees


def test_a_sweep_that_fails_does_not_cost_the_new_one_its_stop() -> None:
    """Nothing rests of the old one, so that its symbol is not waited for, and the new one is taken up at once."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    copy = a_copy(house.journal)
    house.exchange.prices[SYMBOL] = D(49_400)
    assert house.manager.close_position(SYMBOL) is not None
    new = the_next_in_its_symbol(house, 48_000)

    def fail(symbol: object) -> None:
        if symbol == SYMBOL:
            raise ExchangeUnavailable("no answer")

    house.exchange.before["fetch_stop_orders"] = fail
    house = put_back(house, copy)
    house.exchange.before.clear()
    house.reconciler.run()
    (held,) = house.manager.snapshot()
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    assert held.position_id == new.position_id
    assert stop.client_oid == f"rad-{new.position_id}-s1"


def test_its_stop_is_found_behind_many_later_orders() -> None:
    """The symbol has been traded since, again and again: that the stop has fired is found all the same."""
    house = a_manager(exits=ALL_OUT)
    old = opened(house)
    copy = a_copy(house.journal)
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trigger_stop(SYMBOL)
    house.reconciler.run()
    for _ in range(25):
        opened(house)
        assert house.manager.close_position(SYMBOL) is not None
    new = the_next_in_its_symbol(house, 48_000)
    house = put_back(house, copy)
    house.reconciler.run()
    (held,) = house.manager.snapshot()
    assert held.position_id == new.position_id
    assert [trade.position_id for trade in house.journal.trades] == [old.position_id]


@pytest.mark.parametrize(("part", "kind"), [(0, "trade"), (20, "trade"), (0, "liquid")])
def test_what_somebody_else_has_ended_is_over_too(part: int, kind: str) -> None:
    """The one there was opened later than the old one: whoever closed that, in the first fills after it."""
    house = a_manager(exits=ALL_OUT)
    old = opened(house)
    copy = a_copy(house.journal)
    if part:
        house.exchange.place_order(OrderRequest(
            client_oid=f"rad-{old.position_id}-x1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(part),
            reduce_only=True,
        ), Priority.CRITICAL)
        house.reconciler.run()
    house.exchange.prices[SYMBOL] = D(49_400)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39 - part), kind)
    while house.manager.snapshot():
        house.reconciler.run()
    house.exchange.now_ms = lambda: 2_000_000_600_000
    opened(house)                                          # its exit is no part of what ended the old one
    assert house.manager.close_position(SYMBOL) is not None
    new = the_next_in_its_symbol(house, 48_000)
    sent = len(house.exchange.received)
    house = put_back(house, copy)
    house.reconciler.run()
    (trade,) = house.journal.trades
    (held,) = house.manager.snapshot()
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    assert held.position_id == new.position_id
    assert stop.client_oid == f"rad-{new.position_id}-s1"
    assert len(house.exchange.received) == sent
    assert trade.position_id == old.position_id
    assert trade.exit_reason is (ExitReason.LIQUIDATION if kind == "liquid" else ExitReason.EXTERNAL)
    # 20 at 50,000 by RAD's own exit where there was one, the others at 49,400
    assert trade.exit_price == (D(part) * 50_000 + D(39 - part) * 49_400) / 39
    assert trade.closed_ms == 2_000_000_000_000


@pytest.mark.parametrize("call", ["fetch_recent_fills", "fetch_stop_orders", "fetch_positions"])
def test_one_list_that_stays_unreadable_keeps_no_exit_waiting(call: str) -> None:
    """A few tries later the start goes on without, far behind any number that may have been used."""
    house = a_manager(exits=ALL_OUT)
    position = opened(house)
    again = a_manager(exchange=house.exchange, journal=house.journal, exits=ALL_OUT)
    again.manager.restore(replace(position, version=0))

    def fail(_what: object) -> None:
        raise BadResponse("nonsense")

    house.exchange.before[call] = fail
    for _ in range(PATIENT_TRIES - 1):
        with pytest.raises(BadResponse):
            again.reconciler.catch_up()
    again.reconciler.catch_up()
    house.exchange.before.clear()
    assert again.manager.close_position(SYMBOL) is not None
    assert house.exchange.exits()[-1].client_oid == f"rad-{position.position_id}-x{UNREAD + 1}"


def test_an_exchange_that_answers_nothing_is_waited_for() -> None:
    """Those tries do not count: the first one with answers reads everything."""
    house = a_manager(exits=ALL_OUT)
    position = opened(house)
    again = a_manager(exchange=house.exchange, journal=house.journal, exits=ALL_OUT)
    again.manager.restore(replace(position, version=0))

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    for _ in range(2 * PATIENT_TRIES):
        house.exchange.before.update(fetch_recent_fills=fail, find_order=fail)
        with pytest.raises(ExchangeUnavailable):
            again.reconciler.catch_up()
    house.exchange.before.clear()
    house.exchange.before["fetch_stop_orders"] = fail
    with pytest.raises(ExchangeUnavailable):
        again.reconciler.catch_up()


def test_numbers_never_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An early stop rests, later ones were refused, and the journal cannot say so: none is used again."""
    house = a_manager(exits=ALL_OUT)
    position = opened(house)
    assert position.protective_stop is not None
    again = a_manager(exchange=house.exchange, journal=house.journal, exits=ALL_OUT)
    again.manager.restore(replace(position, stop_attempt=10, version=0))

    def fail(*_: object) -> int:
        raise JournalError("unreadable")

    monkeypatch.setattr(house.journal, "last_attempt", fail)
    again.reconciler.catch_up()
    (held,) = again.manager.snapshot()
    assert held.stop_attempt == 13
