"""Exits go first: with what they must never wait for held up for good, they leave all the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from tests.daemon_process import PATIENCE_S, Daemon
from tests.test_daemon_ending import await_struck, in_background, running

pytestmark = pytest.mark.process

WORKERS = 20
LONGER_THAN_THE_TEST_MS = 3_600_000
JUST_BEYOND = 0.9995           # past RAD's stop, short of the one that rests 0.1 % behind it
NEVER = {"EXCHANGE__DEADLINE": "60s"}      # no call that is withheld gives up during the test


def until(holds: Callable[[], object], what: str) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what


def opened(box: RunningSandbox, daemon: Daemon, symbol: str) -> float:
    """Open a long and return its stop, once its prices are pushed; the resting stop is confirmed by then."""
    position = daemon.ask("/api/open", {"symbol": symbol, "side": "long"})
    until(lambda: any(symbol in topic for topic in box.state()["topics"]), "its prices are not listened to")
    return float(position["stop_price"])


def has_left(box: RunningSandbox, symbol: str) -> bool:
    """Whether an exit of RAD's own has been filled there; its resting stop has not fired."""
    return any("-x" in fill["client_oid"] and fill["symbol"] == symbol for fill in box.history("fill"))


def test_with_every_scan_parked_and_the_public_pool_empty_a_breach_sends_its_exit(tmp_path: Path) -> None:
    """Twenty workers inside calls that never come back, not one public request allowed: the exit is filled."""
    with run_sandbox("synthetic", pairs=WORKERS + 4, seed=5, volatility=1.0) as box:
        candles = box.fault("black_hole", path="/api/v1/kline/query", skip=2)["id"]      # BTC and ETH get theirs

        def parked() -> int:
            return sum(rule["struck"] for rule in box.control("faults")["faults"] if rule["id"] == candles)

        with running(box, tmp_path, SCANNER__WORKERS=str(WORKERS), **NEVER) as daemon:
            until(lambda: parked() == WORKERS, "not all workers were caught")
            stop = opened(box, daemon, "XBTUSDTM")
            box.control("rates", {"exhaust": "public", "window_ms": LONGER_THAN_THE_TEST_MS})
            box.set_price("XBTUSDTM", stop * JUST_BEYOND)
            until(lambda: has_left(box, "XBTUSDTM"), "no exit came")
            assert parked() == WORKERS                     # they are where they were


def test_an_exit_is_over_while_an_entry_of_another_symbol_is_unanswered(tmp_path: Path) -> None:
    """The entry's answer is withheld for as long as the test lasts; the other position closes and is booked."""
    with (
        run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box,
        running(box, tmp_path, **NEVER) as daemon,
    ):
        stop = opened(box, daemon, "XBTUSDTM")
        box.fault("black_hole", method="POST", path="/api/v1/orders", symbol="ETHUSDTM", commit=True)
        entry, _ = in_background(lambda: daemon.ask("/api/open", {"symbol": "ETHUSDTM", "side": "long"}))
        await_struck(box)
        box.set_price("XBTUSDTM", stop * JUST_BEYOND)
        until(lambda: daemon.ask("/api/trades"), "the exit was not booked")
        latency = daemon.ask("/api/status")["exit_latency_ms"]
        assert latency["stages"].keys() == {"decided", "claimed", "sent", "acknowledged"}
        assert latency["count"] == latency["stages"]["sent"]["count"] == 1
        assert has_left(box, "XBTUSDTM")
        assert entry.is_alive()
