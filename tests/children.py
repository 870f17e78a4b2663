"""Processes forked by `tests.nursery`, and used as if `subprocess` had started them."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
Json = dict[str, Any]


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


class Nursery:
    """`tests.nursery` as a process; any thread may ask it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"], cwd=PROJECT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env={**environment(PROJECT, {}), "OPENBLAS_NUM_THREADS": "1"},
        )
        self._one_asks = threading.Lock()
        self._read()

    def tell(self, wish: Mapping[str, Any]) -> Json:
        """Hand over one wish and return the answer."""
        assert self._process.stdin is not None
        with self._one_asks:
            self._process.stdin.write(json.dumps(wish) + "\n")
            self._process.stdin.flush()
            return self._read()

    def stop(self) -> None:
        """End it; its children go on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()

    def _read(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery has ended")
        answer: Json = json.loads(line)
        return answer


_one_begins = threading.Lock()


@cache
def _only_nursery() -> Nursery:
    begun = Nursery()
    atexit.register(begun.stop)
    return begun


def nursery() -> Nursery:
    """Return the nursery of this process, begun when it is first needed; it ends with us."""
    with _one_begins:
        return _only_nursery()


class Child:
    """`python -m MODULE ARGUMENTS` in *folder*, from its fork to its end; its input is empty unless given."""

    def __init__(
        self, module: str, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str],
        out: IO[Any] | int, err: IO[Any] | int, given: int | None = None,
    ) -> None:
        self.pid: int = nursery().tell({
            "module": module, "arguments": list(arguments), "folder": str(folder),
            "environment": dict(environment), "out": _reach(out), "err": _reach(err),
            "in": os.devnull if given is None else _reach(given),
        })["pid"]
        self._handle = os.pidfd_open(self.pid)
        self._reaping = threading.Lock()
        self.returncode: int | None = None

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Whether it has ended, or does within the time given."""
        return self.returncode is not None or bool(select.select([self._handle], [], [], timeout_s)[0])

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with self._reaping:
            if self.returncode is None and self.has_ended():
                self.returncode = nursery().tell({"reap": self.pid})["code"]
                os.close(self._handle)
            return self.returncode

    def wait(self, timeout_s: float) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        self.has_ended(timeout_s)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout_s)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        with self._reaping:
            if self.returncode is None:
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _reach(file: IO[Any] | int) -> str:
    """Return the name by which the nursery opens *file* once more: for a pipe, the same pipe."""
    return f"/proc/{os.getpid()}/fd/{file if isinstance(file, int) else file.fileno()}"
