"""RAD as a process: started, watched by its log, asked by its API, stopped or killed."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
LOADED_MACHINE_S = 5.0           # what a machine that runs other tests meanwhile may add


class Daemon:
    """`./rad run` with a data folder of its own; what it prints is read as it comes.

    *trap*: what `tests.campaign.child` lays over it: a point to die or freeze at, rules to leave out.
    """

    def __init__(
        self, folder: Path, *arguments: str, trap: Mapping[str, Any] | None = None, **settings: str
    ) -> None:
        self.folder = folder
        self._environment = environment(folder, settings)
        program = self.program()
        if trap is not None:
            program = ["-m", "tests.campaign.child", json.dumps(trap)]
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=folder, env=self._environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, name="daemon-output", daemon=True).start()

    def program(self) -> list[str]:
        """Return what Python is to run."""
        return ["-m", "console", "run"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._news.put(line.rstrip())
        self._news.put(None)

    def await_line(self, pattern: str, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """Return the match of the first line, printed since the last call, that has *pattern* in it."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {pattern!r} within {timeout_s:g} s:\n{self.text()}") from None
            if line is None:
                raise AssertionError(f"ended without a line {pattern!r}:\n{self.text()}")
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found

    def ask(self, path: str, wish: Mapping[str, Any] | None = None) -> Any:
        """Ask the control API as the console does."""
        return ask(self.folder, path, wish)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait for the end (ten seconds are promised), return the exit code."""
        self.process.send_signal(number)
        return self.await_end(10.0 + LOADED_MACHINE_S)

    def await_end(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until it ends by itself and return the exit code."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended within {timeout_s:g} s:\n{self.text()}") from None
        while (line := self._news.get(timeout=PATIENCE_S)) is not None:
            self.lines.append(line)
        return code

    def text(self) -> str:
        """Return everything printed so far."""
        return "\n".join(self.lines)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def ask(folder: Path, path: str, wish: Mapping[str, Any] | None = None) -> Any:
    """Ask the control API of the daemon that lives in *folder*."""
    address = json.loads((folder / "data" / "control.json").read_text())
    request = urllib.request.Request(
        address["url"] + path, headers={"Authorization": f"Bearer {address['token']}"},
        data=None if wish is None else json.dumps(wish).encode(), method="GET" if wish is None else "POST",
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def rad(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the console to its end."""
    return subprocess.run(
        [sys.executable, "-m", "console", *arguments], cwd=PROJECT, env=environment(folder, settings),
        text=True, capture_output=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL, check=False,
    )


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which RAD lives in *folder* alone; *settings* are RAD_ names without it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAD_", "KUCOIN_"))}
    return {
        **kept,
        "HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        "RAD_LOCK_CHECK": "1",
        "RAD_DATA_DIR": str(folder / "data"),
        "RAD_CONTROL__PORT": "0",
        **{name if name.startswith("KUCOIN_") else f"RAD_{name}": value for name, value in settings.items()},
    }
