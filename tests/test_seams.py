"""Where doubts, decided exits, stop moves and restarts meet: each sequence once went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest

from execution.exiting import ExitWorkers
from execution.protection import ProtectRules
from runtime.pool import UrgentPool
from tests.crowd import PATIENCE_S, crowd
from tests.fake_exchange import FakeJournal
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened, price_moves_to
from tests.trading_house import SYMBOL, TradingHouse, a_manager, exit_rules, restarted
from trading.errors import ExchangeError, ExchangeUnavailable, NothingToClose, OrderRejected
from trading.exits import Distance, TakeProfit
from trading.facts import ExitReason, OrderRequest, OrderSide, Position, Priority
from trading.lifecycle import UNSEEN_S, PositionState

D = Decimal
ALL_OUT = exit_rules(take_profit=())
PARTS = exit_rules(trailing=None, break_even=None)


class WaitingWorkers:
    """Exit workers that carry out what is urgent at once and keep the rest."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []

    def carry_out(self, tasks: int) -> None:
        for _ in range(tasks):
            self.tasks.pop(0)()

    def submit(self, task: Callable[[], None], priority: Priority, after_s: float = 0.0) -> None:
        if priority is Priority.CRITICAL:
            task()
        else:
            self.tasks.append(task)


def loses_its_stop(house: TradingHouse, position: Position) -> None:
    """Let the resting stop be gone, and RAD know it."""
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    house.manager.stop_lost(SYMBOL, position.position_id)


def let_wait(house: TradingHouse) -> WaitingWorkers:
    """Replace the workers of *house*."""
    workers: ExitWorkers = WaitingWorkers()
    house.manager._exit_workers = house.manager._exits._workers = workers
    return workers


def the_first_part_is_lost(house: TradingHouse, clock: ManualClock) -> OrderRequest:
    """Let the first rung leave, its request be lost on the way, and return it: it may still arrive."""
    lost: list[OrderRequest] = []

    def lose(request: OrderRequest) -> bool:
        if "-x" in request.client_oid and not lost:
            lost.append(request)
            return True
        return False

    house.exchange.lose_request = lose
    let_wait(house)
    price_moves_to(house, "52100")
    clock.advance(1)
    return lost[0]


class Killed(BaseException):
    """kill -9 in the middle of a call."""


def killed_at_the_next_exit(house: TradingHouse) -> None:
    """Let the process end just before its next exit leaves."""
    def kill(request: OrderRequest) -> None:
        if "-x" in request.client_oid:
            house.exchange.before.clear()
            raise Killed

    house.exchange.before["place_order"] = kill


# ---- doubts ---------------------------------------------------------------------------------------


def test_the_doubt_of_a_position_ends_with_it(clock: ManualClock) -> None:
    """A stop on its way meets no position, because an exit was faster: nothing is left to find out."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    closed: list[object] = []

    def close_first(request: OrderRequest) -> None:
        if "-s" in request.client_oid and not closed:
            closed.append(request)
            house.manager.close_position(SYMBOL)

    house.exchange.before["place_order"] = close_first
    house.manager._guard.follow(SYMBOL)
    house.reconciler.run()
    assert not house.manager.has_uncertain()


def test_an_older_doubt_does_not_shorten_the_wait_for_an_exit(clock: ManualClock) -> None:
    """A stop was refused a minute ago; the part that is lost now is believed lost in eight seconds."""
    house = a_manager(clock=clock, exits=PARTS)
    opened(house, now_ms=clock.now_ms())

    def no_stop(request: OrderRequest) -> None:
        if "-s" in request.client_oid:
            raise NothingToClose("no open positions to close", code="300009")

    house.exchange.before["place_order"] = no_stop
    house.manager._guard.follow(SYMBOL)
    assert house.manager.has_uncertain()
    house.exchange.before.clear()
    clock.advance(57)
    late = the_first_part_is_lost(house, clock)
    for _ in range(3):
        clock.advance(1)
        house.reconciler.run()
    price_moves_to(house, "52100")
    house.exchange.place_order(late, Priority.CRITICAL)
    assert house.exchange.net[SYMBOL] == D(19)                    # one half of 39 has left, once


def test_the_doubt_of_an_exit_begun_meanwhile_is_not_wiped(clock: ManualClock) -> None:
    """Open when reconciliation looked, closing and uncertain when it came to it: it stays uncertain."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    house.manager.look_again(position.position_id)
    house.exchange.net[SYMBOL] = D(0)
    take_back = house.manager.certain

    def close_in_between(position_id: str) -> None:
        with pytest.raises(NothingToClose):
            house.manager.close_position(SYMBOL)
        take_back(position_id)

    house.manager.certain = close_in_between                      # type: ignore[method-assign]
    house.reconciler.run()
    house.manager.certain = take_back                             # type: ignore[method-assign]
    assert house.manager.find(SYMBOL).state is PositionState.CLOSING      # type: ignore[union-attr]
    assert position.position_id in house.manager.uncertain()
    assert not house.reconciler.run().agrees


