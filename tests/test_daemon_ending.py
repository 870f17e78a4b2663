"""The daemon told to end, or to close everything, at a bad moment; and the margin modes it meets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from tests.daemon_process import PATIENCE_S, PROJECT, Daemon
from tests.sandbox.signed_client import SignedClient
from tests.test_daemon import exchange_settings

pytestmark = pytest.mark.process

PAUSED = {"LIMITS__COOLDOWN": "0s", "SCANNER__INTERVAL": "1h"}


def in_background(action: object) -> tuple[threading.Thread, list[object]]:
    """Run *action* in a thread; its result, or what it raised, ends up in the list."""
    results: list[object] = []

    def act() -> None:
        try:
            results.append(action())                  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results.append(error)

    thread = threading.Thread(target=act, name="in-background", daemon=True)
    thread.start()
    return thread, results


def await_struck(box: RunningSandbox) -> None:
    """Return once the first fault has struck: the request it is for has arrived."""
    until = time.monotonic() + PATIENCE_S
    while not box.control("faults")["faults"][0]["struck"]:
        assert time.monotonic() < until, "the fault never struck"


def running(box: RunningSandbox, folder: Path, *arguments: str, **settings: str) -> Daemon:
    """Return a daemon that runs and is paused."""
    folder.mkdir(exist_ok=True)
    daemon = Daemon(folder, *arguments, **exchange_settings(box, **{**PAUSED, **settings}))
    daemon.await_line(r"running positions=")
    daemon.ask("/api/pause", {})
    return daemon


def test_it_ends_in_time_in_the_middle_of_an_unanswered_entry(tmp_path: Path) -> None:
    """Neither the order nor the look-up is answered: ten seconds after the signal it has ended, and says so."""
    with (
        run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box,
        running(box, tmp_path, EXCHANGE__DEADLINE="30s") as daemon,
    ):
        box.fault("black_hole", path="/api/v1/orders*")
        in_background(lambda: daemon.ask("/api/open", {"symbol": "XBTUSDTM", "side": "long"}))
        await_struck(box)
        assert daemon.end() == 0
        assert "RAD has ended" in daemon.text()


def test_it_ends_in_time_when_nothing_answers_any_more(tmp_path: Path) -> None:
    """The network is gone with a position open: the end does not wait for it, and tells what rests there."""
    with (
        run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box,
        running(box, tmp_path, EXCHANGE__DEADLINE="30s") as daemon,
    ):
        daemon.ask("/api/open", {"symbol": "XBTUSDTM", "side": "long"})
        box.fault("black_hole")
        # Whether the stream had made its connection by then, or had not, something is missed within a deadline.
        daemon.await_line("stream silent|again_in|prices by REST|failed, trying again", PATIENCE_S)
        assert daemon.end() == 0
        assert "stop on the exchange at" in daemon.text()


def test_it_ends_in_time_while_it_starts(tmp_path: Path) -> None:
    """Orders cannot be read during the start: the signal ends it all the same."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box:
        box.fault("black_hole", path="/api/v1/orders*")
        with Daemon(tmp_path, **exchange_settings(box, EXCHANGE__DEADLINE="30s")) as daemon:
            daemon.await_line("markets loaded")
            assert daemon.end() == 0


