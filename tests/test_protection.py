"""The stop on the exchange: moved, swapped where two are refused, lost, passed by; the gap is measured."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from execution.protection import ProtectRules
from tests.crowd import PATIENCE_S, crowd
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened, price_moves_to
from tests.trading_house import SYMBOL, TradingHouse, a_manager, an_account, an_entry_request, exit_rules
from trading.errors import ExchangeUnavailable, OrderRejected, TooManyStops
from trading.facts import ExitReason, Order, OrderRequest, Position, Side
from trading.lifecycle import IntentState

D = Decimal
ALL_OUT = exit_rules(take_profit=())


def a_house_of_one_stop(clock: ManualClock) -> TradingHouse:
    """A long with its first stop at 48,951, on an exchange that lets one rest; time for it to move."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    house.exchange.one_stop = True
    opened(house, now_ms=clock.now_ms())
    clock.advance(3)
    return house


def held(house: TradingHouse) -> Position:
    position = house.manager.find(SYMBOL)
    assert position is not None
    return position


def resting(house: TradingHouse) -> Order:
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    return stop


def on_stops(house: TradingHouse, act: Callable[[OrderRequest], None]) -> None:
    def hook(request: object) -> None:
        assert isinstance(request, OrderRequest)
        if "-s" in request.client_oid:
            act(request)

    house.exchange.before["place_order"] = hook


def test_where_two_are_refused_the_old_one_goes_first(clock: ManualClock) -> None:
    """Refused beside the old one: cancelled, placed anew higher, read back; the refusal is remembered."""
    house = a_house_of_one_stop(clock)
    house.exchange.before["cancel_order"] = lambda _id: clock.advance(0.25)
    price_moves_to(house, "51500")
    assert resting(house).stop_price == D("50934.1")
    assert held(house).protective_stop.order_id == resting(house).order_id   # type: ignore[union-attr]
    assert house.monitor.gaps_s[-1] == 0.25                       # from before the cancel to the new one read back
    asked = len(house.exchange.received)
    clock.advance(3)
    price_moves_to(house, "52500")
    assert resting(house).stop_price == D("51923.1")              # 52,500 × 0.99 × 0.999, up
    assert len(house.exchange.received) == asked + 1              # none was tried beside the old one first
    assert len([o for o in house.exchange.orders.values() if o.is_stop and o.is_active]) == 1


def test_a_cancel_that_is_only_accepted_is_waited_for(clock: ManualClock) -> None:
    """The old stop is listed for two looks more: the new one is not tried before it is gone."""
    house = a_house_of_one_stop(clock)
    clock.flows = True
    (old,) = house.exchange.fetch_stop_orders(SYMBOL)
    house.exchange.lazy_cancels = []
    looks: list[object] = []

    def carry_out_at_the_third(_symbol: object) -> None:
        if house.exchange.lazy_cancels:
            looks.append(_symbol)
            if len(looks) == 3:
                house.exchange.orders[old.order_id] = replace(old, is_active=False, is_cancelled=True)

    house.exchange.before["fetch_stop_orders"] = carry_out_at_the_third
    price_moves_to(house, "51500")
    refused = [oid for oid in house.journal.intents if house.journal.intents[oid] is IntentState.REJECTED]
    assert len(refused) == 1                                      # the one beside the old one, that taught it
    assert resting(house).stop_price == D("50934.1")


def test_while_it_is_swapped_the_position_counts_as_unprotected(clock: ManualClock) -> None:
    """Between cancel and read-back nobody may rely on a stop: not the book, not the deadline."""
    house = a_house_of_one_stop(clock)
    seen: list[object] = []
    house.exchange.before["cancel_order"] = lambda _id: seen.append(held(house).protective_stop)
    price_moves_to(house, "51500")
    assert seen == [None]
    assert held(house).protective_stop is not None


def test_a_new_stop_that_is_refused_puts_the_old_price_back(clock: ManualClock) -> None:
    """Old one gone, new one refused: one at the old price rests again, and a later move tries anew."""
    house = a_house_of_one_stop(clock)

    def refuse_higher(request: OrderRequest) -> None:
        if request.stop_price == D("50934.1") and not house.exchange.fetch_stop_orders(SYMBOL):
            raise OrderRejected("suspended", code="300002")

    on_stops(house, refuse_higher)
    price_moves_to(house, "51500")
    assert resting(house).stop_price == D("48951.0")
    assert held(house).protective_stop.stop_price == D("48951.0")  # type: ignore[union-attr]
    assert held(house).stop_price == D("50985.0")                 # RAD's own has moved all the same
    oids = [request.client_oid for request in house.exchange.received if "-s" in request.client_oid]
    assert len(set(oids)) == len(oids)
    del house.exchange.before["place_order"]
    clock.advance(3)
    price_moves_to(house, "51600")
    assert resting(house).stop_price == D("51033.0")              # 51,600 × 0.99 × 0.999 = 51,032.916