# ---- stop moves and exits -------------------------------------------------------------------------


def test_a_stop_move_waits_once_however_often_the_price_ticks(clock: ManualClock) -> None:
    """All workers busy for a hundred ticks: one move is queued, and one stop is placed."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    workers = let_wait(house)
    clock.advance(10)
    house.manager.change_if_open(SYMBOL, position.position_id, stop_price=D(49_500))
    house.prices.set(SYMBOL, D(50_000), received=clock.monotonic())
    for _ in range(100):
        house.manager.update_positions()
    assert len(workers.tasks) == 1
    sent = len(house.exchange.received)
    workers.tasks[0]()
    assert len(house.exchange.received) == sent + 1


def test_a_part_that_is_held_up_holds_up_no_stop_loss(clock: ManualClock) -> None:
    """The rest of a part waits out its pause; the price falls through the stop: all of it leaves at that tick."""
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    house.exchange.fillable = D(1)
    price_moves_to(house, "52500")
    leaving = house.manager.leaving(SYMBOL)
    assert leaving is not None
    assert leaving.not_before > clock.monotonic()
    house.exchange.fillable = None
    price_moves_to(house, "40000")
    assert house.manager.find(SYMBOL) is None


def test_the_first_stop_does_not_wait_for_the_disk(clock: ManualClock) -> None:
    """A disk that takes nine seconds for a commit leaves no position bare for as long."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    save = house.journal.save_position

    def slow(position: object, *, wait: bool = False) -> None:
        if wait:
            clock.advance(9)
        save(position, wait=wait)                                 # type: ignore[arg-type]

    house.journal.save_position = slow                            # type: ignore[method-assign]
    opened(house, now_ms=clock.now_ms())
    assert max(house.monitor.gaps_s, default=0.0) < 1


def test_a_stop_without_an_answer_is_placed_again_within_seconds(clock: ManualClock) -> None:
    """The first request is lost on the way: the second stop rests after a second, not after eight."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    clock.flows = True
    house.exchange.lose_request = lambda request: request.client_oid.endswith("-s1")
    began = clock.monotonic()
    position = opened(house, now_ms=clock.now_ms())
    assert position.protective_stop is not None
    assert position.protective_stop.client_oid.endswith("-s2")
    assert clock.monotonic() - began < 2


def test_an_unanswered_exit_of_a_bare_position_is_covered_first(clock: ManualClock) -> None:
    """Its stop is gone and its exit lost: a stop is sent before anybody asks what became of the exit."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    loses_its_stop(house, position)
    workers = let_wait(house)
    house.exchange.lose_request = lambda request: "-x" in request.client_oid
    price_moves_to(house, "48000")
    resting_when_asked: list[int] = []
    house.exchange.before["find_order"] = lambda _oid: resting_when_asked.append(
        len(house.exchange.fetch_stop_orders())
    )
    clock.flows = True
    workers.tasks.pop(0)()
    assert resting_when_asked == []                # the worker is free until the look-up is due
    workers.tasks.pop(0)()
    assert resting_when_asked == [1]


