"""An entry nobody can read yet whose position shows: a stop rests for it, RAD's own, under an id of its own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from execution.book import NotOpened
from tests.fake_exchange import FakeJournal
from tests.manual_clock import ManualClock
from tests.trading_house import (
    SYMBOL,
    TradingHouse,
    a_manager,
    an_account,
    an_entry_request,
    exit_rules,
    restarted,
    risk_rules,
)
from trading.errors import ExchangeUnavailable, JournalError
from trading.facts import EntryPlan, OrderRequest, OrderSide, Priority

D = Decimal
OTHER = "ETH/USDT:USDT"


def blind(_what: object) -> None:
    raise ExchangeUnavailable("no answer")


def a_plan(house: TradingHouse, clock: ManualClock) -> EntryPlan:
    """An entry that is written down and not sent yet."""
    house.exchange.now_ms = clock.now_ms
    plan = house.manager.claim_opening(an_entry_request(now_ms=clock.now_ms()), an_account(), risk_rules())
    assert not isinstance(plan, NotOpened)
    entry = OrderRequest(client_oid=plan.client_oid, symbol=SYMBOL, side=OrderSide.BUY, quantity=plan.quantity)
    house.journal.record_intent(plan.position_id, entry, "e", plan=plan, wait=True)
    return plan


def its_first_stop(house: TradingHouse, plan: EntryPlan) -> str:
    """Let the entry and its first stop be taken, of which nothing is written down; return the stop's order id."""
    entry = OrderRequest(client_oid=plan.client_oid, symbol=SYMBOL, side=OrderSide.BUY, quantity=plan.quantity)
    house.exchange.place_order(entry, Priority.HIGH)
    stop = OrderRequest(
        client_oid=f"rad-{plan.position_id}-s1", symbol=SYMBOL, side=OrderSide.SELL, reduce_only=True,
        close_order=True, stop_price=D(48_951), stop_is_below=True,
    )
    return house.exchange.place_order(stop, Priority.CRITICAL)


def an_unanswered_entry(house: TradingHouse, clock: ManualClock) -> None:
    """Open: taken, the answer lost, and no look-up answered for now."""
    house.exchange.lose_answer = lambda request: "-e" in request.client_oid
    house.exchange.before["find_order"] = blind
    request = an_entry_request(now_ms=clock.now_ms())
    assert isinstance(house.manager.open_position(request, an_account()), NotOpened)


def no_id_twice(house: TradingHouse) -> None:
    sent = [request.client_oid for request in house.exchange.received]
    assert len(sent) == len(set(sent)), sent


@pytest.mark.parametrize(("bought", "lots", "price"), [
    ("before", 39, 50_000), ("after", 500, 50_000), ("after", 39, 60_000),
], ids=["older", "larger", "dearer than it allows"])
def test_what_cannot_be_its_own_gets_no_stop(clock: ManualClock, bought: str, lots: int, price: int) -> None:
    """Killed before the entry left, and a person has a position on that side: it is not RAD's to protect."""
    house = a_manager(clock=clock)
    clock.flows = True
    house.exchange.now_ms = clock.now_ms
    house.exchange.prices[SYMBOL] = D(price)
    if bought == "before":
        house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(lots))
        clock.advance(600)
    plan = a_plan(house, clock)
    if bought == "after":
        house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(lots))
    house = restarted(house, clock=clock)
    house.manager.restore_entry(plan)
    house.reconciler.run()
    assert house.exchange.fetch_stop_orders() == ()


def test_an_entry_somebody_works_on_is_left_to_him(clock: ManualClock) -> None:
    """Not uncertain yet: who opens it places the first stop."""
    house = a_manager(clock=clock)
    clock.flows = True
    plan = a_plan(house, clock)
    entry = OrderRequest(client_oid=plan.client_oid, symbol=SYMBOL, side=OrderSide.BUY, quantity=plan.quantity)
    house.exchange.place_order(entry, Priority.HIGH)
    house.reconciler.run()
    assert house.exchange.fetch_stop_orders() == ()


@pytest.mark.parametrize("rests", [True, False], ids=["not listed yet", "died"])
def test_the_cover_of_an_entry_taken_up_again_has_an_id_of_its_own(clock: ManualClock, rests: bool) -> None:
    """Killed when its first stop was taken and not written down; the next start does not see that stop."""
    house = a_manager(clock=clock)
    clock.flows = True
    plan = a_plan(house, clock)
    order_id = its_first_stop(house, plan)
    if not rests:
        house.exchange.cancel_order(order_id, Priority.CRITICAL)
    house = restarted(house, clock=clock)
    house.manager.restore_entry(plan, house.journal.last_attempt(plan.position_id, "s"))
    house.exchange.before["find_order"] = blind
    listed = house.exchange.fetch_stop_orders
    house.exchange.fetch_stop_orders = lambda *_: ()              # type: ignore[method-assign]
    house.reconciler.run()
    house.exchange.fetch_stop_orders = listed                     # type: ignore[method-assign]
    no_id_twice(house)
    assert len(listed()) == (2 if rests else 1)
    del house.exchange.before["find_order"]
    for _ in range(2):
        house.reconciler.run()
    no_id_twice(house)
    assert len(listed()) == 1
    assert len(house.manager.snapshot()) == 1


