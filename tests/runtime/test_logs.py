"""The log: lines people can read, no secrets in them, and nobody waits for the disk."""

from __future__ import annotations

import base64
import io
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from runtime import logs
from runtime.logs import LogRuntime, start_logging
from runtime.redaction import HIDDEN
from runtime.secrets import Secrets
from trading.errors import ConfigError

PATIENCE_S = 10.0
KEY, SECRET, PASSPHRASE = "65f0c0ffee0123456789abcd", "1f2e3d4c-5b6a+7988/9a0b==", "correct horse \"42\"\\n"
SECRETS = Secrets(key=KEY, secret=SECRET, passphrase=PASSPHRASE)

Start = Callable[..., LogRuntime]


class SlowStream(io.StringIO):
    """A terminal that takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.open = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.open.wait(PATIENCE_S)
        return super().write(text)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a log; it is stopped at the end."""
    running: list[LogRuntime] = []

    def starter(*args: object, **kwargs: object) -> LogRuntime:
        running.append(start_logging(*args, **kwargs))  # type: ignore[arg-type]
        return running[-1]

    yield starter
    for log in running:
        log.stop()


def test_a_line_has_everything_in_its_place(start: Start) -> None:
    """UTC time, level, thread, tag, message: one line, in columns."""
    stream = io.StringIO()
    running = start("info", stream=stream)
    record = logging.LogRecord(
        "exit", logging.INFO, "", 0, "%s stop moved from=%s to=%s", ("BTC/USDT:USDT", 64000, 64100), None
    )
    record.created, record.msecs, record.threadName = 1_795_488_140.123, 123.0, "PositionMonitor"
    logging.getLogger("exit").handle(record)
    assert running.flush()
    assert stream.getvalue() == (
        "2026-11-24T02:42:20.123Z INFO  PositionMonitor   exit   BTC/USDT:USDT stop moved from=64000 to=64100\n"
    )


def test_levels_are_kept_and_given_back(start: Start) -> None:
    """DEBUG is not written at info; talkative libraries only warn; stopping restores what was."""
    stream = io.StringIO()
    before = logging.getLogger().level
    running = start("debug", stream=stream)
    logging.getLogger("scan").debug("seen")
    logging.getLogger("ccxt.base").info("headers")
    logging.getLogger("urllib3").warning("retry")
    running.stop()
    logging.getLogger("scan").error("after the end")
    assert [line.split(maxsplit=3)[3] for line in stream.getvalue().splitlines()] == [
        "scan   seen", "urllib3 retry",
    ]
    assert logging.getLogger().level == before


def test_callers_do_not_wait_for_a_slow_disk(start: Start) -> None:
    """While nothing can be written lines gather, then the least are dropped and counted."""
    stream = SlowStream()
    running = start("debug", stream=stream, limit=10)
    logger = logging.getLogger("scan")
    logger.info("first")
    assert stream.reached.wait(PATIENCE_S)          # the writer is stuck with the first line
    for number in range(50):
        logger.debug("chatter %d", number)          # returns at once
    logger.warning("important")
    stream.open.set()
    assert running.flush()
    lines = stream.getvalue().splitlines()
    assert [line.split("chatter ")[1] for line in lines if "chatter" in line] == [str(n) for n in range(10)]
    assert any("important" in line for line in lines)
    assert lines[-1].endswith("lines dropped, more came than could be written count=40")   # 50 − 10
    assert running.dropped == 40


@pytest.mark.parametrize("secret", [KEY, SECRET, PASSPHRASE])
@pytest.mark.parametrize(
    "form",
    [
        str, repr, lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: quote(text, safe=""),
    ],
    ids=["plain", "repr", "base64", "urlsafe", "url"],
)
def test_no_secret_reaches_the_log(start: Start, secret: str, form: Callable[[str], str]) -> None:
    """In a message, its arguments, its logger's name or a traceback: each form is replaced."""
    stream = io.StringIO()
    running = start("info", None, SECRETS.redactions(), stream)
    hidden = form(secret)
    logger = logging.getLogger("wire")
    logger.info("sent headers=%s", {"KC-API": hidden})
    logger.info(f"sent {hidden}")
    try:
        raise ValueError(f"refused {hidden}")
    except ValueError:
        logger.exception("failed")
    assert running.flush()
    written = stream.getvalue()
    assert hidden.strip("'") not in written
    assert secret not in written
    assert written.count(HIDDEN) >= 3
    assert hidden.strip("'") not in running.redact(f"error {hidden}")


