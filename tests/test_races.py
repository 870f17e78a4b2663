"""Two at once: the monitor, its workers, reconciliation and a person, each in the middle of something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest

from execution.book import NotOpened
from execution.protection import ProtectRules, confirmed
from tests.crowd import PATIENCE_S, crowd
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened, price_moves_to
from tests.test_protection import ALL_OUT, held, resting
from tests.trading_house import (
    SYMBOL,
    TradingHouse,
    a_manager,
    an_account,
    an_entry_request,
    exit_rules,
    restarted,
)
from trading.errors import ExchangeError, ExchangeUnavailable, OrderRejected
from trading.exits import Distance, TakeProfit
from trading.facts import OrderSide, Priority

D = Decimal
OTHER = "ETH/USDT:USDT"


def hangs_once(house: TradingHouse, call: str) -> tuple[threading.Event, threading.Event]:
    """Let such a call of the thread that moves a stop hang, once; return "it hangs" and "go on"."""
    hanging, go_on = threading.Event(), threading.Event()

    def hang(_what: object) -> None:
        if threading.current_thread().name.startswith("crowd") and not hanging.is_set():
            hanging.set()
            assert go_on.wait(PATIENCE_S)

    house.exchange.before[call] = hang
    return hanging, go_on


def test_a_stop_move_that_ends_while_book_and_exchange_are_compared_leaves_no_orphan(clock: ManualClock) -> None:
    """Old stop and new were seen, and the move is over before anybody asks what is under way: both may not go."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.advance(3)
    cancelling, go_on = hangs_once(house, "cancel_order")
    moved = threading.Event()
    busy, asked = house.manager.busy_symbols, []

    def under_way() -> frozenset[str]:
        asked.append(None)
        if len(asked) == 2:                        # after the look, and after the first question
            go_on.set()
            assert moved.wait(PATIENCE_S)
        return busy()

    house.exchange.before["fetch_stop_orders"] = lambda symbol: symbol or asked.clear()

    def move() -> None:
        price_moves_to(house, "51500")
        moved.set()

    house.manager.busy_symbols = under_way         # type: ignore[method-assign]
    with crowd(move):
        assert cancelling.wait(PATIENCE_S)
        assert house.reconciler.run().agrees
    assert resting(house).client_oid == held(house).protective_stop.client_oid     # type: ignore[union-attr]


def test_a_symbol_is_not_entered_while_a_stop_of_its_last_position_is_being_moved(clock: ManualClock) -> None:
    """Whoever moves it would sweep the stop of the next position as an old one of the last."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.advance(3)
    confirming, go_on = threading.Event(), threading.Event()
    asked: list[object] = []

    def hang(_symbol: object) -> None:             # read back, and hanging as it goes to sweep the others
        if threading.current_thread().name.startswith("crowd"):
            asked.append(None)
            if len(asked) == 2:
                confirming.set()
                assert go_on.wait(PATIENCE_S)

    house.exchange.before["fetch_stop_orders"] = hang
    with crowd(lambda: price_moves_to(house, "51500")):
        assert confirming.wait(PATIENCE_S)
        assert house.manager.close_position(SYMBOL) is not None
        house.reconciler.run()
        second = house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
        go_on.set()
    assert isinstance(second, NotOpened)
    house.reconciler.run()
    opened(house, now_ms=clock.now_ms())
    assert resting(house).client_oid == held(house).protective_stop.client_oid     # type: ignore[union-attr]


def is_overtaken_once(house: TradingHouse, by: Callable[[], object]) -> None:
    """Let *by* happen between the monitor's look at a position and what it does about it."""
    ask = house.exchange.instrument

    def overtaken(symbol: str) -> object:
        house.exchange.instrument = ask            # type: ignore[method-assign]
        by()
        return ask(symbol)

    house.exchange.instrument = overtaken          # type: ignore[method-assign,assignment]


def test_a_rung_that_another_has_taken_meanwhile_is_not_taken_again(clock: ManualClock) -> None:
    """Decided by a position as it was: a quarter leaves at four percent, not two quarters."""
    rung = TakeProfit(at=Distance(fraction=D("0.04")), share=D("0.25"))
    far = TakeProfit(at=Distance(fraction=D("0.5")), share=D("0.25"))
    house = a_manager(clock=clock, exits=exit_rules(trailing=None, break_even=None, take_profit=(rung, far)))
    opened(house, now_ms=clock.now_ms())
    house.exchange.prices[SYMBOL] = D(52_100)
    house.prices.set(SYMBOL, D(52_100))
    is_overtaken_once(house, house.manager.update_positions)
    house.manager.update_positions()
    assert [request.quantity for request in house.exchange.exits()] == [D(10)]     # a quarter of 39, up
    assert held(house).steps_taken == 1


