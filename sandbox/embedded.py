"""A sandbox inside this process, in a thread of its own: for tests."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from sandbox.market.source import MarketSource
from sandbox.serving import Addresses, Sandbox
from sandbox.settings import ExchangeRules, SandboxOptions
from sandbox.sources import build_source

PATIENCE_S = 20.0
T = TypeVar("T")


class RunningSandbox:
    """The addresses of a sandbox in another thread, and its control API as methods."""

    def __init__(self, addresses: Addresses, sandbox: Sandbox, loop: asyncio.AbstractEventLoop) -> None:
        self.futures_url = addresses.futures_url
        self.spot_url = addresses.spot_url
        self.control_url = addresses.control_url
        self.key = addresses.key
        self.secret = addresses.secret
        self.passphrase = addresses.passphrase
        self._sandbox = sandbox
        self._loop = loop

    def control(self, name: str, wish: dict[str, Any] | None = None, *, method: str | None = None) -> Any:
        """Call the control API: POST with *wish*, GET without; return its JSON."""
        request = urllib.request.Request(
            f"{self.control_url}/{name}", method=method or ("POST" if wish is not None else "GET"),
            data=None if wish is None else json.dumps(wish, default=str).encode(),
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def fault(self, kind: str, **wish: Any) -> Any:
        """Inject a fault; see docs/SANDBOX.md for the kinds."""
        return self.control("faults", {"kind": kind, **wish})

    def set_price(self, symbol: str, price: Any) -> Any:
        return self.control("price", {"symbol": symbol, "price": str(price)})

    def history(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the exchange's own record, of one kind when given."""
        events: list[dict[str, Any]] = self.control(f"history?event={event}" if event else "history")["events"]
        return events

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.control("state")
        return state

    def call(self, action: Callable[[Sandbox], T]) -> T:
        """Run *action* on the sandbox inside its own loop and return what it returns."""
        async def act() -> T:
            return action(self._sandbox)

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE_S)


@contextmanager
def run_sandbox(source: MarketSource | str = "synthetic", **wishes: Any) -> Iterator[RunningSandbox]:
    """Run a sandbox for the length of a `with`.

    *source* is a market, or the name of one that *wishes* describe (synthetic, replay, relay);
    *wishes* are fields of `SandboxOptions` or `ExchangeRules`.
    """
    options = _options(wishes | {"source": source if isinstance(source, str) else "given"})
    started: Future[tuple[Addresses, Sandbox, asyncio.AbstractEventLoop]] = Future()

    async def main() -> None:
        try:
            sandbox = Sandbox(build_source(options) if isinstance(source, str) else source, options)
            started.set_result((await sandbox.start(), sandbox, asyncio.get_running_loop()))
        except BaseException as error:
            started.set_exception(error)
            raise
        await sandbox.run()

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException:
            if not started.done() or started.exception() is None:
                raise

    thread = threading.Thread(target=work, name="sandbox", daemon=True)
    thread.start()
    addresses, sandbox, loop = started.result(PATIENCE_S)
    try:
        yield RunningSandbox(addresses, sandbox, loop)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(sandbox.stop)
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the sandbox did not stop"


def _options(wishes: dict[str, Any]) -> SandboxOptions:
    rule_names = {f.name for f in fields(ExchangeRules)}
    rules = ExchangeRules(**{k: v for k, v in wishes.items() if k in rule_names})
    return SandboxOptions(rules=rules, **{k: v for k, v in wishes.items() if k not in rule_names})
