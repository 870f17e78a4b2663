"""Weighted request pools: a quota per fixed window that opens at the first request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

VIP0 = {"public": 2000, "futures": 2000, "management": 2000, "spot": 4000}
WINDOW_MS = 30_000


@dataclass(slots=True)
class _Window:
    opened_ms: float
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a request was told about its pool."""

    admitted: bool
    limit: int
    remaining: int
    reset_ms: int

    def headers(self) -> dict[str, str]:
        return {
            "gw-ratelimit-limit": str(self.limit),
            "gw-ratelimit-remaining": str(self.remaining),
            "gw-ratelimit-reset": str(self.reset_ms),
        }


class RateLimits:
    """Counts weight per (pool, who): *who* is the IP for the public pool, the user for the rest."""

    def __init__(
        self, quotas: dict[str, int] | None = None, window_ms: int = WINDOW_MS,
        now_ms: Callable[[], float] = lambda: time.monotonic() * 1000,
    ) -> None:
        self.quotas = VIP0 | (quotas or {})
        self.window_ms = window_ms
        self.refused = 0
        self.charged: dict[str, int] = dict.fromkeys(self.quotas, 0)
        self._now_ms = now_ms
        self._windows: dict[tuple[str, str], _Window] = {}

    def charge(self, pool: str, who: str, weight: int) -> Charge:
        """Take *weight* from the pool; a request beyond the quota is refused and not charged."""
        now = self._now_ms()
        window = self._windows.get((pool, who))
        if window is None or now - window.opened_ms >= self.window_ms:
            window = self._windows[pool, who] = _Window(now)
        quota = self.quotas[pool]
        admitted = window.used + weight <= quota
        if admitted:
            window.used += weight
            self.charged[pool] += weight
        else:
            self.refused += 1
        return Charge(
            admitted=admitted, limit=quota, remaining=max(0, quota - window.used),
            reset_ms=max(0, round(window.opened_ms + self.window_ms - now)),
        )

    def exhaust(self, pool: str) -> None:
        """Use up every open window of *pool*: the next requests are refused until it resets."""
        for (name, _), window in self._windows.items():
            if name == pool:
                window.used = self.quotas[pool]

    def forget(self) -> None:
        """Close every window; the next request opens a new one."""
        self._windows.clear()
