"""The dashboard: what it draws, what its keys do, and the terminal it gives back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.screen import Screen

from console.__main__ import main
from console.daemon import Daemon
from console.top_feed import Facts, Feed
from console.top_keys import CLOSE, FLATTEN, HELP, LOCKS, LOG, MAIN, THREADS, Look, Order, keys_in, pressed
from console.top_screen import KEYS, STALE_S, screen
from control.server import ControlServer
from tests.console.terminal import PROJECT, PROMPT, Terminal, needs_tmux
from tests.control.fake_steering import EVENT, POSITION, STATUS, TRADE, FakeSteering
from tests.crowd import crowd
from tests.no_lock import NoLock

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT")
SIZES = ((80, 24), (200, 60), (119, 30), (20, 6))
NOW = 1000.0
POSITIONS = [POSITION | {"symbol": symbol, "price_age_s": 0.1} for symbol in SYMBOLS]
OPPORTUNITY = {"symbol": "XRP/USDT:USDT", "side": "short", "score": "0.7", "price": "0.5", "spread": "0.001",
               "volume_24h": "1000000", "candle_at": "2026-01-02T03:04:00.000Z", "strategy": "trend",
               "reasons": ["because of this"]}
THREADS_FACTS = {
    "threads": [{"name": "PositionMonitor", "state": "running", "steps": 5, "failures": 0, "restarts": 0,
                 "idle_s": 0.1, "last_error": ""}],
    "locks": [{"name": "positions", "acquisitions": 12, "contended": 1,
               "wait_us": {"p50": 0.1, "p99": 1, "max": 2},
               "hold_us": {"p50": 0.1, "p99": 1, "max": 2}, "holder": ""}],
    "strips": {"scan": "." * 17 + "wrL", "exit": "........"},
}
ANSWERS = {
    "status": STATUS | {"drawdown": "0.0123", "realised_pnl": "-3.2", "trades": 4, "entries_blocked": None,
                        "started_at": "2026-01-02T03:04:05.678Z"},
    "positions": POSITIONS, "opportunities": [OPPORTUNITY], "trades": [TRADE], "threads": THREADS_FACTS,
    "events": [EVENT],
}


def facts(**fields: Any) -> Facts:
    return replace(Facts(answers=ANSWERS, asked_at=NOW, trouble=""), **fields)


def drawn(told: Facts, look: Look | None = None, width: int = 80, height: int = 24, now: float = NOW) -> list[str]:
    """Return the screen as lines of text."""
    console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(Screen(screen(told, look or Look(), width, height, now)), end="")
    return captured.get().splitlines()


# ---- what is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_every_terminal(size: tuple[int, int]) -> None:
    """As many lines as there are, none longer than the width, and the keys on the last."""
    width, height = size
    looks = [(MAIN, 0), (MAIN, 3), *((page, 40) for page in (MAIN, THREADS, LOCKS, LOG, HELP))]
    for page, open_ones in looks:
        positions = [POSITIONS[0] | {"symbol": f"S{number}/USDT:USDT"} for number in range(open_ones)]
        told = facts(answers=ANSWERS | {"positions": positions, "trades": [TRADE] * 50}, log=("a line",) * 100)
        lines = drawn(told, Look(page=page), width, height)
        assert len(lines) == height
        assert max(len(line) for line in lines) <= width
        assert lines[-1].startswith(KEYS[: width - 1])


def test_the_first_page_has_every_fact() -> None:
    """Account, positions with both stops, pools, latency, workers, opportunities, trades, events."""
    text = "\n".join(drawn(facts(), width=200, height=60))
    for fact in (
        "10,012.30", "drawdown 1.23 %", "realised -3.20", "BTC/USDT:USDT", "50000", "50500", "49900", "49750",
        "0.1 s", "+1.25", "+5.00", "1.0 %", "XRP/USDT:USDT", "because of this", "manual", "futures", "p50 1.2",
        "." * 17 + "wrL", "paused: nothing is entered",
    ):
        assert fact in text, fact


def test_at_80_columns_what_protects_a_position_stays() -> None:
    """What there is no room for are quantity, percentage and age of the position."""
    head = next(line for line in drawn(facts()) if line.startswith("Positions"))
    for column in ("side", "entry", "price", "age", "stop", "on exchange", "R", "PnL"):
        assert f" {column}" in head, column


def test_long_reasons_give_way_to_figures() -> None:
    """On half a screen an opportunity keeps its side and score; the reasons are cut."""
    wordy = OPPORTUNITY | {"reasons": ["a reason that goes on and on " * 5]}
    lines = drawn(facts(answers=ANSWERS | {"opportunities": [wordy]}), width=200, height=50)
    head = next(line for line in lines if line.startswith("Opportunities"))
    row = lines[lines.index(head) + 1]
    for title, cell in ((" side", " short"), (" score", " 0.70"), (" because", " a reason")):
        assert title in head
        assert cell in row


@pytest.mark.parametrize(("limit_s", "age_s", "asked_s", "shown"), [
    (2.0, 2.5, 0.4, "2.9 s"), (2.0, 0.5, 2.8, "STALE 3 s"), (0.5, 1.6, 0.0, "STALE 2 s"),
    (30.0, 28.0, 2.0, "30.0 s"),
])
def test_a_price_is_as_old_as_the_daemons_limit_and_the_clock_say(
    limit_s: float, age_s: float, asked_s: float, shown: str
) -> None:
    """Its age at the asking and what has passed since; too old is what `monitor.stale_after` says."""
    position = POSITIONS[0] | {"price_age_s": age_s}
    status = ANSWERS["status"] | {"stale_after_s": limit_s}
    told = facts(answers=ANSWERS | {"positions": [position], "status": status})
    text = "\n".join(drawn(told, now=NOW + asked_s))
    assert shown in text
    assert ("+1.25" in text) is not shown.startswith("STALE")


def test_a_position_without_a_stop_says_so() -> None:
    """NONE stands where the exchange's stop would, and the head counts it."""
    bare = POSITIONS[0] | {"protected": False, "exchange_stop_price": None}
    told = facts(answers=ANSWERS | {"positions": [bare], "status": ANSWERS["status"] | {"protected": 0}})
    text = "\n".join(drawn(told))
    assert "NONE" in text
    assert "open 1, 0 protected" in text


