"""The scan: what is asked of the exchange, what is published, and what threads may do to each other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from market_scanner import OVERLAP, PUBLISH_EVERY_S, MarketScanner, ScanRules
from runtime import locks
from tests.builders import a_ticker, candles_from
from tests.crowd import PATIENCE_S, all_at_once, crowd, frequent_switches
from tests.fakes import NO_ANSWER, NO_CANDLES, CloseIsScore, FakeMarketData, some_candles
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from trading.candles import Candles, Floats
from trading.errors import ExchangeUnavailable
from trading.facts import ScanResult, Side
from trading.reading import LATE_MS, SETTLE_MS, Reading, StrategyFailed, read
from trading.strategies import Strategy
from trading.universe import UniverseRules

D = Decimal
A, B, C = "A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT"
MINUTE_MS = 60_000
START_MS = 1_700_000_040_000      # a whole minute
STEP_S = 60.0


class Scans:
    """What the scanner told the performance monitor."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int, int]] = []

    def record_scan_time(self, duration_s: float, scanned: int, failed: int) -> None:
        self.told.append((duration_s, scanned, failed))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the scanner has no business with {name}")


class Room:
    """A scanner on a fake market, half a minute past a whole one."""

    def __init__(self, symbols: list[str], strategy: Strategy, rules: ScanRules) -> None:
        self.clock = ManualClock(START_MS)
        self.clock.advance(30)
        self.market = FakeMarketData(self.clock, symbols)
        self.monitor = Scans()
        self.scanner = MarketScanner(
            self.market, strategy, UniverseRules(), self.monitor, self.clock, rules,  # type: ignore[arg-type]
        )

    def scan_pair(self, symbol: str) -> Any:
        return self.scanner.scan_pair(symbol, self.market.tickers[symbol])

    def cached(self, symbol: str) -> Any:
        with self.scanner._cache_lock:
            return self.scanner.cache.get((symbol, "1m"))


Maker = Callable[..., Room]


@pytest.fixture
def a_room() -> Iterator[Maker]:
    """Make rooms whose workers are ended and joined after the test."""
    rooms: list[Room] = []

    def make(symbols: list[str] | None = None, *, strategy: Strategy | None = None, **rules: Any) -> Room:
        chosen = ScanRules(**{"candles": 30, "threshold": 0.5, "workers": 4, **rules})
        rooms.append(Room(symbols or [A, B, C], strategy or CloseIsScore(), chosen))
        return rooms[-1]

    yield make
    for room in rooms:
        assert room.scanner.stop(PATIENCE_S), "workers still on the wire"


