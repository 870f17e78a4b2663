"""Strategies: one file each, named in config.yaml; docs/STRATEGIES.md shows how to add one.

A strategy is one pure function from candles to a signed score per bar. The live scanner reads the
last closed bar of it and the backtest every bar, so the two cannot disagree.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, Protocol, get_type_hints

import numpy as np

from trading import indicators
from trading.candles import Candles, Floats
from trading.errors import ConfigError
from trading.facts import Side
from trading.rehearsal import rehearse

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
    """Return the names of the strategies there are: the files in this folder without a leading underscore."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(name: str, params: Mapping[str, Any] | None = None, *, candles: int | None = None) -> Strategy:
    """Return the strategy *name* with *params* in place of its defaults, once it has been tried out.

    *candles* is how many it will be given.

    Raises:
        ConfigError: no such strategy, a fault in its file, or a parameter it does not have or bear.
    """
    if name not in names():
        raise ConfigError(f"scanner.strategy: there is no strategy {name}; there are {', '.join(names())}")
    kind = _class_of(name)
    params = _fitting(name, kind, params or {})
    try:
        strategy: Strategy = kind(**params)
        needed = strategy.min_candles
        if candles is None or needed <= candles:
            rehearse(strategy)
    except Exception as error:  # a person's own code may raise anything
        where = "scanner.params" if params else "scanner.strategy"
        raise ConfigError(f"{where}: {name} does not work: {str(error) or repr(error)}") from error
    if candles is not None and needed > candles:
        raise ConfigError(f"scanner.candles: {name} needs {needed} of them, not {candles}")
    return strategy


def _fitting(name: str, kind: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return *params* in the types of the fields of *kind*; a whole number will do for a float."""
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(params) - known)
    if unknown:
        raise ConfigError(
            f"scanner.params: {name} has no {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )
    wanted = get_type_hints(kind)
    fitting = {}
    for key, value in params.items():
        if wanted[key] is float and type(value) is int:
            value = float(value)
        if wanted[key] in (int, float, str, bool) and type(value) is not wanted[key]:
            raise ConfigError(f"scanner.params: {name} wants {key} to be {wanted[key].__name__}, not {value!r}")
        fitting[key] = value
    return fitting


def _class_of(name: str) -> Any:
    """Return the class `Strategy` of the file *name*."""
    try:
        kind = getattr(import_module(f"{__name__}.{name}"), "Strategy", None)
    except Exception as error:  # a person's own file may hold anything
        raise ConfigError(f"scanner.strategy: {name}.py cannot be read: {error!r}") from error
    if not isinstance(kind, type) or not is_dataclass(kind):
        raise ConfigError(f"scanner.strategy: {name}.py defines no dataclass named Strategy")
    return kind


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
