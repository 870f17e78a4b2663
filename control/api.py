"""The handlers of the API, made from the table of routes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from control.answers import Redact, answer, as_answer, as_json, without_secrets
from control.calls import Calls, Urgency
from control.codes import LIFE_S
from control.fields import BadRequest, read_body, read_query
from control.guard import CALLER, SAID, Caller, Guard, Handler, cookie_name, open_to_all
from control.metrics import CONTENT_TYPE, render
from control.openapi import document
from control.page import add_page
from control.routes import ACT_TIMEOUT_S, ASK_TIMEOUT_S, EVENTS, ROUTES, Route
from control.sessions import Session, Sessions
from control.shared import Shared
from control.steering import Steering
from control.stream import Streams

LARGEST_BODY = 64 * 1024
BODY_S = 10.0
HEALTH_S = 2.0               # for the look at who makes progress, which waits for nothing


class Api:
    """Everything the server answers; in the event loop's thread, with *steering* called in threads of its own."""

    def __init__(
        self, steering: Steering, *, token: str, names: frozenset[str],
        redact: Redact = str, ask_timeout_s: float = ASK_TIMEOUT_S, act_timeout_s: float = ACT_TIMEOUT_S,
    ) -> None:
        self._steering = steering
        self._redact = redact
        self._ask_timeout_s = ask_timeout_s
        self._act_timeout_s = act_timeout_s
        self._calls = Calls()
        self._sessions = Sessions(token)
        self._guard = Guard(self._sessions, names=names, redact=redact)
        self._streams = Streams(steering, self._calls, redact)
        self._health = Shared(steering.held_up, self._calls, min(HEALTH_S, ask_timeout_s))
        self._metrics = Shared(lambda: render(steering.figures()), self._calls, ask_timeout_s)

    def app(self) -> web.Application:
        """Return the application that serves all of it."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=LARGEST_BODY)
        app.on_response_prepare.append(self._guard.prepare)
        app.on_shutdown.append(self._streams.end)
        own: dict[str, Handler] = {
            "/healthz": self._healthz, "/api/login": self._log_in, "/api/logout": self._log_out,
            "/api/code": self._code, "/api/session": self._session, "/metrics": self._metrics_text,
            "/api/openapi.json": self._openapi,
        }
        for route in ROUTES:
            handler = own.get(route.path) or self._calling(route)
            if route.path == EVENTS:
                handler = self._streaming(handler)
            app.router.add_route(route.method, route.path, open_to_all(handler) if route.is_open else handler)
        add_page(app)
        return app

    # ---- what the daemon answers ----------------------------------------------------------------

    def _calling(self, route: Route) -> Handler:
        async def call(request: web.Request) -> web.StreamResponse:
            said = await _said(route, request)
            assert route.call is not None
            make = partial(self._worded, partial(route.call, self._steering, said))
            return as_answer(await self._calls.run(make, route.urgency, self._timeout_s(route)))

        return call

    def _worded(self, call: Callable[[], Any]) -> str:
        """Return what *call* returns as JSON: made in its thread, for ten thousand trades take a while."""
        return as_json(without_secrets(call(), self._redact))

    def _timeout_s(self, route: Route) -> float:
        is_quick = route.urgency is Urgency.ASK and not route.is_command
        return self._ask_timeout_s if is_quick else self._act_timeout_s

    def _streaming(self, listing: Handler) -> Handler:
        async def stream_or_list(request: web.Request) -> web.StreamResponse:
            if "text/event-stream" in request.headers.get("Accept", ""):
                return await self._streams.watch(request, partial(self._guard.still_in, request))
            return await listing(request)

        return stream_or_list

    # ---- what the server answers itself ---------------------------------------------------------

    async def _healthz(self, request: web.Request) -> web.Response:
        await _said(HEALTH, request)
        try:
            held_up = await self._health.get()
        except TimeoutError as error:
            held_up = str(error)
        said = {"ok": not held_up, "pid": os.getpid(), "held_up": self._redact(held_up)}
        return answer(said, 503 if held_up else 200)

    async def _log_in(self, request: web.Request) -> web.Response:
        said = await _said(LOG_IN, request)
        cookie, session = self._sessions.log_in(said["token"], request.remote or "")
        request[CALLER] = Caller(who="page", session=session, cookie=cookie)
        response = answer(self._about(session))
        response.set_cookie(
            cookie_name(request), cookie, httponly=True, samesite="Strict", path="/", secure=request.secure
        )
        return response

    async def _code(self, request: web.Request) -> web.Response:
        await _said(CODE, request)
        return answer({"code": self._sessions.codes.issue(), "ends_in_s": round(LIFE_S)})

    async def _log_out(self, request: web.Request) -> web.Response:
        await _said(LOG_OUT, request)
        self._sessions.log_out(request[CALLER].cookie)
        response = answer({"logged_in": False})
        response.del_cookie(
            cookie_name(request), httponly=True, samesite="Strict", path="/", secure=request.secure
        )
        return response

    async def _metrics_text(self, request: web.Request) -> web.Response:
        await _said(METRICS, request)
        return web.Response(body=await self._metrics.get(), headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, request: web.Request) -> web.Response:
        await _said(OPENAPI, request)
        return answer(document())

    async def _session(self, request: web.Request) -> web.Response:
        await _said(SESSION, request)
        return answer(self._about(request[CALLER].session))

    def _about(self, session: Session | None) -> dict[str, Any]:
        if session is None:
            return {"logged_in": False, "csrf": None, "ends_in_s": None}
        return {
            "logged_in": True, "csrf": session.csrf, "ends_in_s": round(self._sessions.seconds_left(session)),
        }


async def _said(route: Route, request: web.Request) -> dict[str, Any]:
    """Return what a request says, refused if it makes no sense."""
    query = read_query(() if route.is_command else route.fields, request.query.items())
    if not route.is_command:
        return query
    said = read_body(route.fields, await _body(request))
    request[SAID] = {name: value for name, value in said.items() if name != "token"}
    return said


async def _body(request: web.Request) -> bytes:
    """Return the whole body; whoever takes too long to send it is not waited for."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise BadRequest(f"the body did not come within {BODY_S:g} s") from None


def _route(path: str) -> Route:
    return next(route for route in ROUTES if route.path == path)


LOG_IN, LOG_OUT, SESSION = _route("/api/login"), _route("/api/logout"), _route("/api/session")
HEALTH, METRICS, OPENAPI = _route("/healthz"), _route("/metrics"), _route("/api/openapi.json")
CODE = _route("/api/code")