class Parking:
    """A hook in which the fetches of some symbols stay until they are let go: a black hole."""

    def __init__(self, *symbols: str) -> None:
        self._symbols = symbols
        self._changed = threading.Condition()
        self._open = False
        self.parked = 0

    def __call__(self, symbol: str, _limit: int) -> None:
        if symbol not in self._symbols:
            return
        with self._changed:
            self.parked += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._open, PATIENCE_S)

    def await_parked(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.parked >= count, PATIENCE_S), f"{self.parked} parked"

    def let_go(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()


# ---- what a scan says ---------------------------------------------------------------------------


def test_a_scan_scores_every_pair_and_ranks_the_strong(a_room: Maker) -> None:
    """Every pair gets its signed score; opportunities are those from the threshold on, strongest first."""
    room = a_room()
    room.market.closes = {A: 0.5, B: -0.9, C: 0.49}
    result = room.scanner.scan()
    assert result.scores == {A: 0.5, B: -0.9, C: 0.49}
    assert [(found.symbol, found.side, found.score) for found in result.opportunities] == [
        (B, Side.SHORT, 0.9), (A, Side.LONG, 0.5),
    ]
    assert (result.universe, result.scanned, result.failed, result.left_out, result.complete) == (3, 3, 0, 0, True)
    assert room.scanner.get_best_pairs(1) == result.opportunities[:1]
    assert room.monitor.told == [(0.0, 3, 0)]


def test_an_opportunity_says_what_the_scan_saw(a_room: Maker) -> None:
    """Price, spread and volume are the ticker's, candle and ATR those of the last closed candle."""
    room = a_room([A])
    room.market.closes = {A: 0.75}
    (found,) = room.scanner.scan().opportunities
    assert found.price == D(100)
    assert found.spread == D("0.002")           # 0.2 / 100
    assert found.volume_24h == D(1_000_000)
    assert found.atr == D("2.0")                # high − low is 2 in every candle, closes 1 apart
    assert found.candle_ms == START_MS - MINUTE_MS   # the candle of START is still open
    assert found.reasons == ("because",)
    assert room.scanner.atr_of(A) == D("2.0")
    assert room.scanner.atr_of(B) is None


def test_the_most_liquid_are_asked_first(a_room: Maker) -> None:
    """With one worker the order on the wire is that of turnover."""
    room = a_room([C, A, B], workers=1)
    room.scanner.scan()
    assert room.market.asked_symbols() == [C, A, B]


def met_on_the_wire(a_room: Maker, workers: int, patience_s: float) -> set[str]:
    """Return who of so many workers has met nineteen others, all of them inside a fetch at the same moment."""
    room = a_room([f"S{number}/USDT:USDT" for number in range(20)], workers=workers)
    meeting, met = threading.Barrier(20), set[str]()

    def meet(_symbol: str, _limit: int) -> None:
        meeting.wait(patience_s)
        met.add(threading.current_thread().name)

    room.market.during_fetch = meet
    room.scanner.scan()
    return met


def test_the_work_is_done_by_the_scan_workers(a_room: Maker) -> None:
    """All twenty workers fetch side by side, under their names, and none other."""
    assert met_on_the_wire(a_room, 20, PATIENCE_S) == {f"scan-{number}" for number in range(20)}


def test_one_worker_fewer_does_not_bring_twenty_together(a_room: Maker) -> None:
    """The mutant: were one of them held up by another, they would not have met."""
    assert met_on_the_wire(a_room, 19, 0.2) == set()


# ---- failures are not "no signal" ---------------------------------------------------------------


def test_a_failed_fetch_is_counted_and_never_stored(a_room: Maker) -> None:
    """A pair without an answer has no score, is counted as failed, and is asked for again at once."""
    room = a_room()
    room.market.failures = {B: NO_ANSWER}
    result = room.scanner.scan()
    assert (result.scanned, result.failed, result.left_out) == (2, 1, 0)
    assert B not in result.scores
    assert room.cached(B) is None
    assert room.monitor.told == [(0.0, 2, 1)]
    room.market.failures = {}
    room.market.asked.clear()
    assert B in room.scanner.scan().scores
    assert room.market.asked_symbols() == [B]


def test_a_failed_fetch_does_not_wear_old_candles(a_room: Maker) -> None:
    """When the new candle cannot be fetched, yesterday's opinion is not passed off as today's."""
    room = a_room([A])
    room.market.closes = {A: 0.9}
    assert room.scanner.scan().opportunities
    room.clock.advance(STEP_S)
    room.market.failures = {A: NO_ANSWER}
    result = room.scanner.scan()
    assert (result.opportunities, result.scores, result.failed) == ((), {}, 1)


def test_scan_pair_raises_what_the_exchange_said(a_room: Maker) -> None:
    """Asked for one pair, the scanner raises instead of answering "no signal"."""
    room = a_room()
    room.market.failures = {A: NO_ANSWER}
    with pytest.raises(ExchangeUnavailable, match="no whole answer"):
        room.scan_pair(A)


def test_without_tickers_nothing_is_published(a_room: Maker) -> None:
    """The tickers' failure reaches the caller; the last result stands, and the next scan runs."""
    room = a_room()
    before = room.scanner.scan()
    room.market.tickers_fail = NO_ANSWER
    with pytest.raises(ExchangeUnavailable):
        room.scanner.scan()
    assert room.scanner.take_result(0) is before
    room.market.tickers_fail = None
    assert room.scanner.scan().sequence == before.sequence + 1


def test_what_failed_is_said_once_and_with_its_stack_if_nobody_expected_it(
    a_room: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for all unanswered pairs; one with a stack for a fault of our own, which loses its pair alone."""
    room = a_room(workers=1)
    room.market.failures = {A: NO_ANSWER, B: NO_ANSWER, C: KeyError("volume")}
    with caplog.at_level(logging.WARNING, "scan"):
        assert room.scanner.scan().failed == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"candles not fetched pairs=2 first={A} error=no whole answer within 10 s",
        f"scan failed pairs=1 first={C} error='volume'",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_a_scan_that_learnt_nothing_new_is_not_worth_a_line(
    a_room: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    """A scan every five seconds: those answered from the cache alone are said to whoever debugs."""
    room = a_room()
    with caplog.at_level(logging.DEBUG, "scan"):
        room.scanner.scan()
        room.scanner.scan()
    assert [(record.levelname, record.getMessage()[:9]) for record in caplog.records] == [
        ("INFO", "scan done"), ("DEBUG", "scan done"),
    ]


def test_a_pair_that_stands_still_has_no_atr(a_room: Maker) -> None:
    """Nothing to measure a stop by is None, not nought."""
    room = a_room([A])
    still = candles_from([100.0] * 30, wick=0, symbol=A)
    room.scanner._keep(A, read(CloseIsScore(), still, asked_ms=START_MS))
    assert room.scanner.atr_of(A) is None


class Broken(CloseIsScore):
    """A strategy that cannot deal with B."""

    def score(self, candles: Candles) -> Floats:
        if candles.symbol == B:
            raise ZeroDivisionError("nothing to divide by")
        return super().score(candles)


def test_a_broken_strategy_costs_its_pair_alone(a_room: Maker, caplog: pytest.LogCaptureFixture) -> None:
    """A strategy that raises is a failure, said once per scan; its candles are not fetched again for it."""
    room = a_room(strategy=Broken())
    first = room.scanner.scan()
    asked = len(room.market.asked)
    caplog.clear()
    with caplog.at_level(logging.ERROR, "scan"):
        again = room.scanner.scan()
    assert [(r.scanned, r.failed, sorted(r.scores)) for r in (first, again)] == [(2, 1, [A, C])] * 2
    assert len(room.market.asked) == asked
    assert [record.getMessage() for record in caplog.records] == [
        f"scan failed pairs=1 first={B} error=ZeroDivisionError: nothing to divide by"
    ]
    assert not caplog.records[0].exc_info        # the strategy's own words are enough
    with pytest.raises(StrategyFailed):
        room.scan_pair(B)


# ---- candles are fetched when there are new ones --------------------------------------------------


def test_candles_are_fetched_once_until_a_new_one_closed(a_room: Maker) -> None:
    """Within a candle nothing is fetched; once the next has closed and settled, its tail is."""
    room = a_room([A])
    room.scanner.scan()
    assert room.market.asked == [(A, 30)]
    room.clock.advance(30 + SETTLE_MS / 1000 - 0.001)     # closed, but KuCoin may not have written it yet
    room.scanner.scan()
    assert room.market.asked == [(A, 30)]
    room.clock.advance(0.001)
    room.scanner.scan()
    assert room.market.asked == [(A, 30), (A, 1 + OVERLAP)]


def test_the_tail_is_joined_to_what_is_known(a_room: Maker) -> None:
    """After the tail the cache holds as many candles as before, evenly spaced, the newest one last."""
    room = a_room([A])
    room.market.closes = {A: 0.25}
    room.scanner.scan()
    room.clock.advance(3 * STEP_S)
    room.market.closes = {A: 0.75}
    assert room.scanner.scan().scores == {A: 0.75}
    assert room.market.asked[-1] == (A, 3 + OVERLAP)
    candles = room.cached(A)[0].candles
    assert len(candles) == 30
    assert {int(step) for step in candles.open_ms[1:] - candles.open_ms[:-1]} == {MINUTE_MS}
    assert candles.open_ms[-1] == START_MS + 2 * MINUTE_MS
    # The 13 of the tail end in 0.75, one apart; before them stand the old ones, which ended in 0.25.
    assert candles.close[-13] == 0.75 - 12
    assert candles.close[-14] == 0.25 - 10      # the old last was three minutes earlier, at index −4


def test_after_a_long_absence_all_candles_are_fetched(a_room: Maker) -> None:
    """When the tail would be as long as the whole, the whole is asked for."""
    room = a_room([A])
    room.scanner.scan()
    room.clock.advance(20 * STEP_S)             # 20 + 10 = 30: nothing saved
    room.scanner.scan()
    assert room.market.asked == [(A, 30), (A, 30)]


def test_a_tail_without_trades_is_asked_for_whole(a_room: Maker) -> None:
    """KuCoin sends no candle where nothing traded: an unreadable tail leads to the whole request."""
    room = a_room([A])
    room.scanner.scan()
    room.clock.advance(STEP_S)

    def empty_tail(_symbol: str, limit: int) -> None:
        if limit < 30:
            raise NO_CANDLES

    room.market.during_fetch = empty_tail
    assert room.scanner.scan().failed == 0
    assert room.market.asked == [(A, 30), (A, 11), (A, 30)]


def test_a_last_candle_without_volume_is_doubted_for_a_while(a_room: Maker) -> None:
    """No volume: nothing traded, or KuCoin had not written it; so it is read again, then believed."""
    room = a_room([A])
    room.clock.advance(30 + SETTLE_MS / 1000)   # 1.5 s after the close
    room.market.volumes = {A: 0.0}
    room.scanner.scan()
    room.clock.advance(5)
    room.scanner.scan()                         # 6.5 s after it: again
    room.clock.advance(LATE_MS / 1000 - 6.5)
    room.scanner.scan()                         # 10 s after it: once more, for good
    room.clock.advance(5)
    room.scanner.scan()
    assert room.market.asked == [(A, 30), (A, OVERLAP), (A, OVERLAP)]


@pytest.mark.parametrize(("interval_s", "past_s", "pause_s"), [
    (3600.0, 30.0, 31.5),      # to the end of the minute, and 1.5 s for KuCoin to write the candle
    (3600.0, 1.0, 0.5),        # the last candle has closed but is not written yet
    (3600.0, 1.5, 60.0),
    (5.0, 30.0, 5.0),          # the interval is sooner
])
def test_the_next_scan_comes_with_the_next_candle(
    a_room: Maker, monkeypatch: pytest.MonkeyPatch, interval_s: float, past_s: float, pause_s: float
) -> None:
    """Between scans the scanner pauses for its interval, or until the next candle is written if that is sooner."""
    room = a_room(interval_s=interval_s)         # half a minute past a whole one
    room.clock.advance(30 + past_s)
    pauses: list[float] = []
    monkeypatch.setattr(room.clock, "wait", lambda _stop, timeout_s: pauses.append(timeout_s))
    room.scanner.wait_until_due(threading.Event())
    assert pauses == [pytest.approx(pause_s)]


def test_the_pause_between_scans_ends_with_the_daemon(a_room: Maker) -> None:
    """Who is told to stop does not wait for the interval."""
    room, stop = a_room(interval_s=3600.0), threading.Event()
    with crowd(lambda: room.scanner.wait_until_due(stop)):
        room.clock.await_sleepers(1)
        stop.set()


# ---- a scan has a bound -------------------------------------------------------------------------


def test_a_scan_ends_in_time_though_every_worker_is_lost(a_room: Maker) -> None:
    """Black-holed fetches: at the limit what there is is published, the rest counted as left out."""
    room = a_room([A, B, C, "D/USDT:USDT"], workers=3, time_limit_s=30.0)
    room.market.closes = {A: 0.9}
    hole = Parking(B, C, "D/USDT:USDT")
    room.market.during_fetch = hole
    try:
        with crowd(room.scanner.scan) as results:
            hole.await_parked(3)
            room.clock.await_sleepers(1)
            room.clock.advance(30)
        (result,) = results
        assert isinstance(result, ScanResult)
        assert [found.symbol for found in result.opportunities] == [A]
        assert (result.scanned, result.failed, result.left_out, result.complete) == (1, 0, 3, False)
        assert room.monitor.told == [(30.0, 1, 0)]
    finally:
        hole.let_go()


def test_late_answers_reach_the_cache_but_no_result(a_room: Maker) -> None:
    """What a worker brings after the limit is there for the next scan; the published result stays as it was."""
    room = a_room([A, B], workers=1, time_limit_s=30.0)     # one worker: A is in when B is asked for
    room.market.closes = {B: 0.9}
    hole = Parking(B)
    room.market.during_fetch = hole
    with crowd(room.scanner.scan) as results:
        hole.await_parked(1)
        room.clock.await_sleepers(1)
        room.clock.advance(30)
    late = results[0]
    hole.let_go()
    assert room.scanner.stop(PATIENCE_S)        # the workers have ended: B's answer is in
    assert isinstance(late, ScanResult)
    assert late.scores == {A: 0.0}
    assert room.scanner.take_result(0) is late
    assert room.cached(B)[0].signal.score == 0.9


def test_pairs_not_begun_are_called_off(a_room: Maker) -> None:
    """After the limit no worker begins what the scan had still to do."""
    room = a_room([A, B], workers=1, time_limit_s=30.0)
    hole, begun = Parking(A), threading.Event()

    def fetch(symbol: str, limit: int) -> None:
        hole(symbol, limit)
        if symbol == B:
            begun.set()

    room.market.during_fetch = fetch
    try:
        with crowd(room.scanner.scan):
            hole.await_parked(1)
            room.clock.await_sleepers(1)
            room.clock.advance(30)
    finally:
        hole.let_go()
    assert not begun.wait(0.1)


def test_a_pair_still_on_the_wire_is_not_asked_for_twice(a_room: Maker) -> None:
    """One black-holed pair costs one worker, however many scans come and go."""
    room = a_room([B, A], workers=1, time_limit_s=5.0)      # one worker: B is in when A is asked for
    hole = Parking(A)
    room.market.during_fetch = hole
    try:
        with crowd(room.scanner.scan):
            hole.await_parked(1)
            room.clock.await_sleepers(1)
            room.clock.advance(5)
        room.scanner.scan()
        result = room.scanner.scan()
        assert (result.scanned, result.left_out) == (1, 1)
        assert room.market.asked_symbols().count(A) == 1
    finally:
        hole.let_go()


def test_stopping_ends_a_scan_under_way(a_room: Maker) -> None:
    """At the end of the daemon nobody waits for a scan, its limit or its results."""
    room = a_room([A, B], workers=1)
    hole = Parking(A)
    room.market.during_fetch = hole
    try:
        with crowd(room.scanner.scan, lambda: room.scanner.wait_for_result(1_000, 3600.0)) as results:
            hole.await_parked(1)
            room.clock.await_sleepers(2)
            assert not room.scanner.stop(0.01)   # the worker is still on the wire
    finally:
        hole.let_go()
    assert isinstance(results[0], ScanResult)
    assert results[0].left_out == 2
    assert results[1] is None
    assert room.market.asked_symbols() == [A]


def test_stopping_wakes_who_waits_for_a_result(a_room: Maker) -> None:
    """The main thread, waiting for opportunities when no scan runs, comes back at once with none."""
    room = a_room()
    with crowd(lambda: room.scanner.wait_for_result(0, 3600.0)) as results:
        room.clock.await_sleepers(1)
        room.scanner.stop()
    assert results == [None]


def test_workers_the_system_had_no_room_for_are_started_by_the_next_scan(
    a_room: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four can be started: it scans alone; the second is the supervisor's, the others come later."""
    room = a_room(workers=4)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("scan-") and thread.name != "scan-0":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as short_of_threads:
        short_of_threads.setattr(threading.Thread, "start", refuse)
        assert room.scanner.scan().complete
    assert room.market.threads == {"scan-0"}
    first, second, *others = room.scanner._hearts
    assert [first.state().alive, second.state().alive] == [True, False]
    assert [heart.thread for heart in others] == [None, None]
    assert second.revive is not None
    second.revive()
    room.clock.advance(STEP_S)
    assert room.scanner.scan().complete
    assert all(heart.state().alive for heart in room.scanner._hearts)


def test_scan_once_leaves_no_thread_behind(a_room: Maker) -> None:
    """`run_once` scans, and its workers are gone when it returns."""
    room = a_room()
    assert room.scanner.run_once().scanned == 3
    workers = {heart.thread for heart in room.scanner._hearts}
    assert workers
    assert not workers & set(threading.enumerate())


# ---- publishing ---------------------------------------------------------------------------------


def test_an_opportunity_need_not_wait_for_the_rest(a_room: Maker) -> None:
    """A find is published while other pairs are on the wire, the next half a second later at the earliest."""
    room = a_room([A, B, C], workers=3)
    room.market.closes = {A: 0.8, B: 0.9}
    second, last = Parking(B), Parking(C)

    def park(symbol: str, limit: int) -> None:
        second(symbol, limit)
        last(symbol, limit)

    room.market.during_fetch = park
    try:
        with crowd(room.scanner.scan):
            first = room.scanner.wait_for_result(0, 3600.0)
            assert first is not None
            assert ([o.symbol for o in first.opportunities], first.complete) == ([A], False)
            room.clock.await_sleepers(1)         # the scanning thread keeps its half second
            second.let_go()
            with room.scanner._pool_lock:
                settled = room.scanner._pairs_settled
                assert settled.wait_for(lambda: B not in room.scanner._being_fetched, PATIENCE_S)
            assert room.scanner.take_result(first.sequence) is None
            with crowd(lambda: room.scanner.wait_for_result(first.sequence, 3600.0)) as taken:
                room.clock.await_sleepers(2)
                room.clock.advance(PUBLISH_EVERY_S)
            last.let_go()
        partial, whole = taken[0], room.scanner.take_result(0)
        assert isinstance(partial, ScanResult)
        assert ([o.symbol for o in partial.opportunities], partial.complete) == ([B, A], False)
        assert whole is not None
        assert (whole.sequence, whole.complete, len(whole.scores)) == (3, True, 3)
    finally:
        second.let_go()
        last.let_go()


def test_two_scans_never_overlap(a_room: Maker) -> None:
    """A second scan begins when the first is over."""
    room = a_room([A])
    hole = Parking(A)
    room.market.during_fetch = hole
    try:
        with crowd(room.scanner.scan, room.scanner.scan) as results:
            hole.await_parked(1)
            room.clock.await_sleepers(2)         # one waits for its worker, the other for its turn
            assert hole.parked == 1
            hole.let_go()
    finally:
        hole.let_go()
    sequences = sorted(result.sequence for result in results if isinstance(result, ScanResult))
    assert sequences == [1, 2]
    assert room.market.asked_symbols() == [A]    # the second found it in the cache


def test_a_result_is_consumed_once_by_racing_consumers(a_room: Maker) -> None:
    """Of eight threads that want the same result exactly one gets it, by whichever door."""
    room = a_room()
    scanner = room.scanner
    with frequent_switches():
        for _ in range(25):
            result = scanner.scan()
            taken = all_at_once(
                *[lambda: scanner.take_result(0)] * 4, *[lambda: scanner.wait_for_result(0, 0.0)] * 4
            )
            assert [one for one in taken if one is not None] == [result]


def test_who_has_taken_a_result_waits_for_the_next(a_room: Maker) -> None:
    """However old a sequence he names: what is taken is not waited for, nor given, again."""
    room = a_room()
    room.scanner.scan()
    assert room.scanner.take_result(0) is not None
    with crowd(lambda: room.scanner.wait_for_result(0, 3600.0)) as results:
        room.clock.await_sleepers(1)
        following = room.scanner.scan()
    assert results == [following]


class Meeting:
    """Stands for a scanner's result: two threads that look at its sequence meet there."""

    def __init__(self, result: ScanResult) -> None:
        self._result = result
        self._barrier = threading.Barrier(2)

    @property
    def sequence(self) -> int:
        try:
            self._barrier.wait(0.3)              # alone under the lock nobody comes
        except threading.BrokenBarrierError:
            pass
        return self._result.sequence


def takers_of_one_result(room: Room) -> int:
    scanner: Any = room.scanner
    with scanner._scan_lock:
        scanner._latest_opportunities = Meeting(scanner._latest_opportunities)
    return sum(taken is not None for taken in all_at_once(*[lambda: scanner.take_result(0)] * 2))


def test_two_takers_meet_and_one_takes(a_room: Maker) -> None:
    """Two consumers that look at the same moment: the lock lets one of them have the result."""
    room = a_room()
    room.scanner.scan()
    assert takers_of_one_result(room) == 1


def test_two_takers_without_the_lock_both_take(a_room: Maker) -> None:
    """The mutant: with the scan lock taken away the test above would see the result taken twice."""
    room = a_room()
    room.scanner.scan()
    scanner: Any = room.scanner
    real, scanner._scan_lock = scanner._scan_lock, NoLock()
    try:
        assert takers_of_one_result(room) == 2
    finally:
        scanner._scan_lock = real


# ---- the cache ----------------------------------------------------------------------------------


def test_twenty_workers_share_the_cache(a_room: Maker) -> None:
    """Twenty threads read and renew forty pairs at once: each entry is whole, its own, and the newest."""
    symbols = [f"S{number}/USDT:USDT" for number in range(40)]
    room = a_room(symbols, workers=20)
    for number, symbol in enumerate(symbols):
        room.market.closes[symbol] = number / 40
    with frequent_switches():
        for turn in range(6):
            assert room.scanner.scan().scores == {symbol: room.market.closes[symbol] for symbol in symbols}
            room.clock.advance(STEP_S)
            assert len(room.market.asked) == 40 * (turn + 1)
    with room.scanner._cache_lock:
        entries = dict(room.scanner.cache.items())
    assert {key: reading.candles.symbol for key, (reading, _) in entries.items()} == {
        (symbol, "1m"): symbol for symbol in symbols
    }
    assert {int(reading.candles.open_ms[-1]) for reading, _ in entries.values()} == {START_MS + 4 * MINUTE_MS}


def test_an_older_answer_does_not_replace_a_newer_one(a_room: Maker) -> None:
    """An answer that was long on the way arrives after a later request's: the newer candles stay."""
    room = a_room([A])
    asked, slow = threading.Event(), threading.Event()
    first = threading.Lock()

    def delay_the_first(_symbol: str, _limit: int) -> None:
        if first.acquire(blocking=False):
            room.market.shown_ms = None
            asked.set()
            assert slow.wait(PATIENCE_S)
            room.market.shown_ms = START_MS + 30_000   # what the exchange showed when it was asked

    room.market.during_fetch = delay_the_first
    with crowd(lambda: room.scan_pair(A)):
        assert asked.wait(PATIENCE_S)
        room.clock.advance(STEP_S)
        room.scan_pair(A)
        slow.set()
    assert room.cached(A)[0].candles.open_ms[-1] == START_MS


class MeetingCache(dict[Any, Any]):
    """A cache in which two that keep a reading meet after their look; the older one is written last."""

    def __init__(self, newest_ms: int) -> None:
        super().__init__()
        self._newest_ms = newest_ms
        self._barrier = threading.Barrier(2)
        self._newest_is_in = threading.Event()

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)
        try:
            self._barrier.wait(0.3)              # alone under the lock nobody comes
        except threading.BrokenBarrierError:
            pass
        return found

    def __setitem__(self, key: Any, entry: tuple[Reading, int]) -> None:
        if entry[0].candles.open_ms[-1] == self._newest_ms:
            super().__setitem__(key, entry)
            self._newest_is_in.set()
        else:
            self._newest_is_in.wait(0.3)         # under the lock the newer one cannot come: go on
            super().__setitem__(key, entry)


def newest_kept_of_two(room: Room) -> int:
    """Let two workers keep an older and a newer answer for one pair at once; return what the cache has then."""
    scanner: Any = room.scanner
    older, newer = (
        read(CloseIsScore(), some_candles(A, last_ms, 30), asked_ms=START_MS)
        for last_ms in (START_MS, START_MS + MINUTE_MS)
    )
    with scanner._cache_lock:
        scanner.cache = cache = MeetingCache(START_MS + MINUTE_MS)
    all_at_once(lambda: scanner._keep(A, older), lambda: scanner._keep(A, newer))
    (entry,) = cache.values()
    return int(entry[0].candles.open_ms[-1])


def test_two_that_keep_at_once_leave_the_newer(a_room: Maker) -> None:
    """Two workers with an older and a newer answer meet at the cache: the newer one stays."""
    assert newest_kept_of_two(a_room()) == START_MS + MINUTE_MS


def test_two_that_keep_without_the_lock_leave_the_older(a_room: Maker) -> None:
    """The mutant: with the cache lock taken away the test above would find the older candles."""
    room = a_room()
    scanner: Any = room.scanner
    scanner._cache_lock = NoLock()
    assert newest_kept_of_two(room) == START_MS


def test_the_cache_may_not_be_touched_without_its_lock(a_room: Maker) -> None:
    """In tests even a look at the cache outside its lock is a breach."""
    room = a_room()
    room.scanner.scan()
    with pytest.raises(locks.LockBreach, match="cache touched without lock"):
        room.scanner.cache.get((A, "1m"))


def test_a_fresh_ticker_prices_an_old_candle(a_room: Maker) -> None:
    """An opportunity from cached candles carries the price of this scan, not of the last."""
    room = a_room([A])
    room.market.closes = {A: 0.9}
    room.scanner.scan()
    room.market.tickers = {A: a_ticker(symbol=A, last=D(123))}
    assert [found.price for found in room.scanner.scan().opportunities] == [D(123)]


def test_pairs_start_one_after_the_other(a_room: Maker) -> None:
    """However many workers are free: each waits for its own moment, the rule's pause after the one before."""
    room = a_room([A, B, C], workers=3, pace_s=0.5)
    clock, fetch, asked, came = room.clock, room.market.fetch_candles, list[float](), threading.Semaphore(0)

    def note(*wish: Any) -> Candles:
        asked.append(clock.monotonic())
        came.release()
        return fetch(*wish)

    room.market.fetch_candles = note                              # type: ignore[method-assign]
    began = clock.monotonic()
    with crowd(room.scanner.scan):
        assert came.acquire(timeout=PATIENCE_S)
        for waiting in (2, 1):
            clock.await_sleepers(waiting + 1)                     # and the scan itself
            clock.advance(0.5)
            assert came.acquire(timeout=PATIENCE_S)
    assert asked == [began, began + 0.5, began + 1.0]
