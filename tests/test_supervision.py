"""No thread is dead or stuck without somebody being told, and something being done about it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from control.server import ControlServer
from daemon.state import Status
from market_scanner import ScanRules
from runtime.clock import SystemClock
from runtime.deadline import Deadlines
from runtime.heartbeat import IDLE_LIMIT_S, LIMIT_S, OVERDUE_S, Heart, doing
from runtime.journal import SqlJournal
from runtime.lease import Lease
from runtime.locks import named_lock
from runtime.logs import start_logging
from runtime.pool import UrgentPool
from runtime.prices import PriceBook
from runtime.resolving import Resolver
from runtime.stacks import places
from runtime.stream import MarketStream
from runtime.supervisor import (
    END_PATIENCE_S,
    FAILING_S,
    LATE_S,
    MOST_REPLACED,
    STUCK,
    Ailing,
    Supervisor,
)
from runtime.worker import Worker
from tests.control.fake_steering import FakeSteering
from tests.fakes import CloseIsScore
from tests.manual_clock import ManualClock
from tests.test_market_scanner import Room
from tests.trading_house import SYMBOL, a_manager, an_account, an_entry_request
from tests.wedges import PATIENCE_S, Onlooker, heart_of, held, until
from trading.facts import Price, Priority

D = Decimal
STUCK_AFTER_S = 5.0


@contextmanager
def at_work(worker: Worker, stop: threading.Event, *leave: threading.Event) -> Iterator[Worker]:
    """Run *worker* for the block; at its end everything it may be wedged in is let go."""
    worker.start()
    try:
        yield worker
    finally:
        stop.set()
        for event in leave:
            event.set()
        assert worker.join(PATIENCE_S)
        until(lambda: not worker.state().given_up, "the end of those given up on")


# ---- one thread, every way to stop it -----------------------------------------------------------


def a_black_hole(leave: threading.Event) -> None:
    """A call to somebody who never answers."""
    ours, theirs = socket.socketpair()
    threading.Thread(target=lambda: (leave.wait(PATIENCE_S), theirs.close()), daemon=True).start()
    with doing("wire", "GET /nowhere", STUCK_AFTER_S):
        ours.recv(1)
    ours.close()


def an_endless_loop(leave: threading.Event) -> None:
    """Nothing but computing."""
    while not leave.is_set():
        pass


@pytest.mark.parametrize(
    ("wedge", "said"), [(a_black_hole, "at wire GET /nowhere"), (an_endless_loop, "at working step")]
)
def test_a_wedged_thread_is_told_of_with_its_stack_until_it_moves(
    clock: ManualClock, tmp_path: Path, wedge: Callable[[threading.Event], None], said: str
) -> None:
    """Within its limit nothing is said; beyond it the stacks are written once; when it moves, all is well."""
    stop, entered, leave, again = threading.Event(), threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        if entered.is_set():
            again.set()
            stop.wait(PATIENCE_S)
        entered.set()
        wedge(leave)

    worker = Worker("wedged", step, stop=stop, clock=clock, stuck_after_s=STUCK_AFTER_S)
    onlooker = Onlooker(tmp_path, clock, worker.heart)
    with at_work(worker, stop, leave):
        assert entered.wait(PATIENCE_S)
        until(lambda: said.endswith(f"{worker.state().kind} {worker.state().what}"))
        assert onlooker.after(4.9) == {}
        assert onlooker.after(2.0) == {"wedged": f"makes no progress {said}"}
        assert onlooker.after(5.0) == {"wedged": f"makes no progress {said}"}
        assert onlooker.stacks.count("stuck: wedged") == 1
        assert wedge.__name__ in onlooker.stacks
        assert len(onlooker.told) == 1                    # news are told, not repeated
        leave.set()
        assert again.wait(PATIENCE_S)
        assert onlooker.after(1.0) == {}
    assert onlooker.told[-1] == ()


def test_a_dead_thread_is_started_again(clock: ManualClock, tmp_path: Path) -> None:
    """A thread that ended without being asked to is replaced at the next look."""
    stop, second_life = threading.Event(), threading.Event()
    lives: list[int] = []

    def step() -> None:
        lives.append(1)
        if len(lives) == 1:
            raise SystemExit("gone")                      # ends a thread without a word, the worst way to die
        second_life.set()
        stop.wait(PATIENCE_S)

    worker = Worker("mortal", step, stop=stop, clock=clock)
    onlooker = Onlooker(tmp_path, clock, worker.heart)
    with at_work(worker, stop):
        assert worker.join(PATIENCE_S)
        assert not worker.state().alive
        assert worker.state().last_error == "SystemExit: gone"
        assert onlooker.after(1.0) == {}
        assert second_life.wait(PATIENCE_S)
        assert worker.state().restarts == 1


def test_a_dead_thread_that_nobody_can_start_again_stays_told_of(clock: ManualClock, tmp_path: Path) -> None:
    """Whoever has no second life is trouble from then on; one that ended as it should is none."""
    heart = Heart("once")
    onlooker = Onlooker(tmp_path, clock, heart)

    def die() -> None:
        raise SystemExit

    heart.start(die).join(PATIENCE_S)
    assert onlooker.after(1.0) == {"once": "has died"}
    assert onlooker.after(60.0) == {"once": "has died"}
    heart.start(lambda: None).join(PATIENCE_S)
    assert onlooker.after(1.0) == {}


@pytest.mark.parametrize("supersede", [False, True], ids=["dead", "stuck"])
def test_one_that_cannot_be_started_keeps_nobody_else_from_being_seen_to(
    clock: ManualClock, tmp_path: Path, supersede: bool
) -> None:
    """No thread is left for one: the others are looked at, and RAD ends if it cannot go on without that one."""
    first, other = Heart("first", limit_s=1.0, vital_s=9.0), Heart("other", limit_s=STUCK_AFTER_S)

    def refuse() -> bool:
        raise RuntimeError("can't start new thread")

    def die() -> None:
        raise SystemExit

    onlooker = Onlooker(tmp_path, clock, first, other)
    if supersede:
        first.supersede, leave = refuse, threading.Event()
        first.start(lambda: (first.begin("one thing"), leave.wait(PATIENCE_S)))     # type: ignore[arg-type,return-value]
        until(lambda: first.state().what == "one thing")
    else:
        first.revive = refuse
        first.start(die).join(PATIENCE_S)
    other.adopt()
    other.begin("something")
    try:
        told = onlooker.after(STUCK_AFTER_S + 1)
        assert told == {
            "first": "makes no progress at working one thing" if supersede else
            "has died and cannot be started again: can't start new thread",
            "other": "makes no progress at working something",
        }
        assert "stuck: " in onlooker.stacks
        assert not onlooker.supervisor.given_up
        onlooker.after(6.0)
        assert onlooker.supervisor.given_up.startswith("first is ")
        assert onlooker.supervisor.given_up.endswith("and cannot be replaced")
    finally:
        other.leave()
        if supersede:
            leave.set()
            assert first.join(PATIENCE_S)
        first.retire()


def test_a_thread_that_fails_at_every_step_is_told_of(clock: ManualClock, tmp_path: Path) -> None:
    """It lives, it turns, it beats, and gets nothing done: entries are halted until a step succeeds."""
    stop, mended, worked = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        if not mended.is_set():
            raise ValueError("always")
        if worker.state().steps:                          # one is behind it
            worked.set()
            stop.wait(PATIENCE_S)

    worker = Worker("unlucky", step, stop=stop, clock=clock, longest_backoff_s=1.0)
    onlooker = Onlooker(tmp_path, clock, worker.heart)
    with at_work(worker, stop):
        for failures in range(1, 6):
            until(lambda least=failures: onlooker.after(0.2) is None or worker.state().failures > least)
        until(lambda: onlooker.after(0.2) == {"unlucky": "fails again and again: ValueError: always"})
        assert worker.state().failing_s > FAILING_S
        assert onlooker.stacks == ""                      # it is not stuck: its log lines say where
        mended.set()
        until(lambda: onlooker.after(0.2) is None or worked.is_set())
        assert onlooker.after(0.2) == {}


def test_time_that_the_whole_process_stood_still_is_nobodys_fault(clock: ManualClock, tmp_path: Path) -> None:
    """Frozen or suspended for an hour: nobody is called stuck for it, and whoever then stays still is."""
    stop, entered, leave = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        entered.set()
        leave.wait(PATIENCE_S)

    worker = Worker("frozen", step, stop=stop, clock=clock, stuck_after_s=STUCK_AFTER_S)
    onlooker = Onlooker(tmp_path, clock, worker.heart)
    with at_work(worker, stop, leave):
        assert entered.wait(PATIENCE_S)
        onlooker.after(1.0)
        clock.advance(3600)
        onlooker.supervisor.look()
        assert onlooker.supervisor.ailing == ()
        assert onlooker.supervisor.trouble() == ""
        assert onlooker.after(STUCK_AFTER_S + 1) == {"frozen": "makes no progress at working step"}
    assert LATE_S < STUCK_AFTER_S                         # or a late look would excuse everybody for ever


# ---- every thread of RAD, behind a lock ---------------------------------------------------------


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for work looks up at once and not every five seconds."""
    for module in ("deadline", "heartbeat", "journal", "logs", "pool", "stream"):
        monkeypatch.setattr(f"runtime.{module}.BEAT_S", 0.01)
    monkeypatch.setattr("market_scanner.BEAT_S", 0.01)


