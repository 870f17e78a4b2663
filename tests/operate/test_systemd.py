"""What systemd is told: over a real socket, at the right moments, and nothing when nobody makes progress."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.service import FAILING_S, GRACE_S, Service
from runtime import systemd
from runtime.heartbeat import Doing, Heart
from sandbox.embedded import RunningSandbox
from tests.daemon_process import Daemon
from tests.manual_clock import ManualClock


class Listener:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)

    def heard(self) -> list[str]:
        """Return the lines that have come so far."""
        self.socket.setblocking(False)
        lines: list[str] = []
        while True:
            try:
                lines += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return lines

    def until(self, start: str, timeout_s: float = 60.0) -> str:
        """Return the first line from now on that begins so."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            for line in self.socket.recv(4096).decode().splitlines():
                if line.startswith(start):
                    return line


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    listening = Listener(path)
    yield listening
    listening.socket.close()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a socket, or with one that is gone, it is silence and not an error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not systemd.notify("READY=1")


def test_several_lines_are_one_message(listener: Listener) -> None:
    assert systemd.notify("READY=1", "STATUS=ä")
    assert listener.socket.recv(100) == "READY=1\nSTATUS=ä".encode()


def test_an_abstract_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's own are often such: an @ for the zero byte."""
    name = f"@rad-test-{os.getpid()}"
    listening = Listener("\0" + name[1:])
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert systemd.notify("READY=1")
    assert listening.heard() == ["READY=1"]
    listening.socket.close()


def test_a_socket_that_is_full_holds_nobody(listener: Listener) -> None:
    """A manager that does not read is no reason to wait: what does not fit is dropped."""
    answers = [systemd.notify("STATUS=" + "x" * 2000) for _ in range(2000)]
    assert not answers[-1]


