"""The page's files as the daemon serves them, and as they stand."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from control.page import FOLDER
from control.server import ControlServer
from tests.control.fake_steering import FakeSteering

SINKS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc"
FILES = sorted(FOLDER.iterdir())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlServer]:
    server = ControlServer(FakeSteering(), data_dir=tmp_path_factory.mktemp("data"))
    server.start()
    yield server
    server.stop()


def fetch(
    server: ControlServer, path: str, headers: Mapping[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
    """Ask without a token, as a browser that is not logged in."""
    assert server.address is not None
    to = urlsplit(server.address.url)
    connection = HTTPConnection(to.hostname or "", to.port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_the_page_runs_what_is_the_daemons_and_nothing_else(server: ControlServer) -> None:
    """No script within the page, none from elsewhere, no text taken in as HTML, in nobody's frame."""
    response, _ = fetch(server, "/")
    assert response.status == 200
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_what_it_says(server: ControlServer, file: Path) -> None:
    """Its type by its ending, packed for whoever takes it so, and not sent again while it is the same."""
    response, body = fetch(server, f"/static/{file.name}")
    assert response.status == 200
    assert body == file.read_bytes()
    kind = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert response.headers["Content-Type"] == f"{kind[file.suffix[1:]]}; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    packed, shorter = fetch(server, f"/static/{file.name}", {"Accept-Encoding": "gzip"})
    if packed.headers["Content-Encoding"] == "gzip":
        assert gzip.decompress(shorter) == body
    again, nothing = fetch(server, f"/static/{file.name}", {"If-None-Match": response.headers["ETag"]})
    assert (again.status, nothing) == (304, b"")


def test_charts_are_plotlys_own_file(server: ControlServer) -> None:
    """It comes from the installed package: the project carries no copy."""
    response, body = fetch(server, "/static/plotly.min.js", {"Accept-Encoding": "gzip"})
    assert response.status == 200
    assert b"window.Plotly" in gzip.decompress(body)


@pytest.mark.parametrize("path", [
    "/static/", "/static/../server.py", "/static/%2e%2e/server.py", "/static/page.css/", "/static//page.css",
    "/static/nothing.js", "/page.html", "/control.json",
])
def test_no_other_file_is_served(server: ControlServer, path: str) -> None:
    """No name that comes in is looked for on the disk."""
    assert fetch(server, path)[0].status in (401, 404)


@pytest.mark.parametrize("file", [file for file in FILES if file.suffix != ".css"], ids=lambda file: file.name)
def test_nothing_takes_html_or_comes_from_elsewhere(file: Path) -> None:
    """The page is written in text; what could take more than that is not used, and no address but its own is."""
    source = file.read_text(encoding="utf-8")
    assert not re.findall(SINKS, source)
    assert not re.findall(r"(?:https?:)?//[a-z0-9]+\.", source.replace("http://www.w3.org/2000/svg", ""))
    if file.suffix == ".html":
        assert not re.findall(r"<script(?![^>]* src=)|<style|\son[a-z]+=|javascript:", source)