def test_nothing_is_taken_any_more_means_flat_within_the_deadline(clock: ManualClock) -> None:
    """New and old price are refused: unprotected from the cancel on, and the monitor leaves five seconds later."""
    house = a_house_of_one_stop(clock)

    def refuse_all(request: OrderRequest) -> None:
        if not house.exchange.fetch_stop_orders(SYMBOL):
            raise OrderRejected("suspended", code="300002")

    on_stops(house, refuse_all)
    price_moves_to(house, "51500")
    assert held(house).protective_stop is None
    clock.advance(4.9)
    price_moves_to(house, "51500")
    assert house.exchange.exits() == []
    clock.advance(0.2)
    price_moves_to(house, "51500")
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.UNPROTECTED


def test_a_cancel_that_is_not_certain_keeps_what_is_listed(clock: ManualClock) -> None:
    """The old stop cannot be cancelled: it is still listed, so it still protects, and is booked as such."""
    house = a_house_of_one_stop(clock)
    before = resting(house)

    def no_answer(_id: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["cancel_order"] = no_answer
    price_moves_to(house, "51500")
    assert resting(house) == before
    assert held(house).protective_stop.order_id == before.order_id   # type: ignore[union-attr]


def test_an_old_stop_that_fires_while_it_is_cancelled_is_booked(clock: ManualClock) -> None:
    """The cancel loses to the trigger: the new stop meets no position, reconciliation finds the fills."""
    house = a_house_of_one_stop(clock)

    def fire(_id: object) -> None:
        house.exchange.before.pop("cancel_order")
        house.exchange.trigger_stop(SYMBOL)

    house.exchange.before["cancel_order"] = fire
    price_moves_to(house, "51500")
    assert house.manager.has_uncertain()
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.EXCHANGE_STOP


def test_somebody_elses_stop_that_keeps_ours_out_is_not_touched(clock: ManualClock) -> None:
    """One stop allowed, and a person's rests: RAD cancels nothing of his, and leaves at the deadline."""
    clock.flows = True
    house = a_manager(clock=clock, exits=ALL_OUT)
    house.exchange.order_elsewhere("theirs", client_oid="web-1", close_order=True, stop_price=D(40_000))
    house.exchange.one_stop = True
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.UNPROTECTED
    assert resting(house).order_id == "theirs"


def test_a_swap_of_the_daemon_does_not_hold_up_an_exit(clock: ManualClock) -> None:
    """The cancel hangs on the wire and the price falls through the stop: the exit goes out meanwhile."""
    house = a_house_of_one_stop(clock)
    hanging, answer = threading.Event(), threading.Event()

    def hang(_id: object) -> None:
        if not hanging.is_set():
            hanging.set()
            assert answer.wait(PATIENCE_S)

    house.exchange.before["cancel_order"] = hang
    with crowd(lambda: price_moves_to(house, "51500")):
        assert hanging.wait(PATIENCE_S)
        house.exchange.prices[SYMBOL] = D(50_900)
        house.prices.set(SYMBOL, D(50_900))
        house.manager.update_positions()
        assert house.exchange.net[SYMBOL] == 0
        answer.set()
    assert len(house.journal.trades) == 1
    assert house.exchange.fetch_stop_orders() == ()


def test_a_stop_lost_later_is_overdue_from_then_on(clock: ManualClock) -> None:
    """Protected for a minute, then not: the deadline counts from the loss, not from the entry."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    clock.advance(60)
    house.manager.stop_lost(SYMBOL, position.position_id)
    assert house.manager.unprotected_for(5.0) == ()
    clock.advance(5.1)
    assert [p.symbol for p in house.manager.unprotected_for(5.0)] == [SYMBOL]


def test_a_stop_somebody_cancelled_is_placed_again_and_the_gap_is_told(clock: ManualClock) -> None:
    """Reconciliation misses it: counted as unprotected from there, placed, and the gap recorded."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    stop = resting(house)
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)
    gaps = len(house.monitor.gaps_s)
    on_stops(house, lambda _request: clock.advance(0.5))
    assert house.reconciler.run().agrees
    assert house.monitor.gaps_s[gaps:] == [0.5]
    assert resting(house).order_id != stop.order_id


