"""A house as the daemon builds it, by what the environment says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from daemon import building
from daemon.house import House
from runtime.options import RunOptions


@contextmanager
def a_built_house() -> Iterator[House]:
    """Build one; it ends with the block, and its log with it: the next test's lines are its own."""
    with building.build(RunOptions()) as house:
        assert house.logs is not None
        try:
            yield house
        finally:
            house.logs.stop()
