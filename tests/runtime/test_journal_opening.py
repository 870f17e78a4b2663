"""Opening a journal: what is refused before anything is traded on it, and in which words."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime.journal import SqlJournal
from runtime.journal_address import read_url
from runtime.journal_reader import JournalReader
from runtime.journal_version import SCHEMA_VERSION
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import a_position, url_in
from tests.runtime.journal_gate import Gate
from trading.errors import JournalError

# ---- opening -------------------------------------------------------------------------------------


def refusal(url: str, clock: ManualClock, label: str = "test") -> str:
    """Return why a journal does not open."""
    with pytest.raises(JournalError) as caught:
        SqlJournal(url, clock, label=label)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path, file_url: str, clock: ManualClock) -> None:
    """Something that is no database is not overwritten."""
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"this is not a database at all, but it is long enough to look at" * 20)
    assert f"journal {file} is damaged or not a journal" in refusal(file_url, clock)
    assert file.read_bytes().startswith(b"this is not")


def test_a_torn_page_is_found_at_opening(tmp_path: Path, file_url: str, clock: ManualClock) -> None:
    """A database damaged inside is refused before anything is traded on it."""
    journal = SqlJournal(file_url, clock, label="test")
    for number in range(40):
        journal.save_position(a_position(f"p{number}"))
    journal.close()
    file = tmp_path / "journal.sqlite"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    file.write_bytes(content)
    assert "is damaged" in refusal(file_url, clock)


def test_a_newer_schema_is_refused(url: str, clock: ManualClock, journal: SqlJournal) -> None:
    """A journal of a later RAD is neither written nor misread."""
    journal.close()
    with sa.create_engine(read_url(url), poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("UPDATE meta SET value = '99' WHERE name = 'schema'"))
    assert f"has schema 99, but this RAD knows {SCHEMA_VERSION}; use the RAD that wrote it" in refusal(url, clock)
    with pytest.raises(JournalError, match=r"^journal .* has schema 99"):
        JournalReader.open(url)


def test_a_journal_of_another_mode_is_refused(url: str, clock: ManualClock, journal: SqlJournal) -> None:
    """Play positions are never taken for real ones."""
    journal.close()
    assert "belongs to test, not to live futures" in refusal(url, clock, label="live futures")


def test_a_locked_file_is_refused(file_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer has it: one line says so."""
    monkeypatch.setattr("runtime.journal_engine.BUSY_TIMEOUT_MS", 1)
    SqlJournal(file_url, clock, label="test").close()
    other = sqlite3.connect(file_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "is locked by another process; is a second RAD running?" in refusal(file_url, clock)
    other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    """A folder without the right to write is named."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "cannot be opened; do folder and file exist" in refusal(url_in(folder), clock)


def test_a_missing_folder_and_a_wrong_address_are_refused(tmp_path: Path, clock: ManualClock) -> None:
    """The text says what is missing."""
    assert "do folder and file exist" in refusal(url_in(tmp_path / "nowhere"), clock)
    assert "is not a database address" in refusal("what is this", clock)


def test_reading_a_journal_that_is_not_there(file_url: str, tmp_path: Path) -> None:
    """Nothing is made by looking."""
    with pytest.raises(JournalError, match="there is no journal .* yet"):
        JournalReader.open(file_url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("attempt to write a readonly database", "is read-only; give its owner the right to write"),
        ("disk I/O error", "cannot be read or written: the disk fails"),
        ("database disk image is malformed", "is damaged; move it away"),
        ("something new", "failed: something new"),
    ],
)
def test_a_fault_of_the_disk_in_words(journal: SqlJournal, gate: Gate, text: str, meaning: str) -> None:
    """Each kind of failed commit has a line that says what would help."""
    gate.break_disk(text)
    assert meaning in journal.failure
    assert "\n" not in journal.failure




@pytest.mark.parametrize(("commit_s", "level"), [(0.04, "INFO"), (0.06, "WARNING")])
def test_the_time_of_a_commit_is_measured_at_opening(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    commit_s: float, level: str,
) -> None:
    """The median of five real commits is logged, and warned of above 50 ms."""
    caplog.set_level("INFO")
    ticks = (commit_s * number for number in range(100))
    monkeypatch.setattr("runtime.journal.perf_counter", lambda: next(ticks))
    journal = SqlJournal(url, clock, label="test")
    assert len(journal.commit_seconds()) == 5
    assert journal.meta()["probe"] == f"{clock.now_ms()} 4"       # the fifth of 0 to 4
    journal.close()
    (record,) = [record for record in caplog.records if "journal opened" in record.message]
    assert record.levelname == level
    assert f"commit_ms={commit_s * 1000:.1f}" in record.message
