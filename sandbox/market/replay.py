"""Recorded candles, lived through again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np

from sandbox.market.bars import GRANULARITIES, MINUTE_MS, Bars, join, turnover_of
from sandbox.market.noise import Floats, Integers, scramble, uniform
from sandbox.market.recording import read_recording
from sandbox.market.source import Candle, Contract, Quote

_SPREAD = 0.0004                     # of the price; one tick at the least
_SHARE_AT_BEST = 0.1                 # of a candle's volume
_LEAST_AT_BEST = 2000.0              # quote currency
_FUNDING_RATE = Decimal("0.0001")


class ReplayMarket:
    """`MarketSource` that serves each recorded candle as one of *granularity_min* minutes.

    The candle that holds *anchor_ms* (the first `advance`, when None) is the recorded one at
    *start*; earlier ones are history. Within a candle the price goes from its open to the extreme
    against its direction, to the other one, to its close. Candles in which nothing was traded, or
    that were not recorded, are missing and the price is held; so it is after the recording's end,
    and after 4320 candles, which is as far as it is read.
    Granularities below *granularity_min*, or that are no multiple of it, have no candles.
    """

    def __init__(
        self, folder: Path, *, start: str | int | None = None, granularity_min: int = 1,
        anchor_ms: int | None = None,
    ) -> None:
        self._tape = read_recording(folder, start)
        self._step_ms = granularity_min * MINUTE_MS
        self._granularity = granularity_min
        self._column = {c.symbol: n for n, c in enumerate(self._tape.contracts)}
        self._zero_ms: int | None = None         # exchange time of the tape's first row
        if anchor_ms is not None:
            self._anchor(anchor_ms)
        count = len(self._column)
        self._turns = tuple(np.array([scramble(3, n, k) for n in range(count)], dtype=np.uint64) for k in (0, 1))
        self._ticks = np.array([float(c.tick_size) for c in self._tape.contracts])
        lot_worth = np.array([float(c.multiplier) for c in self._tape.contracts]) * self._ticks
        self._lot_worth = lot_worth
        self._row, self._share = self._tape.start_row, 0.0
        self._price = self._tape.open[self._row].astype(np.float64)
        self._low = self._high = self._tape.open[self._row]
        self._sequence: Integers = np.ones(count, dtype=np.int64)
        self._now_ms = anchor_ms or 0
        self._changed_ms: Integers = np.full(count, self._now_ms)
        self._quotes: dict[str, tuple[int, int, Quote]] = {}

    async def start(self) -> None:
        """Everything was read at construction."""

    async def close(self) -> None:
        """Nothing to stop."""

    def contracts(self) -> tuple[Contract, ...]:
        return self._tape.contracts

    def advance(self, now_ms: int) -> tuple[str, ...]:
        if self._zero_ms is None:
            self._anchor(now_ms)
        assert self._zero_ms is not None
        last_row = len(self._tape.open) - 1
        row, within_ms = divmod(now_ms - self._zero_ms, self._step_ms)
        share = within_ms / self._step_ms
        if row > last_row:
            row, share = last_row, 1.0
        row = max(0, row)
        low, high = self._passed(row, share)
        price = self._price_at(row, share)
        before, after = np.rint(self._price), np.rint(price)
        self._low, self._high = np.minimum(low, before).astype(np.int64), np.maximum(high, before).astype(np.int64)
        self._row, self._share, self._price, self._now_ms = row, share, price, now_ms
        changed = (before != after) | (self._low != self._high)
        self._sequence += changed
        self._changed_ms[changed] = now_ms
        return tuple(self._tape.contracts[n].symbol for n in np.flatnonzero(changed))

    def traded_range(self, symbol: str) -> tuple[Decimal, Decimal]:
        n = self._column[symbol]
        tick = self._tape.contracts[n].tick_size
        return int(self._low[n]) * tick, int(self._high[n]) * tick

    def quote(self, symbol: str) -> Quote:
        n = self._column[symbol]
        sequence = int(self._sequence[n])
        found = self._quotes.get(symbol)
        if found is None or found[:2] != (sequence, self._row):
            found = self._quotes[symbol] = sequence, self._row, self._make_quote(symbol, n, sequence)
        return found[2]

    async def candles(
        self, symbol: str, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        n = self._column[symbol]
        fits = granularity_min in GRANULARITIES and granularity_min % self._granularity == 0
        if not fits or self._zero_ms is None:
            return ()
        begins_ms = -(-from_ms // (granularity_min * MINUTE_MS)) * granularity_min * MINUTE_MS
        first = max(0, (begins_ms - self._zero_ms) // self._step_ms)
        bars = join((self._closed(n, first), self._open_bar(n))).fold(granularity_min)
        return bars.between(from_ms, to_ms).to_candles(self._tape.contracts[n].tick_size)

    # --- along the tape

    def _anchor(self, now_ms: int) -> None:
        opened = now_ms - now_ms % self._step_ms
        self._zero_ms = opened - self._tape.start_row * self._step_ms

    def _knots(self, row: int) -> tuple[tuple[Integers, ...], tuple[Floats, Floats]]:
        """Return the candle's four prices in the order they are met, and when the extremes are."""
        tape = self._tape
        rising = tape.close[row] >= tape.open[row]
        first = np.where(rising, tape.low[row], tape.high[row])
        second = np.where(rising, tape.high[row], tape.low[row])
        place = np.full(len(rising), row)
        early, late = (uniform(turns, place) for turns in self._turns)
        return (tape.open[row], first, second, tape.close[row]), (0.1 + 0.3 * early, 0.55 + 0.35 * late)

    def _price_at(self, row: int, share: float) -> Floats:
        (o, first, second, c), (at_first, at_second) = self._knots(row)
        to_first = o + (first - o) * (share / at_first)
        to_second = first + (second - first) * ((share - at_first) / (at_second - at_first))
        to_close = second + (c - second) * ((share - at_second) / (1 - at_second))
        return np.where(share < at_first, to_first, np.where(share < at_second, to_second, to_close))

    def _range_within(self, row: int, since: float, until: float) -> tuple[Integers, Integers]:
        """Return (low, high) in ticks of the part of a candle from *since* to *until*."""
        (_, first, second, _), (at_first, at_second) = self._knots(row)
        seen = [np.rint(self._price_at(row, since)), np.rint(self._price_at(row, until))]
        for extreme, at in ((first, at_first), (second, at_second)):
            seen.append(np.where((at >= since) & (at <= until), extreme, seen[0]))
        return np.min(seen, axis=0).astype(np.int64), np.max(seen, axis=0).astype(np.int64)

    def _passed(self, row: int, share: float) -> tuple[Integers, Integers]:
        """Return (low, high) in ticks of all that lies between the last move and this one."""
        if row < self._row or (row == self._row and share < self._share):
            return self._range_within(row, share, share)       # time was set back
        if row == self._row:
            return self._range_within(row, self._share, share)
        parts = [self._range_within(self._row, self._share, 1.0), self._range_within(row, 0.0, share)]
        if row > self._row + 1:
            between = slice(self._row + 1, row)
            parts.append((self._tape.low[between].min(axis=0), self._tape.high[between].max(axis=0)))
        return np.min([low for low, _ in parts], axis=0), np.max([high for _, high in parts], axis=0)

    # --- telling

    def _closed(self, n: int, first: int) -> Bars:
        tape = self._tape
        rows = np.arange(first, self._row)
        rows = rows[tape.volume[rows, n] > 0]
        o, h, low, c, volume = (
            a[rows, n].astype(np.int64) for a in (tape.open, tape.high, tape.low, tape.close, tape.volume)
        )
        return self._bars(n, rows, o, h, low, c, volume)

    def _open_bar(self, n: int) -> Bars:
        """Return the candle under way as far as it has come; none when nothing trades in it."""
        low, high = self._range_within(self._row, 0.0, self._share)
        whole = int(self._tape.volume[self._row, n])
        rows = np.array([self._row] if whole else [], dtype=np.int64)
        values = (
            int(self._tape.open[self._row, n]), int(high[n]), int(low[n]), round(float(self._price[n])),
            max(1, round(whole * self._share)),
        )
        return self._bars(n, rows, *(np.full(len(rows), value, dtype=np.int64) for value in values))

    def _bars(
        self, n: int, rows: Integers, o: Integers, h: Integers, low: Integers, c: Integers, volume: Integers
    ) -> Bars:
        assert self._zero_ms is not None
        turnover = turnover_of(self._tape.contracts[n], o, h, low, c, volume)
        return Bars(
            open_ms=self._zero_ms + rows * self._step_ms, open=o, high=h, low=low, close=c, volume=volume,
            turnover=turnover,
        )

    def _make_quote(self, symbol: str, n: int, sequence: int) -> Quote:
        contract = self._tape.contracts[n]
        tick = contract.tick_size
        price = float(self._price[n])
        middle = max(1, round(price))
        spread = max(1, round(price * _SPREAD))
        bid = max(1, int(price - spread / 2 + 0.5))
        best = max(
            float(self._tape.volume[self._row, n]) * _SHARE_AT_BEST, _LEAST_AT_BEST / (price * self._lot_worth[n])
        )
        luck = scramble(n, sequence)
        bid_size, ask_size = (max(1, round(best * (0.4 + 1.2 * (luck >> s & 0xFFFF) / 65_536))) for s in (0, 16))
        rising = self._tape.close[self._row, n] >= self._tape.open[self._row, n]
        day = slice(max(0, self._row - 1440 // self._granularity), self._row + 1)
        before = int(self._tape.open[day.start, n]) * tick
        lots = int(self._tape.volume[day, n].sum(dtype=np.int64))
        last = min(max(middle, bid), bid + spread) * tick
        return Quote(
            symbol=symbol, bid=bid * tick, bid_size=bid_size, ask=(bid + spread) * tick, ask_size=ask_size,
            last=last, last_size=max(1, round(best / 10)), last_side="buy" if rising else "sell",
            mark=middle * tick, index=middle * tick,
            high_24h=max(int(self._tape.high[day, n][:-1].max(initial=middle)) * tick, last),
            low_24h=min(int(self._tape.low[day, n][:-1].min(initial=middle)) * tick, last),
            change_24h=last - before, change_rate_24h=round((last - before) / before, 4),
            volume_24h=lots * contract.multiplier,
            turnover_24h=round(Decimal(lots * price * self._lot_worth[n]), 4), funding_rate=_FUNDING_RATE,
            sequence=sequence, ts_ms=int(self._changed_ms[n]),
        )
