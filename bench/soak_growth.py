"""Whether something grows: the line that fits best, how sure of it one may be, and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean

BLOCKS = 20                    # neighbouring looks say the same: the line is fitted to their means
FEWEST = 3                     # blocks a line with an uncertainty can be fitted to
SURE = 2.0                     # standard errors
MB = 1_000_000
KB = 1_000
Look = tuple[float, float]     # when (or after how many trades), and how much

FLAT, GROWS, BOUNDED, UNDECIDED = "flat", "grows", "bounded", "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How one figure went: its slope per unit of what it was looked at by, and twice its standard error."""

    slope: float
    error: float
    first: float
    last: float
    highest: float
    curve: tuple[float, ...]   # the means it was fitted to

    def verdict(self, bound: float) -> str:
        """Return flat if it surely grows by no more than *bound*, grows if surely by more, else undecided."""
        if self.slope + self.error <= bound:
            return FLAT
        return GROWS if self.slope - self.error > bound else UNDECIDED


def trend(looks: Sequence[Look]) -> Trend:
    """Fit a line by least squares to the means of blocks of *looks*, which are in the order they were taken."""
    blocks = _blocks(looks)
    middle, level = mean(x for x, _ in blocks), mean(y for _, y in blocks)
    spread = sum((x - middle) ** 2 for x, _ in blocks)
    slope = sum((x - middle) * (y - level) for x, y in blocks) / spread if spread else 0.0
    left = sum((y - level - slope * (x - middle)) ** 2 for x, y in blocks)
    error = SURE * sqrt(left / (len(blocks) - 2) / spread) if spread and len(blocks) >= FEWEST else float("inf")
    values = [y for _, y in looks]
    return Trend(slope=slope, error=error, first=values[0], last=values[-1], highest=max(values),
                 curve=tuple(y for _, y in blocks))


def _blocks(looks: Sequence[Look]) -> list[Look]:
    size = max(1, len(looks) // BLOCKS)
    cut = [looks[n:n + size] for n in range(0, len(looks) - size + 1, size)]
    return [(mean(x for x, _ in block), mean(y for _, y in block)) for block in cut]


# ---- what a process has ------------------------------------------------------------------------


def rss_mb(pid: int) -> float:
    """Return the resident memory. Source: /proc/<pid>/statm, in pages."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def handles(pid: int) -> tuple[int, int]:
    """Return how many file handles are open, and how many of them are sockets."""
    count = sockets = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets += os.readlink(handle).startswith("socket:")
        except OSError:
            continue                     # closed between the two looks
        count += 1
    return count, sockets


def size(file: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
