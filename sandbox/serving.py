"""The exchange on the wire: two addresses, one event loop, a market that ticks."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from sandbox.accounts import ApiKey
from sandbox.books import Books
from sandbox.control import Control
from sandbox.exchange import Exchange
from sandbox.faults import Faults
from sandbox.market.source import MarketSource
from sandbox.pushes import Pushes
from sandbox.rates import RateLimits
from sandbox.rest import Rest
from sandbox.settings import SandboxOptions
from sandbox.spot_routes import futures_table, spot_table
from sandbox.tokens import Tokens
from sandbox.websocket import Hub

log = logging.getLogger("sandbox")
MARKETS = ("futures", "spot")
DEFAULT_USER = "sandbox-user"
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a running sandbox answers, and the key it accepts."""

    futures_url: str
    spot_url: str
    control_url: str
    key: str
    secret: str
    passphrase: str

    def to_json(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


class Sandbox:
    """Builds the exchange around *source*, serves it, and ticks its market until stopped."""

    def __init__(self, source: MarketSource, options: SandboxOptions) -> None:
        self.options = options
        self.faults = Faults()
        self.exchange = Exchange(source, rules=options.rules, mischief=self._mischief)
        self.rates = RateLimits(options.quotas, options.rate_window_ms)
        self.tokens = Tokens(options.rules)
        self.hub = Hub(self.exchange.market, options.rules, self.tokens, self.faults)
        self.pushes = Pushes(self.exchange, self.hub)
        self.rest = Rest(
            self.exchange, {"futures": futures_table(), "spot": spot_table()}, self.rates, self.faults,
            self.tokens,
        )
        self.control = Control(self)
        self.books = Books(
            self.exchange, options.state, market=options.market_identity(), anchor_ms=options.anchor_ms
        ) if options.state else None
        self.addresses: Addresses
        self._stopping = asyncio.Event()
        self._runners: list[web.AppRunner] = []

    def _mischief(self, kind: str, symbol: str) -> bool:
        """Whether an engine fault strikes now; if so it is put on record."""
        strikes = self.faults.for_engine(kind, symbol)
        if strikes:
            self.exchange.history.append(
                "fault_struck", self.exchange.clock.now_ms(), fault=kind, carried_out=True, symbol=symbol,
                client_oid="",
            )
        return strikes

    async def start(self) -> Addresses:
        """Start the market, load the books, and listen; the addresses answer when this returns."""
        await self.exchange.start()
        self.exchange.listen(self.pushes)
        self.exchange.wake = self._match_soon
        if self.books is not None:
            self.books.load()
        self.exchange.add_user(
            ApiKey(
                key=self.options.key, secret=self.options.secret, passphrase=self.options.passphrase,
                user_id=DEFAULT_USER,
            ),
            self.options.balance,
        )
        futures = await self._listen("futures", self.options.port)
        spot = await self._listen("spot", self.options.spot_port)
        self.addresses = Addresses(
            futures_url=futures, spot_url=spot, control_url=f"{futures}/control", key=self.options.key,
            secret=self.options.secret, passphrase=self.options.passphrase,
        )
        return self.addresses

    async def run(self) -> None:
        """Tick until `stop`, then save and close everything."""
        try:
            await self._tick_until_stopped()
        finally:
            await self._close()

    def stop(self) -> None:
        """End `run`; to be called in the event loop."""
        self._stopping.set()

    def step(self) -> tuple[str, ...]:
        """Move the market to now and push what changed."""
        changed = self.exchange.step()
        self.pushes.market_moved(changed)
        return changed

    def save_books(self) -> None:
        if self.books is not None:
            self.books.save()

    async def _tick_until_stopped(self) -> None:
        slow = asyncio.create_task(self._every_second(), name="every-second")
        try:
            while not self._stopping.is_set():
                try:
                    self.step()
                except Exception:
                    log.exception("market step failed")
                await self._pause(self.options.tick_ms / 1000)
        finally:
            slow.cancel()

    async def _every_second(self) -> None:
        """Do what takes its time beside the ticking: candles may come from far away, books go to disk."""
        while not self._stopping.is_set():
            await self._pause(1)
            try:
                await self.pushes.each_second()
                if self.books is not None:
                    await self.books.save_if_changed()
            except Exception:
                log.exception("the every-second round failed")

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass

    async def _close(self) -> None:
        self.save_books()
        await self.hub.close()
        for runner in self._runners:
            await runner.cleanup()
        await self.exchange.source.close()

    def _match_soon(self) -> None:
        """Match one accepted order (or cancel) after the delay between acceptance and matching."""
        delay_s = self.options.rules.match_delay_ms / 1000
        asyncio.get_running_loop().call_later(delay_s, self.exchange.run_pending, 1)

    async def _listen(self, market: str, port: int) -> str:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", partial(self._dispatch, market))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self.options.host, port)
        await site.start()
        bound: Any = runner.addresses[0]
        return f"http://{bound[0]}:{bound[1]}"

    async def _dispatch(self, market: str, request: web.Request) -> web.StreamResponse:
        """Send a request to the control API, the WebSocket or a market, minding /futures and /spot."""
        path = request.path
        if path == "/control" or path.startswith("/control/"):
            if request.remote not in _LOOPBACK:
                return web.Response(status=403, text="the control API answers on loopback only")
            return await self.control.answer(request, path)
        prefix = ""
        for name in MARKETS:
            if path.startswith(f"/{name}/"):
                market, prefix, path = name, f"/{name}", path.removeprefix(f"/{name}")
        if path == "/endpoint":
            return await self.hub.serve(request)
        return await self.rest.answer(request, market, prefix, path)


async def serve(source: MarketSource, options: SandboxOptions) -> Sandbox:
    """Return a sandbox that listens already; await its `run` to let the market tick."""
    sandbox = Sandbox(source, options)
    await sandbox.start()
    return sandbox
