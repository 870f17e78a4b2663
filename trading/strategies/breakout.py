"""Go with a close beyond the range of the bars before it, if volume came along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading import indicators
from trading.candles import Candles, Floats
from trading.strategies import clipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Donchian channel, measured in ATR, confirmed by volume."""

    period: int = 20
    atr_period: int = 14
    volume_period: int = 20
    least_volume: float = 1.0    # times its average

    def __post_init__(self) -> None:
        if self.period < 2:
            raise ValueError("period must be at least 2")

    @property
    def min_candles(self) -> int:
        return max(self.period, self.atr_period, self.volume_period) + 2

    def score(self, candles: Candles) -> Floats:
        atr = indicators.atr(candles, self.atr_period)
        top = indicators.highest_before(candles.high, self.period)
        bottom = indicators.lowest_before(candles.low, self.period)
        with np.errstate(divide="ignore", invalid="ignore"):
            above = (candles.close - top) / atr
            below = (bottom - candles.close) / atr
        beyond = np.where(above > 0, np.tanh(0.5 + above), np.where(below > 0, -np.tanh(0.5 + below), 0.0))
        volume = indicators.volume_ratio(candles.volume, self.volume_period)
        return clipped(np.where(volume >= self.least_volume, beyond, 0.0))

    def reasons(self, candles: Candles, index: int) -> tuple[str, ...]:
        top = indicators.highest_before(candles.high, self.period)[index]
        bottom = indicators.lowest_before(candles.low, self.period)[index]
        volume = indicators.volume_ratio(candles.volume, self.volume_period)[index]
        close = candles.close[index]
        if close > top:
            where = f"close {(close / top - 1) * 100:.2f}% above the high of {self.period} candles"
        elif close < bottom:
            where = f"close {(1 - close / bottom) * 100:.2f}% below the low of {self.period} candles"
        else:
            where = f"close within the range of {self.period} candles"
        return (where, f"volume {volume:.1f} times its average")
