"""One REST request from arrival to answer: faults, rate, signature, handler, envelope."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiohttp import web

from sandbox import auth, refusals
from sandbox.exchange import Exchange
from sandbox.faults import Faults, Rule
from sandbox.rates import Charge, RateLimits
from sandbox.refusals import Refusal
from sandbox.routes import Call, Route, RouteTable
from sandbox.tokens import Tokens
from sandbox.wire import loads, refused, succeeded

log = logging.getLogger("sandbox")
MAINTENANCE_PAGE = "<html><head><title>Maintenance</title></head><body>Back soon.</body></html>"
_JSON = "application/json"


class Rest:
    """Answers every market's requests; a market is a table of routes under a prefix."""

    def __init__(
        self, exchange: Exchange, tables: dict[str, RouteTable], rates: RateLimits, faults: Faults,
        tokens: Tokens,
    ) -> None:
        self.exchange = exchange
        self.tables = tables
        self.rates = rates
        self.faults = faults
        self.tokens = tokens
        self.requests: dict[str, int] = {}         # "GET /api/v1/…" -> how many were answered

    async def answer(self, request: web.Request, market: str, prefix: str, path: str) -> web.StreamResponse:
        received_ns = time.monotonic_ns()
        body = (await request.read()).decode("utf-8", "replace")
        parsed, readable = _parse(body)
        symbol = request.query.get("symbol") or (parsed.get("symbol") if isinstance(parsed, dict) else None)
        struck = self.faults.for_request(request.method, path, market, str(symbol or ""))
        if request.method != "GET":
            self._note(struck, request.method, path, parsed if isinstance(parsed, dict) else {})
        for rule in struck:
            if not rule.commits and (early := await self._strike(request, rule, None)) is not None:
                return early
        call = Call(
            exchange=self.exchange, market=market, query=dict(request.query), path_values={},
            body=parsed if readable else body, received_ns=received_ns,
            base_url=f"{request.scheme}://{request.host}{prefix}", tokens=self.tokens,
            remote=request.remote or "",
        )
        response = await self._handle(request, market, path, call, body)
        for rule in struck:
            if rule.commits and (spoiled := await self._strike(request, rule, response)) is not None:
                return spoiled
        return response

    def _note(self, struck: list[Rule], method: str, path: str, wish: dict[str, Any]) -> None:
        """Put the faults on a request that would change something on record."""
        for rule in (rule for rule in struck if rule.kind != "delay"):      # that keeps nothing from happening
            self.exchange.history.append(
                "fault_struck", self.exchange.clock.now_ms(), fault=rule.kind, carried_out=rule.commits,
                method=method, path=path, symbol=str(wish.get("symbol") or ""),
                client_oid=str(wish.get("clientOid") or ""),
            )

    async def _handle(
        self, request: web.Request, market: str, path: str, call: Call, body: str
    ) -> web.Response:
        charge: Charge | None = None
        try:
            route, call.path_values = self.tables[market].find(request.method, path)
            self._count(route)
            if route.permission is None:
                charge = self._charge(route, request.remote or "")
            else:
                call.key = auth.authenticate(
                    self.exchange.keys, self.exchange.clock, method=request.method, path=path,
                    raw_query=request.rel_url.raw_query_string, body=body, headers=request.headers,
                )
                auth.require_version(request.headers, self.exchange.rules.least_key_version)
                auth.require_place(call.key, call.remote)
                charge = self._charge(route, call.key.user_id)
                auth.require(call.key, route.permission)
            if not charge.admitted:
                raise refusals.too_many_requests()
            text, status = succeeded(await route.handler(call)), 200
        except Refusal as refusal:
            text, status = refused(refusal.code, refusal.message), refusal.status
        except Exception:
            log.exception("request failed method=%s path=%s", request.method, path)
            text, status = refused("500000", "Internal Server Error"), 500
        headers = charge.headers() if charge else {}
        return web.Response(text=text, status=status, content_type=_JSON, headers=headers)

    def _charge(self, route: Route, who: str) -> Charge:
        return self.rates.charge(route.pool, who, route.weight)

    def _count(self, route: Route) -> None:
        name = f"{route.method} {route.path}"
        self.requests[name] = self.requests.get(name, 0) + 1

    async def _strike(
        self, request: web.Request, rule: Rule, response: web.Response | None
    ) -> web.StreamResponse | None:
        """Return the answer *rule* makes of this request; None lets it go on."""
        match rule.kind:
            case "delay":
                await asyncio.sleep(rule.delay_ms / 1000)
                return None
            case "refuse":
                return _plain(refused(rule.code, rule.message), rule.status, _JSON)
            case "overload":
                return _plain(refused("429000", "Too many requests"), 429, _JSON)
            case "rate_limit":
                return self._rate_limited(rule)
            case "html":
                return _plain(rule.body or MAINTENANCE_PAGE, rule.status, "text/html")
            case "empty":
                return _plain("", rule.status, _JSON)
            case "truncate":
                whole = response.text if response is not None else succeeded([{"a": 1}, {"b": 2}])
                return _plain((whole or "")[: max(1, len(whole or "") * 2 // 3)], 200, _JSON)
            case "black_hole":
                await asyncio.Event().wait()       # until the client, or the sandbox, goes away
            case "drip":
                return await _drip(request, response, rule)
        _hang_up(request)
        return web.Response()

    def _rate_limited(self, rule: Rule) -> web.Response:
        headers = {
            "gw-ratelimit-limit": "2000", "gw-ratelimit-remaining": "0",
            "gw-ratelimit-reset": str(rule.retry_after_ms),
        }
        text = refused("429000", "Too many requests")
        return web.Response(text=text, status=429, content_type=_JSON, headers=headers)


async def _drip(request: web.Request, response: web.Response | None, rule: Rule) -> web.StreamResponse:
    """Send the answer byte by byte, `delay_ms` apart: no single read ever times out."""
    text = (response.text if response is not None else None) or succeeded([])
    stream = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": str(len(text.encode()))})
    await stream.prepare(request)
    for byte in text.encode():
        await stream.write(bytes([byte]))
        await asyncio.sleep(rule.delay_ms / 1000)
    return stream


def _hang_up(request: web.Request) -> None:
    """Close the connection without a byte of answer."""
    if request.transport is not None:
        request.transport.abort()


def _plain(text: str, status: int, content_type: str) -> web.Response:
    return web.Response(text=text, status=status, content_type=content_type)


def _parse(body: str) -> tuple[Any, bool]:
    if not body:
        return None, True
    try:
        return loads(body), True
    except ValueError:
        return None, False
