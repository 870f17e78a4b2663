"""The control API, over real sockets on loopback."""

from __future__ import annotations

import json
import stat
import threading
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from control.address import ControlAddress, read_address
from control.calls import MOST_ABANDONED, SLOTS
from control.listening import TOKEN_FILE, Listen
from control.server import ControlServer
from control.steering import NotFound
from tests.control.fake_steering import POSITION, FakeSteering
from trading.errors import ConfigError, OrderRejected, OutcomeUnknown, RadError


def send(
    server: ControlServer,
    path: str,
    body: Any = None,
    *,
    token: str | None = "right",
    host: str | None = None,
    method: str | None = None,
) -> tuple[int, Any]:
    """One request; returns HTTP status and the JSON answered."""
    address = server.address
    assert address is not None
    to = urlsplit(address.url)
    headers = {}
    if token is not None:
        headers["Authorization"] = f"Bearer {address.token if token == 'right' else token}"
    if host is not None:
        headers["Host"] = host
    connection = HTTPConnection(to.hostname or "", to.port, timeout=10)
    try:
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, text, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_address_is_written_for_the_owner_alone(server: ControlServer, tmp_path: Path) -> None:
    """control.json says where the daemon listens, and nobody else on the machine can read it."""
    file = tmp_path / "control.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(json.loads(file.read_text())) == {"url", "token", "pid", "started", "door"}
    assert read_address(tmp_path) == server.address


def test_address_goes_with_the_daemon(steering: FakeSteering, tmp_path: Path) -> None:
    """After stop there is no control.json."""
    server = ControlServer(steering, data_dir=tmp_path)
    server.start()
    server.stop()
    assert [path.name for path in tmp_path.iterdir()] == [TOKEN_FILE]


def test_stop_leaves_the_file_of_a_successor(server: ControlServer, tmp_path: Path) -> None:
    """A daemon that ends late does not take away the address of the one that followed it."""
    successor = ControlAddress(url="http://127.0.0.1:1", token="other", pid=1, started="")
    successor.write(tmp_path)
    server.stop()
    assert read_address(tmp_path) == successor


def test_healthz_needs_no_token(server: ControlServer) -> None:
    """Whether the process lives may be asked by anyone on the machine."""
    assert send(server, "/healthz", token=None)[0] == 200


@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_everything_else_needs_the_token(server: ControlServer, steering: FakeSteering, token: str) -> None:
    """Without the token nothing is told and nothing is done."""
    for path, body in (("/api/status", None), ("/api/flatten", {}), ("/nowhere", None)):
        status, answer = send(server, path, body, token=token)
        assert status == 401
        assert answer["exit_code"] == 1
    assert steering.asked == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1"])
def test_strange_hosts_are_turned_away(server: ControlServer, host: str) -> None:
    """A web page whose name was re-pointed at this machine gets nothing, token or not."""
    assert send(server, "/api/status", host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80", "192.168.1.5:8000"])
def test_addresses_and_localhost_are_served(server: ControlServer, host: str) -> None:
    """What no other site's name can be is let in."""
    assert send(server, "/api/status", host=host)[0] == 200


def test_answers_are_passed_on(server: ControlServer, steering: FakeSteering) -> None:
    """What the daemon says arrives as it is, from a thread named for this API."""
    assert send(server, "/api/positions") == (200, [POSITION])
    assert send(server, "/api/trades?limit=7") == (200, [])
    assert steering.asked == [("positions",), ("trades", 7)]
    assert set(steering.threads_used) == {"control-0"}


def test_acting_by_hand(server: ControlServer, steering: FakeSteering) -> None:
    """open, close, flatten, pause and resume reach the daemon with exact amounts."""
    send(server, "/api/open", {"symbol": "BTC/USDT:USDT", "side": "short", "notional": "100.10"})
    send(server, "/api/open", '{"symbol": "BTC/USDT:USDT", "side": "long", "notional": 0.1}')
    send(server, "/api/open", {"symbol": "BTC/USDT:USDT", "side": "long"})
    send(server, "/api/close", {"symbol": "BTC/USDT:USDT"})
    for name in ("flatten", "pause", "resume"):
        assert send(server, f"/api/{name}", "")[0] == 200
    assert steering.asked == [
        ("open", "BTC/USDT:USDT", "short", Decimal("100.10")),
        ("open", "BTC/USDT:USDT", "long", Decimal("0.1")),
        ("open", "BTC/USDT:USDT", "long", None),
        ("close", "BTC/USDT:USDT"),
        ("flatten",), ("pause",), ("resume",),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/open", {"side": "long"}),
        ("/api/open", {"symbol": "X", "side": "up"}),
        ("/api/open", {"symbol": "X", "side": "long", "notional": "-1"}),
        ("/api/open", {"symbol": "X", "side": "long", "notional": "NaN"}),
        ("/api/open", {"symbol": "X", "side": "long", "notional": "much"}),
        ("/api/close", "no json"),
        ("/api/close", "[]"),
        ("/api/close", {"symbol": 5}),
        ("/api/trades?limit=0", None),
        ("/api/trades?limit=many", None),
    ],
)
def test_nonsense_is_refused(server: ControlServer, steering: FakeSteering, path: str, body: Any) -> None:
    """A request that makes no sense gets a 400 and never reaches the daemon."""
    status, answer = send(server, path, body)
    assert (status, answer["exit_code"]) == (400, 1)
    assert steering.asked == []


