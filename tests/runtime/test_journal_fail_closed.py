"""Whatever befalls the journal's disk: no entry is sent, exits go on, and all that happened is written once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from decimal import Decimal as D
from pathlib import Path
from typing import BinaryIO

import pytest
import sqlalchemy as sa

from runtime import journal as journal_module
from runtime.journal import SqlJournal
from runtime.journal_address import read_url
from tests.manual_clock import ManualClock
from tests.postgres import PostgresServer
from tests.runtime.journal_facts import url_in
from tests.trading_house import SYMBOL, TradingHouse, a_manager, an_account, an_entry_request, exit_rules
from trading.errors import JournalError
from trading.facts import Position
from trading.lifecycle import IntentState

PATIENCE_S = 10.0
ETHER = "ETH/USDT:USDT"

Break = Callable[[SqlJournal], AbstractContextManager[None]]


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of that size; skips where this is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here; a full database is tested by its page limit")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=PATIENCE_S)


def fill_disk(folder: Path) -> Path:
    """Write a file until the disk has no byte left; return it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as output, pytest.raises(OSError, match="No space left"):
        _write_for_ever(output)
    return ballast


def _write_for_ever(output: BinaryIO) -> None:
    while True:
        output.write(b"\0" * 4096)


@contextmanager
def full(journal: SqlJournal) -> Iterator[None]:
    """Fill the journal's disk to the last byte. What its log has room for is used up first."""
    ballast = fill_disk(Path(read_url(journal.url).database or "").parent)
    while journal.healthy:
        journal._note(journal_module._Note("filler", _fill_the_log, must_keep=False), wait=False)
        journal.flush(0.5)
    yield
    ballast.unlink()


def _fill_the_log(connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE meta SET value = hex(randomblob(30000)) WHERE name = 'probe'")


@contextmanager
def locked(journal: SqlJournal) -> Iterator[None]:
    """Let another writer hold the file."""
    with closing(sqlite3.connect(read_url(journal.url).database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def read_only(journal: SqlJournal) -> Iterator[None]:
    """SQLite refuses every write, on the connection there is and on each new one."""
    def forbid(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    journal._note(journal_module._Note(
        "a lock", lambda connection: connection.exec_driver_sql("PRAGMA query_only = ON") and None
    ), wait=True)
    sa.event.listen(journal._engine, "connect", forbid)
    yield
    sa.event.remove(journal._engine, "connect", forbid)


@contextmanager
def damaged(journal: SqlJournal) -> Iterator[None]:
    """Overwrite the tables in the file; the writer notices when it looks the next time."""
    file = Path(read_url(journal.url).database or "")
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    with file.open("r+b") as content:
        content.seek(4096)
        content.write(b"\xff" * (len(whole) - 4096))
    yield
    with file.open("r+b") as content:
        content.write(whole)


@pytest.fixture(params=[full, locked, read_only, damaged])
def breaking(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SqlJournal, AbstractContextManager[None]]]:
    """A journal on a file, and what will befall it."""
    monkeypatch.setattr("runtime.journal_engine.BUSY_TIMEOUT_MS", 20)
    monkeypatch.setattr(journal_module, "RETRY_S", 0.02)
    with tmpfs(tmp_path / "disk", "1m") if request.param is full else _plain(tmp_path) as folder:
        journal = SqlJournal(url_in(folder), clock, label="test")
        yield journal, request.param(journal)
        journal.close()


@contextmanager
def _plain(folder: Path) -> Iterator[Path]:
    yield folder


@contextmanager
def unserved(postgres: PostgresServer) -> Iterator[None]:
    """Take the server away."""
    postgres.stop(signal.SIGINT)
    try:
        yield
    finally:
        postgres.start()


def trade_through(journal: SqlJournal, fault: AbstractContextManager[None]) -> None:
    """Open a position, break the journal, close the position, mend the journal, compare."""
    house = a_manager((SYMBOL, ETHER), exits=exit_rules(take_profit=()), journal=journal)
    position = opened(house)
    with fault:
        with pytest.raises(JournalError) as refused:
            house.manager.open_position(an_entry_request(ETHER), an_account())
        assert "\n" not in str(refused.value)
        assert not journal.healthy
        assert [request.symbol for request in house.exchange.entries()] == [SYMBOL]   # nothing sent for ETH
        price_falls_to(house, "48900")                                                # through the stop at 49,000
        (exit_order,) = house.exchange.exits()
        assert exit_order.symbol == SYMBOL
        assert house.manager.snapshot() == ()
        assert not journal.healthy
        journal.record_event("noted", "while it failed")
    with journal._lock:
        assert journal._changed.wait_for(lambda: journal.healthy and not journal._queue, PATIENCE_S)
    (trade,) = journal.trades()
    assert trade.position_id == position.position_id
    assert journal.open_positions() == ()
    assert len(journal.fills_of(position.position_id)) == 2                           # one in, one out
    assert {intent.state for intent in journal.intents_of(position.position_id)} == {IntentState.DONE}
    assert [event.message for event in journal.events() if event.kind == "noted"] == ["while it failed"]
    assert journal.unsettled_intents() == ()
    assert isinstance(house.manager.open_position(an_entry_request(ETHER), an_account()), Position)


def opened(house: TradingHouse) -> Position:
    """Open one position and return it."""
    position = house.manager.open_position(an_entry_request(), an_account())
    assert isinstance(position, Position)
    return position


def price_falls_to(house: TradingHouse, price: str) -> None:
    """Let the exchange and the price stream stand at *price*, and the monitor look."""
    house.exchange.prices[SYMBOL] = D(price)
    house.prices.set(SYMBOL, D(price))
    house.manager.update_positions()


def test_exits_go_on_while_the_file_fails(
    breaking: tuple[SqlJournal, AbstractContextManager[None]]
) -> None:
    """Full, locked, read-only, damaged: the position is closed all the same, and journalled when it can be."""
    trade_through(*breaking)


def test_exits_go_on_while_the_server_is_gone(
    clock: ManualClock, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of a journal on PostgreSQL."""
    monkeypatch.setattr(journal_module, "RETRY_S", 0.02)
    journal = SqlJournal(postgres.url(), clock, label="test")
    trade_through(journal, unserved(postgres))
    journal.close()


# ---- at the start --------------------------------------------------------------------------------


def test_a_full_disk_is_refused_at_the_start(tmp_path: Path, clock: ManualClock) -> None:
    """There is no room for a journal: one line says so."""
    with tmpfs(tmp_path / "disk", "64k") as folder:
        fill_disk(folder)
        with pytest.raises(JournalError, match=r"cannot grow: the disk is full|the disk fails") as caught:
            SqlJournal(url_in(folder), clock, label="test")
    assert "\n" not in str(caught.value)


def test_a_read_only_disk_is_refused_at_the_start(tmp_path: Path, clock: ManualClock) -> None:
    """The journal is there, its disk takes no writes: one line says so."""
    with tmpfs(tmp_path / "disk", "1m") as folder:
        SqlJournal(url_in(folder), clock, label="test").close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, timeout=PATIENCE_S)
        with pytest.raises(JournalError, match="cannot be opened; .* may this user write there"):
            SqlJournal(url_in(folder), clock, label="test")
