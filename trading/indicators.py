"""Indicators on arrays: TA-Lib's, NaN where there is not enough before; a value uses no later bar."""

from __future__ import annotations

import numpy as np
import talib

from trading.candles import Candles, Floats


def ema(values: Floats, period: int) -> Floats:
    """Exponential moving average."""
    return _floats(talib.EMA(values, timeperiod=period))


def rsi(values: Floats, period: int) -> Floats:
    """Relative strength index, 0..100."""
    return _floats(talib.RSI(values, timeperiod=period))


def macd_histogram(values: Floats, fast: int, slow: int, signal: int) -> Floats:
    """MACD minus its signal line, in the unit of *values*."""
    return _floats(talib.MACD(values, fastperiod=fast, slowperiod=slow, signalperiod=signal)[2])


def atr(candles: Candles, period: int) -> Floats:
    """Average true range, in quote currency."""
    return _floats(talib.ATR(candles.high, candles.low, candles.close, timeperiod=period))


def adx(candles: Candles, period: int) -> Floats:
    """Average directional index, 0..100: the strength of a trend, whichever way."""
    return _floats(talib.ADX(candles.high, candles.low, candles.close, timeperiod=period))


def bollinger_position(values: Floats, period: int, deviations: float) -> Floats:
    """Where a value lies in its Bollinger bands: −1 at the lower, 0 in the middle, +1 at the upper."""
    upper, middle, _lower = talib.BBANDS(values, timeperiod=period, nbdevup=deviations, nbdevdn=deviations)
    half = upper - middle
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(half > 0, (values - middle) / half, np.where(np.isnan(half), np.nan, 0.0))


def highest_before(values: Floats, period: int) -> Floats:
    """The highest of the *period* bars before each, itself not among them."""
    return _shifted(_floats(talib.MAX(values, timeperiod=period)))


def lowest_before(values: Floats, period: int) -> Floats:
    """The lowest of the *period* bars before each, itself not among them."""
    return _shifted(_floats(talib.MIN(values, timeperiod=period)))


def volume_ratio(volume: Floats, period: int) -> Floats:
    """Volume over its moving average; 1 where nothing traded at all."""
    average = _floats(talib.SMA(volume, timeperiod=period))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(average > 0, volume / average, np.where(np.isnan(average), np.nan, 1.0))


def _shifted(values: Floats) -> Floats:
    shifted = np.full_like(values, np.nan)
    shifted[1:] = values[:-1]
    return shifted


def _floats(values: object) -> Floats:
    return np.asarray(values, dtype=np.float64)
