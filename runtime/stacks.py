"""All threads' stacks as text, each with what it is at, the lock it waits for, and who holds that."""

from __future__ import annotations

import linecache
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

from runtime.heartbeat import ThreadState
from runtime.locks import assert_no_lock_held, lock_waits, locks_held

MOST_BYTES = 2_000_000     # of the file, before it becomes `stacks.log.1`
_OURS = f"{Path(__file__).resolve().parents[1]}/"
_BEGINNINGS = ("_bootstrap", "_bootstrap_inner", "run", "_live")
_LIBRARY = f"{Path(threading.__file__).parent}/"
_SAY_NOTHING = tuple(
    f"{_OURS}{name}" for name in (".venv/", "runtime/clock.py", "runtime/locks.py", "runtime/heartbeat.py")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a thread stands, and in whose way."""

    ident: int
    name: str
    at: str                        # file:line function, the innermost of ours
    frames: tuple[tuple[str, int, str], ...]     # file, line, function; the outermost first
    waits_for: str                 # name of a lock; empty for none
    held_by: str                   # name of the thread that holds it
    holds: tuple[str, ...]         # names of locks

    def words(self) -> str:
        """Return the locks it waits for and holds as half a sentence; empty without any."""
        said = [f"waits for lock {self.waits_for}, held by {self.held_by}"] if self.waits_for else []
        said += [f"holds lock {', '.join(self.holds)}"] if self.holds else []
        return "; ".join(said)

    def stack(self) -> list[str]:
        """Return a line for each frame, with its source: which is read from the disk."""
        return [
            f"{_short(file)}:{line} {function}: {linecache.getline(file, line).strip()}".rstrip(": ")
            for file, line, function in self.frames
        ]


def places() -> dict[int, Place]:
    """Return where every thread of the process stands, by ident.

    Waits for no lock of RAD's and no disk, so it can be asked whatever hangs.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    waits, held = lock_waits(), locks_held()
    found = {}
    for ident, frame in sys._current_frames().items():
        frames = _frames(frame)
        lock, holder = waits.get(ident, ("", None))
        found[ident] = Place(
            ident=ident,
            name=names.get(ident, str(ident)),
            at=_innermost(frames),
            frames=frames,
            waits_for=lock,
            held_by=names.get(holder, "nobody any more") if lock else "",
            holds=held.get(ident, ()),
        )
    return found


def report(headline: str, states: Iterable[ThreadState], found: dict[int, Place]) -> str:
    """Return every thread's stack under *headline*, those of *states* with what they are at."""
    by_ident = {state.ident: state for state in states}
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = [f"=== {moment} {headline}"]
    for place in sorted(found.values(), key=lambda place: place.name):
        state = by_ident.get(place.ident)
        at = f", {state.kind} {state.what} for {state.for_s:.1f} s".replace("  ", " ") if state is not None else ""
        locks = f", {place.words()}" if place.words() else ""
        parts.append("\n".join([f"--- {place.name}{at}{locks}", *place.stack()]))
    return "\n".join(parts) + "\n\n"


def opened(path: Path) -> TextIO:
    """Return the file, its owner's alone, to write at its end; may raise OSError."""
    assert_no_lock_held("opening stacks")
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")


def append(path: Path, text: str) -> None:
    """Add *text* to the file, its owner's alone and of bounded size; where it takes nothing, to stderr."""
    assert_no_lock_held("writing stacks")
    try:
        if path.exists() and path.stat().st_size > MOST_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        with opened(path) as file:
            file.write(text)
    except OSError as error:
        print(f"{path} cannot be written ({error.strerror}); the stacks:\n{text}", file=sys.stderr, flush=True)


def _frames(innermost: FrameType) -> tuple[tuple[str, int, str], ...]:
    """Return a thread's frames without those that every thread begins with."""
    found = []
    frame: FrameType | None = innermost
    while frame is not None:
        code = frame.f_code
        if code.co_name not in _BEGINNINGS or not code.co_filename.endswith(("/threading.py", "/heartbeat.py")):
            found.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return tuple(reversed(found))


def _innermost(frames: tuple[tuple[str, int, str], ...]) -> str:
    """Return the innermost place in code of ours that says something: not the clock it waits by."""
    for file, line, function in reversed(frames):
        if file.startswith(_OURS) and not file.startswith(_SAY_NOTHING):
            return f"{_short(file)}:{line} {function}"
    if not frames:
        return "not begun"
    file, line, function = frames[-1]
    return f"{_short(file)}:{line} {function}"


def _short(file: str) -> str:
    return file.removeprefix(_OURS).removeprefix(_LIBRARY)
