"""A terminal of tmux's, to see what a person would see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
LOOK_S = 0.05
PROMPT = "READY>"

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """One tmux server with one window, in which a shell runs."""

    def __init__(self, folder: Path, data_dir: Path, width: int = 80, height: int = 24) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", os.devnull]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAD_", "TMUX"))}
        environment |= {"RAD_DATA_DIR": str(data_dir), "TERM": "xterm-256color"}
        subprocess.run([*self._tmux, "new-session", "-d", "-x", str(width), "-y", str(height), "sh"],
                       check=True, cwd=PROJECT, env=environment, timeout=PATIENCE_S)
        self.type(f"PS1='{PROMPT} '", "Enter")

    def type(self, *keys: str) -> None:
        """Send keys as tmux names them: letters, Enter, Escape, Up, C-c."""
        self._do("send-keys", *keys)

    def run(self, command: str) -> None:
        """Have the shell run *command* of the console."""
        self.type(f"clear; {sys.executable} -m console {command}; echo code=$?", "Enter")

    def resize(self, width: int, height: int) -> None:
        self._do("resize-window", "-x", str(width), "-y", str(height))

    def pane(self) -> list[str]:
        """Return what is on the screen, a line each."""
        return self._do("capture-pane", "-p").splitlines()

    def shown(self, what: str | Callable[[list[str]], bool]) -> list[str]:
        """Return the screen once *what* is on it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            lines = self.pane()
            if what("\n".join(lines).splitlines()) if callable(what) else any(what in line for line in lines):
                return lines
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} never came on the screen:\n" + "\n".join(lines))
            time.sleep(LOOK_S)             # tmux tells nobody when a pane changes

    def modes(self) -> str:
        """Return whether the other screen is shown and the cursor is: `0 1` for a shell's."""
        return self._do("display-message", "-p", "#{alternate_on} #{cursor_flag}").strip()

    def pid_of(self, command: str) -> int:
        """Return the process the shell has started with *command* in its arguments."""
        shell = self._do("display-message", "-p", "#{pane_pid}").strip()
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", shell], capture_output=True, text=True, check=True
        )
        return next(int(line.split()[0]) for line in found.stdout.splitlines() if command in line)

    def _do(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True,
                              timeout=PATIENCE_S).stdout

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=PATIENCE_S)
