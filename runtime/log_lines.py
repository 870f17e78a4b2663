"""How a record of the log reads: as a line for people, as JSON, or as systemd's journal wants it.

    2026-11-24T02:42:20.123Z INFO  PositionMonitor   exit   BTC/USDT:USDT stop moved from=64000 to=64100
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any, TextIO

from runtime.locks import assert_no_lock_held
from runtime.redaction import Redactor

SYMBOL = re.compile(r"([A-Z0-9]+/[A-Z0-9]+(?::[A-Z0-9]+)?)(?: |$)")

_TAGS = {"py.warnings": "python"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
_SAID = "rad_said"             # where a record keeps its text once it is worded
# systemd's, which are syslog's.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class Lines(logging.Formatter):
    """A record as one line (and its traceback, indented), without secrets."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def said(self, record: logging.LogRecord) -> str:
        """Return what the record says, without secrets and worded once for all who ask."""
        assert_no_lock_held("wording a log line")
        text = record.__dict__.get(_SAID)
        if text is None:
            # Redacted before control characters are escaped, which would break a secret up.
            text = record.__dict__[_SAID] = self._redact(self._message(record)).translate(_CONTROL)
        return str(text)

    def kept(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return what may be kept of a record for a while: its first line, and no traceback's variables."""
        first, *_ = self.said(record).split("\n", 1)
        facts = ("name", "levelno", "levelname", "created", "msecs", "threadName")
        return logging.makeLogRecord({fact: record.__dict__[fact] for fact in facts} | {_SAID: first})

    def again(self, latest: logging.LogRecord, count: int) -> logging.LogRecord:
        """Return the record that tells of *count* more like *latest*, which was kept."""
        latest.__dict__[_SAID] += f" (… {count} times more)" if count > 1 else " (… once more)"
        return latest

    def format(self, record: logging.LogRecord) -> str:
        text = self.said(record).replace("\n", "\n    ")
        return f"{moment_of(record)} {level_of(record):<5} {_thread(record):<17} {tag_of(record):<6} {text}"

    def _message(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a badly worded line must not cost the ones after it
            message = f"{record.msg} {record.args} (not readable: {error})"
        parts = [message]
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts)


class JsonLines(Lines):
    """A record as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        text, _, more = self.said(record).partition("\n")
        facts = {
            "at": moment_of(record), "level": level_of(record), "thread": _thread(record), "tag": tag_of(record),
        }
        found = SYMBOL.match(text)
        facts |= {"symbol": found[1]} if found else {}
        return json.dumps(facts | {"text": text} | ({"more": more} if more else {}), ensure_ascii=False)


class JournalLines(Lines):
    """A record for systemd's journal: it keeps the time and the unit itself, and reads the level from a prefix."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        text = f"{_thread(record):<17} {tag_of(record):<6} {self.said(record)}"
        return prefix + text.replace("\n", f"\n{prefix}    ")


def is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to *stream* goes to systemd's journal: it says which file that is."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def lines_for(stream: TextIO, redact: Redactor, *, as_json: bool) -> Lines:
    """Return how records read on *stream*."""
    if is_journal(stream):
        return JournalLines(redact)
    return JsonLines(redact) if as_json else Lines(redact)


def moment_of(record: logging.LogRecord) -> str:
    """Return when it was, UTC."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def level_of(record: logging.LogRecord) -> str:
    """Return its level in five letters at most."""
    return {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(record.levelname, record.levelname)


def tag_of(record: logging.LogRecord) -> str:
    """Return which room it is from."""
    return _TAGS.get(record.name, record.name.partition(".")[0])


def _thread(record: logging.LogRecord) -> str:
    return (record.threadName or "?").replace(" ", "_")      # one word, so that lines can be taken apart again


def repeat_key(record: logging.LogRecord, said: str) -> tuple[Any, ...]:
    """Return what makes two records the same: troubles may differ in numbers, what was done may not."""
    return record.name, record.levelno, re.sub(r"\d+", "", said) if record.levelno >= logging.WARNING else said
