"""Which market a sandbox gets, from its options; every one under the scripted overlay."""

from __future__ import annotations

import importlib
from typing import Any

from sandbox.books import saved_prices
from sandbox.market.source import MarketSource
from sandbox.settings import SandboxOptions


def build_source(options: SandboxOptions) -> MarketSource:
    raise NotImplementedError


_ = (importlib, Any, saved_prices)
