"""Which market a sandbox gets, from its options; every known kind under the scripted overlay."""

from __future__ import annotations

import importlib
import time
from typing import Any, cast

from sandbox.books import SavedMarket, saved_market
from sandbox.market import make_market
from sandbox.market.scripted import ScriptedMarket
from sandbox.market.source import MarketSource
from sandbox.settings import SandboxOptions


class BadSource(Exception):
    """The options do not describe a market."""


def build_source(options: SandboxOptions) -> MarketSource:
    """Return the market *options* ask for: a known kind, or any MarketSource as `package.module:Class`.

    Saved books of the same market bring its prices (synthetic) or its beginning (replay) along.

    Raises:
        BadSource: something is missing or does not exist.
    """
    if ":" in options.source:
        return _named(options.source)
    saved = saved_market(options.state) if options.state else None
    if saved is not None and saved.identity != options.market_identity():
        saved = None
    options.anchor_ms = saved.anchor_ms if saved else time.time_ns() // 1_000_000
    try:
        return make_market(options.source, **_wishes(options, saved))
    except (ValueError, OSError, ImportError) as error:
        raise BadSource(str(error)) from error


def freeze(source: MarketSource) -> None:
    """Let a market stand still, if it is one that can."""
    if isinstance(source, ScriptedMarket):
        source.freeze(True)


def _wishes(options: SandboxOptions, saved: SavedMarket | None) -> dict[str, Any]:
    """Return what the market of this kind is built from."""
    if options.source == "replay":
        if options.replay is None:
            raise BadSource("a replay needs --replay DIR")
        return {
            "folder": options.replay, "start": options.replay_start,
            "granularity_min": options.granularity,
            "anchor_ms": options.anchor_ms,          # as if it had run on while nobody was there
        }
    if options.source == "relay":
        if not options.relay:
            raise BadSource("a relay needs --relay URL")
        return {"base_url": options.relay}
    return {
        "pairs": options.pairs, "seed": options.seed, "volatility": options.volatility,
        "start_ms": time.time_ns() // 1_000_000,     # a new path, from where the prices were
        "start_prices": saved.prices if saved else {},
    }


def _named(name: str) -> MarketSource:
    module, _, attribute = name.partition(":")
    try:
        return cast(MarketSource, getattr(importlib.import_module(module), attribute)())
    except (ImportError, AttributeError) as error:
        raise BadSource(f"{name}: {error}") from error