def behind(lock: Any, name: str, onlooker: Onlooker) -> str:
    """Hold *lock*, wait until the thread *name* waits for it, and return what is said of it then."""
    heart = heart_of(name)
    until(lambda: onlooker.after(0.0) == {} and heart.state().beat_s == 0.0, f"a beat of {name}")
    onlooker.after(IDLE_LIMIT_S - 1)
    until(lambda: heart.state().beat_s == 0.0, f"another beat of {name}")
    assert onlooker.after(1.0) == {}                      # it beats: that it has nothing to do is no trouble
    with held(lock):
        until(lambda: "lock" in _waits_of(name), f"{name} at the lock")
        told = onlooker.after(LIMIT_S + 1)
        stacks = onlooker.stacks
    until(lambda: heart.state().beat_s < 1.0, f"{name} free again")
    assert onlooker.after(0.5) == {}
    assert f"--- {name}, " in stacks
    assert "--- holder, holds lock" in stacks
    return told[name]


def _waits_of(name: str) -> str:
    return "".join(place.words() for place in places().values() if place.name == name)


@pytest.mark.usefixtures("quick_beats")
def test_the_journals_writer_behind_a_lock(clock: ManualClock, tmp_path: Path) -> None:
    """Its condition's lock is never given back: it is stuck though it only waits for work."""
    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.sqlite", clock)
    onlooker = Onlooker(tmp_path, clock, heart_of("Journal"))
    assert behind(journal._lock, "Journal", onlooker) == (
        "makes no progress at idle: waits for lock journal, held by holder"
    )
    assert journal.close()


