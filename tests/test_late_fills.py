"""What a comparison reads of the day's fills: what is new, and all of it while a position is nobody's."""

from __future__ import annotations

from decimal import Decimal

import pytest

from execution.late_fills import LISTED_WITHIN_MS
from tests.fake_exchange import FakeExchange
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened
from tests.trading_house import SYMBOL, TradingHouse, a_manager
from trading.errors import ExchangeUnavailable, JournalError
from trading.facts import ExitReason, OrderSide

D = Decimal
OTHER = "ETH/USDT:USDT"


@pytest.fixture
def house(clock: ManualClock) -> TradingHouse:
    """A position entered at the clock's time, and an exchange that tells that time."""
    house = a_manager(clock=clock, symbols=[SYMBOL, OTHER])
    house.exchange.now_ms = clock.now_ms
    opened(house, now_ms=clock.now_ms())
    return house


def asked_since(exchange: FakeExchange) -> list[int]:
    """Note from now on since when each comparison wants to know the fills."""
    asked: list[int] = []
    fetch = exchange.fetch_recent_fills

    def noting(*about: object, since_ms: int = 0) -> object:
        asked.append(since_ms)
        return fetch(*about, since_ms=since_ms)                    # type: ignore[arg-type]

    exchange.fetch_recent_fills = noting                           # type: ignore[assignment, method-assign]
    return asked


def test_what_was_seen_through_is_not_asked_for_again(house: TradingHouse, clock: ManualClock) -> None:
    """The whole day first; then from two minutes before the newest fill on, whatever time it is."""
    asked = asked_since(house.exchange)
    entered_ms = clock.now_ms()
    for _ in range(3):
        assert house.reconciler.run().agrees
        clock.advance(600)
    assert asked == [0, entered_ms - LISTED_WITHIN_MS, entered_ms - LISTED_WITHIN_MS]


def test_a_comparison_that_failed_has_seen_nothing_through(house: TradingHouse, clock: ManualClock) -> None:
    """Unanswered half-way, or with a journal that cannot be read: the same is asked for again."""
    asked = asked_since(house.exchange)

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["fetch_positions"] = fail
    with pytest.raises(ExchangeUnavailable):
        house.reconciler.run()
    del house.exchange.before["fetch_positions"]
    client_oids = house.journal.client_oids

    def unreadable(*_about: object, **_more: object) -> dict[str, str]:
        raise JournalError("not now")

    house.journal.client_oids = unreadable                         # type: ignore[method-assign, assignment]
    house.reconciler.run()
    house.journal.client_oids = client_oids                        # type: ignore[method-assign]
    house.reconciler.run()
    house.reconciler.run()
    assert asked == [0, 0, 0, clock.now_ms() - LISTED_WITHIN_MS]


def test_the_whole_day_while_a_position_is_nobodys(house: TradingHouse, clock: ManualClock) -> None:
    """Its orders may be RAD's, and of any time of the day: until it is taken up, or gone, all fills are read."""
    house.reconciler.run()
    asked = asked_since(house.exchange)
    house.exchange.trade_elsewhere(OTHER, OrderSide.BUY, D(5))
    house.reconciler.run()
    house.reconciler.run()
    house.exchange.trade_elsewhere(OTHER, OrderSide.SELL, D(5))
    house.reconciler.run()
    house.reconciler.run()
    late_ms = clock.now_ms() - LISTED_WITHIN_MS
    assert asked == [late_ms, 0, 0, late_ms]


def test_fills_listed_while_an_order_is_uncertain_are_there_when_it_is_not(
    house: TradingHouse, clock: ManualClock
) -> None:
    """What became of an order may be known only hours later: so long nothing is done with."""
    house.reconciler.run()
    since_ms = clock.now_ms() - LISTED_WITHIN_MS
    asked = asked_since(house.exchange)
    clock.advance(3600)
    claimed = house.manager.claim_closing(SYMBOL, ExitReason.MANUAL)
    assert claimed is not None
    house.manager.mark_uncertain(claimed.position_id)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(1))
    for _ in range(2):
        house.reconciler.run()
        assert house.manager.has_uncertain()
    assert asked == [since_ms, since_ms]
