"""Saying that something still goes on, when it takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_WORD_S = 2.0
NEXT_WORD_S = 10.0


@contextmanager
def waiting(doing: str) -> Iterator[None]:
    """While the body runs longer than two seconds, say so on stderr now and then."""
    done = threading.Event()

    def speak() -> None:
        waited, pause = 0.0, FIRST_WORD_S
        while not done.wait(pause):
            waited, pause = waited + pause, NEXT_WORD_S
            print(f"rad: {doing}, {waited:.0f} s", file=sys.stderr, flush=True)

    speaker = threading.Thread(target=speak, name="patience", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()