@pytest.mark.usefixtures("quick_beats")
def test_whoever_cuts_calls_behind_a_lock(clock: ManualClock, tmp_path: Path) -> None:
    """Nobody would end a call that hangs any more."""
    deadlines = Deadlines("Deadlines-tested")
    onlooker = Onlooker(tmp_path, clock, heart_of("Deadlines-tested"))
    assert behind(deadlines._lock, "Deadlines-tested", onlooker) == (
        "makes no progress at idle: waits for lock deadlines, held by holder"
    )
    deadlines.stop()


@pytest.mark.usefixtures("quick_beats")
def test_exit_workers_behind_a_lock(clock: ManualClock, tmp_path: Path) -> None:
    """They wait for work and could not take any; another in their place would wait for the same lock."""
    pool = UrgentPool("tested", 1)
    pool.start()
    onlooker = Onlooker(tmp_path, clock, *pool.hearts)
    assert behind(pool._lock, "tested-0", onlooker) == (
        "makes no progress at idle: waits for lock tested pool, held by holder"
    )
    assert heart_of("tested-0").state().restarts == 0
    assert pool.stop(PATIENCE_S)


@pytest.mark.usefixtures("quick_beats")
def test_scan_workers_and_the_scanner_behind_a_lock(clock: ManualClock, tmp_path: Path) -> None:
    """A worker at the pool's lock, the scanning thread at the lock of what is published."""
    room = Room([SYMBOL], CloseIsScore(), ScanRules(candles=30, workers=1))
    room.scanner.scan()
    onlooker = Onlooker(tmp_path, clock, heart_of("scan-0"))
    assert behind(room.scanner._pool_lock, "scan-0", onlooker) == (
        "makes no progress at idle: waits for lock scan pool, held by holder"
    )
    stop = threading.Event()

    def step() -> None:
        room.scanner.scan()
        stop.wait(0.01)

    scanning = Worker("BackgroundScanner", step, stop=stop, clock=clock)
    onlooker = Onlooker(tmp_path, clock, scanning.heart)
    with at_work(scanning, stop), held(room.scanner._scan_lock):
        until(lambda: "lock scan" in _waits_of("BackgroundScanner"))
        assert onlooker.after(LIMIT_S + 1) == {
            "BackgroundScanner": "makes no progress at working step: waits for lock scan, held by holder"
        }
    assert room.scanner.stop(PATIENCE_S)


