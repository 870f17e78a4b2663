"""What a lock has seen, as facts for whoever watches: waits, holds, who took it where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSite:
    """One place that takes a lock; times in seconds."""

    where: str                     # file:line in function
    acquisitions: int
    total_hold: float
    longest_hold: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockStats:
    """What one lock, or all of one name, has seen: times in seconds.

    The longest are true of all acquisitions. Percentiles are of the latest: who had to wait is known,
    and among how many; of holds there is a sample.
    """

    name: str
    acquisitions: int
    contended: int                 # how many of them had to wait
    waited: tuple[float, ...] = () # how long the latest of those did
    waited_among: int = 0          # the acquisitions since the first of them, with those that did not wait
    holds: tuple[float, ...] = ()
    longest_wait: float = 0.0
    longest_hold: float = 0.0
    holder: str | None = None      # the thread that holds it now
    sites: tuple[CallSite, ...] = ()   # with RAD_LOCK_CHECK=1: the longest held in total come first

    def wait_s(self, percent: float) -> float | None:
        """Return what *percent* of acquisitions waited at most; None before the first."""
        return percentile(self.waited, percent, zeros=self.waited_among - len(self.waited))

    def hold_s(self, percent: float) -> float | None:
        """Return for how long it was held at most in *percent* of acquisitions; None before the first."""
        return percentile(self.holds, percent)


def percentile(samples: Sequence[float], percent: float, zeros: int = 0) -> float | None:
    """Return the nearest-rank percentile of *samples* and that many *zeros*; None if there is nothing."""
    rank = ceil(percent * (zeros + len(samples)) / 100)
    if not rank:
        return None
    return 0.0 if rank <= zeros else sorted(samples)[rank - zeros - 1]


def together(name: str, stats: Sequence[LockStats]) -> LockStats:
    """Return the figures of several locks of one name as one's."""
    return LockStats(
        name=name,
        acquisitions=sum(each.acquisitions for each in stats),
        contended=sum(each.contended for each in stats),
        waited=_all(each.waited for each in stats),
        waited_among=sum(each.waited_among for each in stats),
        holds=_all(each.holds for each in stats),
        longest_wait=max((each.longest_wait for each in stats), default=0.0),
        longest_hold=max((each.longest_hold for each in stats), default=0.0),
        holder=next((each.holder for each in stats if each.holder is not None), None),
        sites=tuple(chain.from_iterable(each.sites for each in stats)),
    )


def _all(parts: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(chain.from_iterable(parts))
