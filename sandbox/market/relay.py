"""Another exchange's market, passed on: KuCoin's own prices for play money."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from sandbox.market.mapping import contract_from, moved_quote, quote_from
from sandbox.market.pace import Pace
from sandbox.market.relay_candles import RelayCandles
from sandbox.market.source import Candle, Contract, Quote
from sandbox.market.upstream import RelayUnavailable, Upstream

log = logging.getLogger("relay")

_TICKERS_EVERY_S = 1.0            # 5 weight each: 150 of the public pool's 2000 in 30 s
_CONTRACTS_EVERY_S = 5.0          # 3 weight: 18
_CANDLES_EVERY_S = 0.08           # 3 weight: 1125
_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class _Instrument:
    contract: Contract
    quote: Quote


class RelayMarket:
    """`MarketSource` of the contracts, tickers and candles of the futures exchange at *base_url*.

    With *pairs*, the most traded ones alone. While the exchange does not answer, quotes stay as
    they were, with the time they had; `failures` counts what went wrong.
    """

    def __init__(self, base_url: str, pairs: int | None = None) -> None:
        self._upstream = Upstream(base_url)
        self._candles = RelayCandles(self._upstream, Pace(_CANDLES_EVERY_S, time.monotonic))
        self._pairs = pairs
        self._instruments: dict[str, _Instrument] = {}
        self._fresh: dict[str, Quote] = {}           # fetched since the last advance
        self._ranges: dict[str, tuple[Decimal, Decimal]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.failures = 0

    async def start(self) -> None:
        """Fetch contracts and tickers once, then go on refreshing.

        Raises:
            RelayUnavailable: the exchange did not give its contracts or tickers.
        """
        try:
            await self._fetch_instruments()
        except RelayUnavailable:
            await self._upstream.close()
            raise
        self._tasks = [
            asyncio.create_task(self._repeat(self._fetch_tickers, _TICKERS_EVERY_S), name="relay-tickers"),
            asyncio.create_task(self._repeat(self._fetch_contracts, _CONTRACTS_EVERY_S), name="relay-contracts"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._upstream.close()

    def contracts(self) -> tuple[Contract, ...]:
        return tuple(instrument.contract for instrument in self._instruments.values())

    def quote(self, symbol: str) -> Quote:
        return self._instruments[symbol].quote

    def advance(self, now_ms: int) -> tuple[str, ...]:
        self._ranges.clear()
        fresh, self._fresh = self._fresh, {}
        for symbol, quote in fresh.items():
            instrument = self._instruments[symbol]
            marks = instrument.quote.mark, quote.mark
            self._ranges[symbol] = min(marks), max(marks)
            instrument.quote = quote
            self._candles.note(symbol, quote.last, now_ms)
        return tuple(fresh)

    def traded_range(self, symbol: str) -> tuple[Decimal, Decimal]:
        mark = self._instruments[symbol].quote.mark
        return self._ranges.get(symbol, (mark, mark))

    async def candles(
        self, symbol: str, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        return await self._candles.between(self._instruments[symbol].contract, granularity_min, from_ms, to_ms)

    # --- fetching

    async def _fetch_instruments(self) -> None:
        rows = {str(row["symbol"]): row for row in await self._upstream.fetch("/api/v1/contracts/active")}
        tickers = {str(row["symbol"]): row for row in await self._upstream.fetch("/api/v1/allTickers")}
        found: list[_Instrument] = []
        for symbol, row in rows.items():
            contract = contract_from(row)
            quote = quote_from(row, tickers[symbol], sequence=1) if contract and symbol in tickers else None
            if contract is not None and quote is not None:
                found.append(_Instrument(contract=contract, quote=quote))
        if not found:
            raise RelayUnavailable(f"{self._upstream.base_url} has no USDT-margined perpetual contract")
        found.sort(key=lambda instrument: -instrument.quote.turnover_24h)
        self._instruments = {i.contract.symbol: i for i in found[: self._pairs]}
        log.info("contracts=%d from=%s", len(self._instruments), self._upstream.base_url)

    async def _fetch_contracts(self) -> None:
        """Take over marks, 24-hour numbers and funding rates; a contract that is new or gone changes nothing."""
        for row in await self._upstream.fetch("/api/v1/contracts/active"):
            symbol = str(row["symbol"])
            if symbol in self._instruments:
                self._take(symbol, quote_from(row, None, before=self._newest(symbol)))

    async def _fetch_tickers(self) -> None:
        for ticker in await self._upstream.fetch("/api/v1/allTickers"):
            symbol = str(ticker["symbol"])
            if symbol in self._instruments:
                self._take(symbol, moved_quote(self._newest(symbol), ticker))

    def _newest(self, symbol: str) -> Quote:
        return self._fresh.get(symbol) or self._instruments[symbol].quote

    def _take(self, symbol: str, quote: Quote | None) -> None:
        """Keep *quote* for the next advance, unless there is nothing new in it."""
        if quote is not None and quote != self._newest(symbol):
            self._fresh[symbol] = quote

    async def _repeat(self, fetch: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Fetch every *every_s*; after a failure less and less often, until it works again."""
        pause_s = every_s
        while True:
            await asyncio.sleep(pause_s)
            try:
                await fetch()
            except (RelayUnavailable, KeyError, TypeError, ValueError, ArithmeticError) as error:
                self.failures += 1
                if pause_s == every_s:
                    log.warning("refresh failed, prices stand still: %s", error)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                if pause_s != every_s:
                    log.info("refresh works again")
                pause_s = every_s
