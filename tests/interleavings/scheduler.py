"""Real threads of which one runs at a time; which goes on is decided at each switch point.

A thread stops before it takes a lock, waits, looks at an event, calls the exchange or the journal, or
touches shared state without that state's lock. What it does from there to its next stop is one step. Time is
virtual and passes only when nobody can do anything else.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from runtime.locks import NamedLock

_PLAIN = frozenset((bool, int, float, str, Decimal, type(None)))
MOST_STEPS = 5_000             # of one order; more than that is a loop that does not end

_start, _join, _is_alive = threading.Thread.start, threading.Thread.join, threading.Thread.is_alive


class Abandoned(BaseException):
    """This order is not followed any further: the thread unwinds."""


class Stuck(AssertionError):
    """Nobody can go on, or nobody comes to an end."""


def _always() -> bool:
    return True


def _locked_baton() -> Any:
    baton = allocate_lock()
    baton.acquire()
    return baton


@dataclass(eq=False, slots=True)
class Task:
    """One thread under the scheduler."""

    name: str
    number: int
    body: Callable[[], object]
    is_main: bool                      # the order is over when all of these are
    baton: Any = field(default_factory=_locked_baton)
    doing: str = "begins"              # what it does next
    ready: Callable[[], bool] = _always
    until: float | None = None         # when waiting makes it ready
    history: int = 0                   # a print of everything it has done and seen
    is_inside: bool = False            # in code that is one step whatever it does
    notified: bool = False
    done: bool = False
    result: object = None
    error: BaseException | None = None
    thread: threading.Thread | None = None


@dataclass(slots=True)
class _Touched:
    """Shared state met in the step under way."""

    before: Hashable
    look: Callable[[], Hashable]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has met, by name: two steps that do not meet in what either changes may change places."""

    task: int
    looked_at: frozenset[str]
    changed: frozenset[str]

    def may_swap_with(self, other: Step) -> bool:
        """Whether the two come to the same in either order."""
        return not (
            self.changed & other.changed or self.changed & other.looked_at or self.looked_at & other.changed
        )


_NOTHING = _Touched(None, lambda: None)
Decide = Callable[["Run", list[Task]], Task | None]


