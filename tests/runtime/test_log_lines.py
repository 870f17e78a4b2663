"""What a line of the log looks like where it goes, what it must not hold, and what is said once."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import logs
from runtime.folding import Folding
from runtime.logs import FILES_KEPT, FOLD_FIRST, LogRuntime, start_logging
from runtime.outlets import load_outlets
from runtime.secrets import Secrets

PATIENCE_S = 10.0
SECRETS = {
    "key": "65f0c0ffee0123456789abcd", "secret": "1f2e3d4c-5b6a+7988/9a0b==", "passphrase": "correct horse",
    "bot": "5512345678:AAhTelegramTokenTail", "mail": "p4ssw0rd-of-mail", "hook": "tokenOfDiscordWebhook",
    "control": "k3Yof-the_Control-API-token", "stranger": "nobody-ever-told-rad-of-this",
}

Start = Callable[..., LogRuntime]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a log; it is stopped at the end."""
    running: list[LogRuntime] = []

    def starter(*args: Any, **kwargs: Any) -> LogRuntime:
        running.append(start_logging(*args, **kwargs))
        return running[-1]

    yield starter
    for log in running:
        log.stop()


def hidden() -> tuple[str, ...]:
    """What the daemon hides, put together as it does."""
    keys = Secrets(key=SECRETS["key"], secret=SECRETS["secret"], passphrase=SECRETS["passphrase"])
    outlets = load_outlets([], {
        "NOTIFY_URL_MAIL": f"mailto://me:{SECRETS['mail']}@example.com",
        "NOTIFY_URL_HOOK": f"discord://123456789012/{SECRETS['hook']}", "TELEGRAM_TOKEN": SECRETS["bot"],
    })
    return keys.redactions() + outlets.redactions()


