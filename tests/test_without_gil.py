"""Nothing rests on the interpreter's lock: docs/THREAD_SAFETY.md, "Without the interpreter's lock", has the list.

Where a build without that lock is at hand these tests run it: python3.14t -m pytest tests/test_without_gil.py -rs
"""

from __future__ import annotations

import ast
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot import Bot
from daemon import building
from daemon.state import Account
from performance_monitor import PerformanceMonitor
from runtime import lock_rules, locks
from runtime.clock import SystemClock
from runtime.events import EventFeed
from runtime.heartbeat import Heart, hearts
from runtime.lease import Lease
from runtime.logs import _FileSink
from runtime.notifier import Outlet
from runtime.options import RunOptions
from runtime.prices import PriceBook
from runtime.resolving import Resolver
from tests.builders import a_price
from tests.crowd import PATIENCE_S, all_at_once, frequent_switches
from tests.interleavings.explorer import Scene, explore
from tests.interleavings.scanner import a_scanner
from tests.interleavings.watching import VirtualClock, watch
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from tests.runtime.test_lease import Row
from tests.trading_house import SYMBOL, a_manager, an_account, an_entry_request
from trading.events import Kind, NotifyRules
from trading.facts import Balance, ClosedTrade, Position

D = Decimal
ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("", "control", "daemon", "execution", "kucoin", "runtime")
MAKES_A_LOCK = {"named_lock", "condition_on", "Lock", "RLock"}
TAKEN = 150_000
ALONE_S = 0.3                  # under a lock nobody comes

# Whatever is counted or added to without a lock around it in the source, and why nobody else does at that moment.
LOOP, UNDER, ITS_OWN = "the event loop's thread", "its caller, under the lock", "the thread it is of"
OWNERS = {
    "control/guard.py Guard._write_down self._passed_over": LOOP,
    "control/telegram.py Telegram._wait_after self._failures": ITS_OWN,
    "daemon/figures.py _locks acquired[lock.name]": "a local dict",
    "daemon/figures.py _locks contended[lock.name]": "a local dict",
    "execution/book.py Book._next_id self._serial": UNDER,
    "execution/catching_up.py CatchUp._go_on_without self._failures": "the main thread, at its start",
    "execution/funding.py FundingLookUp.look_up self._told": "the main thread, which reconciles",
    "execution/holding.py Holding._put self._versions": UNDER,
    "execution/orders.py LookUp.look self._not_there": "whoever has the order to look up, one after the other",
    "market_scanner.py _Failures.add self.count": UNDER,
    "performance_monitor.py PerformanceMonitor._add series.count": UNDER,
    "performance_monitor.py PerformanceMonitor._add series.total": UNDER,
    "runtime/folding.py Folding.admit repeats.count": ITS_OWN,
    "runtime/folding.py Folding.admit repeats.room": ITS_OWN,
    "runtime/heartbeat.py Heart._enlist self._restarts": "whoever starts it: its owner, then the supervisor",
    "runtime/heartbeat.py Heart.done self._steps": ITS_OWN,
    "runtime/heartbeat.py Heart.failed self._failures": ITS_OWN,
    "runtime/journal.py SqlJournal._make_room self._dropped": UNDER,
    "runtime/locks.py NamedLock._wait self._contended": "who has just taken it",
    "runtime/log_lines.py Lines.again latest.__dict__[_SAID]": "the log's writer",
    "runtime/logs.py LogRuntime._report_dropped self._reported": "the log's writer",
    "runtime/logs.py LogRuntime._write self.failed": "the log's writer",
    "runtime/logs.py _Intake.emit self.dropped": "its caller, under the handler's own lock",
    "runtime/notifier.py Outlet._failed self._failures": ITS_OWN,
    "runtime/notifier.py Outlet._take self._lost": ITS_OWN,
    "runtime/notifier.py Outlet._wait self._lost": ITS_OWN,
    "runtime/pool.py UrgentPool._let_go self._running[priority]": UNDER,
    "runtime/pool.py UrgentPool._replace self._replacements": "the supervisor",
    "runtime/pool.py UrgentPool._revive self._lives[index]": "who has taken the lock with a deadline, above it",
    "runtime/stream.py MarketStream._connect self.connections": LOOP,
}


