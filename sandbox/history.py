"""The exchange's own record of everything that happened: the oracle tests compare a client against."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

KEPT_EVENTS = 100_000


class History:
    """Append-only list of events, numbered from 1; money in decimal strings.

    `mono_ns` is the machine's monotonic clock: processes on one machine can compare it.
    """

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._last = 0

    def append(self, event: str, at_ms: int, **facts: Any) -> None:
        self._last += 1
        self._events.append(
            {"n": self._last, "event": event, "at_ms": at_ms, "mono_ns": time.monotonic_ns(), **facts}
        )

    @property
    def last(self) -> int:
        return self._last

    def since(self, number: int = 0, event: str | None = None) -> list[dict[str, Any]]:
        """Return every event numbered above *number*, of one kind when given."""
        return [e for e in self._events if e["n"] > number and event in (None, e["event"])]
