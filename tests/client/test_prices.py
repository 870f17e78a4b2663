"""The price book: the latest counts, and the bell rings for what is held."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from runtime import locks
from runtime.clock import SystemClock
from runtime.prices import PriceBook
from tests.crowd import all_at_once, crowd, frequent_switches
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from trading.facts import Price

D = Decimal
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


def a_price(symbol: str = BTC, value: int = 100, **overrides: Any) -> Price:
    """Bid, ask, last and mark at *value*, received at 0."""
    wish: dict[str, Any] = {
        "symbol": symbol, "bid": D(value), "ask": D(value), "last": D(value), "mark": D(value),
        "ts_ms": 1_000, "received": 0.0,
    }
    return Price(**{**wish, **overrides})


def test_a_held_symbol_rings_and_another_does_not(clock: ManualClock) -> None:
    """The monitor sleeps through prices nobody holds and wakes at one somebody does."""
    prices = PriceBook(clock)
    prices.follow([BTC])
    with crowd(lambda: prices.wait_for_tick(0, 60)) as woken:
        clock.await_sleepers(1)
        prices.publish(a_price(ETH))
        prices.publish(a_price(BTC))
    assert woken == [1]


def test_a_mark_values_and_wakes_nobody(clock: ManualClock) -> None:
    """It replaces the mark alone, of a symbol that has a price; the monitor sleeps on."""
    prices = PriceBook(clock)
    prices.follow([BTC, ETH])
    prices.publish(a_price(BTC))
    prices.publish_mark(BTC, D(98))
    prices.publish_mark(ETH, D(98))
    assert prices.get(BTC) == a_price(BTC, mark=D(98))
    assert prices.get(ETH) is None
    with crowd(lambda: prices.wait_for_tick(1, 60)) as woken:
        clock.await_sleepers(1)
        prices.publish_mark(BTC, D(97))
        clock.advance(60)
    assert woken == [1]


def test_a_tick_before_the_wait_is_not_missed(clock: ManualClock) -> None:
    """What rang since the last look returns at once; without news the time runs out."""
    prices = PriceBook(clock)
    prices.follow([BTC])
    prices.publish(a_price())
    assert prices.wait_for_tick(0, 60) == 1
    with crowd(lambda: prices.wait_for_tick(1, 60)) as woken:
        clock.await_sleepers(1)
        clock.advance(60)
    assert woken == [1]


def test_the_bell_rings_without_a_price(clock: ManualClock) -> None:
    """At the end, or when something else is to be looked at."""
    prices = PriceBook(clock)
    with crowd(lambda: prices.wait_for_tick(0, 60)) as woken:
        clock.await_sleepers(1)
        prices.wake()
    assert woken == [1]


def test_several_prices_ring_once(clock: ManualClock) -> None:
    """A REST answer for all held symbols is one look for the monitor."""
    prices = PriceBook(clock)
    prices.follow([BTC, ETH])
    prices.publish_many([a_price(BTC), a_price(ETH)])
    assert prices.wait_for_tick(0, 0) == 1
    assert set(prices.snapshot([BTC, ETH, "SOL/USDT:USDT"])) == {BTC, ETH}


def test_what_is_no_longer_held_is_forgotten(clock: ManualClock) -> None:
    """A symbol taken up again begins without the price of last time."""
    prices = PriceBook(clock)
    prices.follow([BTC])
    prices.publish(a_price())
    prices.follow([ETH])
    prices.follow([BTC])
    assert prices.get(BTC) is None
    assert prices.followed() == {BTC}


def test_stale_is_old_or_never_seen(clock: ManualClock) -> None:
    """Ages count from receipt; a price exactly as old as allowed still serves."""
    prices = PriceBook(clock)
    prices.follow([BTC, ETH])
    prices.publish(a_price(BTC, received=clock.monotonic()))
    clock.advance(2)
    assert prices.stale(2.0) == (ETH,)
    clock.advance(0.5)
    assert set(prices.stale(2.0)) == {BTC, ETH}


def test_silent_is_what_nothing_was_pushed_about(clock: ManualClock) -> None:
    """A market in which nothing moves is not silent; a price that was asked for is no push."""
    prices = PriceBook(clock)
    prices.follow([BTC, ETH])
    clock.advance(5)
    assert prices.silent(2.0) == (), "just followed: not subscribed to yet"
    prices.publish(a_price(BTC))
    prices.publish_mark(ETH, D(98))
    clock.advance(2)
    prices.publish_mark(BTC, D(98))
    prices.publish_many([a_price(ETH)])
    clock.advance(0.5)
    assert set(prices.stale(2.0)) == {BTC, ETH}
    assert prices.silent(2.0) == (ETH,)


def test_a_market_whose_quotes_alone_are_pushed_no_more_is_silent(clock: ManualClock) -> None:
    """Its value still is, and REST tells of prices that nobody has pushed: somebody is to know."""
    prices = PriceBook(clock)
    prices.follow([BTC])
    prices.publish(a_price(value=100, ts_ms=1))

    def seconds(count: int, value: int) -> None:
        for _ in range(count):
            clock.advance(1)
            prices.publish_mark(BTC, D(98))
            prices.publish_many([a_price(value=value, ts_ms=1, received=clock.monotonic())])

    seconds(10, 100)
    assert prices.silent(2.0) == (), "nothing has changed"
    seconds(5, 90)
    seconds(1, 100)
    seconds(5, 90)
    assert prices.silent(2.0) == (), "an answer may be some seconds behind"
    seconds(2, 80)
    assert prices.silent(2.0) == (BTC,)
    prices.publish(a_price(value=70, ts_ms=2))
    assert prices.silent(2.0) == ()
    prices.follow([])
    prices.follow([BTC])
    for value in (60, 50):
        clock.advance(1)
        prices.publish_many([a_price(value=value, received=clock.monotonic())])
    clock.advance(5.5)
    assert prices.silent(5.0) == (), "just followed: for three of these seconds it was not subscribed to"


def test_who_comes_and_goes_does_not_make_the_others_silent(clock: ManualClock) -> None:
    """A symbol taken up again is waited for anew, and one that is held on is as silent as it was."""
    prices = PriceBook(clock)
    prices.follow([BTC, ETH])
    prices.publish(a_price(BTC))
    prices.publish(a_price(ETH))
    clock.advance(2.5)
    prices.follow([BTC])
    prices.follow([BTC, ETH])
    assert prices.silent(2.0) == (BTC,)
    clock.advance(3)
    assert prices.silent(2.0) == (BTC,)
    clock.advance(3)
    assert set(prices.silent(2.0)) == {BTC, ETH}, "nothing has come since it was asked for"


def test_an_overtaken_answer_does_not_turn_a_price_back(clock: ManualClock) -> None:
    """A REST answer older than the push before it is dropped, but an old price is not kept for ever."""
    prices = PriceBook(clock)
    prices.publish(a_price(value=100, ts_ms=2_000, received=1.0))
    prices.publish(a_price(value=90, ts_ms=1_000, received=1.5))
    assert prices.get(BTC) == a_price(value=100, ts_ms=2_000, received=1.0)
    prices.publish(a_price(value=90, ts_ms=1_000, received=3.0))      # two seconds later: the only news there is
    assert prices.get(BTC) == a_price(value=90, ts_ms=1_000, received=3.0)


def test_readers_and_writers_at_once() -> None:
    """Readers see whole prices, never half of two, and every tick of a held symbol is counted."""
    prices = PriceBook(SystemClock())
    prices.follow([BTC])

    def write() -> None:
        for value in range(1, 200):
            prices.publish(a_price(value=value, ts_ms=value))

    def read() -> None:
        for _ in range(200):
            price = prices.get(BTC)
            assert price is None or price.bid == price.ask == price.mark

    with frequent_switches():
        all_at_once(write, read, read)
    assert prices.wait_for_tick(0, 0) == 199


class SlowLook(dict[str, Price]):
    """Prices of which the first look takes so long that a new one comes meanwhile, if it can."""

    def __init__(self, prices: dict[str, Price]) -> None:
        super().__init__(prices)
        self.looked, self.published = threading.Event(), threading.Event()

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)
        if not self.looked.is_set():
            self.looked.set()
            self.published.wait(1.0)         # under the lock nobody can
        return found


def bid_after_mark_and_price(prices: Any) -> Decimal:
    """Let a mark come in, and a price of 101 while it does; return the bid then."""
    prices.publish(a_price(value=100, ts_ms=1_000))
    prices._prices = slow = SlowLook(prices._prices)

    def publish() -> None:
        assert slow.looked.wait(5)
        prices.publish(a_price(value=101, ts_ms=2_000))
        slow.published.set()

    all_at_once(lambda: prices.publish_mark(BTC, D(98)), publish)
    return D(slow[BTC].bid)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Guarded containers may be replaced by others."""
    locks.make_strict(False)
    yield
    locks.make_strict(True)


def test_a_mark_and_a_price_at_once_keep_the_price(unchecked: None) -> None:
    """The mark joins the price there is: it never brings the one before back."""
    assert bid_after_mark_and_price(PriceBook(SystemClock())) == 101


def test_a_mark_without_the_lock_brings_the_old_price_back(unchecked: None) -> None:
    """The mutant: with the prices lock taken away the test above would see a price that has gone."""
    prices: Any = PriceBook(SystemClock())
    prices._prices_lock = NoLock()
    assert bid_after_mark_and_price(prices) == 100