def test_a_stop_that_another_has_moved_further_meanwhile_is_not_moved_back(clock: ManualClock) -> None:
    """One monitor saw 51,500 and was given up on, the next saw 52,500: the stop stays where that one put it."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    is_overtaken_once(house, lambda: price_moves_to(house, "52500"))
    price_moves_to(house, "51500")
    assert (held(house).stop_price, held(house).best_price) == (D(51_975), D(52_500))      # 52,500 × 0.99


def test_a_stop_another_has_placed_at_the_last_moment_is_no_reason_to_flatten(clock: ManualClock) -> None:
    """Two at it: one gives up at the deadline, during whose last pause the other's stop was confirmed."""
    house = a_manager(clock=clock, exits=ALL_OUT, protect=ProtectRules(deadline_s=0.5))
    position = opened(house, now_ms=clock.now_ms())
    clock.flows = True
    stop = confirmed(resting(house), clock.now_ms())
    assert stop is not None
    house.manager.stop_lost(SYMBOL, position.position_id)
    assert house.manager.claim_stop_move(SYMBOL) is not None       # the other's, all the while
    pause, pauses = clock.wait, []

    def last_pause(event: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 3:                                       # 0.4 s: the last before 0.5 s
            house.manager.stop_rests(SYMBOL, position.position_id, stop)
        return pause(event, seconds)

    clock.wait = last_pause                                        # type: ignore[method-assign]
    assert house.manager.protect(SYMBOL)
    assert house.exchange.exits() == []


def test_what_has_become_shared_since_a_refusal_is_not_closed_whole(clock: ManualClock) -> None:
    """The next rung was closeOrder; a person adds to the position before it leaves: RAD's lots alone go."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())

    def refuse(_request: object) -> None:
        raise OrderRejected("system busy", code="300002")

    house.exchange.before["place_order"] = refuse
    with pytest.raises(ExchangeError):
        house.manager.close_position(SYMBOL)
    del house.exchange.before["place_order"]
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(100))
    house.reconciler.run()
    clock.advance(1)
    house.manager.update_positions()
    assert house.exchange.net[SYMBOL] == D(100)


def test_catching_up_changes_nothing_until_everything_is_read() -> None:
    """The exchange answers for one position and not for the other, five times: no number is passed over for it."""
    house = a_manager(symbols=[SYMBOL, OTHER])
    opened(house)
    opened(house, symbol=OTHER)
    house = restarted(house)
    numbers = {position.symbol: position.exit_attempt for position in house.manager.snapshot()}
    first, second = house.manager.snapshot()

    def second_is_silent(client_oid: object) -> None:
        if second.position_id in str(client_oid):
            raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = second_is_silent
    for _ in range(5):
        with pytest.raises(ExchangeUnavailable):
            house.reconciler.catch_up()
    assert {position.symbol: position.exit_attempt for position in house.manager.snapshot()} == numbers
    assert first.symbol in numbers


def test_what_is_being_entered_is_not_adopted(clock: ManualClock) -> None:
    """A person has a position there, and an entry by hand is claimed before that is known."""
    house = a_manager(clock=clock, exits=ALL_OUT, adopt=True)
    house.exchange.now_ms = clock.now_ms
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(5))
    (theirs,) = house.exchange.fetch_positions()
    adopted: list[object] = []

    def adopt_meanwhile(_symbol: object) -> None:
        del house.exchange.before["set_margin_mode"]
        adopted.append(house.manager.adopt(theirs))

    house.exchange.before["set_margin_mode"] = adopt_meanwhile
    position = opened(house, now_ms=clock.now_ms())
    assert adopted == [None]
    assert held(house).position_id == position.position_id
    assert held(house).quantity == D(39)


def test_what_a_person_opens_waits_until_the_stops_of_the_last_position_are_gone(clock: ManualClock) -> None:
    """Whoever still has to sweep them would sweep its own with them."""
    house = a_manager(clock=clock, exits=ALL_OUT, adopt=True)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(5))
    house.manager.leave_unswept(SYMBOL)
    (theirs,) = house.exchange.fetch_positions()
    assert house.manager.adopt(theirs) is None
    house.reconciler.run()
    assert held(house).protective_stop is not None


def test_a_stop_that_was_missing_and_has_been_replaced_since_is_not_given_up(clock: ManualClock) -> None:
    """Both were missed; while the first is protected again another thread does the second: one new stop each."""
    house = a_manager([OTHER, SYMBOL], clock=clock, exits=ALL_OUT)
    first, second = (opened(house, symbol=symbol, now_ms=clock.now_ms()) for symbol in sorted((OTHER, SYMBOL)))
    clock.advance(3)
    for stop in house.exchange.fetch_stop_orders():
        house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    placed: list[object] = []

    def place(request: object) -> None:
        placed.append(request)
        if len(placed) == 1:                       # the first one's, just now
            house.manager.stop_lost(second.symbol, second.position_id)
            assert house.manager.protect(second.symbol)

    house.exchange.before["place_order"] = place
    house.reconciler.run()
    assert len(placed) == 2
    assert first.symbol != second.symbol


def test_an_exit_found_while_its_worker_is_at_it_is_booked_once(clock: ManualClock) -> None:
    """Somebody has sold a part. What did is looked for, and finds the exit that takes a profit just then.

    It has filled and is in no book yet; before it is booked for having been found, its own worker has booked it.
    """
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(10))
    house.prices.set(SYMBOL, D(52_100))
    monitor = threading.Thread(target=house.manager.update_positions, name="monitor", daemon=True)
    filled, go_on, asked = threading.Event(), threading.Event(), list[str]()

    def begin(_what: object) -> None:
        if not monitor.ident:
            monitor.start()
            assert filled.wait(PATIENCE_S)

    def wait_for_the_finder(_what: object) -> None:
        if threading.current_thread() is monitor:
            filled.set()
            assert go_on.wait(PATIENCE_S)

    is_booked = house.journal.is_booked

    def then_its_worker(symbol: str, trade_id: str) -> bool:
        found = is_booked(symbol, trade_id)
        asked.append(trade_id)
        if asked.count(house.exchange.fills[-1].trade_id) == 2:        # as a fill, and as one of its order's
            go_on.set()
            monitor.join(PATIENCE_S)
        return found

    house.exchange.before |= {"find_order": begin, "fetch_order_fills": wait_for_the_finder}
    house.journal.is_booked = then_its_worker       # type: ignore[method-assign]
    house.reconciler.run()
    assert go_on.is_set()
    assert not monitor.is_alive()
    assert held(house).quantity == D(19)            # 39 less half of it, rounded up
    house.reconciler.run()
    assert held(house).quantity == house.exchange.net[SYMBOL] == D(9)
    assert resting(house)
