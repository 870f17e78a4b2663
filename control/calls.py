"""Threads for the blocking calls of the control API: few, named, and given up on when they hang."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from runtime.locks import assert_no_lock_held

log = logging.getLogger("control")

SLOTS = 4
MOST_ABANDONED = 16


class Urgency(IntEnum):
    """How many of the slots must be left over when such a call takes one."""

    EXIT = 0    # close, flatten, pause: always gets the last one
    ASK = 1     # snapshots
    SLOW = 2    # goes to the exchange and may take its time


class TooBusy(TimeoutError):
    """No slot came free in time: the call was certainly not made."""


class NoAnswer(TimeoutError):
    """The call was made and has not come back: it may still do what it was asked to."""


class Calls:
    """Runs blocking calls for one event loop, each in a thread named `control-<n>`.

    At most SLOTS run within their deadline. One past its deadline is abandoned: its thread ends when
    it ends, its slot goes to the next, so that hung calls do not silence the rest. When MOST_ABANDONED
    have piled up, nothing more is started; half of them are kept for what is urgent, so that questions
    which hang do not keep anybody from closing.
    """

    def __init__(self) -> None:
        # Used in the loop's thread only, so it needs no lock.
        self._busy: set[int] = set()
        self._abandoned: set[int] = set()
        self._freed = asyncio.Condition()

    async def run(self, call: Callable[[], Any], urgency: Urgency, timeout_s: float) -> Any:
        """Return what *call* returns, or raise what it raises.

        Raises:
            TooBusy: it was not made.
            NoAnswer: it is still under way after *timeout_s*.
        """
        number = await self._take(urgency, timeout_s)
        try:
            return await self._answer(self._start(call, number), number, timeout_s)
        finally:
            self._busy.discard(number)
            async with self._freed:
                self._freed.notify_all()

    async def _answer(self, answer: asyncio.Future[Any], number: int, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            if answer.done():
                return answer.result()   # its own TimeoutError, or an answer in the last instant
            self._abandoned.add(number)
            log.warning("call abandoned thread=control-%d after=%.1fs", number, timeout_s)
            raise NoAnswer(f"no answer within {timeout_s:g} s") from None

    async def _take(self, urgency: Urgency, timeout_s: float) -> int:
        most_abandoned = MOST_ABANDONED if urgency is Urgency.EXIT else MOST_ABANDONED // 2

        def has_room() -> bool:
            return len(self._busy) + urgency < SLOTS and len(self._abandoned) < most_abandoned

        try:
            async with asyncio.timeout(timeout_s), self._freed:
                await self._freed.wait_for(has_room)
        except TimeoutError:
            raise TooBusy("the daemon is busy with other calls; nothing was done") from None
        taken = self._busy | self._abandoned
        number = next(n for n in range(SLOTS + MOST_ABANDONED) if n not in taken)
        self._busy.add(number)
        return number

    def _start(self, call: Callable[[], Any], number: int) -> asyncio.Future[Any]:
        assert_no_lock_held("starting a thread")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def finish(result: Any, error: BaseException | None) -> None:
            self._abandoned.discard(number)
            if answer.cancelled():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)
                answer.exception()   # an abandoned one is nobody's to read: no "never retrieved"

        def work() -> None:
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                error = raised
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:
                pass   # the loop has closed: nobody waits any more

        try:
            threading.Thread(target=work, name=f"control-{number}", daemon=True).start()
        except RuntimeError as error:
            raise TooBusy(f"no thread is left for it ({error}); nothing was done") from None
        return answer
