"""A server that says exactly what a test wants, byte by byte: the worst exchange there is."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 10.0


@dataclass(slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Scripted:
    """What arrived, and what is answered: *answer* is called with each request and the open socket."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    answer: Callable[[Asked, socket.socket], None] = lambda _asked, _peer: None
    ended: threading.Event = field(default_factory=threading.Event)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def arrive(self, asked: Asked) -> None:
        with self._arrived:
            self.asked.append(asked)
            self._arrived.notify_all()

    def await_asked(self, path: str, count: int) -> None:
        """Block until *path* was asked for *count* times."""
        def times() -> int:
            return sum(asked.path.partition("?")[0] == path for asked in self.asked)

        with self._arrived:
            assert self._arrived.wait_for(lambda: times() >= count, PATIENCE_S), f"{path} asked {times()} times"


def envelope(data: Any, **headers: str) -> bytes:
    """KuCoin's yes as a whole HTTP answer."""
    return http(json.dumps({"code": "200000", "data": data}), **headers)


def refusal(code: str, message: str = "no", *, status: int = 200, **headers: str) -> bytes:
    """KuCoin's no as a whole HTTP answer."""
    return http(json.dumps({"code": code, "msg": message}), status=status, **headers)


def http(body: str | bytes, *, status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole HTTP answer; in header names `_` stands for `-`."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Word", f"Content-Type: {content_type}", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def always(answer: bytes) -> Callable[[Asked, socket.socket], None]:
    """Answer every request with the same bytes."""
    return lambda _asked, peer: peer.sendall(answer)


def by_path(answers: dict[str, bytes | list[bytes]]) -> Callable[[Asked, socket.socket], None]:
    """Answer by the path without its query; of a list, one after another."""
    def answer(asked: Asked, peer: socket.socket) -> None:
        found = answers[asked.path.partition("?")[0]]
        peer.sendall(found if isinstance(found, bytes) else found.pop(0))

    return answer


@contextmanager
def scripted_server(answer: Callable[[Asked, socket.socket], None]) -> Iterator[Scripted]:
    """Serve on a free port of loopback until the end of the `with`; each connection in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    script = Scripted(url=f"http://127.0.0.1:{listener.getsockname()[1]}", answer=answer)
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as stream:
            try:
                while (asked := _read(stream)) is not None:
                    script.arrive(asked)
                    script.answer(asked, peer)
            except OSError:
                pass        # the client hung up: often what a test is about

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            script.connections += 1
            peers.append(peer)
            threading.Thread(target=serve, args=(peer,), name="scripted", daemon=True).start()

    accepting = threading.Thread(target=accept, name="scripted-accept", daemon=True)
    accepting.start()
    try:
        yield script
    finally:
        script.ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for peer in peers:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        accepting.join(PATIENCE_S)


def _read(stream: Any) -> Asked | None:
    first = stream.readline().decode().split()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Asked(first[0], first[1], headers, stream.read(int(headers.get("content-length", 0))))
