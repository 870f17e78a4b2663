"""The log: callers hand over records and go on; one thread words, redacts, folds and writes them."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import queue
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TextIO

from runtime.folding import Folding
from runtime.heartbeat import BEAT_S, Heart
from runtime.lock_rules import LOCKS
from runtime.locks import assert_no_lock_held
from runtime.log_lines import JsonLines, Lines, lines_for, repeat_key
from runtime.redaction import Redactor
from trading.errors import ConfigError

log = logging.getLogger("log")

WAITING = 10_000           # records waiting to be written beyond which DEBUG and INFO are dropped
FILE_BYTES = 20_000_000
FILES_KEPT = 5             # beside the one being written
FOLD_S = 60.0              # in which of one line ...
FOLD_FIRST = 5             # ... so many are written, and the rest counted
NEVER_FOLDED = frozenset({"audit"})        # who commanded what, each time

# At DEBUG these would tell of every byte on the wire; their troubles are heard at any level.
_TALKATIVE = ("urllib3", "ccxt", "asyncio", "aiohttp", "sqlalchemy", "apprise", "markdown")


class _Nothing:
    """Nothing came while somebody waited."""


_Item = logging.LogRecord | threading.Event | None
_NOTHING = _Nothing()


class _Intake(logging.Handler):
    """Where callers leave their records; never waits for anything but its own lock."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.waiting: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self.dropped = 0       # changed under the handler's lock, read by anyone
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != LOCKS:       # it tells of a breach, under the lock: nothing here is waited for
            assert_no_lock_held("a log line")
        # Warnings have room of their own: a flood of DEBUG does not keep them out.
        room = self._limit if record.levelno < logging.WARNING else self._limit * 2
        if self.waiting.qsize() >= room:
            self.dropped += 1
        else:
            self.waiting.put(record)


class LogRuntime:
    """A running log; made by `start_logging`, ended by `stop`."""

    def __init__(self, sinks: list[logging.Handler], redact: Redactor, level: int, limit: int) -> None:
        self._sinks = sinks
        self._redact = redact
        self._words = Lines(redact)
        self._folding = Folding[logging.LogRecord](FOLD_S, first=FOLD_FIRST)      # the writer's own
        self._intake = _Intake(limit)
        self._reported = 0
        self.failed = 0        # lines that a sink could not take, and could not say so either
        root = logging.getLogger()
        self._before = (root.level, sys.excepthook, threading.excepthook)
        self._levels_before = {name: logging.getLogger(name).level for name in _TALKATIVE}
        root.addHandler(self._intake)
        root.setLevel(level)
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(max(level, logging.WARNING))
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
        self._heart = Heart("LogWriter")
        self._heart.revive = self._begin
        self._begin()

    def _begin(self) -> None:
        self._heart.start(self._run)

    @property
    def dropped(self) -> int:
        """How many records found no room."""
        return self._intake.dropped

    @property
    def trouble(self) -> str:
        """Return what keeps lines from where they belong; empty when nothing does."""
        return next((sink.trouble for sink in self._sinks if isinstance(sink, _FileSink) and sink.trouble), "")

    def redact(self, text: str) -> str:
        """Return *text* as the log would write it: without secrets."""
        return self._redact(text)

    def hide(self, *secrets: str) -> None:
        """Keep these out of the log too, from now on."""
        self._redact.hide(secrets)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was logged so far is written; False if it is not by then."""
        assert_no_lock_held("log flush")
        written = threading.Event()
        self._intake.waiting.put(written)
        return written.wait(timeout_s)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Write what is waiting and take everything back; False if the disk did not take it in time."""
        assert_no_lock_held("log stop")
        level, sys.excepthook, threading.excepthook = self._before
        root = logging.getLogger()
        root.removeHandler(self._intake)
        root.setLevel(level)
        for name, before in self._levels_before.items():
            logging.getLogger(name).setLevel(before)
        logging.captureWarnings(False)
        self._intake.waiting.put(None)
        thread = self._heart.thread
        assert thread is not None
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        heart = self._heart
        while (item := self._next()) is not None:
            if isinstance(item, threading.Event):
                self._report_dropped()
                item.set()
                continue
            heart.begin("writing")
            if isinstance(item, logging.LogRecord):
                self._write_unless_repeated(item)
            self._write_repeats()
            heart.done()
            if self._intake.waiting.empty():
                self._report_dropped()
        self._write_repeats(at_the_end=True)
        self._report_dropped()
        for sink in self._sinks:
            with contextlib.suppress(OSError, ValueError):       # of a full disk, or a terminal that has gone away
                sink.close()

    def _next(self) -> _Item | _Nothing:
        """Wait for something to do; at most until repeats are to be told of, or a sign of life is due."""
        self._heart.idle()
        due_s = self._folding.next_due_s(monotonic())
        try:
            return self._intake.waiting.get(timeout=BEAT_S if due_s is None else min(due_s, BEAT_S))
        except queue.Empty:
            return _NOTHING

    def _write_unless_repeated(self, record: logging.LogRecord) -> None:
        key = repeat_key(record, self._words.said(record))
        if record.name in NEVER_FOLDED or self._folding.admit(key, self._words.kept(record), monotonic()):
            self._write(record)

    def _write_repeats(self, *, at_the_end: bool = False) -> None:
        for record, count in self._folding.due(monotonic(), all_of_them=at_the_end):
            self._write(self._words.again(record, count))

    def _write(self, record: logging.LogRecord) -> None:
        for sink in self._sinks:
            try:
                sink.handle(record)
            except Exception:  # noqa: BLE001 - one sink's trouble is not the other's, and ends no thread
                self.failed += 1

    def _report_dropped(self) -> None:
        """Say how many lines are missing, once there is room to say it."""
        dropped = self._intake.dropped - self._reported
        if not dropped:
            return
        self._reported += dropped
        record = log.makeRecord(
            log.name, logging.WARNING, __file__, 0, "lines dropped, more came than could be written count=%d",
            (dropped,), None,
        )
        self._write(record)


