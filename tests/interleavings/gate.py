"""The gate of KuCoinClient, entered and left in every order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from unittest.mock import patch

import kucoin_client
from kucoin.endpoints import CANDLES, PLACE, Endpoint
from kucoin_client import LONGEST_STAND_ASIDE_S, KuCoinClient
from runtime.budget import RateBudget
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import VirtualClock, edge, watch
from trading.facts import Priority

QUOTAS = {"public": 2000, "futures": 2000, "spot": 4000, "management": 2000}


class Wire:
    """What sends under the client: a request leaves in one step and is answered in another."""

    deadline_s = 10.0

    def __init__(self, order_takes_s: float = 0.0) -> None:
        self.order_takes_s = order_takes_s
        self.ordering: set[str] = set()            # names of the threads whose order is on the wire
        edge(self, "wire", lambda: frozenset(self.ordering), ("leaves", "comes_back", "orders"))

    def ask(self, endpoint: Endpoint, _params: object, _priority: Priority) -> object:
        if endpoint is not PLACE:
            return self.orders()
        name = threading.current_thread().name
        self.leaves(name)
        if self.order_takes_s:
            time.sleep(self.order_takes_s)
        self.comes_back(name)
        return {"orderId": "1"}

    def leaves(self, name: str) -> None:
        self.ordering.add(name)

    def comes_back(self, name: str) -> None:
        self.ordering.remove(name)

    def orders(self) -> frozenset[str]:
        """Return whose orders are on the wire just now."""
        return frozenset(self.ordering)

    def close(self) -> None: ...


def a_client(wire: Wire) -> KuCoinClient:
    """A client whose calls end in *wire*."""
    clock = VirtualClock()
    with patch.object(kucoin_client, "Sessions", lambda **_: wire):
        client = KuCoinClient(
            futures_url="", spot_url="", budget=RateBudget(QUOTAS, clock), clock=clock,
        )
    fields = ("_pending_critical_calls",)
    watch(client, "gate", client._critical_call_lock, fields)
    watch(client._budget, "budget", client._budget._lock)
    return client


def ordering(client: KuCoinClient) -> Callable[[], object]:
    """What a thread does that sends an exit; it returns when that was answered."""
    def order() -> float:
        client._call(PLACE, {}, Priority.CRITICAL)
        return client._clock.monotonic()

    return order


def scanning(client: KuCoinClient, wire: Wire) -> Callable[[], object]:
    """What a scan does: it returns the orders that were on the wire when it came, and still when it was sent."""
    def scan() -> frozenset[str]:
        found = wire.orders()
        return found & client._call(CANDLES, {}, Priority.SCAN)    # type: ignore[no-any-return]

    return scan


def exits_and_scan(*names: str) -> Scene:
    wire = Wire()
    client = a_client(wire)

    def check(results: Mapping[str, object]) -> None:
        assert not results["scan"], "sent beside an order it had found there"
        assert client._pending_critical_calls == 0
        assert [results[name] for name in names] == [0.0] * len(names), "an exit has waited"

    return Scene(check=check, threads={
        **{name: ordering(client) for name in names}, "scan": scanning(client, wire),
    })


def exit_and_scan() -> Scene:
    """A scan that comes while an order is on the wire is sent after its answer; an order waits for nobody."""
    return exits_and_scan("exit")


def two_exits_and_scan() -> Scene:
    """The same with two orders that enter and leave as they like."""
    return exits_and_scan("one", "other")


def two_exits() -> Scene:
    """Two orders enter and leave at once: the count ends at nought, and neither waits for the other."""
    client = a_client(Wire())

    def check(results: Mapping[str, object]) -> None:
        assert client._pending_critical_calls == 0
        assert list(results.values()) == [0.0, 0.0]

    return Scene(threads={"one": ordering(client), "other": ordering(client)}, check=check)


def endless_exit_and_scan() -> Scene:
    """An order without an answer holds a scan up for the bound, and no longer."""
    wire = Wire(order_takes_s=60.0)
    client = a_client(wire)

    def scan() -> float:
        client._call(CANDLES, {}, Priority.SCAN)
        return client._clock.monotonic()

    def check(results: Mapping[str, object]) -> None:
        assert results == {"exit": 60.0, "scan": results["scan"]}
        assert results["scan"] in (0.0, LONGEST_STAND_ASIDE_S)

    return Scene(threads={"exit": ordering(client), "scan": scan}, check=check)
