"""Bet on the way back from an extreme, in a market without a trend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading import indicators
from trading.candles import Candles, Floats
from trading.strategies import clipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Bollinger bands and RSI agree on an extreme, and ADX sees no trend."""

    period: int = 20
    deviations: float = 2.0
    rsi_period: int = 14
    adx_period: int = 14
    strongest_trend: float = 30.0    # ADX above which nothing reverts

    def __post_init__(self) -> None:
        if self.period < 2 or self.deviations <= 0:
            raise ValueError("period must be at least 2 and deviations above 0")

    @property
    def min_candles(self) -> int:
        return max(self.period, self.rsi_period, self.adx_period * 2) + 1

    def score(self, candles: Candles) -> Floats:
        place = indicators.bollinger_position(candles.close, self.period, self.deviations)
        rsi = indicators.rsi(candles.close, self.rsi_period)
        calm = 1 - indicators.adx(candles, self.adx_period) / self.strongest_trend
        stretched = np.sign(place) * np.maximum(np.abs(place) - 0.5, 0.0)      # nothing in the middle
        agrees = np.sign(place) == np.sign(rsi - 50)
        return clipped(np.where(agrees, -(stretched + (rsi - 50) / 50) * np.clip(calm, 0.0, 1.0) * 1.5, 0.0))

    def reasons(self, candles: Candles, index: int) -> tuple[str, ...]:
        place = indicators.bollinger_position(candles.close, self.period, self.deviations)[index]
        rsi = indicators.rsi(candles.close, self.rsi_period)[index]
        adx = indicators.adx(candles, self.adx_period)[index]
        band = "upper" if place > 0 else "lower"
        return (
            f"{abs(place) * 100:.0f}% of the way to the {band} Bollinger band",
            f"RSI {rsi:.0f}",
            f"no strong trend, ADX {adx:.0f}",
        )
