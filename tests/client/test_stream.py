"""The price stream, against the sandbox: pushes reach the book, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from queue import Queue

import pytest

from kucoin_client import KuCoinClient
from runtime.clock import SystemClock
from runtime.prices import PriceBook
from runtime.stream import MarketStream, PushWire
from sandbox.embedded import RunningSandbox
from tests.client.clients import BTC, a_client, an_order
from tests.client.scripted_server import always, envelope, scripted_server
from trading.client_ids import ClientOid, Purpose
from trading.facts import OrderRequest, OrderSide, Priority

D = Decimal
ETH = "ETH/USDT:USDT"
PATIENCE_S = 15.0


class HeardPrices(PriceBook):
    """A price book that tells of each mark it has taken in."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.marks: Queue[tuple[str, Decimal]] = Queue()

    def publish_mark(self, symbol: str, mark: Decimal) -> None:
        super().publish_mark(symbol, mark)
        self.marks.put((symbol, mark))


class Following:
    """A running stream, its price book, and the bell of filled stops."""

    def __init__(self, client: KuCoinClient) -> None:
        self.prices = HeardPrices()
        self.stop_filled = threading.Event()
        self.spent: list[bool] = []
        self.stream = MarketStream(
            self.prices, SystemClock(), config=client.stream_config, markets=client.markets,
            symbol_of=lambda exchange_id: client.instrument(exchange_id).symbol, spend=self.spent.append,
            on_stop_filled=self.stop_filled.set,
        )

    def follow(self, *symbols: str) -> None:
        self.prices.follow(symbols)
        self.stream.wake()

    def await_price(self, symbol: str, is_it: Callable[[Decimal], bool]) -> None:
        """Block until the bid of *symbol* satisfies *is_it*."""
        give_up, seen = time.monotonic() + PATIENCE_S, -1
        while time.monotonic() < give_up:
            price = self.prices.get(symbol)
            if price is not None and is_it(price.bid):
                return
            seen = self.prices.wait_for_tick(seen, give_up - time.monotonic())
        raise AssertionError(f"no such price of {symbol}; the last is {self.prices.get(symbol)}")


    def await_mark(self, symbol: str, mark: Decimal) -> None:
        """Block until *symbol* has been valued at *mark*: no bell of the book rings for that."""
        give_up = time.monotonic() + PATIENCE_S
        while self.prices.marks.get(timeout=give_up - time.monotonic()) != (symbol, mark):
            pass


@contextmanager
def following(client: KuCoinClient) -> Iterator[Following]:
    found = Following(client)
    found.stream.start()
    try:
        yield found
    finally:
        found.stream.stop()


def test_pushed_prices_reach_the_book(box: RunningSandbox, client: KuCoinClient) -> None:
    """A held symbol's bid and ask are exact and fresh; a second symbol joins; the connection is the same."""
    with following(client) as found:
        found.follow(BTC)
        box.set_price("XBTUSDTM", "50100.5")
        found.await_price(BTC, lambda bid: bid == D("50100.5"))
        price = found.prices.get(BTC)
        assert price is not None
        assert price.ask == D("50100.6")
        assert 0 <= price.age_s(time.monotonic()) < PATIENCE_S
        found.follow(BTC, ETH)
        box.set_price("ETHUSDTM", "2001")
        found.await_price(ETH, lambda bid: bid == 2001)
        assert found.stream.connected
        assert found.spent.count(False) == 1


def test_pushed_marks_are_the_value_and_no_price(box: RunningSandbox, client: KuCoinClient) -> None:
    """What a symbol is valued at stays through quotes, and bid, ask and their age are untouched by it."""
    with following(client) as found:
        found.follow(BTC)
        found.await_price(BTC, lambda bid: bid == 50_000)
        box.call(lambda sandbox: sandbox.exchange.market.source.change("XBTUSDTM", mark=D("49990.5")))
        found.await_mark(BTC, D("49990.5"))
        before = found.prices.get(BTC)
        assert before is not None
        assert (before.bid, before.ask, before.last) == (D(50_000), D("50000.1"), D("50000.05"))
        box.call(lambda sandbox: sandbox.exchange.market.source.change("XBTUSDTM", bid=D("49999.9")))
        found.await_price(BTC, lambda bid: bid == D("49999.9"))
        after = found.prices.get(BTC)
        assert after is not None
        assert after.mark == D("49990.5")


