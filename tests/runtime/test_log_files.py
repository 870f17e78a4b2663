"""The log's files, read again: over rotations, of either form, and as they grow."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.arguments import parse
from console.commands import perform
from console.failure import Failure
from control.steering import BAD_CONFIG, NOT_FOUND, OK
from runtime import logs
from runtime.log_files import Entry, LogFiles, Wanted
from runtime.logs import LogRuntime, start_logging
from tests.crowd import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogRuntime]:
    """A log that is written, to a file alone."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        running = start_logging("debug", tmp_path / "rad.log", stream=nowhere)
        yield running
        running.stop()


def written(log: LogRuntime) -> None:
    assert log.flush(PATIENCE_S)


def texts(found: list[Entry]) -> list[str]:
    return [entry.text for entry in found]


def say_some() -> None:
    """One line of each kind."""
    logging.getLogger("trade").info("BTC/USDT:USDT closed")
    logging.getLogger("house").warning("stream silent symbols=ETH/USDT:USDT,BTC/USDT:USDT")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("worker").exception("step failed")
    speaking = threading.Thread(
        target=lambda: logging.getLogger("x").debug("1000PEPE/USDT:USDT from afar"), name="Thread-7 (work by hand)"
    )
    speaking.start()
    speaking.join(PATIENCE_S)


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_written_is_read_again(tmp_path: Path, as_json: bool) -> None:
    """Level, thread, tag, symbol, traceback: both forms give the same facts."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        running = start_logging("debug", tmp_path / "rad.log", stream=nowhere, as_json=as_json)
        logging.getLogger("trade").info("BTC/USDT:USDT closed")
        try:
            raise ValueError("no")
        except ValueError:
            logging.getLogger("worker").exception("step failed")
        written(running)
        running.stop()
    closed, failed = LogFiles(tmp_path / "rad.log").latest(Wanted(), 10)
    assert (closed.level, closed.thread, closed.tag, closed.text, closed.symbol) == (
        "INFO", "MainThread", "trade", "BTC/USDT:USDT closed", "BTC/USDT:USDT"
    )
    assert (failed.level, failed.text) == ("ERROR", "step failed")
    assert failed.more.startswith("Traceback")
    assert failed.more.endswith("ValueError: no")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(level="WARN"), ["stream silent symbols=ETH/USDT:USDT,BTC/USDT:USDT", "step failed"]),
        (Wanted(symbol="btc"), ["BTC/USDT:USDT closed", "stream silent symbols=ETH/USDT:USDT,BTC/USDT:USDT"]),
        (Wanted(symbol="ETH/USDT"), ["stream silent symbols=ETH/USDT:USDT,BTC/USDT:USDT"]),
        (Wanted(symbol="PEPE"), []),
        (Wanted(symbol="1000PEPE/USDT:USDT"), ["1000PEPE/USDT:USDT from afar"]),
        (Wanted(level="ERROR", symbol="BTC"), []),
    ],
)
def test_what_is_not_wanted_is_left_out(
    log: LogRuntime, tmp_path: Path, wanted: Wanted, found: list[str]
) -> None:
    """By level, and by the market a line is about."""
    say_some()
    written(log)
    assert texts(LogFiles(tmp_path / "rad.log").latest(wanted, 10)) == found


def test_the_latest_are_found_over_several_files(
    log: LogRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oldest first, as many as asked for."""
    monkeypatch.setattr(log._sinks[1], "maxBytes", 700)
    for number in range(30):
        logging.getLogger("scan").info("line %d", number)
    written(log)
    assert len(list(tmp_path.iterdir())) >= 3
    assert texts(LogFiles(tmp_path / "rad.log").latest(Wanted(), 20)) == [f"line {n}" for n in range(10, 30)]


def test_following_loses_nothing_over_rotations(
    log: LogRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the file was rotated twice between two looks."""
    monkeypatch.setattr(log._sinks[1], "maxBytes", 700)
    logging.getLogger("scan").info("before")
    written(log)
    following = LogFiles(tmp_path / "rad.log").follow()
    found: list[Entry] = []
    said = 0
    for burst in (1, 3, 25, 0, 2, 18):
        for _ in range(burst):
            logging.getLogger("scan").info("line %d", said)
            said += 1
        written(log)
        found += following.read()
    found += following.read()
    following.close()
    assert len(list(tmp_path.iterdir())) >= 3
    assert texts(found) == [f"line {n}" for n in range(said)]


def test_following_keeps_a_traceback_together(tmp_path: Path) -> None:
    """Though it is written in two parts, and the first in the middle of a line."""
    path = tmp_path / "rad.log"
    head = "2026-11-24T02:42:20.123Z ERROR MainThread        worker step"
    path.write_text("")
    following = LogFiles(path).follow()
    with path.open("a") as file:
        for part in (head, " failed\n    Trace", "back\n", "    ValueError: no\n"):
            file.write(part)
            file.flush()
            assert following.read() == []
    (entry,) = following.read()
    following.close()
    assert (entry.text, entry.more) == ("step failed", "Traceback\nValueError: no")
    assert entry.line() == f"{head} failed\n    Traceback\n    ValueError: no"


def test_a_file_that_is_not_there_yet_is_followed_from_its_beginning(tmp_path: Path) -> None:
    """`./rad logs -f` may be started before the daemon."""
    following = LogFiles(tmp_path / "rad.log").follow()
    assert following.read() == []
    (tmp_path / "rad.log").write_text("2026-11-24T02:42:20.123Z INFO  MainThread        bot    starting\n")
    following.read()
    assert texts(following.read()) == ["starting"]
    following.close()


def command(*words: str) -> Namespace:
    return parse(["logs", *words])


def test_the_command_prints_lines_or_json(
    log: LogRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the daemon runs or not."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    say_some()
    written(log)
    assert perform(command("--level", "warning", "--lines", "1")) == OK
    assert "step failed\n    Traceback" in capsys.readouterr().out
    assert perform(command("--symbol", "BTC", "--json")) == OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["symbol"] for row in rows if "symbol" in row] == ["BTC/USDT:USDT"]
    assert len(rows) == 2


def test_the_command_says_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No log yet, or none at all by the settings."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    with pytest.raises(Failure, match="no log yet") as missing:
        perform(command())
    assert missing.value.exit_code == NOT_FOUND
    monkeypatch.setenv("RAD_LOG__FILE", "none")
    with pytest.raises(Failure, match="log.file is none") as off:
        perform(command("-f"))
    assert off.value.exit_code == BAD_CONFIG


def test_following_goes_on_until_interrupted(
    log: LogRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is written while `logs -f` runs is printed by it; Ctrl-C ends it."""
    logging.getLogger("scan").info("before")
    written(log)
    with subprocess.Popen(
        [sys.executable, "-m", "console", "logs", "-f", "--lines", "1"], cwd=ROOT, text=True,
        env=os.environ | {"RAD_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE,
    ) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline().endswith("before\n")
            logging.getLogger("scan").warning("ETH/USDT:USDT after")
            assert following.stdout.readline().endswith("ETH/USDT:USDT after\n")
        finally:
            following.send_signal(2)
        assert following.wait(PATIENCE_S) == 130


def test_the_limits_are_what_the_settings_say() -> None:
    """The size and number of files that config.yaml speaks of."""
    said = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert "up to five older ones of 20 MB each" in said
    assert (logs.FILE_BYTES, logs.FILES_KEPT) == (20_000_000, 5)
