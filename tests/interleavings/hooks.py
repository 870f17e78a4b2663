"""What RAD's locks, Conditions, events and threads do under the scheduler, in place of blocking.

The classes themselves are hooked while orders are explored, and only for threads under the scheduler: RAD's own
code runs, with RAD's own locks, which keep their books as ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from runtime import deadline
from runtime.locks import NamedLock
from tests.interleavings.scheduler import Run, Task

_monotonic, _sleep = time.monotonic, time.sleep
Condition, Event, Thread = threading.Condition, threading.Event, threading.Thread


def controlled() -> tuple[Run, Task] | None:
    """Return the run and the task of the calling thread; None if nobody schedules it."""
    run = Run.active
    task = run.task() if run is not None else None
    return None if run is None or task is None else (run, task)


class Hooks:
    """The originals, and what takes their place."""

    def __init__(self) -> None:
        self._originals = {
            (kind, name): kind.__dict__[name]
            for kind, names in {
                NamedLock: ("acquire", "release", "__enter__", "__exit__"),
                Condition: ("wait", "wait_for", "notify", "notify_all"),
                Event: ("is_set", "set", "clear", "wait"),
                Thread: ("start", "join", "is_alive"),
            }.items()
            for name in names
        }

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hook the classes for as long as this lasts."""
        for (kind, name), original in self._originals.items():
            setattr(kind, name, self._hooked(getattr(self, f"_{kind.__name__}_{name.strip('_')}"), original))
        with (
            patch.object(time, "monotonic", self._hooked_time), patch.object(time, "sleep", self._hooked_sleep),
            patch.object(deadline, "monotonic", self._hooked_time),
        ):
            try:
                yield
            finally:
                for (kind, name), original in self._originals.items():
                    setattr(kind, name, original)

    @staticmethod
    def _hooked(instead: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            under = controlled()
            if under is None:
                return original(self, *args, **kwargs)
            return instead(*under, self, *args, **kwargs)

        return method

    # ---- time ------------------------------------------------------------------------------------

    @staticmethod
    def _hooked_time() -> float:
        under = controlled()
        if under is None:
            return _monotonic()
        run, _ = under
        run.saw("time", run.now)
        return run.now

    @staticmethod
    def _hooked_sleep(seconds: float) -> None:
        under = controlled()
        if under is None:
            return _sleep(seconds)
        run, _ = under
        until = run.now + seconds
        run.switch(f"sleeps {seconds:g} s", lambda: run.now >= until, until)
        run.saw("time", run.now)
        return None

    # ---- locks -----------------------------------------------------------------------------------

    def _NamedLock_acquire(
        self, run: Run, task: Task, lock: NamedLock, blocking: bool = True, timeout: float = -1
    ) -> bool:
        if lock.name == run.without:
            return True
        if id(lock) in run.holders and run.holders[id(lock)] is task:
            return self._take(run, task, lock)          # RAD's own lock says what it thinks of that
        until = run.now + timeout if blocking and timeout >= 0 else None
        run.switch(
            f"takes {lock.name}",
            lambda: id(lock) not in run.holders or not blocking or (until is not None and run.now >= until), until,
        )
        return id(lock) not in run.holders and self._take(run, task, lock)

    def _take(self, run: Run, task: Task, lock: NamedLock) -> bool:
        task.is_inside = True
        taken = bool(self._originals[NamedLock, "acquire"](lock, False))
        task.is_inside = False
        run.met_lock(run.name_of(lock, "lock"))
        run.holders[id(lock)] = task
        return taken

    def _NamedLock_release(self, run: Run, task: Task, lock: NamedLock) -> None:
        if lock.name != run.without:
            task.is_inside = True
            self._originals[NamedLock, "__exit__"](lock, None, None, None)
            task.is_inside = False
            run.holders.pop(id(lock), None)
            run.left_lock(run.name_of(lock, "lock"))

    def _NamedLock_enter(self, run: Run, task: Task, lock: NamedLock) -> bool:
        return self._NamedLock_acquire(run, task, lock)

    def _NamedLock_exit(self, run: Run, task: Task, lock: NamedLock, *_: object) -> None:
        self._NamedLock_release(run, task, lock)

    # ---- Conditions ------------------------------------------------------------------------------

    def _Condition_wait(self, run: Run, task: Task, condition: Any, timeout: float | None = None) -> bool:
        lock = condition._lock
        is_real = getattr(lock, "name", None) != run.without
        if is_real and run.holders.get(id(lock)) is not task:
            raise RuntimeError("cannot wait on un-acquired lock")
        name = run.name_of(condition, "bell")
        if not is_real:
            run.switch(f"is about to wait for {name}")
        queue = run.waiters.setdefault(id(condition), [])
        run.changes(name)
        queue.append(task)
        task.notified = False
        until = None if timeout is None else run.now + max(0.0, timeout)
        if is_real:
            self._NamedLock_release(run, task, lock)

        def may_go_on() -> bool:
            is_called = task.notified or (until is not None and run.now >= until)
            return is_called and not (is_real and id(lock) in run.holders)

        try:
            run.switch(f"waits for {name}", may_go_on, until)
        finally:
            run.changes(name)
            if task in queue:
                queue.remove(task)
            if is_real:
                self._take(run, task, lock)
        if until is not None:
            run.saw("time", run.now)
        was_notified, task.notified = task.notified, False
        return was_notified

    def _Condition_wait_for(
        self, run: Run, task: Task, condition: Any, predicate: Callable[[], Any], timeout: float | None = None
    ) -> Any:
        until = None if timeout is None else run.now + timeout
        while not (met := predicate()):
            if until is not None and run.now >= until:
                break
            self._Condition_wait(run, task, condition, None if until is None else until - run.now)
        return met

    def _Condition_notify(self, run: Run, task: Task, condition: Any, n: int = 1) -> None:
        lock = condition._lock
        if not isinstance(lock, NamedLock):             # in a queue of the library's: nobody here waits for it
            self._originals[Condition, "notify"](condition, n)
            return
        if getattr(lock, "name", None) == run.without:
            run.switch(f"rings {run.name_of(condition, 'bell')}")
        elif run.holders.get(id(lock)) is not task:
            raise RuntimeError("cannot notify on un-acquired lock")
        queue = run.waiters.setdefault(id(condition), [])
        run.changes(run.name_of(condition, "bell"))
        for waiter in queue[:n]:
            waiter.notified = True
        del queue[:n]

    def _Condition_notify_all(self, run: Run, task: Task, condition: Any) -> None:
        self._Condition_notify(run, task, condition, len(run.waiters.get(id(condition), ())))

    # ---- events ----------------------------------------------------------------------------------

    def _Event_is_set(self, run: Run, task: Task, event: Any) -> bool:
        name = run.name_of(event, "event")
        run.switch(f"looks at {name}")
        run.touch(name, lambda: event._flag, reads=True)
        return bool(event._flag)

    def _Event_set(self, run: Run, task: Task, event: Any) -> None:
        self._flag(run, task, event, "sets", True)

    def _Event_clear(self, run: Run, task: Task, event: Any) -> None:
        self._flag(run, task, event, "clears", False)

    def _flag(self, run: Run, task: Task, event: Any, doing: str, flag: bool) -> None:
        name = run.name_of(event, "event")
        run.switch(f"{doing} {name}")
        run.touch(name, lambda: event._flag, reads=False)
        event._flag = flag

    def _Event_wait(self, run: Run, task: Task, event: Any, timeout: float | None = None) -> bool:
        name = run.name_of(event, "event")
        until = None if timeout is None else run.now + max(0.0, timeout)
        run.switch(f"waits for {name}", lambda: event._flag or (until is not None and run.now >= until), until)
        run.touch(name, lambda: event._flag, reads=True)
        if until is not None:
            run.saw("time", run.now)
        return bool(event._flag)

    # ---- threads ---------------------------------------------------------------------------------

    def _Thread_start(self, run: Run, task: Task, thread: threading.Thread) -> None:
        task.is_inside = True
        try:
            run.adopt(thread)
        finally:
            task.is_inside = False

    def _Thread_join(self, run: Run, task: Task, thread: threading.Thread, timeout: float | None = None) -> None:
        other = run.task_of(thread)
        until = None if timeout is None else run.now + max(0.0, timeout)
        run.switch(
            f"joins {thread.name}",
            lambda: other is None or other.done or (until is not None and run.now >= until), until,
        )
        run.touch(f"life of {thread.name}", lambda: other is None or other.done, reads=True)

    def _Thread_is_alive(self, run: Run, task: Task, thread: threading.Thread) -> bool:
        other = run.task_of(thread)
        run.switch(f"looks after {thread.name}")
        run.touch(f"life of {thread.name}", lambda: other is None or other.done, reads=True)
        return other is not None and not other.done
