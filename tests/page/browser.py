"""A real Chromium for the tests: Debian's, or whatever stands in the path by its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = {"width": 360, "height": 740}
PATIENCE_S = 60.0            # charts are a second of work for an idle machine, and much longer for a busy one
DESK = {"width": 1280, "height": 900}

# The two kinds of style that plotly tries to set by itself, and does without: its map's, and one of a text's.
# Everything else a page says on its console is a fault.
_PLOTLYS_OWN = "Applying inline style violates"


@contextmanager
def a_browser() -> Iterator[Any]:
    """Run a browser for the length of a with block; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in tests/requirements.txt")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here, so nobody looks at the page; sudo apt-get install chromium")
    with playwright.sync_playwright() as running:
        # Chromium's own sandbox does not work as root, which is what a container usually is.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = running.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """One page in a browser profile of its own, and what went wrong in it."""

    def __init__(self, browser: Any, *, light: str = "light", size: dict[str, int] | None = None) -> None:
        self.context = browser.new_context(
            viewport=size or DESK, color_scheme=light, accept_downloads=True, has_touch=size == PHONE,
            timezone_id="America/New_York",
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog {dialog.message}"))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, message: Any) -> None:
        if message.type == "error" and _PLOTLYS_OWN not in message.text:
            self.faults.append(message.text)

    def text(self, selector: str) -> str:
        """Return what is written there."""
        text: str = self.page.locator(selector).inner_text()
        return " ".join(text.split())

    def await_text(self, selector: str, wanted: str, timeout_s: float = PATIENCE_S) -> None:
        """Return once *wanted* is written there."""
        self.page.locator(selector).filter(has_text=wanted).first.wait_for(timeout=timeout_s * 1000)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wider

    def close(self) -> None:
        self.context.close()
