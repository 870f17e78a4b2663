"""KuCoin's futures answers as facts; a field that is missing makes the answer unreadable, not zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import numpy as np

from trading.candles import TIMEFRAME_MINUTES, Candles
from trading.errors import BadResponse
from trading.facts import (
    ZERO,
    Balance,
    ExchangePosition,
    Fill,
    Instrument,
    Order,
    OrderRequest,
    OrderSide,
    Side,
    Ticker,
)

Row = Mapping[str, Any]
Fact = TypeVar("Fact")

PERPETUAL = "FFWCSX"
NS_PER_MS = 1_000_000


def number(row: Row, name: str) -> Decimal:
    """Return a field as an exact number, whether KuCoin sent it as a number or a string."""
    try:
        return Decimal(str(row[name]))
    except (KeyError, InvalidOperation) as error:
        raise BadResponse(f"answer without a readable {name}") from error


def optional(row: Row, name: str) -> Decimal | None:
    """Return a field that KuCoin may leave out, send as null or as an empty string."""
    return None if row.get(name) in (None, "") else number(row, name)


def text(row: Row, name: str) -> str:
    """Return a field that has to be there as text."""
    value = row.get(name)
    if value is None:
        raise BadResponse(f"answer without {name}")
    return str(value)


def rows(data: Any) -> list[Row]:
    """Return *data* as a list of rows; a page's items if it is a page."""
    if isinstance(data, Mapping) and "items" in data:
        data = data["items"]
    if not isinstance(data, list) or not all(isinstance(row, Mapping) for row in data):
        raise BadResponse("a list was expected and something else came")
    return data


def each(data: Any, make: Callable[[Row], Fact]) -> tuple[Fact, ...]:
    """Return *make* of every row."""
    return tuple(make(row) for row in rows(data))


def instrument_of(row: Row, symbol: str) -> Instrument:
    """Source: GET /api/v1/contracts/active."""
    return Instrument(
        symbol=symbol,
        exchange_id=text(row, "symbol"),
        base=symbol.split("/")[0],
        quote=text(row, "quoteCurrency"),
        multiplier=number(row, "multiplier"),
        lot_size=number(row, "lotSize"),
        tick_size=number(row, "tickSize"),
        min_quantity=number(row, "lotSize"),
        max_quantity=number(row, "maxOrderQty"),
        max_leverage=number(row, "maxLeverage"),
        maker_fee_rate=number(row, "makerFeeRate"),
        taker_fee_rate=number(row, "takerFeeRate"),
        tradable=row.get("status") == "Open",
        first_open_ms=int(row.get("firstOpenDate") or 0),
    )


def is_linear_usdt_perpetual(row: Row) -> bool:
    """Whether RAD trades it: USDT-margined, not inverse, without an expiry."""
    return (
        row.get("type") == PERPETUAL
        and row.get("settleCurrency") == "USDT"
        and row.get("quoteCurrency") == "USDT"
        and not row.get("isInverse")
    )


def ticker_of(row: Row, instrument: Instrument, contract: Row | None) -> Ticker | None:
    """Return a line of GET /api/v1/allTickers; None for one without both sides (nothing to trade on)."""
    bid, ask, last = optional(row, "bestBidPrice"), optional(row, "bestAskPrice"), optional(row, "price")
    if not bid or not ask or not last:
        return None
    contract = contract or {}
    return Ticker(
        symbol=instrument.symbol,
        bid=bid,
        ask=ask,
        last=last,
        mark=optional(contract, "markPrice") or last,
        volume_24h=optional(contract, "turnoverOf24h") or ZERO,
        ts_ms=int(number(row, "ts")) // NS_PER_MS,
    )


def candles_of(data: Any, symbol: str, timeframe: str, limit: int, now_ms: int) -> Candles:
    """Return the closed candles, holes filled with the previous close and no volume.

    Source: GET /api/v1/kline/query: [open ms, open, high, low, close, volume in lots, turnover].
    """
    step = TIMEFRAME_MINUTES[timeframe] * 60_000
    if not isinstance(data, list):
        raise BadResponse("a list of candles was expected and something else came")
    try:
        found = {int(row[0]): [float(field) for field in row[1:6]] for row in data}
    except (TypeError, ValueError, IndexError) as error:
        raise BadResponse("unreadable candle") from error
    closed = sorted(opened for opened in found if opened + step <= now_ms)
    if not closed:
        raise BadResponse(f"{symbol} no closed candle in the answer")
    # KuCoin leaves out intervals without a trade, at the end too: the last closed one is known by time.
    last = now_ms // step * step - step
    opens = np.arange(closed[0], last + step, step, dtype=np.int64)[-limit:]
    table = np.empty((len(opens), 5))
    previous = found[closed[0]][3]
    for earlier in closed:
        if earlier >= opens[0]:
            break
        previous = found[earlier][3]
    for index, opened in enumerate(opens):
        row = found.get(int(opened))
        table[index] = row if row is not None else (previous, previous, previous, previous, 0.0)
        previous = table[index, 3]
    return Candles(
        symbol=symbol, timeframe=timeframe, open_ms=opens,
        open=table[:, 0].copy(), high=table[:, 1].copy(), low=table[:, 2].copy(),
        close=table[:, 3].copy(), volume=table[:, 4].copy(),
    )


