"""Candles joined from two answers: no hole, no doubles, the newer answer believed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW_MS, candles_from
from trading.candles import Candles, joined
from trading.timeframes import TIMEFRAME_MINUTES

MINUTE_MS = 60_000
COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")


def minutes(first: int, count: int, price: float = 100.0) -> Candles:
    """*count* candles from minute *first* on, whose closes say which minute it is and who said so."""
    return candles_from([price + minute for minute in range(first, first + count)],
                        until_ms=(first + count) * MINUTE_MS)


def test_candles_know_their_times() -> None:
    """Two minutes of which the last began at 1: the next one, begun at 2, is over at 3."""
    candles = minutes(0, 2)
    assert candles.open_ms.tolist() == [0, MINUTE_MS]
    assert candles.next_close_ms == 3 * MINUTE_MS
    assert len(candles) == 2
    day = candles_from([1.0], timeframe="1d", until_ms=NOW_MS)
    assert day.interval_ms == TIMEFRAME_MINUTES["1d"] * MINUTE_MS == 86_400_000


def test_where_both_speak_the_newer_is_believed() -> None:
    """Minutes 0 to 5 and 3 to 7, told at other prices: three old ones, five new ones."""
    both = joined(minutes(0, 6), minutes(3, 5, price=500.0), limit=100)
    assert both is not None
    assert both.close.tolist() == [100, 101, 102, 503, 504, 505, 506, 507]
    assert (both.open_ms // MINUTE_MS).tolist() == list(range(8))


def test_a_neighbour_is_joined_and_a_hole_is_not() -> None:
    """Minute 6 follows on 0 to 5; minute 7 leaves one out; minute −1 begins before what is known."""
    older = minutes(10, 6)
    assert joined(older, minutes(16, 2), limit=100) is not None
    assert joined(older, minutes(17, 2), limit=100) is None
    assert joined(older, minutes(9, 9), limit=100) is None
    assert joined(older, minutes(16, 0), limit=100) is None


def part(whole: Candles, begin: int, end: int) -> Candles:
    """What an answer for some of the minutes would hold."""
    return replace(whole, **{column: getattr(whole, column)[begin:end] for column in COLUMNS})


@given(have=st.integers(1, 30), start=st.integers(0, 35), more=st.integers(0, 30), limit=st.integers(1, 50))
def test_joining_is_like_having_asked_for_all(have: int, start: int, more: int, limit: int) -> None:
    """The result is, in every column, what one long answer would have held, cut to the limit; or nothing."""
    whole, end = minutes(0, 70), start + more
    both = joined(part(whole, 0, have), part(whole, start, end), limit)
    assert (both is None) == (not more or start > have)
    if both is not None:
        for column in COLUMNS:
            assert getattr(both, column).tolist() == getattr(whole, column)[max(0, end - limit):end].tolist()
