"""KuCoin's futures answers as facts; a field that is missing makes the answer unreadable, not zero."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from trading.candles import Candles, Floats
from trading.errors import BadResponse, OrderRejected
from trading.facts import (
    ZERO,
    Balance,
    ExchangePosition,
    Fill,
    Funding,
    Instrument,
    Order,
    OrderRequest,
    OrderSide,
    Position,
    Side,
    Ticker,
)
from trading.timeframes import TIMEFRAME_MINUTES

Row = Mapping[str, Any]
Fact = TypeVar("Fact")
Taken = ParamSpec("Taken")

log = logging.getLogger("kucoin")

PERPETUAL = "FFWCSX"
NS_PER_MS = 1_000_000
BASE_IDS = {"BTC": "XBT"}                   # where KuCoin's ids name a currency otherwise
MOVING = ("markPrice", "turnoverOf24h")     # of a contract: what tickers do not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What the key may do. Source: GET /api/v1/user/api-key."""

    permissions: frozenset[str]
    version: int
    addresses: tuple[str, ...]         # it works from these alone; from anywhere if there are none
    sub_account: str                   # the sub-account it belongs to; empty for the master account


def readable(make: Callable[Taken, Fact]) -> Callable[Taken, Fact]:
    """Let *make* raise BadResponse for whatever is wrong with a row, be it a field or a value."""
    @wraps(make)
    def reading(*args: Taken.args, **kwargs: Taken.kwargs) -> Fact:
        try:
            return make(*args, **kwargs)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise BadResponse(f"an answer that does not make sense ({type(error).__name__}: {error})") from error
    return reading


def number(row: Row, name: str) -> Decimal:
    """Return a field as an exact number, whether KuCoin sent it as a number or a string."""
    try:
        found = Decimal(str(row[name]))
    except (KeyError, InvalidOperation) as error:
        raise BadResponse(f"answer without a readable {name}") from error
    if not found.is_finite():
        raise BadResponse(f"answer with {found} for {name}")
    return found


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


@readable
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


def delisted(instrument: Instrument) -> Instrument:
    """Return *instrument* as one that is no longer listed: known, so as to be closed, not opened."""
    return replace(instrument, tradable=False)


def instrument_from(held: Position) -> Instrument:
    """Return what a position tells of its contract: enough to read it, to watch it and to close it."""
    base = held.symbol.split("/")[0]
    # Its stops lie on the tick, so they have as many digits as that, or fewer.
    stops = (held.stop_price.normalize(), held.initial_stop_price.normalize())
    digits = max(0, *(-int(price.as_tuple().exponent) for price in stops))
    return Instrument(
        symbol=held.symbol, exchange_id=f"{BASE_IDS.get(base, base)}USDTM", base=base, quote="USDT",
        multiplier=held.multiplier, lot_size=Decimal(1), tick_size=Decimal(1).scaleb(-digits),
        min_quantity=Decimal(1), max_quantity=held.initial_quantity, max_leverage=held.leverage, tradable=False,
    )


def is_linear_usdt_perpetual(row: Row) -> bool:
    """Whether RAD trades it: USDT-margined, not inverse, without an expiry."""
    return (
        row.get("type") == PERPETUAL
        and row.get("settleCurrency") == "USDT"
        and row.get("quoteCurrency") == "USDT"
        and not row.get("isInverse")
    )


@readable
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


@readable
def candles_of(data: Any, symbol: str, timeframe: str, first_ms: int, end_ms: int) -> Candles:
    """Return the candles that opened in [*first_ms*, *end_ms*), holes filled: previous close, no volume.

    The last one is known by time: KuCoin leaves out intervals without a trade, at the end too.

    Source: GET /api/v1/kline/query: [open ms, open, high, low, close, volume in lots, turnover].
    """
    step = TIMEFRAME_MINUTES[timeframe] * 60_000
    if not isinstance(data, list):
        raise BadResponse("a list of candles was expected and something else came")
    told = np.array([row[:6] for row in data], dtype=np.float64).reshape(-1, 6)
    told = told[(told[:, 0] >= first_ms) & (told[:, 0] < end_ms)]
    if not len(told):
        raise BadResponse(f"{symbol} no closed candle in the answer")
    if not np.isfinite(told).all() or (told[:, 1:5] <= 0).any() or (told[:, 2] < told[:, 3]).any():
        raise BadResponse(f"{symbol} candle without a possible price")
    opened = told[:, 0].astype(np.int64)
    if (opened % step).any():
        raise BadResponse(f"{symbol} candle beside the {timeframe} grid")
    opens = np.arange(opened.min(), end_ms, step, dtype=np.int64)
    which = np.full(len(opens), -1)
    which[(opened - opens[0]) // step] = np.arange(len(told))
    traded = which >= 0
    # The latest row at or before each slot: slots count up, rows may come in any order.
    latest = which[np.maximum.accumulate(np.where(traded, np.arange(len(opens)), 0))]
    close = told[latest, 4]

    def column(number: int, otherwise: Floats) -> Floats:
        return np.where(traded, told[latest, number], otherwise)

    return Candles(
        symbol=symbol, timeframe=timeframe, open_ms=opens,
        open=column(1, close), high=column(2, close), low=column(3, close),
        close=close, volume=column(5, np.zeros(len(opens))),
    )


@readable
def balance_of(row: Row) -> Balance:
    """Source: GET /api/v1/account-overview."""
    return Balance(
        currency=text(row, "currency"),
        equity=number(row, "accountEquity"),
        available=number(row, "availableBalance"),
        unrealised_pnl=number(row, "unrealisedPNL"),
    )


@readable
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


@readable
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


@readable
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
        if request.quantity % 1 or request.quantity < 1:
            raise OrderRejected(f"{request.symbol} {plain(request.quantity)} lots cannot be ordered: not sent")
        body["size"] = int(request.quantity)
    if request.leverage is not None:
        whole = request.leverage == request.leverage.to_integral_value()
        body["leverage"] = int(request.leverage) if whole else plain(request.leverage)
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


def listed(data: Any, symbol_of: Callable[[Row], str]) -> dict[str, tuple[Instrument, Row]]:
    """Return every contract RAD can trade, by KuCoin's id, with what moves in its row.

    One that cannot be read is left out and said: it must not take the others with it.
    """
    found: dict[str, tuple[Instrument, Row]] = {}
    for row in filter(is_linear_usdt_perpetual, rows(data)):
        try:
            instrument = instrument_of(row, symbol_of(row))
        except BadResponse as error:
            log.warning("contract left out contract=%s error=%s", row.get("symbol"), error)
            continue
        found[instrument.exchange_id] = (instrument, {name: row.get(name) for name in MOVING})
    if not found:
        raise BadResponse("no contract in the list of contracts")
    return found


@readable
def api_key_of(row: Row) -> ApiKey:
    """Source: GET /api/v1/user/api-key; its permissions are a list with commas."""
    return ApiKey(
        permissions=frozenset(_listed(text(row, "permission"))),
        version=int(number(row, "apiVersion")),
        addresses=_listed(str(row.get("ipWhitelist") or "")),
        sub_account=str(row.get("subName") or ""),
    )


def _listed(said: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in said.split(",") if name.strip())


@readable
def funding_of(data: Row) -> tuple[list[Row], bool]:
    """Return the rows of a page of funding, and whether there are more. Source: GET /api/v1/funding-history."""
    return rows(data["dataList"]), bool(data["hasMore"])


@readable
def payment_of(row: Row) -> Funding:
    """Source: a row of GET /api/v1/funding-history."""
    return Funding(at_ms=int(number(row, "timePoint")), amount=number(row, "funding"))
