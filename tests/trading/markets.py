"""Made-up price paths: noise, trends and ranges, the same for the same seed."""

from __future__ import annotations

import numpy as np

from tests.builders import candles_from
from trading.candles import Candles

MINUTE_NOISE = 0.004       # standard deviation of one lively minute's return


def _path(returns: np.ndarray, rng: np.random.Generator) -> Candles:
    lively = 1 + 40 * np.abs(returns)                      # what moves is traded
    volume = 100 * lively * rng.lognormal(0.0, 0.3, len(returns))
    return candles_from(100 * np.exp(np.cumsum(returns)), volume=volume)


def noise(seed: int, count: int = 200) -> Candles:
    """A random walk."""
    rng = np.random.default_rng(seed)
    return _path(rng.normal(0.0, MINUTE_NOISE, count), rng)


def trending(seed: int, direction: int, count: int = 200) -> Candles:
    """A random walk, and for its last fifty minutes a drift of nearly half its noise."""
    rng = np.random.default_rng(seed)
    drift = np.where(np.arange(count) >= count - 50, 0.45 * MINUTE_NOISE * direction, 0.0)
    return _path(rng.normal(0.0, MINUTE_NOISE, count) + drift, rng)


def ranging(seed: int, count: int = 200) -> Candles:
    """A price that is pulled back to where it came from."""
    rng = np.random.default_rng(seed)
    shocks, log_price = rng.normal(0.0, MINUTE_NOISE, count), np.zeros(count)
    for n in range(1, count):
        log_price[n] = 0.8 * log_price[n - 1] + shocks[n]
    return _path(np.diff(log_price, prepend=0.0), rng)
