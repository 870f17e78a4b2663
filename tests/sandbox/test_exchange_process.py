"""The sandbox as a process: its greeting, its ends, and its books from one run to the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sandbox.__main__ import main
from sandbox.embedded import RunningSandbox
from tests.sandbox.signed_client import SignedClient

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0


STARTED: list[subprocess.Popen[Any]] = []


@pytest.fixture(autouse=True)
def pipes_closed() -> Iterator[None]:
    yield
    while STARTED:
        with STARTED.pop() as process:       # which closes what leads to it
            process.kill()


def start(*flags: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start a sandbox and return it with the JSON line that says it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--source", "tests.sandbox.fake_market:FakeMarket", *flags],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    STARTED.append(process)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return process, json.loads(line)
    raise AssertionError(f"no greeting; exit code {process.wait(PATIENCE_S)}")


def client_of(greeting: dict[str, Any]) -> SignedClient:
    return SignedClient(cast(RunningSandbox, SimpleNamespace(**greeting)))


def test_it_greets_serves_and_keeps_its_books(tmp_path: Path) -> None:
    """Ready by its JSON line; ended by SIGTERM; the position is there in the next run."""
    state = str(tmp_path / "books.json")
    process, greeting = start("--state", state)
    client_of(greeting).order("buy", 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    process, greeting = start("--state", state, "--exit-with-stdin")
    position, = client_of(greeting).data("GET", "/api/v1/positions")
    assert position["currentQty"] == 10
    assert process.stdin is not None
    process.stdin.close()                                   # the parent is gone
    assert process.wait(PATIENCE_S) == 0


def test_it_ends_with_its_parent() -> None:
    """An orphan does not live on: the parent named is watched."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process, greeting = start("--parent-pid", str(parent.pid))
    assert client_of(greeting).code("GET", "/api/v1/timestamp") == "200000"
    assert parent.stdin is not None
    STARTED.append(parent)
    parent.stdin.close()
    parent.wait(PATIENCE_S)
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("flags", [
    ("--port", "99999999"), ("--port", "-1"), ("--pairs", "-1"), ("--pairs", "1" * 5000), ("--balance", "NaN"),
    ("--balance", "1e999999999"), ("--volatility", "nan"), ("--volatility", "-1"), ("--tick-ms", "0"),
    ("--granularity", "0"), ("--quota-spot", "-1"), ("--nonsense",),
])
def test_an_argument_without_sense_is_one_line(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started, and the exit code is that of an error: 2 would be "not found" to whoever asks RAD."""
    with pytest.raises(SystemExit) as ended:
        main(list(flags))
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("sandbox: ")
    assert len(err) < 200


def test_what_cannot_start_says_so_in_a_line(tmp_path: Path) -> None:
    """A market that does not exist, and books that cannot be read: exit code 1 and one sentence."""
    damaged = tmp_path / "books.json"
    damaged.write_text("{", encoding="utf-8")
    for flags in (("--source", "weather"),
                  ("--source", "tests.sandbox.fake_market:FakeMarket", "--state", str(damaged))):
        answer = subprocess.run(
            [sys.executable, "-m", "sandbox", *flags], cwd=ROOT, capture_output=True, text=True,
            timeout=PATIENCE_S, env=os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONDEVMODE": ""}, check=False,
        )
        assert answer.returncode == 1
        assert answer.stderr.startswith("sandbox: ")
        assert len(answer.stderr.splitlines()) == 1
