"""Threads that outlive their failures; `runtime/supervisor.py` looks after those that do not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from runtime.heartbeat import IDLE_LIMIT_S, LIMIT_S, Heart, ThreadState
from runtime.locks import assert_no_lock_held
from trading.ports import Clock

log = logging.getLogger("worker")

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0


class Worker:
    """A named thread that repeats *step*; an exception is logged, counted, backed off and survived.

    *step* does its own waiting, bounded well below *stuck_after_s*, and returns when *stop* is set.
    *can_be_doubled*: when one is stuck another may take its place, because what the first one still does
    when it wakes up harms nobody. *vital_s*: as `Heart` has it.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        stop: threading.Event,
        clock: Clock,
        stuck_after_s: float = LIMIT_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
        can_be_doubled: bool = False,
        vital_s: float | None = None,
    ) -> None:
        self.name = name
        self._step = step
        self._stop = stop
        self._clock = clock
        self._longest_backoff_s = longest_backoff_s
        self.heart = Heart(
            name, limit_s=stuck_after_s, task_limit_s=stuck_after_s, vital_s=vital_s, monotonic=clock.monotonic
        )
        self.heart.revive = self.start
        if can_be_doubled:
            self.heart.supersede = self._supersede

    def start(self) -> None:
        """Start the thread; also the way to replace a dead one."""
        assert_no_lock_held("starting a thread")
        self.heart.start(self._run)

    def progress(self) -> None:
        """Say that work is getting done; called by long steps between their parts."""
        self.heart.progress()

    def is_current(self) -> bool:
        """Whether the calling thread is the worker still, and not one given up on."""
        return self.heart.is_mine()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False if it has not come."""
        assert_no_lock_held("joining a thread")
        return self.heart.join(timeout_s)

    def state(self) -> ThreadState:
        """Return what it is doing."""
        return self.heart.state()

    def _supersede(self) -> bool:
        self.start()
        return True

    def _run(self) -> None:
        heart = self.heart
        backoff_s = min(FIRST_BACKOFF_S, self._longest_backoff_s)
        while heart.is_mine() and not self._stop.is_set():
            heart.begin("step")
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - the loop outlives the step
                heart.failed(error)
                log.error("step failed again_in=%.1fs error=%s: %s", backoff_s, type(error).__name__, error,
                          exc_info=True)
                heart.idle(backoff_s + IDLE_LIMIT_S)
                self._clock.wait(self._stop, backoff_s)
                backoff_s = min(backoff_s * 2, self._longest_backoff_s)
            else:
                backoff_s = min(FIRST_BACKOFF_S, self._longest_backoff_s)
                heart.done()


def join_all(workers: Iterable[Worker], timeout_s: float, clock: Clock) -> tuple[str, ...]:
    """Wait for all to end; return the names of those that have not."""
    deadline = clock.monotonic() + timeout_s
    return tuple(
        worker.name for worker in workers if not worker.join(max(0.05, deadline - clock.monotonic()))
    )
