"""One rate budget for all threads: KuCoin's weighted pools, with the urgent served first.

A pool is refilled whole when its window ends; the window opens at the first request in it (KuCoin:
fixed, not rolling). Scans may not spend what an exit could need: each priority stops short of the
quota by its reserve, and an exit is stopped by the exchange's own count alone, never by ours.
What others may need is so much a second (a held symbol's price, once its stream is silent): a scan's
reserve shrinks with the window, once the exchange has said when that ends. Within a priority it is
first come, first served. Every request also counts against what Cloudflare, in front of KuCoin, allows
one address: whoever exceeds that is blocked whole, exits too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

from runtime.heartbeat import OVERDUE_S, doing
from runtime.locks import condition_on, guard, guarded, named_lock
from trading.errors import RateLimited
from trading.facts import Priority
from trading.ports import Clock

log = logging.getLogger("rate")

WINDOW_S = 30.0
ADDRESS = "address"            # the pool of every request, whatever it asks for; each costs one
ADDRESS_WINDOW_S = 10.0
LONGEST_HOLD_S = 60.0          # whatever a header says
RESERVES = {Priority.CRITICAL: 0.0, Priority.HIGH: 0.03, Priority.NORMAL: 0.08, Priority.SCAN: 0.15}
LAST_RESERVE = 0.03            # what a scan keeps back of a window that is about to end
JUST_AFTER_S = 0.01            # rounding must not wake anybody just before
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
    window_s: float = WINDOW_S
    used: int = 0                          # the larger of our count and the exchange's
    told_used: int = 0                     # the exchange's alone
    window_opened: float | None = None     # monotonic; None: no window open
    window_ends: float = 0.0
    told_end: bool = False                 # whether the exchange has said when it ends
    held_until: float = 0.0
    exits_held_until: float = 0.0
    waiting: list[tuple[Priority, int]] = field(default_factory=list)


class RateBudget:
    """Hands out weight; any thread.

    *quotas*: by pool, weight per 30 s. *address_quota*: requests per 10 s of all pools together; None: any number.
    """

    def __init__(self, quotas: Mapping[str, int], clock: Clock, address_quota: int | None = None) -> None:
        self._clock = clock
        self._lock = named_lock("rate budget")
        self._turn = condition_on(self._lock)
        # Guarded by _lock.
        self._pools = {name: _Pool(quota=quota) for name, quota in quotas.items()}
        if address_quota is not None:
            self._pools[ADDRESS] = _Pool(quota=address_quota, window_s=ADDRESS_WINDOW_S)
        for pool in self._pools.values():
            pool.waiting = guarded(self._lock, "waiting", pool.waiting)
        self._tickets = 0
        self._stopped = False
        self._latest = inf                     # beyond which nobody but an exit waits
        self._latest_exit = inf                # beyond which not even an exit does
        guard(self, self._lock, "_pools", "_tickets", "_stopped", "_latest", "_latest_exit")

    def take(self, pool: str, weight: int, priority: Priority, longest_s: float | None = None) -> None:
        """Wait until *weight* may be spent, and spend it; *longest_s* bounds the wait, by default by priority.

        Raises:
            RateLimited: not in that time, or the daemon is stopping.
        """
        with self._turn:
            state = self._pools[pool]
            costs = [(state, weight)]
            if ADDRESS in self._pools:
                costs.append((self._pools[ADDRESS], 1))
            self._tickets += 1
            ticket = (priority, self._tickets)
            state.waiting.append(ticket)
            patience_s = LONGEST_WAIT_S[priority] if longest_s is None else longest_s
            try:
                with doing("rate", pool, patience_s + OVERDUE_S):
                    has_turn = self._wait(state, ticket, costs, patience_s)
                if not has_turn:
                    raise RateLimited(f"no room in the {pool} pool for a {priority.name.lower()} request")
                for each, cost in costs:
                    if each.window_opened is None:
                        each.window_opened = self._clock.monotonic()
                        each.window_ends = each.window_opened + each.window_s
                    each.used += cost
            finally:
                state.waiting.remove(ticket)
                self._turn.notify_all()

    def correct(
        self, pool: str, *, limit: int, remaining: int, resets_in_s: float, asked_at: float
    ) -> None:
        """Believe the exchange's own count, told in the answer to a request sent at *asked_at*, monotonic.

        Answers overtake each other: one asked for before this window opened speaks of another, and
        within a window only a higher use counts.
        """
        if limit <= 0:
            return
        with self._turn:
            state = self._pools[pool]
            self._roll(state)
            state.quota = limit
            if state.window_opened is None or asked_at < state.window_opened:
                return
            resets_in_s = min(max(0.0, resets_in_s), LONGEST_HOLD_S)
            # The answer was written between the two: so the window ends between these.
            earliest, latest = asked_at + resets_in_s, self._clock.monotonic() + resets_in_s
            reckoned = state.window_ends
            if not state.told_end or not earliest <= state.window_ends <= latest:
                state.window_ends = earliest if not state.told_end or earliest > state.window_ends else latest
            state.told_end = True
            state.told_used = max(state.told_used, limit - remaining)
            state.used = max(state.used, state.told_used)
            if state.window_ends < reckoned:
                self._turn.notify_all()        # sooner than those who wait for it have reckoned with

    def hold(self, pool: str, seconds: float, *, exits: bool = True) -> None:
        """Send nothing from *pool* for *seconds*: the exchange said so. ADDRESS: nothing at all.

        *exits*: no exit either.
        """
        seconds = min(seconds, LONGEST_HOLD_S)
        with self._turn:
            held = [self._pools[pool]] if pool in self._pools else self._pools.values()
            for state in held:
                until = self._clock.monotonic() + seconds
                state.held_until = max(state.held_until, until)
                if exits:
                    state.exits_held_until = max(state.exits_held_until, until)
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
                    resets_in_s=0.0 if state.window_opened is None else state.window_ends - now,
                )
                for name, state in self._pools.items()
            )

    def end_by(self, moment: float, *, exits: bool = False) -> None:
        """Let nobody but exits wait beyond *moment* (monotonic), those who wait and those to come.

        *exits*: let no exit do.
        """
        with self._turn:
            if exits:
                self._latest_exit = moment
            else:
                self._latest = moment
            self._turn.notify_all()

    def stop(self) -> None:
        """Let everybody but exits go without."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    # ---- under the lock -------------------------------------------------------------------------

    def _wait(
        self, state: _Pool, ticket: tuple[Priority, int], costs: Sequence[tuple[_Pool, int]], patience_s: float
    ) -> bool:
        priority = ticket[0]
        longest = self._clock.monotonic() + patience_s

        def give_up_at() -> float:
            return min(longest, self._latest_exit if priority is Priority.CRITICAL else self._latest)

        def has_turn() -> bool:
            return is_first() and all(self._fits(*cost, priority) for cost in costs)

        def is_over() -> bool:
            return self._stopped and priority is not Priority.CRITICAL

        def is_first() -> bool:
            return ticket == min(state.waiting)

        def opens_at() -> float:
            now = self._clock.monotonic()
            return max(
                (max(_held_until(each, priority), self._fits_from(each, priority, cost, now))
                 for each, cost in costs if not self._fits(each, cost, priority)),
                default=inf,
            )

        def is_news(was_first: bool, give_up: float, opens: float) -> bool:
            is_sooner = give_up_at() < give_up or opens_at() < opens
            return is_over() or has_turn() or (is_first() and not was_first) or is_sooner

        while not is_over():
            if has_turn():
                return True
            now, give_up, opens = self._clock.monotonic(), give_up_at(), opens_at()
            if now >= give_up:
                return False
            pause_s = (min(opens, give_up) if opens > now else give_up) - now
            # Whoever becomes the first in the queue works out anew how long to wait.
            self._clock.wait_for(self._turn, partial(is_news, is_first(), give_up, opens), pause_s)
        return False

    def _fits(self, state: _Pool, weight: int, priority: Priority) -> bool:
        self._roll(state)
        if self._clock.monotonic() < _held_until(state, priority):
            return False
        if priority is Priority.CRITICAL:
            return not state.told_used or state.told_used + weight <= state.quota
        # A weight beyond the share goes alone, or it would never go.
        return state.used + weight <= max(state.quota * (1 - self._reserve(state, priority)), weight)

    def _reserve(self, state: _Pool, priority: Priority) -> float:
        """Return the fraction of the quota kept back: a scan's shrinks in a window whose end has been told."""
        whole = RESERVES[priority]
        if priority is not Priority.SCAN or not state.told_end:
            return whole
        left = min(1.0, max(0.0, state.window_ends - self._clock.monotonic()) / state.window_s)
        return LAST_RESERVE + (whole - LAST_RESERVE) * left

    def _fits_from(self, state: _Pool, priority: Priority, weight: int, now: float) -> float:
        """Return when the reserve will have shrunk enough if nobody spends till then, or the window ends."""
        if priority is Priority.SCAN and state.told_end:
            spare = 1 - (state.used + weight) / state.quota - LAST_RESERVE
            left = spare / (RESERVES[priority] - LAST_RESERVE)
            fits = state.window_ends - left * state.window_s + JUST_AFTER_S
            if now < fits < state.window_ends:
                return fits
        return state.window_ends

    def _roll(self, state: _Pool) -> None:
        if state.window_opened is not None and self._clock.monotonic() >= state.window_ends:
            state.window_opened = None
            state.told_end = False
            state.used = state.told_used = 0


def _held_until(state: _Pool, priority: Priority) -> float:
    return state.exits_held_until if priority is Priority.CRITICAL else state.held_until
