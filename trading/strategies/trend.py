"""Follow a trend that momentum and volume confirm, unless it has run too far already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading import indicators
from trading.candles import Candles, Floats
from trading.strategies import clipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """EMA trend, MACD, RSI, ATR and volume; long and short."""

    fast: int = 9
    slow: int = 21
    rsi_period: int = 14
    atr_period: int = 14
    volume_period: int = 20
    overbought: float = 80.0    # RSI above which a long comes too late; 100 minus it for shorts

    def __post_init__(self) -> None:
        if not 1 < self.fast < self.slow:
            raise ValueError("fast must be above 1 and below slow")

    @property
    def min_candles(self) -> int:
        return self.slow + 26 + 9

    def score(self, candles: Candles) -> Floats:
        close = candles.close
        atr = indicators.atr(candles, self.atr_period)
        with np.errstate(divide="ignore", invalid="ignore"):
            # All in units of ATR, so that a calm pair and a wild one are measured alike.
            apart = (indicators.ema(close, self.fast) - indicators.ema(close, self.slow)) / atr
            momentum = indicators.macd_histogram(close, 12, 26, 9) / atr
        rsi = indicators.rsi(close, self.rsi_period)
        direction = 0.5 * np.tanh(apart) + 0.3 * np.tanh(4 * momentum) + 0.2 * (rsi - 50) / 50
        volume = np.clip(indicators.volume_ratio(candles.volume, self.volume_period), 0.5, 1.5)
        agrees = np.sign(apart) == np.sign(momentum)
        too_late = ((direction > 0) & (rsi > self.overbought)) | ((direction < 0) & (rsi < 100 - self.overbought))
        return clipped(np.where(agrees & ~too_late, direction * (0.5 + 0.5 * volume), 0.0))

    def reasons(self, candles: Candles, index: int) -> tuple[str, ...]:
        close = candles.close
        fast = indicators.ema(close, self.fast)[index]
        slow = indicators.ema(close, self.slow)[index]
        histogram = indicators.macd_histogram(close, 12, 26, 9)[index]
        rsi = indicators.rsi(close, self.rsi_period)[index]
        volume = indicators.volume_ratio(candles.volume, self.volume_period)[index]
        side = "above" if fast > slow else "below"
        return (
            f"EMA {self.fast} {side} EMA {self.slow} by {abs(fast / slow - 1) * 100:.2f}%",
            f"MACD {'above' if histogram > 0 else 'below'} its signal",
            f"RSI {rsi:.0f}",
            f"volume {volume:.1f} times its average",
        )
