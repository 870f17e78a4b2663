"""Every lock of RAD is made here: it knows its holder, its waits, and refuses to be nested.

A breach (a second lock under the first, I/O under a lock, a guarded field touched without its lock)
raises when checks are strict, as they are in tests and with RAD_LOCK_CHECK=1. Otherwise it is logged
with both stacks, counted and said in `status`, and trading goes on: a check must never stop an exit.

An acquisition costs less than a microsecond (bench/locks.py): to keep it there, what runs in each is written
out in two methods, what happens now and then stands beside them, and where a lock was taken is noted only
while checks are strict. Nothing here counts on an interpreter that lets one thread run at a time: a lock's
figures are written by its holder, a thread's own by it, and who reads them without the lock looks whether
they changed meanwhile.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar

from runtime.guards import guard, guarded
from runtime.lock_figures import CallSite, LockStats, together
from runtime.lock_rules import (
    LockBreach,
    breach,
    breach_sentence,
    breaches,
    is_strict,
    make_strict,
    place,
    stack_of,
    watch_io,
    withs_of,
)

__all__ = [
    "CallSite", "LockBreach", "LockStats", "NamedLock", "assert_held", "assert_no_lock_held", "assert_waits_on",
    "breach_sentence", "breaches", "condition_on", "guard", "guarded", "is_strict", "lock_stats", "lock_waits",
    "locks_held", "make_strict", "named_lock", "together", "watch_io",
]

SAMPLES = 512
SAMPLE_EVERY = 31              # acquisitions, once the first SAMPLES are known; prime, as no loop of ours is
MOST_SITES = 64                # call sites per lock; what comes after is told together
TRIES = 100                    # to read what its writer does not stand still for

Sample = TypeVar("Sample")

_getframe = sys._getframe


class _Me:
    """What one thread holds; read by others only to name a holder."""

    __slots__ = ("at", "frame", "ident", "lock", "outer")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.lock: NamedLock | None = None         # the innermost it holds
        # Where that was taken, if it is a traced one: in which call, at which instruction.
        self.frame: FrameType | None = None
        self.at = 0
        # Those around it, outermost first; None but in a thread that has broken the rule and goes on.
        self.outer: list[tuple[NamedLock, FrameType | None, int]] | None = None


_NOBODY = _Me()
_mine = threading.local()
_waiting: dict[int, NamedLock] = {}    # by thread: what it waits for; each sets and deletes its own
# Put in and taken out in one step each, and read from a copy: a lock may die while somebody looks through them.
_registry: dict[weakref.ref[NamedLock], None] = {}


def _introduce() -> _Me:
    """Return the calling thread's own record."""
    me: _Me | None = getattr(_mine, "me", None)
    if me is None:
        me = _mine.me = _Me()
    return me


