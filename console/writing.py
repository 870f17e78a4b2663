"""Files written whole or not at all, several together, and secret ones secret from their first byte."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from console.failure import Failure
from control.steering import ERROR

SECRET, PUBLIC = 0o600, 0o644
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A file to be: *mode* where it is new; one that is there keeps its own, unless this is stricter."""

    path: Path
    text: str
    mode: int = PUBLIC


def write_all(drafts: Sequence[Draft]) -> None:
    """Write every draft beside its place, then put all in place; whatever goes wrong before that changes nothing.

    Raises:
        Failure: a folder cannot be written.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for draft in drafts:
            fresh = draft.path.with_name(f".{draft.path.name}.{os.getpid()}.new")
            written.append((fresh, draft.path))
            _write(fresh, draft)
        with _undisturbed():
            for fresh, path in written:
                fresh.replace(path)
    except OSError as error:
        raise Failure(f"cannot write {error.filename or drafts[0].path}: {error.strerror}", ERROR) from None
    finally:
        for fresh, _ in written:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def _write(fresh: Path, draft: Draft) -> None:
    fresh.unlink(missing_ok=True)
    known = draft.path.stat() if draft.path.exists() else None
    mode = draft.mode if known is None else draft.mode & known.st_mode & 0o777
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        if known is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), known.st_uid, known.st_gid)
        file.write(draft.text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and its like wait until the body is done: of two files there is never one.

    By handlers and not by a mask: any thread may receive a signal, and a mask is one thread's alone.
    """
    caught: list[int] = []
    before = {number: signal.signal(number, lambda caught_one, _: caught.append(caught_one)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    for late in dict.fromkeys(caught):
        signal.raise_signal(late)
