"""Every lock of RAD is made here: it knows its holder, its waits, and refuses to be nested.

A breach (a second lock under the first, I/O under a lock, a guarded container touched without
its lock) raises when checks are strict, as they are in tests and with RAD_LOCK_CHECK=1. Otherwise
it is logged with its stack and counted, and trading goes on: a check must never stop an exit.
"""

from __future__ import annotations

import logging
import os
import threading
import traceback
import weakref
from collections import deque
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any

log = logging.getLogger("locks")

_SAMPLES = 512


class LockBreach(RuntimeError):
    """A rule about locks was broken; the text names the locks and both threads' doing."""


class _Held(threading.local):
    """The locks this thread holds, in the order taken."""

    def __init__(self) -> None:
        self.locks: list[NamedLock] = []


@dataclass(slots=True)
class _Checks:
    strict: bool
    breaches: int = 0


_held = _Held()
_checks = _Checks(strict=os.environ.get("RAD_LOCK_CHECK") == "1")
_registry: weakref.WeakSet[NamedLock] = weakref.WeakSet()
_registry_lock = threading.Lock()   # bare: it guards the set the named ones are listed in
# By thread: each puts in and takes out its own entry, in one step each; read from a copy.
_waiting: dict[int, NamedLock] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LockStats:
    """What one lock has seen: times in seconds, of the latest acquisitions."""

    name: str
    acquisitions: int
    contended: int
    waits: tuple[float, ...]
    holds: tuple[float, ...]
    holder: str | None         # the thread that holds it now


