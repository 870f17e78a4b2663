"""Facts with everything filled in; a test overrides what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from trading.candles import Candles
from trading.exits import Distance, ExitRules
from trading.facts import ExitReason, Instrument, Position, Price, Side, Ticker
from trading.lifecycle import PositionState
from trading.risk import AccountState, EntryRequest, RiskRules
from trading.timeframes import TIMEFRAME_MINUTES

D = Decimal
SYMBOL = "BTC/USDT:USDT"
NOW_MS = 1_700_000_000_000


def an_instrument(symbol: str = SYMBOL, **overrides: Any) -> Instrument:
    """A contract of 0.01 base a lot with a tick of 0.1 and a taker fee of 0.06 %."""
    base, _, rest = symbol.partition("/")
    instrument = Instrument(
        symbol=symbol, exchange_id=f"{base}USDTM", base=base, quote=rest.partition(":")[0] or "USDT",
        multiplier=D("0.01"), lot_size=D(1), tick_size=D("0.1"), min_quantity=D(1), max_quantity=D(1_000_000),
        max_leverage=D(100), taker_fee_rate=D("0.0006"),
    )
    return replace(instrument, **overrides)


def a_position(side: Side = Side.LONG, entry: Decimal | int = 100, **overrides: Any) -> Position:
    """Ten lots entered at *entry* with a stop two away and an ATR of one."""
    entry = D(entry)
    stop = D(overrides.pop("stop", entry - 2 * side.sign))
    fields: dict[str, Any] = {
        "position_id": "p1", "symbol": SYMBOL, "side": side, "state": PositionState.OPEN,
        "quantity": D(10), "initial_quantity": D(10), "multiplier": D("0.01"), "entry_price": entry,
        "initial_stop_price": stop, "stop_price": stop, "stop_reason": ExitReason.STOP_LOSS,
        "best_price": entry, "atr": D(1), "opened_ms": NOW_MS,
    }
    return Position(**{**fields, **overrides})


def a_price(bid: Decimal | int | str, ask: Decimal | int | str | None = None, **overrides: Any) -> Price:
    """A price seen just now; without an *ask* both sides are the same."""
    bid = D(bid)
    ask = bid if ask is None else D(ask)
    middle = (bid + ask) / 2
    price = Price(symbol=SYMBOL, bid=bid, ask=ask, last=middle, mark=middle, ts_ms=NOW_MS, received=0.0)
    return replace(price, **overrides)


def a_ticker(bid: Decimal | int | str = 100, ask: Decimal | int | str | None = None, **overrides: Any) -> Ticker:
    """A line of the all-tickers answer of just now; without an *ask* there is no spread."""
    bid = D(bid)
    ask = bid if ask is None else D(ask)
    middle = (bid + ask) / 2
    ticker = Ticker(
        symbol=SYMBOL, bid=bid, ask=ask, last=middle, mark=middle, volume_24h=D(1_000_000), ts_ms=NOW_MS
    )
    return replace(ticker, **overrides)


def exit_rules(**overrides: Any) -> ExitRules:
    """A stop at 2 % and nothing else."""
    return replace(ExitRules(stop_loss=Distance(fraction=D("0.02"))), **overrides)


def risk_rules(**overrides: Any) -> RiskRules:
    """1 % of the equity at risk, leverage 5, no slippage and no other limit."""
    rules = RiskRules(risk_per_trade=D("0.01"), leverage=D(5), max_open=10, max_slippage=D(0))
    return replace(rules, **overrides)


def an_account(**overrides: Any) -> AccountState:
    """10,000 USDT, all available, nothing lost yet."""
    return replace(AccountState(equity=D(10_000), available=D(10_000)), **overrides)


def an_entry(side: Side = Side.LONG, **overrides: Any) -> EntryRequest:
    """A wish to open at 100 with a stop two away, on a contract without fees."""
    request = EntryRequest(
        instrument=an_instrument(taker_fee_rate=D(0)), side=side, price=a_ticker(), atr=D(1),
        stop_price=D(100) - 2 * side.sign, strategy="test", reasons=("because",),
    )
    return replace(request, **overrides)


def candles_from(
    closes: Sequence[float], *, volume: Sequence[float] | float = 100.0, wick: float = 0.0005,
    symbol: str = SYMBOL, timeframe: str = "1m", until_ms: int = NOW_MS,
) -> Candles:
    """Candles with these closes: each opens at the close before it, with wicks of a fraction *wick*."""
    close = np.asarray(closes, dtype=np.float64)
    opens = np.concatenate((close[:1], close[:-1]))
    interval_ms = TIMEFRAME_MINUTES[timeframe] * 60_000
    last_open_ms = until_ms // interval_ms * interval_ms - interval_ms
    return Candles(
        symbol=symbol, timeframe=timeframe,
        open_ms=last_open_ms - interval_ms * np.arange(len(close) - 1, -1, -1, dtype=np.int64),
        open=opens, high=np.maximum(opens, close) * (1 + wick), low=np.minimum(opens, close) * (1 - wick),
        close=close, volume=np.broadcast_to(np.asarray(volume, dtype=np.float64), close.shape).copy(),
    )


def first(candles: Candles, count: int) -> Candles:
    """The first *count* of *candles*: the same market seen earlier."""
    columns = ("open_ms", "open", "high", "low", "close", "volume")
    return replace(candles, **{name: getattr(candles, name)[:count] for name in columns})
