"""The exit workers: a small pool in which the more urgent never queues behind the less."""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from runtime.heartbeat import BEAT_S, LIMIT_S, Heart
from runtime.locks import assert_no_lock_held, condition_on, guard, named_lock
from trading.facts import Priority

log = logging.getLogger("pool")

Task = Callable[[], None]

TASK_LIMIT_S = 600.0           # of one task, however often it gets on: the longest waits for an exit to be certain
REPLACE_PATIENCE_S = 0.5       # for the lock, when a stuck worker is to be replaced


class UrgentPool:
    """Threads `<name>-0..n`: CRITICAL tasks first, then HIGH, then NORMAL; within one, first come, first served.

    What is not CRITICAL never occupies more than three quarters of the workers, what is NORMAL never
    more than half: however long those take, somebody is free for the next exit. A task may be put off;
    no worker waits for it. A worker stuck in its task is replaced by another, as often as there are workers.

    *limit_s*: how long a task may be at anything but the wire; *vital_s*: as `Heart` has it.
    """

    def __init__(
        self, name: str, workers: int, *, limit_s: float = LIMIT_S, vital_s: float | None = None
    ) -> None:
        self.name = name
        self._lock = named_lock(f"{name} pool")
        self._work = condition_on(self._lock)
        # Guarded by _lock.
        self._queues: dict[Priority, deque[Task]] = {
            priority: deque() for priority in (Priority.CRITICAL, Priority.HIGH, Priority.NORMAL)
        }
        self._running = dict.fromkeys(self._queues, 0)
        self._later: list[tuple[float, int, Priority, Task]] = []     # heap; due on the monotonic clock
        self._serial = 0
        self._ended = 0                          # threads that take nothing any more
        self._stopping = False
        self._at: list[Priority | None] = [None] * workers            # of the task each is carrying out
        self._lives = [0] * workers              # how many came before the one there is
        guard(self, self._lock, "_queues", "_running", "_later", "_serial", "_ended", "_stopping", "_at", "_lives")
        self._replacements = workers             # left; the supervisor's alone
        self._most = {
            Priority.HIGH: max(1, workers * 3 // 4), Priority.NORMAL: max(1, workers // 2),
        }                                        # at work with this or anything less urgent
        self.hearts = tuple(
            Heart(f"{name}-{index}", limit_s=limit_s, task_limit_s=TASK_LIMIT_S, vital_s=vital_s)
            for index in range(workers)
        )
        for index, heart in enumerate(self.hearts):
            heart.revive = partial(self._revive, index)
            heart.supersede = partial(self._replace, index)

    def start(self) -> None:
        """Start the threads."""
        assert_no_lock_held("starting threads")
        for index in range(len(self.hearts)):
            self._begin(index, life=0)

    def submit(self, task: Task, priority: Priority, after_s: float = 0.0) -> None:
        """Hand over a task, not to be begun for *after_s*; it must not raise (if it does, that is survived).

        Once the pool has ended the caller carries it out: it is not lost.
        """
        with self._work:
            is_late = self._stopping and self._ended == len(self.hearts)
            if not is_late and after_s > 0 and not self._stopping:
                self._serial += 1
                heapq.heappush(self._later, (time.monotonic() + after_s, self._serial, priority, task))
            elif not is_late:
                self._queues[priority].append(task)
            self._work.notify()
        if is_late:
            _carry_out(task)

    def stop(self, timeout_s: float) -> bool:
        """Finish what is queued, what was put off at once; False if some thread is at it after *timeout_s*."""
        assert_no_lock_held("joining threads")
        with self._work:
            self._stopping = True
            while self._later:
                self._take_next_later()
            self._work.notify_all()
        deadline = time.monotonic() + timeout_s
        threads = [heart.thread for heart in self.hearts if heart.thread is not None]
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # ---- the workers ----------------------------------------------------------------------------

    def _begin(self, index: int, life: int) -> None:
        self.hearts[index].start(partial(self._run, index, life))

    def _replace(self, index: int) -> bool:
        """Give up on a stuck worker and start another; False once that has been done too often."""
        if not self._replacements or not self._revive(index):
            return False
        self._replacements -= 1
        return True

    def _revive(self, index: int) -> bool:
        """Start another worker in the place of one; False if that is not possible just now."""
        if not self._lock.acquire(timeout=REPLACE_PATIENCE_S):
            return False
        try:
            if self._stopping:
                return False
            self._lives[index] += 1
            life = self._lives[index]
            self._let_go(index)
        finally:
            self._lock.release()
        self._begin(index, life)
        return True

    def _run(self, index: int, life: int) -> None:
        heart = self.hearts[index]
        while (taken := self._next_task(index, life)) is not None:
            priority, task = taken
            heart.begin(priority.name.lower())
            _carry_out(task)
            heart.done()
            with self._work:
                if self._lives[index] == life:
                    self._let_go(index)

    def _next_task(self, index: int, life: int) -> tuple[Priority, Task] | None:
        """Wait for a task that may be begun; None when it is time to end."""
        with self._work:
            while self._lives[index] == life:
                while self._later and self._later[0][0] <= time.monotonic():
                    self._take_next_later()
                for priority, queue in self._queues.items():
                    if queue and self._may_begin(priority):
                        self._running[priority] += 1
                        self._at[index] = priority
                        return priority, queue.popleft()
                if self._stopping and not any(self._queues.values()):
                    self._ended += 1
                    return None
                self.hearts[index].idle()
                due_s = self._later[0][0] - time.monotonic() if self._later else BEAT_S
                self._work.wait(min(max(0.0, due_s), BEAT_S))
        return None

    # ---- under the lock -------------------------------------------------------------------------

    def _let_go(self, index: int) -> None:
        """What that worker was at occupies nobody any more."""
        priority, self._at[index] = self._at[index], None
        if priority is not None:
            self._running[priority] -= 1
            self._work.notify_all()

    def _may_begin(self, priority: Priority) -> bool:
        """Whether enough workers stay free for what is more urgent."""
        return all(
            sum(running for of, running in self._running.items() if of >= rank) < most
            for rank, most in self._most.items() if priority >= rank
        )

    def _take_next_later(self) -> None:
        _, _, priority, task = heapq.heappop(self._later)
        self._queues[priority].append(task)


def _carry_out(task: Task) -> None:
    assert_no_lock_held("a task")
    try:
        task()
    except BaseException:  # noqa: BLE001 - the pool outlives its tasks, one that raises SystemExit too
        log.exception("task failed")
