"""Which market a sandbox gets, from its options; every one under the scripted overlay."""

from __future__ import annotations

from sandbox.market.source import MarketSource
from sandbox.settings import SandboxOptions


class BadSource(Exception):
    """The options do not describe a market."""


def build_source(options: SandboxOptions) -> MarketSource:
    raise BadSource("no market yet")