def test_a_cut_connection_is_made_again(
    box: RunningSandbox, client: KuCoinClient, caplog: pytest.LogCaptureFixture
) -> None:
    """After a cut prices come again by themselves, each new connection is paid for, and the log says it once."""
    with caplog.at_level(logging.WARNING, "stream"), following(client) as found:
        found.follow(BTC)
        found.await_price(BTC, lambda bid: bid > 0)
        box.fault("ws_cut", private=False)
        box.set_price("XBTUSDTM", "49000")
        found.await_price(BTC, lambda bid: bid == 49_000)
        assert found.spent.count(False) == 2
    assert [record.levelname for record in caplog.records if "kind=prices" in record.getMessage()] == ["WARNING"]


def test_a_refused_connection_does_not_tell_its_token(
    box: RunningSandbox, client: KuCoinClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A handshake refused is logged without the token in its address, and tried again."""
    box.fault("ws_refuse", count=2)                # prices and orders, each once
    with caplog.at_level(logging.WARNING, "stream"), following(client) as found:
        found.follow(BTC)
        found.await_price(BTC, lambda bid: bid > 0)
    lost = [record.getMessage() for record in caplog.records]
    assert lost
    assert not [line for line in lost if "token=" in line and "token=…" not in line]


def test_a_filled_stop_rings(box: RunningSandbox, client: KuCoinClient) -> None:
    """The exchange closes a position by RAD's resting stop: the push rings before any query."""
    stop_oid = ClientOid(position_id="0abcdefghijk", purpose=Purpose.STOP, attempt=1)
    with following(client) as found:
        client.place_order(an_order("rad-0abcdefghijk-e1"), Priority.HIGH)
        client.place_order(OrderRequest(
            client_oid=str(stop_oid), symbol=BTC, side=OrderSide.SELL, close_order=True,
            stop_price=D(49_000), stop_is_below=True,
        ), Priority.CRITICAL)
        topics: Callable[[], str] = lambda: " ".join(box.state()["topics"])  # noqa: E731
        give_up = time.monotonic() + PATIENCE_S
        while "tradeOrders" not in topics() and time.monotonic() < give_up:
            pass                          # each look is a request: the sandbox says when it is subscribed
        assert not found.stop_filled.is_set()
        box.set_price("XBTUSDTM", "48990")
        assert found.stop_filled.wait(PATIENCE_S)


@pytest.mark.parametrize("version", ["2", "3"])
def test_the_key_version_is_the_one_configured(version: str) -> None:
    """The private connection is asked for with it, as everything else is."""
    with scripted_server(always(envelope({}))) as script:
        with a_client(script.url, load=False, key_version=version) as client:
            wire = PushWire(dict(client.stream_config()), *[lambda *_: None] * 4)

        async def ask() -> None:
            await wire.futuresPrivatePostBulletPrivate()
            await wire.close()

        asyncio.run(ask())
    (asked,) = script.asked
    assert asked.headers["kc-api-key-version"] == version


@pytest.mark.parametrize("silent", [False, True])
def test_it_ends_at_once(box: RunningSandbox, client: KuCoinClient, silent: bool) -> None:
    """Stopping takes less than two seconds, with an exchange that answers and with one that does not."""
    found = Following(client)
    if silent:
        box.fault("black_hole", path="/api/v1/bullet*")
    found.stream.start()
    found.follow(BTC)
    if not silent:
        found.await_price(BTC, lambda bid: bid > 0)
    started = time.monotonic()
    found.stream.stop()
    assert time.monotonic() - started < 2
    assert not found.stream._worker.state().alive
