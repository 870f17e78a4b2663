"""Threads and locks as the JSON the outside sees. Pure functions, like those of `control/views.py`.

    threads   name, state (running, stuck, dead), doing (idle, working, wire, rate, lock), what, for_s,
              idle_s (since it got something done), heartbeat_s (since it gave a sign of life), stuck_after_s,
              steps, failures, failing_s (since the first of the latest ones in a row), restarts, last_error,
              supervised, vital, at (file:line function),
              waits_for (null, or lock and held_by), holds (names of locks), stack (a list, when asked for)
    locks     name, acquisitions, contended, wait_us and hold_us (p50, p99, max), holder, waiting (thread names)
    strips    scan, exit, flatten: one character for each worker of a pool, as LETTERS has them

What nobody supervises (a call of the console's, a timer) has null where it tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.heartbeat import ThreadState
    from runtime.locks import LockStats
    from runtime.stacks import Place

JsonObject = dict[str, Any]

POOLS = ("scan", "exit", "flatten")
LETTERS = {
    "idle": ".", "wire": "w", "rate": "r", "working": "c", "lock": "L", "stuck": "!", "dead": "x",
}
MEANINGS = {
    ".": "idle", "w": "on the wire", "r": "waits for the rate budget", "c": "computing", "L": "waits for a lock",
    "!": "stuck", "x": "dead",
}
_FIRST = ("MainThread", "PositionMonitor", "BackgroundScanner")


def threads_view(
    states: Iterable[ThreadState], places: Mapping[int, Place], locks: Iterable[LockStats], *,
    stacks: bool = False, vital: frozenset[str] = frozenset(),
) -> JsonObject:
    """Return what `threads` says: the supervised ones, the most important first, then all others that live."""
    known = sorted(states, key=_rank)
    idents = {state.ident for state in known}
    rows = [_supervised(state, places.get(state.ident or 0), vital) for state in known]
    rows += [_unsupervised(place) for ident, place in sorted(places.items()) if ident not in idents]
    if stacks:
        by_ident = [state.ident for state in known] + [i for i in sorted(places) if i not in idents]
        for row, ident in zip(rows, by_ident, strict=True):
            place = places.get(ident or 0)
            row["stack"] = [] if place is None else place.stack()
    busiest = sorted(locks, key=lambda each: (-each.acquisitions, each.name))
    return {
        "threads": rows,
        "locks": [_lock_view(stats, places) for stats in busiest],
        "strips": {pool: _strip(rows, pool) for pool in POOLS},
    }


def _supervised(state: ThreadState, place: Place | None, vital: frozenset[str]) -> JsonObject:
    word = "dead" if not state.alive else "stuck" if state.is_stuck else "running"
    waits = place is not None and bool(place.waits_for)
    return {
        "name": state.name,
        "state": word,
        "doing": "lock" if waits else state.kind,
        "what": place.waits_for if waits and place is not None else state.what,
        "for_s": _rounded(state.for_s),
        # Not of those that never finish anything: an event loop, or who waits for a signal all day.
        "idle_s": _rounded(state.idle_s) if state.steps or word != "running" else None,
        "heartbeat_s": _rounded(state.beat_s),
        "stuck_after_s": _rounded(state.stuck_after_s),
        "steps": state.steps,
        "failures": state.failures,
        "failing_s": _rounded(state.failing_s),
        "restarts": state.restarts,
        "last_error": state.last_error,
        "supervised": True,
        "vital": state.name in vital,
        **_where(place),
    }


def _unsupervised(place: Place) -> JsonObject:
    nothing = dict.fromkeys(
        ("for_s", "idle_s", "heartbeat_s", "stuck_after_s", "steps", "failures", "failing_s", "restarts")
    )
    return {
        "name": place.name, "state": "running", "doing": "lock" if place.waits_for else None,
        "what": place.waits_for, **nothing, "last_error": "", "supervised": False, "vital": False,
        **_where(place),
    }


def _where(place: Place | None) -> JsonObject:
    if place is None:
        return {"at": None, "waits_for": None, "holds": []}
    waits = {"lock": place.waits_for, "held_by": place.held_by} if place.waits_for else None
    return {"at": place.at, "waits_for": waits, "holds": list(place.holds)}


def _lock_view(stats: LockStats, places: Mapping[int, Place]) -> JsonObject:
    """Return how long one lock was waited for and held, in microseconds."""
    return {
        "name": stats.name,
        "acquisitions": stats.acquisitions,
        "contended": stats.contended,
        "wait_us": _spread_us(stats.wait_s(50), stats.wait_s(99), stats.longest_wait),
        "hold_us": _spread_us(stats.hold_s(50), stats.hold_s(99), stats.longest_hold),
        "holder": stats.holder,
        "waiting": sorted(place.name for place in places.values() if place.waits_for == stats.name),
    }


def _strip(rows: Sequence[JsonObject], pool: str) -> str:
    """Return one character for each worker of *pool*, by number."""
    members = [row for row in rows if row["supervised"] and re.fullmatch(rf"{pool}-\d+", row["name"])]
    members.sort(key=lambda row: int(row["name"].rpartition("-")[2]))
    return "".join(
        LETTERS.get(row["doing"] if row["state"] == "running" else row["state"], "c") for row in members
    )


def _rank(state: ThreadState) -> tuple[int, str, int]:
    pool, _, number = state.name.rpartition("-")
    if state.name in _FIRST:
        return (_FIRST.index(state.name), "", 0)
    return (len(_FIRST), pool, int(number)) if number.isdecimal() else (len(_FIRST), state.name, 0)


def _rounded(seconds: float) -> float | None:
    """Return seconds as JSON can hold them: infinity, no limit, is null."""
    return None if seconds == float("inf") else round(seconds, 3)


def _spread_us(p50: float | None, p99: float | None, longest: float) -> JsonObject:
    if p50 is None or p99 is None:
        return {"p50": None, "p99": None, "max": None}
    return {"p50": round(p50 * 1e6, 1), "p99": round(p99 * 1e6, 1), "max": round(longest * 1e6, 1)}
