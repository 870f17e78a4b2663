"""Every order in which threads can take their steps, one after the other, until one breaks what must hold.

Depth first: run to the end, go back to the last choice that has another thread to offer, take that. Orders that
only swap steps which do not meet come to the same, and so do orders that lead to one state: each thread has done
and seen the same, the shared state is the same. One of them is followed. So all are covered without all being
run (`test_explorer.py` compares with running them all). With a bound of preemptions only states are compared.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from runtime import heartbeat, locks
from tests.interleavings.hooks import Hooks
from tests.interleavings.scheduler import Run, Step, Stuck, Task
from tests.interleavings.watching import forget_all

MOST_ORDERS = 200_000          # before a scenario is called too large


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Threads that start side by side, and what must hold when they have ended."""

    threads: Mapping[str, Callable[[], object]]
    check: Callable[[Mapping[str, object]], None]      # given what each returned; raises AssertionError
    ending: Callable[[], object] = lambda: None        # how it is put away, in one order, before it is checked


@dataclass(frozen=True, kw_only=True)
class Explored:
    """What was covered without finding anything."""

    name: str
    threads: int
    orders: int                # followed to their end
    merged: int                # followed until they met one followed before
    steps: int                 # of the longest order
    bound: int | None          # of preemptions; None: every order

    def __str__(self) -> str:
        kind = "every order" if self.bound is None else f"every order with at most {self.bound} preemptions"
        return f"{self.name}: {kind} of {self.threads} threads, {self.orders} run, {self.merged} met one before"


class Broken(AssertionError):
    """An order in which what must hold does not; `replay` takes *order*."""

    def __init__(self, scenario: str, order: tuple[int, ...], run: Run) -> None:
        self.order = order
        self.cause = run.failure
        self.steps = tuple(run.steps)
        story = "\n".join(
            f"  {name}: {', '.join(what for _, what in group)}"
            for name, group in groupby(self.steps, key=lambda step: step[0])
        )
        self.story = f"{type(run.failure).__name__}\n{story}"      # without what differs from run to run
        super().__init__(
            f"{scenario}: {type(run.failure).__name__}: {run.failure}\n{story}\n"
            f"  to see it again: replay(scenario, {order})"
        )


@dataclass(slots=True)
class _Node:
    """A point at which more than one thread could go on."""

    options: list[int]                 # numbers of threads
    preempted: int = 0                 # before this choice
    is_free: bool = True               # whether another choice than the first interrupts nobody
    asleep: dict[int, Step] = field(default_factory=dict)
    at: int = 0                        # how many steps there were before
    chosen: int = 0
    first: dict[int, Step] = field(default_factory=dict)       # what each option tried has done first


@dataclass(slots=True)
class Tally:
    """What all explorations of this process have done, for whoever reports it."""

    explored: dict[tuple[Callable[[], Scene], int | None], Explored] = field(default_factory=dict)
    killed: dict[str, int] = field(default_factory=dict)       # by lock: orders tried until a failure was found


tally = Tally()
_hooks = Hooks()


def bound_from_environment(usual: int | None) -> int | None:
    """Return the most preemptions to explore: RAD_PREEMPTIONS ("all": no bound) or what is usual."""
    wish = os.environ.get("RAD_PREEMPTIONS", "")
    return usual if not wish else None if wish == "all" else int(wish)


