"""A strategy tried on made-up candles: its faults show when RAD starts, not when a signal is due."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trading.candles import Candles

if TYPE_CHECKING:
    from trading.strategies import Strategy

LEAST = 240                # candles, more if the strategy asks for more
MINUTE_MS = 60_000


class Unfit(ValueError):
    """What a strategy does that it may not, in words."""


def rehearse(strategy: Strategy) -> None:
    """Run *strategy* on candles that rise, fall and stand still.

    Raises:
        Unfit: its scores are not one number per candle, or know the future.
        Exception: whatever the strategy itself raises.
    """
    candles = made_up(max(LEAST, strategy.min_candles + 60))
    scores = _checked(strategy.score(candles), len(candles))
    for count in (max(strategy.min_candles, 1), len(candles) - 30, len(candles) - 1):
        earlier = _checked(strategy.score(_first(candles, count)), count)
        # TA-Lib's running sums are the same for the same past, to the last bit or nearly so.
        if not np.allclose(earlier, scores[:count], rtol=0, atol=1e-9, equal_nan=True):
            raise Unfit("the score of a candle changes with later ones: it knows the future")
    reasons = strategy.reasons(candles, -1)
    if not isinstance(reasons, tuple) or not all(isinstance(reason, str) for reason in reasons):
        raise Unfit("its reasons are not a tuple of texts")


def made_up(count: int) -> Candles:
    """Return candles with a trend, swings and a quiet stretch; always the same for one *count*."""
    steps = np.arange(count, dtype=np.float64)
    swings = 0.03 * np.sin(steps / 23) + 0.01 * np.sin(steps / 5) + 0.004 * np.sin(steps * 1.7)
    close = 100 * np.exp(0.0003 * steps + swings * (np.arange(count) % 60 < 50))
    opened = np.concatenate((close[:1], close[:-1]))
    return Candles(
        symbol="REHEARSAL/USDT:USDT",
        timeframe="1m",
        open_ms=np.arange(count, dtype=np.int64) * MINUTE_MS,
        open=opened,
        high=np.maximum(opened, close) * 1.001,
        low=np.minimum(opened, close) * 0.999,
        close=close,
        volume=100 + 80 * np.sin(steps / 3),
    )


def _checked(scores: object, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if not isinstance(scores, np.ndarray) or scores.shape != (count,) or scores.dtype.kind != "f":
        raise Unfit(f"its score of {count} candles is not an array of {count} floats")
    if np.nanmax(np.abs(scores), initial=0.0) > 1:
        raise Unfit("its score leaves the range from -1 to 1")
    return scores


def _first(candles: Candles, count: int) -> Candles:
    columns = ("open_ms", "open", "high", "low", "close", "volume")
    return replace(candles, **{column: getattr(candles, column)[:count] for column in columns})
