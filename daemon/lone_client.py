"""A client for one errand, beside whatever else runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from daemon.exchange_process import ExchangeAddress
from kucoin_client import KuCoinClient
from runtime.budget import RateBudget
from runtime.clock import SystemClock
from runtime.settings import Settings


@contextmanager
def lone_client(
    settings: Settings, address: ExchangeAddress, key_version: int | None = None
) -> Iterator[tuple[KuCoinClient, RateBudget]]:
    """Yield a client of *address* that goes by *settings*, and its budget; markets are not loaded."""
    clock = SystemClock()
    budget = RateBudget(settings.quotas, clock, settings.exchange.quota_address)
    client = KuCoinClient(
        futures_url=address.futures_url, spot_url=address.spot_url,
        key=address.key, secret=address.secret, passphrase=address.passphrase,
        key_version=str(key_version or settings.exchange.key_version), budget=budget, clock=clock,
        deadline_s=settings.exchange.deadline_s,
    )
    try:
        yield client, budget
    finally:
        client.close()
        budget.stop()