def test_a_stop_is_tried_again_for_as_long_as_an_exit_is_unanswered(clock: ManualClock) -> None:
    """The exchange takes neither the exit nor, four times, a stop: the fifth rests before the exit is certain."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    loses_its_stop(house, position)
    refusals = iter(range(4))

    def refuse_stops(request: object) -> None:
        if "-s" in getattr(request, "client_oid", "") and next(refusals, None) is not None:
            raise OrderRejected("not now")

    house.exchange.before["place_order"] = refuse_stops
    house.exchange.lose_request = lambda request: "-x1" in request.client_oid
    clock.flows = True
    begun = clock.monotonic()
    bare_until: list[float] = []

    def look(_client_oid: object) -> None:
        if not bare_until and house.exchange.fetch_stop_orders():
            bare_until.append(clock.monotonic() - begun)

    house.exchange.before["find_order"] = look
    price_moves_to(house, "48000")
    assert 1 < bare_until[0] < 3
    assert clock.monotonic() - begun > UNSEEN_S    # then the exit was certainly not there, and another left
    assert house.exchange.net[SYMBOL] == 0


def test_a_stop_that_goes_while_an_exit_is_unanswered_is_replaced(clock: ManualClock) -> None:
    """The exit is lost; the stop fires and its order dies: another rests by the next look."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.flows = True
    house.exchange.lose_request = lambda request: "-x1" in request.client_oid
    begun = clock.monotonic()
    bare: list[float] = []

    def look(_oid: object) -> None:
        for stop in house.exchange.fetch_stop_orders():
            if stop.client_oid.endswith("-s1"):
                house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
        if not house.exchange.fetch_stop_orders():
            bare.append(clock.monotonic() - begun)

    house.exchange.before["find_order"] = look
    price_moves_to(house, "48000")
    assert len(bare) == 1
    assert bare[0] < 1


class Cut(BaseException):
    """Something unforeseen in the middle of a task."""


@pytest.mark.parametrize("where", ["the look-up", "the cover", "the journal"])
def test_an_exit_whose_pursuit_is_interrupted_is_left_to_reconciliation(where: str, clock: ManualClock) -> None:
    """Nobody works on it any more, so it is marked as uncertain: it is looked up by the next run, and closed."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    if where == "the cover":
        house.manager.stop_lost(SYMBOL, position.position_id)
    workers = let_wait(house)
    house.exchange.lose_answer = lambda request: "-x" in request.client_oid
    price_moves_to(house, "48000")

    def cut(_what: object) -> None:
        house.exchange.before.pop("find_order", None)
        house.exchange.before.pop("place_order", None)
        raise Cut

    if where == "the journal":
        house.journal.fail = Cut()                                      # type: ignore[assignment]
    house.exchange.before |= {"find_order": cut} if where == "the look-up" else {}
    house.exchange.before |= {"place_order": cut} if where == "the cover" else {}
    with pytest.raises(Cut):
        workers.carry_out(2)
    house.journal.fail = None
    assert position.position_id in house.manager.uncertain()
    clock.flows = True
    house.reconciler.run()
    assert house.manager.snapshot() == ()
    assert len(house.journal.trades) == 1


def test_an_exit_is_not_pursued_for_ever_by_a_worker(clock: ManualClock) -> None:
    """Each look-up takes ten seconds to fail: after twenty the exit is left to reconciliation."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.flows = True
    house.exchange.lose_request = lambda request: "-x" in request.client_oid
    looks: list[float] = []

    def slow(_oid: object) -> None:
        looks.append(clock.monotonic())
        clock.advance(10)
        raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = slow
    price_moves_to(house, "48000")
    assert len(looks) <= 3
    assert house.manager.has_uncertain()


def test_a_close_by_hand_that_is_unanswered_is_covered_too(clock: ManualClock) -> None:
    """No stop rests and the close is lost: one rests before the close is certainly not there."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    loses_its_stop(house, position)
    clock.flows = True
    house.exchange.lose_request = lambda request: "-x1" in request.client_oid
    resting: list[int] = []
    house.exchange.before["find_order"] = lambda _oid: resting.append(len(house.exchange.fetch_stop_orders()))
    with pytest.raises(ExchangeError):
        house.manager.close_position(SYMBOL)
    assert set(resting) == {1}


def test_a_bare_position_whose_exits_are_refused_gets_a_stop(clock: ManualClock) -> None:
    """The exchange takes no exit and would take a stop: the monitor has one placed while it tries on."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    position = opened(house, now_ms=clock.now_ms())
    (stop,) = house.exchange.fetch_stop_orders()
    clock.flows = True

    def refuse_exits(request: object) -> None:
        if "-x" in getattr(request, "client_oid", ""):
            raise OrderRejected("not now")

    house.exchange.before["place_order"] = refuse_exits
    house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    house.manager.stop_lost(SYMBOL, position.position_id)
    price_moves_to(house, "48000")
    for _ in range(12):
        clock.advance(0.25)
        house.manager.update_positions()
    assert [stop.client_oid[-3:] for stop in house.exchange.fetch_stop_orders()] == ["-s2"]


