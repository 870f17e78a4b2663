"""One rate budget for all threads: KuCoin's weighted pools, with the urgent served first.

A pool is refilled whole when its window ends; the window opens at the first request in it (KuCoin:
fixed, not rolling). Scans may not spend what an exit could need: each priority stops short of the
quota by its reserve. Within a priority it is first come, first served.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from runtime.locks import condition_on, named_lock
from trading.errors import RateLimited
from trading.facts import Priority
from trading.ports import Clock

log = logging.getLogger("rate")

WINDOW_S = 30.0
RESERVES = {Priority.CRITICAL: 0.0, Priority.HIGH: 0.03, Priority.NORMAL: 0.08, Priority.SCAN: 0.15}
LONGEST_WAIT_S = {Priority.CRITICAL: 5.0, Priority.HIGH: 15.0, Priority.NORMAL: 35.0, Priority.SCAN: 65.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """How much of one pool is spent, in weight; *resets_in_s* is 0 while no window is open."""

    pool: str
    quota: int
    used: int
    waiting: int
    held_s: float
    resets_in_s: float


@dataclass(slots=True)
class _Pool:
    quota: int
    used: int = 0
    window_ends: float | None = None       # monotonic; None: no window open
    held_until: float = 0.0
    waiting: list[tuple[Priority, int]] = field(default_factory=list)


class RateBudget:
    """Hands out weight; any thread."""

    def __init__(self, quotas: dict[str, int], clock: Clock) -> None:
        self._clock = clock
        self._lock = named_lock("rate budget")
        self._turn = condition_on(self._lock)
        # Guarded by _lock.
        self._pools = {name: _Pool(quota=quota) for name, quota in quotas.items()}
        self._tickets = 0
        self._stopped = False

    def take(self, pool: str, weight: int, priority: Priority) -> None:
        """Wait until *weight* may be spent, and spend it.

        Raises:
            RateLimited: not within the priority's longest wait, or the daemon is stopping.
        """
        with self._turn:
            state = self._pools[pool]
            self._tickets += 1
            ticket = (priority, self._tickets)
            state.waiting.append(ticket)
            try:
                if not self._wait(state, ticket, weight):
                    raise RateLimited(f"no room in the {pool} pool for a {priority.name.lower()} request")
                state.used += weight
            finally:
                state.waiting.remove(ticket)
                self._turn.notify_all()

    def correct(self, pool: str, *, limit: int, remaining: int, resets_in_s: float) -> None:
        """Believe the exchange's own count; answers arrive out of order, so only a higher use counts."""
        with self._turn:
            state = self._pools[pool]
            self._roll(state)
            state.quota = limit
            if state.window_ends is None:
                state.window_ends = self._clock.monotonic() + resets_in_s
            state.used = max(state.used, limit - remaining)

    def hold(self, pool: str, seconds: float) -> None:
        """Send nothing from *pool* for *seconds*: the exchange said so."""
        with self._turn:
            state = self._pools[pool]
            state.held_until = max(state.held_until, self._clock.monotonic() + seconds)
        log.warning("pool held pool=%s seconds=%.1f", pool, seconds)

    def usage(self) -> tuple[PoolUse, ...]:
        """Return the use of each pool now."""
        with self._turn:
            now = self._clock.monotonic()
            for state in self._pools.values():
                self._roll(state)
            return tuple(
                PoolUse(
                    pool=name,
                    quota=state.quota,
                    used=state.used,
                    waiting=len(state.waiting),
                    held_s=max(0.0, state.held_until - now),
                    resets_in_s=max(0.0, (state.window_ends or now) - now),
                )
                for name, state in self._pools.items()
            )

    def stop(self) -> None:
        """Let everybody but exits go without."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    # ---- under the lock -------------------------------------------------------------------------

    def _wait(self, state: _Pool, ticket: tuple[Priority, int], weight: int) -> bool:
        priority = ticket[0]
        give_up = self._clock.monotonic() + LONGEST_WAIT_S[priority]
        while True:
            if self._stopped and priority is not Priority.CRITICAL:
                return False
            now = self._clock.monotonic()
            if ticket == min(state.waiting) and self._fits(state, priority, weight):
                if state.window_ends is None:
                    state.window_ends = now + WINDOW_S
                return True
            if now >= give_up:
                return False
            opens = max(state.held_until, state.window_ends or now)
            pause_s = min(opens, give_up) - now if opens > now else give_up - now
            self._clock.wait_for(
                self._turn,
                lambda: self._stopped or (ticket == min(state.waiting) and self._fits(state, priority, weight)),
                pause_s,
            )

    def _fits(self, state: _Pool, priority: Priority, weight: int) -> bool:
        self._roll(state)
        if self._clock.monotonic() < state.held_until:
            return False
        return state.used + weight <= max(state.quota * (1 - RESERVES[priority]), weight)

    def _roll(self, state: _Pool) -> None:
        if state.window_ends is not None and self._clock.monotonic() >= state.window_ends:
            state.window_ends = None
            state.used = 0