class Explorer:
    """Walks through the orders of one scenario; *without* names a lock that locks nothing."""

    def __init__(
        self, scenario: Callable[[], Scene], *, without: str = "", bound: int | None = None, merge: bool = True
    ) -> None:
        self._scenario = scenario
        self._without = without
        self._bound = bound
        self._merge = merge
        self._path: list[_Node] = []
        self._depth = 0
        self._seen: dict[Hashable, list[frozenset[int]]] = {}      # states, with who slept there
        self._fewest: dict[Hashable, int] = {}                     # with a bound: the fewest preemptions there
        self._asleep: dict[int, Step] = {}
        self._passed = 0
        self._was_met = False
        self.orders = self.merged = self.longest = self.threads = 0

    def run(self) -> Explored:
        """Follow every order; raises Broken at the first in which something does not hold."""
        while True:
            run = self.once()
            if run.failure is not None:
                raise Broken(self._scenario.__name__, tuple(node.options[node.chosen] for node in self._path), run)
            self.merged += self._was_met
            self.orders += not self._was_met
            if self.orders + self.merged > MOST_ORDERS:
                raise Stuck(f"{self._scenario.__name__}: more than {MOST_ORDERS} orders")
            while self._path and self._path[-1].chosen + 1 == len(self._path[-1].options):
                self._path.pop()
            if not self._path:
                return Explored(
                    name=self._scenario.__name__, threads=self.threads, orders=self.orders, merged=self.merged,
                    steps=self.longest, bound=self._bound,
                )
            self._path[-1].chosen += 1

    def once(self, order: tuple[int, ...] | None = None) -> Run:
        """Run one order: the next of the walk, or the one given."""
        self._depth, self._passed, self._was_met, self._asleep = 0, 0, False, {}
        self._path = self._path if order is None else [_Node([number]) for number in order]
        hearts = heartbeat._hearts.copy()
        run = Run.active = Run(self._decide, self._without)
        gc.disable()         # what other tests have left would be put away in a thread of this order, by its hooks
        try:
            setup = run.add("setup", self._scenario)
            run.follow(branching=False)
            if run.failure is None:
                assert isinstance(setup.result, Scene)
                self._play(run, setup.result)
        finally:
            run.abandon()
            Run.active = None
            gc.enable()
            forget_all()
            for left in set(heartbeat._hearts) - set(hearts):      # of threads that unwound: on another time
                del heartbeat._hearts[left]
        self._pass_steps(run)
        self.longest = max(self.longest, len(run.steps))
        return run

    def _play(self, run: Run, scene: Scene) -> None:
        del run.steps[:]
        tasks = {name: run.add(name, body) for name, body in scene.threads.items()}
        self.threads = len(tasks)
        run.follow(branching=True)
        if run.failure is not None or self._was_met:
            return
        run.add("ending", scene.ending)
        run.follow(branching=False)
        if run.failure is None:
            strict = locks.is_strict()
            locks.make_strict(False)             # nobody is left whom a look without the lock could harm
            try:
                scene.check({name: task.result for name, task in tasks.items()})
            except Exception as error:  # noqa: BLE001 - what cannot be checked does not hold
                run.failure = error
            finally:
                locks.make_strict(strict)

    def _decide(self, run: Run, able: list[Task]) -> Task | None:
        self._pass_steps(run)
        if len(able) == 1:
            return able[0] if able[0].number not in self._asleep else self._stop()
        depth, self._depth = self._depth, self._depth + 1
        if depth < len(self._path):
            node = self._path[depth]
            found = next((task for task in able if task.number == node.options[node.chosen]), None)
            if found is None:
                raise RuntimeError(f"{self._scenario.__name__} does not run the same way twice")
        else:
            preempted = self._preempted_at(depth)
            if self._merge and self._is_known(run, preempted):
                return self._stop()
            is_free = run.current not in able
            may_preempt = is_free or self._bound is None or preempted < self._bound
            awake = [task for task in (able if may_preempt else able[:1]) if task.number not in self._asleep]
            if not awake:
                return self._stop()
            node = _Node([task.number for task in awake], preempted, is_free, dict(self._asleep))
            self._path.append(node)
            found = awake[0]
        node.at = len(run.done)
        self._asleep = node.asleep | {number: node.first[number] for number in node.options[:node.chosen]}
        return found

    def _stop(self) -> None:
        """Follow this order no further: it goes on like one followed before."""
        self._depth, self._was_met = len(self._path), True

    def _pass_steps(self, run: Run) -> None:
        """Wake those for whom the steps since the last choice make a difference."""
        if self._depth and len(run.done) > (node := self._path[self._depth - 1]).at:
            node.first[node.options[node.chosen]] = run.done[node.at]
        if self._bound is not None or not self._merge:
            self._asleep = {}
        for step in run.done[self._passed:]:
            self._asleep = {
                number: theirs for number, theirs in self._asleep.items()
                if number != step.task and theirs.may_swap_with(step)
            }
        self._passed = len(run.done)

    def _preempted_at(self, depth: int) -> int:
        if not depth:
            return 0
        last = self._path[depth - 1]
        return last.preempted + (last.chosen > 0 and not last.is_free)

    def _is_known(self, run: Run, preempted: int) -> bool:
        if self._bound is not None:
            key = hash((run.key(), run.current.number if run.current else None))
            best = self._fewest.get(key)
            if best is not None and best <= preempted:
                return True
            self._fewest[key] = preempted
            return False
        asleep = frozenset(self._asleep)
        known = self._seen.setdefault(run.key(), [])
        if any(before <= asleep for before in known):
            return True
        known.append(asleep)
        return False


def explore(scenario: Callable[[], Scene], *, bound: int | None = None) -> Explored:
    """Follow every order of *scenario* (with at most *bound* preemptions) with RAD's locks as they are; once."""
    before = tally.explored.get((scenario, bound))
    if before is not None:
        return before
    with _quietly(), _hooks.installed():
        explored = tally.explored[scenario, bound] = Explorer(scenario, bound=bound).run()
    return explored


def find(scenario: Callable[[], Scene], *, without: str = "", most_preemptions: int = 3) -> Broken:
    """Return an order that breaks *scenario* with as few preemptions as it takes; AssertionError if none does."""
    tried = 0
    with _quietly(strict=not without), _hooks.installed():
        for bound in range(most_preemptions + 1):
            explorer = Explorer(scenario, without=without, bound=bound)
            try:
                explorer.run()
            except Broken as broken:
                if without:
                    tally.killed[without] = tried + explorer.orders + explorer.merged + 1
                return broken
            tried += explorer.orders + explorer.merged
    lacking = f" without {without}" if without else ""
    raise AssertionError(f"{scenario.__name__}{lacking} holds in all {tried} orders")


def replay(scenario: Callable[[], Scene], order: tuple[int, ...], *, without: str = "") -> Broken | None:
    """Run the one order that `Broken` told of; return what it breaks, None if nothing."""
    with _quietly(strict=not without), _hooks.installed():
        run = Explorer(scenario, without=without).once(order)
    return None if run.failure is None else Broken(scenario.__name__, order, run)


class _quietly:  # noqa: N801 - it reads as what it does
    """No log lines and, for a mutant, no breach that raises: what breaks is to break by what it does."""

    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict

    def __enter__(self) -> None:
        self._was_strict = locks.is_strict()
        locks.make_strict(self._strict)
        logging.disable(logging.CRITICAL)
        self._hook, threading.excepthook = threading.excepthook, lambda _args: None

    def __exit__(self, *_: object) -> None:
        locks.make_strict(self._was_strict)
        logging.disable(logging.NOTSET)
        threading.excepthook = self._hook
