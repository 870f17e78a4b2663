"""A daemon whose journal cannot be opened does not start: one line, an exit code, no traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

import pytest

import bot
from control.steering import ERROR
from runtime.clock import SystemClock
from runtime.journal import SqlJournal
from tests.postgres import PostgresServer

Refusal = Callable[[], str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Start the daemon, which is to end by itself, and return the one line it says."""
    for name, value in {
        # Nobody is there: it ends before it would ask.
        "RAD_EXCHANGE__FUTURES_URL": "http://127.0.0.1:9", "RAD_EXCHANGE__SPOT_URL": "http://127.0.0.1:9",
        "KUCOIN_API_KEY": "a-key", "KUCOIN_API_SECRET": "a-secret", "KUCOIN_API_PASSPHRASE": "a-passphrase",
        "RAD_DATA_DIR": str(tmp_path / "data"), "RAD_MODE": "sandbox",
    }.items():
        monkeypatch.setenv(name, value)

    def start() -> str:
        assert bot.main([]) == ERROR
        said = capsys.readouterr().err
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if line.startswith("rad: ")]
        return line

    return start


def damaged(file: Path) -> AbstractContextManager[None]:
    """Something that is no database."""
    file.write_bytes(b"no database at all" * 500)
    return nullcontext()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """A journal another process writes in."""
    SqlJournal(f"sqlite:///{file}", SystemClock(), label="sandbox futures").close()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize(
    ("befall", "meaning"),
    [(damaged, "is damaged or not a journal"), (locked, "is locked by another process; is a second RAD running?")],
)
def test_a_file_that_is_no_use_ends_the_start(
    tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch,
    befall: Callable[[Path], AbstractContextManager[None]], meaning: str,
) -> None:
    """The line names the file, what is wrong with it and what would help."""
    monkeypatch.setattr("runtime.journal_engine.BUSY_TIMEOUT_MS", 20)
    file = tmp_path / "data" / "journal-sandbox.sqlite"
    file.parent.mkdir()
    with befall(file):
        assert refusal().startswith(f"rad: journal {file} {meaning}")


def test_an_address_that_is_no_use_ends_the_start(
    refusal: Refusal, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such user, no server, no database address: a line each, and the password in none."""
    url = postgres.url()
    for wrong, meaning in (
        (url.replace("slash", "dash"), "does not let this user in"),
        (url.replace(str(postgres.port), "1"), "is not reached"),
        (url.replace("postgresql", "mysql"), "names mysql, which RAD does not speak"),
    ):
        monkeypatch.setenv("RAD_JOURNAL__URL", wrong)
        line = refusal()
        assert meaning in line
        assert "between" not in line
