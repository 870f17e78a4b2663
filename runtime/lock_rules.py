"""What happens when a rule about locks is broken: strict, it raises; else it is told, and trading goes on."""

from __future__ import annotations

import dis
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

LOCKS = "locks"                # the logger
log = logging.getLogger(LOCKS)

DEEPEST = 15                   # frames of a stack that are told
KINDS_TOLD = 64                # different breaches; beyond that they are only counted
WATCHED = {
    "_thread.start_joinable_thread", "_thread.start_new_thread", "fcntl.flock", "fcntl.lockf", "open",
    "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate", "socket.bind",
    "socket.connect", "socket.getaddrinfo", "socket.sendto", "sqlite3.connect", "subprocess.Popen",
    "time.sleep", "urllib.Request",
}                              # audit events of the interpreter; some from Python 3.12 or 3.13 on
INSTRUCTION = 2                # bytes
_ENDS_A_WITH = dis.opmap["WITH_EXCEPT_START"]
_HOME = f"{Path(__file__).resolve().parents[1]}{os.sep}"
_OURS = {"lock_rules.py", "locks.py", "guards.py", "threading.py"}     # say nothing of who did it


class LockBreach(RuntimeError):
    """A rule about locks was broken; the text names the locks and says where."""


@dataclass(slots=True)
class _Breaches:
    strict: bool
    count: int = 0
    latest: str = ""
    times: dict[str, int] = field(default_factory=dict)


_state = _Breaches(strict=os.environ.get("RAD_LOCK_CHECK") == "1")
_watching: list[Callable[[str], None]] = []
# Bare: a breach is often one of holding a lock already. Taken again by whatever the collector puts away in
# between, if that wants to log: it would wait for itself.
_state_lock = threading.RLock()


def is_strict() -> bool:
    """Whether a breach raises."""
    return _state.strict


def make_strict(strict: bool = True) -> None:
    """From now on raise on a breach (tests), or log and count it."""
    _state.strict = strict


def breaches() -> int:
    """Return how many rules were broken since the start."""
    return _state.count


def breach_sentence() -> str:
    """Return a sentence on the rules broken since the start, for `status`; empty while there are none."""
    with _state_lock:
        count, latest = _state.count, _state.latest
    return f"lock rules broken {count} times, last: {latest}" if count else ""


def forget_breaches() -> None:
    """Begin anew, as a process does: for tests that break rules on purpose."""
    with _state_lock:
        _state.count, _state.latest = 0, ""
        _state.times.clear()


def breach(text: str, taken: Callable[[], str] = str) -> None:
    """A rule is broken by the calling thread: *text* says which; *taken* says where its lock was taken.

    In production it is logged with both stacks the 1st, 2nd, 4th, 8th … time: it may happen at each tick.
    """
    message = f"{threading.current_thread().name}: {text}"
    with _state_lock:
        _state.count += 1
        _state.latest = message
        times = _state.times.get(text, 0) + 1
        is_told = times > 1 or len(_state.times) < KINDS_TOLD
        if is_told:
            _state.times[text] = times
    if not _state.strict and (times & (times - 1) or not is_told):
        return
    stacks = f"{taken()}broken at\n{stack_of(sys._getframe(1))}"
    if _state.strict:
        raise LockBreach(f"{message}\n{stacks}")
    log.error("lock rule broken times=%d %s\n%s", times, message, stacks)


def stack_of(frame: FrameType | None, at: int | None = None) -> str:
    """Return a stack, innermost first, without reading a file; *at*: where its first frame was then."""
    lines: list[str] = []
    while frame is not None and len(lines) < DEEPEST:
        code = frame.f_code
        if lines or at is not None or os.path.basename(code.co_filename) not in _OURS:
            lines.append(f"  {place(code, frame.f_lasti if at is None else at)}")
            at = None
        frame = frame.f_back
    return "\n".join(lines)


def withs_of(frame: FrameType | None) -> str:
    """Return each `with` that a stack is in, innermost first: the interpreter's table of what ends them tells."""
    lines: list[str] = []
    while frame is not None and len(lines) < DEEPEST:
        lines += [f"  {place(frame.f_code, at)}" for at in _withs_in(frame.f_code, frame.f_lasti)]
        frame = frame.f_back
    return "\n".join(lines)


def _withs_in(code: CodeType, at: int) -> Iterator[int]:
    """Yield the last instruction before each `with`'s body that the instruction *at* is in, innermost first."""
    # What may raise, and where what is done about it begins; the interpreter promises no such table for ever.
    ranges = getattr(dis.Bytecode(code), "exception_entries", ())
    for _ in range(DEEPEST):
        handler = next((each.target for each in ranges if each.start <= at < each.end), None)
        if handler is None:
            return
        if code.co_code[handler + INSTRUCTION] == _ENDS_A_WITH:
            yield min(each.start for each in ranges if each.target == handler) - INSTRUCTION
        at = handler                       # which is inside what is around it


def place(code: CodeType, at: int) -> str:
    """Return file:line in function for the instruction *at* of *code*."""
    line = next((line for start, end, line in code.co_lines() if start <= at < end), code.co_firstlineno)
    return f"{code.co_filename.removeprefix(_HOME)}:{line} in {code.co_qualname}"


def watch_io(ask: Callable[[str], None]) -> None:
    """From now on, when strict, have *ask* look at whatever the interpreter itself opens, connects or starts.

    A net below the calls of `assert_no_lock_held`, for what nobody has thought of. It stays for good.
    """
    if not _watching:
        _watching.append(ask)
        sys.addaudithook(_look)


def _look(event: str, _arguments: object) -> None:
    if event in WATCHED and _state.strict:
        for ask in _watching:
            ask(f"{event} (seen by the interpreter)")
