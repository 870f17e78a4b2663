"""Indicators by hand, and where there is not enough past."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.builders import candles_from, first
from tests.trading.markets import noise
from trading import indicators
from trading.candles import Candles, Floats

EVERY: dict[str, Callable[[Candles], Floats]] = {
    "ema": lambda c: indicators.ema(c.close, 9),
    "rsi": lambda c: indicators.rsi(c.close, 14),
    "macd": lambda c: indicators.macd_histogram(c.close, 12, 26, 9),
    "atr": lambda c: indicators.atr(c, 14),
    "adx": lambda c: indicators.adx(c, 14),
    "bollinger": lambda c: indicators.bollinger_position(c.close, 20, 2.0),
    "highest": lambda c: indicators.highest_before(c.high, 20),
    "lowest": lambda c: indicators.lowest_before(c.low, 20),
    "volume": lambda c: indicators.volume_ratio(c.volume, 20),
}


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def test_ema_by_hand() -> None:
    """Period 3 starts at the mean of three and then takes half of each new value."""
    found = indicators.ema(array(1, 2, 3, 5, 9), 3)
    assert np.isnan(found[:2]).all()
    assert found[2:].tolist() == [2.0, 3.5, 6.25]          # mean(1,2,3); (2+5)/2; (3.5+9)/2


def test_rsi_by_hand() -> None:
    """Ups of 3 against downs of 1 in the period: 75."""
    assert indicators.rsi(array(10, 12, 11, 12), 3)[-1] == pytest.approx(75.0)      # 100 × 3 / (3 + 1)
    assert indicators.rsi(array(1, 2, 3, 4), 3)[-1] == 100.0


def test_atr_by_hand() -> None:
    """Highs one above and lows one below a flat close: two."""
    candles = candles_from([100.0] * 30, wick=0.01)
    assert indicators.atr(candles, 14)[-1] == pytest.approx(2.0)        # 101 − 99


def test_bollinger_position_by_hand() -> None:
    """Four values of 0 and one of 5: mean 1, deviation 2, so the last is two deviations up."""
    values = array(0, 0, 0, 0, 5) + 100
    assert indicators.bollinger_position(values, 5, 2.0)[-1] == pytest.approx(1.0)    # (5 − 1) / (2 × 2)
    assert indicators.bollinger_position(np.full(30, 7.7), 5, 2.0)[-1] == 0.0         # flat: in the middle


def test_the_channel_leaves_out_the_bar_itself() -> None:
    """A new high is compared with the bars before it."""
    values = array(1, 5, 2, 9, 3)
    assert indicators.highest_before(values, 2)[2:].tolist() == [5.0, 5.0, 9.0]
    assert indicators.lowest_before(values, 2)[2:].tolist() == [1.0, 2.0, 2.0]


def test_volume_ratio_by_hand() -> None:
    """Twice the average is twice the average, and no trade at all is ordinary."""
    assert indicators.volume_ratio(array(1, 1, 4), 3)[-1] == 2.0
    assert indicators.volume_ratio(np.zeros(5), 3)[-1] == 1.0


@pytest.mark.parametrize("name", EVERY)
def test_without_enough_past_there_is_no_number(name: str) -> None:
    """NaN at first, a number at the end, one per bar; too few bars are NaN alone, and none are none."""
    found = EVERY[name](noise(1))
    assert found.shape == (200,)
    assert found.dtype == np.float64
    assert np.isnan(found[0])
    assert np.isfinite(found[60:]).all()
    assert np.isnan(EVERY[name](first(noise(1), 2))).all()
    assert EVERY[name](first(noise(1), 0)).shape == (0,)


@pytest.mark.parametrize("name", EVERY)
def test_no_indicator_knows_the_future(name: str) -> None:
    """Cutting off what came later changes nothing before."""
    candles = noise(2)
    whole = EVERY[name](candles)
    for count in (30, 100, 199):
        np.testing.assert_allclose(EVERY[name](first(candles, count)), whole[:count], rtol=1e-12)
