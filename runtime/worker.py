"""Threads that outlive their failures, and the one who looks after them."""

from __future__ import annotations

import faulthandler
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.locks import assert_no_lock_held
from trading.ports import Clock

log = logging.getLogger("worker")

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """What a worker is doing, for `./rad threads`."""

    name: str
    alive: bool
    steps: int
    failures: int
    restarts: int
    idle_s: float              # since it last made progress
    stuck_after_s: float
    last_error: str

    @property
    def is_stuck(self) -> bool:
        """Whether it lives but has made no progress for longer than it may."""
        return self.alive and self.idle_s > self.stuck_after_s


class Worker:
    """A named thread that repeats *step*; an exception is logged, counted, backed off and survived.

    *step* does its own waiting, bounded well below *stuck_after_s*, and returns when *stop* is set.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        stop: threading.Event,
        clock: Clock,
        stuck_after_s: float = 30.0,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
    ) -> None:
        self.name = name
        self._step = step
        self._stop = stop
        self._clock = clock
        self._stuck_after_s = stuck_after_s
        self._longest_backoff_s = longest_backoff_s
        self._thread: threading.Thread | None = None
        # Written by the worker's own thread (restarts: by its supervisor), read by anyone.
        self._progress_at = clock.monotonic()
        self._steps = 0
        self._failures = 0
        self._restarts = -1
        self._last_error = ""

    def start(self) -> None:
        """Start the thread; also the way to replace a dead one."""
        assert_no_lock_held("starting a thread")
        self._restarts += 1
        self._progress_at = self._clock.monotonic()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def progress(self) -> None:
        """Say that work is getting done; called by long steps between their parts."""
        self._progress_at = self._clock.monotonic()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False if it has not come."""
        assert_no_lock_held("joining a thread")
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def state(self) -> WorkerState:
        """Return what it is doing."""
        thread = self._thread
        return WorkerState(
            name=self.name,
            alive=thread is not None and thread.is_alive(),
            steps=self._steps,
            failures=self._failures,
            restarts=max(self._restarts, 0),
            idle_s=max(0.0, self._clock.monotonic() - self._progress_at),
            stuck_after_s=self._stuck_after_s,
            last_error=self._last_error,
        )

    def _run(self) -> None:
        backoff_s = min(FIRST_BACKOFF_S, self._longest_backoff_s)
        while not self._stop.is_set():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - the loop outlives the step
                self._failures += 1
                self._last_error = f"{type(error).__name__}: {error}"
                log.error("step failed again_in=%.1fs error=%s", backoff_s, self._last_error, exc_info=True)
                self._clock.wait(self._stop, backoff_s)
                backoff_s = min(backoff_s * 2, self._longest_backoff_s)
            except BaseException as error:  # noqa: BLE001 - SystemExit ends a thread without a word: say it
                self._last_error = f"{type(error).__name__}: {error}"
                log.critical("thread ends name=%s error=%s", self.name, self._last_error)
                return
            else:
                backoff_s = min(FIRST_BACKOFF_S, self._longest_backoff_s)
                self._steps += 1
            self.progress()


class Supervisor:
    """Replaces dead workers and reports stuck ones; called by the main thread once a second."""

    def __init__(self, workers: list[Worker], *, dump_path: Path) -> None:
        self.workers = workers
        self._dump_path = dump_path
        self._reported: set[str] = set()

    def start(self) -> None:
        """Start every worker that does not run already."""
        for worker in self.workers:
            if not worker.state().alive:
                worker.start()

    def check(self) -> tuple[WorkerState, ...]:
        """Replace the dead, dump all stacks once for each newly stuck; return the stuck ones."""
        stuck = []
        for worker in self.workers:
            state = worker.state()
            if not state.alive:
                log.error("thread died replaced=%s last_error=%s", state.name, state.last_error or "none")
                worker.start()
            elif state.is_stuck:
                stuck.append(state)
                if state.name not in self._reported:
                    self._reported.add(state.name)
                    self._dump(state)
            else:
                self._reported.discard(state.name)
        return tuple(stuck)

    def join(self, timeout_s: float, clock: Clock) -> tuple[str, ...]:
        """Wait for all to end; return the names of those that have not."""
        deadline = clock.monotonic() + timeout_s
        return tuple(
            worker.name
            for worker in self.workers
            if not worker.join(max(0.05, deadline - clock.monotonic()))
        )

    def _dump(self, state: WorkerState) -> None:
        assert_no_lock_held("writing stacks")
        log.error("thread stuck name=%s idle=%.0fs stacks=%s", state.name, state.idle_s, self._dump_path)
        with self._dump_path.open("a", encoding="utf-8") as file:
            file.write(f"--- {state.name} stuck for {state.idle_s:.0f} s\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
