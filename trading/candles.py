"""Candles as arrays: one per column, closed intervals only, no gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.timeframes import TIMEFRAME_MINUTES

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


def joined(older: Candles, newer: Candles, limit: int) -> Candles | None:
    """Return the last *limit* candles of both, *newer* winning where they overlap; None if a hole is between."""
    if not len(newer) or not older.open_ms[0] <= newer.open_ms[0] <= older.open_ms[-1] + older.interval_ms:
        return None
    kept = int(np.searchsorted(older.open_ms, newer.open_ms[0]))

    def column(before: NDArray[np.float64], after: NDArray[np.float64]) -> Floats:
        return np.concatenate((before[:kept], after))[-limit:]

    return Candles(
        symbol=newer.symbol,
        timeframe=newer.timeframe,
        open_ms=np.concatenate((older.open_ms[:kept], newer.open_ms))[-limit:],
        open=column(older.open, newer.open),
        high=column(older.high, newer.high),
        low=column(older.low, newer.low),
        close=column(older.close, newer.close),
        volume=column(older.volume, newer.volume),
    )