def test_old_answers_are_not_shown() -> None:
    """After a few seconds of silence no figure is on the screen any more, but for how long there was none."""
    fresh = "\n".join(drawn(facts(), now=NOW + STALE_S))
    stale = "\n".join(drawn(facts(trouble="it does not answer"), now=NOW + STALE_S + 9))
    assert "10,012.30" in fresh
    for old in ("10,012.30", "BTC/USDT:USDT", "50500", "+5.00"):
        assert old not in stale
    assert "NO ANSWER  for 12 s" in stale
    assert "it does not answer" in stale


def test_an_old_price_values_nothing() -> None:
    """The price's age is told in its place; price, R and PnL are not."""
    told = facts(answers=ANSWERS | {"positions": [POSITIONS[0] | {"price_age_s": 31.4}]})
    text = "\n".join(drawn(told, width=200, height=60))
    assert "STALE 31 s" in text
    for old in ("50500", "+1.25", "+5.00"):
        assert old not in text
    assert "49900" in text                     # the stop is RAD's own: as true as ever


def test_no_answer_is_not_none() -> None:
    """Where one question was not answered its part says so, and does not say that there are none."""
    told = facts(answers=ANSWERS | {"positions": None, "opportunities": []})
    lines = drawn(told)
    under = {line.split()[0]: below for line, below in zip(lines, lines[1:], strict=False) if line.strip()}
    assert under["Positions"].startswith("no answer")
    assert under["Opportunities"].startswith("none")


def test_the_chosen_position_is_on_the_screen_among_many() -> None:
    """However many there are, one sees what one is about to close."""
    positions = [POSITIONS[0] | {"symbol": f"S{number}/USDT:USDT"} for number in range(40)]
    told = facts(answers=ANSWERS | {"positions": positions})
    for chosen in ("S0/USDT:USDT", "S20/USDT:USDT", "S39/USDT:USDT"):
        lines = drawn(told, Look(asks=CLOSE, chosen=chosen))
        assert any(line.split()[1:2] == [chosen] for line in lines), chosen
        assert f"Close {chosen}?" in lines[-2]


# ---- what the keys do ----------------------------------------------------------------------------


def after(keys: str | list[str]) -> tuple[Look, list[Order]]:
    """Return what a few keys lead to, and what they order."""
    look, orders = Look(), []
    for key in keys:
        look, order = pressed(look, key, SYMBOLS)
        orders += [order] if order else []
    return look, orders


def test_keys_are_told_apart_as_terminals_send_them() -> None:
    """Arrows come as sequences; those that mean nothing here are not taken for letters."""
    assert keys_in("p\x1b[A\x1bOB\r\x7f\x1b") == ["p", "up", "down", "enter", "backspace", "escape"]
    assert keys_in("\x1b[15~\x1b[1;5C\x1b[200~q") == ["q"]


