"""A journal that cannot be written: it is said, entries are taken back, all else is kept and caught up."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal as D

import pytest
import sqlalchemy as sa

from runtime import journal as journal_module
from runtime.journal import SqlJournal
from runtime.journal_reader import JournalReader
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import SYMBOL, a_fill, a_plan, a_position, a_request, a_trade
from tests.runtime.journal_gate import Gate
from trading.errors import JournalError
from trading.lifecycle import IntentState

PATIENCE_S = 10.0


# ---- what happens when it cannot be written ------------------------------------------------------


def test_a_failed_entry_is_withdrawn(journal: SqlJournal, gate: Gate) -> None:
    """The caller is told, does not send, and the intent does not turn up later."""
    gate.break_disk()
    assert not journal.healthy
    assert "cannot grow: the disk is full" in journal.failure
    with pytest.raises(JournalError, match="the disk is full"):
        journal.record_intent("p1", a_request(), "e", wait=True)
    gate.mend_disk()
    journal.save_position(a_position("p2"), wait=True)
    assert journal.healthy
    assert journal.unsettled_intents() == ()


def test_what_has_happened_is_kept_and_caught_up(journal: SqlJournal, gate: Gate) -> None:
    """Exits, fills and positions wait in memory, in order, also when their caller was told of the fault."""
    gate.break_disk()
    journal.record_intent("p1", a_request("rad-p1-x0"), "x", wait=False)
    journal.record_fills("rad-p1-x0", [a_fill("t1")])
    with pytest.raises(JournalError, match="the disk is full"):
        journal.record_execution("", (), a_position("p1"), a_trade("p1"))
    assert journal.is_booked(SYMBOL, "t1")
    gate.mend_disk()
    journal.record_event("mended", "")
    journal.save_position(a_position("p2"), wait=True)
    assert journal.trades() == (a_trade("p1"),)
    assert journal.fills_of("p1") == (a_fill("t1"),)
    assert [intent.state for intent in journal.intents_of("p1")] == [IntentState.DONE]
    assert (journal.failure, journal.backlog) == ("", 0)


def test_a_full_database_fails_closed_and_recovers(
    file_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself runs out of pages: nothing committed is lost, and all is caught up when it has room."""
    room = {"pages": 40}
    make_engine = journal_module.writing_engine

    def small_engine(address: str) -> sa.Engine:
        engine = make_engine(address)

        @sa.event.listens_for(engine, "connect")
        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute(f"PRAGMA max_page_count={room['pages']}")

        return engine

    monkeypatch.setattr(journal_module, "writing_engine", small_engine)
    journal = SqlJournal(file_url, clock, label="test")
    saved: list[str] = []

    def fill_up() -> None:
        while len(saved) < 1000:
            name = f"p{len(saved):04}"
            journal.save_position(a_position(name), wait=True)
            saved.append(name)

    with pytest.raises(JournalError, match="cannot grow: the disk is full"):
        fill_up()
    assert saved
    assert not journal.healthy
    assert [position.position_id for position in journal.open_positions()] == saved
    room["pages"] = 10_000
    journal.save_position(a_position("last"), wait=True)
    refused = f"p{len(saved):04}"                     # its caller was told, and it was kept
    assert [position.position_id for position in journal.open_positions()] == ["last", *saved, refused]
    assert journal.healthy
    journal.close()


