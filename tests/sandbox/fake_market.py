"""A market that stands still until a test moves it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from sandbox.market.source import Candle, Contract, Quote

D = Decimal
XBT = Contract(symbol="XBTUSDTM", base="XBT", multiplier=D("0.001"), tick_size=D("0.1"), max_leverage=125)
ETH = Contract(symbol="ETHUSDTM", base="ETH", multiplier=D("0.01"), tick_size=D("0.01"))
PRICES = {"XBTUSDTM": D("50000"), "ETHUSDTM": D("2000")}


class FakeMarket:
    """`MarketSource`: the bid is the price set, the ask one tick above, 1000 lots on each side."""

    def __init__(self, *contracts: Contract, size: int = 1000) -> None:
        self._contracts = contracts or (XBT, ETH)
        self._quotes = {c.symbol: _quote(c, PRICES.get(c.symbol, D("100")), size) for c in self._contracts}
        self._changed: dict[str, tuple[Decimal, Decimal]] = {}
        self._ranges: dict[str, tuple[Decimal, Decimal]] = {}
        self.frozen = False
        self.candle_list: tuple[Candle, ...] = ()

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def contracts(self) -> tuple[Contract, ...]:
        return self._contracts

    def quote(self, symbol: str) -> Quote:
        return self._quotes[symbol]

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move bid, last, mark and index to *price*; what lay between counts as passed through."""
        q = self._quotes[symbol]
        tick = next(c.tick_size for c in self._contracts if c.symbol == symbol)
        low, high = self._changed.get(symbol, (q.mark, q.mark))
        self._changed[symbol] = (min(low, price), max(high, price))
        self._quotes[symbol] = replace(
            q, bid=price, ask=price + tick, last=price, mark=price, index=price, sequence=q.sequence + 1
        )

    def change(self, symbol: str, **fields: object) -> None:
        """Change single fields of a quote without passing through anything."""
        self._quotes[symbol] = replace(self._quotes[symbol], **fields)  # type: ignore[arg-type]
        self._changed.setdefault(symbol, (self._quotes[symbol].mark,) * 2)

    def freeze(self, frozen: bool) -> None:
        self.frozen = frozen

    def advance(self, now_ms: int) -> tuple[str, ...]:
        self._ranges, self._changed = self._changed, {}
        for symbol in self._ranges:
            self._quotes[symbol] = replace(self._quotes[symbol], ts_ms=now_ms)
        return tuple(self._ranges)

    def traded_range(self, symbol: str) -> tuple[Decimal, Decimal]:
        mark = self._quotes[symbol].mark
        return self._ranges.get(symbol, (mark, mark))

    async def candles(
        self, symbol: str, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        return tuple(c for c in self.candle_list if from_ms <= c.open_ms <= to_ms)


def _quote(contract: Contract, price: Decimal, size: int) -> Quote:
    return Quote(
        symbol=contract.symbol, bid=price, bid_size=size, ask=price + contract.tick_size, ask_size=size,
        last=price, last_size=1, last_side="buy", mark=price, index=price, high_24h=price, low_24h=price,
        change_24h=D(0), change_rate_24h=D(0), volume_24h=D(1000), turnover_24h=price * 1000,
        funding_rate=D("0.0001"), sequence=1, ts_ms=1_700_000_000_000,
    )
