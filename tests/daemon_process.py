"""RAD as a process: started, watched by its log, asked by its API, stopped or killed."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.children import PATIENCE_S, PROJECT, Child, environment

LOADED_MACHINE_S = 5.0           # what a machine that runs other tests meanwhile may add


class Daemon:
    """`./rad run` with a data folder of its own; what it prints is read as it comes.

    *trap*: what `tests.campaign.child` lays over it: a point to die or freeze at, rules to leave out.
    It is forked from a process that has imported RAD; *cold*, it is a Python of its own, as a person starts it.
    """

    def __init__(
        self, folder: Path, *arguments: str, trap: Mapping[str, Any] | None = None, cold: bool = False,
        **settings: str,
    ) -> None:
        self.folder = folder
        module, *words = self.program() if trap is None else ["tests.campaign.child", json.dumps(trap)]
        words += arguments
        reader, writer = os.pipe()
        self._output = os.fdopen(reader, encoding="utf-8")
        try:
            self.process = _begin(module, words, folder, environment(folder, settings), writer, cold=cold)
        finally:
            os.close(writer)
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, name="daemon-output", daemon=True).start()

    def program(self) -> list[str]:
        """Return the module Python is to run, and its first arguments."""
        return ["console", "run"]

    def _read(self) -> None:
        for line in self._output:
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
        self._output.close()


def _begin(
    module: str, words: list[str], folder: Path, environment: Mapping[str, str], output: int, *, cold: bool
) -> Child | subprocess.Popen[bytes]:
    if not cold:
        return Child(module, words, folder=folder, environment=environment, out=output, err=output)
    return subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=output, stderr=output, start_new_session=True,
    )


class Refused(OSError):
    """The control API's no, and what it said with it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.text = text


def ask(folder: Path, path: str, wish: Mapping[str, Any] | None = None) -> Any:
    """Ask the control API of the daemon that lives in *folder*; raise Refused if it says no."""
    address = json.loads((folder / "data" / "control.json").read_text())
    request = urllib.request.Request(
        address["url"] + path, headers={"Authorization": f"Bearer {address['token']}"},
        data=None if wish is None else json.dumps(wish).encode(), method="GET" if wish is None else "POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(error.code, error.read().decode()) from None


def rad(folder: Path, *arguments: str, cold: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the console to its end; *cold* as for a daemon."""
    environs = environment(folder, settings)
    if cold:
        return subprocess.run(
            [sys.executable, "-m", "console", *arguments], cwd=PROJECT, env=environs,
            text=True, capture_output=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL, check=False,
        )
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = Child("console", arguments, folder=PROJECT, environment=environs, out=out, err=err)
        try:
            code = child.wait(PATIENCE_S)
        finally:
            child.kill()
        return subprocess.CompletedProcess(arguments, code, _whole(out), _whole(err))


def _whole(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
