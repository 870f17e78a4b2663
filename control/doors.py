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
    """One connection, counted from its first moment to its last; *protocol* does the talking."""

    def __init__(self, protocol: asyncio.Protocol, inside: dict[_Visitor, float]) -> None:
        self._inside = inside
        self._protocol = protocol
        self.data_received = protocol.data_received  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inside[self] = float("inf")
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inside.pop(self, None)
        self._protocol.connection_lost(exc)
