"""The exit workers: a small pool in which the more urgent never queues behind the less."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from runtime.locks import condition_on, guard, named_lock
from trading.facts import Priority

log = logging.getLogger("pool")

Task = Callable[[], None]


class UrgentPool:
    """Threads `<name>-0..n`: CRITICAL tasks first, then HIGH, then NORMAL; within one, first come, first served.

    What is not CRITICAL never occupies more than three quarters of the workers, what is NORMAL never
    more than half: however long those take, somebody is free for the next exit. A task may be put off;
    no worker waits for it.
    """

    def __init__(self, name: str, workers: int) -> None:
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
        guard(self, self._lock, "_queues", "_running", "_later", "_serial", "_ended", "_stopping")
        self._most = {
            Priority.HIGH: max(1, workers * 3 // 4), Priority.NORMAL: max(1, workers // 2),
        }                                        # at work with this or anything less urgent
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{index}", daemon=True)
            for index in range(workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, priority: Priority, after_s: float = 0.0) -> None:
        """Hand over a task, not to be begun for *after_s*; it must not raise (if it does, that is survived).

        Once the pool has ended the caller carries it out: it is not lost.
        """
        with self._work:
            is_late = self._stopping and self._ended == len(self._threads)
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
        with self._work:
            self._stopping = True
            while self._later:
                self._take_next_later()
            self._work.notify_all()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (taken := self._next_task()) is not None:
            priority, task = taken
            _carry_out(task)
            with self._work:
                self._running[priority] -= 1
                self._work.notify_all()

    def _next_task(self) -> tuple[Priority, Task] | None:
        """Wait for a task that may be begun; None when it is time to end."""
        with self._work:
            while True:
                while self._later and self._later[0][0] <= time.monotonic():
                    self._take_next_later()
                for priority, queue in self._queues.items():
                    if queue and self._may_begin(priority):
                        self._running[priority] += 1
                        return priority, queue.popleft()
                if self._stopping and not any(self._queues.values()):
                    self._ended += 1
                    return None
                self._work.wait(max(0.0, self._later[0][0] - time.monotonic()) if self._later else None)

    # ---- under the lock -------------------------------------------------------------------------

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
    try:
        task()
    except Exception:  # noqa: BLE001 - the pool outlives its tasks
        log.exception("task failed")