class HangingStore:
    """A lease's database that does not come back."""

    def __init__(self, leave: threading.Event) -> None:
        self.leave, self.asked = leave, threading.Event()

    def keep(self, owner: str, epoch: int, length_ms: int) -> bool:
        self.asked.set()
        self.leave.wait(PATIENCE_S)
        return True

    def close(self) -> None: ...

    def look(self) -> None: ...

    def take(self, *_: object) -> int:
        return 1

    def give_back(self, *_: object) -> bool:
        return True


def test_a_lease_whose_database_hangs(clock: ManualClock, tmp_path: Path) -> None:
    """The renewing thread is told of; that nothing is sent without a fresh lease is the lease's own matter."""
    leave, stop = threading.Event(), threading.Event()
    store = HangingStore(leave)
    lease = Lease(store, clock, boottime=clock.monotonic)        # type: ignore[arg-type]
    assert lease.acquire()

    def renew() -> None:
        lease.renew()
        stop.wait(PATIENCE_S)

    keeper = Worker("Lease", renew, stop=stop, clock=clock)
    onlooker = Onlooker(tmp_path, clock, keeper.heart)
    with at_work(keeper, stop, leave):
        assert store.asked.wait(PATIENCE_S)
        assert onlooker.after(LIMIT_S + 1) == {"Lease": "makes no progress at working step"}
        assert lease.trouble()
        assert " keep: self.leave.wait(PATIENCE_S)" in onlooker.stacks
    lease.release()


def test_a_resolver_that_hangs(clock: ManualClock, tmp_path: Path) -> None:
    """The system's look-up cannot be interrupted; whoever connects does not wait, and somebody is told."""
    leave, asked = threading.Event(), threading.Event()

    def ask(*_: object, **__: object) -> list[Any]:
        asked.set()
        leave.wait(PATIENCE_S)
        return [(socket.AF_INET, 0, 0, "", ("127.0.0.1", 443))]

    resolver = Resolver(ask)
    with pytest.raises(TimeoutError):
        resolver.resolve("nowhere.test", 443, 0.001)
    assert asked.wait(PATIENCE_S)
    heart = heart_of("Resolver")
    onlooker = Onlooker(tmp_path, clock, heart)
    assert onlooker.after(61.0) == {"Resolver": "makes no progress at working starting"}
    leave.set()
    until(lambda: heart.ended, "the end of the look-up")


@pytest.mark.usefixtures("quick_beats")
def test_an_event_loop_that_does_not_turn(clock: ManualClock, tmp_path: Path) -> None:
    """`Control` and `MarketStream` say from inside their loop that it turns; a blocking call in it stops that."""
    server = ControlServer(FakeSteering(), data_dir=tmp_path)
    server.start()
    heart = heart_of("Control")
    onlooker = Onlooker(tmp_path, clock, heart)
    until(lambda: heart.state().kind == "idle")
    entered, leave = threading.Event(), threading.Event()
    assert server._loop is not None
    server._loop.call_soon_threadsafe(lambda: (entered.set(), leave.wait(PATIENCE_S)))
    assert entered.wait(PATIENCE_S)
    assert onlooker.after(IDLE_LIMIT_S + 1) == {"Control": "makes no progress at idle"}
    leave.set()
    until(lambda: heart.state().beat_s == 0.0)
    assert onlooker.after(0.5) == {}
    server.stop()
    assert heart.ended


