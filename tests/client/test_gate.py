"""The gate: scans stand aside for orders, nobody waits for himself, and nobody waits for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kucoin import endpoints
from kucoin_client import LONGEST_STAND_ASIDE_S, KuCoinClient
from runtime.budget import WINDOW_S
from tests.client.clients import BTC, QUOTAS, a_client, an_order, listing
from tests.client.scripted_server import Asked, Scripted, always, envelope, scripted_server
from tests.crowd import PATIENCE_S, crowd
from tests.manual_clock import ManualClock
from tests.wedges import until
from trading.errors import OutcomeUnknown
from trading.facts import Priority

ORDERS, TIME, POSITIONS = "/api/v1/orders", "/api/v1/timestamp", "/api/v1/positions"


class Exchange:
    """A scripted exchange that keeps the answers to orders back until told."""

    def __init__(self, script: Scripted) -> None:
        self.script = script
        self.order_arrived = threading.Event()
        self.answer_orders = threading.Event()
        listing(script, {ORDERS: envelope({"orderId": "1"}), POSITIONS: envelope([]), TIME: envelope(1)})
        self._plain = script.answer
        script.answer = self._answer

    def _answer(self, asked: Asked, peer: socket.socket) -> None:
        if asked.path == ORDERS:
            self.order_arrived.set()
            assert self.answer_orders.wait(PATIENCE_S)
        self._plain(asked, peer)

    def paths(self) -> list[str]:
        return [asked.path.partition("?")[0] for asked in self.script.asked[2:]]      # without the loading


def used(client: KuCoinClient, pool: str) -> int:
    return next(use.used for use in client._budget.usage() if use.pool == pool)


@contextmanager
def gated(clock: ManualClock) -> Iterator[tuple[KuCoinClient, Exchange]]:
    with scripted_server(always(b"")) as script:
        exchange = Exchange(script)
        with a_client(script.url, clock=clock) as client:
            yield client, exchange
            exchange.answer_orders.set()


def test_others_wait_until_an_order_is_answered(clock: ManualClock) -> None:
    """A query that comes while a close is on the wire is sent after its answer, not before."""
    with gated(clock) as (client, exchange), crowd(
        lambda: client.place_order(an_order(), Priority.CRITICAL),
        lambda: exchange.order_arrived.wait(PATIENCE_S) and client.fetch_positions(Priority.SCAN),
    ):
        clock.await_sleepers(1)
        assert exchange.paths() == [ORDERS]
        exchange.answer_orders.set()
    assert exchange.paths() == [ORDERS, POSITIONS]


def test_a_scan_that_waited_for_budget_stands_aside_for_an_order_that_came_meanwhile(clock: ManualClock) -> None:
    """The window opens anew while a close is on the wire: the scan is sent after its answer all the same."""
    with gated(clock) as (client, exchange):
        client._budget.take("futures", QUOTAS["futures"], Priority.CRITICAL)
        with crowd(
            lambda: client.fetch_positions(Priority.SCAN),
            lambda: clock.await_sleepers(1) or client.place_order(an_order(), Priority.CRITICAL),
        ):
            assert exchange.order_arrived.wait(PATIENCE_S)
            clock.advance(WINDOW_S)
            until(lambda: 0 < used(client, "futures") < QUOTAS["futures"], "the scan's budget")
            clock.await_sleepers(1)
            assert exchange.paths() == [ORDERS]
            exchange.answer_orders.set()
        assert exchange.paths() == [ORDERS, POSITIONS]


def test_a_scan_is_held_up_no_longer_than_the_bound(clock: ManualClock) -> None:
    """An order whose answer never comes does not starve the scans."""
    with gated(clock) as (client, exchange), crowd(
        lambda: client.place_order(an_order(), Priority.CRITICAL),
        lambda: exchange.order_arrived.wait(PATIENCE_S) and client.fetch_positions(Priority.SCAN) == (),
    ) as results:
        clock.await_sleepers(1)
        clock.advance(LONGEST_STAND_ASIDE_S)
        exchange.script.await_asked(POSITIONS, 1)
        exchange.answer_orders.set()
    assert results == ["1", True]


def test_orders_do_not_wait_for_each_other(clock: ManualClock) -> None:
    """Two closes are on the wire at the same time, on two connections."""
    with gated(clock) as (client, exchange), crowd(
        *[lambda oid=oid: client.place_order(an_order(oid), Priority.CRITICAL) for oid in ("rad-1", "rad-2")]
    ):
        exchange.script.await_asked(ORDERS, 2)
        exchange.answer_orders.set()


def test_a_request_within_a_request_is_refused(clock: ManualClock) -> None:
    """A critical call made of two gated calls would wait for itself: it raises instead."""
    with gated(clock) as (client, _), client._gate(Priority.CRITICAL), pytest.raises(RuntimeError, match="itself"):
        client.fetch_positions()


def test_the_count_is_right_after_a_failure(clock: ManualClock) -> None:
    """A critical call that fails counts itself off: the next query does not stand aside."""
    with gated(clock) as (client, exchange):
        exchange.answer_orders.set()
        exchange.script.answer = lambda _asked, peer: peer.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OutcomeUnknown):
            client.place_order(an_order(), Priority.CRITICAL)
        with client._critical_call_lock:
            assert client._pending_critical_calls == 0
        exchange.script.answer = exchange._plain
        assert client.fetch_positions() == ()        # nobody advances the clock: it would hang


def test_exits_have_connections_of_their_own(clock: ManualClock) -> None:
    """A close goes out while a scan's connection is stuck in a black hole."""
    stuck, ended = threading.Event(), threading.Event()
    with gated(clock) as (client, exchange):
        exchange.answer_orders.set()

        def answer(asked: Asked, peer: socket.socket) -> None:
            if asked.path.startswith(POSITIONS):
                stuck.set()
                ended.wait(PATIENCE_S)
            exchange._plain(asked, peer)

        exchange.script.answer = answer
        with crowd(lambda: client.fetch_positions(Priority.SCAN)) as found:
            assert stuck.wait(PATIENCE_S)
            assert client.place_order(an_order(), Priority.CRITICAL) == "1"
            ended.set()
        assert found == [()]