class Run:
    """One order of steps, from a fresh start to its end."""

    active: Run | None = None          # one at a time

    def __init__(self, decide: Decide, without: str = "") -> None:
        self._decide = decide
        self.without = without                          # the lock that locks nothing
        self.now = 0.0
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.steps: list[tuple[str, str]] = []          # who did what, in words
        self.done: list[Step] = []                      # and what each step met
        self.is_branching = False
        self.is_abandoned = False
        self.failure: BaseException | None = None
        self.holders: dict[int, Task] = {}              # by id of the lock
        self.waiters: dict[int, list[Task]] = {}        # by id of the Condition, first come first
        self._names: dict[int, tuple[str, object]] = {}
        self._by_ident: dict[int, Task] = {}
        self._versions: dict[str, Hashable] = {}
        self._state = 0                                 # a print of all versions together
        self._prints: dict[int, tuple[object, Hashable]] = {}
        self._reads: list[tuple[str, Hashable]] = []
        self._touched: dict[str, _Touched] = {}
        self._changed: set[str] = set()
        self._over = _locked_baton()

    # ---- what the hooks ask ----------------------------------------------------------------------

    def task(self) -> Task | None:
        """Return the calling thread's task; None if it is not under the scheduler, or in one step throughout."""
        task = self._by_ident.get(get_ident())
        return None if task is None or task.is_inside else task

    def name_of(self, thing: object, kind: str) -> str:
        """Return a name that is the same in each order in which the threads have done the same."""
        known = self._names.get(id(thing))
        if known is None:
            known = self._names[id(thing)] = (f"{kind} {len(self._names)}", thing)
        return known[0]

    def switch(self, doing: str, ready: Callable[[], bool] = _always, until: float | None = None) -> None:
        """Stop before *doing* and let another go on, until this thread is chosen again."""
        task = self.current
        assert task is not None
        if not self.is_branching and not self.is_abandoned and ready():
            return                                      # nobody else is asked, and nothing is noted
        self.end_step()
        task.doing, task.ready, task.until = doing, ready, until
        if self.is_abandoned:
            raise Abandoned
        following = self._choose()
        if following is not task:
            self.current = following
            (self._over if following is None else following.baton).release()
            task.baton.acquire()
            if self.is_abandoned:
                raise Abandoned
        self.steps.append((task.name, doing))

    # ---- shared state ------------------------------------------------------------------------------

    def touch(self, name: str, look: Callable[[], Hashable], *, reads: bool) -> None:
        """Note that this step meets *name*, whose state is what *look* returns, and whether it depends on it."""
        if not self.is_branching:
            return
        if name not in self._touched:
            task = self.current
            assert task is not None
            task.is_inside = True
            before = look()
            self._touched[name] = _Touched(before, look)
            if name not in self._versions:
                self._set_version(name, self._print_of(before))
            task.is_inside = False
        elif not reads:
            return
        if reads:
            self._reads.append((name, self._versions[name]))

    def saw(self, name: str, what: object) -> None:
        """Note what the step under way has been told: what its thread does next may depend on it."""
        if self.is_branching:
            self._reads.append((name, self._print_of(what)))

    def changes(self, name: str) -> None:
        """The step under way changes *name*, which is no value to look at: a queue of waiters, a lock it keeps."""
        if self.is_branching:
            self._changed.add(name)

    def met_lock(self, name: str) -> None:
        """The step under way takes a lock; if it gives it back before its end, that is not more than a look."""
        if self.is_branching:
            self._touched.setdefault(name, _NOTHING)

    def left_lock(self, name: str) -> None:
        """The step under way gives a lock back."""
        if self.is_branching and name not in self._touched:     # taken in an earlier step
            self._changed.add(name)

    def end_step(self) -> None:
        """Note what the step has changed and what it has seen."""
        task = self.current
        assert task is not None
        if not self.is_branching:
            return
        for lock, holder in self.holders.items():
            if holder is task:
                self._changed.add(self._names[lock][0])
        task.is_inside = True                           # looking at the state is no touch of it
        for name, touched in self._touched.items():
            after = touched.look()
            if _differ(after, touched.before):
                self._set_version(name, self._print_of(after))
                self._changed.add(name)
        task.is_inside = False
        self.done.append(Step(task.number, frozenset(self._touched), frozenset(self._changed)))
        self._changed.clear()
        task.history = hash((task.history, task.doing, tuple(self._reads)))
        self._touched.clear()
        self._reads.clear()

    def key(self) -> Hashable:
        """Return a print of everything the rest of this order depends on."""
        threads = tuple((t.number, t.history, t.done, t.notified) for t in self.tasks)
        queues = tuple(tuple(t.number for t in queue) for queue in self.waiters.values() if queue)
        return hash((self.now, threads, queues, self._state))

    def _set_version(self, name: str, version: Hashable) -> None:
        self._state ^= hash((name, self._versions.get(name)))
        self._versions[name] = version
        self._state ^= hash((name, version))

    def _print_of(self, value: Any) -> Hashable:
        """Return what tells states apart in different orders, where objects have other addresses."""
        kind = type(value)
        if kind in _PLAIN:
            return value           # type: ignore[no-any-return]
        known = self._prints.get(id(value))
        if known is not None:
            return known[1]
        if id(value) in watched:
            return watched[id(value)][1]                   # its fields are followed one by one
        if issubclass(kind, tuple):
            return hash(tuple([self._print_of(each) for each in value]))
        if issubclass(kind, (set, frozenset)):
            return hash(frozenset([self._print_of(each) for each in value]))
        if issubclass(kind, (dict, list)):
            return self._print_of(snapshot(value))
        if callable(value):
            return getattr(value, "__qualname__", kind.__name__)
        if kind.__hash__ is object.__hash__:
            return f"{kind.__name__} {getattr(value, 'what', '')}"
        try:
            found = hash(value)
        except TypeError:
            return repr(value)
        self._prints[id(value)] = (value, found)           # kept alive, so that its address stays its own
        return found

    # ---- threads -----------------------------------------------------------------------------------

    def add(self, name: str, body: Callable[[], object], *, is_main: bool = True) -> Task:
        """Take in a thread that is to begin."""
        task = Task(name=name, number=len(self.tasks), body=body, is_main=is_main)
        self.tasks.append(task)
        task.thread = threading.Thread(target=self._live, args=(task,), name=name, daemon=True)
        _start(task.thread)
        return task

    def adopt(self, thread: threading.Thread) -> None:
        """Take in a thread that a thread under the scheduler starts."""
        self.changes("births")
        task = Task(name=thread.name, number=len(self.tasks), body=thread.run, is_main=False, thread=thread)
        self.tasks.append(task)
        thread.run = lambda: self._live(task)           # type: ignore[method-assign]
        _start(thread)

    def task_of(self, thread: threading.Thread) -> Task | None:
        """Return the task of *thread*, if it is under the scheduler."""
        return next((task for task in self.tasks if task.thread is thread), None)

    def follow(self, *, branching: bool) -> None:
        """Let the threads go until all main ones have ended, or the order is given up."""
        self.is_branching = branching
        self.current = None
        self.current = self._choose()
        if self.current is not None:
            self.current.baton.release()
            self._over.acquire()

    def abandon(self) -> None:
        """End every thread that is left: holders of locks first, so that the others find them free."""
        self.is_abandoned = True
        holding = set(self.holders.values())
        for task in sorted(self.tasks, key=lambda t: (t not in holding, t.number)):
            assert task.thread is not None
            if not task.done:
                self.current = task
                task.baton.release()
            _join(task.thread, 10)
            if _is_alive(task.thread):
                raise RuntimeError(f"{task.name} does not unwind: {task.doing}")

    def _live(self, task: Task) -> None:
        self._by_ident[get_ident()] = task
        task.baton.acquire()
        try:
            if not self.is_abandoned:
                task.result = task.body()
        except Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001 - it is what the test looks for
            task.error = error
            if not self.is_abandoned:
                self.failure = self.failure or error
        finally:
            del self._by_ident[get_ident()]
            task.done = True
        if self.is_abandoned:
            return
        self.changes(f"life of {task.name}")
        self.end_step()
        self.current = None if self.failure else self._choose()
        (self._over if self.current is None else self.current.baton).release()

    def _choose(self) -> Task | None:
        """Return who goes on; None when the order is over, for better or worse."""
        waiting = [task for task in self.tasks if not task.done]
        if not any(task.is_main for task in waiting):
            return None
        if len(self.steps) >= MOST_STEPS:
            self.failure = Stuck(f"no end after {MOST_STEPS} steps")
            return None
        while True:
            able = [task for task in waiting if task.ready()]
            if able:
                break
            later = [t.until for t in waiting if t.until is not None and t.until > self.now]
            if not later:
                self.failure = Stuck("nobody can go on: " + "; ".join(f"{t.name} {t.doing}" for t in waiting))
                return None
            self.now = min(later)
        if self.current in able and able[0] is not self.current:
            able.remove(self.current)
            able.insert(0, self.current)
        if not self.is_branching:
            return able[0]
        return self._decide(self, able)


# What the scheduler sees of shared objects, by id: the object, its name, and by field the lock that guards it.
watched: dict[int, tuple[object, str, dict[str, NamedLock | None]]] = {}


def snapshot(value: Any) -> Hashable:
    """Return a value that changes when *value* does; guarded containers are read without asking their guard."""
    if isinstance(value, dict):
        return tuple(dict.items(value))
    if isinstance(value, set):
        return frozenset(set.copy(value))
    if isinstance(value, deque):
        return tuple(deque.__iter__(value))
    if isinstance(value, list):
        return tuple(list.__iter__(value))
    return value          # type: ignore[no-any-return]


def _differ(one: Hashable, other: Hashable) -> bool:
    try:
        return bool(one != other)
    except ValueError:       # arrays inside: not the same ones, so not the same
        return True

