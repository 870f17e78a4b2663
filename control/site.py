"""The web page's files, served to everybody: they hold nothing but the page; what it shows needs a log-in."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from control.guard import Handler, open_to_all

FOLDER = Path(__file__).with_name("page")
INDEX = "index.html"
SUFFIXES = frozenset({".html", ".css", ".js", ".svg", ".png", ".ico", ".webmanifest"})


def site_files() -> Mapping[str, Path]:
    """Return every file of the page by the path it is served at."""
    files = {f"/page/{path.name}": path for path in sorted(FOLDER.glob("*")) if path.suffix in SUFFIXES}
    if (FOLDER / INDEX).exists():
        files["/"] = FOLDER / INDEX
    return files


def add_site(app: web.Application) -> None:
    """Serve the files there are now, and no others: no name that comes in is looked for on the disk."""
    for path, file in site_files().items():
        app.router.add_get(path, _serving(file))


def _serving(file: Path) -> Handler:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"

    async def serve(request: web.Request) -> web.StreamResponse:
        # no-cache: a browser asks each time whether it has changed, so a new RAD has its new page at once.
        return web.FileResponse(file, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return open_to_all(serve)
