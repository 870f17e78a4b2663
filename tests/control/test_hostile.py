"""Bad input to every call of the API: a clear error, nothing done, and nothing told that is secret."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from control.api import LARGEST_BODY
from control.fields import LONGEST_QUOTED
from control.routes import ROUTES, Route
from control.server import ControlServer
from runtime.redaction import Redactor
from tests.control.fake_steering import EVENT, POSITION, STATUS, FakeSteering
from tests.control.visitor import Heard, Stream, browser, nobody, program, serving
from trading.errors import RadError

GETS = [route for route in ROUTES if not route.is_command]
COMMANDS = [route for route in ROUTES if route.is_command]
RIGHT: dict[str, Any] = {"symbol": "BTC/USDT:USDT", "side": "long", "notional": "100", "token": "x" * 43}
RIGHT_OPENING = {name: RIGHT[name] for name in ("symbol", "side", "notional")}

NOT_JSON = [
    b"{", b"{]", b"no json", b"\xff\xfe\x00", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999999999999999999999}',
    b"[" * 60_000, b'{"a":' * 12_000, b"1" * 60_000, b'{"symbol": "A", "symbol": "B"}', b"\x00", b"'", b"{}{}",
]
NO_OBJECTS = [b"[]", b"null", b"1", b'"text"', b"true", b'["symbol"]']
STRANGE = [
    5, 1.5, True, [], {}, "", " ", "a b", "A\nB", "A\x00B", "\ud800", "A" * 41, "../../etc/passwd\x00", "<script>",
    "';--", "%s%n", "\u202egnp", "{0}", "${jndi:x}", {"symbol": "A"}, ["A"], 10**400,
]


def names(routes: list[Route]) -> list[str]:
    return [f"{route.method} {route.path}" for route in routes]


def refused(heard: Heard, *statuses: int) -> None:
    """Assert that it is a refusal as it should be: one sentence as JSON, and no more."""
    assert heard.status in statuses, heard.body[:300]
    assert heard.headers["Content-Type"].startswith("application/json")
    assert heard.json.keys() == {"error", "exit_code"}
    assert 0 < len(heard.json["error"]) < 300
    assert "Traceback" not in heard.json["error"]
    assert "\n" not in heard.json["error"]


@pytest.mark.parametrize("route", ROUTES, ids=names(list(ROUTES)))
def test_nothing_is_told_or_done_without_the_token(
    server: ControlServer, steering: FakeSteering, route: Route
) -> None:
    """Every call that is not open to all; not with a wrong token or cookie either."""
    body = RIGHT if route.is_command else None
    for more in ({}, {"Authorization": "Bearer guess"}, {"Cookie": "rad_1=guess"}, {"Authorization": "\xff" * 9}):
        heard = nobody(server).ask(route.method, route.path, body, **more)
        if route.is_open:
            assert heard.status in (200, 400, 401)
        else:
            refused(heard, 401)
    assert [asked for asked in steering.asked if asked != ("held_up",)] == []


@pytest.mark.parametrize("route", ROUTES, ids=names(list(ROUTES)))
def test_a_wrong_method_is_refused(server: ControlServer, steering: FakeSteering, route: Route) -> None:
    """With what would be right."""
    asking = program(server)
    for method in {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET"} - {route.method}:
        heard = asking.ask(method, route.path)
        refused(heard, 405)
        assert route.method in heard.headers["Allow"]
    assert steering.asked == []


@pytest.mark.parametrize("route", COMMANDS, ids=names(COMMANDS))
def test_a_body_that_is_no_json_object_is_refused(
    server: ControlServer, steering: FakeSteering, route: Route
) -> None:
    """Broken, ambiguous, bottomless, or not an object."""
    asking = program(server)
    for raw in NOT_JSON + NO_OBJECTS:
        refused(asking.ask("POST", route.path, raw), 400)
    refused(asking.ask("POST", route.path, b"\xff", Content_Type="application/json; charset=nonsense"), 400)
    assert steering.asked == []


@pytest.mark.parametrize("route", COMMANDS, ids=names(COMMANDS))
def test_each_field_of_a_command_is_looked_at(
    server: ControlServer, steering: FakeSteering, route: Route
) -> None:
    """Missing, of a wrong type, unknown, or simply strange."""
    asking = program(server)
    right = {field.name: RIGHT[field.name] for field in route.fields}
    for field in route.fields:
        if field.required:
            refused(asking.post(route.path, {k: v for k, v in right.items() if k != field.name}), 400)
        for value in STRANGE:
            # Any text might be a token, and a number an amount.
            fits = isinstance(value, {"token": str, "notional": int | float}.get(field.name, ()))
            if not fits or value in ("", True, 10**400):
                refused(asking.post(route.path, right | {field.name: value}), 400)
    refused(asking.post(route.path, right | {"more": 1}), 400)
    refused(asking.post(f"{route.path}?symbol=A", right), 400)
    assert steering.asked == []


@pytest.mark.parametrize("route", GETS, ids=names(GETS))
def test_each_part_of_a_query_is_looked_at(server: ControlServer, steering: FakeSteering, route: Route) -> None:
    """What is not known is refused, not passed over: a filter misspelt would show everything."""
    asking = program(server)
    refused(asking.get(f"{route.path}?{'x' * 500}=1"), 400)
    for field in route.fields:
        for text in ("", "%00", "a%20b", "9" * 400, "%FF%FE", "%F0%9F%92%A9", "[]", "%D9%A3"):
            refused(asking.get(f"{route.path}?{field.name}={text}"), 400)
        for text in ("-1", "1e9", "null", "1_0") if field.name != "symbol" else ():
            refused(asking.get(f"{route.path}?{field.name}={text}"), 400)
        refused(asking.get(f"{route.path}?{field.name}=1&{field.name}=1"), 400)
    assert [asked for asked in steering.asked if asked != ("held_up",)] == []


@pytest.mark.parametrize(
    "amount", ["0", "-1", "0.0", "NaN", "1e3", "Infinity", "1" * 16, "0x10", " 1", "1,5", "٣", 0, -5, 1e16]
)
def test_amounts_are_exact_or_refused(server: ControlServer, steering: FakeSteering, amount: Any) -> None:
    """Nothing is rounded, guessed or read as something else."""
    refused(program(server).post("/api/open", RIGHT_OPENING | {"notional": amount}), 400)
    assert steering.asked == []


def test_a_huge_body_is_refused(server: ControlServer, steering: FakeSteering) -> None:
    """Before it is read whole."""
    refused(program(server).post("/api/close", b'{"symbol": "' + b"A" * LARGEST_BODY + b'"}'), 413)
    assert steering.asked == []


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/status HTTP/9.9", b"GARBAGE", b"GET " + b"/" * 9000 + b" HTTP/1.1", b"GET /\xff\x00 HTTP/1.1",
        b"GET http://evil.example/api/status HTTP/1.1", b"GET /api/../api/status HTTP/1.1",
        b"CONNECT x:1 HTTP/1.1", b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", b"GET /page/../control.json HTTP/1.1",
    ],
)
def test_broken_http_tells_nothing(
    server: ControlServer, request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No stack, no version, no file, whatever the first line says; and it does not fill the log."""
    assert server.address is not None
    heard = nobody(server).raw(request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert heard.split(b" ", 2)[1] in (b"400", b"401", b"403")
    for told in (b"Traceback", b"aiohttp", b"Python", b"root:", server.address.token.encode()):
        assert told not in heard
    assert b'"error"' in heard
    assert b"Content-Security-Policy" in heard
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_was_said_wrongly_is_shown_shortened(server: ControlServer) -> None:
    """On one line, in ASCII, and never the whole of something endless."""
    said = program(server).post("/api/close", {"symbol": "A", "évil\n" * 100: 1}).json["error"]
    assert said.isascii()
    assert len(said) < LONGEST_QUOTED * 3


def test_secrets_stay_where_they_are(
    server: ControlServer, steering: FakeSteering, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither token, cookie nor CSRF word is in the log, or in an answer that did not hand it out."""
    caplog.set_level(logging.DEBUG)
    assert server.address is not None
    page = browser(server)
    secrets = [server.address.token, page.headers["X-RAD-CSRF"], page.headers["Cookie"].partition("=")[2]]
    steering.on["close"] = lambda symbol: 1 / 0
    asked = ("/api/status", "/healthz", "/metrics", "/api/openapi.json", "/api/threads", "/nowhere")
    answers = [page.get(path).body for path in asked]
    answers.append(page.post("/api/close", {"symbol": "X"}).body)
    answers.append(page.post("/api/login", {"token": server.address.token + "x"}).body)
    answers.append(page.post("/api/login", {"token": server.address.token, "more": 1}).body)
    for secret in secrets:
        assert secret not in caplog.text
        assert not [answer for answer in answers if secret.encode() in answer]


def test_no_text_of_the_daemons_brings_a_secret_out(steering: FakeSteering, tmp_path: Path) -> None:
    """Whatever error has one in it, wherever it is told of: an answer, a refusal, the stream, and to anybody."""
    secret, said = "horse battery", "header KC-API-PASSPHRASE: horse battery refused, token=abcdefgh"
    answers: dict[str, Any] = {
        "status": STATUS | {"problems": [said], "entries_blocked": said},
        "positions": [POSITION | {"reasons": [said]}], "opportunities": [{"reasons": [said]}],
        "orders": [{"purpose": said}], "threads": {"threads": [{"last_error": said}], "locks": [], "strips": {}},
        "verify": {"agree": False, "differences": [{"text": said}]}, "held_up": said,
        "flatten": {"closed": [], "failed": [said], "paused": True},
    }
    steering.on = {name: lambda *_, answer=answer: answer for name, answer in answers.items()}
    for name in ("close", "open", "reload", "trades"):
        steering.on[name] = lambda *_: (_ for _ in ()).throw(RadError(said))
    steering.feed = [EVENT | {"text": said, "fields": {"what": said}}]
    with serving(steering, tmp_path, redact=Redactor([secret])) as server:
        asked = program(server)
        paths = [route.path for route in GETS if not [field for field in route.fields if field.required]]
        heard = [asked.get(path).body.decode() for path in (*paths, "/api/chart?symbol=X")]
        heard += [asked.post(f"/api/{name}", body).body.decode() for name, body in (
            ("flatten", {}), ("reload", {}), ("close", {"symbol": "X"}), ("open", {"symbol": "X", "side": "long"}),
        )]
        stream = Stream(asked)
        heard += [json.dumps(stream.until(kind)) for kind in ("status", "positions", "event")]
        steering.on["status"] = lambda: (_ for _ in ()).throw(RadError(said))
        heard.append(json.dumps(stream.until("silence")))
        stream.close()
    assert sum("header KC-API-PASSPHRASE: ***" in each for each in heard) == 17
    assert not [each for each in heard if "horse" in each or "abcdefgh" in each]
