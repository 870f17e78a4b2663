"""The two ways from one machine to another, as docs/OPERATIONS.md has them: a backup, and a server's dump.

Two folders stand for two machines. The exchange is a process of its own, so the account outlives the move,
and its prices go on.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.campaign.processes import Exchange
from tests.daemon_process import PROJECT, Daemon, rad
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

PATIENCE_S = 30.0
RUN_BOOK = (PROJECT / "docs" / "OPERATIONS.md").read_text()
BY_HAND = {
    "MODE": "live", "RECONCILE__INTERVAL": "5s", "SCANNER__MIN_VOLUME_24H": "1000000M", "LIMITS__COOLDOWN": "none",
    "EXITS__TAKE_PROFIT": "none", "EXITS__STOP_LOSS": "2%", "PROTECT__MIN_INTERVAL": "100ms",
}


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    running = Exchange("--pairs", "8", "--volatility", "0.2", "--seed", "5")
    yield running
    running.stop()


def test_a_move_with_open_positions_loses_and_doubles_nothing(exchange: Exchange, tmp_path: Path) -> None:
    """Paused, ended, backed up, restored elsewhere, looked at, started: every line of it does what is said."""
    settings = {**exchange.settings, **BY_HAND}
    old, new = folders(tmp_path, "old", "new")

    def do(folder: Path, *command: str, code: int = 0) -> str:
        done = rad(folder, *command, **settings)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    with Daemon(old, "--live", **settings) as first:
        first.await_line(r"running positions=0")
        open_by_hand(first, "XBTUSDTM", "ETHUSDTM", "SOLUSDTM")
        first.ask("/api/close", {"symbol": "XBTUSDTM"})
        first.ask("/api/blacklist/add", {"symbol": "DOGEUSDTM"})
        do(old, "pause")
        assert first.end(signal.SIGTERM) == 0
    before = exchange.books()
    do(old, "backup", str(tmp_path / "rad.tar.gz"))
    move(exchange, "ETHUSDTM", 1.03)
    do(new, "restore", str(tmp_path / "rad.tar.gz"))
    assert not (new / "data" / "config.restored.yaml").exists()
    assert " 2 positions open in it" in do(new, "doctor")
    do(new, "verify")
    with Daemon(new, "--live", **settings) as second:
        second.await_line(r"running positions=2 recovered=2")
        assert "none: paused" in do(new, "status")
        second.ask("/api/resume", {})
        assert second.ask("/api/blacklist")["symbols"] == ["DOGE/USDT:USDT"]
        assert not [line for line in problems(second) if not line.startswith("universe: ")]
        held = {p["symbol"]: p["protected"] for p in second.ask("/api/positions")}
        assert held == {"ETH/USDT:USDT": True, "SOL/USDT:USDT": True}
        assert [t["symbol"] for t in second.ask("/api/trades")] == ["BTC/USDT:USDT"]
        await_that(lambda: exchange.resting("ETHUSDTM") > stops_of(before, "ETHUSDTM"), "the stop followed")
        assert second.ask("/api/verify")["differences"] == []
        assert second.end() == 0
    assert sizes(exchange.books()) == sizes(before)
    assert_nothing_doubled(exchange)


def test_a_lost_server_comes_back_from_its_dump(
    exchange: Exchange, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Over the old database, and into an empty one: what happened since the dump is found, once."""
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        pytest.skip("no pg_dump and pg_restore here; sudo apt-get install postgresql-client")
    settings = {**exchange.settings, **BY_HAND, "JOURNAL__URL": postgres.url("moving")}
    (folder,) = folders(tmp_path, "rad")
    with Daemon(folder, "--live", **settings) as first:
        first.await_line(r"running positions=0")
        open_by_hand(first, "XRPUSDTM", "XBTUSDTM", "ETHUSDTM", "SOLUSDTM")
        first.ask("/api/close", {"symbol": "XRPUSDTM"})
        follow("pg_dump", settings, tmp_path)
        go_on_trading(exchange, first)
        held = positions(first)
        first.end(signal.SIGKILL)
        assert "journal not written" not in first.text()
    before = exchange.books()
    follow("pg_restore", settings, tmp_path)
    compared = rad(folder, "verify", **settings)
    assert compared.returncode == 1, compared.stdout + compared.stderr
    assert "RAD books it with its next comparison" in compared.stdout
    for database in (settings["JOURNAL__URL"], postgres.url("moving_empty")):
        settings["JOURNAL__URL"] = database
        follow("pg_restore", settings, tmp_path)
        with Daemon(folder, "--live", **settings) as next_one:
            next_one.await_line(r"lease taken epoch=1 from=nobody")
            next_one.await_line(r"running positions=")
            await_that(lambda: next_one.ask("/api/verify")["differences"] == [], "agreement", next_one.text)
            assert positions(next_one) == held
            assert all(p["protected"] for p in next_one.ask("/api/positions"))
            assert booked(next_one) == [
                ("BTC/USDT:USDT", True), ("SOL/USDT:USDT", True), ("XRP/USDT:USDT", False),
            ]
            next_one.end(signal.SIGKILL)
        assert "journal not written" not in next_one.text()
    assert sizes(exchange.books()) == sizes(before)
    assert_nothing_doubled(exchange)