@pytest.mark.usefixtures("quick_beats")
def test_the_stream_is_begun_anew_when_one_of_its_tasks_is_gone(clock: ManualClock) -> None:
    """A cancelled task says nothing to anybody: without it there would be no prices, and no thread dead."""
    begun: list[asyncio.Task[Any]] = []
    again = threading.Event()

    class Stream(MarketStream):
        async def _forever(self, session: Any, *, private: bool) -> None:
            begun.append(asyncio.current_task())         # type: ignore[arg-type]
            if len(begun) > 1:
                again.set()
            await asyncio.sleep(0 if len(begun) == 1 else PATIENCE_S)
            raise asyncio.CancelledError

    stream = Stream(
        PriceBook(clock), SystemClock(), config=dict, markets=lambda: ([], {}), symbol_of=str,
        spend=lambda _: None, on_stop_filled=lambda: None,
    )
    stream.start()
    assert again.wait(PATIENCE_S)
    assert stream._worker.state().failures == 1
    assert "task has ended" in stream._worker.state().last_error
    stream.stop()
    assert not stream._worker.state().alive


# ---- the log ------------------------------------------------------------------------------------


class Terminal:
    """A stream that blocks, or has no room, at will."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.full, self.blocks, self.reached, self.leave = False, False, threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        if self.blocks:
            self.reached.set()
            self.leave.wait(PATIENCE_S)
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(text)
        return len(text)

    def flush(self) -> None: ...


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_under_file_and_terminal_ends_no_thread(clock: ManualClock, tmp_path: Path) -> None:
    """Neither takes a line: the writer lives, says what is wrong to who asks, and goes on when there is room."""
    terminal = Terminal()
    terminal.full = True
    runtime = start_logging("info", Path("/dev/full"), stream=terminal)      # type: ignore[arg-type]
    try:
        heart = heart_of("LogWriter")
        logging.getLogger("tested").warning("first")
        assert runtime.flush(PATIENCE_S)
        assert heart.state().alive
        assert runtime.trouble == "log file /dev/full cannot be written; lines go to the terminal only"
        terminal.full = False
        logging.getLogger("tested").warning("second")
        assert runtime.flush(PATIENCE_S)
        assert "second" in "".join(terminal.lines)
        assert heart.state().restarts == 0
        assert Onlooker(tmp_path, clock, heart).after(1.0) == {}
    finally:
        assert runtime.stop()


@pytest.mark.usefixtures("quick_beats")
def test_a_terminal_that_takes_nothing_is_told_of_and_holds_up_nobody(clock: ManualClock, tmp_path: Path) -> None:
    """Somebody pressed Ctrl-S: lines wait in memory, the stacks go to their own file."""
    terminal = Terminal()
    runtime = start_logging("info", stream=terminal)             # type: ignore[arg-type]
    try:
        heart = heart_of("LogWriter")
        onlooker = Onlooker(tmp_path, clock, heart)
        until(lambda: heart.state().beat_s == 0.0)
        terminal.blocks = True
        logging.getLogger("tested").warning("a line")
        assert terminal.reached.wait(PATIENCE_S)
        assert onlooker.after(LIMIT_S + 1) == {"LogWriter": "makes no progress at working writing"}
        assert "tests/wedges.py" not in onlooker.stacks.partition("--- LogWriter")[2].partition("---")[0]
        assert "test_supervision.py" in onlooker.stacks.partition("--- LogWriter")[2].partition("---")[0]
    finally:
        terminal.blocks = False
        terminal.leave.set()
        assert runtime.stop()


def test_stacks_that_the_disk_does_not_take_go_to_stderr(
    clock: ManualClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk must not be what keeps the only clue from anybody."""
    heart = Heart("wedged", limit_s=STUCK_AFTER_S)
    onlooker = Onlooker(tmp_path / "not there", clock, heart)
    heart.adopt()
    heart.begin("something")
    assert onlooker.after(6.0) == {"wedged": "makes no progress at working something"}
    heart.leave()
    assert "stuck: wedged" in capsys.readouterr().err


# ---- the monitor --------------------------------------------------------------------------------


def a_monitor(step: Callable[[], None], stop: threading.Event, clock: ManualClock) -> Worker:
    """A worker as bot.py makes the monitor."""
    return Worker("PositionMonitor", step, stop=stop, clock=clock, stuck_after_s=STUCK_AFTER_S,
                  can_be_doubled=True, vital_s=5.0)