# ---- by reading -----------------------------------------------------------------------------------


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Return every module in which threads share something."""
    return tuple(
        (str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8")))
        for room in ROOMS for file in sorted((ROOT / room).glob("*.py"))
    )


def name_of(node: ast.AST) -> str:
    """Return the last part of a dotted name; empty for what is none."""
    return getattr(node, "attr", "") or getattr(node, "id", "")


def names_of_locks() -> frozenset[str]:
    """Return what locks, and the Conditions on them, are called in the source."""
    return frozenset(
        name_of(target)
        for _, tree in sources() for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        and name_of(node.value.func) in MAKES_A_LOCK
        for target in node.targets
    )


def unlocked_changes(where: str, node: ast.AST, known: frozenset[str], is_locked: bool = False) -> Iterator[str]:
    """Yield what is changed by `+=` and the like, neither a local name nor inside a `with` on a lock."""
    for child in ast.iter_child_nodes(node):
        inside, locked = where, is_locked
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{where} {child.name}" if where.endswith(".py") else f"{where}.{child.name}"
        elif isinstance(child, ast.With):
            asked = {name_of(item.context_expr) for item in child.items}
            locked = is_locked or bool(asked & known)
        elif isinstance(child, ast.AugAssign) and not isinstance(child.target, ast.Name) and not is_locked:
            yield f"{where} {ast.unparse(child.target)}"
        yield from unlocked_changes(inside, child, known, locked)


def test_whoever_counts_holds_a_lock_or_is_alone() -> None:
    """`x += 1` is a read and a write: each has a lock around it, or stands above with whoever alone does it."""
    known = names_of_locks()
    found = {each for file, tree in sources() for each in unlocked_changes(file, tree, known)}
    assert sorted(found) == sorted(OWNERS)


def test_no_container_changes_by_itself() -> None:
    """A weak one loses members in whichever thread puts them away, while another goes through it."""
    named = {f"{file}: {name_of(node)}" for file, tree in sources() for node in ast.walk(tree)}
    assert not {each for each in named if "Weak" in each}


# ---- what was found and mended --------------------------------------------------------------------


def test_a_count_of_acquisitions_never_goes_back() -> None:
    """Read without the lock, in the middle of a sample too: for Prometheus a count that falls is a restart."""
    lock, is_over, fell = locks.NamedLock("counted"), threading.Event(), list[tuple[int, int]]()

    def take() -> None:
        for _ in range(TAKEN):
            with lock:
                pass
        is_over.set()

    def read() -> None:
        before = 0
        while not is_over.is_set():
            now = lock._acquisitions()
            if now < before:
                fell.append((before, now))
            before = now

    with frequent_switches():
        all_at_once(take, read, read)
    assert not fell
    assert lock.stats().acquisitions == TAKEN


def test_a_sample_between_two_reads_is_noticed() -> None:
    """Of the three figures a count is made of, some may be from before a sample and some from after it."""
    slot: Any = locks.NamedLock.__dict__["_left"]

    class Sampled(locks.NamedLock):
        """One that is taken once more when its count is read, between the first figure and the next."""

        armed = False

        @property
        def _left(self) -> int:
            left = int(slot.__get__(self))
            if self.armed:
                self.armed = False
                with self:
                    pass
            return left

        @_left.setter
        def _left(self, left: int) -> None:
            slot.__set__(self, left)

    lock = Sampled("sampled")
    for _ in range(locks.SAMPLES + locks.SAMPLE_EVERY - 1):
        with lock:
            pass
    lock.armed = True
    assert lock.stats().acquisitions == locks.SAMPLES + locks.SAMPLE_EVERY


def test_samples_that_change_meanwhile_are_copied_anew() -> None:
    """That a deque is copied in one step is the interpreter's kindness, not its promise."""
    class Moving(deque[int]):
        moves = 2

        def copy(self) -> Any:
            if self.moves:
                self.moves -= 1
                raise RuntimeError("deque mutated during iteration")
            return deque(self)

    assert locks._latest(Moving([1, 2])) == (1, 2)


def test_a_sites_figures_are_of_one_moment() -> None:
    """What was read of a place that takes a lock does not change when it takes it again."""
    lock: Any = locks.named_lock("taken twice")
    read = []
    for _ in range(3):
        with lock:
            pass
        read.append(lock._by_site.copy())
    assert [[count for count, _, _ in sites.values()] for sites in read] == [[1], [2], [3]]


