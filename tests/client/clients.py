"""Clients with everything filled in, and the contracts a scripted exchange lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from kucoin.wire import Wire
from kucoin_client import KuCoinClient
from runtime.budget import RateBudget
from runtime.clock import SystemClock
from tests.client.scripted_server import Scripted, by_path, envelope
from trading.facts import OrderRequest, OrderSide
from trading.ports import Clock

D = Decimal
KEY = "65f0c0ffee0123456789abcd"
SECRET = "1f2e3d4c-5b6a-7988-9a0b-0c1d2e3f4a5b"
PASSPHRASE = "correct-horse-42"
QUOTAS = {"public": 2000, "futures": 2000, "spot": 4000, "management": 2000}
BTC = "BTC/USDT:USDT"
CONTRACTS = "/api/v1/contracts/active"


def a_contract_row(symbol: str = "XBTUSDTM", base: str = "XBT", **overrides: Any) -> dict[str, Any]:
    """One row of contracts/active, as KuCoin's own example has it."""
    return {
        "symbol": symbol, "rootSymbol": "USDT", "type": "FFWCSX", "firstOpenDate": 1585555200000,
        "expireDate": None, "baseCurrency": base, "quoteCurrency": "USDT", "settleCurrency": "USDT",
        "maxOrderQty": 1000000, "maxPrice": 1000000, "lotSize": 1, "tickSize": 0.1, "multiplier": 0.001,
        "makerFeeRate": 0.0002, "takerFeeRate": 0.0006, "isInverse": False, "status": "Open",
        "markPrice": 86378.69, "turnoverOf24h": 1034643198.3265533, "maxLeverage": 125, **overrides,
    }


def a_wire(url: str = "http://127.0.0.1:1", *, clock: Clock | None = None, **overrides: Any) -> Wire:
    """A wire with the made-up key of the test vectors."""
    return Wire(**{
        "futures_url": url, "spot_url": url, "key": KEY, "secret": SECRET, "passphrase": PASSPHRASE,
        "key_version": "2", "timeout_s": 5.0, "clock": clock or SystemClock(), **overrides,
    })


@contextmanager
def a_client(url: str, *, load: bool = True, **overrides: Any) -> Iterator[KuCoinClient]:
    """A client of *url*, loaded unless told otherwise, and closed afterwards."""
    clock = overrides.pop("clock", None) or SystemClock()
    budget = overrides.pop("budget", None) or RateBudget(QUOTAS, clock)
    client = KuCoinClient(**{
        "futures_url": url, "spot_url": url, "key": KEY, "secret": SECRET, "passphrase": PASSPHRASE,
        "budget": budget, "clock": clock, "deadline_s": 5.0, **overrides,
    })
    try:
        if load:
            client.load()
        yield client
    finally:
        client.close()


def listing(script: Scripted, answers: dict[str, Any], *rows: dict[str, Any]) -> None:
    """Let *script* list contracts (one by default) and answer the rest as told."""
    script.answer = by_path({CONTRACTS: envelope(list(rows) or [a_contract_row()]), **answers})


def an_order(client_oid: str = "rad-test-1", **overrides: Any) -> OrderRequest:
    """Buy one lot at the market with leverage 5."""
    wish: dict[str, Any] = {
        "client_oid": client_oid, "symbol": BTC, "side": OrderSide.BUY, "quantity": D(1), "leverage": D(5),
    }
    return OrderRequest(**{**wish, **overrides})
