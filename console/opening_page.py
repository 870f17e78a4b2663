"""`./rad page`: the address of the daemon's page, with a code that logs a browser in once."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from console.daemon import Daemon
from console.failure import NotRunning
from control.address import read_address

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def page_of(data_dir: Path) -> dict[str, Any]:
    """Return `url`, which logs in once, `ends_in_s`, and `port`.

    The code stands behind the #, which browsers keep to themselves; the page takes it out of the history.

    Raises:
        NotRunning: there is no daemon to show.
        Failure: it does not give one out.
    """
    try:
        told = Daemon(data_dir).tell("code")
    except NotRunning:
        raise NotRunning("page") from None
    address = read_address(data_dir)
    if address is None:
        raise NotRunning("page")
    parts = urlsplit(address.url)
    host = parts.hostname or ""
    reachable = address.url if host not in ("0.0.0.0", "::") else f"{parts.scheme}://localhost:{parts.port}"
    return {
        "url": f"{reachable}/#login={told['code']}", "ends_in_s": told["ends_in_s"], "port": parts.port,
        "here_only": host in LOOPBACK,
    }


def show(facts: dict[str, Any], *, opened: bool) -> None:
    """Print the address alone on stdout's first line, and below it what to know."""
    if opened:
        print("Opened in the browser.")
        return
    print(facts["url"])
    print(f"It logs in once, within {facts['ends_in_s'] // 60} minutes; run this again for another.")
    if facts["here_only"]:
        port = facts["port"]
        print(f"From another machine: ssh -N -L {port}:127.0.0.1:{port} USER@THIS-MACHINE")


def open_browser(url: str) -> bool:
    """Show *url* in the person's browser; False where there is none."""
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    # A browser in this very terminal would only show that the page needs a better one.
    if isinstance(browser, webbrowser.GenericBrowser) and not isinstance(browser, webbrowser.BackgroundBrowser):
        return False
    return browser.open(url)
