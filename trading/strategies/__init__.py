"""Strategies: one file each, named in config.yaml; docs/STRATEGIES.md shows how to add one.

A strategy is one pure function from candles to a signed score per bar. The live scanner reads the
last closed bar of it and the backtest every bar, so the two cannot disagree.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from trading import indicators
from trading.candles import Candles, Floats
from trading.errors import ConfigError
from trading.facts import Side

ATR_PERIOD = 14


class Strategy(Protocol):
    """What a file in this folder defines as its class `Strategy`: a frozen dataclass of parameters."""

    @property
    def min_candles(self) -> int:
        """How many candles the first meaningful score needs."""

    def score(self, candles: Candles) -> Floats:
        """Return a score in −1..1 for each bar, from that bar and earlier ones alone; + is long.

        NaN, or 0, where there is no opinion.
        """

    def reasons(self, candles: Candles, index: int) -> tuple[str, ...]:
        """Return in words why the bar at *index* scored as it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A strategy's opinion on one bar."""

    score: float               # −1..1
    side: Side
    atr: float                 # quote currency
    reasons: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Return the names of the strategies there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str, params: Mapping[str, Any] | None = None) -> Strategy:
    """Return the strategy *name* with *params* in place of its defaults.

    Raises:
        ConfigError: no such strategy, or a parameter it does not have.
    """
    if name not in names():
        raise ConfigError(f"scanner.strategy: there is no strategy {name}; there are {', '.join(names())}")
    made = import_module(f"{__name__}.{name}").Strategy
    known = {field.name for field in fields(made)}
    unknown = sorted(set(params or {}) - known)
    if unknown:
        raise ConfigError(
            f"scanner.params: {name} has no {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )
    try:
        strategy: Strategy = made(**(params or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scanner.params: {name} refuses them: {error}") from error
    return strategy


def signal_at(strategy: Strategy, candles: Candles, index: int = -1) -> Signal | None:
    """Return the opinion on one bar, by default the last; None without one or without enough candles."""
    if len(candles) < max(strategy.min_candles, ATR_PERIOD + 1):
        return None
    score = float(strategy.score(candles)[index])
    atr = float(indicators.atr(candles, ATR_PERIOD)[index])
    if not np.isfinite(score) or not score or not np.isfinite(atr) or atr <= 0:
        return None
    return Signal(
        score=score,
        side=Side.LONG if score > 0 else Side.SHORT,
        atr=atr,
        reasons=strategy.reasons(candles, index),
    )


def clipped(score: Floats) -> Floats:
    """Return *score* within −1..1, 0 where it is not a number."""
    return np.clip(np.nan_to_num(score, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)
