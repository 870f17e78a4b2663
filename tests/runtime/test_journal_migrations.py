"""An older journal is brought up to date with all its rows, or left as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from runtime import journal_migrations, journal_version
from runtime import journal_schema as schema
from runtime.journal import SqlJournal
from runtime.journal_address import read_url
from runtime.journal_reader import JournalReader
from tests.crowd import crowd
from tests.manual_clock import ManualClock
from tests.postgres import PostgresServer
from tests.runtime.journal_facts import SYMBOL, a_fill, a_plan, a_position, a_request, a_trade
from trading.errors import JournalError
from trading.lifecycle import IntentState

NEWEST = journal_version.SCHEMA_VERSION
V1 = Path(__file__).with_name("journal_v1.sql").read_text()


@pytest.fixture
def old_url(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of a journal of version 1, with rows in every table."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
            connection.executescript(V1.replace("SERIAL", "INTEGER"))
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.execute(V1, "journal")
    return url


@contextmanager
def looking(url: str) -> Iterator[sa.Connection]:
    """Look at a database past the journal."""
    with sa.create_engine(read_url(url), poolclass=sa.NullPool).connect() as connection:
        yield connection


def shape_of(url: str) -> Mapping[str, Any]:
    """Return everything the database knows of the journal's tables, in an order of its own."""
    with looking(url) as connection:
        known = sa.inspect(connection)
        return {
            table: {
                "columns": sorted(
                    (column["name"], str(column["type"]), column["nullable"], str(column["default"]))
                    for column in known.get_columns(table)
                ),
                "key": known.get_pk_constraint(table)["constrained_columns"],
                "indexes": sorted(_words(index) for index in known.get_indexes(table)),
                "unique": sorted(str(each["column_names"]) for each in known.get_unique_constraints(table)),
                "checks": sorted(_words(check) for check in known.get_check_constraints(table)),
            }
            for table in known.get_table_names()
        }


def _words(said: Any) -> str:
    if isinstance(said, dict):
        return str(sorted((name, _words(value)) for name, value in said.items()))
    return str(said)


def test_a_journal_of_version_1_is_opened_with_all_its_rows(old_url: str, clock: ManualClock) -> None:
    """Every fact written by the first RAD is read, and new ones go beside them."""
    journal = SqlJournal(old_url, clock, label="test")
    assert journal.meta()["schema"] == str(NEWEST)
    assert [repr(position) for position in journal.open_positions()] == [repr(a_position())]
    assert journal.trades() == (a_trade("p0"),)
    (intent,) = journal.unsettled_intents()
    assert (intent.request, intent.plan, intent.state, intent.order_id) == (
        a_request(), a_plan(), IntentState.ACCEPTED, "o1"
    )
    assert journal.fills_of("p1") == (a_fill("t1"),)
    assert [(event.kind, event.message) for event in journal.events()] == [("note", 'it\'s an "event"')]
    assert [point.equity for point in journal.equity_curve()] == [D("1000.10")]
    assert (journal.peak_equity(), journal.day_start_equity("2026-11-24")) == (D("1000.10"), D("1000.10"))
    journal.record_event("later", "", SYMBOL)
    journal.save_position(a_position("p2"), wait=True)
    assert [event.kind for event in journal.events()] == ["later", "note"]
    journal.close()


def test_what_may_have_missed_its_funding_is_looked_up_anew(old_url: str, clock: ManualClock) -> None:
    """Booked as none over a full hour, it may have been a look-up that failed; what is sure stays as it is."""
    hour_ms = 3_600_000
    with looking(old_url) as connection:
        for name, opened_ms, closed_ms, funding in (
            ("over", hour_ms - 1, hour_ms, "0"), ("within", hour_ms, 2 * hour_ms - 1, "0"),
            ("paid", hour_ms - 1, hour_ms, "-0.5"),
        ):
            connection.exec_driver_sql(
                "INSERT INTO trade (position_id, symbol, side, quantity, entry_price, exit_price, opened_ms, "
                "closed_ms, exit_reason, fee, funding, realised_pnl, r_multiple, strategy) "
                f"VALUES ('{name}', 'X', 'long', '1', '1', '1', {opened_ms}, {closed_ms}, 'manual', '0', "
                f"'{funding}', '0', '0', '')"
            )
        connection.commit()
    journal = SqlJournal(old_url, clock, label="test")
    assert [trade.position_id for trade in journal.trades_without_funding(2**53, 10)] == ["over"]
    assert {trade.position_id for trade in journal.trades()} == {"over", "within", "paid", "p0"}
    journal.close()


def test_a_migrated_journal_has_the_tables_of_a_new_one(
    old_url: str, clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A table, column, index or check that only new journals have is missing a step in the migrations."""
    SqlJournal(old_url, clock, label="test").close()
    if old_url.startswith("sqlite"):
        new_url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    else:
        new_url = request.getfixturevalue("postgres").url("new")
    SqlJournal(new_url, clock, label="test").close()
    migrated, new = shape_of(old_url), shape_of(new_url)
    assert set(new) == set(schema.metadata.tables)
    assert migrated == new


def test_a_migration_that_fails_half_way_changes_nothing(
    old_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps before are done, the last fails: the journal is of version 1 as before, to be migrated later."""
    before = shape_of(old_url)

    def fail(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE position ADD COLUMN half_done TEXT")
        connection.exec_driver_sql("UPDATE position SET half_done = 'yes', symbol = 'gone'")
        raise OSError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(journal_migrations, "SCHEMA_VERSION", NEWEST + 1)
        patched.setattr(journal_migrations, "STEPS", {**journal_migrations.STEPS, NEWEST + 1: fail})
        with pytest.raises(JournalError, match="out of luck"):
            SqlJournal(old_url, clock, label="test")
    assert shape_of(old_url) == before
    with pytest.raises(JournalError, match=f"has schema 1, but this RAD reads {NEWEST}; start it once"):
        JournalReader.open(old_url)
    journal = SqlJournal(old_url, clock, label="test")
    assert journal.open_positions() == (a_position(),)
    journal.close()


def test_a_journal_of_another_mode_is_not_migrated(old_url: str, clock: ManualClock) -> None:
    """What is refused is left to the RAD it belongs to."""
    with pytest.raises(JournalError, match="belongs to test, not to live futures"):
        SqlJournal(old_url, clock, label="live futures")
    assert "lease" not in shape_of(old_url)


def test_tables_of_somebody_else_are_left_alone(old_url: str, clock: ManualClock) -> None:
    """A database with a table of one of our names, but no word of RAD in it, is refused."""
    with looking(old_url) as connection:
        connection.exec_driver_sql("DROP TABLE meta")
        connection.commit()
    before = shape_of(old_url)
    with pytest.raises(JournalError, match="is not a journal of RAD's, but has a table day"):
        SqlJournal(old_url, clock, label="test")
    assert shape_of(old_url) == before


def test_two_that_open_at_once_migrate_once(
    postgres: PostgresServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two daemons that meet on one server the second finds the work done."""
    caplog.set_level("INFO")
    url = postgres.url()
    postgres.execute(V1, "journal")
    opened: list[SqlJournal] = []
    with crowd(*[lambda: opened.append(SqlJournal(url, clock, label="test"))] * 2):
        pass
    assert len(opened) == 2
    assert caplog.text.count(f"journal migrated from=1 to={NEWEST}") == 1
    for journal in opened:
        journal.close()
