"""The end of the process, for which nobody is waited any more."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process now, with *code*.

    Python itself would first wait for each thread of an executor, however long its call takes: a connection's
    event loop has the names it connects to looked up in one, and nobody can interrupt the system's resolver.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):       # whoever read it has gone
            stream.flush()
    os._exit(code)