def test_it_ends_in_time_while_what_the_scan_has_opened_cannot_be_read(tmp_path: Path) -> None:
    """The main thread itself waits for what became of its entry: neither the call nor the next hold the end up."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box:
        box.fault("black_hole", method="GET", path="/api/v1/orders/*")
        settings = exchange_settings(box, EXCHANGE__DEADLINE="30s", SCANNER__THRESHOLD="0.01")
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line("running positions=")
            await_struck(box)
            assert daemon.end() == 0
            assert "RAD has ended" in daemon.text()


def test_it_ends_in_time_when_its_last_look_finds_a_stop_gone_and_none_is_taken(tmp_path: Path) -> None:
    """A person has cancelled the stop, and no order is answered any more: what cannot be mended is left."""
    with (
        run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box,
        running(box, tmp_path, EXCHANGE__DEADLINE="30s", RECONCILE__INTERVAL="1h") as daemon,
    ):
        daemon.ask("/api/open", {"symbol": "XBTUSDTM", "side": "long"})
        SignedClient(box).data("DELETE", "/api/v1/stopOrders?symbol=XBTUSDTM")
        box.fault("black_hole", method="POST", path="/api/v1/orders")
        assert daemon.end() == 0
        assert "RAD has ended" in daemon.text()


# A thread of an executor is in a call that takes a minute, as a look-up by the system's resolver may.
LOOKING_UP = """
import runpy, sys, time
from concurrent.futures import ThreadPoolExecutor
ThreadPoolExecutor(1).submit(time.sleep, 60)
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("words", [["bot.py"], ["console/__main__.py", "run"]], ids=["bot", "rad"])
def test_the_end_waits_for_nothing_a_library_is_at(words: list[str]) -> None:
    """What RAD was asked for is over, here as its settings are not there: the process has ended with its code."""
    asked = [sys.executable, "-c", LOOKING_UP, *words, "--config", "/nowhere/config.yaml"]
    ended = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 4
    assert "/nowhere/config.yaml" in ended.stderr


def test_flatten_includes_the_entry_under_way(tmp_path: Path) -> None:
    """An entry whose answer takes two seconds is closed by the flatten that came meanwhile."""
    with (
        run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box,
        running(box, tmp_path) as daemon,
    ):
        box.fault("delay", method="POST", path="/api/v1/orders", delay_ms=2_000, count=1)
        thread, _ = in_background(lambda: daemon.ask("/api/open", {"symbol": "SOLUSDTM", "side": "long"}))
        await_struck(box)
        answer = daemon.ask("/api/flatten", {})
        thread.join(PATIENCE_S)
        assert [trade["symbol"] for trade in answer["closed"]] == ["SOL/USDT:USDT"], answer
        assert daemon.ask("/api/positions") == []
        assert box.state()["accounts"][0]["positions"] == []


def test_cross_positions_are_protected_at_the_leverage_asked_for(tmp_path: Path) -> None:
    """margin_mode cross: the stop rests, the leverage is the configured one, the exit is taken."""
    with (
        run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box,
        running(box, tmp_path, POSITIONS__MARGIN_MODE="cross", POSITIONS__LEVERAGE="2") as daemon,
    ):
        assert daemon.ask("/api/status")["protection_gap_ms"] is None
        opened = daemon.ask("/api/open", {"symbol": "XBTUSDTM", "side": "long"})
        assert opened["protected"]
        gaps = daemon.ask("/api/status")["protection_gap_ms"]
        assert (gaps["count"], gaps["p50"], gaps["p99"]) == (1, gaps["max"], gaps["max"])
        assert 0 < gaps["max"] < 5_000                # protect.deadline
        (event,) = [each for each in box.history("order_accepted") if each["client_oid"].endswith("-e0")]
        assert (event["margin_mode"], event["leverage"]) == ("CROSS", "2")
        assert daemon.ask("/api/close", {"symbol": "XBTUSDTM"})["exit_reason"] == "manual"


def test_guard_protects_what_was_opened_in_another_mode(tmp_path: Path) -> None:
    """A cross position of another client, RAD set to isolated with --guard: adopted, protected, closed."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box:
        hand, eth = SignedClient(box), "ETHUSDTM"
        hand.data("POST", "/api/v2/position/changeMarginMode", {"symbol": eth, "marginMode": "CROSS"})
        hand.data("POST", "/api/v2/changeCrossUserLeverage", {"symbol": eth, "leverage": "3"})
        hand.order("sell", 10, symbol=eth, clientOid="by-hand-1", marginMode="CROSS", leverage=3)
        with running(box, tmp_path, "--guard") as daemon:
            assert "ETH/USDT:USDT adopted side=short quantity=10 " in daemon.text()
            (position,) = daemon.ask("/api/positions")
            assert (position["strategy"], position["protected"]) == ("adopted", True)
            assert daemon.ask("/api/close", {"symbol": eth})["exit_reason"] == "manual"
        (theirs,) = [each for each in box.history("order_accepted") if each["client_oid"] == "by-hand-1"]
        assert theirs["margin_mode"] == "CROSS"
        assert box.state()["accounts"][0]["positions"] == []
