"""The web page: its files, told to browsers so that they run nothing else and keep no old copy."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from control.guard import open_to_all
from runtime.locks import assert_no_lock_held

FOLDER = Path(__file__).parent / "static"
INDEX = "page.html"
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
# The guard adds what every answer has.
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",       # browsers ask whether it has changed: a new RAD has its new page
}


class StaticFile:
    """One file of the page; used in the server's loop alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Of which tag; kept, so that all who take their time with it share one.
        self._plain: tuple[str, bytes] = ("", b"")
        self._packed: tuple[str, bytes] = ("", b"")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Return it, or that the browser's copy is still good."""
        assert_no_lock_held("page file")
        about = self._path.stat()
        tag = f"{about.st_mtime_ns:x}-{about.st_size:x}"
        headers = {**HEADERS, "ETag": f'"{tag}"', "Vary": "Accept-Encoding"}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if about.st_size > _WORTH_PACKING and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = await self._pack(tag)
        else:
            body = self._read(tag)
        headers["Content-Type"] = f"{_TYPES[self._path.suffix]}; charset=utf-8"
        if len(body) <= _PIECE:
            return web.Response(body=body, headers=headers)
        return await _sent(request, body, headers)

    def _read(self, tag: str) -> bytes:
        assert_no_lock_held("page file")
        if self._plain[0] != tag:
            self._plain = (tag, self._path.read_bytes())
        return self._plain[1]

    async def _pack(self, tag: str) -> bytes:
        """Return it compressed; a piece at a time, so that a command that arrives meanwhile need not wait."""
        if self._packed[0] != tag:
            content, packer, pieces = self._path.read_bytes(), zlib.compressobj(6, wbits=31), []
            for start in range(0, len(content), _PIECE):
                pieces.append(packer.compress(content[start:start + _PIECE]))
                await asyncio.sleep(0)
            self._packed = (tag, b"".join((*pieces, packer.flush())))
        return self._packed[1]


async def _sent(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    """Answer with much, a piece at a time: of what a slow reader has not taken, no more than that is in memory."""
    response = web.StreamResponse(headers=headers)
    response.content_length = len(body)
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(body), _PIECE):
                await response.write(memoryview(body)[start:start + _PIECE])
    except ConnectionError:
        pass                               # gone, or cut off: control.doors
    return response


def add_page(app: web.Application) -> None:
    """Serve the page to everybody: it holds no secret. What it shows it asks the API for, once logged in.

    The files there are now, and no others: no name that comes in is looked for on the disk.
    """
    files = {f"/static/{path.name}": path for path in sorted(FOLDER.iterdir())}
    files["/"] = FOLDER / INDEX
    charts = charts_file()
    if charts is not None:
        files[f"/static/{CHARTS}"] = charts
    for path, file in files.items():
        app.router.add_get(path, open_to_all(StaticFile(file).answer))


def charts_file() -> Path | None:
    """Return the JavaScript that draws charts; None where plotly is not installed. Does not import plotly."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "package_data" / CHARTS
    return file if file.exists() else None
