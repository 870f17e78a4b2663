"""The rules about locks hold, and a breach is noticed."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest

from runtime import lock_rules, locks
from runtime.locks import (
    LockBreach,
    LockStats,
    assert_no_lock_held,
    breach_sentence,
    condition_on,
    lock_stats,
    lock_waits,
    locks_held,
    named_lock,
    together,
)
from tests.crowd import PATIENCE_S, all_at_once, crowd, frequent_switches


@pytest.fixture
def production() -> Iterator[None]:
    """Breaches are told and counted, and trading goes on."""
    locks.make_strict(False)
    yield
    locks.make_strict(True)


def line_of(text: str) -> int:
    """The line of this file that ends with the comment *text*."""
    with open(__file__, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))


# ---- nesting ------------------------------------------------------------------------------------


def test_second_lock_under_the_first_raises() -> None:
    """Two locks at once are refused before the second is waited for, and the first is given back."""
    outer, inner = named_lock("outer"), named_lock("inner")
    with pytest.raises(LockBreach, match="'inner' asked for while holding 'outer'"), outer, inner:
        pass
    assert not outer.locked()
    assert not inner.locked()


def take_outer_then(inner: object, outer: locks.NamedLock) -> None:
    with outer:                                       # the outer lock
        ask_for(inner)


def ask_for(inner: object) -> None:
    with inner:                                       # type: ignore[attr-defined]  # the inner lock
        pass


def test_a_nested_lock_is_told_with_both_stacks() -> None:
    """Where the outer lock was taken, by the line of its `with`, and where the inner one was asked for."""
    with pytest.raises(LockBreach) as caught:
        take_outer_then(named_lock("inner"), named_lock("outer"))
    told = str(caught.value)
    taken, broken = told.split("broken at\n")
    assert f"test_locks.py:{line_of('the outer lock')} in take_outer_then" in taken.splitlines()[2]
    assert f"test_locks.py:{line_of('the inner lock')} in ask_for" in broken.splitlines()[0]
    assert "test_a_nested_lock" in taken, "the whole stack, not its end alone"


def test_a_lock_taken_through_its_condition_says_by_whom() -> None:
    """Not the Condition has taken it but whoever entered that; waiting in between makes no difference."""
    lock = named_lock("outer")
    bell = condition_on(lock)

    def enter() -> None:
        with bell:                                    # the condition
            bell.wait(0.001)
            assert_no_lock_held("wire")

    with pytest.raises(LockBreach) as caught:
        enter()
    taken = str(caught.value).split("broken at\n")[0].splitlines()[2]
    assert re.search(rf"test_locks.py:{line_of('the condition')} in .*enter$", taken)


def test_same_lock_twice_raises_instead_of_hanging(production: None) -> None:
    """A thread that would wait for itself is told so, strict or not, under another lock too."""
    lock, inner = named_lock("mine"), named_lock("inner")
    with pytest.raises(LockBreach, match="already holds lock 'mine'"), lock, lock:
        pass
    with pytest.raises(LockBreach, match="already holds lock 'mine'"), lock, inner, lock:
        pass
    assert not lock.locked()
    assert not inner.locked()


def test_release_by_another_thread_raises() -> None:
    """Only the holder gives a lock back."""
    lock, held, tried = named_lock("held elsewhere"), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            assert tried.wait(PATIENCE_S)
            assert lock.is_mine()

    def steal() -> None:
        assert held.wait(PATIENCE_S)
        with pytest.raises(LockBreach, match="does not hold"):
            lock.release()
        tried.set()

    all_at_once(hold, steal)


def test_io_under_a_lock_is_noticed() -> None:
    """What begins I/O asks first, and is refused under a lock."""
    lock = named_lock("state")
    assert_no_lock_held("wire")
    with lock, pytest.raises(LockBreach, match="wire while holding lock 'state'"):
        assert_no_lock_held("wire")


# ---- in production ------------------------------------------------------------------------------


def test_breach_in_production_is_logged_and_trading_goes_on(
    production: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without strict checks a breach is counted and logged with both stacks; the lock is taken all the same."""
    outer, inner = named_lock("outer"), named_lock("inner in production")
    before = locks.breaches()
    with caplog.at_level(logging.ERROR, logger="locks"):
        take_outer_then(inner, outer)
    assert locks.breaches() == before + 1
    assert "'inner in production' asked for while holding 'outer'" in breach_sentence()
    (line,) = [record.getMessage() for record in caplog.records]
    taken, broken = line.split("broken at\n")
    assert f"test_locks.py:{line_of('the outer lock')} in take_outer_then" in taken
    assert f"test_locks.py:{line_of('the inner lock')} in ask_for" in broken.splitlines()[0]
    assert not outer.locked()
    assert not inner.locked()


