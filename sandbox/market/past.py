"""Candles of the made-up market from before it was watched: made when asked for, always the same."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from sandbox.market.bars import MINUTE_MS, Bars, join, turnover_of
from sandbox.market.characters import Characters
from sandbox.market.contracts import Listing
from sandbox.market.noise import Floats, Integers, normal, scramble, uniform
from sandbox.market.paths import Paths

_WEEK_MS = 10_080 * MINUTE_MS
_SAMPLES = 4                                    # moments of the path that make one candle
_BLOCK = 240                                    # candles made at once
_KEPT_BLOCKS = 4000
_WICK = 0.42                                    # how far a minute reaches beyond its sampled moments
# Candles are folded from these: (minutes, weeks back before the start). 1000 of each granularity fit.
_ZONES = ((1, 4), (60, 76), (1440, 1020))


class Past:
    """Candles before the present minute, from the paths alone.

    The further back, the coarser the candles it is folded from: minutes for four weeks, hours
    for a year and a half, then days. What is asked for below that does not exist, as on KuCoin.
    """

    def __init__(
        self, seed: int, listings: tuple[Listing, ...], character: Characters, paths: Paths,
        anchors: Floats, start_ms: int, volatility: float,
    ) -> None:
        self._listings, self._character, self._paths = listings, character, paths
        self._anchors, self._start_ms = anchors, start_ms
        self._sigma = character.sigma * volatility
        self._silence = _streams(seed, "silence", len(listings))
        self._activity = _streams(seed, "activity", len(listings))
        self._wicks = _streams(seed, "wicks", len(listings))
        self._blocks: OrderedDict[tuple[int, int, int], Bars] = OrderedDict()

    def silent(self, columns: Integers, minute: Integers) -> np.ndarray:
        """Tell for each of *columns* whether nothing trades in its *minute* (counted from 1970)."""
        place = minute - self._start_ms // MINUTE_MS
        return uniform(self._silence[columns], place) < self._character.silent[columns]

    def activity(self, columns: Integers, minute: Integers) -> Floats:
        """Return how busy each of *columns* is in its *minute*: 1 on average."""
        busy: Floats = np.exp(0.6 * normal(self._activity[columns], minute - self._start_ms // MINUTE_MS) - 0.18)
        return busy

    def bars(self, column: int, granularity_min: int, from_ms: int, to_ms: int) -> Bars:
        """Return candles opened in from_ms <= t < to_ms, folded from what there is that far back."""
        step_ms = granularity_min * MINUTE_MS
        from_ms = from_ms // step_ms * step_ms
        parts: list[Bars] = []
        ends_ms = to_ms
        for minutes, weeks in _ZONES:
            begins_ms = (self._start_ms // _WEEK_MS - weeks) * _WEEK_MS
            if granularity_min % minutes == 0 and from_ms < ends_ms:
                parts.append(self._base_bars(column, minutes, max(from_ms, begins_ms), ends_ms))
            ends_ms = min(ends_ms, begins_ms)
        return join(part.fold(granularity_min) for part in reversed(parts))

    def _base_bars(self, column: int, minutes: int, from_ms: int, to_ms: int) -> Bars:
        block_ms = _BLOCK * minutes * MINUTE_MS
        blocks = (self._block(column, minutes, n) for n in range(from_ms // block_ms, -(-to_ms // block_ms)))
        return join(blocks).between(from_ms, to_ms - 1)

    def _block(self, column: int, minutes: int, number: int) -> Bars:
        place = (column, minutes, number)
        found = self._blocks.get(place)
        if found is None:
            found = self._blocks[place] = self._make(*place)
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(place)
        return found

    def _make(self, column: int, minutes: int, number: int) -> Bars:
        step_s = minutes * 60
        first = number * _BLOCK
        t0_s = first * step_s - self._start_ms / 1000
        path = self._anchors[column] + self._paths.one_at(
            column, t0_s, step_s / _SAMPLES, _BLOCK * _SAMPLES + 1, step_s / 12
        )
        seen = np.lib.stride_tricks.sliding_window_view(path, _SAMPLES + 1)[::_SAMPLES]
        opens = np.arange(first, first + _BLOCK)
        columns = np.full(_BLOCK, column)
        wicks = self._wick_lengths(column, minutes, opens)
        tick = self._character.tick[column]
        o, c = (np.rint(np.exp(seen[:, n]) / tick).astype(np.int64) for n in (0, -1))
        h = np.rint(np.exp(seen.max(axis=1) + wicks[0]) / tick).astype(np.int64)
        low = np.rint(np.exp(seen.min(axis=1) - wicks[1]) / tick).astype(np.int64)
        o, c, low = (np.maximum(ticks, 1) for ticks in (o, c, low))
        effort = 0.5 + 0.5 * np.abs(seen[:, -1] - seen[:, 0]) / (0.8 * self._sigma[column] * np.sqrt(minutes))
        lots = self._character.lots_per_minute[column] * minutes * self.activity(columns, opens * minutes)
        volume = np.maximum(np.rint(lots * effort), 1).astype(np.int64)
        traded = ~self.silent(columns, opens) if minutes == 1 else np.ones(_BLOCK, dtype=bool)
        contract = self._listings[column].contract
        made = (opens * step_s * 1000, o, h, low, c, volume, turnover_of(contract, o, h, low, c, volume))
        names = ("open_ms", "open", "high", "low", "close", "volume", "turnover")
        return Bars(**{name: values[traded] for name, values in zip(names, made, strict=True)})

    def _wick_lengths(self, column: int, minutes: int, opens: Integers) -> tuple[Floats, Floats]:
        scale = _WICK * self._sigma[column] * np.sqrt(min(minutes, 60) / _SAMPLES)
        up, down = (
            scale * np.abs(normal(self._wicks[column], 2 * opens - self._start_ms // MINUTE_MS + side))
            for side in (0, 1)
        )
        return up, down


def _streams(seed: int, purpose: str, count: int) -> np.ndarray:
    key = int.from_bytes(purpose.encode()[:8], "little")
    return np.array([scramble(seed, key, column) for column in range(count)], dtype=np.uint64)
