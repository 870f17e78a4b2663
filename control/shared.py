"""One answer for all who ask within a second, and never more than one call for it under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from control.calls import Calls, TooBusy, Urgency

FRESH_S = 1.0


class Shared:
    """What *call* returns, kept for *fresh_s*, by default a second.

    In the event loop's thread only; *call* runs in one of *calls*.
    """

    def __init__(
        self, call: Callable[[], Any], calls: Calls, timeout_s: float, *, fresh_s: float | None = None
    ) -> None:
        self._call = call
        self._calls = calls
        self._timeout_s = timeout_s
        self._fresh_s = FRESH_S if fresh_s is None else fresh_s
        self._answer: Any = None
        self._made_at = float("-inf")
        self._making: asyncio.Task[Any] | None = None
        self._is_under_way = False             # ended by the thread that makes it, however late

    async def get(self) -> Any:
        """Return the latest answer, or a new one if that is too old.

        Raises:
            TooBusy: none could be begun, or the one before has not come back: not one more beside it.
            NoAnswer: it did not come in time.
        """
        now = asyncio.get_running_loop().time()
        if now - self._made_at < self._fresh_s:
            return self._answer
        if self._making is None:
            if self._is_under_way:
                raise TooBusy("the daemon has not answered the same question yet")
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(_looked_at)
        return await asyncio.shield(self._making)

    async def _make(self) -> Any:
        self._is_under_way = True
        try:
            self._answer = await self._calls.run(self._once, Urgency.ASK, self._timeout_s)
            self._made_at = asyncio.get_running_loop().time()
            return self._answer
        except TooBusy:
            self._is_under_way = False         # it was not even begun
            raise
        finally:
            self._making = None

    def _once(self) -> Any:
        try:
            return self._call()
        finally:
            self._is_under_way = False


def _looked_at(made: asyncio.Task[Any]) -> None:
    """Take note of a failure that nobody waits for any more: no "never retrieved"."""
    if not made.cancelled():
        made.exception()
