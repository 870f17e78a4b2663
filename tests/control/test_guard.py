"""Who is let in by the control API, and what browsers are told."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from control.guard import HEADERS
from control.listening import Listen
from control.server import ControlServer
from control.sessions import TRIES
from tests.control.fake_steering import FakeSteering
from tests.control.visitor import browser, nobody, program, serving


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the audit has written."""
    return [record.getMessage() for record in caplog.records if record.name == "audit"]


def test_a_browser_logs_in_and_steers(server: ControlServer, steering: FakeSteering) -> None:
    """Its cookie is kept from scripts and from other sites; with the CSRF word its commands are taken."""
    assert server.address is not None
    heard = nobody(server).post("/api/login", {"token": server.address.token})
    cookie, *attributes = heard.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert server.address.token not in cookie
    page = browser(server)
    assert page.get("/api/session").json["csrf"] == page.headers["X-RAD-CSRF"]
    assert page.post("/api/close", {"symbol": "X"}).status == 200
    assert page.post("/api/logout").status == 200
    assert page.get("/api/status").status == 401
    assert page.post("/api/pause").status == 401
    assert steering.asked == [("close", "X")]


def test_a_browsers_command_needs_the_word(server: ControlServer, steering: FakeSteering) -> None:
    """A cookie goes along with whatever page makes the browser ask; the word does not."""
    page = browser(server, csrf=False)
    assert page.get("/api/status").status == 200
    assert page.post("/api/flatten").status == 403
    for word in ("", "guess", browser(server).headers["X-RAD-CSRF"]):
        heard = page.post("/api/flatten", X_RAD_CSRF=word)
        assert (heard.status, heard.json["exit_code"]) == (403, 1)
    assert steering.asked == [("status",)]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[", "http://"])
def test_commands_of_other_sites_are_refused(server: ControlServer, steering: FakeSteering, origin: str) -> None:
    """Whatever else they bring: the browser says where a command comes from. Log-in counts as one."""
    assert server.address is not None
    assert browser(server).post("/api/pause", Origin=origin).status == 403
    assert program(server).post("/api/pause", Origin=origin).status == 403
    assert nobody(server).post("/api/login", {"token": server.address.token}, Origin=origin).status == 403
    assert browser(server).post("/api/resume", Origin=server.address.url).status == 200
    assert steering.asked == [("resume",)]


def test_wrong_tokens_are_slowed_down(server: ControlServer) -> None:
    """After a few the right one is not looked at either; programs that send it go on."""
    assert server.address is not None
    for _ in range(TRIES):
        assert nobody(server).post("/api/login", {"token": "guess"}).status == 401
    heard = nobody(server).post("/api/login", {"token": server.address.token})
    assert heard.status == 429
    assert int(heard.headers["Retry-After"]) > 0
    assert program(server).get("/api/status").status == 200


@pytest.mark.parametrize(
    ("scheme", "status"),
    [("Bearer {}", 200), ("bearer {}", 200), ("Basic {}", 401), ("{}", 401), ("Bearer  {}", 401)],
)
def test_the_token_comes_as_a_bearers(server: ControlServer, scheme: str, status: int) -> None:
    """And a wrong word beside a right cookie is still wrong."""
    assert server.address is not None
    said = scheme.format(server.address.token)
    assert nobody(server).get("/api/status", Authorization=said).status == status
    assert browser(server).get("/api/status", Authorization=said).status == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("GET", "/api/status", 401), ("GET", "/nowhere", 401), ("POST", "/api/login", 400)],
)
def test_every_answer_keeps_other_sites_out(server: ControlServer, method: str, path: str, status: int) -> None:
    """Errors too: no frames, no foreign scripts, nothing kept by caches, and no versions of what is inside."""
    heard = nobody(server).ask(method, path)
    assert heard.status == status
    assert HEADERS.items() <= heard.headers.items()
    assert "default-src 'self'" in heard.headers["Content-Security-Policy"]
    assert heard.headers["Cache-Control"] == "no-store"
    assert heard.headers["Server"] == "rad"


def test_configured_names_are_served(steering: FakeSteering, tmp_path: Path) -> None:
    """A name has to be said in the settings; others may have been re-pointed here."""
    with serving(steering, tmp_path, listen=Listen(names=("rad.example.com",))) as server:
        assert nobody(server).get("/healthz", Host="RAD.example.com:443").status == 200
        assert nobody(server).get("/healthz", Host="example.com").status == 403


def test_every_command_is_written_down(
    server: ControlServer, steering: FakeSteering, caplog: pytest.LogCaptureFixture
) -> None:
    """Who gave it, what it was, what came of it; questions are not, and the token never is."""
    caplog.set_level(logging.INFO)
    steering.on["pause"] = steering.hang
    assert server.address is not None
    program(server).post("/api/close", {"symbol": "X"}, X_RAD_Client="cli")
    program(server).post("/api/open", {"symbol": "X", "side": "long", "notional": "5"})
    browser(server).post("/api/close", {"symbol": "no symbol"})
    browser(server).post("/api/pause")
    nobody(server).post("/api/flatten")
    program(server).get("/api/status")
    assert lines(caplog) == [
        "command who=cli what=close symbol=X result=ok",
        "command who=api what=open symbol=X side=long notional=5 result=ok",
        "command who=page what=login result=ok",
        "command who=page what=close result=400 symbol must be a symbol such as BTC/USDT:USDT",
        "command who=page what=login result=ok",
        "command who=page what=pause result=504 no answer within 0.2 s",
        "command who=nobody what=flatten result=401 the token of control.json is needed",
    ]
    assert server.address.token not in caplog.text


def test_nobody_cannot_fill_the_log(server: ControlServer, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody without the token gets a line now and then, however often he tries."""
    for _ in range(20):
        nobody(server).post("/api/flatten")
    assert len(lines(caplog)) == 1
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
