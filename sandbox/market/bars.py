"""Candles as arrays of ticks and lots, and how they fold into longer ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from sandbox.market.noise import Integers
from sandbox.market.source import Candle, Contract

GRANULARITIES = (1, 5, 15, 30, 60, 120, 240, 480, 720, 1440, 10080)
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Candles of one symbol, oldest first; those without a trade are not there."""

    open_ms: Integers
    open: Integers             # ticks
    high: Integers
    low: Integers
    close: Integers
    volume: Integers           # lots
    turnover: Integers         # ten-thousandths of the quote currency, so that sums are exact

    def __len__(self) -> int:
        return len(self.open_ms)

    def between(self, from_ms: int, to_ms: int) -> Bars:
        """Return those opened in from_ms <= t <= to_ms."""
        begin = int(np.searchsorted(self.open_ms, from_ms, "left"))
        return self._slice(slice(begin, int(np.searchsorted(self.open_ms, to_ms, "right"))))

    def fold(self, granularity_min: int) -> Bars:
        """Return candles of *granularity_min*, a multiple of what these are, aligned to 1970."""
        step_ms = granularity_min * MINUTE_MS
        bucket = self.open_ms // step_ms
        if not len(bucket):
            return self
        starts = np.concatenate(([0], np.flatnonzero(np.diff(bucket)) + 1))
        ends = np.concatenate((starts[1:], [len(bucket)])) - 1
        return Bars(
            open_ms=bucket[starts] * step_ms, open=self.open[starts],
            high=np.maximum.reduceat(self.high, starts), low=np.minimum.reduceat(self.low, starts),
            close=self.close[ends], volume=np.add.reduceat(self.volume, starts),
            turnover=np.add.reduceat(self.turnover, starts),
        )

    def to_candles(self, tick_size: Decimal) -> tuple[Candle, ...]:
        """Return them as the exchange serves them."""
        rows = zip(*(getattr(self, name).tolist() for name in _COLUMNS), strict=True)
        return tuple(
            Candle(
                open_ms=open_ms, open=o * tick_size, high=h * tick_size, low=low * tick_size,
                close=c * tick_size, volume=volume, turnover=Decimal(turnover).scaleb(-4),
            )
            for open_ms, o, h, low, c, volume, turnover in rows
        )

    def _slice(self, part: slice) -> Bars:
        return Bars(**{name: getattr(self, name)[part] for name in _COLUMNS})


_COLUMNS = ("open_ms", "open", "high", "low", "close", "volume", "turnover")


def join(parts: Iterable[Bars]) -> Bars:
    """Return *parts*, which follow each other, as one."""
    kept = [part for part in parts if len(part)]
    if len(kept) == 1:
        return kept[0]
    if not kept:
        return Bars(**{name: np.zeros(0, dtype=np.int64) for name in _COLUMNS})
    return Bars(**{name: np.concatenate([getattr(part, name) for part in kept]) for name in _COLUMNS})


def turnover_of(
    contract: Contract, o: Integers, h: Integers, low: Integers, c: Integers, volume: Integers
) -> Integers:
    """Return what *volume* was worth at the typical price, in ten-thousandths."""
    lot = float(contract.multiplier) * float(contract.tick_size) * 1e4
    worth: Integers = np.rint(volume * ((o + h + low + c) / 4.0) * lot).astype(np.int64)
    return worth
