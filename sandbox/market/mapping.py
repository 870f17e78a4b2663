"""KuCoin's futures answers as contracts, quotes and candles of ours."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from sandbox.market.source import Candle, Contract, Quote

Row = dict[str, Any]
_ZERO = Decimal(0)


def contract_from(row: Row) -> Contract | None:
    """Return the rules in one entry of contracts/active; None unless it is an open USDT-margined perpetual."""
    if row.get("type") != "FFWCSX" or row.get("isInverse") or row.get("settleCurrency") != "USDT":
        return None
    if row.get("status") != "Open":
        return None
    own = Contract(symbol=row["symbol"], base=row["baseCurrency"], multiplier=_number(row["multiplier"]),
                   tick_size=_number(row["tickSize"]))
    return replace(
        own, quote=row.get("quoteCurrency") or own.quote, settle=row["settleCurrency"],
        lot_size=int(row.get("lotSize") or own.lot_size),
        max_order_qty=int(row.get("maxOrderQty") or own.max_order_qty),
        max_price=_number(row.get("maxPrice") or own.max_price),
        max_leverage=int(row.get("maxLeverage") or own.max_leverage),
        initial_margin=_number(row.get("initialMargin") or own.initial_margin),
        maintain_margin=_number(row.get("maintainMargin") or own.maintain_margin),
        maker_fee_rate=_given(row, "makerFeeRate", own.maker_fee_rate),
        taker_fee_rate=_given(row, "takerFeeRate", own.taker_fee_rate),
        price_limit_rate=_price_limit_rate(row, own.price_limit_rate),
        funding_granularity_ms=int(row.get("fundingRateGranularity") or own.funding_granularity_ms),
        first_open_ms=int(row.get("firstOpenDate") or own.first_open_ms),
    )


def quote_from(
    row: Row, ticker: Row | None, *, before: Quote | None = None, sequence: int = 1
) -> Quote | None:
    """Return the quote in an entry of contracts/active with its ticker, or with what it was *before*.

    None when bid and ask make no sense: such a book is not passed on.
    """
    last = _number(row.get("lastTradePrice") or 0)
    mark = _number(row.get("markPrice") or last)
    quote = before or Quote(
        symbol=row["symbol"], bid=_ZERO, bid_size=1, ask=_ZERO, ask_size=1, last=last, last_size=1,
        last_side="buy", mark=mark, index=mark, high_24h=last, low_24h=last, change_24h=_ZERO,
        change_rate_24h=_ZERO, volume_24h=_ZERO, turnover_24h=_ZERO, funding_rate=_ZERO,
        sequence=sequence, ts_ms=0,
    )
    fresh = replace(
        quote, mark=mark, index=_number(row.get("indexPrice") or mark),
        high_24h=_given(row, "highPrice", quote.high_24h), low_24h=_given(row, "lowPrice", quote.low_24h),
        change_24h=_given(row, "priceChg", quote.change_24h),
        change_rate_24h=_given(row, "priceChgPct", quote.change_rate_24h),
        volume_24h=_given(row, "volumeOf24h", quote.volume_24h),
        turnover_24h=_given(row, "turnoverOf24h", quote.turnover_24h),
        funding_rate=_given(row, "fundingFeeRate", quote.funding_rate),
    )
    if ticker is not None:
        return moved_quote(fresh, ticker, mark=mark)
    return fresh if fresh == quote else replace(fresh, sequence=quote.sequence + 1)


def moved_quote(before: Quote, ticker: Row, *, mark: Decimal | None = None) -> Quote | None:
    """Return *before* with the book and last trade of *ticker*; None when bid and ask make no sense.

    The mark moves along with the middle of the book until KuCoin's own is fetched again.
    """
    bid, ask = _number(ticker.get("bestBidPrice") or 0), _number(ticker.get("bestAskPrice") or 0)
    if not 0 < bid < ask:
        return None
    moved = (bid + ask - before.bid - before.ask) / 2 if before.bid else _ZERO
    after = replace(
        before, bid=bid, bid_size=max(1, int(ticker.get("bestBidSize") or 1)), ask=ask,
        ask_size=max(1, int(ticker.get("bestAskSize") or 1)),
        last=_number(ticker.get("price") or before.last), last_size=max(1, int(ticker.get("size") or 1)),
        last_side=str(ticker.get("side") or before.last_side), ts_ms=int(ticker.get("ts") or 0) // 1_000_000,
        mark=max(before.mark + moved, before.mark / 2) if mark is None else mark,
    )
    if after == before:
        return before
    return replace(after, sequence=before.sequence + 1)


def candle_from(row: list[Any], contract: Contract) -> Candle:
    """Return one row of kline/query; where there is no turnover it is reckoned at the close."""
    opened, o, high, low, close, volume = row[:6]
    reckoned = int(volume) * contract.multiplier * _number(close)
    return Candle(
        open_ms=int(opened), open=_number(o), high=_number(high), low=_number(low), close=_number(close),
        volume=int(volume), turnover=_number(row[6]) if len(row) > 6 else round(reckoned, 4),
    )


def _number(value: Any) -> Decimal:
    """Return a JSON number or string in plain digits: 1E-9 is the same value, but not the same text."""
    return Decimal(format(Decimal(str(value)), "f"))


def _given(row: Row, name: str, otherwise: Decimal) -> Decimal:
    value = row.get(name)
    return otherwise if value is None else _number(value)


def _price_limit_rate(row: Row, otherwise: Decimal) -> Decimal:
    """Return how far from the mark an order may be priced, as buyLimit and markPrice tell it."""
    mark, limit = row.get("markPrice"), row.get("buyLimit")
    if not mark or not limit:
        return otherwise
    rate = round(_number(limit) / _number(mark) - 1, 2)
    return rate if Decimal("0.01") <= rate <= 1 else otherwise