def go_on_trading(exchange: Exchange, daemon: Daemon) -> None:
    """After the dump: an exit, a stop that moves, one that fires, another position there, and a whole trade."""
    daemon.ask("/api/close", {"symbol": "XBTUSDTM"})
    resting = exchange.resting("ETHUSDTM")
    move(exchange, "ETHUSDTM", 1.03)
    await_that(lambda: exchange.resting("ETHUSDTM") > resting, "the stop moved", daemon.text)
    daemon.process.send_signal(signal.SIGSTOP)       # so that it is the exchange's stop that closes it
    move(exchange, "SOLUSDTM", 0.95)
    daemon.process.send_signal(signal.SIGCONT)
    daemon.await_line(r"SOL/USDT:USDT closed")
    open_by_hand(daemon, "SOLUSDTM", "BNBUSDTM", "DOGEUSDTM")
    daemon.ask("/api/close", {"symbol": "BNBUSDTM"})


def follow(command: str, settings: dict[str, str], folder: Path) -> None:
    """Run the line of the run-book that begins with *command*, as it stands there."""
    (line,) = re.findall(rf"^    ({command} .*)$", RUN_BOOK, re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=os.environ | {"RAD_JOURNAL__URL": settings["JOURNAL__URL"]},
        text=True, capture_output=True, timeout=PATIENCE_S, check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def folders(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).mkdir()
    return [root / name for name in names]


def open_by_hand(daemon: Daemon, *symbols: str) -> None:
    for symbol in symbols:
        daemon.ask("/api/open", {"symbol": symbol, "side": "long", "notional": "300"})


def move(exchange: Exchange, symbol: str, factor: float) -> None:
    exchange.control("price", {"symbol": symbol, "price": round(exchange.prices()[symbol] * factor, 2)})


def positions(daemon: Daemon) -> list[tuple[str, str, str]]:
    return sorted((p["symbol"], p["quantity"], p["entry_price"]) for p in daemon.ask("/api/positions"))


def booked(daemon: Daemon) -> list[tuple[str, bool]]:
    """Return the trades, and whether each was booked by this daemon."""
    trades = {t["symbol"] for t in daemon.ask("/api/trades")}
    said = daemon.text()
    return sorted((symbol, f"{symbol} closed " in said) for symbol in trades)


def problems(daemon: Daemon) -> list[str]:
    found: list[str] = daemon.ask("/api/status")["problems"]
    return found


def stops_of(books: dict[str, list[dict[str, str]]], symbol: str) -> list[float]:
    return [float(stop["stopPrice"]) for stop in books["stops"] if stop["symbol"] == symbol]


def sizes(books: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    """Return what is held, having seen that exactly one stop rests for each."""
    held = {row["symbol"]: row["currentQty"] for row in books["positions"]}
    assert sorted(stop["symbol"] for stop in books["stops"]) == sorted(held)
    return held


def assert_nothing_doubled(exchange: Exchange) -> None:
    accepted = [e["client_oid"] for e in exchange.history() if e["event"] in ("order_accepted", "stop_placed")]
    orders = [client_oid for client_oid in accepted if client_oid]
    assert len(orders) == len(set(orders)), sorted(orders)


def await_that(condition: Callable[[], bool], what: str, text: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not {what} within {PATIENCE_S:g} s:\n{text()}"
        time.sleep(0.05)