class NamedLock:
    """A lock that can be asked who holds it, and works inside a `threading.Condition`."""

    __slots__ = (
        "name", "_take", "_give", "_holder", "_since", "_left", "_period", "_counted", "_contended",
        "_longest_wait", "_longest_hold", "_waits", "_holds", "__weakref__",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        # Reentrant for one quality: it refuses to be released by another thread. It is never taken twice.
        lock = threading.RLock()
        self._take: Callable[..., bool] = lock.acquire
        self._give: Callable[[], None] = lock.release
        # Below: written only while the lock is held, so it guards its own figures.
        self._holder = _NOBODY                 # the latest
        self._since = 0.0
        self._period = self._left = 1          # acquisitions from one sample to the next, and still to come
        self._counted = 0                      # acquisitions up to the last sample
        self._contended = 0
        self._longest_wait = self._longest_hold = 0.0
        self._waits: deque[tuple[int, float]] = deque(maxlen=SAMPLES)      # (which acquisition, how long)
        self._holds: deque[float] = deque(maxlen=SAMPLES)

    # ---- what runs each time: every line costs ----------------------------------------------------

    def __enter__(self) -> bool:
        """Take the lock; a breach if this thread already holds one of RAD's."""
        try:
            me: _Me = _mine.me
        except AttributeError:
            me = _introduce()
        if me.lock is not None:
            self._nest(me)
        if not self._take(False):
            self._wait(me, -1)
        self._holder = me
        me.lock = self
        self._since = perf_counter()
        return True

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Give the lock back; raises if another thread holds it."""
        me = self._holder
        if me.lock is not self:
            self._leave_outer()
            return
        held = perf_counter() - self._since
        if held > self._longest_hold:
            self._longest_hold = held
        left = self._left - 1
        if left:
            self._left = left
        else:
            self._sample(held)
        try:
            self._give()
        except RuntimeError:
            raise self._not_the_holder() from None
        me.lock = None
        if me.outer is not None:
            _back_to_outer(me)

    # ---- what runs now and then -------------------------------------------------------------------

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock as `threading.Lock` does; a breach if this thread already holds one of RAD's."""
        me = _introduce()
        if me.lock is not None:
            self._nest(me)
        if not self._take(False) and not (blocking and self._wait(me, timeout)):
            if me.outer is not None:
                _back_to_outer(me)
            return False
        self._holder = me
        me.lock = self
        self._since = perf_counter()
        return True

    def release(self) -> None:
        """Give the lock back; raises if another thread holds it."""
        self.__exit__(None, None, None)

    def locked(self) -> bool:
        """Whether any thread holds it."""
        return _holds(self._holder, self)

    def is_mine(self) -> bool:
        """Whether the calling thread holds it."""
        return _holds(_introduce(), self)

    def stats(self) -> LockStats:
        """Return its figures; taken without the lock, so each figure is right, not their sum."""
        acquisitions = self._acquisitions()
        waits, holder = _latest(self._waits), self._holder
        return LockStats(
            name=self.name,
            acquisitions=acquisitions,
            contended=self._contended,
            waited=tuple(waited for _, waited in waits),
            waited_among=max(len(waits), acquisitions - (waits[0][0] - 1 if len(waits) == SAMPLES else 0)),
            holds=_latest(self._holds),
            longest_wait=self._longest_wait,
            longest_hold=self._longest_hold,
            holder=_thread_name(holder.ident) if _holds(holder, self) else None,
            sites=self._sites(),
        )

    def _acquisitions(self) -> int:
        """Return how many there were: read again when a sample, which moves all three figures, came between."""
        for _ in range(TRIES):
            left = self._left
            count = self._counted + self._period - left
            if left and left == self._left:
                break
        return count

    def _sites(self) -> tuple[CallSite, ...]:
        return ()

    def _sample(self, held: float) -> None:
        """Keep one hold; the first SAMPLES all, then one in SAMPLE_EVERY: to count is cheaper than to keep."""
        self._holds.append(held)
        counted = self._counted + self._period
        self._left = 0                         # until the three belong together again
        self._counted = counted
        self._period = 1 if counted < SAMPLES else SAMPLE_EVERY
        self._left = self._period

    def _wait(self, me: _Me, timeout: float) -> bool:
        """Take the lock when it comes free, and note for how long that took."""
        _waiting[me.ident] = self
        asked = perf_counter()
        try:
            taken = self._take(True, timeout)
        finally:
            del _waiting[me.ident]
        if taken:
            waited = perf_counter() - asked
            self._contended += 1
            self._longest_wait = max(self._longest_wait, waited)
            self._waits.append((self._acquisitions() + 1, waited))
        return taken

    def _nest(self, me: _Me) -> None:
        """Refuse to be taken under another lock, or remember that one to come back to."""
        outer = me.lock
        assert outer is not None
        if _holds(me, self):   # it would wait for itself for ever, or be free too soon: no choice but to raise
            raise LockBreach(
                f"{threading.current_thread().name} already holds lock {self.name!r}\n{_taken(me)}"
            )
        breach(f"lock {self.name!r} asked for while holding {outer.name!r}", partial(_taken, me))
        me.outer = [*(me.outer or ()), (outer, me.frame, me.at)]
        me.frame = None

    def _leave_outer(self) -> None:
        """Give the lock back before one that was taken under it."""
        me = _introduce()
        if not _holds(me, self):
            raise self._not_the_holder()
        me.outer = [each for each in me.outer or () if each[0] is not self] or None
        self._give()

    def _not_the_holder(self) -> LockBreach:
        return LockBreach(f"lock {self.name!r} released by a thread that does not hold it")

    # What threading.Condition asks of a lock that is not a plain one.
    def _is_owned(self) -> bool:
        return self.is_mine()


class _TracedLock(NamedLock):
    """One that keeps account of who takes it where; made when checks are strict."""

    __slots__ = ("_by_site",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # Acquisitions, total, longest; replaced whole, so that a copy of the dict is of one moment.
        self._by_site: dict[tuple[CodeType, int] | None, tuple[int, float, float]] = {}

    def __enter__(self) -> bool:
        super().__enter__()
        self.taken_by(_getframe(1))
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        me = _introduce()
        if me.lock is self and me.frame is not None:
            site = me.frame.f_code, me.at
            known = site in self._by_site or len(self._by_site) < MOST_SITES
            count, total, longest = self._by_site.get(site if known else None, (0, 0.0, 0.0))
            held = perf_counter() - self._since
            self._by_site[site if known else None] = count + 1, total + held, max(longest, held)
            me.frame = None
        super().__exit__(kind, error, trace)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        taken = super().acquire(blocking, timeout)
        if taken:
            self.taken_by(_getframe(1))
        return taken

    def taken_by(self, frame: FrameType) -> None:
        """Remember that the lock, which this thread holds, was taken where *frame* is now."""
        me = self._holder
        me.frame, me.at = frame, frame.f_lasti

    # What threading.Condition asks of a lock that has something to remember while it waits.
    def _release_save(self) -> object:
        me = self._holder
        taken = me.frame, me.at
        self.release()
        return taken

    def _acquire_restore(self, taken: Any) -> None:
        super().acquire()
        me = self._holder
        me.frame, me.at = taken

    def _sites(self) -> tuple[CallSite, ...]:
        return tuple(sorted((
            CallSite(
                where="elsewhere" if site is None else place(*site),
                acquisitions=count, total_hold=total, longest_hold=longest,
            )
            for site, (count, total, longest) in self._by_site.copy().items()
        ), key=lambda site: -site.total_hold))


class _TracedCondition(threading.Condition):
    """One whose lock knows that it was taken by whoever entered the Condition, not by the Condition."""

    _lock: _TracedLock

    def __enter__(self) -> bool:
        lock = self._lock
        lock.__enter__()
        lock.taken_by(_getframe(1))
        return True


def named_lock(name: str) -> NamedLock:
    """Return a new lock, listed by *name* in `./rad threads`."""
    lock = _TracedLock(name) if is_strict() else NamedLock(name)
    _registry[weakref.ref(lock, _forget)] = None
    return lock


def condition_on(lock: NamedLock) -> threading.Condition:
    """Return a Condition on *lock*: one lock per state, one Condition per question."""
    kind = _TracedCondition if isinstance(lock, _TracedLock) else threading.Condition
    return kind(lock)  # type: ignore[arg-type]  # typeshed knows the built-in locks only


def lock_stats() -> tuple[LockStats, ...]:
    """Return the figures of every lock alive, by name."""
    return tuple(sorted((lock.stats() for lock in _alive()), key=lambda stats: stats.name))


def lock_waits() -> dict[int, tuple[str, int | None]]:
    """Return, by the ident of each thread that waits for a lock, that lock's name and its holder's ident."""
    return {
        ident: (lock.name, lock._holder.ident if _holds(lock._holder, lock) else None)
        for ident, lock in _waiting.copy().items()
    }


def locks_held() -> dict[int, tuple[str, ...]]:
    """Return the names of the locks held just now, by the ident of the thread that holds them."""
    held: dict[int, tuple[str, ...]] = {}
    for lock in _alive():
        holder = lock._holder
        if _holds(holder, lock):
            held[holder.ident] = (*held.get(holder.ident, ()), lock.name)
    return held


def assert_no_lock_held(doing: str) -> None:
    """A breach if this thread holds a lock of RAD's: called wherever the wire or a disk begins."""
    me = _introduce()
    if me.lock is not None:
        breach(f"{doing} while holding lock {me.lock.name!r}", partial(_taken, me))


def assert_waits_on(condition: threading.Condition) -> None:
    """A breach if this thread holds a lock that waiting on *condition* does not give up."""
    me = _introduce()
    if me.lock is not None and (me.outer is not None or me.lock is not getattr(condition, "_lock", None)):
        breach(f"waiting for something else while holding lock {me.lock.name!r}", partial(_taken, me))


def assert_held(lock: NamedLock, what: str) -> None:
    """A breach unless this thread holds *lock*: called by whoever touches what it guards."""
    if not lock.is_mine():
        breach(f"{what} touched without lock {lock.name!r}")


def _alive() -> list[NamedLock]:
    return [lock for known in _registry.copy() if (lock := known()) is not None]


def _forget(
    dead: weakref.ref[NamedLock], registry: dict[weakref.ref[NamedLock], None] = _registry
) -> None:
    registry.pop(dead, None)               # bound above: as the interpreter ends the module's names go first


def _latest(samples: deque[Sample]) -> tuple[Sample, ...]:
    """Return what *samples* holds while its writer goes on: a copy, begun anew if he came between."""
    for _ in range(TRIES):
        try:
            return tuple(samples.copy())
        except RuntimeError:                   # changed while it was gone through
            continue
    return ()


def _holds(who: _Me, lock: NamedLock) -> bool:
    return who.lock is lock or any(each[0] is lock for each in who.outer or ())


def _back_to_outer(me: _Me) -> None:
    """The innermost lock is no more: the thread holds the one around it."""
    assert me.outer
    me.lock, me.frame, me.at = me.outer[-1]
    me.outer = me.outer[:-1] or None


def _taken(me: _Me) -> str:
    """Return where the calling thread took the innermost lock it holds."""
    assert me.lock is not None
    if me.frame is not None:
        return f"{me.lock.name!r} taken at\n{stack_of(me.frame, me.at)}\n"
    return f"{me.lock.name!r} taken by one of the `with` in force\n{withs_of(_getframe(1))}\n"


def _thread_name(ident: int) -> str:
    return next((thread.name for thread in threading.enumerate() if thread.ident == ident), str(ident))


if is_strict():            # RAD_LOCK_CHECK=1
    watch_io(assert_no_lock_held)
