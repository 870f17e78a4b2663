"""A market passed on from another exchange: here from a second sandbox, and from one that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from sandbox.embedded import run_sandbox
from sandbox.market.mapping import candle_from, contract_from, moved_quote, quote_from
from sandbox.market.pace import Pace
from sandbox.market.relay import RelayMarket
from sandbox.market.source import Contract, Quote
from sandbox.market.upstream import RelayUnavailable
from sandbox.wire import dumps
from tests.sandbox.fake_market import ETH, XBT, FakeMarket

D = Decimal
PATIENCE_S = 10.0

CONTRACT_ROW = {
    "symbol": "XBTUSDTM", "type": "FFWCSX", "baseCurrency": "XBT", "quoteCurrency": "USDT",
    "settleCurrency": "USDT", "maxOrderQty": 1_000_000, "maxPrice": D("1000000.0"), "lotSize": 1,
    "tickSize": D("0.1"), "multiplier": D("0.001"), "initialMargin": D("0.008"),
    "maintainMargin": D("0.004"), "makerFeeRate": D("0.0002"), "takerFeeRate": D("0.0006"),
    "isInverse": False, "status": "Open", "fundingFeeRate": D("5.2E-5"), "markPrice": D("86378.69"),
    "indexPrice": D("86382.64"), "lastTradePrice": D("86364"), "maxLeverage": 125,
    "fundingRateGranularity": 28_800_000, "firstOpenDate": 1_585_555_200_000, "lowPrice": D("82205.2"),
    "highPrice": D("89299.9"), "priceChgPct": D("-0.028"), "priceChg": D("-2495.9"),
    "volumeOf24h": D("12069.225"), "turnoverOf24h": D("1034643198.3265533"),
    "buyLimit": D("90697.6245"),
}
TICKER_ROW = {
    "symbol": "XBTUSDTM", "side": "sell", "size": 6, "price": "86364.0", "bestBidPrice": "86363.9",
    "bestBidSize": 100, "bestAskPrice": "86364", "bestAskSize": 50, "ts": 1_790_000_000_123_000_000,
}


class FailingExchange:
    """Serves one contract, and anything else when told so."""

    def __init__(self) -> None:
        self.ticker: dict[str, Any] = dict(TICKER_ROW)
        self.broken: web.Response | None = None
        self.klines = 0
        self.base_url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FailingExchange]:
        app = web.Application()
        app.router.add_get("/futures/api/v1/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/futures/"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if self.broken is not None:
            return web.Response(status=self.broken.status, text=self.broken.text)
        if path == "kline/query":
            self.klines += 1
            opened = int(request.query["to"]) // 60_000 * 60_000
            data: Any = [[opened - 60_000, 1, 3, 1, 2, 5], [opened, D("2.5"), 3, 2, 3, 7, D("20.5")]]
        else:
            data = [CONTRACT_ROW] if path == "contracts/active" else [self.ticker]
        return web.Response(text=dumps({"code": "200000", "data": data}))


async def until(told: Callable[[], bool], market: RelayMarket) -> None:
    """Advance *market* until it is *told*."""
    async def look() -> None:
        while True:
            market.advance(time.time_ns() // 1_000_000)
            if told():
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), PATIENCE_S)


def test_contract_rules_are_taken_over() -> None:
    """Limits, margins and fees are the exchange's; buyLimit / mark tells the price limit, 1.05."""
    assert contract_from(CONTRACT_ROW) == Contract(
        symbol="XBTUSDTM", base="XBT", multiplier=D("0.001"), tick_size=D("0.1"), max_leverage=125,
        max_price=D(1_000_000), initial_margin=D("0.008"), maintain_margin=D("0.004"),
        price_limit_rate=D("0.05"),
    )


@pytest.mark.parametrize(
    "change", [{"type": "FFICSX"}, {"isInverse": True}, {"settleCurrency": "XBT"}, {"status": "Paused"}]
)
def test_other_contracts_are_left_out(change: dict[str, Any]) -> None:
    """Dated, inverse, coin-settled and paused contracts are not relayed."""
    assert contract_from(CONTRACT_ROW | change) is None


def test_a_quote_is_made_of_ticker_and_contract() -> None:
    """The book and last trade are the ticker's, mark, index and 24 hours the contract's."""
    quote = quote_from(CONTRACT_ROW, TICKER_ROW)
    assert quote is not None
    assert (quote.bid, quote.ask, quote.last, quote.last_side) == (D("86363.9"), D(86364), D(86364), "sell")
    assert (quote.mark, quote.index, quote.funding_rate) == (D("86378.69"), D("86382.64"), D("0.000052"))
    assert quote.ts_ms == 1_790_000_000_123


@pytest.mark.parametrize("change", [{"bestBidPrice": "86364"}, {"bestAskPrice": None}, {"bestBidPrice": "0"}])
def test_a_book_that_makes_no_sense_is_not_passed_on(change: dict[str, Any]) -> None:
    """Crossed or empty books change nothing."""
    quote = quote_from(CONTRACT_ROW, TICKER_ROW)
    assert quote is not None
    assert moved_quote(quote, TICKER_ROW | change) is None