def test_warming_up_opens_one_connection_per_exit_worker(clock: ManualClock) -> None:
    """Eight exits at once find eight connections open."""
    with gated(clock) as (client, exchange):
        exchange.answer_orders.set()
        before = exchange.script.connections
        all_here = threading.Barrier(8)

        def answer(asked: Asked, peer: socket.socket) -> None:
            if asked.path == TIME:
                all_here.wait(PATIENCE_S)       # each on a connection of its own, or this never opens
            exchange._plain(asked, peer)

        exchange.script.answer = answer
        client.warm_up(8)
        assert exchange.script.connections == before + 8
        with crowd(*[lambda: client.place_order(an_order(), Priority.CRITICAL)] * 8):
            pass
        assert exchange.script.connections == before + 8


def test_each_call_is_reported_with_its_outcome(clock: ManualClock) -> None:
    """PerformanceMonitor hears of every call, answered or not."""
    heard: list[tuple[str, str]] = []

    class Listener:
        def record_api_call(self, endpoint: str, duration_s: float, outcome: str) -> None:
            heard.append((endpoint, outcome))

    with scripted_server(always(b"")) as script:
        listing(script, {POSITIONS: envelope([])})
        with a_client(script.url, clock=clock, monitor=Listener()) as client:
            client.fetch_positions()
            script.answer = always(b"nothing of HTTP\r\n\r\n")
            with pytest.raises(OutcomeUnknown):
                client.place_order(an_order(symbol=BTC), Priority.CRITICAL)
    assert heard == [
        (endpoints.CONTRACTS.method, "ok"), (endpoints.POSITIONS.method, "ok"),
        (endpoints.PLACE.method, "OutcomeUnknown"),
    ]
