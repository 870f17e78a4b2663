"""Which pairs are scanned."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import NOW_MS, D, a_ticker, an_instrument
from trading.facts import Instrument, Ticker
from trading.universe import UniverseRules, select

DAY_MS = 86_400_000
VOLUMES = {"BTC": 900, "ETH": 500, "SOL": 300, "DOGE": 100}


def a_market(**of_doge: Any) -> tuple[dict[str, Instrument], dict[str, Ticker]]:
    """Four pairs; *of_doge* changes the instrument or the ticker of the last."""
    instruments, tickers = {}, {}
    for base, volume in VOLUMES.items():
        symbol = f"{base}/USDT:USDT"
        special = of_doge if base == "DOGE" else {}
        ticker_fields = {name: special[name] for name in ("bid", "ask", "volume_24h") if name in special}
        instrument_fields = {name: value for name, value in special.items() if name not in ticker_fields}
        exchange_id = "XBTUSDTM" if base == "BTC" else f"{base}USDTM"
        instruments[symbol] = an_instrument(symbol, **{"exchange_id": exchange_id, **instrument_fields})
        tickers[symbol] = a_ticker(**{"symbol": symbol, "volume_24h": D(volume), **ticker_fields})
    return instruments, tickers


def selected(rules: UniverseRules, **of_doge: Any) -> list[str]:
    """The bases that pass, in order."""
    return [symbol.split("/")[0] for symbol in select(*a_market(**of_doge), rules, NOW_MS)]


def test_the_most_liquid_come_first() -> None:
    """By turnover; equal ones by name, so that two scans agree."""
    assert selected(UniverseRules()) == ["BTC", "ETH", "SOL", "DOGE"]
    assert selected(UniverseRules(), volume_24h=D(500)) == ["BTC", "DOGE", "ETH", "SOL"]
    assert selected(UniverseRules(max_pairs=2)) == ["BTC", "ETH"]


@pytest.mark.parametrize(("rules", "of_doge", "passes"), [
    ({"min_volume_24h": D(100)}, {}, True),
    ({"min_volume_24h": D(101)}, {}, False),
    ({"max_spread": D("0.02")}, {"bid": D(99), "ask": D(101)}, True),          # 2 / 100
    ({"max_spread": D("0.019")}, {"bid": D(99), "ask": D(101)}, False),
    ({"min_age_ms": DAY_MS}, {"first_open_ms": NOW_MS - DAY_MS}, True),
    ({"min_age_ms": DAY_MS}, {"first_open_ms": NOW_MS - DAY_MS + 1}, False),
    ({"min_age_ms": DAY_MS}, {"first_open_ms": 0}, True),                      # unknown is old
    ({}, {"tradable": False}, False),
    ({}, {"quote": "USDC"}, False),
])
def test_each_rule_lets_through_or_not(rules: dict[str, Any], of_doge: dict[str, Any], passes: bool) -> None:
    """Both sides of every limit."""
    assert ("DOGE" in selected(UniverseRules(**rules), **of_doge)) is passes


@pytest.mark.parametrize(("include", "exclude", "bases"), [
    (("BTC", "ETH"), (), ["BTC", "ETH"]),                  # the base
    (("XBTUSDTM",), (), ["BTC"]),                          # KuCoin's id
    (("btc/usdt:usdt",), (), ["BTC"]),                     # our symbol, in any case
    (("*O*",), (), ["SOL", "DOGE"]),
    (("*",), ("D*", "S?L"), ["BTC", "ETH"]),
    (("DOGE",), ("DOGE",), []),                            # excluding wins
    ((), (), []),
])
def test_names_and_wildcards(include: tuple[str, ...], exclude: tuple[str, ...], bases: list[str]) -> None:
    """They match symbol, exchange id or base; nothing matches only a part of a name."""
    assert selected(UniverseRules(include=include, exclude=exclude)) == bases


def test_a_ticker_without_an_instrument_is_passed_over() -> None:
    """A pair that was listed a moment ago is not known yet."""
    instruments, tickers = a_market()
    del instruments["BTC/USDT:USDT"]
    assert select(instruments, tickers, UniverseRules(max_pairs=1), NOW_MS) == ("ETH/USDT:USDT",)
