"""Signs of life: what each long-lived thread is at, since when, and for how long it may be.

A thread that merely lives says nothing: it may be in an endless loop. So each one tells its `Heart`
when it begins something, when that is done, and, every few seconds, that it waits for work. Each thing
has a limit; who is at it for longer is stuck. `runtime/supervisor.py` looks after them all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from runtime.locks import assert_no_lock_held

log = logging.getLogger("threads")

BEAT_S = 5.0               # whoever waits for work looks up so often, which takes its lock, and says so
IDLE_LIMIT_S = 15.0        # so who waits for work and does not is stuck as well
LIMIT_S = 30.0             # for what is neither the wire nor the budget: those bring their own
OVERDUE_S = 5.0            # what is cut at its deadline has ended by so much later
IDLE = "idle"


class Doing(NamedTuple):
    """What a thread is at; replaced whole, so that any thread may read it."""

    kind: str                  # idle, working, wire, rate, disk
    what: str
    since: float
    limit_s: float             # for this
    task_since: float
    task_limit_s: float        # for everything the task consists of


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadState:
    """How one thread is doing, for `./rad threads`; times in seconds."""

    name: str
    ident: int | None
    alive: bool
    kind: str
    what: str
    for_s: float               # at this
    limit_s: float
    task_s: float
    task_limit_s: float
    beat_s: float              # since it last gave a sign of life
    idle_s: float              # since it last got something done
    failing_s: float           # since the first of its failures in a row; 0 for none
    steps: int
    failures: int
    restarts: int
    given_up: int              # threads it was replaced by another for, and that have not ended since
    last_error: str

    @property
    def is_stuck(self) -> bool:
        """Whether it lives but has been at it for longer than it may."""
        return self.alive and (self.for_s > self.limit_s or self.task_s > self.task_limit_s)

    @property
    def stuck_after_s(self) -> float:
        """Return the limit it is under now."""
        return min(self.limit_s, self.task_limit_s)


class Heart:
    """One long-lived thread, through all its lives; written by the thread itself, read by any.

    *vital_s*: how long RAD may go on while it is stuck and cannot be replaced; None: as long as it takes.
    *revive* starts it again when it has died; *supersede* starts another in the place of a stuck one and
    returns whether it did. Both are called by the supervisor, which they must not hold up.
    """

    def __init__(
        self, name: str, *, limit_s: float = LIMIT_S, task_limit_s: float = inf, vital_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self.task_limit_s = task_limit_s
        self.vital_s = vital_s
        self.revive: Callable[[], object] | None = None
        self.supersede: Callable[[], bool] | None = None
        self.thread: threading.Thread | None = None
        self.given_up: tuple[threading.Thread, ...] = ()       # still alive when another took their place
        self._monotonic = monotonic
        self._ident: int | None = None
        self._steps = 0
        self._failures = 0
        self._restarts = -1
        self._last_error = ""
        self._failing_since: float | None = None
        self._ended = False
        self._born = True                      # False from being enlisted until its thread has started
        self._progress_at = self._beat_at = monotonic()
        self._doing = Doing(IDLE, "", self._beat_at, IDLE_LIMIT_S, self._beat_at, inf)

    # ---- its lives ------------------------------------------------------------------------------

    def start(self, target: Callable[[], None]) -> threading.Thread:
        """Start a thread that does *target* and lives by this heart, in the place of the one before."""
        assert_no_lock_held("starting a thread")
        before = self.thread
        if before is not None and before.is_alive():
            before.name = f"{self.name} (given up)"
            self.given_up = (*(thread for thread in self.given_up if thread.is_alive()), before)
        thread = threading.Thread(target=self._live, args=(target,), name=self.name, daemon=True)
        self._born = False
        self._enlist(thread)
        try:
            thread.start()
        finally:
            self._born = True                  # with no thread left in the system it is dead, not about to begin
        return thread

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of its thread; False if it has not come, or the thread is only about to begin."""
        assert_no_lock_held("joining a thread")
        thread = self.thread
        if thread is None:
            return True
        try:
            thread.join(timeout_s)
        except RuntimeError:                   # enlisted by another thread that has not started it yet
            return False
        return not thread.is_alive()

    def adopt(self) -> None:
        """The calling thread, started by somebody else, lives by this heart until `leave`."""
        self._enlist(threading.current_thread())
        self._take_over()

    def leave(self) -> None:
        """The calling thread, which lives by this heart, ends or is nobody's business any more."""
        self.retire()
        _mine.heart = None

    def retire(self) -> None:
        """Whoever lives by this heart is nobody's business any more: another has its work."""
        self._ended = True
        _hearts.pop(id(self), None)

    def is_mine(self) -> bool:
        """Whether the calling thread still lives by this heart: another may have taken its place."""
        return self._ident == threading.get_ident()

    # ---- what its thread says -------------------------------------------------------------------

    def idle(self, limit_s: float = IDLE_LIMIT_S) -> None:
        """It waits for work; said again at the latest after *limit_s*."""
        now = self._monotonic()
        self._say(Doing(IDLE, "", now, limit_s, now, inf))

    def begin(self, what: str) -> None:
        """It begins a task."""
        now = self._monotonic()
        self._say(Doing("working", what, now, self.limit_s, now, self.task_limit_s))

    def progress(self) -> None:
        """A part of the task is done; the clocks of its limits begin anew."""
        self.begin(self._doing.what)

    def done(self) -> None:
        """The task is done."""
        if self.is_mine():
            self._steps += 1
            self._progress_at = self._monotonic()
            self._failing_since = None

    def failed(self, error: BaseException) -> None:
        """The task has failed, and the thread goes on."""
        if self.is_mine():
            self._failures += 1
            if self._failing_since is None:
                self._failing_since = self._monotonic()
            self._last_error = f"{type(error).__name__}: {error}"

    # ---- what others ask ------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether its thread has come to its end as it should."""
        return self._ended

    def state(self, not_before: float = -inf) -> ThreadState:
        """Return how it is doing; time before *not_before*, when the process stood still, does not count."""
        now, doing, thread, failing_since = self._monotonic(), self._doing, self.thread, self._failing_since
        return ThreadState(
            name=self.name,
            ident=None if thread is None else thread.ident,
            alive=thread is not None and (not self._born or thread.is_alive()),
            kind=doing.kind,
            what=doing.what,
            for_s=max(0.0, now - max(doing.since, not_before)),
            limit_s=doing.limit_s,
            task_s=max(0.0, now - max(doing.task_since, not_before)),
            task_limit_s=doing.task_limit_s,
            beat_s=max(0.0, now - self._beat_at),
            idle_s=max(0.0, now - self._progress_at),
            failing_s=0.0 if failing_since is None else now - failing_since,
            steps=self._steps,
            failures=self._failures,
            restarts=max(self._restarts, 0),
            given_up=sum(thread.is_alive() for thread in self.given_up),
            last_error=self._last_error,
        )

    # ---- inside ---------------------------------------------------------------------------------

    def _enlist(self, thread: threading.Thread) -> None:
        self._restarts += 1
        self._ended = False
        self._ident = None                     # the one before says nothing any more
        self._progress_at = self._beat_at = now = self._monotonic()
        self._doing = Doing("working", "starting", now, self.limit_s, now, inf)
        self.thread = thread
        _hearts[id(self)] = self

    def _take_over(self) -> None:
        self._ident = threading.get_ident()
        _mine.heart = self

    def _live(self, target: Callable[[], None]) -> None:
        if self.thread is not threading.current_thread():
            return                             # replaced before it began
        self._take_over()
        try:
            target()
        except BaseException as error:
            self._last_error = f"{type(error).__name__}: {error}"
            if isinstance(error, Exception):
                raise                          # threading.excepthook logs it
            # SystemExit ends a thread without a word: say it.
            log.critical("thread ends name=%s error=%s", self.name, self._last_error, exc_info=error)
        else:
            if self.is_mine():
                self.leave()
            else:
                log.warning("a thread given up on has ended name=%s", self.name)

    def _say(self, doing: Doing) -> None:
        if self.is_mine():
            self._beat_at = doing.since
            self._doing = doing