def balance_of(row: Row) -> Balance:
    """Source: GET /api/v1/account-overview."""
    return Balance(
        currency=text(row, "currency"),
        equity=number(row, "accountEquity"),
        available=number(row, "availableBalance"),
        unrealised_pnl=number(row, "unrealisedPNL"),
    )


def position_of(row: Row, instrument: Instrument) -> ExchangePosition:
    """Source: GET /api/v1/positions; currentQty is signed."""
    quantity = number(row, "currentQty")
    return ExchangePosition(
        symbol=instrument.symbol,
        side=Side.LONG if quantity > 0 else Side.SHORT,
        quantity=abs(quantity),
        entry_price=number(row, "avgEntryPrice"),
        mark_price=number(row, "markPrice"),
        leverage=optional(row, "leverage") or optional(row, "realLeverage") or Decimal(1),
        margin_mode=str(row.get("marginMode") or "ISOLATED").lower(),
        unrealised_pnl=number(row, "unrealisedPnl"),
        liquidation_price=optional(row, "liquidationPrice") or None,
        opened_ms=int(row.get("openingTimestamp") or 0),
    )


def order_of(row: Row, instrument: Instrument) -> Order:
    """Source: GET /api/v1/orders/{orderId}, also of stop orders."""
    filled = number(row, "dealSize")
    value = number(row, "dealValue")
    average = optional(row, "avgDealPrice")
    if filled and not average:
        average = value / (filled * instrument.multiplier)
    return Order(
        order_id=text(row, "id"),
        client_oid=str(row.get("clientOid") or ""),
        symbol=instrument.symbol,
        side=OrderSide(text(row, "side")),
        quantity=optional(row, "size") or ZERO,
        filled_quantity=filled,
        filled_value=value,
        average_price=average if filled else None,
        is_active=_flag(row, "isActive"),
        is_cancelled=_flag(row, "cancelExist"),
        reduce_only=bool(row.get("reduceOnly")),
        close_order=bool(row.get("closeOrder")),
        stop_price=optional(row, "stopPrice") if row.get("stop") else None,
        stop_triggered=bool(row.get("stopTriggered")),
        created_ms=int(number(row, "createdAt")),
    )


def fill_of(row: Row, instrument: Instrument) -> Fill:
    """Source: GET /api/v1/recentFills; tradeTime is in nanoseconds."""
    return Fill(
        trade_id=text(row, "tradeId"),
        order_id=text(row, "orderId"),
        symbol=instrument.symbol,
        side=OrderSide(text(row, "side")),
        quantity=number(row, "size"),
        price=number(row, "price"),
        fee=number(row, "fee"),
        ts_ms=int(number(row, "tradeTime")) // NS_PER_MS,
        kind=str(row.get("tradeType") or "trade"),
    )


def order_body(request: OrderRequest, instrument: Instrument) -> dict[str, Any]:
    """Return the body of POST /api/v1/orders."""
    body: dict[str, Any] = {
        "clientOid": request.client_oid,
        "symbol": instrument.exchange_id,
        "side": request.side.value,
        "type": "market" if request.price is None else "limit",
        "marginMode": request.margin_mode.upper(),
    }
    if request.quantity is not None:
        body["size"] = int(request.quantity)
    if request.leverage is not None:
        body["leverage"] = plain(request.leverage)
    if request.price is not None:
        body["price"] = plain(request.price)
        body["timeInForce"] = "IOC" if request.immediate_or_cancel else "GTC"
    if request.close_order:
        body["closeOrder"] = True
    elif request.reduce_only:
        body["reduceOnly"] = True
    if request.stop_price is not None:
        body["stop"] = "down" if request.stop_is_below else "up"
        body["stopPrice"] = plain(request.stop_price)
        body["stopPriceType"] = "MP"
    if request.remark:
        body["remark"] = request.remark
    return body


def plain(value: Decimal) -> str:
    """Return *value* without exponent, as KuCoin reads it."""
    return f"{value:f}"


def _flag(row: Row, name: str) -> bool:
    value = row.get(name)
    if not isinstance(value, bool):
        raise BadResponse(f"answer without {name}")
    return value


def by_id(found: Iterable[Instrument]) -> dict[str, Instrument]:
    """Return instruments by KuCoin's own id."""
    return {instrument.exchange_id: instrument for instrument in found}
