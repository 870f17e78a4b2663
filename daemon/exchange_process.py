"""The embedded exchange: a child process on loopback that ends with its parent."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import IO, Any

from runtime.heartbeat import Heart
from runtime.locks import assert_no_lock_held
from runtime.settings import Settings
from trading.errors import ConfigError

log = logging.getLogger("sandbox")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
FREEZE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeAddress:
    """Where an exchange answers, and the key to sign with."""

    futures_url: str
    spot_url: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)


class ExchangeProcess:
    """`python -m sandbox` as a child; closing our end of its stdin ends it, whatever happens to us."""

    def __init__(self, settings: Settings, *, frozen: bool = False, keeps_books: bool = True) -> None:
        self._command = _command(settings, frozen=frozen, keeps_books=keeps_books)
        self._process: subprocess.Popen[str] | None = None
        self._control_url = ""

    def start(self) -> ExchangeAddress:
        """Start it and return its address once it answers.

        Raises:
            ConfigError: it did not start; the text says what it printed.
        """
        assert_no_lock_held("starting the exchange")
        self._process = subprocess.Popen(
            self._command,
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,      # Ctrl-C is for the daemon: it ends the exchange last
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        lines: queue.Queue[str | None] = queue.Queue()
        errors: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        _drain(self._process.stdout, lines.put, "sandbox-out", at_end=lambda: lines.put(None))
        hearing = _drain(self._process.stderr, lambda line: _keep(errors, line), "sandbox-err")
        ready = _ready_line(lines)
        if ready is None:
            self.stop()
            hearing.join(STOP_TIMEOUT_S)       # to its last words, which are another thread's until then
            said = " | ".join(errors[-3:]) or "it said nothing"
            raise ConfigError(f"the embedded exchange did not start: {said}")
        log.info("embedded exchange ready futures=%s pid=%s", ready["futures_url"], self._process.pid)
        self._control_url = ready["control_url"]
        return ExchangeAddress(**{name: ready[name] for name in ExchangeAddress.__dataclass_fields__})

    def freeze(self) -> None:
        """Let its market stand still, so that nothing happens there any more that RAD does not see."""
        assert_no_lock_held("freezing the exchange")
        if self._control_url and self.is_alive:
            wish = urllib.request.Request(f"{self._control_url}/freeze", data=b'{"frozen": true}', method="POST")
            try:
                urllib.request.urlopen(wish, timeout=FREEZE_TIMEOUT_S).close()
            except OSError as error:
                log.warning("embedded exchange not frozen error=%s", error)

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end by closing its stdin, and see that it does."""
        assert_no_lock_held("ending the exchange")
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)


def _command(settings: Settings, *, frozen: bool, keeps_books: bool) -> list[str]:
    chosen = settings.sandbox
    command = [
        sys.executable, "-m", "sandbox", "--port", "0", "--spot-port", "0", "--exit-with-stdin",
        "--seed", str(chosen.seed), "--pairs", str(chosen.pairs),
        "--volatility", str(chosen.volatility), "--balance", str(chosen.balance),
    ]
    if keeps_books:
        command += ["--state", str(settings.data_dir / f"{settings.mode}-exchange.json")]
    if settings.mode == "paper":
        command += ["--source", "relay", "--relay", str(chosen.relay)]
    elif chosen.replay is not None:
        minutes = settings.scanner.timeframe_minutes
        command += ["--source", "replay", "--replay", str(chosen.replay), "--granularity", str(minutes)]
        if chosen.replay_start is not None:
            command += ["--replay-start", str(chosen.replay_start)]
    if frozen:
        command.append("--frozen")
    return command


def _ready_line(lines: queue.Queue[str | None]) -> dict[str, Any] | None:
    """Return the JSON object the exchange prints once it answers; None if it ends or takes too long."""
    while True:
        try:
            line = lines.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            return None
        if line is None:
            return None
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found


def _drain(stream: IO[str], each: Any, name: str, at_end: Any = None) -> Heart:
    """Read *stream* to its end in a thread of its own, so that the child never blocks on a full pipe."""
    assert_no_lock_held("starting a thread")

    heart = Heart(name)

    def read() -> None:
        heart.idle(inf)                        # for as long as the child says nothing
        for line in stream:
            each(line.strip())
        if at_end is not None:
            at_end()

    heart.start(read)
    return heart


def _keep(errors: list[str], line: str) -> None:
    if line:
        errors.append(line)
        del errors[:-20]
        log.debug("exchange says %s", line)
