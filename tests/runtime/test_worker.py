"""Threads outlive their failures, and whoever dies or hangs is noticed."""

from __future__ import annotations

import threading

from runtime.pool import UrgentPool
from runtime.worker import Worker
from tests.manual_clock import ManualClock
from trading.facts import Priority

PATIENCE_S = 10.0


def test_a_failing_step_is_survived_and_backed_off(clock: ManualClock) -> None:
    """After an exception the worker waits, then goes on; the failure is counted and kept."""
    stop, recovered = threading.Event(), threading.Event()
    attempts: list[int] = []

    def step() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("bad luck")
        recovered.set()
        stop.wait(PATIENCE_S)

    worker = Worker("unlucky", step, stop=stop, clock=clock)
    worker.start()
    clock.await_sleepers(1)                       # parked in its backoff
    assert worker.state().failures == 1
    assert worker.state().last_error == "ValueError: bad luck"
    assert not recovered.is_set()
    clock.advance(0.5)
    assert recovered.wait(PATIENCE_S)
    stop.set()
    assert worker.join(PATIENCE_S)


def test_urgent_tasks_pass_waiting_ones() -> None:
    """With every other task hanging, an urgent one still finds a worker, and queued ones keep out of it."""
    pool = UrgentPool("exit", workers=4)
    leave = threading.Event()
    parked = threading.Semaphore(0)
    done = threading.Event()

    def hang() -> None:
        parked.release()
        leave.wait(PATIENCE_S)

    for _ in range(10):
        pool.submit(hang, Priority.NORMAL)
    pool.start()
    for _ in range(2):                            # half the workers may do what is not urgent
        assert parked.acquire(timeout=PATIENCE_S)
    pool.submit(done.set, Priority.CRITICAL)
    assert done.wait(PATIENCE_S)
    assert not parked.acquire(blocking=False)
    leave.set()
    assert pool.stop(PATIENCE_S)


def test_pool_finishes_what_is_queued_before_it_ends() -> None:
    """Stopping loses no exit that was already handed over."""
    pool = UrgentPool("exit", workers=2)
    done: list[int] = []
    for number in range(20):
        pool.submit(lambda number=number: done.append(number), Priority(number % 3))
    pool.start()
    assert pool.stop(PATIENCE_S)
    assert sorted(done) == list(range(20))


def test_a_task_put_off_holds_no_worker_and_comes_when_it_is_due() -> None:
    """Two that wait, one of them for an hour, and a single worker: others pass; the end does not wait an hour."""
    pool = UrgentPool("exit", workers=1)
    order: list[str] = []
    due = threading.Event()

    def soon() -> None:
        order.append("soon")
        due.set()

    pool.start()
    pool.submit(lambda: order.append("in an hour"), Priority.NORMAL, after_s=3600)
    pool.submit(soon, Priority.NORMAL, after_s=0.2)
    pool.submit(lambda: order.append("now"), Priority.NORMAL)
    assert due.wait(PATIENCE_S)
    assert order == ["now", "soon"]
    assert pool.stop(PATIENCE_S)
    assert order == ["now", "soon", "in an hour"]


def test_what_comes_after_the_end_is_carried_out_by_who_brings_it() -> None:
    """No exit is handed to workers that are gone."""
    pool = UrgentPool("exit", workers=2)
    pool.start()
    assert pool.stop(PATIENCE_S)
    done: list[str] = []
    pool.submit(lambda: done.append(threading.current_thread().name), Priority.CRITICAL, after_s=5)
    assert done == [threading.current_thread().name]


def test_the_more_urgent_finds_a_worker_whatever_the_others_do() -> None:
    """Of eight workers four may move stops, two more settle exits, and two are always left for the next exit."""
    pool = UrgentPool("exit", workers=8)
    leave = threading.Event()
    at_it = {priority: threading.Semaphore(0) for priority in (Priority.CRITICAL, Priority.HIGH, Priority.NORMAL)}

    def hang(priority: Priority) -> None:
        at_it[priority].release()
        leave.wait(PATIENCE_S)

    pool.start()
    for priority, most in ((Priority.NORMAL, 4), (Priority.HIGH, 2), (Priority.CRITICAL, 2)):
        for _ in range(10):
            pool.submit(lambda priority=priority: hang(priority), priority)      # type: ignore[misc]
        for _ in range(most):
            assert at_it[priority].acquire(timeout=PATIENCE_S)
        assert not at_it[priority].acquire(blocking=False)
    leave.set()
    assert pool.stop(PATIENCE_S)


def test_one_slow_task_may_take_all_of_the_grace() -> None:
    """The time to end is one for all threads, not a share for each."""
    pool = UrgentPool("exit", workers=8)
    entered, leave = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        leave.wait(PATIENCE_S)

    pool.start()
    pool.submit(slow, Priority.CRITICAL)
    assert entered.wait(PATIENCE_S)
    timer = threading.Timer(0.5, leave.set)
    timer.start()
    assert pool.stop(2.0)
    timer.join()