def said_while_another_breaks_one(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the sentence in `status` when a second rule is broken while it is being worded."""
    class Slow(lock_rules._Breaches):
        """Another rule is broken while the count is read, if that can be."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "count" and threading.current_thread() is asking and not other.ident:
                other.start()
                other.join(ALONE_S)
            return found

    asking: threading.Thread | None = None
    other = threading.Thread(target=lambda: lock_rules.breach("second"), name="other")
    monkeypatch.setattr(lock_rules, "_state", Slow(strict=False))
    lock_rules.breach("first")
    asking = threading.current_thread()
    said = lock_rules.breach_sentence()
    other.join(PATIENCE_S)
    return said


def test_a_broken_rule_is_told_with_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence in `status` has the count and the text of one moment, whoever breaks another rule meanwhile."""
    said = said_while_another_breaks_one(monkeypatch)
    assert said.startswith("lock rules broken 1 times")
    assert said.endswith("first")


def test_a_broken_rule_without_the_lock_is_told_with_anothers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: one count, and the text of the next."""
    monkeypatch.setattr(lock_rules, "_state_lock", NoLock())
    said = said_while_another_breaks_one(monkeypatch)
    assert said.startswith("lock rules broken 1 times")
    assert said.endswith("second")


def test_a_rule_broken_while_one_is_counted_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put away in the middle of the count may log, and that too under the lock there is."""
    class Counting(lock_rules._Breaches):
        """Something is put away while the count goes up."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "count" and not found and not put_away:
                put_away.append(1)
                lock_rules.breach("by what is put away")
            return found

    put_away: list[int] = []
    monkeypatch.setattr(lock_rules, "_state", Counting(strict=False))
    all_at_once(lambda: lock_rules.breach("first"))
    assert put_away == [1]
    assert lock_rules.breach_sentence().endswith("first")


def test_who_ends_a_scan_may_meet_workers_not_started_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAD is told to end in the moment in which the first scan starts its workers: nobody stumbles, all end."""
    scanner = a_scanner("AAA/USDT:USDT", workers=2)
    start, ended = threading.Thread.start, list[bool]()

    def start_late(thread: threading.Thread) -> None:
        if not ended:
            ended.append(scanner.stop(0.1))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    scanner._start_workers()
    assert ended == [False]
    assert scanner.stop(PATIENCE_S)


def test_a_thread_the_system_has_no_room_for_is_not_about_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is dead, and somebody may try again; who looked a name up with it is told, and nobody waits for it."""
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    heart = Heart("unborn")
    with pytest.raises(RuntimeError):
        heart.start(lambda: None)
    assert not heart.state().alive
    heart.retire()
    with pytest.raises(OSError, match="can't start"):
        Resolver().resolve("api.example", 443, 0.1)
    assert "Resolver" not in {each.name for each in hearts()}


def test_the_lease_is_given_back_after_the_latest_request(clock: ManualClock) -> None:
    """One who took the time first and wrote it last does not take a later request's place."""
    row, later = Row(), threading.Event()
    times = {"early": 500.0, "late": 503.0}

    def boottime() -> float:
        name = threading.current_thread().name
        if name == "crowd-0":                      # the early one
            assert later.wait(PATIENCE_S)
            return times["early"]
        return times["late"] if name == "crowd-1" else 503.0

    lease = Lease(row, clock, boottime=boottime)
    assert lease.acquire()

    def early() -> None:
        lease.require(clock.now_ms())

    def late() -> None:
        lease.require(clock.now_ms())
        later.set()

    all_at_once(early, late)
    lease.release()
    assert row.expires_ms - row.now_ms == 7_000    # 5 + 1 + 1 s after the later of the two, which is now


def test_a_failing_log_file_does_not_seem_well_in_between(tmp_path: Path) -> None:
    """Whoever asks while the next line is being tried hears of the trouble there still is."""
    heard: list[str] = []

    class Full:
        def write(self, _text: str) -> None:
            heard.append(sink.trouble)
            raise OSError("no space left on device")

        def flush(self) -> None: ...

        def close(self) -> None: ...

    terminal: Any = SimpleNamespace(write=lambda _: None, flush=lambda: None)
    sink = _FileSink(tmp_path / "rad.log", terminal)
    sink.shouldRollover = lambda _record: False    # type: ignore[method-assign, assignment, return-value]
    sink.stream.close()
    sink.stream = Full()
    for _ in range(2):
        sink.emit(lock_rules.log.makeRecord("x", 20, "x", 1, "line", (), None))
    assert heard[0] == ""
    assert "cannot be written" in heard[1]


def test_what_is_closed_too_late_is_not_added_to_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a flatten is the asker's alone: he may go through it while the last closes come in."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    go_on = threading.Event()

    def close(*_: object) -> object:
        return "a trade" if go_on.wait(PATIENCE_S) else None

    with building.build(RunOptions()) as built:
        monkeypatch.setattr(built.manager, "close_position", close)
        built.start_pools()
        result = built.close_all([SYMBOL], patience_s=0.0)
        go_on.set()
        assert built.finish_exits(PATIENCE_S)
    assert built.logs is not None
    built.logs.stop()                              # whoever runs the daemon does it, not the house
    assert (result.trades, result.failures) == ([], ["some positions are still being closed"])


def test_a_monitor_given_up_on_leaves_the_tick_to_its_successor() -> None:
    """It wakes with a tick and does not look: nor does it count as seen."""
    old: Any = Bot.__new__(Bot)
    prices = SimpleNamespace(wait_for_tick=lambda _seen, _timeout: 7)
    old._house = SimpleNamespace(prices=prices, settings=SimpleNamespace(monitor=SimpleNamespace(interval_s=0.1)))
    old._monitor = SimpleNamespace(is_current=lambda: False)
    old._tick = 6
    old._monitor_step()
    assert old._tick == 6


def test_losses_forgiven_while_they_are_counted_stay_forgiven(clock: ManualClock) -> None:
    """Somebody says `resume` between the count and the account's being noted: no halt comes back."""
    def count() -> int:
        account.forgive_losses()
        return 3

    journal: Any = SimpleNamespace(
        day_start_equity=lambda _: None, peak_equity=lambda: None, record_account=lambda *_: None
    )
    monitor: Any = SimpleNamespace(
        losses_in_a_row=count, forgive_losses=lambda: None, record_equity=lambda *_: None
    )
    account = Account(journal, monitor, clock)
    account.update(Balance(currency="USDT", equity=D(1), available=D(1), unrealised_pnl=D(0)))
    assert account.state().losses_in_a_row == 0


def test_an_outlets_trouble_has_its_reason() -> None:
    """Somebody asks while a message is not taken: since when and why are told together, or not yet."""
    def scene() -> Scene:
        clock = VirtualClock()
        outlet = Outlet(
            "phone", lambda _: "", EventFeed(clock), clock, rules=NotifyRules(), title="RAD", redact=str
        )
        watch(outlet, "outlet")

        def check(results: Mapping[str, object]) -> None:
            assert results["asker"] in ("", "phone has taken nothing for 0 s (no route)")

        return Scene(check=check, threads={
            "sender": lambda: outlet._failed("no route"), "asker": outlet.trouble,
        })

    assert explore(scene).orders > 1


# ---- by running -----------------------------------------------------------------------------------


def has_gil() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def why_not() -> str:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "built without the interpreter's lock, but a module that was loaded has switched it on"
    return "this interpreter has its lock: a free-threaded build (python3.14t) is needed"


def stress(rounds: int) -> None:
    """Eight threads at what they share, nothing else in their way; every sum must come out."""
    clock = SystemClock()
    monitor, feed, prices = PerformanceMonitor(clock), EventFeed(clock, kept=8 * rounds), PriceBook(clock)
    prices.follow([SYMBOL])
    first = feed.latest

    def work(number: int) -> None:
        for turn in range(rounds):
            monitor.record_api_call("order", 0.001, "ok" if turn % 2 else "ExchangeUnavailable")
            feed.publish(Kind.PAUSED)
            prices.publish(a_price(100, symbol=SYMBOL, ts_ms=turn))
            locks.named_lock(f"short-lived {number}")          # born and gone while others list them
            if turn % 8 == number:
                locks.lock_stats()
                locks.locks_held()
                stats = monitor.get_stats(brief=False)
                outcomes = stats.api_outcomes.get("order", {})
                assert sum(outcomes.values()) == stats.api_calls["order"].count

    all_at_once(*[lambda number=number: work(number) for number in range(8)])
    outcomes = monitor.get_stats().api_outcomes["order"]
    assert outcomes == {"ok": 4 * rounds, "ExchangeUnavailable": 4 * rounds}
    assert [event.number - first for event in feed.after(first)] == list(range(1, 8 * rounds + 1))
    assert prices.wait_for_tick(-1, 0) >= 1
    for _ in range(max(1, rounds // 20)):
        open_and_close_at_once()


def open_and_close_at_once() -> None:
    """Four open one symbol and four close it: one of each does."""
    trading = a_manager()
    opened = all_at_once(*[lambda: trading.manager.open_position(an_entry_request(), an_account())] * 4)
    closed = all_at_once(*[lambda: trading.manager.close_position(SYMBOL)] * 4)
    assert sum(isinstance(each, Position) for each in opened) == len(trading.exchange.entries()) == 1
    assert sum(isinstance(each, ClosedTrade) for each in closed) == len(trading.exchange.exits()) == 1


def test_the_stress_comes_out_with_the_lock() -> None:
    """So that it is known to run where it is needed."""
    with frequent_switches():
        stress(40)


@pytest.mark.skipif(has_gil(), reason=why_not())
def test_the_stress_comes_out_without_the_lock() -> None:
    """Threads that truly run at the same time."""
    stress(2_000)
    assert not has_gil(), why_not()
