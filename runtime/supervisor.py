"""The supervisor: sees that every thread gets on, and does something about each that does not.

A thread that died is started again. One that is stuck is told of with the stacks of all, nothing new is
entered until it moves, and where another may take its place another does. What RAD cannot go on without
and cannot be had back ends RAD with its own exit code: starting again is always harmless. In all of that
the supervisor waits for no lock of RAD's: the stuck thread may be the one that holds it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from runtime.heartbeat import Heart, ThreadState, hearts
from runtime.locks import assert_no_lock_held, lock_waits, locks_held
from runtime.stacks import Place, append, opened, places, report
from trading.ports import Clock

Places = dict[int, Place]

log = logging.getLogger("threads")

STUCK = 70                     # exit code
LOOK_S = 1.0                   # between two looks
LATE_S = 3.0                   # after so long without a look it was the process that stood still, or its machine
MOST_REPLACED = 2              # of one thread, within REPLACED_WITHIN_S: the next would get stuck as well
REPLACED_WITHIN_S = 60.0
HAUNTED_S = 60.0               # how long a thread given up on may go on: it may be eating the processor
FAILING_S = 10.0               # of nothing but failed steps, after which nothing new is entered
END_PATIENCE_S = 20.0          # ten seconds are promised
MOST_BEHIND = 3                # looks at which the main thread waits for a lock, when RAD is to end
DEAF_S = 30.0                  # after which stacks are written even if no Python runs at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailing:
    """One thread that does not get on, and a sentence about it that stays the same while it does not."""

    name: str
    why: str


@dataclass(slots=True, kw_only=True)
class _Case:
    """What the supervisor remembers of one thread."""

    since: float | None = None         # found stuck; None: it gets on
    replaced: list[float] = field(default_factory=list)
    haunted_since: float | None = None


class Supervisor:
    """The thread `Supervisor`; any thread may ask it.

    *tell* is called with all troubles whenever they change, in the supervisor's own thread, and must not wait.
    *flush* is given a moment before the process is ended from here; *leave* ends it.
    """

    def __init__(
        self, path: Path, clock: Clock, stop: threading.Event, *,
        tell: Callable[[tuple[Ailing, ...]], None] = lambda _: None,
        flush: Callable[[], object] = lambda: None,
        leave: Callable[[int], object] = os._exit,
        watched: Callable[[], Iterable[Heart]] = hearts,
    ) -> None:
        self.heart = Heart("Supervisor", monotonic=clock.monotonic)
        self.heart.revive = self.start
        self._path = path
        self._clock = clock
        self._stop = stop
        self._tell = tell
        self._flush = flush
        self._leave = leave
        self._watched = watched
        self._over = threading.Event()
        # Written by the supervisor's own thread alone; read by any.
        self.ailing: tuple[Ailing, ...] = ()
        self.given_up = ""                     # why RAD has to end; empty while it has not
        self._cases: dict[int, _Case] = {}
        self._looked_at = self._judged_from = clock.monotonic()
        self._ending_since: float | None = None
        self._behind = 0                       # looks in a row at which the main thread waited for a lock
        self._deaf_file: TextIO | None = None

    # ---- the thread -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start looking; also the way to start again."""
        self._looked_at = self._judged_from = self._clock.monotonic()
        self.heart.start(self._run)

    def finish(self, timeout_s: float = 2.0) -> None:
        """Nothing is to be watched any more: the process is about to end by itself."""
        assert_no_lock_held("joining a thread")
        self._over.set()
        self.heart.join(timeout_s)

    def ensure(self) -> None:
        """Start again if it died; called by the main thread, which it watches in turn."""
        if self.heart.thread is not None and not self.heart.state().alive and not self._over.is_set():
            log.error("the supervisor died, started again error=%s", self.heart.state().last_error)
            self.start()

    def _run(self) -> None:
        try:
            while self.heart.is_mine() and not self._over.is_set():
                self.heart.begin("looking")
                self._listen()
                try:
                    self.look()
                except Exception as error:  # noqa: BLE001 - the one who looks after all others goes on
                    self.heart.failed(error)
                    log.exception("the supervisor stumbled")
                else:
                    self.heart.done()
                self.heart.idle()
                self._over.wait(LOOK_S)
        finally:
            self._stop_listening()

    def _listen(self) -> None:
        """Have stacks written by the system, not by Python, should this not be called for long."""
        if self._deaf_file is None:
            try:
                self._deaf_file = opened(self._path)
            except OSError:
                return
        faulthandler.dump_traceback_later(DEAF_S, file=self._deaf_file)

    def _stop_listening(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._deaf_file is not None:
            self._deaf_file.close()
            self._deaf_file = None

    # ---- one look -------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at every thread once, and do what is to be done."""
        now = self._clock.monotonic()
        if now - self._looked_at > LATE_S:
            self._judged_from = now            # frozen, suspended, or short of the processor: so were all
        self._looked_at = now
        if self._stop.is_set():
            self._see_it_end(now)
            return
        found, news = [], []
        where: Places = {}                     # costs something: looked for once somebody is stuck
        watched = tuple(self._watched())
        self._cases = {id(heart): self._cases.get(id(heart)) or _Case() for heart in watched}
        for heart in watched:
            case = self._cases[id(heart)]
            state = heart.state(self._judged_from)
            if not state.alive:
                found += self._raise_the_dead(heart, state, case, now)
            elif state.is_stuck and heart is not self.heart:
                if case.since is None:
                    case.since = now
                    news.append(state)
                where = where or places()
                found.append(Ailing(name=heart.name, why=_why_stuck(state, where)))
            else:
                if case.since is not None:
                    log.warning("thread moves again name=%s after=%.0fs", heart.name, now - case.since)
                    case.since = None
                if state.failing_s > FAILING_S:
                    found.append(Ailing(name=heart.name, why=f"fails again and again: {state.last_error}"))
            found += self._haunted(heart, state, case, now)
        self._act(watched, found, news, where, now)

    def _act(self, watched: Iterable[Heart], found: list[Ailing], news: list[ThreadState], where: Places,
             now: float) -> None:
        """Halt entries first, then bring back what can be had back; the disk, which may hang, comes last."""
        if tuple(found) != self.ailing:
            self.ailing = tuple(found)
            self._tell(self.ailing)
        for heart in watched:
            case = self._cases[id(heart)]
            if case.since is not None:
                self._treat(heart, case, now)
        for state in news:
            log.error("thread stuck name=%s at=%s %s for=%.0fs stacks=%s", state.name, state.kind, state.what,
                      max(state.for_s, state.task_s), self._path)
        if news:
            append(self._path, self._report(f"stuck: {', '.join(state.name for state in news)}", where))

    def _raise_the_dead(self, heart: Heart, state: ThreadState, case: _Case, now: float) -> list[Ailing]:
        """Start it again; one that cannot be started is treated like one that is stuck."""
        since, case.since = case.since, None
        if heart.ended:
            return []                          # it ended by itself, a moment ago
        if heart.revive is None:
            return [Ailing(name=heart.name, why="has died")]
        try:
            heart.revive()
        except Exception as error:  # noqa: BLE001 - all others are to be seen to
            case.since = now if since is None else since
            log.error("thread died and cannot be started again name=%s error=%s", heart.name, error)
            return [Ailing(name=heart.name, why=f"has died and cannot be started again: {error}")]
        log.error("thread died, started again name=%s last_error=%s", heart.name, state.last_error or "none")
        return []

    def _haunted(self, heart: Heart, state: ThreadState, case: _Case, now: float) -> list[Ailing]:
        """A thread that was given up on and goes on all the same is trouble too, for so long and no longer."""
        if not state.given_up:
            case.haunted_since = None
            return []
        case.haunted_since = case.haunted_since or now
        if heart.vital_s is not None and now - case.haunted_since > HAUNTED_S:
            self._give_up(heart, "was replaced, and the one before will not end")
        return [Ailing(name=heart.name, why="was stuck and replaced; the one before still runs")]

    def _treat(self, heart: Heart, case: _Case, now: float) -> None:
        assert case.since is not None
        case.replaced = [moment for moment in case.replaced if now - moment <= REPLACED_WITHIN_S]
        may_be_replaced = len(case.replaced) < MOST_REPLACED and not _is_entangled(heart)
        if may_be_replaced and _is_replaced(heart):
            case.replaced.append(now)
            case.since = None
            log.critical("thread stuck and replaced by another name=%s", heart.name)
            return
        if heart.vital_s is not None and now - case.since >= heart.vital_s:
            self._give_up(heart, f"is {'stuck' if heart.state().alive else 'dead'} and cannot be replaced")

    # ---- ending ---------------------------------------------------------------------------------

    def _give_up(self, heart: Heart, why: str) -> None:
        """End RAD: in order if the main thread can, else at once."""
        if self.given_up:
            return
        self.given_up = f"{heart.name} {why}"
        log.critical("%s: ending to be started again", self.given_up)
        if heart.thread is threading.main_thread():
            self._end_now()
        else:
            self._stop.set()

    def _see_it_end(self, now: float) -> None:
        """Told to end: see that it does. After giving up, a main thread behind a lock will not."""
        self._ending_since = max(self._ending_since or now, self._judged_from)
        is_behind = bool(self.given_up) and threading.main_thread().ident in lock_waits()
        self._behind = self._behind + 1 if is_behind else 0
        if now - self._ending_since > END_PATIENCE_S or self._behind >= MOST_BEHIND:
            log.critical("told to end %.0f s ago and has not: ending now", now - self._ending_since)
            self._end_now()

    def _end_now(self) -> None:
        append(self._path, self._report("ended at once", places()))
        self._flush()
        self._leave(STUCK)

    # ---- what others ask ------------------------------------------------------------------------

    def trouble(self) -> str:
        """Return why RAD is not alive enough to be left running; empty when it is. For a watchdog.

        Looks at the vital threads and at the supervisor itself, by the limits of each; waits for nothing.
        """
        vital = [heart for heart in self._watched() if heart.vital_s is not None and heart is not self.heart]
        for heart in (self.heart, *vital):
            state = heart.state(self._judged_from)
            if heart.thread is not None and not state.alive and not heart.ended:
                return f"{heart.name} has died"
            if state.is_stuck:
                return f"{heart.name} {_why_stuck(state, places())}"
        return self.given_up

    def _report(self, headline: str, where: Places) -> str:
        return report(headline, [heart.state() for heart in self._watched()], where)


def _why_stuck(state: ThreadState, where: Places) -> str:
    """Return a sentence without figures: it is the same at each look."""
    place = where.get(state.ident or 0)
    at = f"makes no progress at {state.kind} {state.what}".rstrip()
    return f"{at}: {place.words()}" if place is not None and place.words() else at


def _is_replaced(heart: Heart) -> bool:
    """Have another take its place; False if that is not provided for, or cannot be."""
    if heart.supersede is None:
        return False
    try:
        return heart.supersede()
    except Exception as error:  # noqa: BLE001 - as above
        log.error("thread cannot be replaced name=%s error=%s", heart.name, error)
        return False


def _is_entangled(heart: Heart) -> bool:
    """Whether another in its place would wait for the same lock, or for one that it holds itself."""
    ident = None if heart.thread is None else heart.thread.ident
    return ident in lock_waits() or ident in locks_held()
