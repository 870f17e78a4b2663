"""ccxt, sync and pro, unchanged but for its addresses, trades on the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import ccxt
import ccxt.pro
import pytest

from sandbox.embedded import RunningSandbox

XBT, PAIR = "XBTUSDTM", "BTC/USDT:USDT"
PATIENCE_S = 10.0


def settings(sandbox: RunningSandbox, **change: str) -> dict[str, Any]:
    """Return what ccxt is built from: the addresses, the keys, and no questions about the account's kind."""
    spot, futures = sandbox.spot_url, sandbox.futures_url
    addresses = dict.fromkeys(
        ("public", "private", "webExchange", "broker", "earn", "uta", "utaV2", "utaPrivate"), spot
    ) | {"futuresPublic": futures, "futuresPrivate": futures}
    pushes = {"ws": {"private": spot.replace("http", "ws", 1) + "/endpoint"}}
    keys = {"apiKey": sandbox.key, "secret": sandbox.secret, "password": sandbox.passphrase} | change
    return keys | {
        "urls": {"api": addresses | pushes}, "enableRateLimit": False,
        "options": {"hf": True, "uta": False, "defaultType": "swap"},
    }


@pytest.fixture(scope="module")
def exchange(sandbox: RunningSandbox) -> Iterator[Any]:
    exchange = ccxt.kucoin(settings(sandbox))
    exchange.load_markets(False, {"marginables": False})
    yield exchange
    exchange.session.close()


def contracts(exchange: Any) -> float:
    """Return how many lots of XBTUSDTM are held."""
    return sum(float(p["contracts"]) for p in exchange.fetch_positions([PAIR]) if p["contracts"])


def test_markets(exchange: Any) -> None:
    """All contracts are swaps with KuCoin's lots, ticks and multipliers."""
    assert {market["symbol"] for market in exchange.markets.values() if market["swap"]} == {
        PAIR, "ETH/USDT:USDT", "SOL/USDT:USDT", "XRP/USDT:USDT", "DOGE/USDT:USDT"
    }
    market = exchange.market(PAIR)
    assert (market["id"], market["contractSize"], market["precision"]["price"]) == (XBT, 0.001, 0.1)


def test_the_first_calls_with_keys(sandbox: RunningSandbox) -> None:
    """What ccxt asks about the account when it is told nothing is answered too."""
    asking = ccxt.kucoin(settings(sandbox) | {"options": {}})
    assert PAIR in asking.load_markets()
    assert asking.options["hf"] is True
    asking.session.close()


def test_market_data(sandbox: RunningSandbox, exchange: Any) -> None:
    """Tickers, book and candles are read as they are meant."""
    sandbox.set_price(XBT, 60_000)
    ticker = exchange.fetch_ticker(PAIR)
    assert (ticker["bid"], ticker["ask"], ticker["last"]) == (60_000, 60_000.1, 60_000)
    assert len(exchange.fetch_tickers(params={"type": "swap"})) == 5
    assert exchange.fetch_order_book(PAIR, 20)["asks"][0][0] == 60_000.1
    candles = exchange.fetch_ohlcv(PAIR, "5m", limit=20)
    assert len(candles) == 20
    assert {after[0] - before[0] for before, after in zip(candles, candles[1:], strict=False)} == {300_000}
    assert exchange.fetch_funding_rate(PAIR)["symbol"] == PAIR
    assert abs(exchange.fetch_time() - exchange.milliseconds()) < 5_000


def test_balance(exchange: Any) -> None:
    """The play money is the futures account's."""
    balance = exchange.fetch_balance({"type": "swap"})
    assert 9_000 < balance["USDT"]["total"] <= 10_000
    assert 0 < balance["USDT"]["free"] <= balance["USDT"]["total"]