def test_a_mended_disk_is_found_without_a_new_note(
    journal: SqlJournal, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer tries again by itself."""
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    gate.break_disk()
    journal.save_position(a_position())
    gate.mend_disk()
    with journal._lock:
        assert journal._changed.wait_for(lambda: journal.healthy, PATIENCE_S)
    assert journal.open_positions() == (a_position(),)


def test_memory_is_bounded_while_the_disk_fails(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what waits, saves of one position are one, events go first; then the loss is said."""
    journal = SqlJournal(url, clock, label="test", backlog=5)
    gate = Gate(journal, monkeypatch)
    gate.break_disk()
    gate.open.clear()
    gate.arrived.clear()
    journal.record_event("first", "in the writer's hand")
    assert gate.arrived.wait(PATIENCE_S)
    for number in range(20):
        journal.save_position(a_position(stop_price=D(number + 1)))
        journal.record_event("spare", str(number))
    assert journal.backlog <= 7
    for number in range(4):
        journal.record_fills("", [a_fill(f"t{number}")])
    journal.record_fills("", [a_fill("one too many")])
    assert "5 notes it cannot write; fills of someone else is lost" in caplog.text
    with pytest.raises(JournalError, match="5 notes it cannot write"):
        journal.record_fills("", [a_fill("one too many")], wait=True)
    gate.mend_disk()
    gate.open.set()
    assert journal.close()
    with closing(JournalReader.open(url)) as reader:
        assert [position.stop_price for position in reader.open_positions()] == [D(20)]
        assert len(reader.booked_fills(0)) == 4


def test_a_note_that_can_never_be_written_holds_up_nobody(journal: SqlJournal, gate: Gate) -> None:
    """Its caller is told; the others of its transaction are written."""
    gate.open.clear()
    journal.save_position(a_position("p0"))
    assert gate.arrived.wait(PATIENCE_S)
    journal.save_position(a_position("p1", opened_ms=2**70))   # no database has room for that
    journal.save_position(a_position("p2"))
    gate.open.set()
    assert journal.flush()
    assert [position.position_id for position in journal.open_positions()] == ["p0", "p2"]
    assert journal.healthy


def test_closing_writes_what_is_left(url: str, clock: ManualClock) -> None:
    """close() returns when everything noted is on disk; afterwards nothing is taken any more."""
    journal = SqlJournal(url, clock, label="test")
    for number in range(50):
        journal.save_position(a_position(f"p{number}"))
    assert journal.close()
    with closing(JournalReader.open(url)) as reader:
        assert len(reader.open_positions()) == 50
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.save_position(a_position(), wait=True)


def test_closing_on_a_failed_disk_ends_and_says_so(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end does not wait for a disk that will not come back."""
    journal = SqlJournal(url, clock, label="test")
    gate = Gate(journal, monkeypatch)
    gate.break_disk()
    journal.save_position(a_position())
    assert not journal.close()
    assert not journal._thread.is_alive()
    assert "journal closed with notes unwritten count=2" in caplog.text




def test_an_entry_whose_commit_got_no_answer_is_taken_back(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was on disk and its caller was told it was not: it is not under way, and blocks no other entry."""
    dialect = journal._engine.dialect
    commit = dialect.do_commit

    def lost(connection: sa.engine.interfaces.PoolProxiedConnection) -> None:
        monkeypatch.undo()
        commit(connection)
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", lost)
    with pytest.raises(JournalError, match="lost its server"):
        journal.record_intent("p1", a_request("rad-p1-e0"), "e", plan=a_plan(), wait=True)
    assert not journal.healthy
    journal.record_intent("p2", a_request("rad-p2-e0"), "e", plan=a_plan("p2"), wait=True)
    assert [intent.state for intent in journal.intents_of("p1")] == [IntentState.NOT_PLACED]
    assert [intent.position_id for intent in journal.unsettled_intents()] == ["p2"]


def test_a_disk_that_does_not_answer_stops_entries(
    journal: SqlJournal, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever; the entry is taken back though it may be committed; the rest is written once."""
    monkeypatch.setattr(journal_module, "PATIENCE_S", 0.05)
    gate.open.clear()
    with pytest.raises(JournalError, match="does not answer within 0.05 s"):
        journal.record_intent("p1", a_request("rad-p1-e0"), "e", plan=a_plan(), wait=True)
    assert not journal.healthy
    with pytest.raises(JournalError, match="does not answer within 0.05 s"):
        journal.save_position(a_position("p2"), wait=True)
    gate.open.set()
    assert journal.flush()
    with journal._lock:
        assert journal._changed.wait_for(lambda: journal.healthy and not journal._queue, PATIENCE_S)
    assert journal.unsettled_intents() == ()
    assert journal.open_positions() == (a_position("p2"),)
