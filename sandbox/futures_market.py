"""Futures REST, public half: contracts, prices, candles, funding rates, time and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from sandbox import refusals, shapes
from sandbox.routes import Call, RouteTable
from sandbox.wire import ReadyJson, dumps, text

GRANULARITIES = (1, 5, 15, 30, 60, 120, 240, 480, 720, 1440, 10080)
MOST_CANDLES = 500
_PIECE = 20


async def _in_pieces(symbols: Sequence[str], shape: Callable[[str], Any]) -> ReadyJson:
    """Return a row for each of *symbols*; orders and ticks get in between the pieces it is built in."""
    rows = []
    for number, symbol in enumerate(symbols, 1):
        rows.append(dumps(shape(symbol)))
        if number % _PIECE == 0:
            await asyncio.sleep(0)
    return ReadyJson(f"[{','.join(rows)}]")


async def contracts_active(call: Call) -> Any:
    """Every contract in one answer."""
    listed = [c.symbol for c in call.exchange.market.contracts() if c.status not in ("Closed", "Settled")]
    return await _in_pieces(listed, lambda symbol: _contract(call, symbol))


async def contract(call: Call) -> Any:
    return _contract(call, call.exchange.market.contract(call.path_values["symbol"]).symbol)


async def ticker(call: Call) -> Any:
    return shapes.ticker_json(call.exchange.market.quote(call.symbol()))


async def all_tickers(call: Call) -> Any:
    market = call.exchange.market
    listed = [c.symbol for c in market.contracts()]
    return await _in_pieces(listed, lambda symbol: shapes.ticker_json(market.quote(symbol)))


async def depth(call: Call) -> Any:
    size = call.path_values["size"]
    if size not in ("20", "100"):
        raise refusals.url_unknown()
    return _book(call, int(size))


async def full_book(call: Call) -> Any:
    """Where the changes of /contractMarket/level2 go on from."""
    market, symbol = call.exchange.market, call.symbol()
    quote = market.quote(symbol)
    book = call.exchange.level2.update(market.contract(symbol), quote)
    return {
        "sequence": book.sequence, "symbol": symbol, "bids": list(map(list, book.bids.items())),
        "asks": list(map(list, book.asks.items())), "ts": quote.ts_ms * 1_000_000,
    }


async def trade_history(call: Call) -> Any:
    q = call.exchange.market.quote(call.symbol())
    return [{
        "sequence": q.sequence, "contractId": 1, "tradeId": str(q.sequence), "makerOrderId": "0",
        "takerOrderId": "0", "ts": q.ts_ms * 1_000_000, "size": q.last_size,
        "price": text(q.last), "side": q.last_side,
    }]


async def klines(call: Call) -> Any:
    """At most 500 candles, oldest first; KuCoin gives the newest ones when no start is named."""
    symbol = call.symbol()
    granularity = call.integer("granularity", 0)
    if granularity not in GRANULARITIES:
        raise refusals.parameter("granularity is illegal")
    step_ms = granularity * 60_000
    to_ms = call.integer("to", call.exchange.clock.now_ms())
    from_ms = call.integer("from", to_ms - step_ms * (MOST_CANDLES - 1))
    to_ms = min(to_ms, from_ms + step_ms * MOST_CANDLES)
    candles = await call.exchange.source.candles(symbol, granularity, from_ms, to_ms)
    return ReadyJson(f"[{','.join(map(shapes.candle_text, candles[:MOST_CANDLES]))}]")


async def mark_price(call: Call) -> Any:
    symbol = call.exchange.market.contract(call.path_values["symbol"]).symbol
    q = call.exchange.market.quote(symbol)
    now_ms = call.exchange.clock.now_ms()
    return {
        "symbol": symbol, "granularity": 1000, "timePoint": now_ms - now_ms % 1000, "value": q.mark,
        "indexPrice": q.index,
    }


async def funding_rate(call: Call) -> Any:
    known = call.exchange.market.contract(call.path_values["symbol"])
    step = call.exchange.ledger.funding_period_ms(known)
    now_ms = call.exchange.clock.now_ms()
    rate = call.exchange.market.quote(known.symbol).funding_rate
    return {
        "symbol": f".{known.symbol}FPI8H", "granularity": step, "timePoint": now_ms - now_ms % step,
        "value": rate, "predictedValue": rate, "fundingRateCap": Decimal("0.003"),
        "fundingRateFloor": Decimal("-0.003"), "period": 0, "fundingTime": now_ms - now_ms % step + step,
    }


async def funding_rates(call: Call) -> Any:
    """Past rates: this exchange keeps none, so today's stands for each moment asked for."""
    symbol = call.symbol()
    step = call.exchange.ledger.funding_period_ms(call.exchange.market.contract(symbol))
    rate = call.exchange.market.quote(symbol).funding_rate
    start = call.integer("from", 0)
    end = min(call.integer("to", 0), call.exchange.clock.now_ms())
    first, last = -(-start // step), end // step
    moments = range(last, max(first, last - 99) - 1, -1)
    return [{"symbol": symbol, "fundingRate": rate, "timepoint": n * step} for n in moments]


async def timestamp(call: Call) -> Any:
    return call.exchange.clock.now_ms()


async def status(call: Call) -> Any:
    state = call.exchange.rules.service_status
    return {"status": state, "msg": "" if state == "open" else "upgrade match engine"}


async def bullet_public(call: Call) -> Any:
    return call.tokens.issue(call.base_url, call.market, None)


async def bullet_private(call: Call) -> Any:
    return call.tokens.issue(call.base_url, call.market, call.account.user_id)


def add_to(table: RouteTable) -> None:
    """Enter the public futures endpoints with their weights."""
    for path, handler, weight in (
        ("/api/v1/contracts/active", contracts_active, 3),
        ("/api/v1/contracts/{symbol}", contract, 3),
        ("/api/v1/ticker", ticker, 2),
        ("/api/v1/allTickers", all_tickers, 5),
        ("/api/v1/level2/snapshot", full_book, 3),
        ("/api/v1/level2/depth{size}", depth, 5),
        ("/api/v1/trade/history", trade_history, 5),
        ("/api/v1/kline/query", klines, 3),
        ("/api/v1/mark-price/{symbol}/current", mark_price, 3),
        ("/api/v1/funding-rate/{symbol}/current", funding_rate, 2),
        ("/api/v1/contract/funding-rates", funding_rates, 5),
        ("/api/v1/timestamp", timestamp, 2),
        ("/api/v1/status", status, 4),
    ):
        table.add("GET", path, handler, weight, "public")
    table.add("POST", "/api/v1/bullet-public", bullet_public, 10, "public")
    table.add("POST", "/api/v1/bullet-private", bullet_private, 10, "futures", "General")


def _contract(call: Call, symbol: str) -> shapes.Json:
    exchange = call.exchange
    known = exchange.market.contract(symbol)
    return shapes.contract_json(
        exchange.market, known, exchange.clock.now_ms(), exchange.ledger.funding_period_ms(known)
    )


def _book(call: Call, levels: int) -> Any:
    exchange = call.exchange
    symbol = call.symbol()
    known, q = exchange.market.contract(symbol), exchange.market.quote(symbol)
    # whoever buys eats the asks
    asks = [list(level) for level in exchange.depth.ladder(known, q, "buy")][:levels]
    bids = [list(level) for level in exchange.depth.ladder(known, q, "sell")][:levels]
    return {
        "sequence": q.sequence, "symbol": symbol, "bids": bids, "asks": asks, "ts": q.ts_ms * 1_000_000
    }
