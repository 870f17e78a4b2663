"""The C heap, kept together: a process of sixty threads that parse long answers would spread over as many heaps.

glibc gives threads heaps ("arenas") of their own, up to eight for each core, and grows the size from which a
block is given back to the system at once. What stays of one long answer in each of them is never given back: RAD
grew from 180 to 240 MB in twenty minutes with 500 pairs, with nothing more in it. Under the interpreter's lock a
second heap wins nothing.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
import os

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
