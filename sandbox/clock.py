"""The exchange's own time: the machine's, shifted or stood still through the control API."""

from __future__ import annotations

import time


class ExchangeClock:
    """Wall time plus an offset; while frozen it moves by `advance` alone."""

    def __init__(self) -> None:
        self._offset_ms = 0
        self._frozen_at_ms: int | None = None

    @property
    def offset_ms(self) -> int:
        return self._offset_ms

    @property
    def frozen(self) -> bool:
        return self._frozen_at_ms is not None

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def now_ns(self) -> int:
        """Return exchange time in ns since 1970; KuCoin stamps orders and fills with it."""
        if self._frozen_at_ms is not None:
            return self._frozen_at_ms * 1_000_000
        return time.time_ns() + self._offset_ms * 1_000_000

    def shift(self, offset_ms: int) -> None:
        """Run *offset_ms* ahead of the machine (behind it when negative)."""
        self._offset_ms = offset_ms

    def freeze(self, at_ms: int | None = None) -> None:
        """Stand still, at *at_ms* when given."""
        self._frozen_at_ms = self.now_ms() if at_ms is None else at_ms

    def thaw(self) -> None:
        """Go on from where it stands, so that time never runs backwards."""
        if self._frozen_at_ms is not None:
            self._offset_ms = self._frozen_at_ms - time.time_ns() // 1_000_000
            self._frozen_at_ms = None

    def advance(self, ms: int) -> None:
        """Move *ms* ahead at once, frozen or not."""
        if self._frozen_at_ms is not None:
            self._frozen_at_ms += ms
        else:
            self._offset_ms += ms