def plant(name: str, secret: str) -> None:
    """Say *secret* wherever anybody might."""
    logger = logging.getLogger("wire")
    header = {"key": "KC-API-KEY", "secret": "KC-API-SIGN", "passphrase": "KC-API-PASSPHRASE"}.get(
        name, "Authorization"
    )
    logger.info("headers %s", {header: secret, "Accept": "json"})
    logger.info("headers %s", [(header, secret)])
    logger.info("nested %s", {"a": [{"request": {"headers": {header: f"Bearer {secret}"}}}]})
    logger.info("GET wss://host/endpoint?token=%s&connectId=7", secret)
    logger.info("POST https://me:%s@host/path", secret)
    logger.info("body %s", json.dumps({"token": secret, "password": secret}))
    logger.info("curl -H '%s: %s' https://host", header, secret)
    logger.info(f"password={secret}; signature: {secret}")
    logger.info("two\nlines token=%s\x1b[0m", secret)
    try:
        try:
            raise ValueError(f"refused: {header}: {secret}")
        except ValueError as error:
            raise RuntimeError({"token": secret}) from error
    except RuntimeError:
        logger.exception("failed token=%s", secret)
    logger.warning("badly worded %d", {"token": secret})


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_reaches_any_line_wherever_it_is_planted(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """Those RAD knows in whatever form; those it does not where they look like one: headers, tokens, addresses."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])      # pytest's own stumbles over the badly worded
    stream = io.StringIO()
    running = start("debug", tmp_path / "rad.log", hidden(), stream, as_json=as_json)
    running.hide(SECRETS["control"])
    for name, secret in SECRETS.items():
        plant(name, secret)
    for name, secret in SECRETS.items():       # and where only what is known can be told from text
        if name != "stranger":
            logging.getLogger("wire").info("bare %s %r", secret, [secret])
            logging.getLogger("wire").info("in a path https://api.telegram.org/bot%s/getMe", secret)
    assert running.flush(PATIENCE_S)
    written = stream.getvalue() + (tmp_path / "rad.log").read_text(encoding="utf-8")
    assert written.count("***") > 200
    for name, secret in SECRETS.items():
        assert secret not in written, name
        assert json.dumps(secret)[1:-1] not in written, name
    assert SECRETS["bot"].partition(":")[2] not in written
    for innocent in ("Accept", "connectId=7", "host", "lines", "badly worded"):
        assert innocent in written


def test_a_line_as_json(start: Start) -> None:
    """One object a line, the traceback in it; the symbol is a field of its own."""
    stream = io.StringIO()
    running = start("info", stream=stream, as_json=True)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("exit.sub").exception("BTC/USDT:USDT stop moved from=%s", 64000)
    logging.getLogger("bot").warning("no market")
    assert running.flush(PATIENCE_S)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("at").endswith("Z")
    assert first.pop("more").endswith("ValueError: no")
    assert first == {
        "level": "ERROR", "thread": "MainThread", "tag": "exit", "symbol": "BTC/USDT:USDT",
        "text": "BTC/USDT:USDT stop moved from=64000",
    }
    assert (second["level"], second["text"], "symbol" in second) == ("WARN", "no market", False)


def test_under_systemd_the_journal_gets_the_level_and_keeps_the_time(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of a record has the priority before it; the file keeps its own time."""
    with (tmp_path / "journal").open("w+", encoding="utf-8") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        running = start("debug", tmp_path / "rad.log", stream=journal)
        logging.getLogger("exit").info("sent")
        logging.getLogger("exit").critical("two\nlines")
        logging.getLogger("exit").debug("d")
        assert running.flush(PATIENCE_S)
        assert (tmp_path / "journal").read_text(encoding="utf-8").splitlines() == [
            "<6>MainThread        exit   sent", "<2>MainThread        exit   two", "<2>    lines",
            "<7>MainThread        exit   d",
        ]
    assert (tmp_path / "rad.log").read_text(encoding="utf-8").startswith("20")


def test_another_files_journal_is_not_ours(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is inherited by whoever is started from a service: it counts only for the file it names."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with (tmp_path / "terminal").open("w+", encoding="utf-8") as terminal:
        running = start("info", stream=terminal)
        logging.getLogger("exit").info("sent")
        assert running.flush(PATIENCE_S)
    assert not (tmp_path / "terminal").read_text(encoding="utf-8").startswith("<")


def test_repeats_are_counted_and_said_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Troubles count as the same when only their numbers differ; what was done is told each time."""
    monkeypatch.setattr(logs, "FOLD_S", 0.2)
    stream = io.StringIO()
    running = start("info", stream=stream)
    for number in range(FOLD_FIRST + 14):
        logging.getLogger("bot").warning("no answer in %d s", number)
    for number in range(FOLD_FIRST + 14):
        logging.getLogger("trade").info("closed pnl=%d", number)
    logging.getLogger("bot").error("no answer in 1 s")          # graver: another line
    for _ in range(FOLD_FIRST + 14):
        logging.getLogger("audit").info("command who=cli what=pause")
    assert running.flush(PATIENCE_S)
    assert stream.getvalue().count("no answer") == FOLD_FIRST + 1
    assert stream.getvalue().count("closed pnl=") == FOLD_FIRST + 14
    assert stream.getvalue().count("what=pause") == FOLD_FIRST + 14
    running.stop()
    assert stream.getvalue().splitlines()[-1].endswith("no answer in 18 s (… 14 times more)")


def test_repeats_are_told_when_their_time_is_over_though_nothing_else_comes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer wakes for them by itself."""
    monkeypatch.setattr(logs, "FOLD_S", 0.5)

    class Waited(io.StringIO):
        def write(self, text: str) -> int:
            if "more)" in text:
                told.set()
            return super().write(text)

    told = threading.Event()
    start("info", stream=Waited())
    for _ in range(200):
        logging.getLogger("bot").warning("again")
    assert told.wait(PATIENCE_S)


def test_what_is_kept_for_repeats_is_bounded_and_holds_no_variables() -> None:
    """However many different lines there are, and whatever their tracebacks hold on to."""
    folding = Folding[str](60.0, first=1, most=10)
    for number in range(1000):
        folding.admit(number, "x", 0.0)
        folding.admit(number, "x", 0.0)
        assert len(folding.due(0.0)) <= 1
    assert len(folding.due(0.0, all_of_them=True)) == 10


def test_what_never_stops_is_said_once_a_window() -> None:
    """The count begins anew with each, and a kind that is quiet for a window is forgotten."""
    folding = Folding[str](10.0)
    assert folding.admit("a", "first", 0.0)
    assert not folding.admit("a", "second", 1.0)
    assert folding.next_due_s(4.0) == 6.0
    assert folding.due(10.0) == [("second", 1)]
    assert not folding.admit("a", "third", 11.0)
    assert not folding.admit("a", "fourth", 12.0)
    assert folding.due(20.0) == [("fourth", 2)]
    assert folding.due(30.0) == []
    assert folding.next_due_s(30.0) is None
    assert folding.admit("a", "fifth", 31.0)


def test_the_files_are_bounded_in_size_and_number(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is written, and each is its owner's alone to read."""
    monkeypatch.setattr(logs, "FILE_BYTES", 1_000)
    running = start("info", tmp_path / "rad.log", stream=io.StringIO())
    for number in range(200):
        logging.getLogger("scan").info("line %d", number)
    assert running.flush(PATIENCE_S)
    files = sorted(tmp_path.iterdir())
    assert len(files) == FILES_KEPT + 1
    assert all(file.stat().st_size <= 1_000 for file in files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