def test_in_production_the_with_around_the_breach_is_found(
    production: None, caplog: pytest.LogCaptureFixture
) -> None:
    """No lock remembers where it was taken; of the statements around, those that hold something are named."""
    lock = named_lock("outer, found")

    def look() -> None:
        with suppress(KeyError):                      # ended before
            pass
        with lock:                                    # what holds it
            try:
                with suppress(ValueError):            # within
                    for _ in range(1):
                        assert_no_lock_held("the wire, with much around")
            finally:
                pass
        with suppress(OSError):                       # begun after
            pass

    with caplog.at_level(logging.ERROR, logger="locks"):
        look()
    (line,) = [record.getMessage() for record in caplog.records]
    told = re.findall(r"test_locks.py:(\d+) in .*look$", line.split("broken at\n")[0], re.MULTILINE)
    assert [int(number) for number in told] == [line_of("within"), line_of("what holds it")]


def test_a_breach_at_each_tick_does_not_flood_the_log(
    production: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a hundred alike the 1st, 2nd, 4th, ... 64th are told; all are counted."""
    before = locks.breaches()
    with caplog.at_level(logging.ERROR, logger="locks"), named_lock("often"):
        for _ in range(100):
            assert_no_lock_held("wire again and again")
    assert locks.breaches() == before + 100
    assert len(caplog.records) == 7


def test_many_different_breaches_are_counted_and_few_remembered(
    production: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of breaches does not grow without end."""
    monkeypatch.setattr(lock_rules._state, "times", {})
    with caplog.at_level(logging.ERROR, logger="locks"), named_lock("everything"):
        for number in range(lock_rules.KINDS_TOLD + 10):
            assert_no_lock_held(f"call {number}")
    assert len(caplog.records) == len(lock_rules._state.times) == lock_rules.KINDS_TOLD


def test_locks_that_were_nested_come_free_in_any_order(production: None) -> None:
    """Whichever is given back first, the thread holds the others, and knows which."""
    first, second, third = (named_lock(name) for name in ("first", "second", "third"))
    for order in ((third, second, first), (first, second, third), (second, third, first)):
        for lock in (first, second, third):
            lock.acquire()
        for lock in order:
            assert all(each.is_mine() for each in order[order.index(lock):])
            lock.release()
            assert not lock.is_mine()
            assert not lock.locked()
        assert not locks_held()
        all_at_once(lambda: [(lock.acquire(), lock.release()) for lock in (first, second, third)])


def test_under_the_outer_lock_again_the_outer_one_is_named(production: None) -> None:
    """After the inner lock of a breach, I/O under the outer one is still a breach of the outer one's."""
    outer, inner = named_lock("still held"), named_lock("gone")
    with outer:
        with inner:
            pass
        assert_no_lock_held("wire")
        assert "wire while holding lock 'still held'" in breach_sentence()
        assert not inner.acquire(blocking=False) or inner.release() is None
        assert outer.is_mine()
    assert_no_lock_held("wire")
    assert not outer.locked()


def test_a_lock_not_to_be_had_leaves_the_thread_as_it_was(production: None) -> None:
    """Asked for without waiting, or for a moment only: False, and what was held before is held still."""
    outer, taken = named_lock("outer"), named_lock("taken")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        taken.acquire()
        held.set()
        done.wait(PATIENCE_S)
        taken.release()

    with crowd(hold):
        assert held.wait(PATIENCE_S)
        assert not taken.acquire(blocking=False)
        with outer:
            assert not taken.acquire(timeout=0.001)
            assert outer.is_mine()
            assert not taken.is_mine()
        assert not outer.locked()
        done.set()
    assert taken.acquire(blocking=False)
    taken.release()


# ---- figures ------------------------------------------------------------------------------------


def test_lock_excludes_and_counts() -> None:
    """Increments under the lock are never lost, and the lock knows how often it was taken."""
    lock = named_lock("counter")
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(500):
            with lock:
                seen = count
                count = seen + 1

    with frequent_switches():
        all_at_once(*[add] * 4)
    assert count == 2000
    assert lock.stats().acquisitions == 2000


def test_condition_on_a_named_lock_wakes_its_waiter() -> None:
    """A Condition on a named lock gives it up while waiting and has it again after."""
    lock = named_lock("mailbox")
    arrived = condition_on(lock)
    letters: list[str] = []

    def wait() -> str:
        with arrived:
            assert arrived.wait_for(lambda: letters, timeout=10)
            assert lock.is_mine()
            return letters[0]

    with crowd(wait) as results, arrived:
        letters.append("hello")
        arrived.notify_all()
    assert results == ["hello"]


def test_stats_name_the_holder() -> None:
    """Who holds a lock, and who waits for it, can be read while it is so; every wait is known."""
    lock = named_lock("asked about")
    held, asked = threading.Event(), threading.Event()

    def hold() -> None:
        lock.acquire()
        held.set()
        while lock.name not in {name for name, _ in lock_waits().values()}:
            asked.wait(0.001)
        lock.release()

    def want() -> None:
        assert held.wait(PATIENCE_S)
        holder = next(ident for ident, names in locks_held().items() if lock.name in names)
        assert lock.stats().holder == "crowd-0"
        with lock:
            assert lock.stats().holder == "crowd-1"
            assert threading.get_ident() != holder

    all_at_once(hold, want)
    stats = {stats.name: stats for stats in lock_stats()}["asked about"]
    assert stats.holder is None
    assert not lock_waits()
    assert (stats.acquisitions, stats.contended, len(stats.waited), stats.waited_among) == (2, 1, 1, 2)
    assert 0 < stats.longest_wait == stats.wait_s(99)
    assert stats.wait_s(50) == 0.0
    assert stats.longest_hold == max(stats.holds)


def test_the_longest_hold_is_true_though_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 holds of 1 ms and one of 2 s, at no sampled place, the longest is 2 s; a bounded sample is kept."""
    lock = locks.NamedLock("held once for long")       # without call sites, which have a clock of their own
    holds = [0.001] * 3_000
    holds[2_000] = 2.0
    for hold in holds:
        times = count(0.0, hold)
        monkeypatch.setattr(locks, "perf_counter", lambda times=times: next(times))
        with lock:
            pass
    stats = lock.stats()
    assert (stats.acquisitions, stats.longest_hold, stats.hold_s(99)) == (3_000, 2.0, 0.001)
    assert len(stats.holds) == locks.SAMPLES
    assert set(stats.holds) == {0.001}


def test_percentiles_count_those_who_did_not_wait() -> None:
    """Of 100 acquisitions 3 waited 1, 2 and 9 ms: the median waited nothing, 98 of 100 at most 1 ms."""
    stats = LockStats(name="a", acquisitions=100, contended=3, waited=(0.009, 0.001, 0.002), waited_among=100)
    assert [stats.wait_s(percent) for percent in (50, 97, 98, 99, 100)] == [0.0, 0.0, 0.001, 0.002, 0.009]
    assert stats.hold_s(50) is None
    other = LockStats(name="a", acquisitions=100, contended=0, waited_among=100, holds=(1.0,))
    both = together("a", (stats, other))
    assert (both.acquisitions, both.contended, both.wait_s(99), both.hold_s(50)) == (200, 3, 0.001, 1.0)


def test_waits_are_known_among_the_acquisitions_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """When more have waited than are kept, those before the first one kept are counted out."""
    lock = named_lock("much wanted")
    monkeypatch.setattr(lock, "_take", lambda blocking=True, timeout=-1: blocking)     # never there at once
    monkeypatch.setattr(lock, "_give", lambda: None)
    for _ in range(locks.SAMPLES + 100):
        with lock:
            pass
    stats = lock.stats()
    assert stats.contended == locks.SAMPLES + 100
    assert len(stats.waited) == stats.waited_among == locks.SAMPLES


def test_call_sites_are_recorded_and_bounded() -> None:
    """In tests and with RAD_LOCK_CHECK=1 each place that takes a lock is told, with its count and its holds."""
    lock = named_lock("taken in many places")
    with lock:                                        # the first place
        pass
    for _ in range(3):
        with condition_on(lock):                      # the second place
            pass
    sites = {site.where.partition(":")[2]: site for site in lock.stats().sites}
    first, second = (
        sites[f"{line_of(text)} in test_call_sites_are_recorded_and_bounded"]
        for text in ("the first place", "the second place")
    )
    assert (first.acquisitions, second.acquisitions) == (1, 3)
    assert 0 < second.longest_hold < second.total_hold
    for number in range(locks.MOST_SITES + 20):
        exec(f"def take_{number}():\n with lock: pass\ntake_{number}()", {"lock": lock})
    told = lock.stats().sites
    assert len(told) == locks.MOST_SITES + 1
    assert sum(site.acquisitions for site in told) == lock.stats().acquisitions
    assert next(site.acquisitions for site in told if site.where == "elsewhere") == 22


def test_in_production_no_call_site_is_recorded(production: None) -> None:
    """What costs more than a microsecond is for tests."""
    lock = named_lock("plain")
    with lock:
        pass
    assert type(lock) is locks.NamedLock
    assert not lock.stats().sites
