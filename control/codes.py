"""Codes that log a browser in once: what stands in an address a person opens, in place of the token."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

LIFE_S = 120.0
MOST = 8                     # the oldest goes first


class Codes:
    """Codes given out and not used yet; in the event loop's thread only.

    An address ends up in histories, on screens and in the argument list of the browser it is opened in.
    A code that was used, or is two minutes old, opens nothing to whoever finds it there.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._good_until: dict[str, float] = {}

    def issue(self) -> str:
        """Return a new code."""
        self._forget_old()
        while len(self._good_until) >= MOST:
            del self._good_until[next(iter(self._good_until))]
        code = secrets.token_urlsafe(24)
        self._good_until[code] = self._now() + LIFE_S
        return code

    def take(self, code: str) -> bool:
        """Whether *code* is good; it is not any more."""
        self._forget_old()
        said = code.encode("utf-8", "replace")
        found = [each for each in self._good_until if secrets.compare_digest(each.encode(), said)]
        for each in found:
            del self._good_until[each]
        return bool(found)

    def _forget_old(self) -> None:
        now = self._now()
        self._good_until = {code: until for code, until in self._good_until.items() if now < until}
