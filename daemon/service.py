"""RAD as seen by systemd: when it is ready, that it lives, and how it stands.

The watchdog is fed by a thread of its own, and only while the main thread, the position monitor and the
supervisor that looks after all threads get on: a heart that beats beside a body that does nothing is what
hides a hang. When it is not fed, systemd aborts the process, Python writes every thread's stack into the
log, and RAD is started again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime import systemd
from runtime.heartbeat import IDLE_LIMIT_S, Heart, ThreadState
from runtime.locks import assert_no_lock_held

if TYPE_CHECKING:
    from daemon.house import House

log = logging.getLogger("service")

MONITOR = "PositionMonitor"
BEAT_S = 5.0                   # at the longest; a quarter of what systemd allows if that is less
GRACE_S = 15.0                 # beyond its limit, for the supervisor to do something about it first
FAILING_S = 60.0               # of a monitor that fails in every step: whatever it holds, a fresh one may not
START_EXTENSION_S = 120


class Service:
    """Tells systemd; where none listens it does nothing."""

    def __init__(
        self, house: House, main: Callable[[], ThreadState], monitor: Callable[[], ThreadState]
    ) -> None:
        """*main* and *monitor* return what the main thread and the position monitor are doing."""
        self._house = house
        self._watched = (main, monitor, house.supervisor.heart.state)
        self._ended = threading.Event()
        self._heart = Heart("Watchdog", monotonic=house.clock.monotonic)
        self._heart.revive = self.start
        # The Watchdog's alone.
        self._ready = False
        self._said = ""
        self._withheld = False

    def start(self) -> None:
        """Begin to speak, if somebody listens; also the way to begin again."""
        if systemd.is_listening():
            self._heart.start(self._run)

    def stopping(self) -> None:
        """The end has begun."""
        systemd.notify("STOPPING=1", "STATUS=ending, with every position protected")

    def stop(self) -> None:
        """Fall silent."""
        assert_no_lock_held("joining a thread")
        self._ended.set()
        self._heart.join(2.0)

    # ---- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        limit_s = systemd.watchdog_s()
        beat_s = BEAT_S if limit_s is None else min(BEAT_S, limit_s / 4)
        while self._heart.is_mine() and not self._ended.is_set():
            self._heart.begin("telling systemd")
            self._beat()
            self._heart.done()
            # Half a second until READY: whoever waits for the start waits for this.
            pause_s = beat_s if self._ready else min(beat_s, 0.5)
            self._heart.idle(pause_s + IDLE_LIMIT_S)
            self._house.clock.wait(self._ended, pause_s)

    def _beat(self) -> None:
        """Say what there is to say, in one message."""
        lines = []
        held_up = self._held_up()
        if not self._ready and self.is_ready():
            self._ready = True
            lines.append("READY=1")
            log.info("ready: markets loaded, reconciled, stream live, protected")
        elif not self._ready and not held_up:
            lines.append(f"EXTEND_TIMEOUT_USEC={START_EXTENSION_S * systemd.USEC}")
        if self._ready and not held_up:
            lines.append("WATCHDOG=1")
        self._note(held_up)
        text = f"STATUS={self._house.redact(held_up or self.status_line())}"
        if text != self._said:
            self._said = text
            lines.append(text)
        if lines:
            systemd.notify(*lines)

    def _held_up(self) -> str:
        """Return who makes no progress, in words; empty if all do."""
        for state in (look() for look in self._watched):
            over_s = max(state.for_s - state.limit_s, state.task_s - state.task_limit_s)
            if state.alive and over_s > GRACE_S:
                return f"{state.name} makes no progress for {state.for_s:.0f} s ({state.kind} {state.what})"
            if state.failing_s > FAILING_S and state.name == MONITOR:
                return f"{state.name} has been failing for {state.failing_s:.0f} s: {state.last_error}"
            if not state.alive and self._house.status.phase == "running":
                return f"{state.name} is dead"
        return ""

    def _note(self, held_up: str) -> None:
        if held_up and not self._withheld:
            log.critical("the watchdog is not fed: %s", held_up)
        elif self._withheld and not held_up:
            log.warning("the watchdog is fed again")
        self._withheld = bool(held_up)

    def is_ready(self) -> bool:
        """Whether markets are loaded, book and exchange agree, the stream is live and everything is protected."""
        house = self._house
        return house.status.phase == "running" and house.stream.is_live() and not house.unprotected()

    def status_line(self) -> str:
        """Return how RAD stands, in one line."""
        house = self._house
        equity, positions = house.account.equity(), house.manager.snapshot()
        unprotected = house.unprotected()
        parts = [house.status.state]
        if equity is not None:
            parts.append(f"equity {equity:.2f} USDT")
        if positions:
            guarded = "all protected" if not unprotected else f"{len(unprotected)} NOT protected"
            parts.append(f"{len(positions)} open, {guarded}")
        else:
            parts.append("nothing open")
        problems = house.problems()
        if problems:
            parts.append(f"{len(problems)} problems: {problems[0]}")
        # One line, whatever an error's text holds.
        return " ".join(", ".join(parts).split())[:300]