def test_what_is_on_its_way_out_blocks_no_entries(clock: ManualClock) -> None:
    """No stop is taken, so reconciliation has the position flattened: that explains it."""
    house = a_manager(clock=clock, exits=ALL_OUT, protect=ProtectRules(deadline_s=0.5))
    opened(house, now_ms=clock.now_ms())
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    let_wait(house)
    clock.flows = True

    def refuse_stops(request: object) -> None:
        if "-s" in getattr(request, "client_oid", ""):
            raise OrderRejected("not now")

    house.exchange.before["place_order"] = refuse_stops
    assert house.reconciler.run().agrees
    assert house.exchange.net[SYMBOL] == 0                  # sent; settling it waits


def test_a_stop_that_comes_while_its_position_ends_keeps_the_symbol_out(clock: ManualClock) -> None:
    """Swept, and one is placed just then: the symbol is not entered until that one is gone too."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())

    def come(_order_id: object) -> None:
        del house.exchange.before["cancel_order"]
        assert house.manager.claim_stop_move(SYMBOL, closing=True) is not None      # a mover, not done yet

    house.exchange.before["cancel_order"] = come
    house.manager.close_position(SYMBOL)
    house.reconciler.run()
    assert house.manager.unswept() == {SYMBOL}
    house.manager.release_stop_move(SYMBOL, pause_s=0)
    house.reconciler.run()
    assert house.manager.unswept() == frozenset()


# ---- the end -------------------------------------------------------------------------------------


def a_pool(house: TradingHouse) -> UrgentPool:
    """Real exit workers, at work."""
    pool = UrgentPool("exit", 8)
    house.manager._exit_workers = house.manager._exits._workers = pool
    pool.start()
    return pool


def test_an_unanswered_exit_is_looked_up_once_more_at_the_end() -> None:
    """Taken, its answer lost, and the end comes between two looks: it is booked before the last words."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    pool = a_pool(house)
    asked, go_on = threading.Event(), threading.Event()
    house.exchange.lose_answer = lambda request: "-x1" in request.client_oid

    def first_look_fails(_oid: object) -> None:
        if not asked.is_set():
            asked.set()
            go_on.wait(PATIENCE_S)
            raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = first_look_fails
    price_moves_to(house, "48000")
    assert asked.wait(PATIENCE_S)
    with crowd(lambda: pool.stop(PATIENCE_S)):
        go_on.set()
    assert house.manager.snapshot() == ()
    assert len(house.journal.trades) == 1


def test_the_last_look_flattens_what_it_cannot_protect() -> None:
    """The workers have ended; the exit is carried out all the same, by whoever finds that it is needed."""
    house = a_manager(exits=ALL_OUT, protect=ProtectRules(deadline_s=0.5))
    opened(house)
    pool = a_pool(house)
    assert pool.stop(PATIENCE_S)
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)

    def refuse_stops(request: object) -> None:
        if "-s" in getattr(request, "client_oid", ""):
            raise OrderRejected("not now")

    house.exchange.before["place_order"] = refuse_stops
    house.reconciler.run()
    assert house.exchange.net[SYMBOL] == 0
    assert house.manager.snapshot() == ()


def test_the_look_for_an_exit_does_not_wait_for_stop_moves() -> None:
    """All the workers that may move stops hang in one: the exit whose answer is lost is looked up."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    pool = a_pool(house)
    let_go = threading.Event()
    for _ in range(20):
        pool.submit(lambda: let_go.wait(PATIENCE_S), Priority.NORMAL)       # type: ignore[arg-type,return-value]
    looked = threading.Event()
    house.exchange.lose_answer = lambda request: "-x1" in request.client_oid
    house.exchange.before["find_order"] = lambda _oid: looked.set()
    price_moves_to(house, "48000")
    assert looked.wait(PATIENCE_S)
    let_go.set()
    assert pool.stop(PATIENCE_S)


# ---- restarts -------------------------------------------------------------------------------------


def test_an_exit_that_was_decided_is_carried_out_after_a_restart(clock: ManualClock) -> None:
    """Killed in the middle of a flatten, before its order left: the next start closes it."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())

    killed_at_the_next_exit(house)
    with pytest.raises(Killed):
        house.manager.close_position(SYMBOL, ExitReason.FLATTEN)
    house = restarted(house, clock=clock, exits=ALL_OUT)
    for _ in range(12):
        clock.advance(1)
        house.reconciler.run()
        house.manager.update_positions()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.FLATTEN
    assert house.exchange.net[SYMBOL] == 0


