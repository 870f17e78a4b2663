"""The web page: its files, told to browsers so that they run nothing else and keep no old copy."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "static"
CHARTS = "plotly.min.js"               # the page's only code that is not RAD's: plotly's Python package brings it

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_WORTH_PACKING = 2_000                 # bytes
_PIECE = 128 * 1024

# Scripts and styles come from here alone and none stands within the page. Trusted types make the browser
# itself refuse text that would be taken in as HTML.
_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
))
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    # Ask each time whether it has changed; a tag makes the answer short.
    "Cache-Control": "no-cache",
}


class StaticFile:
    """One file of the page, read when it is first asked for; used in the server's loop alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packed = b""

    @cached_property
    def _content(self) -> bytes:
        return self._path.read_bytes()

    @cached_property
    def _tag(self) -> str:
        return hashlib.sha256(self._content).hexdigest()[:32]

    async def answer(self, request: web.Request) -> web.Response:
        """Return it, or that the browser's copy is still good."""
        if any(tag.value == self._tag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers={**HEADERS, "ETag": f'"{self._tag}"'})
        headers = {**HEADERS, "ETag": f'"{self._tag}"', "Vary": "Accept-Encoding"}
        body = self._content
        if len(body) > _WORTH_PACKING and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = await self._pack()
        kind = _TYPES[self._path.suffix]
        return web.Response(body=body, headers=headers, content_type=kind, charset="utf-8")

    async def _pack(self) -> bytes:
        """Return it compressed; a piece at a time, so that a command that arrives meanwhile need not wait."""
        if not self._packed:
            packer = zlib.compressobj(6, wbits=31)
            pieces = []
            for start in range(0, len(self._content), _PIECE):
                pieces.append(packer.compress(self._content[start:start + _PIECE]))
                await asyncio.sleep(0)
            self._packed = b"".join((*pieces, packer.flush()))
        return self._packed


class Page:
    """Serves the page. It holds no secret: what it shows it asks the API for, once logged in."""

    def __init__(self) -> None:
        self._files = {f"/static/{path.name}": StaticFile(path) for path in FOLDER.iterdir()}
        self._files["/"] = self._files["/static/page.html"]
        charts = charts_file()
        if charts is not None:
            self._files[f"/static/{CHARTS}"] = StaticFile(charts)

    def serves(self, path: str) -> bool:
        """Whether *path* is one of the page's: these may be read without a token."""
        return path in self._files

    def add_routes(self, app: web.Application) -> None:
        for path in self._files:
            app.router.add_get(path, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        return await self._files[request.path].answer(request)


def charts_file() -> Path | None:
    """Return the JavaScript that draws charts; None where plotly is not installed. Does not import plotly."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "package_data" / CHARTS
    return file if file.exists() else None
