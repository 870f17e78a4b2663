"""A market under control: prices set by hand over another market, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sandbox.market.bars import MINUTE_MS
from sandbox.market.retold import Retold, retell
from sandbox.market.source import Candle, Contract, MarketSource, Quote


@dataclass(slots=True)
class _Hold:
    """One symbol's price as it is wished for: points in time order, the last of them for good."""

    points: tuple[tuple[int, Decimal], ...]
    price: Decimal             # as of the last advance
    under: Quote               # the market's own quote when the hold began

    def at(self, now_ms: int) -> Decimal:
        """Return the price on the straight line between the points around *now_ms*."""
        before = self.points[0]
        for point in self.points:
            if point[0] > now_ms:
                span = point[0] - before[0]
                share = Decimal(now_ms - before[0]) / span if span else Decimal(1)
                return before[1] + (point[1] - before[1]) * max(share, Decimal(0))
            before = point
        return before[1]

    def passed(self, from_ms: int, to_ms: int) -> tuple[Decimal, ...]:
        """Return the points that lie between two moments."""
        return tuple(price for at_ms, price in self.points if from_ms < at_ms <= to_ms)


class ScriptedMarket:
    """`MarketSource` over *source*: what is not set by hand is the source's.

    A held symbol trades at exactly its price: bid = last = mark = index, the ask is one tick above.
    Wishes take effect with the next `advance`.
    """

    def __init__(self, source: MarketSource) -> None:
        self.source = source
        self._contracts: dict[str, Contract] = {}
        self._holds: dict[str, _Hold] = {}
        self._wishes: dict[str, tuple[tuple[int, Decimal], ...] | None] = {}   # None: let go
        self._extra: dict[str, int] = {}           # what the source's sequence lacks, per symbol
        self._ranges: dict[str, tuple[Decimal, Decimal]] = {}
        self._retold: dict[str, Retold] = {}
        self._changed_ms: dict[str, int] = {}
        self._frozen = False
        self._now_ms = 0
        self._stood_still_ms = 0                    # in all; scripts do not count it

    # --- wishes

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Hold *symbol* at *price* until `release`. KeyError for an unknown symbol."""
        self._wish(symbol, ((0, price),))

    def script(self, symbol: str, points: Sequence[tuple[int, Decimal]]) -> None:
        """Lead *symbol* through *points*, (ms from now, price), in straight lines; hold the last."""
        if not points:
            raise ValueError("a script needs at least one point")
        self._wish(symbol, tuple(sorted(points)))

    def release(self, symbol: str) -> None:
        """Give *symbol* back to the market."""
        self._contract(symbol)
        self._wishes[symbol] = None

    def freeze(self, on: bool) -> None:
        """Let nothing move, or move again; `set_price` works on frozen symbols too."""
        self._frozen = on

    def _wish(self, symbol: str, points: tuple[tuple[int, Decimal], ...]) -> None:
        self._contract(symbol)
        if any(not price.is_finite() or price <= 0 for _, price in points):
            raise ValueError("a price must be above 0")
        self._wishes[symbol] = points

    # --- the market

    async def start(self) -> None:
        await self.source.start()

    async def close(self) -> None:
        await self.source.close()

    def contracts(self) -> tuple[Contract, ...]:
        return self.source.contracts()

    def quote(self, symbol: str) -> Quote:
        hold = self._holds.get(symbol)
        if hold is not None:
            return self._held_quote(symbol, hold)
        quote = self.source.quote(symbol)
        extra = self._extra.get(symbol)
        return quote if extra is None else replace(quote, sequence=quote.sequence + extra)

    def traded_range(self, symbol: str) -> tuple[Decimal, Decimal]:
        found = self._ranges.get(symbol)
        if found is not None:
            return found
        if symbol in self._holds or self._frozen:
            mark = self.quote(symbol).mark
            return mark, mark
        return self.source.traded_range(symbol)

    def advance(self, now_ms: int) -> tuple[str, ...]:
        passed_ms = max(0, now_ms - self._now_ms) if self._now_ms else 0
        self._now_ms = now_ms
        self._ranges.clear()
        before = {symbol: self.quote(symbol) for symbol in (*self._wishes, *self._holds)}
        changed: dict[str, None] = {}
        if self._frozen:
            self._stood_still_ms += passed_ms
        else:
            changed = dict.fromkeys(self.source.advance(now_ms))
        for symbol in self._holds:
            changed.pop(symbol, None)
        for symbol in before:
            if self._follow(symbol, before[symbol], passed_ms):
                changed[symbol] = None
        self._wishes.clear()
        self._retell(now_ms)
        return tuple(changed)

    async def candles(
        self, symbol: str, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        candles = await self.source.candles(symbol, granularity_min, from_ms, to_ms)
        retold = self._retold.get(symbol)
        if retold is None:
            return candles
        minutes: tuple[Candle, ...] = ()
        step_ms = granularity_min * MINUTE_MS
        affected = retold.buckets(step_ms, from_ms, min(to_ms, self._now_ms))
        if affected and granularity_min > 1:
            minutes = await self.source.candles(symbol, 1, affected[0], affected[-1] + step_ms - 1)
        return retell(candles, minutes, retold, step_ms, affected, self._contract(symbol))

    # --- following the wishes

    def _follow(self, symbol: str, before: Quote, passed_ms: int) -> bool:
        """Move a held symbol to where it should be; tell whether its price has changed."""
        time_ms = self._now_ms - self._stood_still_ms
        path: tuple[Decimal, ...] = ()
        hold = self._holds.get(symbol)
        if symbol in self._wishes:
            points = self._wishes[symbol]
            if points is None:
                return self._let_go(symbol, before)
            begun = ((time_ms, before.last), *((time_ms + at_ms, price) for at_ms, price in points))
            under = hold.under if hold is not None else self.source.quote(symbol)
            self._retold.setdefault(symbol, Retold()).begin(self._now_ms, before.last)
            path = tuple(price for at_ms, price in begun[1:] if at_ms <= time_ms)
            self._holds[symbol] = hold = _Hold(points=begun, price=Decimal(0), under=under)
        elif hold is not None and not self._frozen:
            path = hold.passed(time_ms - passed_ms, time_ms)
        if hold is None:
            return False
        price = _to_tick(hold.at(time_ms), self._contract(symbol).tick_size)
        changed = price != hold.price
        hold.price = price
        if changed:
            self._count_change(symbol)
            self._note_range(symbol, (before.mark, *path, price))
            self._retold[symbol].trade(self._now_ms, (*path, price))
        return changed

    def _let_go(self, symbol: str, before: Quote) -> bool:
        if self._holds.pop(symbol, None) is None:
            return False
        self._count_change(symbol)
        self._note_range(symbol, (before.mark, self.source.quote(symbol).mark))
        self._retold[symbol].end(self._now_ms)
        return True

    def _count_change(self, symbol: str) -> None:
        self._extra[symbol] = self._extra.get(symbol, 0) + 1
        self._changed_ms[symbol] = self._now_ms

    def _note_range(self, symbol: str, prices: Iterable[Decimal]) -> None:
        seen = tuple(prices)
        self._ranges[symbol] = min(seen), max(seen)

    def _retell(self, now_ms: int) -> None:
        """Note the prices of the held symbols, and of those let go until their minute is over."""
        for symbol, retold in self._retold.items():
            if retold.is_listening(now_ms):
                retold.trade(now_ms, (self.quote(symbol).last,))

    def _held_quote(self, symbol: str, hold: _Hold) -> Quote:
        price, under = hold.price, hold.under
        before = under.last - under.change_24h
        return replace(
            under, bid=price, ask=price + self._contract(symbol).tick_size, last=price, mark=price,
            index=price, high_24h=max(under.high_24h, price), low_24h=min(under.low_24h, price),
            change_24h=price - before,
            change_rate_24h=round((price - before) / before, 4) if before else Decimal(0),
            sequence=under.sequence + self._extra.get(symbol, 0), ts_ms=self._changed_ms.get(symbol, self._now_ms),
        )

    def _contract(self, symbol: str) -> Contract:
        if symbol not in self._contracts:
            self._contracts = {contract.symbol: contract for contract in self.source.contracts()}
        return self._contracts[symbol]


def _to_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    return max((price / tick_size).to_integral_value(), Decimal(1)) * tick_size
