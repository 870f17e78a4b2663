"""Server-sent events: what a page shows, told to all who watch from one look a second."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from control.answers import Redact, as_json, refusal, without_secrets
from control.calls import Calls
from control.shared import Shared
from control.steering import TIMED_OUT, Steering
from trading.errors import RadError

log = logging.getLogger("control")

MOST_WATCHING = 16
QUEUED = 32                  # messages a watcher may be behind
INTERVAL_S = 1.0
LOOK_S = 5.0
KEPT_EVENTS = 200            # for those who come, or come again
PAST_EVENTS = 50             # told to one who comes for the first time
BUFFER = 64 * 1024           # bytes between us and the socket before a watcher is behind
RETRY_MS = 2000              # after which a browser connects again


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one moment, worded already."""

    status: bytes
    positions: bytes
    events: tuple[tuple[int, bytes], ...]      # by number


@dataclass(eq=False, slots=True)
class _Watcher:
    transport: asyncio.Transport | None
    seen: int                                  # number of the last event told
    positions: bytes = b""                     # as told last
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUED))

    def tell(self, words: bytes) -> None:
        """Queue a message; the connection is cut if too many wait already."""
        try:
            self.queue.put_nowait(words)
        except asyncio.QueueFull:
            log.info("watcher too slow, cut off behind=%d", QUEUED)
            self.end()
            if self.transport is not None:
                self.transport.abort()

    def end(self) -> None:
        """Have the watcher's handler return, whatever it was still to be told."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Streams:
    """All who watch. In the event loop's thread only; one look at a time is made, in a thread of *calls*."""

    def __init__(self, steering: Steering, calls: Calls, redact: Redact = str) -> None:
        self._steering = steering
        self._redact = redact
        self._watchers: set[_Watcher] = set()
        self._pump: asyncio.Task[None] | None = None
        self._last: Look | None = None
        self._events: deque[tuple[int, bytes]] = deque(maxlen=KEPT_EVENTS)
        self._looks = Shared(self._look, calls, LOOK_S, fresh_s=INTERVAL_S / 2)
        self._ended = False

    async def watch(self, request: web.Request, still_in: Callable[[], bool]) -> web.StreamResponse:
        """Tell one watcher everything until it goes, is too slow, or may no longer."""
        if len(self._watchers) >= MOST_WATCHING or self._ended:
            return refusal(503, f"{len(self._watchers)} are watching already", TIMED_OUT)
        watcher = _Watcher(request.transport, _last_seen(request))
        self._watchers.add(watcher)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            if watcher.transport is not None:
                watcher.transport.set_write_buffer_limits(high=BUFFER)
            await response.write(b"retry: %d\n\n" % RETRY_MS)
            self._begin(watcher)
            while (words := await watcher.queue.get()) is not None and still_in():
                await response.write(words)
        except ConnectionError:
            pass   # gone, or cut off
        finally:
            self._watchers.discard(watcher)
        return response

    async def end(self, _app: object = None) -> None:
        """Let every watcher go."""
        self._ended = True
        for watcher in list(self._watchers):
            watcher.end()
        if self._pump is not None:
            self._pump.cancel()

    def _begin(self, watcher: _Watcher) -> None:
        """Tell a newcomer what all the others know; the first to come has the looking begin."""
        if self._pump is None or self._pump.done():
            self._last = None                  # nobody has looked for a while
            self._pump = asyncio.create_task(self._run())
        elif self._last is not None:
            self._tell(watcher, self._last)

    async def _run(self) -> None:
        while self._watchers:
            try:
                seen: Look = await self._looks.get()
                self._last = seen
                self._events.extend(seen.events)
                for watcher in list(self._watchers):
                    self._tell(watcher, self._last)
            except Exception as error:  # noqa: BLE001 - the watchers stay, whatever is wrong with one look
                if not isinstance(error, RadError | TimeoutError):
                    log.exception("nothing to tell those who watch")
                silence = message("silence", {"error": self._redact(_words(error))})
                for watcher in list(self._watchers):
                    watcher.tell(silence)
            await asyncio.sleep(INTERVAL_S)

    def _tell(self, watcher: _Watcher, seen: Look) -> None:
        watcher.tell(seen.status)
        if seen.positions != watcher.positions:
            watcher.positions = seen.positions
            watcher.tell(seen.positions)
        news = [(number, words) for number, words in self._events if number > watcher.seen]
        if news:
            told = news if watcher.seen else news[-PAST_EVENTS:]
            watcher.seen = news[-1][0]
            watcher.tell(b"".join(words for _, words in told))

    def _look(self) -> Look:
        """Look once, and put it in words: not in the event loop's thread."""
        after = self._events[-1][0] if self._events else 0
        return Look(
            status=message("status", self._clean(self._steering.status())),
            positions=message("positions", self._clean(self._steering.positions())),
            events=tuple(
                (event["number"], message("event", event, event["number"]))
                for event in self._clean(self._steering.events(after, KEPT_EVENTS))
            ),
        )

    def _clean(self, facts: Any) -> Any:
        return without_secrets(facts, self._redact)


def message(kind: str, facts: Any, number: int | None = None) -> bytes:
    """Return one message of the stream; JSON has no line ends, so one line of data is enough."""
    identity = "" if number is None else f"id: {number}\n"
    return f"{identity}event: {kind}\ndata: {as_json(facts)}\n\n".encode()


def _words(error: Exception) -> str:
    if isinstance(error, RadError | TimeoutError):
        return str(error) or "timed out"
    return f"internal error {type(error).__name__}"


def _last_seen(request: web.Request) -> int:
    """Return the number of the event that a browser connecting again has seen last."""
    said = request.headers.get("Last-Event-ID", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) <= 15 else 0
