"""Candles: closed ones alone, no holes, no nonsense, and by the exchange's time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kucoin import parse
from tests.client.clients import BTC, a_client, listing
from tests.client.scripted_server import always, envelope, scripted_server
from tests.manual_clock import ManualClock
from trading import errors

M = 60_000
NOW_MS = 1_700_000_000_000 // M * M + 30_000      # in the middle of a minute
END_MS = NOW_MS - 30_000                          # the still open candle began here


def candle(minute: int, close: float, volume: float = 5) -> list[float]:
    """The candle that opened *minute* minutes before the open one."""
    return [END_MS - minute * M, close - 1, close + 2, close - 2, close, volume, 1000]


def read(rows: Any, limit: int = 5) -> Any:
    return parse.candles_of(rows, BTC, "1m", END_MS - limit * M, END_MS)


def test_holes_are_filled_with_the_previous_close() -> None:
    """Minutes without a trade have no candle: the close before, no volume; at the end too."""
    candles = read([candle(5, 100), candle(4, 110), candle(2, 120)])
    assert candles.open_ms.tolist() == [END_MS - minute * M for minute in (5, 4, 3, 2, 1)]
    assert candles.close.tolist() == [100, 110, 110, 120, 120]
    assert candles.open.tolist() == [99, 109, 110, 119, 120]
    assert candles.high.tolist() == [102, 112, 110, 122, 120]
    assert candles.low.tolist() == [98, 108, 110, 118, 120]
    assert candles.volume.tolist() == [5, 5, 0, 5, 0]
    assert {column.dtype for column in (candles.open, candles.volume)} == {np.dtype(np.float64)}


def test_only_closed_candles_of_the_asked_span() -> None:
    """The open candle, one of before and one of the year 1970 are left out, in whatever order they come."""
    candles = read([candle(0, 999), candle(1, 105), candle(3, 103), candle(9, 1), [0, 1, 1, 1, 1, 1, 1]])
    assert candles.close.tolist() == [103, 103, 105]


def test_a_candle_said_twice_counts_once() -> None:
    """The later one of two that opened at the same moment is the one."""
    assert read([candle(1, 105), candle(1, 106)]).close.tolist() == [106]


def test_strings_are_numbers_too() -> None:
    """Spot sends strings where futures sends numbers."""
    assert read([[str(field) for field in candle(1, 105)]]).close.tolist() == [105]


@pytest.mark.parametrize("rows", [
    [], None, {}, "html", [candle(0, 1)], [[1, 2]], [candle(1, 100), [1, 2]], [[None] * 7],
    [[END_MS - M, 0, 0, 0, 0, 0, 0]], [[END_MS - M, 1, float("inf"), 1, 1, 1, 1]],
    [[END_MS - M, 5, 4, 6, 5, 1, 1]], [[END_MS - M + 1, 5, 6, 4, 5, 1, 1]], [["x"] * 7],
])
def test_candles_that_cannot_be(rows: Any) -> None:
    """No array is ever empty or nonsense: it is an answer that cannot be read."""
    with pytest.raises(errors.BadResponse):
        read(rows)


def test_candles_are_asked_by_the_exchanges_time() -> None:
    """Our clock is 40 s ahead: the minute we think has closed has not."""
    clock = ManualClock(NOW_MS + 40_000)
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/timestamp": envelope(NOW_MS),
            "/api/v1/kline/query": envelope([candle(2, 100), candle(1, 101)]),
        })
        with a_client(script.url, clock=clock) as client:
            assert client.measure_clock_offset() == 40_000
            assert client.fetch_candles(BTC, "1m", 2).close.tolist() == [100, 101]
            with pytest.raises(errors.UnknownInstrument):
                client.fetch_candles("NO/USDT:USDT", "1m", 2)
        query = script.asked[-1].path.partition("?")[2]
    assert query == f"symbol=XBTUSDTM&granularity=1&from={END_MS - 2 * M}&to={END_MS - 1}"
