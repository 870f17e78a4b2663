"""The processes of a campaign: the exchange that outlives every kill, and the daemons that do not."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.children import PROJECT, Child, environment
from tests.daemon_process import Refused, ask

PATIENCE_S = 30.0
LOOK_S = 0.02                    # between two looks at a daemon's log
Json = dict[str, Any]


class Exchange:
    """`python -m sandbox`, and its control API; what it says of itself is what everything is judged by."""

    def __init__(self, *arguments: str) -> None:
        given, self._input = os.pipe()
        told, output = os.pipe()
        with open(os.devnull, "w") as nowhere:
            self._process = Child(
                "sandbox", ["--exit-with-stdin", *arguments], folder=PROJECT, environment=os.environ,
                given=given, out=output, err=nowhere,
            )
        os.close(given)
        os.close(output)
        self._output = os.fdopen(told)
        line = next((line for line in self._output if line.startswith("{")), None)
        if line is None:
            raise RuntimeError("the exchange did not start")
        said = json.loads(line)
        self._control_url = said["control_url"]
        self.settings = {
            "EXCHANGE__FUTURES_URL": said["futures_url"], "EXCHANGE__SPOT_URL": said["spot_url"],
            "KUCOIN_API_KEY": said["key"], "KUCOIN_API_SECRET": said["secret"],
            "KUCOIN_API_PASSPHRASE": said["passphrase"],
        }
        self._events: list[Json] = []

    def control(self, name: str, wish: Mapping[str, Any] | None = None, *, method: str | None = None) -> Any:
        """Call the control API: POST with *wish*, GET without; return its JSON."""
        request = urllib.request.Request(
            f"{self._control_url}/{name}", method=method or ("POST" if wish is not None else "GET"),
            data=None if wish is None else json.dumps(wish, default=str).encode(),
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def fault(self, kind: str, **wish: Any) -> Any:
        """Inject a fault; docs/SANDBOX.md has the kinds."""
        return self.control("faults", {"kind": kind, **wish})

    def history(self) -> list[Json]:
        """Return everything that has happened on it since it began."""
        last = self._events[-1]["n"] if self._events else 0
        self._events += self.control(f"history?since={last}")["events"]
        return self._events

    def books(self) -> Json:
        """Return its only account as it stands: positions, orders, stops, wallet."""
        (account,) = self.control("state")["accounts"]
        found: Json = account
        return found

    def prices(self) -> dict[str, float]:
        """Return the price of every contract, by KuCoin's id."""
        url = f"{self.settings['EXCHANGE__FUTURES_URL']}/api/v1/contracts/active"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return {row["symbol"]: float(row["markPrice"]) for row in json.loads(answer.read())["data"]}

    def holds(self, symbol: str) -> bool:
        """Whether there is a position in *symbol*."""
        return any(row["symbol"] == symbol for row in self.books()["positions"])

    def resting(self, symbol: str) -> list[float]:
        """Return the prices of the stops that wait in *symbol*."""
        return [float(stop["stopPrice"]) for stop in self.books()["stops"] if stop["symbol"] == symbol]

    def stop(self) -> None:
        os.close(self._input)
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._output.close()


class Victim:
    """One daemon, from its fork to its end."""

    def __init__(self, folder: Path, settings: Mapping[str, str], trap: Mapping[str, Any]) -> None:
        self._folder = folder
        self._log = folder / "rad.out"
        self._log.touch()
        self._read_to = self._log.stat().st_size
        (folder / "data" / "control.json").unlink(missing_ok=True)     # the last one's, if it was killed
        self.spawned_ns = time.monotonic_ns()
        with self._log.open("a") as log:
            self._process = Child(
                "tests.campaign.child", [json.dumps(dict(trap))], folder=folder,
                environment=environment(folder, settings), out=log, err=log,
            )
        self.ended_ns = 0

    def await_line(self, pattern: str, timeout_s: float = PATIENCE_S) -> re.Match[str] | None:
        """Return the match of the first new line with *pattern* in it; None if the daemon ends before."""
        deadline = time.monotonic() + timeout_s
        pending = ""
        while True:
            ended = self.has_ended()
            with self._log.open() as log:
                log.seek(self._read_to)
                pending = log.read()
            found = re.search(pattern, pending)
            if found:
                self._read_to += pending.find("\n", found.start()) + 1
                return found
            if ended:
                return None
            if time.monotonic() > deadline:
                raise TimeoutError(f"no line {pattern!r} within {timeout_s:g} s")
            self.has_ended(LOOK_S)

    def ask(self, path: str, wish: Mapping[str, Any] | None = None) -> Any:
        """Ask the control API as the console does."""
        return ask(self._folder, path, wish)

    def try_to(self, path: str, wish: Mapping[str, Any]) -> str:
        """Ask for something that may be refused, or cut short by the end; return why, empty if it was done."""
        try:
            self.ask(path, wish)
        except Refused as error:
            return error.text
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def send(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Whether it has ended, or does within the time given."""
        return self._process.has_ended(timeout_s)

    def end(self, number: int = signal.SIGKILL, timeout_s: float = PATIENCE_S) -> int:
        """End it, by *number* if it still lives, and return the exit code."""
        if not self.ended_ns:
            self.send(number)
            if not self.has_ended(timeout_s):
                raise TimeoutError(f"signal {number} did not end it within {timeout_s:g} s")
            self.ended_ns = time.monotonic_ns()
        return self._process.wait(timeout_s)

    def __enter__(self) -> Victim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
