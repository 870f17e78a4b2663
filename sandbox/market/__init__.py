"""Where the sandbox exchange's prices come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.market.scripted import ScriptedMarket
from sandbox.market.source import MarketSource


def make_market(kind: str, **wishes: Any) -> ScriptedMarket:
    """Return a market of *kind* (synthetic, replay, relay) under the overlay of `ScriptedMarket`.

    *wishes* are the arguments of `SyntheticMarket`, `ReplayMarket` or `RelayMarket`.

    Raises:
        ValueError: there is no such kind.
    """
    # Each kind is imported when it is wanted: a relay needs aiohttp's client, the others numpy.
    source: MarketSource
    if kind == "synthetic":
        from sandbox.market.synthetic import SyntheticMarket

        source = SyntheticMarket(**wishes)
    elif kind == "replay":
        from sandbox.market.replay import ReplayMarket

        source = ReplayMarket(Path(wishes.pop("folder")), **wishes)
    elif kind == "relay":
        from sandbox.market.relay import RelayMarket

        source = RelayMarket(**wishes)
    else:
        raise ValueError(f"no market {kind!r}; there are synthetic, replay, relay")
    return ScriptedMarket(source)