@pytest.mark.parametrize(("pid", "usec", "limit_s"), [
    (None, "30000000", 30.0), ("own", "2000000", 2.0), ("1", "2000000", None), (None, None, None),
    (None, "soon", None), (None, "0", None),
])
def test_how_often_systemd_wants_to_hear(
    monkeypatch: pytest.MonkeyPatch, pid: str | None, usec: str | None, limit_s: float | None
) -> None:
    """Only when this process is meant: a child inherits the variables."""
    for name, value in (("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid), ("WATCHDOG_USEC", usec)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog_s() == limit_s


# ---- what is told when --------------------------------------------------------------------------


class Room:
    """As much of a house as the service looks at; everything is well until a test changes it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.hearts = {name: Heart(name, limit_s=5.0, monotonic=clock.monotonic)
                       for name in ("MainThread", "PositionMonitor", "Supervisor")}
        self.live, self.bare, self.held = True, [], 2
        self.troubles: list[str] = []
        self.house: Any = SimpleNamespace(
            clock=clock, supervisor=SimpleNamespace(heart=self.hearts["Supervisor"]),
            status=SimpleNamespace(phase="running", state="running"),
            stream=SimpleNamespace(is_live=lambda: self.live), unprotected=lambda: self.bare,
            account=SimpleNamespace(equity=lambda: Decimal("10012.344")), problems=lambda: self.troubles,
            redact=lambda text: text.replace("horse battery", "***"),
            manager=SimpleNamespace(snapshot=lambda: [object()] * self.held),
        )
        main, monitor, _ = self.hearts.values()
        self.service = Service(self.house, main.state, monitor.state)
        self.gone = threading.Event()
        for heart in self.hearts.values():
            heart.start(self.gone.wait)                # alive, and at something that has a limit

    def all_begin(self, but: str = "") -> None:
        """Everybody comes to the next thing, but for one."""
        for name, heart in self.hearts.items():
            if name != but:
                now = self.clock.monotonic()
                heart._doing = Doing("working", "something", now, 5.0, now, inf)

    def leave(self) -> None:
        self.gone.set()
        for heart in self.hearts.values():
            heart.thread.join(10)


@pytest.fixture
def room(clock: ManualClock) -> Iterator[Room]:
    found = Room(clock)
    yield found
    found.leave()


def test_ready_is_said_once_and_then_it_is_fed(room: Room, listener: Listener) -> None:
    """READY with the first word, a sign of life with each, the status line (no secrets in it) as it changes."""
    room.service._beat()
    assert listener.heard() == [
        "READY=1", "WATCHDOG=1", "STATUS=running, equity 10012.34 USDT, 2 open, all protected"
    ]
    room.service._beat()
    assert listener.heard() == ["WATCHDOG=1"]
    room.held, room.troubles = 0, ["exchange: does\nnot answer horse battery"]
    room.service._beat()
    assert listener.heard() == [
        "WATCHDOG=1",
        "STATUS=running, equity 10012.34 USDT, nothing open, 1 problems: exchange: does not answer ***",
    ]


@pytest.mark.parametrize("missing", ["start", "stream", "stop"])
def test_not_ready_before_all_of_it(room: Room, listener: Listener, missing: str) -> None:
    """Starting, without a stream, with a position that no stop protects: not ready, but given more time."""
    if missing == "start":
        room.house.status.phase = "starting"
    elif missing == "stream":
        room.live = False
    else:
        room.bare = ["BTC/USDT:USDT"]
    room.service._beat()
    heard = listener.heard()
    assert heard[0] == "EXTEND_TIMEOUT_USEC=120000000"
    assert not {"READY=1", "WATCHDOG=1"} & set(heard)


def test_a_start_that_hangs_gets_no_more_time(room: Room, listener: Listener) -> None:
    """The main thread makes no progress: systemd ends the start when its time is up."""
    room.house.status.phase = "starting"
    room.clock.advance(5 + GRACE_S + 1)
    room.all_begin(but="MainThread")
    room.service._beat()
    assert [line.partition("=")[0] for line in listener.heard()] == ["STATUS"]


@pytest.mark.parametrize("who", ["MainThread", "PositionMonitor", "Supervisor"])
def test_no_food_for_one_that_stands_still(room: Room, listener: Listener, who: str) -> None:
    """Whichever of the three stands still, the watchdog goes hungry; and is fed again when it goes on."""
    room.service._beat()
    listener.heard()
    room.clock.advance(5 + GRACE_S - 1)                # beyond its limit: the supervisor's turn
    room.all_begin(but=who)
    room.service._beat()
    assert "WATCHDOG=1" in listener.heard()
    room.clock.advance(2)
    room.service._beat()
    heard = listener.heard()
    assert "WATCHDOG=1" not in heard
    assert heard[0].startswith(f"STATUS={who} makes no progress")
    room.all_begin()
    room.service._beat()
    assert "WATCHDOG=1" in listener.heard()


def test_no_food_for_a_dead_monitor_or_one_that_only_fails(room: Room, listener: Listener) -> None:
    """Alive and failing in every step is no progress either."""
    room.service._beat()
    listener.heard()
    monitor = room.hearts["PositionMonitor"]
    monitor._failing_since = room.clock.monotonic()
    room.clock.advance(FAILING_S + 1)
    room.all_begin()
    room.service._beat()
    assert "has been failing" in listener.heard()[0]
    monitor._failing_since = None
    room.gone.set()
    monitor.thread.join(10)
    room.service._beat()
    assert "is dead" in listener.heard()[0]


def test_without_systemd_no_thread_runs(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    room.service.start()
    assert room.service._heart.thread is None
    room.service.stop()


# ---- a daemon that is listened to ---------------------------------------------------------------


@pytest.mark.process
def test_a_daemon_speaks_and_takes_in_its_settings_on_hangup(
    exchange: RunningSandbox, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More time, READY, signs of life; SIGHUP changes a limit or nothing at all; STOPPING at the end."""
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    file = tmp_path / "settings.yaml"
    file.write_text("positions:\n  max_open: 8\n")
    settings = {
        "EXCHANGE__FUTURES_URL": exchange.futures_url, "EXCHANGE__SPOT_URL": exchange.spot_url,
        "KUCOIN_API_KEY": exchange.key, "KUCOIN_API_SECRET": exchange.secret,
        "KUCOIN_API_PASSPHRASE": exchange.passphrase, "SCANNER__INTERVAL": "1h",
    }
    with Daemon(tmp_path, "--config", str(file), **settings) as daemon:
        listener.until("EXTEND_TIMEOUT_USEC=")
        listener.until("READY=1")
        listener.until("WATCHDOG=1", 5)
        file.write_text("positions:\n  max_open: 2\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_line(r"setting changed key=positions.max_open from=8 to=2")
        file.write_text("positions:\n  max_open: many\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_line(r"settings not reloaded, nothing has changed")
        assert daemon.end(signal.SIGTERM) == 0
    assert "STOPPING=1" in listener.heard()