class _Mine(threading.local):
    """The heart of the calling thread."""

    heart: Heart | None = None


_mine = _Mine()
# By identity. Put in and taken out in one step each, and read from a copy: nobody ever waits here,
# least of all the supervisor. Each of these is one step of the dict's own, without the interpreter's lock too.
_hearts: dict[int, Heart] = {}


def hearts() -> tuple[Heart, ...]:
    """Return the hearts of all threads that should be alive, by name."""
    return tuple(sorted(_hearts.copy().values(), key=lambda heart: heart.name))


def gets_on() -> None:
    """A part of the calling thread's task is done; the clocks of its limits begin anew."""
    if _mine.heart is not None:
        _mine.heart.progress()


class doing:  # noqa: N801 - reads as what it says: `with doing("wire", ...)`
    """Inside, the calling thread is at *kind*, for *limit_s* at most; coming back from it is progress.

    An idle pause does not count towards the task it is part of. Threads without a heart tell nobody.
    """

    __slots__ = ("_before", "_heart", "_inside", "_kind", "_limit_s", "_what")

    def __init__(self, kind: str, what: str, limit_s: float) -> None:
        self._kind = kind
        self._what = what
        self._limit_s = limit_s
        self._heart: Heart | None = None

    def __enter__(self) -> None:
        heart = _mine.heart
        if heart is None or not heart.is_mine():
            return
        self._heart, self._before = heart, heart._doing
        now = heart._monotonic()
        task_limit_s = inf if self._kind == IDLE else self._before.task_limit_s
        self._inside = Doing(self._kind, self._what, now, self._limit_s, self._before.task_since, task_limit_s)
        heart._say(self._inside)

    def __exit__(self, *_: object) -> None:
        heart = self._heart
        if heart is None:
            return
        now, before = heart._monotonic(), self._before
        paused_s = now - self._inside.since if self._kind == IDLE else 0.0
        heart._say(Doing(
            before.kind, before.what, now, before.limit_s, before.task_since + paused_s, before.task_limit_s
        ))


async def beat(heart: Heart) -> None:
    """Say for ever, from inside an event loop, that the loop turns."""
    while True:
        heart.idle()
        await asyncio.sleep(BEAT_S / 5)
