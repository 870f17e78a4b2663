"""The journals the tests write: on SQLite's file and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.journal import SqlJournal
from tests.manual_clock import ManualClock
from tests.postgres import PostgresServer
from tests.runtime.journal_facts import url_in
from tests.runtime.journal_gate import Gate


@pytest.fixture(autouse=True)
def _patient_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read waits for what was noted before it, however busy the machine is."""
    monkeypatch.setattr("runtime.journal.READ_PATIENCE_S", 60.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a journal that does not exist yet, on each of the databases."""
    if request.param == "sqlite":
        return url_in(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url()


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """The address of a journal that does not exist yet, where the subject is SQLite's file."""
    return url_in(tmp_path)


@pytest.fixture
def journal(url: str, clock: ManualClock) -> Iterator[SqlJournal]:
    """An open journal."""
    opened = SqlJournal(url, clock, label="test")
    yield opened
    opened.close()


@pytest.fixture
def gate(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before the commits of *journal*."""
    return Gate(journal, monkeypatch)
