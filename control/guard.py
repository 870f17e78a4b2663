"""Who is let in: the Host, the token or a browser's session, and what a browser is told to keep out."""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from control import audit
from control.answers import Redact, failed, refusal
from control.sessions import Session, Sessions

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CSRF_HEADER = "X-RAD-CSRF"
CLIENT_HEADER = "X-RAD-Client"
CLIENTS = frozenset({"cli", "top"})         # of RAD's own; whoever else has the token is "api"

QUIET_S = 10.0               # between two lines about somebody without the token

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks; a browser has a session and its cookie."""

    who: str
    session: Session | None = None
    cookie: str = ""


NOBODY = Caller(who="nobody")
CALLER = web.RequestKey("caller", Caller)
SAID = web.RequestKey("said", dict)         # what a command was given, for the log


def open_to_all(handler: Handler) -> Handler:
    """Return *handler*, marked as one that answers without the token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    handle.is_open_to_all = True  # type: ignore[attr-defined]
    return handle


class Guard:
    """The middleware before every handler. In the event loop's thread only."""

    def __init__(self, sessions: Sessions, *, names: frozenset[str], redact: Redact = str) -> None:
        self._sessions = sessions
        self._redact = redact
        self._names = frozenset(name.lower() for name in names) | {"localhost"}
        self._quiet_until = float("-inf")
        self._passed_over = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may, answer every failure as JSON, and write down every command."""
        request[CALLER] = caller = self._identify(request)
        refused = self._refuse(request, caller)
        if refused is None:
            try:
                response = await handler(request)
            except Exception as error:  # noqa: BLE001 - every failure has an answer, the unforeseen in the log too
                refused = failed(request, error, self._redact)
        if request.method == "POST":
            self._write_down(request, request[CALLER], refused)    # who logs in was nobody before
        return response if refused is None else refused

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every answer has."""
        add_headers(response)

    def still_in(self, request: web.Request) -> bool:
        """Whether the caller of a long request would be let in again."""
        caller = request[CALLER]
        return caller.session is None or self._sessions.find(caller.cookie) is not None

    def _refuse(self, request: web.Request, caller: Caller) -> web.Response | None:
        if not self._is_host_ours(request.headers.get("Host", "")):
            return refusal(403, "this Host is not served here")
        is_open = getattr(request.match_info.handler, "is_open_to_all", False)
        if caller is NOBODY and not is_open:
            refused = refusal(401, "the token of control.json is needed")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        if request.method == "POST" and not _is_from_here(request):
            return refusal(403, "commands of other sites are not taken")
        if request.method == "POST" and caller.session is not None and not _has_csrf(request, caller.session):
            return refusal(403, f"a command from a browser needs the header {CSRF_HEADER}")
        return None

    def _is_host_ours(self, header: str) -> bool:
        """Whether it is an address or a name of ours: a site whose name was re-pointed here gets nothing."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _identify(self, request: web.Request) -> Caller:
        said = request.headers.get("Authorization", "")
        if said:
            scheme, _, token = said.partition(" ")
            if scheme.lower() != "bearer" or not self._sessions.knows(token):
                return NOBODY
            client = request.headers.get(CLIENT_HEADER, "")
            return Caller(who=client if client in CLIENTS else "api")
        cookie = request.cookies.get(cookie_name(request), "")
        session = self._sessions.find(cookie) if cookie else None
        return NOBODY if session is None else Caller(who="page", session=session, cookie=cookie)

    def _write_down(self, request: web.Request, caller: Caller, refused: web.Response | None) -> None:
        """Write a command down; of those by nobody, one in a while: the log is not theirs to fill."""
        if caller is NOBODY and refused is not None:
            now = time.monotonic()
            if now < self._quiet_until:
                self._passed_over += 1
                return
            self._quiet_until = now + QUIET_S
        result = "ok" if refused is None else f"{refused.status} {_reason(refused)}"
        if caller is NOBODY and self._passed_over:
            result += f" (and {self._passed_over} more)"
            self._passed_over = 0
        what = ascii(request.path.removeprefix("/api/")[:40])[1:-1]
        audit.record(caller.who, what, request.get(SAID, {}), result, refused=refused is not None)


def _reason(refused: web.Response) -> str:
    return str(json.loads(refused.text or "{}").get("error", ""))[:200]


def add_headers(response: web.StreamResponse) -> None:
    """Add what keeps other sites out of a browser that is logged in, unless the answer has its own."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "rad"         # not with the versions of what is inside


def cookie_name(request: web.Request) -> str:
    """Return this server's own name for its cookie: browsers tell ports of one machine not apart."""
    transport = request.transport
    address = transport.get_extra_info("sockname") if transport is not None else None
    return f"rad_{address[1] if address else 0}"


def _is_from_here(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    except ValueError:
        return False


def _has_csrf(request: web.Request, session: Session) -> bool:
    said = request.headers.get(CSRF_HEADER, "")
    return hmac.compare_digest(said.encode("utf-8", "replace"), session.csrf.encode())
