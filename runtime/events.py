"""The feed of what happens: told by any thread without waiting, read by number, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from runtime.locks import condition_on, guard, named_lock
from trading.events import NOTHING, WORDS, Event, Kind, Level
from trading.ports import Clock

KEPT = 1000


class EventFeed:
    """`trading.events.Events`: the latest events in memory, for whoever wants to hear of them.

    A reader keeps the number of the last one it has seen. One that is too slow misses the oldest
    and can tell from the gap in the numbers; nobody who publishes ever waits for a reader.
    """

    def __init__(self, clock: Clock, *, levels: Mapping[Kind, Level] | None = None, kept: int = KEPT) -> None:
        self._clock = clock
        self._levels = {kind: words.level for kind, words in WORDS.items()} | dict(levels or {})
        self._lock = named_lock("events")
        self._news = condition_on(self._lock)
        # Guarded by _lock. Numbered from the time of the start, so that no number comes twice after a restart.
        self._latest = clock.now_ms()
        self._events: deque[Event] = deque(maxlen=kept)
        self._closed = False
        guard(self, self._lock, "_latest", "_events", "_closed")

    @property
    def latest(self) -> int:
        """Return the number of the latest event: what a reader who wants only news begins after."""
        with self._lock:
            return self._latest

    def publish(self, kind: Kind, symbol: str = "", *, over: bool = False, **fields: Any) -> None:
        """Tell what happened, with the facts its sentence is made of."""
        at_ms, facts = self._clock.now_ms(), MappingProxyType(fields) if fields else NOTHING
        with self._lock:
            self._latest += 1
            self._events.append(Event(
                number=self._latest, at_ms=at_ms, kind=kind, gravity=self._levels[kind], symbol=symbol, over=over,
                fields=facts,
            ))
            self._news.notify_all()

    def after(self, number: int) -> tuple[Event, ...]:
        """Return what is kept and came after event *number*, oldest first."""
        with self._lock:
            return self._after(number)

    def wait_after(self, number: int, timeout_s: float) -> tuple[Event, ...]:
        """Return what came after event *number*, waiting for the first; empty when time is up or at the end."""
        with self._lock:
            self._clock.wait_for(self._news, lambda: self._latest > number or self._closed, timeout_s)
            return self._after(number)

    def close(self) -> None:
        """Wake every reader: nothing more will come."""
        with self._lock:
            self._closed = True
            self._news.notify_all()

    def _after(self, number: int) -> tuple[Event, ...]:
        missing = min(self._latest - number, len(self._events))
        if missing <= 0:
            return ()
        return tuple(self._events)[-missing:]
