"""Those who ask for much and take little of it: neither their places nor the memory are theirs for ever."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from control import doors
from control.page import CHARTS, charts_file
from control.server import ControlServer
from tests.control.fake_steering import FakeSteering
from tests.control.visitor import PATIENCE_S, nobody, serving

ASKED = f"GET /static/{CHARTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def asks_and_does_not_read(server: ControlServer, room: int = 2048) -> socket.socket:
    """Return a connection of somebody who has asked for the longest answer there is, and takes none of it."""
    kept = nobody(server).connect()
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    wire.settimeout(PATIENCE_S)
    wire.connect((kept.host, kept.port))
    wire.sendall(ASKED)
    return wire


def test_who_does_not_read_keeps_no_place_and_no_memory(
    steering: FakeSteering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All places are taken by such, without the token; soon others are let in, and little was kept for any."""
    monkeypatch.setattr(doors, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(doors, "READ_S", 0.3)
    kept: list[int] = []
    look = doors._Visitor._look

    def noted(visitor: doors._Visitor, *before: float) -> None:
        assert visitor._transport is not None
        kept.append(visitor._transport.get_write_buffer_size())
        look(visitor, *before)

    monkeypatch.setattr(doors._Visitor, "_look", noted)
    with serving(steering, tmp_path) as server:
        crowd = [asks_and_does_not_read(server) for _ in range(4)]
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                assert nobody(server).get("/healthz").status == 200
                break
            except ConnectionError:
                assert time.monotonic() < give_up
        assert kept
        assert max(kept) < 512 * 1024              # of nearly five million
        for wire in crowd:
            wire.close()


def test_who_reads_slowly_is_told_all(
    steering: FakeSteering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Piece by piece, to the last byte; the shortest way to ask, for the head alone, is answered as well."""
    file = charts_file()
    assert file is not None
    with serving(steering, tmp_path) as server:
        wire = asks_and_does_not_read(server, room=64 * 1024)
        told = b""
        while len(told) < file.stat().st_size:
            told += wire.recv(1 << 16)
        head, _, rest = told.partition(b"\r\n\r\n")
        while len(rest) < file.stat().st_size:
            rest += wire.recv(1 << 16)
        assert b"Content-Type: text/javascript; charset=utf-8" in head
        assert rest == file.read_bytes()
        wire.sendall(ASKED.replace(b"GET", b"HEAD", 1) + ASKED.replace(CHARTS.encode(), b"page.css"))
        wire.close()
        heard = nobody(server).ask("HEAD", f"/static/{CHARTS}")
        assert (heard.status, heard.body) == (200, b"")
        assert heard.headers["Content-Length"] == str(file.stat().st_size)


class _Wire(asyncio.Transport):
    """A transport of which the other side takes as much as it is told."""

    def __init__(self, left: list[int]) -> None:
        super().__init__()
        self._left = left
        self.is_over = asyncio.Event()
        self.is_cut = False

    def get_write_buffer_size(self) -> int:
        if len(self._left) == 1:
            self.is_over.set()
        return self._left.pop(0)

    def abort(self) -> None:
        self.is_cut = True


@pytest.mark.parametrize(("left", "is_cut"), [
    ([1_000_000, 900_000, 799_000, 798_000], True),
    ([1_000_000, 999_999], True),
    ([1_000_000, 900_000, 800_000, 700_000], False),
])
def test_slow_is_not_standing_still(monkeypatch: pytest.MonkeyPatch, left: list[int], is_cut: bool) -> None:
    """At each look there has to be less than at the one before, by an amount that ends some day."""
    monkeypatch.setattr(doors, "READ_S", 0.0)

    async def watch() -> bool:
        wire = _Wire(list(left))
        visitor = doors._Visitor(asyncio.Protocol(), {})
        visitor.connection_made(wire)
        visitor.pause_writing()
        await wire.is_over.wait()
        visitor.resume_writing()
        return wire.is_cut

    assert asyncio.run(watch()) is is_cut
