"""What has just been said is counted, not said again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Repeats(Generic[T]):
    until: float
    latest: T
    room: int                  # so many more are let through
    count: int = 0


class Folding(Generic[T]):
    """Lets the *first* of a kind through and counts those that follow within *window_s*; one thread.

    At the end of the window the count is `due`, with the latest of them; the next window begins then, so
    that what never stops is said once a window. Of more than *most* kinds the oldest are let go.
    """

    def __init__(self, window_s: float, *, first: int = 1, most: int = 1000) -> None:
        self._window_s = window_s
        self._first = first
        self._most = most
        self._repeats: OrderedDict[Hashable, _Repeats[T]] = OrderedDict()     # the soonest due first

    def admit(self, key: Hashable, said: T, now: float) -> bool:
        """Return whether to say it; otherwise it is counted."""
        repeats = self._repeats.get(key)
        if repeats is None:
            self._repeats[key] = _Repeats(until=now + self._window_s, latest=said, room=self._first - 1)
            return True
        if repeats.room:
            repeats.room -= 1
            return True
        repeats.count += 1
        repeats.latest = said
        return False

    def due(self, now: float, *, all_of_them: bool = False) -> list[tuple[T, int]]:
        """Return what was counted in windows that are over, each with its number; at the end all of it."""
        found = []
        while self._repeats:
            key, repeats = next(iter(self._repeats.items()))
            is_over = all_of_them or repeats.until <= now or len(self._repeats) > self._most
            if not is_over:
                break
            del self._repeats[key]
            if repeats.count:
                found.append((repeats.latest, repeats.count))
                if repeats.until <= now and not all_of_them:
                    self._repeats[key] = _Repeats(until=now + self._window_s, latest=repeats.latest, room=0)
        return found

    def next_due_s(self, now: float) -> float | None:
        """Return in how many seconds a window ends; None when none is open."""
        if not self._repeats:
            return None
        return max(0.0, next(iter(self._repeats.values())).until - now)