def test_a_part_that_has_begun_is_one_step_across_a_restart(clock: ManualClock) -> None:
    """Five of twenty filled, then killed: fifteen follow, and one rung of the ladder has been taken."""
    rungs = tuple(
        TakeProfit(at=Distance(fraction=D(at)), share=D(share))
        for at, share in (("0.04", "0.5"), ("0.06", "0.25"))
    )
    rules = exit_rules(take_profit=rungs, trailing=None, break_even=None)
    house = a_manager(clock=clock, exits=rules)
    opened(house, now_ms=clock.now_ms())
    workers = let_wait(house)
    house.exchange.fillable = D(5)
    price_moves_to(house, "52100")
    house.exchange.fillable = None
    killed_at_the_next_exit(house)
    with pytest.raises(Killed):
        workers.tasks.pop(0)()
    house = restarted(house, clock=clock, exits=rules)
    house.exchange.prices[SYMBOL] = D(52_100)
    for _ in range(12):
        clock.advance(1)
        house.reconciler.run()
        house.prices.set(SYMBOL, D(52_100), received=clock.monotonic())
        house.manager.update_positions()
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.quantity, position.steps_taken, position.part_left) == (D(19), 1, D(0))


def test_a_rebuilt_position_takes_no_part_while_one_may_be_on_its_way(clock: ManualClock) -> None:
    """Journal lost with the first rung in flight: it arrives, and is the only one that does."""
    house = a_manager(clock=clock, exits=PARTS)
    house.exchange.now_ms = clock.now_ms
    opened(house, now_ms=clock.now_ms())
    late = the_first_part_is_lost(house, clock)
    again = a_manager(clock=clock, exchange=house.exchange, journal=FakeJournal(), exits=PARTS)
    again.reconciler.run()
    price_moves_to(again, "52100")
    house.exchange.place_order(late, Priority.CRITICAL)
    assert house.exchange.net[SYMBOL] == D(19)


def test_a_persons_position_is_not_taken_for_one_that_is_closed(clock: ManualClock) -> None:
    """He sold RAD's, then bought his own within the minute: RAD's is over, and his is left alone."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    house.exchange.now_ms = clock.now_ms
    opened(house, now_ms=clock.now_ms())
    clock.advance(15)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39))
    house.reconciler.run()
    told = list(house.journal.trades)
    clock.advance(15)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(100))
    house.reconciler.run()
    assert house.manager.find(SYMBOL) is None
    assert house.exchange.fetch_stop_orders() == ()
    assert house.journal.trades == told


def test_what_rad_has_just_closed_is_not_adopted(clock: ManualClock) -> None:
    """The list of positions lags behind an exit: in guard mode it is not somebody else's position."""
    house = a_manager(clock=clock, exits=ALL_OUT, adopt=True)
    house.exchange.now_ms = clock.now_ms
    opened(house, now_ms=clock.now_ms())
    lagging = house.exchange.fetch_positions()
    clock.advance(100)
    house.manager.close_position(SYMBOL)
    clock.advance(0.5)
    house.exchange.fetch_positions = lambda *_: lagging           # type: ignore[method-assign]
    house.reconciler.run()
    assert house.manager.find(SYMBOL) is None


def test_an_adopted_positions_own_stop_is_no_leftover(clock: ManualClock) -> None:
    """The sweep of the last exit failed; the stop that rests now is the adopted position's: all is swept."""
    house = a_manager(clock=clock, exits=ALL_OUT, adopt=True)
    house.exchange.now_ms = clock.now_ms
    opened(house, now_ms=clock.now_ms())

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["fetch_stop_orders"] = fail
    house.manager.close_position(SYMBOL)
    house.exchange.before.clear()
    clock.advance(60)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(5))
    for _ in range(3):
        clock.advance(60)
        try:
            house.reconciler.run()
        except ExchangeError as error:
            pytest.fail(str(error))
    assert house.manager.find(SYMBOL) is not None
    assert not house.manager.has_uncertain()
