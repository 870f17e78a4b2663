"""Which market a sandbox gets, from its options; every one under the scripted overlay."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, cast

from sandbox.books import SavedMarket, saved_market
from sandbox.market.source import MarketSource
from sandbox.settings import SandboxOptions


class BadSource(Exception):
    """The options do not describe a market."""


def build_source(options: SandboxOptions) -> MarketSource:
    """Return the market *options* ask for: a known kind, or any MarketSource as `package.module:Class`.

    Raises:
        BadSource: something is missing or does not exist.
    """
    if ":" in options.source:
        return cast(MarketSource, _load(options.source)())
    build = {"synthetic": _synthetic, "replay": _replay, "relay": _relay}.get(options.source)
    if build is None:
        raise BadSource(f"no market {options.source!r}; there are synthetic, replay, relay, module:Class")
    saved = saved_market(options.state) if options.state else None
    if saved is not None and saved.identity != options.market_identity():
        saved = None
    options.anchor_ms = saved.anchor_ms if saved else time.time_ns() // 1_000_000
    try:
        return cast(MarketSource, _load("sandbox.market.scripted:ScriptedMarket")(build(options, saved)))
    except (ValueError, OSError) as error:
        raise BadSource(str(error)) from error


def _synthetic(options: SandboxOptions, saved: SavedMarket | None) -> Any:
    """A new path from the saved prices: it depends on the time since the start, which is now."""
    return _load("sandbox.market.synthetic:SyntheticMarket")(
        pairs=options.pairs, seed=options.seed, volatility=options.volatility,
        start_ms=time.time_ns() // 1_000_000, start_prices=saved.prices if saved else {},
    )


def _replay(options: SandboxOptions, saved: SavedMarket | None) -> Any:
    """The recording as if it had run on while nobody was there."""
    if options.replay is None:
        raise BadSource("a replay needs --replay DIR")
    return _load("sandbox.market.replay:ReplayMarket")(
        options.replay, start=options.replay_start, granularity_min=options.granularity,
        anchor_ms=options.anchor_ms,
    )


def _relay(options: SandboxOptions, saved: SavedMarket | None) -> Any:
    if not options.relay:
        raise BadSource("a relay needs --relay URL")
    return _load("sandbox.market.relay:RelayMarket")(options.relay)


def _load(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BadSource(f"{name}: {error}") from error
    return found
