"""Connections of the API: how many it keeps, and what is said to those who do not speak HTTP.

Each is a file handle, which the wire to the exchange needs too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from control.answers import refusal
from control.guard import add_headers

log = logging.getLogger("control")

MOST_CONNECTIONS = 64
HANDSHAKE_S = 10.0           # after which asyncio itself closes whoever does not encrypt
READ_S = 15.0                # in which whoever is told much takes at least ...
LEAST_READ = 32 * 1024       # ... so many bytes of it


class Doors:
    """Makes the protocol of each connection, and turns away those that are too many. In the loop's thread."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol
        self._inside: dict[_Visitor, float] = {}       # until when one that has not come in yet is counted

    def __call__(self) -> asyncio.Protocol:
        now = asyncio.get_running_loop().time()
        for visitor, until in list(self._inside.items()):
            if until < now:                            # never came in: its handshake failed
                del self._inside[visitor]
        if len(self._inside) >= MOST_CONNECTIONS:
            return _TurnedAway()
        visitor = _Visitor(self._protocol(), self._inside)
        self._inside[visitor] = now + HANDSHAKE_S
        return visitor


class Talk(web.RequestHandler):
    """One connection's HTTP. What is none is answered as everything else is, and not worth a line in the log."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return why not; never what was inside."""
        if not isinstance(exc, HttpProcessingError):
            log.error("connection failed", exc_info=exc)
        response = refusal(status, "this is not HTTP as it is spoken here")
        add_headers(response)
        response.force_close()
        return response


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()


class _Visitor(asyncio.Protocol):
    """One connection, counted from its first moment to its last; *protocol* does the talking.

    Whoever asks and does not take the answer would keep its place, and the answer in memory, for ever.
    """

    def __init__(self, protocol: asyncio.Protocol, inside: dict[_Visitor, float]) -> None:
        self._inside = inside
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        self._next_look: asyncio.TimerHandle | None = None     # at what it has taken; while there is something
        self.data_received = protocol.data_received  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._inside[self] = float("inf")
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inside.pop(self, None)
        self._look_no_more()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()
        self._look()

    def resume_writing(self) -> None:
        self._look_no_more()
        self._protocol.resume_writing()

    def _look(self, left_before: float = float("inf")) -> None:
        assert self._transport is not None
        left = self._transport.get_write_buffer_size()
        if left > left_before - LEAST_READ:
            self._transport.abort()
        else:
            self._next_look = asyncio.get_running_loop().call_later(READ_S, self._look, left)

    def _look_no_more(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
