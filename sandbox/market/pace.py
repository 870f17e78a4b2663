"""Requests at even distances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """Lets one caller through every *every_s* seconds, in the order they came."""

    def __init__(self, every_s: float, now_s: Callable[[], float]) -> None:
        self._every_s, self._now_s = every_s, now_s
        self._next_s = 0.0

    async def turn(self) -> None:
        """Wait for one's turn."""
        begins_s = max(self._next_s, self._now_s())
        self._next_s = begins_s + self._every_s
        await asyncio.sleep(begins_s - self._now_s())