def test_the_life_of_an_order(sandbox: RunningSandbox, exchange: Any) -> None:
    """Bought, looked up, seen in fills and position, and closed."""
    sandbox.set_price(XBT, 60_000)
    placed = exchange.create_order(PAIR, "market", "buy", 3, params={"leverage": 5, "clientOrderId": "ccxt-1"})
    order = exchange.fetch_order(placed["id"], PAIR)
    assert (order["status"], order["filled"], order["average"]) == ("closed", 3.0, 60_000.1)
    assert exchange.fetch_order(None, PAIR, {"clientOid": "ccxt-1"})["id"] == placed["id"]
    trade = exchange.fetch_my_trades(PAIR, limit=1)[0]
    assert (trade["order"], trade["amount"], trade["side"]) == (placed["id"], 3.0, "buy")
    assert trade["fee"]["cost"] == pytest.approx(0.10800018)      # 3 × 0.001 × 60 000.1 × 0.06 %
    (position,) = exchange.fetch_positions([PAIR])
    assert (position["contracts"], position["side"], position["entryPrice"]) == (3.0, "long", 60_000.1)
    exchange.close_position(PAIR)
    assert contracts(exchange) == 0


def test_resting_orders(sandbox: RunningSandbox, exchange: Any) -> None:
    """A limit order away from the market is open until it is cancelled."""
    sandbox.set_price(XBT, 60_000)
    placed = exchange.create_order(PAIR, "limit", "buy", 1, 58_000, {"leverage": 5})
    assert [order["id"] for order in exchange.fetch_open_orders(PAIR)] == [placed["id"]]
    exchange.cancel_order(placed["id"], PAIR)
    assert exchange.fetch_open_orders(PAIR) == []
    assert exchange.fetch_order(placed["id"], PAIR)["status"] == "canceled"


def test_a_stop_loss_triggers(sandbox: RunningSandbox, exchange: Any) -> None:
    """A stop-loss order waits among the stops and sells when the mark falls to it."""
    sandbox.set_price(XBT, 60_000)
    exchange.create_order(PAIR, "market", "buy", 2, params={"leverage": 5})
    stop = exchange.create_order(PAIR, "market", "sell", 2, params={"stopLossPrice": 59_000, "leverage": 5})
    waiting = exchange.fetch_open_orders(PAIR, params={"stop": True})
    assert [(order["id"], order["stopPrice"]) for order in waiting] == [(stop["id"], 59_000.0)]
    sandbox.set_price(XBT, 59_000)
    assert contracts(exchange) == 0
    assert exchange.fetch_open_orders(PAIR, params={"stop": True}) == []


@pytest.mark.parametrize(
    ("amount", "price", "error"),
    [(100_000, None, ccxt.ExchangeError), (10_000, None, ccxt.InsufficientFunds), (1, 70_000, ccxt.InvalidOrder)],
)
def test_refusals_become_ccxts_errors(
    sandbox: RunningSandbox, exchange: Any, amount: int, price: int | None, error: type[Exception]
) -> None:
    """Beyond the risk limit, beyond the balance, beyond the price limit."""
    sandbox.set_price(XBT, 60_000)
    kind = "limit" if price else "market"
    with pytest.raises(error):
        exchange.create_order(PAIR, kind, "buy", amount, price, {"leverage": 5})


def test_wrong_keys_and_unknown_orders(sandbox: RunningSandbox, exchange: Any) -> None:
    """ccxt tells them apart by KuCoin's codes."""
    wrong = ccxt.kucoin(settings(sandbox, password="wrong"))
    with pytest.raises(ccxt.AuthenticationError):
        wrong.fetch_balance({"type": "swap"})
    wrong.session.close()
    with pytest.raises(ccxt.OrderNotFound):
        exchange.fetch_order("1" * 18, PAIR)


def with_pro(sandbox: RunningSandbox, act: Callable[[Any], Awaitable[None]]) -> None:
    """Run *act* with a ccxt.pro exchange, and close it."""
    async def run() -> None:
        exchange = ccxt.pro.kucoin(settings(sandbox))
        try:
            await exchange.load_markets(False, {"marginables": False})
            await act(exchange)
        finally:
            await exchange.close()

    asyncio.run(run())


