"""Shared state and the world's edge, made visible to the scheduler."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

from runtime.locks import NamedLock
from tests.interleavings.hooks import controlled
from tests.interleavings.scheduler import Run, snapshot, watched

_PLAIN = (bool, int, float, str, Decimal, Enum, dict, set, frozenset, list, tuple, deque, type(None))


def watch(
    thing: Any, name: str, lock: NamedLock | None = None, fields: Collection[str] = ()
) -> Any:
    """Have the scheduler see each touch of *thing*'s fields, and stop before those made without *lock*.

    *fields*: which; by default any that is a plain value or a container now. Called again for the fields of
    another lock. Returns *thing*.
    """
    there = dict(getattr(thing, "__dict__", {}))
    for slot in (slot for kind in type(thing).__mro__ for slot in kind.__dict__.get("__slots__", ())):
        there[slot] = getattr(thing, slot, thing)
    chosen = frozenset(fields or (field for field, value in there.items() if isinstance(value, _PLAIN)))
    _, _, locks = watched.setdefault(id(thing), (thing, name, {}))
    locks |= dict.fromkeys(chosen, lock)
    thing.__class__ = _seen(type(thing), chosen)
    return thing


def forget_all() -> None:
    """Forget what was watched in an order that is over."""
    watched.clear()


@cache
def _seen(kind: type, fields: frozenset[str]) -> type:
    """Return a subclass of *kind* that tells of each touch of *fields*; nothing else differs."""
    body: dict[str, Any] = {"__slots__": (), **{field: _telling(kind, field) for field in fields}}
    return type(kind.__name__, (kind,), body)


def _telling(kind: type, field: str) -> property:
    slot = getattr(kind, field, None)
    is_slot = hasattr(slot, "__set__") and hasattr(slot, "__get__")

    def look(thing: Any) -> Hashable:
        """Return its state without asking whoever guards it."""
        inside = getattr(thing, "__dict__", {})
        return snapshot(inside[field] if field in inside else slot.__get__(thing))     # type: ignore[union-attr]

    def get(thing: Any) -> Any:
        _meet(thing, field, lambda: look(thing), reads=True)
        return slot.__get__(thing) if is_slot else thing.__dict__[field]     # type: ignore[union-attr]

    def put(thing: Any, value: Any) -> None:
        _meet(thing, field, lambda: look(thing), reads=False)
        if is_slot:
            slot.__set__(thing, value)                                       # type: ignore[union-attr]
        else:
            thing.__dict__[field] = value

    return property(get, put)


def _meet(thing: object, field: str, look: Callable[[], Hashable], *, reads: bool) -> None:
    under = controlled()
    if under is None or id(thing) not in watched:
        return
    run, task = under
    _, name, locks = watched[id(thing)]
    lock = locks[field]
    if lock is None or run.holders.get(id(lock)) is not task:
        run.switch(f"{'reads' if reads else 'sets'} {name}.{field}")
    run.touch(f"{name}.{field}", look, reads=reads)


def edge(thing: Any, name: str, look: Callable[[], Hashable], calls: Collection[str]) -> Any:
    """Have the scheduler stop before each of *calls* to *thing*; what a call does is one step.

    *look*: what later answers depend on. Returns *thing*.
    """
    for call in calls:
        setattr(thing, call, _stopping(getattr(thing, call), f"{name}: {call}", name, look))
    return thing


def _stopping(call: Callable[..., Any], doing: str, name: str, look: Callable[[], Hashable]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        under = controlled()
        if under is None:
            return call(*args, **kwargs)
        run, task = under
        run.switch(doing)
        run.touch(name, look, reads=False)
        task.is_inside = True
        seen: object = None
        try:
            seen = call(*args, **kwargs)
        except Exception as error:
            seen = f"{type(error).__name__}: {error}"
            raise
        finally:
            task.is_inside = False
            run.saw(name, seen)
        return seen

    return method


class VirtualClock:
    """`trading.ports.Clock` on the scheduler's time; outside of it time stands still."""

    START_MS = 1_700_000_000_000

    def monotonic(self) -> float:
        under = controlled()
        if under is None:
            return 0.0 if Run.active is None else Run.active.now      # a check may ask how late it got
        run, _ = under
        run.saw("time", run.now)
        return run.now

    def now_ms(self) -> int:
        return self.START_MS + round(self.monotonic() * 1000)

    def wait_for(
        self, condition: threading.Condition, predicate: Callable[[], bool], timeout_s: float | None
    ) -> bool:
        return condition.wait_for(predicate, timeout_s)

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        return stop.wait(timeout_s)
