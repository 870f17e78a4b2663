"""The rules about locks hold, and a breach is noticed."""

from __future__ import annotations

import logging
import threading

import pytest

from runtime import locks
from runtime.locks import LockBreach, assert_no_lock_held, condition_on, guarded, lock_stats, named_lock
from tests.crowd import all_at_once, crowd, frequent_switches


def test_second_lock_under_the_first_raises() -> None:
    """Two locks at once are refused before the second is waited for, and the first is given back."""
    outer, inner = named_lock("outer"), named_lock("inner")
    with pytest.raises(LockBreach, match="'inner' asked for while holding 'outer'"), outer, inner:
        pass
    assert not outer.locked()
    assert not inner.locked()


def test_same_lock_twice_raises_instead_of_hanging() -> None:
    """A thread that would wait for itself is told so, strict or not."""
    lock = named_lock("mine")
    locks.make_strict(False)
    try:
        with pytest.raises(LockBreach, match="already holds lock 'mine'"), lock, lock:
            pass
    finally:
        locks.make_strict(True)


def test_release_by_another_thread_raises() -> None:
    """Only the holder gives a lock back."""
    lock = named_lock("held elsewhere")
    with lock:
        def steal() -> None:
            with pytest.raises(LockBreach, match="does not hold"):
                lock.release()

        all_at_once(steal)
        assert lock.is_mine()


def test_io_under_a_lock_is_noticed() -> None:
    """What begins I/O asks first, and is refused under a lock."""
    lock = named_lock("state")
    assert_no_lock_held("wire")
    with lock, pytest.raises(LockBreach, match="wire while holding lock 'state'"):
        assert_no_lock_held("wire")


def test_breach_in_production_is_logged_and_trading_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Without strict checks a breach is counted and logged with its stack; the lock is taken all the same."""
    outer, inner = named_lock("outer"), named_lock("inner")
    locks.make_strict(False)
    before = locks.breaches()
    try:
        with caplog.at_level(logging.ERROR, logger="locks"), outer, inner:
            assert inner.is_mine()
    finally:
        locks.make_strict(True)
    assert locks.breaches() == before + 1
    assert "test_breach_in_production" in caplog.text


def test_guarded_dict_touched_without_its_lock_raises() -> None:
    """Reading counts as touching: an unlocked read is a race as well."""
    lock = named_lock("table")
    table = guarded(lock, "table", {})
    with lock:
        table["a"] = 1
        assert list(table.items()) == [("a", 1)]
    for touch in (lambda: table["a"], lambda: len(table), lambda: list(table), lambda: table.update(b=2)):
        with pytest.raises(LockBreach, match="table touched without lock 'table'"):
            touch()


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
    """Who holds a lock can be read while it is held."""
    lock = named_lock("asked about")
    held, asked = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            asked.wait(10)

    with crowd(hold):
        assert held.wait(10)
        found = {stats.name: stats for stats in lock_stats()}["asked about"]
        assert found.holder == "crowd-0"
        asked.set()
    assert lock.stats().holder is None
    assert len(lock.stats().holds) == 1
