"""Candles as arrays: one per column, closed intervals only, no gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TIMEFRAME_MINUTES: dict[str, int] = {
    "1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "8h": 480, "12h": 720, "1d": 1440,
}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candles:
    """Closed candles of one symbol, oldest first, evenly spaced; all arrays have one length."""

    symbol: str
    timeframe: str
    open_ms: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats             # lots on futures, base currency on spot; 0 where KuCoin sent no candle

    def __len__(self) -> int:
        return len(self.open_ms)

    @property
    def interval_ms(self) -> int:
        """Length of one candle."""
        return TIMEFRAME_MINUTES[self.timeframe] * 60_000

    @property
    def next_close_ms(self) -> int:
        """When the first candle that is not in here will have closed."""
        return int(self.open_ms[-1]) + 2 * self.interval_ms
