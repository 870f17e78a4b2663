"""The real clock. Tests bring their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from runtime.locks import assert_no_lock_held, assert_waits_on

# It goes on while the machine is suspended, which Linux's usual clock does not; others have no such clock.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Return seconds that never go back and never stand still, not even in a suspended machine."""
    return time.clock_gettime(_BOOTTIME)


class SystemClock:
    """`trading.ports.Clock` on the machine's time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def wait_for(
        self, condition: threading.Condition, predicate: Callable[[], bool], timeout_s: float | None
    ) -> bool:
        assert_waits_on(condition)
        return condition.wait_for(predicate, timeout_s)

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        assert_no_lock_held("waiting for an event")
        return stop.wait(timeout_s)