class NamedLock:
    """A `threading.Lock` that can be asked who holds it; works inside a `threading.Condition`."""

    __slots__ = (
        "name", "_lock", "_holder", "_since", "_waited", "_acquisitions", "_contended", "_samples",
        "__weakref__",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._holder: int | None = None
        # Below: written only while the lock is held, so it guards its own figures.
        self._since = 0.0
        self._waited = 0.0
        self._acquisitions = 0
        self._contended = 0
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; a breach if this thread already holds one of RAD's."""
        held = _held.locks
        if held:
            self._refuse_nesting(held[-1])
        waited = 0.0
        if not self._lock.acquire(False):
            if not blocking:
                return False
            asked = perf_counter()
            if not self._wait(timeout):
                return False
            waited = perf_counter() - asked
            self._contended += 1
        self._holder = threading.get_ident()
        self._waited = waited
        self._acquisitions += 1
        held.append(self)
        self._since = perf_counter()
        return True

    def _wait(self, timeout: float) -> bool:
        """Wait for the holder; meanwhile others can see who waits for what."""
        me = threading.get_ident()
        _waiting[me] = self
        try:
            return self._lock.acquire(True, timeout)
        finally:
            del _waiting[me]

    def release(self) -> None:
        """Give the lock back; raises if another thread holds it."""
        if self._holder != threading.get_ident():
            raise LockBreach(f"lock {self.name!r} released by a thread that does not hold it")
        self._samples.append((self._waited, perf_counter() - self._since))
        self._holder = None
        _held.locks.remove(self)
        self._lock.release()

    __enter__ = acquire

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def locked(self) -> bool:
        """Whether any thread holds it."""
        return self._lock.locked()

    def is_mine(self) -> bool:
        """Whether the calling thread holds it."""
        return self._holder == threading.get_ident()

    def stats(self) -> LockStats:
        """Return its figures; taken without the lock, so each figure is right, not their sum."""
        samples = tuple(self._samples.copy())
        return LockStats(
            name=self.name,
            acquisitions=self._acquisitions,
            contended=self._contended,
            waits=tuple(waited for waited, _ in samples),
            holds=tuple(hold for _, hold in samples),
            holder=_thread_name(self._holder),
        )

    def _refuse_nesting(self, outer: NamedLock) -> None:
        if outer is self:   # it would wait for itself for ever: no choice but to raise
            raise LockBreach(f"{threading.current_thread().name} already holds lock {self.name!r}")
        _breach(f"lock {self.name!r} asked for while holding {outer.name!r}")

    # What threading.Condition asks of a lock that is not a plain one.
    def _is_owned(self) -> bool:
        return self.is_mine()

    def _release_save(self) -> None:
        self.release()

    def _acquire_restore(self, _saved: None) -> None:
        self.acquire()


def named_lock(name: str) -> NamedLock:
    """Return a new lock, listed by *name* in `./rad threads`."""
    lock = NamedLock(name)
    with _registry_lock:
        _registry.add(lock)
    return lock


def condition_on(lock: NamedLock) -> threading.Condition:
    """Return a Condition on *lock*: one lock per state, one Condition per question."""
    return threading.Condition(lock)  # type: ignore[arg-type]  # typeshed knows the built-in locks only


def lock_stats() -> tuple[LockStats, ...]:
    """Return the figures of every lock alive, by name."""
    with _registry_lock:
        locks = list(_registry)
    return tuple(sorted((lock.stats() for lock in locks), key=lambda stats: stats.name))


def lock_waits() -> dict[int, tuple[str, int | None]]:
    """Return, by the ident of each thread that waits for a lock, that lock's name and its holder's ident."""
    return {ident: (lock.name, lock._holder) for ident, lock in _waiting.copy().items()}


def locks_held() -> dict[int, tuple[str, ...]]:
    """Return the names of the locks held just now, by the ident of the thread that holds them."""
    with _registry_lock:
        locks = list(_registry)
    held: dict[int, tuple[str, ...]] = {}
    for lock in locks:
        holder = lock._holder
        if holder is not None:
            held[holder] = (*held.get(holder, ()), lock.name)
    return held


def assert_no_lock_held(doing: str) -> None:
    """A breach if this thread holds a lock of RAD's: called wherever the wire or a disk begins."""
    if _held.locks:
        _breach(f"{doing} while holding lock {_held.locks[-1].name!r}")


def assert_held(lock: NamedLock, what: str) -> None:
    """A breach unless this thread holds *lock*: called by whoever touches what it guards."""
    if not lock.is_mine():
        _breach(f"{what} touched without lock {lock.name!r}")


def make_strict(strict: bool = True) -> None:
    """From now on raise on a breach (tests), or log and count it."""
    _checks.strict = strict


def breaches() -> int:
    """Return how many rules were broken since the start."""
    return _checks.breaches


def _breach(text: str) -> None:
    _checks.breaches += 1
    message = f"{threading.current_thread().name}: {text}"
    if _checks.strict:
        raise LockBreach(message)
    log.error("lock rule broken %s\n%s", message, "".join(traceback.format_stack(limit=12)))


def _thread_name(ident: int | None) -> str | None:
    if ident is None:
        return None
    return next((t.name for t in threading.enumerate() if t.ident == ident), str(ident))


class GuardedDict(dict[Any, Any]):
    """A dict that may be touched only under its lock; made only when checks are strict."""

    def __init__(self, lock: NamedLock, what: str) -> None:
        super().__init__()
        self._guard = lock
        self._what = what

    def _check(self) -> None:
        assert_held(self._guard, self._what)


def _guarded(name: str) -> Any:
    plain = getattr(dict, name)

    def method(self: GuardedDict, *args: Any, **kwargs: Any) -> Any:
        self._check()
        return plain(self, *args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    "__getitem__", "__setitem__", "__delitem__", "__contains__", "__iter__", "__len__", "get", "pop",
    "popitem", "setdefault", "update", "clear", "keys", "values", "items", "copy",
):
    setattr(GuardedDict, _name, _guarded(_name))


def guarded_dict(lock: NamedLock, what: str) -> dict[Any, Any]:
    """Return a dict guarded by *lock*: checked when strict, a bare dict otherwise."""
    return GuardedDict(lock, what) if _checks.strict else {}