def test_the_mark_moves_along_with_the_book() -> None:
    """Book up by 10: the mark is 10 higher until the exchange's own is fetched."""
    quote = quote_from(CONTRACT_ROW, TICKER_ROW)
    assert quote is not None
    moved = moved_quote(quote, TICKER_ROW | {"bestBidPrice": "86373.9", "bestAskPrice": "86374"})
    assert moved is not None
    assert moved.mark == D("86388.69")
    assert moved.sequence == quote.sequence + 1


def test_candles_of_six_items_get_a_turnover() -> None:
    """5 lots of 0.001 at 86 000 are 430."""
    assert candle_from([60_000, 1, 2, 1, 86_000, 5], XBT).turnover == D("430")
    assert candle_from([60_000, 1, 2, 1, 2, 5, D("9.5")], XBT).turnover == D("9.5")


def test_another_sandbox_is_relayed() -> None:
    """Contracts, quotes and candles agree with the exchange behind; its moves arrive."""
    source = FakeMarket(XBT, ETH)
    with run_sandbox(source, tick_ms=20.0) as upstream:
        async def relay() -> None:
            market = RelayMarket(upstream.futures_url + "/futures")
            await market.start()
            try:
                assert {c.symbol: c for c in market.contracts()}["ETHUSDTM"] == ETH
                assert market.quote("XBTUSDTM").bid == D(50_000)
                upstream.call(lambda _: source.set_price("XBTUSDTM", D(49_000)))
                await until(lambda: market.quote("XBTUSDTM").bid == D(49_000), market)
                assert market.quote("XBTUSDTM").ask == D("49000.1")
            finally:
                await market.close()

        asyncio.run(relay())


def test_the_most_traded_are_chosen() -> None:
    """With pairs=1 only the contract with the largest turnover is there."""
    with run_sandbox(pairs=3, seed=1) as upstream:
        async def relay() -> tuple[str, ...]:
            market = RelayMarket(upstream.futures_url, pairs=1)
            await market.start()
            await market.close()
            return tuple(c.symbol for c in market.contracts())

        assert asyncio.run(relay()) == ("XBTUSDTM",)


@pytest.mark.parametrize(
    "broken",
    [
        web.Response(status=503, text="<html>maintenance</html>"), web.Response(text="<html></html>"),
        web.Response(text='{"code":"429000","msg":"too many"}'), web.Response(text='{"code":"200000","data":[]}'),
    ],
)
def test_it_does_not_start_on_a_bad_answer(broken: web.Response) -> None:
    """A start without contracts is an error that names the address."""
    async def relay() -> None:
        async with FailingExchange().serving() as exchange:
            exchange.broken = broken
            market = RelayMarket(exchange.base_url)
            with pytest.raises(RelayUnavailable, match="127.0.0.1"):
                await market.start()

    asyncio.run(relay())


def test_failed_refreshes_keep_the_quotes() -> None:
    """While the exchange fails, quotes stay with their old time and failures are counted; then it goes on."""
    async def relay() -> None:
        async with FailingExchange().serving() as exchange:
            market = RelayMarket(exchange.base_url)
            await market.start()
            before: Quote = market.quote("XBTUSDTM")
            exchange.broken = web.Response(status=502, text="bad gateway")
            await until(lambda: market.failures > 0, market)
            assert market.quote("XBTUSDTM") == before
            exchange.ticker |= {"bestBidPrice": "86000", "bestAskPrice": "86000.1", "price": "86000"}
            exchange.broken = None
            await until(lambda: market.quote("XBTUSDTM").last == D(86000), market)
            await market.close()

    asyncio.run(relay())


def test_candles_are_kept_a_moment_and_the_open_one_follows_the_tickers() -> None:
    """Ten like questions make one request; the open candle is told without another."""
    async def relay() -> None:
        async with FailingExchange().serving() as exchange:
            market = RelayMarket(exchange.base_url)
            await market.start()
            now_ms = time.time_ns() // 1_000_000
            for _ in range(10):
                found = await market.candles("XBTUSDTM", 1, now_ms - 600_000, now_ms)
            assert exchange.klines == 1
            assert [c.volume for c in found] == [5, 7]
            exchange.ticker |= {"price": "86001"}
            await until(lambda: market.quote("XBTUSDTM").last == D(86001), market)
            now_ms = time.time_ns() // 1_000_000
            (told,) = (await market.candles("XBTUSDTM", 1, now_ms - 60_000, now_ms))[-1:]
            assert told.close == D(86001)
            assert exchange.klines == 1
            exchange.broken = web.Response(status=502)
            with pytest.raises(RelayUnavailable):       # a failure is not "no candles"
                await market.candles("XBTUSDTM", 60, 0, now_ms)
            await market.close()

    asyncio.run(relay())


def test_requests_keep_their_distance() -> None:
    """Five callers at once leave at 0, 1, 2, 3 and 4 hundredths of a second by a clock that stands still."""
    slept: list[float] = []

    async def ask() -> None:
        pace = Pace(0.01, lambda: 100.0)
        real_sleep = asyncio.sleep

        async def note(delay: float) -> None:
            slept.append(round(delay, 6))
            await real_sleep(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sandbox.market.pace.asyncio.sleep", note)
            for _ in range(5):
                await pace.turn()

    asyncio.run(ask())
    assert slept == [0.0, 0.01, 0.02, 0.03, 0.04]
