"""The minutes of the made-up market that were lived through, trade by trade."""

from __future__ import annotations

import numpy as np

from sandbox.market.bars import MINUTE_MS, Bars, turnover_of
from sandbox.market.characters import Characters
from sandbox.market.noise import Integers
from sandbox.market.past import Past
from sandbox.market.source import Contract

_KEPT_MINUTES = 1536


class Recorder:
    """One row of candles per minute for all symbols; the newest one is open.

    Holds the minutes since it began, in one piece; a jump in time makes it begin again.
    """

    def __init__(self, past: Past, character: Characters, volatility: float) -> None:
        self._past, self._character = past, character
        self._sigma = character.sigma * volatility
        count = len(character.tick)
        self._columns = np.arange(count)
        shape = (_KEPT_MINUTES, count)
        self._open, self._high, self._low, self._close, self._volume = (
            np.zeros(shape, dtype=np.int32) for _ in range(5)
        )
        self._first = self._minute = -1
        self.silent = np.zeros(count, dtype=bool)

    def turn(self, minute: int) -> None:
        """Begin *minute* unless it is the present one."""
        if minute == self._minute:
            return
        if minute != self._minute + 1 or self._first < 0:
            self._first = minute
        self._first = max(self._first, minute - _KEPT_MINUTES + 1)
        self._minute = minute
        row = minute % _KEPT_MINUTES
        self._volume[row] = 0
        minutes = np.full(len(self._columns), minute)
        self.silent = self._past.silent(self._columns, minutes)
        self._lots = self._character.lots_per_minute * self._past.activity(self._columns, minutes)

    def forget(self) -> None:
        """Begin again with the next minute: the ones on the way to it were not seen whole."""
        self._first = self._minute = -1

    def trade(self, trades: np.ndarray, last: Integers, now_ms: int) -> None:
        """Note the prices of the symbols that trade at *now_ms*, in the present minute."""
        row = self._minute % _KEPT_MINUTES
        o, h, low, c, volume = (a[row] for a in (self._open, self._high, self._low, self._close, self._volume))
        first = trades & (volume == 0)
        for prices in (o, h, low):
            np.copyto(prices, last, where=first, casting="unsafe")
        np.copyto(c, last, where=trades, casting="unsafe")
        h[trades] = np.maximum(h[trades], c[trades])
        low[trades] = np.minimum(low[trades], c[trades])
        passed = now_ms % MINUTE_MS / MINUTE_MS
        effort = 0.5 + 0.5 * np.abs(c - o) / np.maximum(o, 1) / (0.8 * self._sigma)
        lots = np.maximum(np.rint(self._lots * effort * passed), 1)
        # Volume never shrinks, though the effort does when the price comes back.
        np.copyto(volume, np.maximum(volume, lots), where=trades, casting="unsafe")

    @property
    def first_minute(self) -> int:
        """The oldest minute that is kept, counted from 1970."""
        return self._first

    def span(self) -> tuple[int, int]:
        """Return the opening times of the first minute recorded, and of the one that is open."""
        return self._first * MINUTE_MS, self._minute * MINUTE_MS

    def extremes(self, column: int, from_minute: int) -> tuple[int, int]:
        """Return (low, high) of the recorded minutes from *from_minute* on; zeros when nothing traded."""
        minutes = np.arange(max(self._first, from_minute), self._minute + 1)
        rows = minutes % _KEPT_MINUTES
        rows = rows[self._volume[rows, column] > 0]
        if not len(rows):
            return 0, 0
        return int(self._low[rows, column].min()), int(self._high[rows, column].max())

    def open_extremes(self, column: int) -> tuple[int, int]:
        """Return (low, high) of the open minute; zeros when nothing traded."""
        row = self._minute % _KEPT_MINUTES
        if not self._volume[row, column]:
            return 0, 0
        return int(self._low[row, column]), int(self._high[row, column])

    def bars(self, column: int, contract: Contract, from_ms: int) -> Bars:
        """Return the recorded minutes from *from_ms* on in which the symbol traded."""
        minutes = np.arange(max(self._first, from_ms // MINUTE_MS), self._minute + 1)
        rows = minutes % _KEPT_MINUTES
        kept = self._volume[rows, column] > 0
        minutes, rows = minutes[kept], rows[kept]
        o, h, low, c, volume = (
            a[rows, column].astype(np.int64)
            for a in (self._open, self._high, self._low, self._close, self._volume)
        )
        return Bars(
            open_ms=minutes * MINUTE_MS, open=o, high=h, low=low, close=c, volume=volume,
            turnover=turnover_of(contract, o, h, low, c, volume),
        )
