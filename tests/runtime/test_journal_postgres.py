"""The journal on PostgreSQL: outages cost nothing that was noted, nothing waits for ever, no password is told."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa

from runtime import journal as journal_module
from runtime import journal_postgres
from runtime.journal import SqlJournal
from runtime.journal_address import name_of, read_url
from runtime.journal_faults import is_about_the_database, worded
from runtime.journal_reader import JournalReader
from tests.manual_clock import ManualClock
from tests.postgres import PASSWORD, PostgresServer
from tests.runtime.journal_facts import SYMBOL, a_fill, a_position, a_request, a_trade
from tests.wedges import until
from trading.errors import JournalError

PATIENCE_S = 10.0


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """The address of a journal that does not exist yet."""
    return postgres.url()


@contextmanager
def stopped(postgres: PostgresServer) -> Iterator[None]:
    """Take the server away for a while, as a crash does."""
    postgres.stop(signal.SIGQUIT)
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process of the server stand still: the kernel answers for it, it does not."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def await_healthy(journal: SqlJournal) -> None:
    """Wait until the writer has found the server again by itself."""
    with journal._lock:
        assert journal._changed.wait_for(lambda: journal.healthy and not journal._queue, PATIENCE_S)


def writer_pid(postgres: PostgresServer) -> int:
    """Return the server's process that serves the journal's only connection."""
    ((pid,),) = postgres.execute("SELECT pid FROM pg_stat_activity WHERE datname = 'journal'")
    return int(pid)


# ---- outages -------------------------------------------------------------------------------------


def test_an_outage_of_the_server_costs_nothing(
    journal: SqlJournal, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the server no entry is written and all else is kept; with it again each note is there once."""
    monkeypatch.setattr(journal_module, "RETRY_S", 0.02)
    journal.save_position(a_position("before"), wait=True)
    with stopped(postgres):
        with pytest.raises(JournalError, match=r"is not reached|lost its server"):
            journal.record_intent("p1", a_request("rad-p1-e0"), "e", wait=True)
        assert not journal.healthy
        journal.record_intent("p2", a_request("rad-p2-x0"), "x", wait=False)
        journal.record_fills("rad-p2-x0", [a_fill("t1")])
        journal.record_event("outage", "noted once")
        journal.record_equity(a_position().entry_price, a_position().entry_price)
        with pytest.raises(JournalError):
            journal.record_execution("", (), a_position("p2"), a_trade("p2"))
        assert journal.is_booked(SYMBOL, "t1")
        with pytest.raises(JournalError, match="is not reached"):
            journal.trades()
    await_healthy(journal)
    assert journal.trades() == (a_trade("p2"),)
    assert journal.fills_of("p2") == (a_fill("t1"),)
    assert [event.message for event in journal.events()] == ["noted once"]
    assert len(journal.equity_curve()) == 1
    assert [position.position_id for position in journal.open_positions()] == ["before"]
    assert journal.intents_of("p1") == ()
    journal.record_intent("p1", a_request("rad-p1-e0"), "e", wait=True)


def test_a_connection_cut_is_made_again(journal: SqlJournal, postgres: PostgresServer) -> None:
    """Writer and readers are cut off: one write fails, is kept, and goes out on the next connection."""
    journal.save_position(a_position("p1"), wait=True)
    assert len(journal.open_positions()) == 1
    assert postgres.end_connections() == 2          # the writer's and a reader's
    with pytest.raises(JournalError, match="lost its server"):
        journal.save_position(a_position("p2"), wait=True)
    journal.save_position(a_position("p3"), wait=True)
    assert [position.position_id for position in journal.open_positions()] == ["p1", "p2", "p3"]


