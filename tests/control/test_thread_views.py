"""Threads and locks as JSON: what is stuck, where everybody stands, and who keeps whom waiting."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

from control.thread_views import LETTERS, MEANINGS, threads_view
from runtime.heartbeat import ThreadState
from runtime.locks import LockStats
from runtime.stacks import Place


def a_state(name: str = "Journal", ident: int = 1, **overrides: object) -> ThreadState:
    """A thread that waits for work and is well."""
    state = ThreadState(
        name=name, ident=ident, alive=True, kind="idle", what="", for_s=0.5, limit_s=15.0, task_s=0.5,
        task_limit_s=inf, beat_s=0.5, idle_s=31.0, failing_s=0.0, steps=9, failures=0, restarts=0, given_up=0,
        last_error="",
    )
    return replace(state, **overrides)      # type: ignore[arg-type]


def a_place(name: str = "Journal", ident: int = 1, **overrides: object) -> Place:
    """A thread in nobody's way."""
    place = Place(
        ident=ident, name=name, at="runtime/journal.py:1 _run", frames=((__file__, 1, "_run"),), waits_for="",
        held_by="", holds=(),
    )
    return replace(place, **overrides)      # type: ignore[arg-type]


def a_lock(name: str, **overrides: object) -> LockStats:
    """A lock that nobody has taken yet."""
    return replace(LockStats(name=name, acquisitions=0, contended=0), **overrides)      # type: ignore[arg-type]


def test_who_is_over_the_limit_is_stuck_and_who_is_not_alive_is_dead() -> None:
    """By what it is at, or by the whole task; each limit that does not exist is null."""
    view = threads_view([
        a_state("fine"), a_state("over", for_s=15.1), a_state("task", task_s=61.0, task_limit_s=60.0),
        a_state("gone", alive=False), a_state("endless", limit_s=inf), a_state("loop", steps=0),
        a_state("stuck at once", steps=0, for_s=31.0),
    ], {}, [])
    rows = {row["name"]: row for row in view["threads"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "fine": "running", "over": "stuck", "task": "stuck", "gone": "dead", "endless": "running",
        "loop": "running", "stuck at once": "stuck",
    }
    # Who has no steps to get done is not without progress; who never came to the end of its first one is.
    assert {name: row["idle_s"] for name, row in rows.items() if name in ("fine", "loop", "stuck at once")} == {
        "fine": 31.0, "loop": None, "stuck at once": 31.0,
    }
    assert rows["fine"]["stuck_after_s"] == 15.0
    assert rows["endless"]["stuck_after_s"] is None
    json.dumps(view, allow_nan=False)


def test_a_lock_waited_for_names_its_holder_and_its_waiters() -> None:
    """Both ends of a knot can be read, at the thread and at the lock; what it was at before is less news."""
    places = {
        1: a_place("Journal", 1, waits_for="journal", held_by="exit-3"),
        2: a_place("exit-3", 2, holds=("journal",)),
    }
    view = threads_view([a_state("Journal", 1, kind="working")], places, [a_lock("journal", holder="exit-3")])
    waiting, holding = view["threads"]
    assert (waiting["doing"], waiting["what"]) == ("lock", "journal")
    assert waiting["waits_for"] == {"lock": "journal", "held_by": "exit-3"}
    assert holding["holds"] == ["journal"]
    assert (view["locks"][0]["holder"], view["locks"][0]["waiting"]) == ("exit-3", ["Journal"])


def test_what_nobody_supervises_is_listed_all_the_same() -> None:
    """It says where it is, and null to all that only a heart can tell."""
    (row,) = threads_view([], {7: a_place("Timer", 7)}, [])["threads"]
    assert (row["name"], row["supervised"], row["at"]) == ("Timer", False, "runtime/journal.py:1 _run")
    assert row["steps"] is row["heartbeat_s"] is row["restarts"] is None


def test_the_most_important_come_first_and_pools_by_number() -> None:
    """exit-10 comes after exit-9, and the main thread before everybody."""
    names = ["scan-10", "exit-1", "Journal", "scan-9", "PositionMonitor", "MainThread"]
    rows = threads_view([a_state(name) for name in names], {}, [], vital=frozenset({"MainThread"}))["threads"]
    assert [row["name"] for row in rows] == [
        "MainThread", "PositionMonitor", "Journal", "exit-1", "scan-9", "scan-10",
    ]
    assert [row["vital"] for row in rows] == [True] + [False] * 5


def test_a_pool_is_a_strip_of_one_character_a_worker() -> None:
    """Idle, wire, budget, computing, a lock, stuck, dead: in the order of their numbers."""
    states = [
        a_state("scan-10", 10, alive=False), a_state("scan-0", 20), a_state("scan-1", 21, kind="wire"),
        a_state("scan-2", 22, kind="rate"), a_state("scan-3", 23, kind="working"), a_state("scan-4", 24),
        a_state("scan-5", 25, kind="wire", for_s=99.0),
    ]
    places = {24: a_place("scan-4", 24, waits_for="scan pool", held_by="scan-0")}
    strips = threads_view(states, places, [])["strips"]
    assert strips == {"scan": ".wrcL!x", "exit": "", "flatten": ""}
    assert set(LETTERS.values()) == set(MEANINGS)


def test_stacks_come_only_when_asked_for() -> None:
    """They are long, and reading the source takes the disk."""
    states, places = [a_state()], {1: a_place(), 2: a_place("Timer", 2)}
    assert all("stack" not in row for row in threads_view(states, places, [])["threads"])
    rows = threads_view(states, places, [], stacks=True)["threads"]
    assert [row["stack"] for row in rows] == [
        ['tests/control/test_thread_views.py:1 _run: """Threads and locks as JSON: what is stuck, where everybody '
         'stands, and who keeps whom waiting."""']
    ] * 2


def test_busy_locks_come_first_with_their_times_in_microseconds() -> None:
    """Without an acquisition there is no time to tell: null, not zero."""
    locks = [
        a_lock("idle"),
        a_lock("busy", acquisitions=3, contended=2, waited=(1e-6, 3e-6), waited_among=3, holds=(2e-6, 4e-6),
               longest_wait=5e-6, longest_hold=4e-6, holder="MainThread"),
    ]
    view = threads_view([], {}, locks)
    assert [lock["name"] for lock in view["locks"]] == ["busy", "idle"]
    assert view["locks"][0]["wait_us"] == {"p50": 1.0, "p99": 3.0, "max": 5.0}      # of 0, 1 and 3
    assert view["locks"][0]["hold_us"] == {"p50": 2.0, "p99": 4.0, "max": 4.0}
    assert view["locks"][1]["hold_us"] == {"p50": None, "p99": None, "max": None}
