"""One sandbox per test module, with a market that moves only when told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from tests.sandbox.fake_market import FakeMarket
from tests.sandbox.signed_client import SignedClient


@pytest.fixture
def running() -> Iterator[RunningSandbox]:
    """A sandbox on a market that stands still, without delays."""
    with run_sandbox(FakeMarket(), match_delay_ms=0.0, visibility_delay_ms=0.0, tick_ms=20.0) as sandbox:
        yield sandbox


@pytest.fixture
def client(running: RunningSandbox) -> SignedClient:
    """A client of the running sandbox's futures address."""
    return SignedClient(running)
