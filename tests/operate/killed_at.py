"""Console commands, each killed without ceremony before its nth change of the disk.

    python -m tests.operate.killed_at       then `[n, "command", ...]` a line; answers with the exit code
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

KILLED = 9
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Executioner:
    """A process that has imported the commands and forks one whenever it is told to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.operate.killed_at"], cwd=Path(__file__).resolve().parents[2],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )

    def run(self, nth: int, *argv: object) -> int:
        """Run one command, killed at its *nth* change; return the exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([nth, *(str(each) for each in argv)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Executioner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def _kill_before(nth: int) -> None:
    left = nth

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        is_change = event in CHANGES or (
            event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        )
        if is_change:
            left -= 1
            if left == 0:
                os._exit(KILLED)

    sys.addaudithook(look)


def main() -> None:
    from console import archive, backup, restore  # noqa: F401 - the forks find everything imported
    from console.__main__ import main as run

    for line in sys.stdin:
        nth, *argv = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            _kill_before(nth)
            os._exit(run(argv))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