def test_secrets_do_not_show_themselves() -> None:
    """Neither repr nor str nor a format tells."""
    for text in (repr(SECRETS), str(SECRETS), f"{SECRETS}"):
        assert not any(secret in text for secret in (KEY, SECRET, PASSPHRASE))


def test_a_message_cannot_forge_a_line(start: Start) -> None:
    """What the exchange wrote into an error stays in its place: indented, control characters shown."""
    stream = io.StringIO()
    running = start("info", stream=stream)
    logging.getLogger("wire").error("answer body=%s", "a\n2026-11-24T02:42:20.123Z INFO forged\x1b[2J\x9b2J")
    assert running.flush()
    first, second = stream.getvalue().splitlines()
    assert first.endswith("answer body=a")
    assert second == "    2026-11-24T02:42:20.123Z INFO forged\\x1b[2J\\x9b2J"


def test_a_badly_worded_line_is_written_somehow(start: Start) -> None:
    """A mistake in one call costs no other line."""
    stream = io.StringIO()
    running = start("info", stream=stream)
    wrong = logging.LogRecord("scan", logging.INFO, "", 0, "%d pairs", ("many",), None)
    running._intake.handle(wrong)                   # past pytest's own handler, which raises
    logging.getLogger("scan").info("next")
    assert running.flush()
    assert "%d pairs ('many',) (not readable:" in stream.getvalue()
    assert stream.getvalue().endswith("scan   next\n")


def test_warnings_and_uncaught_exceptions_are_logged(start: Start) -> None:
    """What would be printed somewhere is a line, with its traceback."""
    stream = io.StringIO()
    running = start("info", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("this will go", DeprecationWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 // 0, name="Broken")
    thread.start()
    thread.join(PATIENCE_S)
    try:
        raise KeyError("main")
    except KeyError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    assert running.flush()
    written = stream.getvalue()
    assert re.search(r"WARN  MainThread +python .*DeprecationWarning: this will go", written)
    assert re.search(r"FATAL Broken +log +thread ended by an exception thread=Broken", written)
    assert "    ZeroDivisionError" in written
    assert re.search(r"FATAL MainThread +log +uncaught exception KeyError", written)


def test_the_file_turns_over_by_size(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never grows beyond its bound, older ones are kept, and only its owner reads it."""
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    file = tmp_path / "rad.log"
    running = start("info", file, stream=io.StringIO())
    for number in range(500):
        logging.getLogger("scan").info("line %03d", number)
    assert running.flush()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + logs.FILES_KEPT
    assert all(path.stat().st_size <= 2000 for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert file.read_text().endswith("line 499\n")


def test_a_file_that_fails_is_said_once_on_the_terminal(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs the file's lines, not the terminal's."""
    stream = io.StringIO()
    running = start("info", tmp_path / "rad.log", stream=stream)

    def full(_self: object, _record: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logs._FileSink, "shouldRollover", full)
    for number in range(3):
        logging.getLogger("scan").info("line %d", number)
    assert running.flush()
    assert stream.getvalue().count("cannot be written; lines go to the terminal only") == 1
    assert "line 2" in stream.getvalue()


def test_a_log_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    """The text names the file and why."""
    with pytest.raises(ConfigError, match=r"cannot write the log file .*: No such file or directory"):
        start_logging("info", tmp_path / "nowhere" / "rad.log")
    assert not any(thread.name == "LogWriter" for thread in threading.enumerate())


def test_stopping_writes_what_is_waiting(start: Start) -> None:
    """The last line before the end is there."""
    stream = io.StringIO()
    running = start("info", stream=stream)
    for number in range(500):
        logging.getLogger("scan").info("line %d", number)
    assert running.stop()
    assert stream.getvalue().count("\n") == 500
