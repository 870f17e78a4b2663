"""A made-up market: seeded, lively, and cheap enough for a thousand contracts at ten moves a second."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from sandbox.market.bars import GRANULARITIES, MINUTE_MS, Bars, join
from sandbox.market.characters import characters
from sandbox.market.contracts import listings
from sandbox.market.day import Days
from sandbox.market.noise import Floats, Integers, bits, scramble
from sandbox.market.past import Past
from sandbox.market.paths import Paths
from sandbox.market.recorder import Recorder
from sandbox.market.source import Candle, Contract, Quote

_MARK_FOLLOWS_S = 0.4
_SMOOTH_GAP_MS = 1000                # a longer pause between two moves is walked through in between
_WALKED_GAP_MS = 120_000             # a longer one leaves the candles of its minutes to `Past`
_FUNDING_MS = 28_800_000


class SyntheticMarket:
    """`MarketSource` of made-up prices; the path depends on seed and time since the start alone.

    *volatility* is a multiple of real life. With *start_prices* (symbol -> price) it goes on from
    there, so that a restarted exchange does not jump.
    """

    def __init__(
        self, *, seed: int, pairs: int, volatility: float = 1.0, start_ms: int,
        start_prices: Mapping[str, Decimal] | None = None,
    ) -> None:
        listed = listings(pairs)
        self._contracts = tuple(listing.contract for listing in listed)
        self._column = {contract.symbol: n for n, contract in enumerate(self._contracts)}
        self._character = character = characters(listed, volatility)
        self._seed, self._start_ms = seed, start_ms
        self._paths = Paths(seed, tuple(self._column), character.sigma, volatility)
        begin = [float((start_prices or {}).get(at.contract.symbol, at.price)) for at in listed]
        self._anchors: Floats = np.log(begin) - self._paths.all_at(0.0)
        self._past = Past(seed, listed, character, self._paths, self._anchors, start_ms, volatility)
        self._sides = np.array([scramble(seed, 77, n) for n in range(pairs)], dtype=np.uint64)
        self._recorder = Recorder(self._past, character, volatility)
        self._days = Days(self._paths, self._anchors, character, start_ms, volatility)
        self._quotes: dict[str, Quote] = {}
        self._stand_still(pairs)
        self._now_ms = start_ms // MINUTE_MS * MINUTE_MS
        self._move(self._now_ms)
        self.advance(start_ms)

    def _stand_still(self, pairs: int) -> None:
        mid = np.exp(self._anchors + self._paths.all_at(0.0)) / self._character.tick
        self._slot: Integers = np.full(pairs, np.iinfo(np.int64).min)
        self._bid: Integers = np.zeros(pairs, dtype=np.int64)
        self._ask: Integers = np.zeros(pairs, dtype=np.int64)
        self._last: Integers = np.maximum(np.rint(mid), 1).astype(np.int64)
        self._index: Integers = self._last.copy()
        self._mark: Integers = self._last.copy()
        self._smooth_mark: Floats = mid.copy()
        self._low: Integers = self._last.copy()
        self._high: Integers = self._last.copy()
        self._buying = np.zeros(pairs, dtype=bool)
        self._sequence: Integers = np.ones(pairs, dtype=np.int64)
        self._changed = np.zeros(pairs, dtype=bool)
        self._changed_ms: Integers = np.full(pairs, self._start_ms)
        self._moved_ms: Integers = np.full(pairs, self._start_ms)

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to stop."""

    def contracts(self) -> tuple[Contract, ...]:
        return self._contracts

    def advance(self, now_ms: int) -> tuple[str, ...]:
        self._low, self._high = self._mark.copy(), self._mark.copy()
        if now_ms == self._now_ms:
            return ()
        self._changed[:] = False
        for moment_ms in self._moments(now_ms):
            self._move(moment_ms)
        self._now_ms = now_ms
        return tuple(self._contracts[n].symbol for n in np.flatnonzero(self._changed))

    def traded_range(self, symbol: str) -> tuple[Decimal, Decimal]:
        n = self._column[symbol]
        tick = self._contracts[n].tick_size
        return int(self._low[n]) * tick, int(self._high[n]) * tick

    def quote(self, symbol: str) -> Quote:
        n = self._column[symbol]
        found = self._quotes.get(symbol)
        if found is None or found.sequence != self._sequence[n]:
            found = self._quotes[symbol] = self._make_quote(symbol, n)
        return found

    async def candles(
        self, symbol: str, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        column = self._column[symbol]
        if granularity_min not in GRANULARITIES:
            return ()
        bars = self._bars(column, granularity_min, from_ms, min(to_ms, self._now_ms))
        return bars.to_candles(self._contracts[column].tick_size)

    def _bars(self, column: int, granularity_min: int, from_ms: int, to_ms: int) -> Bars:
        """Return what was made up before the recorder began, then what it recorded, folded."""
        step_ms = granularity_min * MINUTE_MS
        first_ms = -(-from_ms // step_ms) * step_ms
        seen = self._recorder.bars(column, self._contracts[column], first_ms)
        begins_ms, ends_ms = self._recorder.span()
        begins_ms = max(begins_ms, first_ms)
        if granularity_min == 1:
            made = self._past.bars(column, 1, first_ms, begins_ms)
            return join((made, seen)).between(first_ms, to_ms)
        # The candle that holds the seam is folded from minutes of both kinds.
        seam_ms = begins_ms // step_ms * step_ms
        made = self._past.bars(column, granularity_min, first_ms, seam_ms)
        mixed = join((self._past.bars(column, 1, max(seam_ms, first_ms), begins_ms), seen))
        return join((made, mixed.fold(granularity_min))).between(first_ms, to_ms)

    # --- moving

    def _moments(self, now_ms: int) -> list[int]:
        gap_ms = now_ms - self._now_ms
        if gap_ms <= _SMOOTH_GAP_MS:
            return [now_ms]
        if gap_ms <= _WALKED_GAP_MS:
            return [*range(self._now_ms + _SMOOTH_GAP_MS, now_ms, _SMOOTH_GAP_MS), now_ms]
        minute_ms = now_ms // MINUTE_MS * MINUTE_MS
        self._recorder.forget()
        skipped = range(self._now_ms + gap_ms // 32, minute_ms, gap_ms // 32)
        return [*skipped, *range(minute_ms, now_ms, 5000), now_ms]

    def _move(self, now_ms: int) -> None:
        """Move every symbol whose turn it is to *now_ms*."""
        character = self._character
        mid = np.exp(self._anchors + self._paths.all_at((now_ms - self._start_ms) / 1000)) / character.tick
        slot = (now_ms - self._start_ms) // character.slot_ms
        due = slot != self._slot
        self._slot = slot
        self._recorder.turn(now_ms // MINUTE_MS)
        spread = np.maximum(np.rint(mid * character.spread), 1)
        bid = np.maximum(np.floor(mid - spread / 2 + 0.5), 1).astype(np.int64)
        ask = bid + spread.astype(np.int64)
        buying = (bits(self._sides, slot) & np.uint64(1)).astype(bool)
        trades = due & ~self._recorder.silent
        last = np.where(trades, np.where(buying, ask, bid), self._last)
        mark = self._follow(mid, due, now_ms)
        index = np.maximum(np.rint(mid), 1).astype(np.int64)
        changed = due & (
            (bid != self._bid) | (ask != self._ask) | (last != self._last)
            | (mark != self._mark) | (index != self._index)
        )
        for kept, new in ((self._bid, bid), (self._ask, ask), (self._index, index), (self._mark, mark)):
            np.copyto(kept, new, where=due)
        np.copyto(self._buying, buying, where=trades)
        self._last = last
        self._recorder.trade(trades, last, now_ms)
        np.minimum(self._low, self._mark, out=self._low)
        np.maximum(self._high, self._mark, out=self._high)
        self._sequence += changed
        self._changed_ms[changed] = now_ms
        self._changed |= changed

    def _follow(self, mid: Floats, due: np.ndarray, now_ms: int) -> Integers:
        """Return the mark prices: the middle, smoothed over a fraction of a second."""
        passed_s = np.abs(now_ms - self._moved_ms) / 1000
        share = -np.expm1(-passed_s / _MARK_FOLLOWS_S)
        np.copyto(self._smooth_mark, self._smooth_mark + share * (mid - self._smooth_mark), where=due)
        np.copyto(self._moved_ms, now_ms, where=due)
        return np.maximum(np.rint(self._smooth_mark), 1).astype(np.int64)

    # --- telling

    def _make_quote(self, symbol: str, n: int) -> Quote:
        contract = self._contracts[n]
        tick = contract.tick_size
        sequence = int(self._sequence[n])
        bid_size, ask_size, last_size = self._sizes(n, sequence)
        last = int(self._last[n]) * tick
        day = self._days.stats(n, self._now_ms, self._recorder)
        before = day.before * tick
        return Quote(
            symbol=symbol, bid=int(self._bid[n]) * tick, bid_size=bid_size, ask=int(self._ask[n]) * tick,
            ask_size=ask_size, last=last, last_size=last_size,
            last_side="buy" if self._buying[n] else "sell", mark=int(self._mark[n]) * tick,
            index=int(self._index[n]) * tick, high_24h=max(day.high * tick, last),
            low_24h=min(day.low * tick, last), change_24h=last - before,
            change_rate_24h=round((last - before) / before, 4), volume_24h=day.lots * contract.multiplier,
            turnover_24h=round(Decimal(day.turnover), 4), funding_rate=self._funding(n),
            sequence=sequence, ts_ms=int(self._changed_ms[n]),
        )

    def _sizes(self, n: int, sequence: int) -> tuple[int, int, int]:
        luck = scramble(self._seed, n, sequence)
        best = float(self._character.lots_at_best[n])
        shares = ((luck >> shift & 0xFFFF) / 65_536 for shift in (0, 16, 32))
        bid, ask, last = (0.3 + 1.4 * share for share in shares)
        return max(1, round(best * bid)), max(1, round(best * ask)), max(1, round(best * last / 10))

    def _funding(self, n: int) -> Decimal:
        luck = scramble(self._seed, n, self._now_ms // _FUNDING_MS, 8) % 401 - 200
        return Decimal(100 + luck).scaleb(-6)
