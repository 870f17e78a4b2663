"""A clock that stands still until a test moves it on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE_S = 10.0   # real seconds after which a test has clearly hung


class ManualClock:
    """`trading.ports.Clock`: sleepers park on real Conditions and wake when time is advanced."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._state = threading.Condition(threading.Lock())
        self._elapsed_s = 0.0
        self._start_ms = now_ms
        self._sleepers: dict[int, threading.Condition] = {}
        self._tickets = 0
        self.flows = False         # True: whoever pauses moves time on himself; for tests of one thread

    def now_ms(self) -> int:
        return self._start_ms + round(self._elapsed_s * 1000)

    def monotonic(self) -> float:
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass and wake every sleeper to look whether its time has come."""
        with self._state:
            self._elapsed_s += seconds
            sleepers = list(self._sleepers.values())
            self._state.notify_all()
        for condition in sleepers:
            with condition:
                condition.notify_all()

    def set_back(self, seconds: float) -> None:
        """Let somebody set the time of day back; what is monotonic goes on as before."""
        self._start_ms -= round(seconds * 1000)

    def await_sleepers(self, count: int) -> None:
        """Block until at least *count* threads are parked on this clock."""
        with self._state:
            if not self._state.wait_for(lambda: len(self._sleepers) >= count, PATIENCE_S):
                raise AssertionError(f"{len(self._sleepers)} of {count} sleepers after {PATIENCE_S} s")

    def wait_for(
        self, condition: threading.Condition, predicate: Callable[[], bool], timeout_s: float | None
    ) -> bool:
        deadline = None if timeout_s is None else self._elapsed_s + timeout_s
        ticket = None
        try:
            while not predicate():
                if deadline is not None and self._elapsed_s >= deadline:
                    return False
                if ticket is None:
                    ticket = self._park(condition)
                if not condition.wait(PATIENCE_S):
                    raise AssertionError(f"parked for {PATIENCE_S} real seconds: nobody advanced the clock")
            return True
        finally:
            if ticket is not None:
                self._unpark(ticket)

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        if self.flows:
            self.advance(timeout_s)
            return stop.is_set()
        deadline = self._elapsed_s + timeout_s
        ticket = self._park(self._state) if not stop.is_set() else None
        give_up = time.monotonic() + PATIENCE_S
        try:
            while not stop.is_set() and self._elapsed_s < deadline:
                if time.monotonic() > give_up:
                    raise AssertionError(f"paused for {PATIENCE_S} real seconds: nobody advanced the clock")
                stop.wait(0.005)
            return stop.is_set()
        finally:
            if ticket is not None:
                self._unpark(ticket)

    def _park(self, condition: threading.Condition) -> int:
        with self._state:
            self._tickets += 1
            self._sleepers[self._tickets] = condition
            self._state.notify_all()
            return self._tickets

    def _unpark(self, ticket: int) -> None:
        with self._state:
            del self._sleepers[ticket]
