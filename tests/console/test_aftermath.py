"""What can be asked when no daemon runs, from a journal written by the real one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from console.__main__ import main
from console.wording import earned_by
from control.views import position_view, trade_view
from runtime.journal import SqlJournal
from runtime.journal_reader import JournalReader
from tests.control.test_views import FIXED_POSITION, FIXED_STATUS, FIXED_TRADE, a_position, a_stop
from tests.manual_clock import ManualClock
from tests.postgres import PostgresServer
from trading.client_ids import Purpose
from trading.facts import ClosedTrade, ExitReason, OrderRequest, OrderSide
from trading.lifecycle import PositionState

D = Decimal


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a folder"        # with a space: the journal is opened by an address
    folder.mkdir()
    monkeypatch.setenv("RAD_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def journal(data_dir: Path) -> Iterator[SqlJournal]:
    journal = SqlJournal(url_in(data_dir), ManualClock())
    yield journal
    journal.close()


def url_in(folder: Path, mode: str = "paper") -> str:
    return f"sqlite:///{folder / f'journal-{mode}.sqlite'}"


def a_trade(**changes: Any) -> ClosedTrade:
    position = a_position()
    usual = ClosedTrade(
        position_id="p1", symbol=position.symbol, side=position.side, quantity=D(10),
        entry_price=D("50000.10"), exit_price=D("49800"), opened_ms=position.opened_ms,
        closed_ms=position.opened_ms + 60_000, exit_reason=ExitReason.TRAILING_STOP, fee=D("0.6"),
        funding=D("-0.01"), realised_pnl=D("1.4"), r_multiple=D("0.5"), strategy="trend",
    )
    return replace(usual, **changes)


def fill(journal: SqlJournal) -> None:
    """Two open positions, two closed, an order under way, and the account."""
    journal.save_position(a_position(protective_stop=a_stop(), reasons=("EMA falls", "RSI 31")), wait=True)
    journal.save_position(a_position(position_id="p2", symbol="ETH/USDT:USDT", atr=D("1E-7")), wait=True)
    for number, closed_ms in (("c1", 1_767_323_200_000), ("c2", 1_767_323_300_000)):
        closed = a_position(position_id=number, state=PositionState.CLOSED, quantity=D(0))
        trade = a_trade(position_id=number, closed_ms=closed_ms, funding_known=number == "c1")
        journal.record_execution("", (), closed, trade)
    request = OrderRequest(
        client_oid="rad-1-x", symbol="BTC/USDT:USDT", side=OrderSide.BUY, close_order=True,
        stop_price=D("50400.10"),
    )
    journal.record_intent("p1", request, Purpose.STOP.value, wait=True)
    journal.record_account("2026-11-24", D("10010.50"), D(10000), D(10020), D(9000))
    journal.save_position(a_position(protective_stop=a_stop(), reasons=("EMA falls", "RSI 31")), wait=True)


def asked(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == (3 if argv[0] == "status" else 0)
    return json.loads(capsys.readouterr().out)


def test_answers_equal_those_of_the_full_reader(
    journal: SqlJournal, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quick reader and the full one read the same facts, to the last digit."""
    fill(journal)
    reader = JournalReader.open(url_in(data_dir))
    positions = asked(capsys, "positions")
    trades = asked(capsys, "trades")
    assert positions == [position_view(position, None) for position in reader.open_positions()]
    assert trades == [trade_view(trade) for trade in reader.trades()]
    assert [(trade["position_id"], trade["funding"]) for trade in trades] == [("c2", None), ("c1", "-0.01")]
    assert [earned_by(trade) for trade in trades] == ["+1.40 before funding", "+1.40"]
    assert asked(capsys, "trades", "--limit", "1") == trades[:1]
    assert {(each["protected"], each["exchange_stop_price"]) for each in positions} == {
        (True, "50400.1"), (False, None)
    }
    assert set(positions[0]) >= FIXED_POSITION
    assert set(trades[0]) >= FIXED_TRADE
    reader.close()


