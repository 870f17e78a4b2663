"""The exit workers: a small pool in which urgent tasks never queue behind the others."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from runtime.locks import condition_on, named_lock

log = logging.getLogger("pool")

Task = Callable[[], None]


class UrgentPool:
    """Threads `<name>-0..n`: urgent tasks first, and only half the workers ever do anything else.

    A task may be put off; no worker waits for it. Those put off still when the pool stops are dropped.
    """

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self._lock = named_lock(f"{name} pool")
        self._work = condition_on(self._lock)
        # Guarded by _lock.
        self._urgent: deque[Task] = deque()
        self._other: deque[Task] = deque()
        self._later: list[tuple[float, int, Task]] = []     # heap: due (monotonic), in order, not urgent
        self._serial = 0
        self._others_running = 0
        self._stopping = False
        self._most_others = max(1, workers // 2)
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{index}", daemon=True)
            for index in range(workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, *, urgent: bool, after_s: float = 0.0) -> None:
        """Hand over a task, not to be begun for *after_s*; it must not raise (if it does, that is survived)."""
        with self._work:
            if after_s > 0:
                self._serial += 1
                heapq.heappush(self._later, (time.monotonic() + after_s, self._serial, task))
            else:
                (self._urgent if urgent else self._other).append(task)
            self._work.notify()

    def stop(self, timeout_s: float) -> bool:
        """Finish what is queued, then end; False if some thread is still at it after *timeout_s*."""
        with self._work:
            self._stopping = True
            self._work.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s / len(self._threads))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while True:
            with self._work:
                while self._next_queue() is None and not self._is_over():
                    self._work.wait(self._until_due_s())
                queue = self._next_queue()
                if queue is None:
                    return
                task = queue.popleft()
                is_other = queue is self._other
                self._others_running += is_other
            try:
                task()
            except Exception:  # noqa: BLE001 - the pool outlives its tasks
                log.exception("task failed")
            with self._work:
                self._others_running -= is_other
                self._work.notify_all()

    def _until_due_s(self) -> float | None:
        """Return for how long there is nothing to do, None: until somebody brings something."""
        return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None

    def _next_queue(self) -> deque[Task] | None:
        while self._later and self._later[0][0] <= time.monotonic():
            self._other.append(heapq.heappop(self._later)[2])
        if self._urgent:
            return self._urgent
        if self._other and self._others_running < self._most_others:
            return self._other
        return None

    def _is_over(self) -> bool:
        return self._stopping and not self._urgent and not self._other