def test_a_price_beyond_the_stop_is_an_exit_not_a_stop(clock: ManualClock) -> None:
    """Market and mark have fallen below where the stop belongs, and none rests: leave at once."""
    for side, price, mark in ((Side.LONG, "48940", "48900"), (Side.SHORT, "51060", "51100")):
        house = a_manager(clock=clock, exits=ALL_OUT)
        opened(house, side=side, now_ms=clock.now_ms())
        stop = resting(house)
        house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)
        house.exchange.prices[SYMBOL] = D(price)
        house.prices.set(SYMBOL, D(price), received=clock.monotonic())
        house.prices._prices[SYMBOL] = replace(house.prices._prices[SYMBOL], mark=D(mark))
        stops = len([request for request in house.exchange.received if "-s" in request.client_oid])
        house.reconciler.run()
        (trade,) = house.journal.trades
        assert trade.exit_reason is ExitReason.STOP_LOSS
        assert len([request for request in house.exchange.received if "-s" in request.client_oid]) == stops


def test_moving_it_is_not_done_for_a_tick_nor_all_the_time(clock: ManualClock) -> None:
    """A step below 0.1 % waits for more of it; a larger one waits until two seconds are over."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.advance(3)
    price_moves_to(house, "51500")
    first = resting(house)
    price_moves_to(house, "51540")                                # 40 × 0.99: below 50.9
    clock.advance(3)
    price_moves_to(house, "51545")
    assert resting(house) == first
    price_moves_to(house, "51600")
    assert resting(house) != first
    second = resting(house)
    clock.advance(1)
    price_moves_to(house, "52000")
    assert resting(house) == second
    clock.advance(1.1)
    price_moves_to(house, "52001")
    assert resting(house) != second


def test_too_many_stops_with_none_of_ours_resting_is_a_plain_refusal(clock: ManualClock) -> None:
    """Nothing to swap: no cancel is sent, the deadline decides."""
    clock.flows = True
    house = a_manager(clock=clock, protect=ProtectRules(deadline_s=2))

    def refuse(_request: OrderRequest) -> None:
        raise TooManyStops("Stop order quantity limit exceeded", code="300004")

    cancels: list[object] = []
    house.exchange.before["cancel_order"] = cancels.append
    on_stops(house, refuse)
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.UNPROTECTED
    assert cancels == []


def test_once_all_is_over_a_stop_is_tried_once(clock: ManualClock) -> None:
    """Another RAD has taken over and nothing may leave: no spinning until the deadline."""
    over = threading.Event()
    over.set()
    house = a_manager(clock=clock, abandon=over)
    tries: list[OrderRequest] = []

    def refuse(request: OrderRequest) -> None:
        tries.append(request)
        assert len(tries) < 20
        raise ExchangeUnavailable("not sent: this RAD does not hold the lease")

    on_stops(house, refuse)
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    assert len(tries) == 1


def test_a_stop_that_could_not_follow_at_once_follows_without_another_move(clock: ManualClock) -> None:
    """RAD's own stop moved within the two seconds of rest: the resting one comes after it when they are over."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.advance(1)
    price_moves_to(house, "51500")
    assert resting(house).stop_price == D("48951.0")              # where it was first: 49,000 × 0.999
    clock.advance(1)
    house.manager.update_positions()
    assert resting(house).stop_price == D("50934.1")              # 51,500 × 0.99 × 0.999, up to a tick


def test_a_mark_that_lags_behind_a_leap_moves_no_stop_and_closes_nothing(clock: ManualClock) -> None:
    """The bid has leapt, the mark has not: the old stop stays until a later look finds it behind the mark."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.advance(3)
    house.exchange.prices[SYMBOL] = D(51_500)
    house.prices.set(SYMBOL, D(51_500), received=clock.monotonic())
    house.prices._prices[SYMBOL] = replace(house.prices._prices[SYMBOL], mark=D(50_000))
    house.manager.update_positions()
    assert house.exchange.exits() == []
    assert resting(house).stop_price == D("48951.0")
    house.prices.set(SYMBOL, D(51_500), received=clock.monotonic())
    clock.advance(2)
    house.manager.update_positions()
    assert resting(house).stop_price == D("50934.1")


def test_a_stop_that_is_over_as_soon_as_it_is_taken_is_replaced_at_once(clock: ManualClock) -> None:
    """Taken and gone before the list shows it: nobody waits for it to be listed until the deadline."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    clock.flows = True
    deaths = iter(range(3))

    def strike(_symbol: object) -> None:
        if next(deaths, None) is not None:
            (stop,) = [order for order in house.exchange.orders.values() if order.is_stop and order.is_active]
            house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)

    house.exchange.before["fetch_stop_orders"] = strike
    begun = clock.monotonic()
    opened(house, now_ms=clock.now_ms())
    assert resting(house).client_oid.endswith("-s4")
    assert clock.monotonic() - begun < 1
