"""Somebody who talks to a control server over a real socket: a program with the token, a browser, or nobody."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from control.server import ControlServer
from control.steering import Steering

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Visitor:
    """Asks with *headers* of its own each time."""

    server: ControlServer
    headers: dict[str, str] = field(default_factory=dict)
    _kept: HTTPConnection | None = None          # for the next request

    def connect(self) -> HTTPConnection:
        assert self.server.address is not None
        to = urlsplit(self.server.address.url)
        return HTTPConnection(to.hostname or "", to.port, timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: Any = None, **more: str) -> Heard:
        """One request; *body* as it is if text or bytes, else as JSON. A header's dashes are underscores here."""
        headers = self.headers | {name.replace("_", "-"): value for name, value in more.items()}
        raw = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        connection, self._kept = self._kept or self.connect(), None
        connection.request(method, path, raw, headers)
        answered = connection.getresponse()
        heard = Heard(status=answered.status, headers=dict(answered.getheaders()), body=answered.read())
        if answered.will_close:
            connection.close()
        else:
            self._kept = connection
        return heard

    def __del__(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def get(self, path: str, **more: str) -> Heard:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: str) -> Heard:
        return self.ask("POST", path, {} if body is None else body, **more)

    def raw(self, text: bytes) -> bytes:
        """Send bytes that need not be HTTP; return all that comes back until the server hangs up."""
        connection = self.connect()
        with socket.create_connection((connection.host, connection.port), timeout=PATIENCE_S) as wire:
            wire.sendall(text)
            found = b""
            while piece := wire.recv(65536):
                found += piece
        return found


def nobody(server: ControlServer) -> Visitor:
    """One without the token."""
    return Visitor(server)


def program(server: ControlServer) -> Visitor:
    """One with the token."""
    assert server.address is not None
    return Visitor(server, {"Authorization": f"Bearer {server.address.token}"})


def browser(server: ControlServer, *, csrf: bool = True) -> Visitor:
    """One that has logged in; *csrf*: and whose page says with each command what log-in answered."""
    assert server.address is not None
    heard = nobody(server).post("/api/login", {"token": server.address.token})
    assert heard.status == 200
    headers = {"Cookie": heard.headers["Set-Cookie"].partition(";")[0]}
    return Visitor(server, headers | ({"X-RAD-CSRF": heard.json["csrf"]} if csrf else {}))


@contextmanager
def serving(steering: Steering, folder: Path, **options: Any) -> Iterator[ControlServer]:
    """A server for the length of a `with`; its end is awaited."""
    server = ControlServer(steering, data_dir=folder, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert not server.alive


class Stream:
    """The server-sent events of one connection, message by message."""

    def __init__(self, visitor: Visitor, **more: str) -> None:
        self._connection = visitor.connect()
        headers = {"Accept": "text/event-stream", **visitor.headers}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        self._connection.request("GET", "/api/events", headers=headers)
        self.answer = self._connection.getresponse()
        self._unread = b""

    def next(self) -> dict[str, str] | None:
        """Return the fields of the next message; None at the end, also one in the middle of a message."""
        while b"\n\n" not in self._unread:
            try:
                piece = self.answer.read1(1 << 20)
            except (HTTPException, ConnectionError):
                piece = b""
            if not piece:
                return None
            self._unread += piece
        text, _, self._unread = self._unread.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in text.decode().splitlines())
        return fields if "data" in fields else self.next()

    def until(self, kind: str) -> Any:
        """Return the facts of the next message of that kind."""
        while (found := self.next()) is not None:
            if found["event"] == kind:
                return json.loads(found["data"])
        raise AssertionError(f"the stream ended before a message of kind {kind}")

    def close(self) -> None:
        self.answer.close()
        self._connection.close()
