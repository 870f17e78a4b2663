"""Our clock is set, or is not the exchange's: nothing that is held goes without its stop or its end for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.book import NotOpened
from tests.manual_clock import ManualClock
from tests.test_covering import a_plan, blind
from tests.test_position_manager import opened, price_moves_to
from tests.test_protection import ALL_OUT, held, resting
from tests.trading_house import SYMBOL, TradingHouse, a_manager, an_account, an_entry_request, restarted
from trading.facts import ExitReason, OrderRequest, OrderSide, Position, Priority

D = Decimal
HOUR_S = 3_600
HOUR_MS = 3_600_000


def with_another_clock(clock: ManualClock, ahead_ms: int, **overrides: object) -> TradingHouse:
    """A house whose clock is ahead of the exchange's by so much, as it has measured."""
    house = a_manager(clock=clock, **overrides)                  # type: ignore[arg-type]
    house.exchange.now_ms = lambda: clock.now_ms() - ahead_ms
    house.exchange.offset_ms = ahead_ms
    return house


def test_the_resting_stop_follows_when_the_clock_was_set_back(clock: ManualClock) -> None:
    """Confirmed an hour from now by the clock there is: it moves all the same."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    clock.advance(3)
    clock.set_back(HOUR_S)
    price_moves_to(house, "51500")
    assert resting(house).stop_price == D("50934.1")              # 51,500 × 0.99 × 0.999, up


def test_what_a_person_opens_after_the_clock_was_set_back_is_adopted(clock: ManualClock) -> None:
    """RAD left that symbol an hour from now: half a minute later it is a person's, and gets its stop."""
    house = a_manager(clock=clock, exits=ALL_OUT, adopt=True)
    opened(house, now_ms=clock.now_ms())
    house.manager.close_position(SYMBOL)
    clock.set_back(HOUR_S)
    clock.advance(30)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(5))
    house.reconciler.run()
    assert held(house).protective_stop is not None


def test_a_person_closes_what_was_adopted_by_a_clock_that_is_ahead(clock: ManualClock) -> None:
    """Adopted an hour from now by our clock, closed a minute later by the exchange's: that closed it."""
    house = with_another_clock(clock, HOUR_MS, exits=ALL_OUT, adopt=True)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(5))
    house.reconciler.run()
    assert held(house).protective_stop is not None
    clock.advance(60)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(5))
    assert house.reconciler.run().agrees
    assert [trade.exit_reason for trade in house.journal.trades] == [ExitReason.EXTERNAL]


def test_an_uncertain_entry_is_covered_whatever_our_clock_says(clock: ManualClock) -> None:
    """Planned an hour later than the exchange says it was opened: it is that entry's all the same."""
    house = with_another_clock(clock, HOUR_MS)
    clock.flows = True
    plan = a_plan(house, clock)
    house.exchange.now_ms = lambda: clock.now_ms() - HOUR_MS
    house.exchange.place_order(
        OrderRequest(client_oid=plan.client_oid, symbol=SYMBOL, side=OrderSide.BUY, quantity=plan.quantity),
        Priority.HIGH,
    )
    house = restarted(house, clock=clock)
    house.manager.restore_entry(plan)
    house.exchange.before["find_order"] = blind
    house.reconciler.run()
    assert len(house.exchange.fetch_stop_orders()) == 1


def test_a_position_is_as_old_as_the_exchange_says(clock: ManualClock) -> None:
    """At most two hours, and our clock an hour ahead: it stays for two, not for one."""
    rules = replace(ALL_OUT, max_age_ms=2 * HOUR_MS)
    house = with_another_clock(clock, HOUR_MS, exits=rules)
    opened(house, now_ms=house.exchange.now_ms())
    clock.advance(1.5 * HOUR_S)
    price_moves_to(house, "50000")
    assert house.exchange.exits() == []
    clock.advance(0.6 * HOUR_S)
    price_moves_to(house, "50000")
    assert len(house.exchange.exits()) == 1


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, -HOUR_MS], ids=["ahead", "behind"])
def test_a_price_is_as_old_as_the_exchange_says(clock: ManualClock, ahead_ms: int) -> None:
    """Whatever our clock says: one of now is entered at, one of a minute ago is not."""
    house = with_another_clock(clock, ahead_ms)
    now_ms = house.exchange.now_ms()
    old = house.manager.open_position(an_entry_request(now_ms=now_ms - 60_000), an_account())
    assert isinstance(old, NotOpened)
    assert "60.0 s old" in old.reason
    assert isinstance(house.manager.open_position(an_entry_request(now_ms=now_ms), an_account()), Position)
