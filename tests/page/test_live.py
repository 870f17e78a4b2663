"""The page of a live daemon on a sandbox: what a person does with it, from log-in to the daemon's end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from tests.daemon_process import PATIENCE_S, Daemon, rad
from tests.page.browser import Window, a_browser
from tests.test_daemon import exchange_settings

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def browser() -> Iterator[Any]:
    with a_browser() as running:
        yield running


def until(holds: Callable[[], Any]) -> Any:
    """Return what *holds* returns once that is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited too long"
    return found


def log_in(window: Window, daemon: Daemon) -> None:
    """Open what `./rad page` prints; it works once."""
    told = rad(daemon.folder, "page", "--json")
    assert told.returncode == 0, told.stderr
    url = json.loads(told.stdout)["url"]
    window.page.goto(url)
    window.page.locator("#top").wait_for()
    assert "login" not in window.page.url
    again = Window(window.context.browser)
    again.page.goto(url)
    again.await_text("#login-error", "neither the token nor a code that is still good")
    again.close()


def test_a_person_looks_after_a_live_daemon(browser: Any, tmp_path: Path) -> None:
    """Look, close, black-list, pause and resume, flatten while answers are lost, and the daemon dies."""
    settings = {"SCANNER__INTERVAL": "1h", "POSITIONS__MAX_OPEN": "3", "LIMITS__COOLDOWN": "0s"}
    with (
        run_sandbox("synthetic", pairs=8, seed=5, volatility=1.0) as box,
        Daemon(tmp_path, **exchange_settings(box, **settings)) as daemon,
    ):
        daemon.await_line(r"running positions=")
        daemon.ask("/api/pause", {})
        held = {row["symbol"] for row in daemon.ask("/api/positions")}
        for symbol, side in {"BTC/USDT:USDT": "long", "ETH/USDT:USDT": "short"}.items():
            if symbol not in held:                 # the first scan may have been quicker
                daemon.ask("/api/open", {"symbol": symbol, "side": side})
        # The page asks for the curve twice a minute: let there be one to see, which has a height, by then.
        until(lambda: len({point["equity"] for point in daemon.ask("/api/equity")["points"]}) > 1)
        window = Window(browser)
        log_in(window, daemon)
        look_around(window, daemon)
        close_one(window, daemon)
        steer(window, daemon)
        flatten_while_answers_are_lost(window, daemon, box)
        watch_it_die(window, daemon)
        window.close()


def look_around(window: Window, daemon: Daemon) -> None:
    """Every section has something in it, or says why not."""
    page = window.page
    rows = page.locator("#positions tbody tr")
    until(lambda: rows.count() == len(daemon.ask("/api/positions")))
    assert all("✓" in text for text in rows.all_inner_texts())
    page.locator("#equity .scatterlayer .trace").first.wait_for()
    window.await_text("#events", "opened")
    assert window.text("#opportunities")
    page.locator("#positions a", has_text="BTC/USDT:USDT").click()
    page.locator("#chart .trace.boxes").wait_for()
    labels = page.locator("#chart .annotation-text")
    until(lambda: [text.split()[0] for text in labels.all_text_contents()] == ["entry", "stop", "on"])
    page.get_by_role("link", name="Machine").click()
    window.await_text("#threads", "PositionMonitor")
    window.await_text("#pools", "scan")
    assert page.locator("#pools .strip i").count() >= 20
    window.await_text("#locks", "positions")
    window.await_text("#rates", "futures")
    page.get_by_role("link", name="Now").click()


def close_one(window: Window, daemon: Daemon) -> None:
    """The row goes, and the trade stands among the trades with its fee."""
    page = window.page
    page.get_by_role("button", name="Close ETH/USDT:USDT").click()
    page.get_by_role("button", name="Close it").click()
    page.locator("#dialog").wait_for(state="hidden")
    page.locator("#positions tbody tr", has_text="ETH").wait_for(state="detached")
    page.get_by_role("link", name="Trades").click()
    window.await_text("#trades tbody tr", "ETH/USDT:USDT")
    trade = daemon.ask("/api/trades")[0]
    row = window.text("#trades tbody tr")
    assert "manual" in row
    assert f"{float(trade['fee']):.2f}" in row
    page.get_by_role("link", name="Now").click()


def steer(window: Window, daemon: Daemon) -> None:
    """Pause, resume and the black list, each as the daemon itself then says."""
    page = window.page
    page.get_by_role("button", name="Resume").click()
    until(lambda: not daemon.ask("/api/status")["paused"])
    page.get_by_role("button", name="Pause").click()
    until(lambda: daemon.ask("/api/status")["paused"])
    page.locator("#blacklist-symbol").fill("SOLUSDTM")
    page.get_by_role("button", name="Add").click()
    window.await_text("#blacklist", "SOL/USDT:USDT")
    assert daemon.ask("/api/blacklist")["symbols"] == ["SOL/USDT:USDT"]
    page.get_by_role("button", name="Take SOL/USDT:USDT off the black list").click()
    until(lambda: daemon.ask("/api/blacklist")["symbols"] == [])


def flatten_while_answers_are_lost(window: Window, daemon: Daemon, box: RunningSandbox) -> None:
    """The orders arrive, slowly, and their answers do not: it says how it goes, and everything is closed once."""
    page = window.page
    box.fault("delay", method="POST", path="/api/v1/orders*", delay_ms=1500)
    box.fault("drop_after", method="POST", path="/api/v1/orders*", count=1)
    page.locator("#flatten").click()
    accept = page.get_by_role("button", name="Close everything")
    assert accept.is_disabled()
    page.locator("#dialog-word").fill("flatten")
    accept.click()
    window.await_text("#dialog-progress", "still open")
    window.await_text("#dialog-text", "Entries are paused until you resume.")
    box.control("faults", method="DELETE")
    until(lambda: daemon.ask("/api/positions") == [])
    page.get_by_role("button", name="Done").click()
    window.await_text("#positions", "Nothing is open.")
    window.await_text("#state", "paused")
    held = [position for account in box.state()["accounts"] for position in account["positions"]]
    assert not held
    assert daemon.ask("/api/verify")["differences"] == []


def watch_it_die(window: Window, daemon: Daemon) -> None:
    """The page says so within seconds, with the age, and shows no number any more."""
    daemon.process.kill()
    window.await_text("#banner", "The daemon does not answer: last heard of")
    assert window.text("#state") == "no answer"
    assert window.text("#headline").count("–") == 7
    window.faults.clear()                  # the browser notes each connection that is refused