@pytest.mark.parametrize(
    ("error", "status", "exit_code"),
    [
        (NotFound("no position in X"), 404, 2),
        (ConfigError("limits: max_open reached"), 409, 4),
        (OutcomeUnknown("no answer"), 504, 5),
        (OrderRejected("balance insufficient", code="300003"), 409, 1),
        (RadError("entries are halted"), 409, 1),
    ],
)
def test_errors_become_exit_codes(
    server: ControlServer, steering: FakeSteering, error: RadError, status: int, exit_code: int
) -> None:
    """Each kind of failure arrives as one sentence with the exit code of the command line."""

    def fail(*_: Any) -> None:
        raise error

    steering.on["close"] = fail
    assert send(server, "/api/close", {"symbol": "X"}) == (
        status, {"error": str(error), "exit_code": exit_code}
    )


def test_unforeseen_errors_tell_nothing(server: ControlServer, steering: FakeSteering) -> None:
    """The text of an unforeseen error could hold anything, so only its kind is told."""

    def fail() -> None:
        raise KeyError("secret-key")

    steering.on["status"] = fail
    status, answer = send(server, "/api/status")
    assert status == 500
    assert "KeyError" in answer["error"]
    assert "secret-key" not in answer["error"]


def test_wrong_paths_and_methods_are_json(server: ControlServer) -> None:
    """Even what is not there is answered as JSON."""
    assert send(server, "/api/nothing")[0] == 404
    status, answer = send(server, "/api/flatten")
    assert status == 405
    assert "error" in answer


def test_a_hung_call_is_given_up_and_holds_up_nobody(server: ControlServer, steering: FakeSteering) -> None:
    """More calls hang than there are threads, and the daemon still answers the next one."""
    steering.on["status"] = steering.hang
    for _ in range(SLOTS + 1):
        status, answer = send(server, "/api/status")
        assert (status, answer["exit_code"]) == (504, 5)
    assert send(server, "/api/positions") == (200, [POSITION])
    assert send(server, "/api/flatten", "")[0] == 200


def test_slow_calls_leave_room_for_exits(steering: FakeSteering, tmp_path: Path) -> None:
    """While openings wait for the exchange, further openings queue but a close goes through at once."""
    entered = threading.Semaphore(0)

    def slow(*_: Any) -> Any:
        entered.release()
        return steering.hang()

    steering.on["open"] = slow
    server = ControlServer(steering, data_dir=tmp_path, act_timeout_s=20)
    server.start()
    opening = {"symbol": "X", "side": "long"}
    senders = [threading.Thread(target=send, args=(server, "/api/open", opening)) for _ in range(SLOTS)]
    try:
        for sender in senders:
            sender.start()
        assert entered.acquire(timeout=5)
        assert entered.acquire(timeout=5)
        assert send(server, "/api/close", {"symbol": "Y"})[0] == 200
        assert send(server, "/api/status")[0] == 200
        assert not entered.acquire(blocking=False)   # two of the four slots are never theirs
    finally:
        steering.released.set()
        for sender in senders:
            sender.join(10)
        server.stop()
    assert not any(sender.is_alive() for sender in senders)


def test_calls_the_system_has_no_thread_for_take_up_no_room(
    server: ControlServer, steering: FakeSteering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are slots say that nothing was done; when there is room, everything is served."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("control-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as short_of_threads:
        short_of_threads.setattr(threading.Thread, "start", refuse)
        assert send(server, "/healthz")[0] == 503
        for path in ["/api/positions", "/metrics"] * SLOTS:
            status, answer = send(server, path)
            assert (status, answer["exit_code"]) == (503, 5)
            assert answer["error"] == "no thread is left for it (can't start new thread); nothing was done"
    assert ("positions",) not in steering.asked
    assert send(server, "/api/positions") == (200, [POSITION])
    assert send(server, "/healthz")[0] == 200
    assert send(server, "/api/flatten", "")[0] == 200


def test_questions_that_hang_leave_room_for_exits(steering: FakeSteering, tmp_path: Path) -> None:
    """However many questions hang, a close is still made; a question that cannot be says that nothing was done."""
    steering.on["status"] = steering.hang
    server = ControlServer(steering, data_dir=tmp_path, ask_timeout_s=0.05, act_timeout_s=5)
    server.start()
    try:
        for _ in range(MOST_ABANDONED // 2):
            assert send(server, "/api/status")[0] == 504
        status, answer = send(server, "/api/positions")
        assert (status, answer["exit_code"]) == (503, 5)
        assert "nothing was done" in answer["error"]
        assert send(server, "/api/close", {"symbol": "X"})[0] == 200
    finally:
        steering.released.set()
        server.stop()
    assert ("positions",) not in steering.asked


def test_a_data_folder_that_cannot_be_written_is_a_clear_error(
    steering: FakeSteering, tmp_path: Path
) -> None:
    """Without control.json nobody could find the daemon, so it does not start; nothing keeps listening."""
    (tmp_path / "file").touch()
    server = ControlServer(steering, data_dir=tmp_path / "file")
    with pytest.raises(ConfigError, match="data_dir: cannot write in"):
        server.start()
    assert not server.alive


def test_a_taken_port_is_a_clear_error(server: ControlServer, steering: FakeSteering, tmp_path: Path) -> None:
    """A port somebody else has is a fault of the configuration, said in one line with its key."""
    assert server.address is not None
    port = urlsplit(server.address.url).port
    second = ControlServer(steering, data_dir=tmp_path / "other", listen=Listen(port=port or 0))
    with pytest.raises(ConfigError, match=r"cannot listen on .* port \d+ \(.*in use.*control\.port"):
        second.start()
    assert read_address(tmp_path / "other") is None