class FullDisk(FakeJournal):
    """Takes nothing that nobody waits for."""

    full = False

    def record_intent(self, position_id: str, request: OrderRequest, purpose: str, *, plan: Any = None,
                      wait: bool) -> None:
        if wait or not self.full:
            super().record_intent(position_id, request, purpose, plan=plan, wait=wait)


def test_a_cover_that_died_is_followed_by_another_though_nothing_is_written_down(clock: ManualClock) -> None:
    """The numbers of covers are kept in the book, whatever the disk does."""
    journal = FullDisk()
    house = a_manager(clock=clock, journal=journal)
    clock.flows = True
    an_unanswered_entry(house, clock)
    journal.full = True
    house.reconciler.run()
    (stop,) = house.exchange.fetch_stop_orders()
    house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    house.reconciler.run()
    del house.exchange.before["find_order"]
    house.reconciler.run()
    no_id_twice(house)
    assert len(house.exchange.fetch_stop_orders()) == 1


class Unreadable(FakeJournal):
    """Cannot be read for a while."""

    unreadable = False

    def last_attempt(self, position_id: str, purpose: str) -> int:
        if self.unreadable:
            raise JournalError("the journal cannot be read")
        return super().last_attempt(position_id, purpose)


@pytest.mark.parametrize("found", [True, False], ids=["found by look-up", "look-ups fail"])
def test_a_journal_that_cannot_be_read_leaves_nothing_bare(clock: ManualClock, found: bool) -> None:
    """Neither the uncertain entry, nor the position next to it whose stop is gone."""
    journal = Unreadable()
    house = a_manager((SYMBOL, OTHER), clock=clock, journal=journal, exits=exit_rules(take_profit=()))
    clock.flows = True
    request = an_entry_request(OTHER, now_ms=clock.now_ms())
    assert not isinstance(house.manager.open_position(request, an_account()), NotOpened)
    an_unanswered_entry(house, clock)
    for stop in house.exchange.fetch_stop_orders(OTHER):
        house.exchange.cancel_order(stop.order_id, Priority.CRITICAL)
    if found:
        del house.exchange.before["find_order"]
    journal.unreadable = True
    house.reconciler.run()
    assert {stop.symbol for stop in house.exchange.fetch_stop_orders()} == {SYMBOL, OTHER}


def test_what_is_found_is_protected_though_its_earlier_orders_cannot_be_read(clock: ManualClock) -> None:
    """The look-up of the entry is answered and the next one fails: its position is entered and gets its stop."""
    house = a_manager(clock=clock)
    clock.flows = True
    an_unanswered_entry(house, clock)

    def only_entries(client_oid: object) -> None:
        if "-e" not in str(client_oid):
            raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = only_entries
    house.reconciler.run()
    assert [position.quantity for position in house.manager.snapshot()] == [D(39)]
    assert len(house.exchange.fetch_stop_orders()) == 1


class SlowDisk(FakeJournal):
    """Nothing is on disk for as long as anybody waits."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self.slow = False

    def flush(self, timeout_s: float) -> bool:
        if self.slow:
            self._clock.advance(timeout_s)
        return not self.slow

    def save_position(self, position: Any, *, wait: bool = False) -> None:
        if self.slow and wait:
            self._clock.advance(10)
        super().save_position(position, wait=wait)


def test_the_first_stop_of_an_entry_taken_up_waits_a_second_for_the_disk(clock: ManualClock) -> None:
    """And no longer: the deadline of protection is five."""
    journal = SlowDisk(clock)
    house = a_manager(clock=clock, journal=journal)
    clock.flows = True
    an_unanswered_entry(house, clock)
    del house.exchange.before["find_order"]
    journal.slow = True
    begun, placed = clock.monotonic(), list[float]()
    house.exchange.before["place_order"] = lambda _request: placed.append(clock.monotonic() - begun)
    house.reconciler.run()
    assert placed[0] < 2


def test_a_start_waits_a_second_for_the_disk_however_much_is_open(clock: ManualClock) -> None:
    """Nothing is watched before that."""
    journal = SlowDisk(clock)
    symbols = [f"C{number}/USDT:USDT" for number in range(6)]
    house = a_manager(symbols, clock=clock, journal=journal)
    for symbol in symbols:
        house.manager.open_position(an_entry_request(symbol, now_ms=clock.now_ms()), an_account())
    journal.slow = True
    begun = clock.monotonic()
    restarted(house, clock=clock)
    assert clock.monotonic() - begun < 2
