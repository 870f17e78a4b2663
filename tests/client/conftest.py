"""A sandbox whose market moves only when told, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kucoin_client import KuCoinClient
from sandbox.embedded import RunningSandbox, run_sandbox
from tests.client.clients import a_client
from tests.sandbox.fake_market import FakeMarket


@pytest.fixture
def box() -> Iterator[RunningSandbox]:
    """A sandbox that stands still and answers at once."""
    with run_sandbox(FakeMarket(), match_delay_ms=0.0, visibility_delay_ms=0.0, tick_ms=20.0) as running:
        yield running


@pytest.fixture
def client(box: RunningSandbox) -> Iterator[KuCoinClient]:
    """A loaded client with the sandbox's key."""
    with a_client(
        box.futures_url, spot_url=box.spot_url, key=box.key, secret=box.secret, passphrase=box.passphrase
    ) as found:
        yield found
