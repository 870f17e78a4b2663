"""The last word when systemd has given up: in the journal, and at every outlet."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from console.__main__ import main

Webhook = tuple[str, list[Any]]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """An outlet on loopback, and what it was told."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="webhook", daemon=True)
    thread.start()
    yield f"json://127.0.0.1:{server.server_address[1]}/a-secret-path-of-ours", told
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_everybody_is_told(
    clean: None, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How it ended and what is open, as an alarm in the journal and as a message; a dead outlet stops none."""
    url, told = webhook
    monkeypatch.setenv("NOTIFY_URL_DEAD", "json://127.0.0.1:1/another-secret-path")
    monkeypatch.setenv("NOTIFY_URL_PHONE", url)
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "watchdog")
    monkeypatch.setenv("MONITOR_UNIT", "rad.service")
    assert main(["service-failed"]) == 0                       # who was not told is said, that is all
    (message,) = told
    assert message["title"] == "RAD is down"
    assert "not started any more: watchdog" in message["message"]
    assert "nothing is open" in message["message"]
    said = capsys.readouterr().err
    assert "<2>RAD: rad.service is down" in said
    assert "dead" in said
    assert "secret" not in said
