"""Memory: one C heap for all threads, and a collector that passes over what never goes away.

glibc gives threads heaps ("arenas") of their own, up to eight for each core, and grows the size from which a
block is given back to the system at once. What stays of one long answer in each of them is never given back: RAD
grew from 180 to 240 MB in twenty minutes with 500 pairs, with nothing more in it. Under the interpreter's lock a
second heap wins nothing.

The collector looks through all there is, again and again while there is more and more of it: a third of a start.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_WISHES = (
    (_ARENA_MAX, 1, "MALLOC_ARENA_MAX"),
    (_MMAP_THRESHOLD, 128 * 1024, "MALLOC_MMAP_THRESHOLD_"),     # said once, it stays where it is
    (_TRIM_THRESHOLD, 128 * 1024, "MALLOC_TRIM_THRESHOLD_"),
)


def keep_heap_together() -> bool:
    """Have the C heap be one, and long blocks given back; before threads begin. False where that is not glibc's.

    What the environment says already is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    taken = [mallopt(option, value) for option, value, name in _WISHES if name not in os.environ]
    return all(taken)


@contextmanager
def loading() -> Iterator[None]:
    """Import modules inside: the collector keeps still meanwhile, and passes over them from then on."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

