"""Threads brought to a standstill in every way there is, and somebody who looks at them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.heartbeat import Heart, hearts
from runtime.supervisor import Ailing, Supervisor
from tests.manual_clock import ManualClock

PATIENCE_S = 20.0


def until(is_so: Callable[[], object], what: str = "it") -> None:
    """Return once *is_so* says so; a thread's state is looked at from outside, so nobody rings a bell."""
    pause, give_up = threading.Event(), time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > give_up:
            raise AssertionError(f"{what} has not come about in {PATIENCE_S:g} s")
        pause.wait(0.002)


def heart_of(name: str) -> Heart:
    """Return the youngest heart of that name: threads of earlier tests may still be there."""
    found = [heart for heart in hearts() if heart.name == name]
    assert found, f"no thread {name} gives signs of life"
    return max(found, key=lambda heart: heart._beat_at)


class Onlooker:
    """A watch over some hearts on a clock of the test's, and everything it said and did."""

    def __init__(self, folder: Path, clock: ManualClock, *watched: Heart) -> None:
        self.clock = clock
        self.stop = threading.Event()
        self.told: list[tuple[Ailing, ...]] = []
        self.left_with: list[int] = []
        self.path = folder / "stacks.log"
        for heart in watched:
            heart._monotonic = clock.monotonic
            heart._failing_since = None
            heart._beat_at = clock.monotonic()
            heart._doing = heart._doing._replace(since=clock.monotonic(), task_since=clock.monotonic())
        self.supervisor = Supervisor(
            self.path, clock, self.stop, tell=self.told.append, leave=self.left_with.append,
            watched=lambda: watched,
        )

    def after(self, seconds: float) -> dict[str, str]:
        """Let *seconds* pass in steps no longer than a look's, and return the troubles after that."""
        while seconds > 0:
            step = min(1.0, seconds)
            seconds -= step
            self.clock.advance(step)
            self.supervisor.look()
        return {ailing.name: ailing.why for ailing in self.supervisor.ailing}

    @property
    def stacks(self) -> str:
        """What was written to the folder."""
        return self.path.read_text() if self.path.exists() else ""


@contextmanager
def held(lock: Any) -> Iterator[threading.Event]:
    """A thread `holder` takes *lock* and keeps it until the block ends, or the event is set."""
    taken, leave = threading.Event(), threading.Event()

    def keep() -> None:
        with lock:
            taken.set()
            leave.wait(PATIENCE_S)

    thread = threading.Thread(target=keep, name="holder", daemon=True)
    thread.start()
    assert taken.wait(PATIENCE_S)
    try:
        yield leave
    finally:
        leave.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