def test_a_server_that_does_not_answer_is_given_up(
    url: str, clock: ManualClock, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection lives and nothing comes back: that ends, and what was noted is written later."""
    monkeypatch.setattr(journal_postgres, "ANSWER_S", 0.3)
    journal = SqlJournal(url, clock, label="test")
    with frozen(writer_pid(postgres)):
        with pytest.raises(JournalError, match="does not answer in time"):
            journal.save_position(a_position("p1"), wait=True)
        assert not journal.healthy
    monkeypatch.setattr(journal_postgres, "ANSWER_S", PATIENCE_S)
    journal.record_event("thawed", "")
    await_healthy(journal)
    assert [position.position_id for position in journal.open_positions()] == ["p1"]
    journal.close()


def test_a_server_that_takes_nobody_in_is_given_up(
    url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects to a server that stands still is told so, in time."""
    monkeypatch.setattr(journal_postgres, "CONNECT_S", 2)      # the shortest libpq takes
    began = time.monotonic()
    with frozen(postgres.pid), pytest.raises(JournalError, match="does not answer in time"):
        JournalReader.open(url)
    assert time.monotonic() - began < PATIENCE_S


def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    journal: SqlJournal, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has a table locked: the writer does not wait for ever."""
    monkeypatch.setattr(journal_postgres, "_SESSION", {**journal_postgres._SESSION, "lock_timeout": "50ms"})
    postgres.end_connections()
    with pytest.raises(JournalError):
        journal.record_intent("p0", a_request("rad-p0-e0"), "e", wait=True)
    with postgres.connect("journal") as other, other.transaction():
        other.execute("LOCK TABLE position")
        with pytest.raises(JournalError, match="is locked by another process"):
            journal.save_position(a_position("p1"), wait=True)
    journal.save_position(a_position("p2"), wait=True)
    assert [position.position_id for position in journal.open_positions()] == ["p1", "p2"]


# ---- opening -------------------------------------------------------------------------------------


def refusal(url: str, clock: ManualClock) -> str:
    """Return why a journal does not open, in one line without the password."""
    with pytest.raises(JournalError) as caught:
        SqlJournal(url, clock, label="test")
    text = str(caught.value)
    assert "\n" not in text
    assert "between" not in text
    return text


def test_who_is_not_let_in_is_told_why(url: str, clock: ManualClock, postgres: PostgresServer) -> None:
    """User, database, server: each has its sentence."""
    assert "does not let this user in" in refusal(url.replace("slash", "dash"), clock)
    assert "is not there; make the database" in refusal(url.replace("/journal", "/nowhere"), clock)
    assert "is not reached" in refusal(url.replace(str(postgres.port), "1"), clock)


def test_a_standby_is_refused(url: str, clock: ManualClock, postgres: PostgresServer) -> None:
    """A database that takes no writes is no place for a journal."""
    postgres.execute("ALTER DATABASE journal SET default_transaction_read_only = on")
    try:
        assert "is read-only: the server is a standby" in refusal(url, clock)
    finally:
        postgres.execute("ALTER DATABASE journal RESET default_transaction_read_only")


def test_one_writer_at_a_time(
    url: str, clock: ManualClock, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another's transaction writes, a second RAD waits and then says why it ends."""
    monkeypatch.setattr(journal_postgres, "_SESSION", {**journal_postgres._SESSION, "lock_timeout": "50ms"})
    with postgres.connect("journal") as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", (journal_postgres._WRITER_LOCK,))
        assert "is locked by another process; is a second RAD running?" in refusal(url, clock)


@pytest.mark.parametrize("fsync", ["on", "off"])
def test_commits_are_durable_whatever_the_server_does_by_default(
    url: str, clock: ManualClock, postgres: PostgresServer, caplog: pytest.LogCaptureFixture, fsync: str
) -> None:
    """synchronous_commit is on in the writer's session; a server without fsync is warned of, and no other."""
    postgres.execute("ALTER DATABASE journal SET synchronous_commit = off")
    postgres.execute(f"ALTER SYSTEM SET fsync = {fsync}")
    postgres.execute("SELECT pg_reload_conf()")
    said: list[str] = []
    try:
        until(lambda: postgres.execute("SHOW fsync") == [(fsync,)], "the server's new settings")
        journal = SqlJournal(url, clock, label="test")
        journal._note(journal_module._Note("a question", lambda connection: said.append(
            connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        )), wait=True)
        journal.close()
    finally:
        postgres.execute("ALTER SYSTEM RESET fsync")
        postgres.execute("SELECT pg_reload_conf()")
        postgres.execute("ALTER DATABASE journal RESET synchronous_commit")
    assert said == ["on"]
    assert ("PostgreSQL runs with fsync=off" in caplog.text) == (fsync == "off")


def test_reading_a_database_without_a_journal(url: str) -> None:
    """Nothing is made by looking."""
    with pytest.raises(JournalError, match="holds no journal of RAD's yet"):
        JournalReader.open(url)


def texts_of(error: BaseException) -> list[str]:
    """Return what an error and everything that led to it says."""
    texts = []
    link: BaseException | None = error
    while link is not None:
        texts += [str(link), repr(link)]
        link = link.__cause__ or link.__context__
    return texts


def test_the_password_is_told_nobody(
    url: str, clock: ManualClock, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the log at any level, nor in what an error says, its causes included."""
    caplog.set_level(logging.DEBUG)
    journal = SqlJournal(url, clock, label="test")
    postgres.end_connections()
    with pytest.raises(JournalError) as cut:
        journal.save_position(a_position(), wait=True)
    journal.close()
    with pytest.raises(JournalError) as refused:
        SqlJournal(url.replace(str(postgres.port), "1"), clock, label="test")
    texts = [caplog.text, *texts_of(cut.value), *texts_of(refused.value)]
    assert "lost its server" in caplog.text
    for secret in (PASSWORD, "between-slash%2Fand%40sign"):
        assert not any(secret in text for text in texts)


# ---- addresses and words: no server needed -------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_an_address_means_psycopg(scheme: str) -> None:
    """However people write it, the driver is the one RAD brings, and the name shows no secret."""
    url = f"{scheme}://rad:p%40ss@db:5433/journal?password=p%40ss&sslmode=require"
    assert read_url(url).drivername == "postgresql+psycopg"
    assert read_url(url).password == "p@ss"
    assert name_of(url) == "postgresql://rad:***@db:5433/journal"


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("mysql://rad:hunter2@db/rad", "names mysql, which RAD does not speak"),
        ("postgresql+psycopg2://rad:hunter2@db/rad", "names postgresql\\+psycopg2, which RAD does not speak"),
        ("postgresql:rad:hunter2", "is not a database address"),
        ("postgresql://rad:hunter2@db:port/rad", "is not a database address"),
        ("postgresql://rad:x@hunter2@db/rad", "has more than one @; in a password write %40 for it"),
    ],
)
def test_a_wrong_address_is_refused_without_repeating_it(url: str, meaning: str) -> None:
    """The text says what is wrong and keeps the password."""
    with pytest.raises(JournalError, match=f"^journal.url {meaning}") as caught:
        read_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "is_everyones", "meaning"),
    [
        (psycopg.errors.DiskFull("could not extend file"), True, "cannot grow: the disk is full"),
        (psycopg.errors.ReadOnlySqlTransaction("x"), True, "is read-only"),
        (psycopg.errors.LockNotAvailable("x"), True, "is locked by another process"),
        (psycopg.errors.QueryCanceled("x"), True, "does not answer in time"),
        (psycopg.errors.AdminShutdown("x"), True, "lost its server"),
        (psycopg.errors.TooManyConnections("x"), True, "has no connection left"),
        (psycopg.errors.InsufficientPrivilege("x"), True, "does not let this user write"),
        (psycopg.errors.DataCorrupted("x"), True, "is damaged"),
        (psycopg.errors.IoError("x"), True, "the disk fails"),
        (psycopg.errors.UndefinedColumn("no such thing"), True, "failed: no such thing"),
        (psycopg.errors.NumericValueOutOfRange("too big"), False, "failed: too big"),
        (psycopg.errors.CheckViolation("not so"), False, "refused a row: not so"),
        (psycopg.errors.ProgramLimitExceeded("index row too large"), False, "failed: index row too large"),
        (psycopg.ProgrammingError("cannot adapt type"), False, "failed: cannot adapt type"),
        (psycopg.OperationalError("the connection is closed"), True, "lost its server"),
    ],
)
def test_a_fault_of_the_server_in_words(error: psycopg.Error, is_everyones: bool, meaning: str) -> None:
    """Each kind says what would help, and whether it holds up all notes or condemns one."""
    wrapped = sa.exc.DBAPIError.instance("COMMIT", {}, error, psycopg.Error)
    assert is_about_the_database(wrapped) is is_everyones
    wrapped.connection_invalidated = True            # with the connection gone it is no single note's fault
    assert is_about_the_database(wrapped)
    assert meaning in str(worded(wrapped, "postgresql://rad:hunter2@db/rad"))
    assert "hunter2" not in str(worded(wrapped, "postgresql://rad:hunter2@db/rad"))