async def until(watch: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """Watch until *wanted* holds of what came."""
    async def look() -> Any:
        while True:
            seen = await watch()
            if wanted(seen):
                return seen

    return await asyncio.wait_for(look(), PATIENCE_S)


async def subscribed(sandbox: RunningSandbox, topic: str) -> None:
    """Wait until the sandbox has a listener on *topic*."""
    async def look() -> None:
        while topic not in (await asyncio.to_thread(sandbox.state))["topics"]:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), PATIENCE_S)


def test_watching_prices(sandbox: RunningSandbox) -> None:
    """Best bids and asks, and tickers, follow a price that is set."""
    async def act(exchange: Any) -> None:
        for watch, topic, price in (
            (exchange.watch_bids_asks, "tickerV2", 61_000), (exchange.watch_tickers, "ticker", 62_000)
        ):
            waiting = asyncio.create_task(
                until(lambda watch=watch: watch([PAIR]), lambda seen, p=price: seen[PAIR]["bid"] == p)
            )
            await subscribed(sandbox, f"/contractMarket/{topic}:{XBT}")
            await asyncio.to_thread(sandbox.set_price, XBT, price)
            seen = await waiting
            assert seen[PAIR]["ask"] == price + 0.1

    with_pro(sandbox, act)


def test_watching_the_book(sandbox: RunningSandbox) -> None:
    """The whole book over REST and its changes from there on: ccxt keeps it as the exchange has it."""
    async def act(exchange: Any) -> None:
        for price in (60_500, 60_400):
            waiting = asyncio.create_task(until(
                lambda: exchange.watch_order_book(PAIR),
                lambda seen, p=price: seen["bids"][0][0] == p and seen["asks"][0][0] == p + 0.1,
            ))
            await subscribed(sandbox, f"/contractMarket/level2:{XBT}")
            await asyncio.to_thread(sandbox.set_price, XBT, price)
            await waiting

    with_pro(sandbox, act)


def test_watching_orders(sandbox: RunningSandbox) -> None:
    """An order is pushed until it is closed."""
    sandbox.set_price(XBT, 60_000)

    async def act(exchange: Any) -> None:
        orders = asyncio.create_task(until(
            lambda: exchange.watch_orders(None, None, None, {"type": "swap"}),
            lambda seen: any(order["status"] == "closed" for order in seen),
        ))
        await subscribed(sandbox, "/contractMarket/tradeOrders")
        placed = await exchange.create_order(PAIR, "market", "buy", 2, params={"leverage": 5})
        filled = [order for order in await orders if order["status"] == "closed"]
        assert filled[-1]["id"] == placed["id"]
        await exchange.close_position(PAIR)

    with_pro(sandbox, act)


def test_watching_positions(sandbox: RunningSandbox) -> None:
    """A position that is there is given first, and pushed when it grows.

    ccxt 4.5.90 stumbles over pushes of a position it has not seen (`extend(None, ...)`), so it is
    told to fetch a snapshot first.
    """
    sandbox.set_price(XBT, 60_000)

    async def act(exchange: Any) -> None:
        snapshot = {"fetchPositionsSnapshot": True, "awaitPositionsSnapshot": True}
        exchange.options["watchPositions"] = snapshot
        await exchange.create_order(PAIR, "market", "buy", 2, params={"leverage": 5})
        (first,) = await asyncio.wait_for(exchange.watch_positions([PAIR]), PATIENCE_S)
        assert (first["contracts"], first["side"]) == (2.0, "long")
        grown = asyncio.create_task(until(
            lambda: exchange.watch_positions([PAIR]), lambda seen: any(p["contracts"] == 3 for p in seen)
        ))
        await exchange.create_order(PAIR, "market", "buy", 1, params={"leverage": 5})
        await grown
        await exchange.close_position(PAIR)

    with_pro(sandbox, act)
