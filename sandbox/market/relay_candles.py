"""Candles of a relayed exchange: fetched at an even pace, kept a moment, kept going by the tickers."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal

from sandbox.market.bars import MINUTE_MS
from sandbox.market.mapping import candle_from
from sandbox.market.pace import Pace
from sandbox.market.retold import Retold, retell
from sandbox.market.source import Candle, Contract
from sandbox.market.upstream import RelayUnavailable, Upstream

_FRESH_S = 2.0
_KEPT = 64                       # answers; a hundred candles are 70 KB
_TAIL = 5                        # candles of each answer that are kept for longer


@dataclass(slots=True)
class _Fetched:
    from_ms: int
    to_ms: int
    at_s: float
    candles: dict[int, Candle]


class RelayCandles:
    """What was fetched per symbol and granularity; the newest minutes are told from the tickers."""

    def __init__(self, upstream: Upstream, pace: Pace) -> None:
        self._upstream, self._pace = upstream, pace
        self._fetched: OrderedDict[tuple[str, int], _Fetched] = OrderedDict()
        self._tails: dict[tuple[str, int], dict[int, Candle]] = {}
        self._seen: dict[str, Retold] = {}
        self._seen_until_ms = 0

    def note(self, symbol: str, last: Decimal, now_ms: int) -> None:
        """Take note of a price seen in the tickers."""
        self._seen_until_ms = now_ms
        self._seen.setdefault(symbol, Retold()).trade(now_ms, (last,))

    async def between(
        self, contract: Contract, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        """Return candles opened in from_ms <= t <= to_ms.

        A question for the open one alone is answered from what is known: the pushes ask it every second.

        Raises:
            RelayUnavailable: they are not known and could not be fetched.
        """
        step_ms = granularity_min * MINUTE_MS
        place = contract.symbol, granularity_min
        known = self._fetched.get(place)
        is_open_one = from_ms > (self._seen_until_ms // step_ms - 1) * step_ms
        if is_open_one and contract.symbol in self._seen:
            return self._told(contract, granularity_min, from_ms, to_ms)
        if known is None or not _covers(known, from_ms, to_ms):
            try:
                known = await self._fetch(contract, granularity_min, from_ms, to_ms)
            except RelayUnavailable:
                if known is None or not known.from_ms <= from_ms <= to_ms <= known.to_ms + step_ms:
                    raise
        chosen = (known.candles[opened] for opened in sorted(known.candles) if from_ms <= opened <= to_ms)
        return tuple(chosen)

    def _told(
        self, contract: Contract, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        """Return the open candle: the fetched ones, gone on with the prices seen since."""
        step_ms = granularity_min * MINUTE_MS
        seen = self._seen[contract.symbol]
        tail = self._tails.get((contract.symbol, granularity_min), {})
        kept = {opened: candle for opened, candle in tail.items() if from_ms <= opened <= to_ms}
        new = [opened for opened in seen.buckets(step_ms, from_ms, to_ms) if opened not in kept]
        gone_on = (_go_on(kept[opened], seen, step_ms) for opened in sorted(kept))
        return (*gone_on, *retell((), (), seen, step_ms, new, contract))

    async def _fetch(self, contract: Contract, granularity_min: int, from_ms: int, to_ms: int) -> _Fetched:
        await self._pace.turn()
        rows = await self._upstream.fetch(
            "/api/v1/kline/query", symbol=contract.symbol, granularity=granularity_min,
            **{"from": from_ms, "to": to_ms},
        )
        candles = {int(row[0]): candle_from(row, contract) for row in rows}
        place = contract.symbol, granularity_min
        fetched = _Fetched(from_ms=from_ms, to_ms=to_ms, at_s=time.monotonic(), candles=candles)
        self._fetched[place] = fetched
        self._fetched.move_to_end(place)
        self._tails[place] = {opened: candles[opened] for opened in sorted(candles)[-_TAIL:]}
        if len(self._fetched) > _KEPT:
            self._fetched.popitem(last=False)
        return fetched


def _covers(known: _Fetched, from_ms: int, to_ms: int) -> bool:
    """Tell whether the question is one that was answered a moment ago."""
    is_fresh = time.monotonic() - known.at_s < _FRESH_S
    return is_fresh and known.from_ms <= from_ms and to_ms <= known.to_ms + _FRESH_S * 1000


def _go_on(candle: Candle, seen: Retold, step_ms: int) -> Candle:
    """Return a fetched candle with the prices seen in its time."""
    minutes = [
        minute for opened, minute in seen.minutes.items() if opened - opened % step_ms == candle.open_ms
    ]
    if not minutes:
        return candle
    return Candle(
        open_ms=candle.open_ms, open=candle.open, high=max(candle.high, *(m.high for m in minutes)),
        low=min(candle.low, *(m.low for m in minutes)), close=minutes[-1].close, volume=candle.volume,
        turnover=candle.turnover,
    )
