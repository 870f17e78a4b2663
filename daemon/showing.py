"""What the daemon shows of the past: the equity curve, and one market's candles with what was done in it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from control import views
from daemon.house import House
from runtime.journal_schema import EquityStretch
from trading.candles import Candles
from trading.facts import ZERO

JsonObject = dict[str, Any]

MOST_MARKS = 200             # trades of one market beside its candles


def equity(house: House, since_ms: int, points: int) -> JsonObject:
    """Return the equity curve in at most *points* stretches; drawdown from the highest until then."""
    peak = house.journal.highest_equity(since_ms) or ZERO
    shown = []
    for stretch in house.journal.equity_stretches(since_ms, points):
        shown.append(_stretch(stretch, peak))
        peak = max(peak, stretch.highest)
    return {"points": shown}


def _stretch(stretch: EquityStretch, peak: Decimal) -> JsonObject:
    # Whether the lowest came before or after the highest within it is not known: it is measured from
    # the peak before, the last from whatever is higher.
    fall = ZERO if not peak else 1 - stretch.lowest / peak
    highest = max(peak, stretch.highest)
    fall = max(fall, ZERO if not highest else 1 - stretch.last / highest)
    return {
        "at": views.moment(stretch.at_ms), "equity": views.amount(stretch.last),
        "lowest": views.amount(stretch.lowest), "drawdown": views.ratio(fall),
    }


def chart(house: House, symbol: str) -> JsonObject:
    """Return one market's candles as columns, its position, and its trades since the first candle.

    Raises:
        UnknownInstrument: there is no such market.
    """
    symbol = house.client.instrument(symbol).symbol
    candles = house.scanner.candles_of(symbol)
    position = house.manager.find(symbol)
    price = house.prices.get(symbol)
    since_ms = 0 if candles is None else int(candles.open_ms[0])
    trades = house.journal.trades(MOST_MARKS, symbol=symbol, since_ms=since_ms)
    return {
        "symbol": symbol,
        "timeframe": house.settings.scanner.timeframe,
        **_columns(candles),
        "position": None if position is None else views.held_view(position, price, house.clock.monotonic()),
        "trades": [views.trade_view(trade) for trade in trades],
    }


def _columns(candles: Candles | None) -> JsonObject:
    """Return the candles as one list per column: what a chart takes, and numbers, as they are no money of ours."""
    if candles is None:
        return {name: [] for name in ("at", "open", "high", "low", "close", "volume")}
    return {
        "at": [views.moment(int(at_ms)) for at_ms in candles.open_ms],
        "open": candles.open.tolist(), "high": candles.high.tolist(), "low": candles.low.tolist(),
        "close": candles.close.tolist(), "volume": candles.volume.tolist(),
    }
