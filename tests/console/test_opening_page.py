"""`./rad page`: an address that logs in once."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest

from console.__main__ import main
from control.server import ControlServer
from tests.control.fake_steering import FakeSteering


def test_it_prints_an_address_without_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed may be read over a shoulder: it is good once, and the token is not in it."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    server = ControlServer(FakeSteering(), data_dir=tmp_path)
    address = server.start()
    try:
        assert main(["page"]) == 0
        first, *more = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{address.url}/#login=")
        assert address.token not in first
        assert "within 2 minutes" in more[0]
        opened: list[str] = []
        monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.BackgroundBrowser("true"))
        monkeypatch.setattr(webbrowser.BackgroundBrowser, "open", lambda _, url: opened.append(url) or True)
        assert main(["page", "--open", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["opened"] is True
        assert opened == [told["url"]]
        assert told["url"] != first
    finally:
        server.stop()


def test_without_a_daemon_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, and how to start one."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    assert main(["page"]) == 3
    assert "start it with ./rad run" in capsys.readouterr().err