def test_pause_and_resume_are_one_key_each() -> None:
    """Neither asks."""
    assert after("pr")[1] == [Order(name="pause"), Order(name="resume")]


@pytest.mark.parametrize(("keys", "symbol"), [
    (["c", "enter"], SYMBOLS[0]), (["c", "down", "enter"], SYMBOLS[1]), (["c", "up", "enter"], SYMBOLS[2]),
    (["c", "3", "enter"], SYMBOLS[2]), (["c", "9", "enter"], SYMBOLS[0]),
])
def test_closing_asks_which(keys: list[str], symbol: str) -> None:
    """By arrows or by number, and only Enter closes."""
    assert after(keys)[1] == [Order(name="close", body={"symbol": symbol})]


@pytest.mark.parametrize("keys", [["c"], ["c", "down"], ["c", "escape", "enter"], ["c", "q", "enter"],
                                  ["c", "x", "escape"], ["C"], ["C", "enter"]])
def test_half_a_command_does_nothing(keys: list[str]) -> None:
    """Until it is said whole."""
    look, orders = after(keys)
    assert orders == []
    assert not look.quits


def test_a_position_that_goes_while_one_chooses_is_not_mistaken_for_another() -> None:
    """What is chosen is a symbol, not a line: Enter closes nothing when it has gone."""
    look, _ = after(["c", "down"])
    look, order = pressed(look, "enter", (SYMBOLS[0], SYMBOLS[2]))
    assert order is None
    assert "not open any more" in look.note


@pytest.mark.parametrize(("typed", "flattens"), [
    ("flatten", True), ("flat", False), ("Flatten", False), ("flattenn", False), ("yes", False),
])
def test_flatten_wants_its_word(typed: str, flattens: bool) -> None:
    """A slip of the hand sells nothing."""
    assert after([*"C", *typed, "enter"])[1] == ([Order(name="flatten")] if flattens else [])


def test_a_slip_in_the_word_can_be_mended() -> None:
    """Backspace takes a letter back; other keys are letters while one types."""
    assert after([*"fflx", "backspace", *"atten", "enter"])[1] == [Order(name="flatten")]
    assert after([*"Cq"])[0] == Look(asks=FLATTEN, typed="q")


def test_pages_are_turned_and_left() -> None:
    """t and ? are switches, l goes through two, Escape leads back."""
    assert [after(keys)[0].page for keys in ("t", "tt", "l", "ll", "lll", "?", "tl")] == [
        THREADS, MAIN, LOCKS, LOG, MAIN, HELP, LOCKS
    ]
    assert after(["l", "escape"])[0].page == MAIN
    assert after("q")[0].quits


# ---- what is asked and told ----------------------------------------------------------------------


@pytest.mark.parametrize("is_locked", [True, False])
def test_an_answer_and_a_note_at_once_are_both_kept(monkeypatch: pytest.MonkeyPatch, is_locked: bool) -> None:
    """Each of the two threads changes its part of what is shown; without the lock one undoes the other's."""
    feed = Feed(Daemon(Path("/nowhere")), None, lambda: None)
    if not is_locked:
        monkeypatch.setattr(feed, "_lock", NoLock())
    inside = threading.Barrier(2)

    def slowly(told: Facts, **fields: Any) -> Facts:
        with suppress(threading.BrokenBarrierError):
            inside.wait(0.3)                   # both have read; under the lock the other cannot come
        return replace(told, **fields)

    monkeypatch.setattr("console.top_feed.replace", slowly)
    with crowd(lambda: feed._change(trouble="gone"), lambda: feed._change(note=("closed", True))):
        pass
    kept = feed.facts()
    assert ((kept.trouble, kept.note[0]) == ("gone", "closed")) is is_locked


# ---- on a terminal -------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[FakeSteering]:
    steering = FakeSteering()
    steering.on["positions"] = lambda: POSITIONS
    steering.on["threads"] = lambda *_: THREADS_FACTS
    server = ControlServer(steering, data_dir=data_dir, ask_timeout_s=0.2, act_timeout_s=5)
    server.start()
    yield steering
    steering.released.set()
    server.stop()


@pytest.fixture
def terminal(tmp_path: Path, data_dir: Path) -> Iterator[Terminal]:
    with Terminal(tmp_path, data_dir) as opened:
        opened.shown(PROMPT)
        yield opened


def is_given_back(terminal: Terminal, code: int) -> bool:
    """Whether the shell has its screen and cursor again, echoes what is typed, and saw that exit code."""
    terminal.shown(f"code={code}")
    terminal.type("echo he", "y", "Enter")
    lines = terminal.shown(lambda lines: "hey" in lines)
    return terminal.modes() == "0 1" and any("echo hey" in line for line in lines) and KEYS not in lines


