"""Which instruments are worth scanning: a filter over one all-tickers answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from trading.facts import Instrument, Ticker


@dataclass(frozen=True, slots=True, kw_only=True)
class UniverseRules:
    """None switches a rule off; patterns (`*`, `?`) match symbol, KuCoin's id or base currency."""

    quote: str = "USDT"
    min_volume_24h: Decimal = Decimal(0)      # quote currency
    max_spread: Decimal | None = None         # a fraction
    max_pairs: int | None = None
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    min_age_ms: int = 0


def select(
    instruments: Mapping[str, Instrument], tickers: Mapping[str, Ticker], rules: UniverseRules, now_ms: int
) -> tuple[str, ...]:
    """Return the symbols that pass every rule, most liquid first."""
    passed = [
        ticker
        for symbol, ticker in tickers.items()
        if symbol in instruments and _passes(instruments[symbol], ticker, rules, now_ms)
    ]
    passed.sort(key=lambda ticker: (-ticker.volume_24h, ticker.symbol))
    return tuple(ticker.symbol for ticker in passed[: rules.max_pairs])


def _passes(instrument: Instrument, ticker: Ticker, rules: UniverseRules, now_ms: int) -> bool:
    return (
        instrument.tradable
        and instrument.quote == rules.quote
        and ticker.volume_24h >= rules.min_volume_24h
        and (rules.max_spread is None or ticker.spread <= rules.max_spread)
        and now_ms - instrument.first_open_ms >= rules.min_age_ms
        and _matches(instrument, rules.include)
        and not _matches(instrument, rules.exclude)
    )


def _matches(instrument: Instrument, patterns: tuple[str, ...]) -> bool:
    names = (instrument.symbol, instrument.exchange_id, instrument.base)
    return any(fnmatchcase(name.upper(), pattern.upper()) for pattern in patterns for name in names)
