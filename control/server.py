"""The daemon's local HTTP API, served from a thread of its own."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from control.address import ControlAddress
from control.calls import Calls, TooBusy, Urgency
from control.steering import BAD_CONFIG, ERROR, NOT_FOUND, TIMED_OUT, JsonObject, Steering, exit_code_of
from control.views import moment
from runtime.locks import assert_no_lock_held
from trading.errors import ConfigError, RadError

log = logging.getLogger("control")

ASK_TIMEOUT_S = 5.0
ACT_TIMEOUT_S = 60.0
START_TIMEOUT_S = 10.0
MOST_TRADES = 10_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HTTP_STATUS = {NOT_FOUND: 404, BAD_CONFIG: 409, TIMED_OUT: 504}


class BadRequest(RadError):
    """The request itself makes no sense."""


class ControlServer:
    """Serves *steering* on loopback and writes where to `control.json` in *data_dir*.

    Every request but `/healthz` needs `Authorization: Bearer <token>`, and a Host that is an address,
    localhost or *host*: a web page whose name was re-pointed at this machine gets nothing.
    """

    def __init__(
        self,
        steering: Steering,
        *,
        data_dir: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        act_timeout_s: float = ACT_TIMEOUT_S,
    ) -> None:
        self._steering = steering
        self._data_dir = data_dir
        self._host = host
        self._port = port
        self._token = token or secrets.token_urlsafe(32)
        self._ask_timeout_s = ask_timeout_s
        self._act_timeout_s = act_timeout_s
        self._calls = Calls()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._failure: OSError | None = None
        self.address: ControlAddress | None = None

    def start(self) -> ControlAddress:
        """Listen, write control.json and return what is in it.

        Raises:
            ConfigError: the address cannot be listened on, or control.json not written.
        """
        assert_no_lock_held("starting the API")
        self._thread = threading.Thread(target=self._run, name="Control", daemon=True)
        self._thread.start()
        if not self._listening.wait(START_TIMEOUT_S):
            raise ConfigError(f"control: could not listen on {self._host} within {START_TIMEOUT_S:g} s")
        if self._failure is not None or self.address is None:
            reason = self._failure.strerror if self._failure else "no reason given"
            raise ConfigError(
                f"control: cannot listen on {self._host} port {self._port} ({reason}); "
                "change control.host or control.port, or set the port to 0"
            )
        try:
            self.address.write(self._data_dir)
        except OSError as error:
            self.stop()
            raise ConfigError(f"data_dir: cannot write in {self._data_dir} ({error.strerror})") from None
        return self.address

    @property
    def alive(self) -> bool:
        """Whether its thread runs; once dead it can only be replaced by a new server."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Stop listening and take control.json away; calls still under way are left to themselves."""
        assert_no_lock_held("ending the API")
        if self.address is not None:
            self.address.remove(self._data_dir)
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                pass   # it has just ended by itself
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            port = runner.addresses[0][1]
            host = f"[{self._host}]" if ":" in self._host else self._host
            self.address = ControlAddress(
                url=f"http://{host}:{port}",
                token=self._token,
                pid=os.getpid(),
                started=moment(time.time_ns() // 1_000_000) or "",
            )
            self._listening.set()
            await self._ended.wait()
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024)
        app.router.add_get("/healthz", self._healthz)
        for name in ("status", "positions", "opportunities", "threads"):
            app.router.add_get(f"/api/{name}", self._asking(name))
        app.router.add_get("/api/trades", self._trades)
        for name in ("orders", "verify"):
            app.router.add_get(f"/api/{name}", self._acting(name, Urgency.SLOW))
        app.router.add_post("/api/open", self._open)
        app.router.add_post("/api/close", self._close)
        for name in ("flatten", "pause", "resume"):
            app.router.add_post(f"/api/{name}", self._acting(name, Urgency.EXIT))
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may, and answer every failure as JSON."""
        if not self._is_host_ours(request.headers.get("Host", "")):
            return _refusal(403, "this Host is not served here", ERROR)
        if request.path != "/healthz" and not self._has_token(request):
            return _refusal(401, "the token of control.json is needed", ERROR)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refusal(error.status, f"{request.method} {request.path}: {error.reason}", ERROR)
        except BadRequest as error:
            return _refusal(400, str(error), ERROR)
        except TooBusy as error:
            return _refusal(503, str(error), TIMED_OUT)
        except (RadError, TimeoutError) as error:
            code = exit_code_of(error)
            return _refusal(_HTTP_STATUS.get(code, 409), str(error) or "timed out", code)
        except Exception as error:
            log.exception("request failed path=%s", request.path)
            # The text of an unforeseen error may hold anything; its kind is enough outside.
            return _refusal(500, f"internal error {type(error).__name__}; the log has the details", ERROR)

    def _is_host_ours(self, header: str) -> bool:
        try:
            name = urlsplit(f"//{header}").hostname or ""
            if name in ("localhost", self._host.lower()):
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _has_token(self, request: web.Request) -> bool:
        said = request.headers.get("Authorization", "")
        return hmac.compare_digest(said.encode(), f"Bearer {self._token}".encode())

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "pid": os.getpid()})

    def _asking(self, name: str) -> Handler:
        async def ask(request: web.Request) -> web.Response:
            return await self._ask(getattr(self._steering, name))

        return ask

    def _acting(self, name: str, urgency: Urgency) -> Handler:
        async def act(request: web.Request) -> web.Response:
            return await self._act(getattr(self._steering, name), urgency)

        return act

    async def _trades(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", "100")
        if not text.isdecimal() or not 0 < int(text) <= MOST_TRADES:
            raise BadRequest(f"limit must be a number from 1 to {MOST_TRADES}")
        return await self._ask(lambda: self._steering.trades(int(text)))

    async def _open(self, request: web.Request) -> web.Response:
        said = await _body(request)
        symbol, side, notional = _symbol(said), said.get("side"), said.get("notional")
        if side not in ("long", "short"):
            raise BadRequest("side must be long or short")
        wanted = None if notional is None else _positive_amount("notional", str(notional))
        return await self._act(lambda: self._steering.open(symbol, side, wanted), Urgency.SLOW)

    async def _close(self, request: web.Request) -> web.Response:
        symbol = _symbol(await _body(request))
        return await self._act(lambda: self._steering.close(symbol), Urgency.EXIT)

    async def _ask(self, call: Callable[[], Any]) -> web.Response:
        return _answer(await self._calls.run(call, Urgency.ASK, self._ask_timeout_s))

    async def _act(self, call: Callable[[], Any], urgency: Urgency) -> web.Response:
        return _answer(await self._calls.run(call, urgency, self._act_timeout_s))


def _answer(facts: Any) -> web.Response:
    return web.json_response(facts, dumps=lambda each: json.dumps(each, allow_nan=False))


def _refusal(status: int, error: str, exit_code: int) -> web.Response:
    return web.json_response({"error": error, "exit_code": exit_code}, status=status)


async def _body(request: web.Request) -> JsonObject:
    try:
        said = json.loads(await request.text() or "{}", parse_float=Decimal)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(said, dict):
        raise BadRequest("the body must be a JSON object")
    return said


def _positive_amount(name: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    if not (value.is_finite() and value > 0):
        raise BadRequest(f"{name} must be a positive amount in quote currency")
    return value


def _symbol(said: JsonObject) -> str:
    symbol = said.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise BadRequest("symbol is missing")
    return symbol
