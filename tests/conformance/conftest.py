"""A sandbox for each module, its market standing still until told, and KuCoin's specification."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from sandbox.market import make_market
from tests.conformance.openapi import Specification

with warnings.catch_warnings():
    warnings.simplefilter("ignore")          # a hundred about how KuCoin's client uses pydantic
    import kucoin_universal_sdk.api  # noqa: F401

START_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """Five contracts, held at their first prices."""
    market = make_market("synthetic", seed=1, pairs=5, volatility=1.0, start_ms=START_MS)
    with run_sandbox(market, match_delay_ms=0.0, visibility_delay_ms=0.0, tick_ms=20.0) as running:
        running.control("freeze", {"frozen": True})
        running.set_price("XBTUSDTM", 60_000)
        yield running


@pytest.fixture(scope="session")
def specification(shared_dir: Path) -> Specification:
    """KuCoin's OpenAPI files; without them these tests skip."""
    folder = shared_dir / "kucoin/openapi"
    if not folder.is_dir():
        pytest.skip("no kucoin/openapi in ../shared: KuCoin's schemas are not here")
    return Specification(folder)