def test_status_is_down_and_warns_of_what_was_left_open(
    journal: SqlJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """State down, the last equity seen, and a sentence about positions nobody trails."""
    fill(journal)
    status = asked(capsys, "status")
    assert set(status) >= FIXED_STATUS
    assert (status["state"], status["mode"], status["equity"]) == ("down", "paper", "10010.5")
    assert (status["positions"], status["protected"]) == (2, 1)
    assert "2, 1 of them with a stop" in status["problems"][0]


def test_a_person_is_told_that_it_is_the_journal_who_speaks(
    journal: SqlJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """No table of yesterday's looks like one of now; status says it in its first line and its exit code."""
    fill(journal)
    for command in ("positions", "trades", "orders"):
        assert main([command]) == 0
        assert "the daemon is not running" in capsys.readouterr().err
    assert main(["status"]) == 3
    out, err = capsys.readouterr()
    assert (out.splitlines()[0].split(), err) == (["state", "down"], "")


def test_orders_are_those_without_an_end(journal: SqlJournal, capsys: pytest.CaptureFixture[str]) -> None:
    """An order under way when the daemon ended is told with what is known of it."""
    fill(journal)
    (order,) = asked(capsys, "orders")
    assert (order["client_oid"], order["state"], order["stop_price"]) == ("rad-1-x", "intended", "50400.1")
    assert (order["close_order"], order["purpose"]) == (True, "stop")
    assert order["active"] is None               # nobody asked the exchange


@pytest.mark.parametrize("command", ["status", "positions", "trades", "orders"])
def test_before_the_first_run_there_is_nothing(
    data_dir: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Without any journal the answers are empty, and nothing is created."""
    answer = asked(capsys, command)
    assert answer == [] if command != "status" else (answer["state"], answer["equity"]) == ("down", None)
    assert main([command]) == (3 if command == "status" else 0)
    assert list(data_dir.iterdir()) == []


def test_the_journal_that_ran_last_is_read_unless_told(
    journal: SqlJournal, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag told the last daemon its mode, so its journal is the one meant; --mode and RAD_MODE choose."""
    import os

    fill(journal)
    SqlJournal(url_in(data_dir, "sandbox"), ManualClock()).close()
    for file in data_dir.glob("journal-sandbox*"):
        os.utime(file, (1, 1))
    assert asked(capsys, "status")["mode"] == "paper"
    assert asked(capsys, "status", "--mode", "sandbox")["positions"] == 0
    monkeypatch.setenv("RAD_MODE", "sandbox")
    assert asked(capsys, "status")["mode"] == "sandbox"
    monkeypatch.setenv("RAD_JOURNAL__URL", url_in(data_dir, "paper"))
    assert asked(capsys, "status")["positions"] == 2


def test_what_a_killed_daemon_left_is_read(
    journal: SqlJournal, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a power cut the latest commits lie in the log beside the journal, and are read from there."""
    fill(journal)
    after = tmp_path / "after"
    after.mkdir()
    for name in ("journal-paper.sqlite", "journal-paper.sqlite-wal"):
        shutil.copy(data_dir / name, after / name)
    monkeypatch.setenv("RAD_DATA_DIR", str(after))
    assert asked(capsys, "status")["positions"] == 2


def test_a_damaged_journal_is_one_line(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no journal ends with exit code 1 and its name."""
    (data_dir / "journal-live.sqlite").write_text("not a database at all, but long enough to be read" * 20)
    assert main(["positions"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "journal-live.sqlite cannot be read" in err


# ---- on a server ---------------------------------------------------------------------------------


@pytest.fixture
def server_url(postgres: PostgresServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty database, which the settings name as the journal's."""
    url = postgres.url("aftermath")
    monkeypatch.setenv("RAD_JOURNAL__URL", url)
    return url


def test_a_journal_on_a_server_answers_the_same(
    journal: SqlJournal, server_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on PostgreSQL is told as what lies in a file, and whose it is stands in the journal itself."""
    on_server = SqlJournal(server_url, ManualClock(), label="paper futures")
    for each in (journal, on_server):
        fill(each)
    commands = ("status", "positions", "trades", "orders")
    from_server = {command: asked(capsys, command) for command in commands}
    monkeypatch.delenv("RAD_JOURNAL__URL")
    assert from_server == {command: asked(capsys, command) for command in commands}
    assert (from_server["status"]["mode"], from_server["status"]["equity"]) == ("paper", "10010.5")
    on_server.close()


def test_a_server_without_a_journal_or_without_a_server_is_one_line(
    server_url: str, capsys: pytest.CaptureFixture[str], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why nothing can be told, in one line that keeps the password."""
    for url, meaning in (
        (server_url, "holds no journal of RAD's yet"),
        (server_url.replace(str(postgres.port), "1"), "is not reached; does the server run"),
    ):
        monkeypatch.setenv("RAD_JOURNAL__URL", url)
        assert main(["status"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert meaning in line
        assert "between" not in line


def test_a_journal_of_another_schema_is_one_line(
    journal: SqlJournal, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a newer nor an older journal is misread."""
    journal.close()
    for version, meaning in (("99", "use the RAD that wrote it"), ("1", "start it once")):
        with closing(sqlite3.connect(data_dir / "journal-paper.sqlite")) as connection, connection:
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (version,))
        assert main(["status"]) == 1
        assert f"journal-paper.sqlite has schema {version}, but this RAD" in (said := capsys.readouterr().err)
        assert meaning in said