def test_a_monitor_that_hangs_is_replaced_and_no_exit_is_doubled(
    clock: ManualClock, tmp_path: Path
) -> None:
    """It hangs after it has read the price that calls for an exit: another exits; the first wakes and does not."""
    house = a_manager(clock=clock)
    assert house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    stop, hanging, leave, seen = threading.Event(), threading.Event(), threading.Event(), threading.Semaphore(0)
    looks: list[int] = []

    class Prices:
        """The first look hangs with the breaching price in hand; later ones do not."""

        def get(self, symbol: str) -> Price:
            looks.append(1)
            if len(looks) == 1:
                hanging.set()
                assert leave.wait(PATIENCE_S)
            return Price(symbol=symbol, bid=D(40_000), ask=D(40_000), last=D(40_000), mark=D(40_000),
                         ts_ms=clock.now_ms(), received=clock.monotonic())

        def follow(self, _symbols: object) -> None: ...

    house.manager._prices = Prices()                      # type: ignore[assignment]

    def step() -> None:
        house.manager.update_positions()
        seen.release()
        stop.wait(0.01)

    monitor = a_monitor(step, stop, clock)
    onlooker = Onlooker(tmp_path, clock, monitor.heart)
    with at_work(monitor, stop, leave):
        assert hanging.wait(PATIENCE_S)
        first = monitor.heart.thread
        assert "PositionMonitor" in onlooker.after(STUCK_AFTER_S + 1)
        assert monitor.heart.thread is not first          # another has its place
        assert seen.acquire(timeout=PATIENCE_S)
        assert house.manager.find(SYMBOL) is None         # and has done its work
        assert onlooker.after(1.0) == {"PositionMonitor": "was stuck and replaced; the one before still runs"}
        leave.set()
        assert first is not None
        first.join(PATIENCE_S)
        assert not first.is_alive()
        assert onlooker.after(1.0) == {}
        assert monitor.state().restarts == 1
    exits = [order for order in house.exchange.received if order.reduce_only and order.stop_price is None]
    assert len(exits) == 1
    assert onlooker.supervisor.given_up == ""


@pytest.mark.parametrize("whose", ["holder", "PositionMonitor"])
def test_a_monitor_entangled_with_a_lock_ends_rad(clock: ManualClock, tmp_path: Path, whose: str) -> None:
    """Behind a lock, or holding one in an endless loop, another in its place would hang as well: exit code 70."""
    stop, inside, leave = threading.Event(), threading.Event(), threading.Event()
    lock = named_lock("tested positions")

    def step() -> None:
        with lock:
            inside.set()
            an_endless_loop(leave)

    monitor = a_monitor(step, stop, clock)
    onlooker = Onlooker(tmp_path, clock, monitor.heart)
    if whose == "holder":
        with held(lock) as release, at_work(monitor, stop, leave):
            until(lambda: "tested positions" in _waits_of("PositionMonitor"))
            told = onlooker.after(STUCK_AFTER_S + 1)
            assert not onlooker.stop.is_set()             # a lock may come free yet
            onlooker.after(5.0)
            leave.set()
            release.set()
    else:
        with at_work(monitor, stop, leave):
            assert inside.wait(PATIENCE_S)
            told = onlooker.after(STUCK_AFTER_S + 1)
            onlooker.after(5.0)
    assert told["PositionMonitor"] == "makes no progress at working step: " + (
        "waits for lock tested positions, held by holder" if whose == "holder" else "holds lock tested positions"
    )
    assert monitor.state().restarts == 0
    assert onlooker.stop.is_set()
    assert onlooker.supervisor.given_up == "PositionMonitor is stuck and cannot be replaced"
    assert onlooker.left_with == []                       # the main thread ends RAD in order


def test_a_monitor_that_hangs_again_and_again_ends_rad(clock: ManualClock, tmp_path: Path) -> None:
    """What hangs wherever it is begun is not mended by beginning it again."""
    stop, leave = threading.Event(), threading.Event()
    entered = threading.Semaphore(0)

    def step() -> None:
        entered.release()
        leave.wait(PATIENCE_S)

    monitor = a_monitor(step, stop, clock)
    onlooker = Onlooker(tmp_path, clock, monitor.heart)
    with at_work(monitor, stop, leave):
        for life in range(MOST_REPLACED + 1):
            assert entered.acquire(timeout=PATIENCE_S)
            assert monitor.state().restarts == life
            assert not onlooker.supervisor.given_up
            onlooker.after(STUCK_AFTER_S + 1)
        onlooker.after(5.0)
        assert monitor.state().restarts == MOST_REPLACED
        assert onlooker.supervisor.given_up == "PositionMonitor is stuck and cannot be replaced"


