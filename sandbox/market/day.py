"""What the tickers say about the last 24 hours of the made-up contracts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sandbox.market.bars import MINUTE_MS
from sandbox.market.characters import Characters
from sandbox.market.noise import Floats, Integers
from sandbox.market.paths import Paths
from sandbox.market.recorder import Recorder

_STEP_MINUTES = 15
_POINTS = 1440 // _STEP_MINUTES + 1
_REACH = 0.4                   # how far the price goes beyond two such looks, in moves of the time between


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStats:
    """Of the last 24 hours: prices in ticks."""

    high: int
    low: int
    before: int                # the price 24 h ago
    lots: int
    turnover: float


class Days:
    """Per symbol, the recorded minutes and, for the rest of the day, a look at the paths each 15 minutes.

    Asking the candles would make all of them for every symbol at the first call for all tickers.
    """

    def __init__(
        self, paths: Paths, anchors: Floats, character: Characters, start_ms: int, volatility: float
    ) -> None:
        self._paths, self._anchors, self._character = paths, anchors, character
        self._start_ms, self._volatility = start_ms, volatility
        self._looked_from = -1                     # the recorder's first minute when the paths were looked at
        self._looks: Integers = np.zeros((0, 0), dtype=np.int64)
        self._reach: Integers = np.zeros(0, dtype=np.int64)
        self._told: dict[int, tuple[int, DayStats]] = {}

    def stats(self, n: int, now_ms: int, recorder: Recorder) -> DayStats:
        """Return the numbers of symbol *n*; what is older than this minute is added up once a minute."""
        minute = now_ms // MINUTE_MS
        told_in, told = self._told.get(n, (-1, None))
        if told is None or told_in != minute:
            told = self._add_up(n, minute, recorder)
            self._told[n] = minute, told
        low, high = recorder.open_extremes(n)
        if low and (high > told.high or low < told.low):
            told = replace(told, high=max(told.high, high), low=min(told.low, low))
            self._told[n] = minute, told
        return told

    def _add_up(self, n: int, minute: int, recorder: Recorder) -> DayStats:
        if self._looked_from != recorder.first_minute:
            self._look(recorder.first_minute)
        age = minute - recorder.first_minute                   # so much of the looks is too old
        looks = self._looks[min(age // _STEP_MINUTES, _POINTS - 1):, n]
        reach = int(self._reach[n])
        low, high = recorder.extremes(n, minute - 1440)
        highest, lowest = int(looks.max()) + reach, max(1, int(looks.min()) - reach)
        lots = int(self._character.lots_per_minute[n] * (1 - self._character.silent[n]) * 1440)
        return DayStats(
            high=max(highest, high), low=min(lowest, low or lowest), before=int(looks[0]), lots=lots,
            turnover=float(lots * self._character.lot[n] * self._character.tick[n] * looks.mean()),
        )

    def _look(self, until_minute: int) -> None:
        """Look at the day before *until_minute*, at all symbols at once."""
        times_s = (
            (until_minute - 1440 + _STEP_MINUTES * k) * 60 - self._start_ms / 1000 for k in range(_POINTS)
        )
        tick = self._character.tick
        prices = np.exp(self._anchors + np.array([self._paths.all_at(t) for t in times_s]))
        self._looks = np.maximum(np.rint(prices / tick), 1).astype(np.int64)
        move = self._character.sigma * self._volatility * np.sqrt(_STEP_MINUTES)
        self._reach = np.rint(_REACH * move * prices.mean(axis=0) / tick).astype(np.int64)
        self._looked_from = until_minute
