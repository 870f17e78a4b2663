"""The explorer itself: it leaves out no order that comes to something else, and what it finds it finds again."""

from __future__ import annotations

import gc
import os
import queue
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.locks import condition_on, named_lock
from tests.interleavings import explorer
from tests.interleavings.explorer import Broken, Explorer, Scene, explore, find, replay
from tests.interleavings.scheduler import Stuck
from tests.interleavings.watching import watch

FIELDS = ("a", "b")
Outcomes = set[tuple[Any, ...]]


class Shared:
    """A little state, a part of it under a lock."""

    def __init__(self) -> None:
        self.lock = named_lock("little")
        self.changed = condition_on(self.lock)
        self.over = threading.Event()
        self.a, self.b, self.c = 1, 2, 3


def a_program(luck: random.Random, length: int) -> Callable[[Shared], tuple[int, ...]]:
    """Return what a thread does: looks and changes, with the lock and without, waits and rings."""
    kinds = ["look", "add", "copy", "locked", "two", "late", "set", "is set", "ring"]
    doings = [(luck.choice(kinds), *luck.sample(FIELDS, 2)) for _ in range(length)]

    def run(shared: Shared) -> tuple[int, ...]:
        seen: list[int] = []
        for kind, one, other in doings:
            if kind == "look":
                seen.append(getattr(shared, one))
            elif kind == "add":
                setattr(shared, one, getattr(shared, one) + 1)
            elif kind == "copy":
                setattr(shared, one, getattr(shared, other))
            elif kind == "locked":
                with shared.lock:
                    shared.c += 2
                    seen.append(shared.c)
            elif kind == "two":
                with shared.lock:
                    setattr(shared, one, shared.c)
            elif kind == "late":
                with shared.changed:
                    seen.append(bool(shared.changed.wait_for(lambda: shared.c > 4, 1.0)))
            elif kind == "ring":
                with shared.changed:
                    shared.c += 1
                    shared.changed.notify_all()
            elif kind == "set":
                shared.over.set()
            else:
                seen.append(shared.over.is_set())
        return tuple(seen)

    return run


def outcomes_of(programs: list[Callable[[Shared], tuple[int, ...]]], **wishes: Any) -> tuple[Outcomes, Explorer]:
    """Return everything the programs can come to."""
    found: Outcomes = set()

    def scenario() -> Scene:
        shared = Shared()
        watch(shared, "shared", fields=("a", "b"))
        watch(shared, "shared", shared.lock, ("c",))

        def check(results: Any) -> None:
            found.add((*results.values(), shared.a, shared.b, shared.c, shared.over.is_set()))

        return Scene(threads={str(n): lambda p=p: p(shared) for n, p in enumerate(programs)}, check=check)

    with explorer._quietly(), explorer._hooks.installed():
        walk = Explorer(scenario, **wishes)
        walk.run()
    return found, walk


SEEDS = int(os.environ.get("RAD_SEEDS", "8"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_outcome_is_left_out(seed: int) -> None:
    """What random threads can come to is the same with orders left out as with all of them run."""
    luck = random.Random(seed)
    threads = 2 + (seed % 4 == 0)
    programs = [a_program(luck, 2 if threads == 2 else 1) for _ in range(threads)]
    without = "little" if seed % 3 == 0 else ""
    every, all_run = outcomes_of(programs, merge=False, without=without)
    fewer, merged = outcomes_of(programs, without=without)
    assert fewer == every
    assert merged.orders <= all_run.orders


def test_what_is_found_is_found_again() -> None:
    """A race is found with the fewest switches it takes, told step by step, and its order breaks it each time."""
    def scenario() -> Scene:
        shared = watch(Shared(), "shared", fields=("a",))

        def add() -> None:
            shared.a += 1

        def check(_: object) -> None:
            assert shared.a == 3, f"a is {shared.a}"

        return Scene(threads={"one": add, "other": add}, check=check)

    found = find(scenario)
    assert "a is 2" in str(found)
    assert found.steps == (
        ("one", "reads shared.a"), ("other", "reads shared.a"),
        ("other", "sets shared.a"), ("one", "sets shared.a"),
    )
    assert {again.story for _ in range(20) if (again := replay(scenario, found.order))} == {found.story}
    with pytest.raises(Broken):
        explore(scenario)


def test_a_deadlock_names_who_waits_for_what() -> None:
    """Two that wait for each other's event, for ever: nobody can go on, and it says so."""
    def scenario() -> Scene:
        one, other = threading.Event(), threading.Event()

        def wait(mine: threading.Event, theirs: threading.Event) -> None:
            theirs.wait()
            mine.set()

        return Scene(check=lambda _: None, threads={
            "one": lambda: wait(one, other), "other": lambda: wait(other, one),
        })

    found = find(scenario)
    assert isinstance(found.cause, Stuck)
    assert str(found.cause) == "nobody can go on: one waits for event 0; other waits for event 1"


def test_a_bell_rung_too_early_is_heard_of() -> None:
    """A wait without a predicate misses what rings before it: found as a deadlock, with the order that does it."""
    def scenario() -> Scene:
        shared = Shared()

        def wait() -> None:
            with shared.changed:
                shared.changed.wait()

        def ring() -> None:
            with shared.changed:
                shared.changed.notify_all()

        return Scene(threads={"waiter": wait, "ringer": ring}, check=lambda _: None)

    found = find(scenario)
    assert str(found.cause) == "nobody can go on: waiter waits for bell 1"
    assert found.steps == (("ringer", "takes little"), ("waiter", "takes little"))


def test_independent_threads_need_one_order() -> None:
    """Threads that share nothing come to the same in each of their many orders: one is run to its end."""
    def scenario() -> Scene:
        parts = [watch(Shared(), f"part {number}", fields=("a",)) for number in range(3)]

        def count(part: Shared) -> None:
            for _ in range(4):
                part.a += 1

        return Scene(check=lambda _: None, threads={
            str(number): lambda part=part: count(part) for number, part in enumerate(parts)
        })

    assert explore(scenario).orders == 1


def test_nothing_is_put_away_in_a_thread_that_is_explored() -> None:
    """What other tests have left is collected between orders: what it does as it goes would be steps of theirs."""
    put_away: list[str] = []

    class Left:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            put_away.append(threading.current_thread().name)

    def make_much() -> object:
        return [[] for _ in range(5_000)]

    def scene() -> Scene:
        for _ in range(20):
            Left()
        return Scene(threads={"one": make_much, "other": make_much}, check=lambda _: None)

    explore(scene)
    gc.collect()
    assert put_away
    assert not {"setup", "one", "other", "ending"} & set(put_away)


def test_a_queue_of_the_librarys_rings_its_own_bell() -> None:
    """It may belong to whatever is used, or put away, in a thread under the scheduler."""
    def scene() -> Scene:
        box: queue.Queue[int] = queue.Queue()
        return Scene(threads={"one": lambda: box.put(1)}, check=lambda _: box.get_nowait())

    explore(scene)
