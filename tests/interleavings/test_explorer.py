"""The explorer itself: it leaves out no order that comes to something else, and what it finds it finds again."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from math import comb
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


SEEDS = int(os.environ.get("RAD_SEEDS", "12"))


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
