"""Price paths that are a function of time: waves of many periods, summed.

A wave of period T goes smoothly from one random height to the next every T seconds. With heights
growing as the root of T their sum moves like a random walk from a second up to weeks, yet any moment
of it, past or future, can be computed alone. What makes it a market: waves of the trend's periods
are higher and come and go, heights swell and shrink (calm and wild spells), some waves are steps
(jumps), and every symbol shares part of its waves with all others (the common factor).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.market.noise import Floats, Integers, normal, scramble, smooth, spread_over, uniform

_RATIO = 3.0
_SHORTEST_S, _WAVES = 0.7, 15                  # 0.7 s … 39 days
_CALM_BELOW_S, _CALM_FROM_S = 1800.0, 172_800.0
_TREND_GAIN = 1.7
_JUMP_LASTS_S = 1.5
_JUMP_SIZE = 0.9                               # of the many; a few are ten times that
_SPELL_VARIANCE, _TREND_VARIANCE = 1.5, 0.9    # what spells and trends make of a wave's variance, on average
_COARSE_S = 300.0                              # long waves are computed this often, and drawn straight between
_COMMON = 0.5                                  # share of the variance that all symbols have in common


@dataclass(frozen=True, slots=True, kw_only=True)
class Waves:
    """Periods and heights for one volatility; heights in moves of an ordinary minute.

    Volatility shortens trends and spells as well as it raises them: at 1 a trend lasts about
    half an hour, at 8 about half a minute. Beyond two days it is life as usual, so that prices
    stay in sight of where they began.
    """

    periods_s: Floats          # the price's waves, then jump, spell (of volatility), trend (on or off)
    heights: Floats            # of the price's waves and the jump
    trending: Floats           # per price wave: 1 when it belongs to the trend
    fast: Floats               # per price wave: 1 when it swells and shrinks with the spell

    @classmethod
    def of(cls, volatility: float) -> Waves:
        """Return the waves whose sum moves *volatility* times an ordinary minute in a minute."""
        periods: Floats = _SHORTEST_S * _RATIO ** np.arange(_WAVES, dtype=np.float64)
        trend_s = float(np.clip(1800 / volatility**2, 30, 7200))
        jump_s = float(np.clip(14_400 / volatility**2, 200, 28_800))
        share = np.log(_CALM_FROM_S / periods) / np.log(_CALM_FROM_S / _CALM_BELOW_S)
        heights = np.sqrt(periods / 60) * volatility ** np.clip(share, 0, 1)
        trending = ((periods >= trend_s / 1.5) & (periods <= trend_s * 20)).astype(float)
        fast = (periods <= 4 * trend_s).astype(float)
        heights = heights * np.where(trending > 0, _TREND_GAIN, 1.0)
        gain = np.where(trending > 0, _TREND_VARIANCE, np.where(fast > 0, _SPELL_VARIANCE, 1.0))
        jumps = 2 * (_JUMP_SIZE * volatility) ** 2 * min(1.0, 60 / jump_s)
        wanted = max(volatility**2 - jumps, volatility**2 / 4)
        moved = np.sqrt((heights**2 * gain * spread_over(periods, 60)).sum() / wanted)
        return cls(
            periods_s=np.concatenate((periods, [jump_s, 5 * trend_s, 4 * trend_s])),
            heights=np.concatenate((heights / moved, [_JUMP_SIZE * volatility])),
            trending=trending, fast=fast,
        )


class Paths:
    """Log prices of many symbols, relative to their anchors; time in seconds from the origin.

    One more column than symbols: the last is the market as a whole.
    """

    def __init__(self, seed: int, names: tuple[str, ...], sigmas: Floats, volatility: float) -> None:
        self.waves = Waves.of(volatility)
        self._sigmas = sigmas
        rows = len(self.waves.periods_s)
        keys = [_key(name) for name in names] + [0]
        self._streams = np.array(
            [[scramble(seed, key, row) for key in keys] for row in range(rows)], dtype=np.uint64
        )
        self._phases = uniform(self._streams, np.full(self._streams.shape, -1)) * self.waves.periods_s[:, None]
        self._cells: Integers = np.full(self._streams.shape, np.iinfo(np.int64).min // 2)
        self._from = np.zeros(self._streams.shape)
        self._to = np.zeros(self._streams.shape)
        self._common_seen: dict[tuple[float, float, int, float], Floats] = {}

    def all_at(self, t_s: float) -> Floats:
        """Return the log price of every symbol at *t_s*; cheap when called with times close together."""
        place = (t_s + self._phases) / self.waves.periods_s[:, None]
        floor = np.floor(place)
        cells = floor.astype(np.int64)
        stale = np.nonzero(cells != self._cells)
        if stale[0].size:
            streams, places = self._streams[stale], cells[stale]
            is_jump = stale[0] == _WAVES
            self._from[stale] = _tail(normal(streams, places), is_jump)
            self._to[stale] = _tail(normal(streams, places + 1), is_jump)
            self._cells[stale] = cells[stale]
        f = place - floor
        way = smooth(f)
        way[_WAVES] = _step(f[_WAVES], float(self.waves.periods_s[_WAVES]))
        moves = self._moves(self._from + (self._to - self._from) * way)
        return self._blend(moves[:-1], moves[-1], self._sigmas)

    def one_at(self, column: int, t0_s: float, step_s: float, count: int, shortest_s: float) -> Floats:
        """Return the log price of one symbol at *count* moments, without waves below *shortest_s*."""
        own = self._moves(self._column_values(column, t0_s, step_s, count, shortest_s))
        place = (t0_s, step_s, count, shortest_s)
        common = self._common_seen.get(place)
        if common is None:
            if len(self._common_seen) > 64:
                self._common_seen.clear()
            common = self._moves(self._column_values(-1, t0_s, step_s, count, shortest_s))
            self._common_seen[place] = common
        return self._blend(own, common, self._sigmas[column])

    def _column_values(
        self, column: int, t0_s: float, step_s: float, count: int, shortest_s: float
    ) -> Floats:
        times: Floats = t0_s + step_s * np.arange(count, dtype=np.float64)
        values = np.zeros((len(self.waves.periods_s), count))
        is_long = self.waves.periods_s >= 12 * max(step_s, _COARSE_S)
        is_long[_WAVES] = False
        coarse: Floats = np.arange(t0_s, times[-1] + _COARSE_S, _COARSE_S, dtype=np.float64)
        coarse = coarse if step_s < _COARSE_S else times
        for row in np.flatnonzero(self.waves.periods_s >= shortest_s).tolist():
            if is_long[row]:
                values[row] = np.interp(times, coarse, self._wave(row, column, coarse))
            else:
                values[row] = self._wave(row, column, times)
        return values

    def _wave(self, row: int, column: int, times: Floats) -> Floats:
        """Return one wave of one symbol at *times*, which ascend."""
        period_s = float(self.waves.periods_s[row])
        place = (times + self._phases[row, column]) / period_s
        floor = np.floor(place)
        begins, ends = _nodes(self._streams[row, column], floor.astype(np.int64), row == _WAVES)
        f = place - floor
        return begins + (ends - begins) * (_step(f, period_s) if row == _WAVES else smooth(f))

    def _moves(self, values: Floats) -> Floats:
        """Sum the waves: those of the trend by how much it is on, the fast ones by the spell."""
        w = self.waves
        spell = np.exp(0.5 * np.clip(values[_WAVES + 1], -2, 2))
        trend = np.clip(0.75 + 0.75 * values[_WAVES + 2], 0.1, 2.0)
        price = values[:_WAVES]
        heights = w.heights[:_WAVES]
        slow = (heights * (1 - w.fast) * (1 - w.trending)) @ price
        fast = (heights * w.fast * (1 - w.trending)) @ price
        trending = (heights * w.trending) @ price
        total: Floats = slow + fast * spell + trending * trend + w.heights[_WAVES] * values[_WAVES]
        return total

    def _blend(self, own: Floats, common: Floats | float, sigma: Floats | float) -> Floats:
        blended: Floats = sigma * (np.sqrt(1 - _COMMON) * own + np.sqrt(_COMMON) * common)
        return blended


def _key(name: str) -> int:
    return int.from_bytes(name.encode()[:8].ljust(8, b"\0"), "little") ^ len(name)


def _nodes(stream: np.uint64, cells: Integers, is_jump: bool) -> tuple[Floats, Floats]:
    """Return the heights at both ends of each cell, hashing every node once; *cells* ascend."""
    first, last = int(cells[0]), int(cells[-1])
    if last - first < 2 * len(cells):
        nodes = _tail(normal(stream, np.arange(first, last + 2)), is_jump)
        return nodes[cells - first], nodes[cells - first + 1]
    return _tail(normal(stream, cells), is_jump), _tail(normal(stream, cells + 1), is_jump)


def _tail(heights: Floats, is_jump: bool | np.ndarray) -> Floats:
    """Give jumps a heavy tail: cubed, most are nothing and a few are large."""
    return np.where(is_jump, heights**3 / 3.873, heights)


def _step(f: Floats, period_s: float) -> Floats:
    return smooth(np.clip((f - 0.5) * (period_s / _JUMP_LASTS_S) + 0.5, 0.0, 1.0))