@needs_tmux
def test_a_person_sees_and_steers(terminal: Terminal, daemon: FakeSteering, data_dir: Path) -> None:
    """From the first look to q: facts, pages, a larger window, pause, close, flatten."""
    (data_dir / "rad.log").write_text("first\n2026-01-02T03:04:05.678Z WARN  MainThread  bot  something odd\n")
    terminal.run("top")
    lines = terminal.shown("BTC/USDT:USDT")
    assert len(lines) == 24
    assert any("10,012.30" in line for line in lines)
    terminal.type("t")
    terminal.shown("PositionMonitor")
    terminal.type("l")
    terminal.shown("held by")
    terminal.type("l")
    terminal.shown("something odd")
    terminal.type("?")
    terminal.shown("RAD trades on")
    terminal.type("Escape")
    terminal.shown("Positions")
    terminal.resize(200, 60)
    assert len(terminal.shown("quantity")) == 60
    terminal.resize(80, 24)
    terminal.shown(lambda lines: len(lines) == 24 and any(line.startswith("p pause") for line in lines))

    daemon.on["close"] = lambda symbol: TRADE | {"symbol": symbol}
    daemon.on["flatten"] = lambda: {"closed": [TRADE] * 3, "failed": [], "paused": True}
    daemon.on["pause"] = lambda: {"paused": True}
    terminal.type("p")
    terminal.shown("paused: no entries from scanning")
    terminal.type("c")
    terminal.shown("Close BTC/USDT:USDT?")
    terminal.type("Down")
    terminal.shown("Close ETH/USDT:USDT?")
    terminal.type("Enter")
    terminal.shown("closed long ETH/USDT:USDT at 50512.5, PnL +4.52")
    terminal.type("C", "flat", "Enter")
    terminal.shown("nothing flattened")
    terminal.type("C", "flatten", "Enter")
    terminal.shown("flattened: 3 closed, paused")
    told = [each for each in daemon.asked if each[0] in ("pause", "close", "flatten")]
    assert told == [("pause",), ("close", "ETH/USDT:USDT"), ("flatten",)]
    terminal.type("q")
    assert is_given_back(terminal, 0)


@needs_tmux
def test_the_terminal_is_given_back_on_every_way_out(terminal: Terminal, daemon: FakeSteering) -> None:
    """Ctrl-C, SIGTERM, a failure of our own; and Ctrl-Z gives it back for as long as it lasts."""
    terminal.run("top")
    terminal.shown("BTC/USDT:USDT")
    terminal.type("C-c")
    assert is_given_back(terminal, 130)

    terminal.run("top")
    terminal.shown("BTC/USDT:USDT")
    os.kill(terminal.pid_of("console top"), signal.SIGTERM)
    assert is_given_back(terminal, 143)

    terminal.run("top")
    terminal.shown("BTC/USDT:USDT")
    daemon.on["status"] = lambda: STATUS | {"equity": "not a number"}
    terminal.shown("rad: unexpected")
    assert is_given_back(terminal, 1)


@needs_tmux
def test_a_daemon_that_falls_silent_or_ends_is_said_to(
    terminal: Terminal, daemon: FakeSteering
) -> None:
    """Old numbers go, what is wrong comes; when it answers again so do they. Quitting does not wait for it."""
    terminal.run("top")
    terminal.shown("10,012.30")
    daemon.on["status"] = daemon.hang
    lines = terminal.shown("NO ANSWER  for")
    assert not any("10,012.30" in line or "BTC/USDT" in line for line in lines)
    del daemon.on["status"]
    terminal.shown("10,012.30")
    busy = threading.Event()

    def flatten() -> Any:
        busy.set()
        return daemon.hang()

    daemon.on["flatten"] = flatten
    terminal.type("C", "flatten", "Enter")
    assert busy.wait(20)
    terminal.type("q")
    assert is_given_back(terminal, 0)


def test_without_a_terminal_it_is_one_clear_error(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is drawn into a pipe."""
    assert main(["top"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "rad: top needs a terminal; ./rad status --json is for scripts\n")


def test_it_starts_without_what_only_the_daemon_needs() -> None:
    """Neither ccxt nor numpy, nor SQLAlchemy, which alone would take longer than a question may."""
    heavy = "{'ccxt', 'numpy', 'sqlalchemy', 'pydantic', 'aiohttp'}"
    program = f"import sys, console.commands, console.top, console.backup, console.restore; " \
              f"print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