class _StreamSink(logging.StreamHandler[TextIO]):
    """The terminal; one that has gone away is no reason to stop."""

    def emit(self, record: logging.LogRecord) -> None:
        assert_no_lock_held("writing a log line")      # further in, whatever is raised is the stream's trouble
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _FileSink(logging.handlers.RotatingFileHandler):
    """The file, readable by its owner alone; what cannot be written there is still on the stream."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._stream = stream
        self._failed = False           # of the latest line, known when that is over; read by any thread
        self._stumbled = False         # of the one being written; the writer's own
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")

    def _open(self) -> Any:
        return open(  # noqa: SIM115 - the handler closes it
            self.baseFilename, self.mode, encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def emit(self, record: logging.LogRecord) -> None:
        assert_no_lock_held("writing a log line")
        failed_before, self._stumbled = self._failed, False
        super().emit(record)
        self._failed = self._stumbled
        if self._failed and not failed_before:
            print(self.trouble, file=self._stream, flush=True)

    @property
    def trouble(self) -> str:
        """Return what is wrong; empty when nothing is."""
        return f"log file {self.baseFilename} cannot be written; lines go to the terminal only" * self._failed

    def handleError(self, record: logging.LogRecord) -> None:
        self._stumbled = True


def start_logging(
    level: str = "info",
    file: Path | None = None,
    redactions: Iterable[str] = (),
    stream: TextIO | None = None,
    *,
    limit: int = WAITING,
    as_json: bool = False,
) -> LogRuntime:
    """Send every logger's records to *stream* (by default stderr) and *file*, without *redactions*.

    Where *stream* is systemd's journal, its lines are as that wants them.

    Raises:
        ConfigError: the file cannot be opened.
    """
    redact = Redactor(redactions)
    stream = sys.stderr if stream is None else stream
    sinks: list[logging.Handler] = [_StreamSink(stream)]
    sinks[0].setFormatter(lines_for(stream, redact, as_json=as_json))
    if file is not None:
        try:
            sinks.append(_FileSink(file, stream))
            sinks[1].setFormatter(JsonLines(redact) if as_json else Lines(redact))
        except OSError as error:
            raise ConfigError(f"cannot write the log file {file}: {error.strerror}") from None
    return LogRuntime(sinks, redact, logging.getLevelNamesMapping()[level.upper()], limit)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("uncaught exception %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):
        return
    error = args.exc_value or args.exc_type()
    name = args.thread.name if args.thread is not None else "?"
    trace = (args.exc_type, error, args.exc_traceback)
    log.critical("thread ended by an exception thread=%s", name, exc_info=trace)