def test_a_replaced_monitor_that_loops_for_ever_ends_rad(
    clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one does the work, the old one eats the processor that exits need: not for ever."""
    monkeypatch.setattr("runtime.supervisor.HAUNTED_S", 3.0)
    stop, leave, loops = threading.Event(), threading.Event(), threading.Event()
    lives: list[int] = []

    def step() -> None:
        lives.append(1)
        if len(lives) == 1:
            loops.set()
            an_endless_loop(leave)
        stop.wait(0.005)

    monitor = a_monitor(step, stop, clock)
    onlooker = Onlooker(tmp_path, clock, monitor.heart)
    with at_work(monitor, stop, leave):
        assert loops.wait(PATIENCE_S)
        onlooker.after(STUCK_AFTER_S + 1)
        for _ in range(3):
            until(lambda: monitor.state().beat_s == 0.0)
            onlooker.after(1.0)
        assert not onlooker.supervisor.given_up
        for _ in range(2):
            until(lambda: monitor.state().beat_s == 0.0)
            onlooker.after(1.0)
        assert onlooker.supervisor.given_up == "PositionMonitor was replaced, and the one before will not end"


# ---- exit workers -------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_beats")
def test_a_stuck_exit_worker_is_replaced_and_takes_up_no_room(clock: ManualClock, tmp_path: Path) -> None:
    """With every NORMAL place taken by tasks that hang, others get them; what hung may end, and is not counted."""
    pool = UrgentPool("tested", 4)
    leave, entered = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        entered.release()
        with doing("wire", "POST order", 10.0 + OVERDUE_S):
            leave.wait(PATIENCE_S)

    pool.start()
    onlooker = Onlooker(tmp_path, clock, *pool.hearts)
    for _ in range(2):                                    # half of four: all that NORMAL may have
        pool.submit(hang, Priority.NORMAL)
        assert entered.acquire(timeout=PATIENCE_S)
    until(lambda: [heart.state().kind for heart in pool.hearts].count("wire") == 2)
    done = threading.Event()
    pool.submit(done.set, Priority.NORMAL)
    pool.submit(lambda: None, Priority.CRITICAL)
    assert not done.is_set()
    for _ in range(15):
        until(lambda: sum(heart.state().beat_s == 0.0 for heart in pool.hearts) >= 2)     # the free ones beat
        onlooker.after(1.0)
    assert not done.is_set()
    until(lambda: sum(heart.state().beat_s == 0.0 for heart in pool.hearts) >= 2)
    assert list(onlooker.after(1.0).values()) == ["makes no progress at wire POST order"] * 2
    assert done.wait(PATIENCE_S)
    assert sum(heart.state().restarts for heart in pool.hearts) == 2
    leave.set()
    until(lambda: not any(heart.state().given_up for heart in pool.hearts))
    assert pool.stop(PATIENCE_S)
    with pool._lock:
        assert set(pool._running.values()) == {0}


@pytest.mark.usefixtures("quick_beats")
def test_who_was_given_up_on_takes_no_place_from_who_replaced_it(clock: ManualClock, tmp_path: Path) -> None:
    """It ends while the other is at a task: that one still counts as one at work."""
    pool = UrgentPool("tested", 1)
    leave, entered = [threading.Event(), threading.Event()], threading.Semaphore(0)

    def hang(turn: int) -> None:
        entered.release()
        leave[turn].wait(PATIENCE_S)

    pool.start()
    onlooker = Onlooker(tmp_path, clock, *pool.hearts)
    pool.submit(lambda: hang(0), Priority.NORMAL)
    assert entered.acquire(timeout=PATIENCE_S)
    pool.submit(lambda: hang(1), Priority.NORMAL)
    onlooker.after(LIMIT_S + 1)
    assert entered.acquire(timeout=PATIENCE_S)            # the second is at the other task
    leave[0].set()
    until(lambda: not pool.hearts[0].state().given_up, "the end of the first")
    with pool._lock:
        assert pool._running[Priority.NORMAL] == 1
    leave[1].set()
    assert pool.stop(PATIENCE_S)
    with pool._lock:
        assert pool._running[Priority.NORMAL] == 0


def test_a_task_that_ends_its_thread_does_not() -> None:
    """sys.exit() inside an exit costs no worker."""
    pool = UrgentPool("tested", 1)
    done = threading.Event()
    pool.start()
    pool.submit(sys.exit, Priority.CRITICAL)
    pool.submit(done.set, Priority.CRITICAL)
    assert done.wait(PATIENCE_S)
    assert pool.hearts[0].state().restarts == 0
    assert pool.stop(PATIENCE_S)


# ---- the main thread, and the supervisor itself ------------------------------------------------------


def test_a_stuck_main_thread_ends_the_process(clock: ManualClock, tmp_path: Path) -> None:
    """Exits go on for a while without it; then RAD is ended from outside of it, with everybody's stack written."""
    heart = Heart("MainThread", limit_s=60.0, vital_s=30.0)
    onlooker = Onlooker(tmp_path, clock, heart)
    heart.adopt()                                         # this test runs in the real one
    heart.begin("entries")
    try:
        assert onlooker.after(60.0) == {}
        assert onlooker.supervisor.trouble() == ""
        assert onlooker.after(2.0) == {"MainThread": "makes no progress at working entries"}
        assert onlooker.supervisor.trouble() == "MainThread makes no progress at working entries"
        assert onlooker.after(20.0)
        assert not onlooker.left_with
        onlooker.after(15.0)
        assert onlooker.left_with == [STUCK]
        assert not onlooker.stop.is_set()                 # nobody told the monitor to end meanwhile
        assert "ended at once" in onlooker.stacks
    finally:
        heart.leave()


def test_an_end_that_does_not_come_is_made(clock: ManualClock, tmp_path: Path) -> None:
    """Ten seconds are promised from the signal to the end; a while after that it is over, in any case."""
    onlooker = Onlooker(tmp_path, clock)
    onlooker.after(100.0)
    onlooker.stop.set()
    onlooker.after(END_PATIENCE_S)
    assert onlooker.left_with == []
    onlooker.after(2.0)
    assert onlooker.left_with[0] == STUCK


def test_the_supervisor_is_supervised(clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It survives what goes wrong in a look; dead, the main thread starts it again; stuck, a watchdog is told."""
    stop, looked = threading.Event(), threading.Event()
    supervisor = Supervisor(tmp_path / "stacks.log", SystemClock(), stop, watched=lambda: ())
    wrong: list[BaseException] = [SystemExit(), ValueError("a stumble")]

    def look() -> None:
        if wrong:
            raise wrong.pop()
        looked.set()

    monkeypatch.setattr(supervisor, "look", look)
    monkeypatch.setattr("runtime.supervisor.LOOK_S", 0.01)
    supervisor.start()
    until(lambda: not supervisor.heart.state().alive, "its death")
    assert supervisor.heart.state().failures == 1
    assert supervisor.trouble() == "Supervisor has died"
    supervisor.ensure()
    assert looked.wait(PATIENCE_S)
    assert supervisor.trouble() == ""
    supervisor.heart._monotonic = lambda: SystemClock().monotonic() + 100      # no beat for so long
    assert supervisor.trouble().startswith("Supervisor makes no progress")
    supervisor.finish()
    assert not supervisor.heart.state().alive


def test_stacks_are_written_even_when_no_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that keeps the interpreter to itself stops the supervisor as well: the system writes the stacks."""
    monkeypatch.setattr("runtime.supervisor.DEAF_S", 0.3)
    supervisor = Supervisor(tmp_path / "stacks.log", SystemClock(), threading.Event(), watched=lambda: ())
    supervisor.start()
    until(lambda: supervisor.heart.state().steps)
    ctypes.PyDLL(None).usleep(700_000)                    # holds the interpreter, as ctypes.CDLL would not
    supervisor.finish()
    written = (tmp_path / "stacks.log").read_text()
    assert "Timeout" in written
    assert "test_stacks_are_written_even_when_no_python_runs" in written
    assert (tmp_path / "stacks.log").stat().st_mode & 0o077 == 0


def test_what_is_stuck_is_said_though_the_status_is_locked() -> None:
    """The stuck thread may be the one that holds the status: telling waits for nothing."""
    status = Status()

    with held(status._lock):
        status.set_stuck((Ailing(name="PositionMonitor", why="makes no progress"),))
        assert status.stuck == ("PositionMonitor",)
    assert [trouble.sentence for trouble in status.troubles()] == ["thread PositionMonitor makes no progress"]
    status.started()
    assert status.state == "degraded"
