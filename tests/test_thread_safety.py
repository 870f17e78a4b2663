"""Thread safety, with real threads: each test fails when its lock is taken away.

Run by pytest with the rest, or alone: python tests/test_thread_safety.py
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from execution.book import NotOpened
from runtime import locks
from tests.crowd import PATIENCE_S, all_at_once, crowd, frequent_switches
from tests.trading_house import a_manager, an_account, an_entry_request
from trading.facts import ClosedTrade, ExitReason, Position

D = Decimal
SYMBOL = "BTC/USDT:USDT"


class NoLock:
    """A lock that locks nothing: what a mutant has in place of a real one."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        return None

    def is_mine(self) -> bool:
        return True


class MeetingDict(dict[str, Any]):
    """A dict in which two threads that look for a key meet, so that both look before either acts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._meeting = threading.Barrier(2)

    def _meet(self) -> None:
        try:
            self._meeting.wait(0.3)      # alone under the lock nobody comes: go on without company
        except threading.BrokenBarrierError:
            pass

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self._meet()
        return found

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        self._meet()
        return found


def without_lock(manager: Any) -> Any:
    """Return *manager* with its positions lock replaced by nothing."""
    manager._positions_lock = NoLock()
    return manager


def race_to_open(manager: Any) -> list[object]:
    """Two threads open the same symbol at once; both look before either claims, if the lock lets them."""
    manager._opening = MeetingDict()
    return all_at_once(*[lambda: manager.open_position(an_entry_request(), an_account())] * 2)


def race_to_close(manager: Any) -> list[object]:
    """Two threads close the same position at once."""
    manager.open_position(an_entry_request(), an_account())
    with manager._positions_lock:
        manager.positions = MeetingDict(manager.positions)
    return all_at_once(*[lambda: manager.close_position(SYMBOL)] * 2)


# ---- concurrent position updates ----------------------------------------------------------------


def test_two_openers_of_one_symbol_buy_once() -> None:
    """Of two threads that open the same symbol at the same moment, one sends an order."""
    house = a_manager()
    results = race_to_open(house.manager)
    assert len(house.exchange.entries()) == 1
    assert sorted(type(result).__name__ for result in results) == ["NotOpened", "Position"]


def test_two_openers_without_the_lock_buy_twice() -> None:
    """The mutant: with the positions lock taken away the test above would see two orders."""
    locks.make_strict(False)
    try:
        house = a_manager()
        race_to_open(without_lock(house.manager))
    finally:
        locks.make_strict(True)
    assert len(house.exchange.entries()) == 2


def test_two_closers_of_one_position_sell_once() -> None:
    """Of two threads that close the same position at the same moment, one sends an exit."""
    house = a_manager()
    results = race_to_close(house.manager)
    assert len(house.exchange.exits()) == 1
    assert sum(isinstance(result, ClosedTrade) for result in results) == 1
    assert house.exchange.net[SYMBOL] == 0


def test_two_closers_without_the_lock_sell_twice() -> None:
    """The mutant: with the positions lock taken away both threads claim the position."""
    locks.make_strict(False)
    try:
        house = a_manager()
        manager = without_lock(house.manager)
        manager.open_position(an_entry_request(), an_account())
        manager.positions = MeetingDict(manager.positions)
        claims = all_at_once(*[lambda: manager.claim_closing(SYMBOL, ExitReason.MANUAL)] * 2)
    finally:
        locks.make_strict(True)
    assert sum(claim is not None for claim in claims) == 2


def test_monitor_and_person_close_once() -> None:
    """A stop that is hit while somebody closes by hand: one exit, one closed trade."""
    house = a_manager()
    house.manager.open_position(an_entry_request(), an_account())
    house.prices.set(SYMBOL, D(1))
    house.exchange.prices[SYMBOL] = D(1)
    with frequent_switches():
        all_at_once(house.manager.update_positions, lambda: house.manager.close_position(SYMBOL))
    assert len(house.exchange.exits()) == 1
    assert len(house.journal.trades) == 1
    assert house.manager.snapshot() == ()


def test_many_threads_leave_a_consistent_book() -> None:
    """Openers, closers, the monitor and readers at once: book, exchange and journal agree afterwards."""
    symbols = [f"C{number}/USDT:USDT" for number in range(8)]
    house = a_manager(symbols=symbols)
    manager = house.manager

    def open_and_close(offset: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(6):
                symbol = symbols[(offset + turn) % len(symbols)]
                manager.open_position(an_entry_request(symbol=symbol), an_account())
                if turn % 2:
                    manager.close_position(symbol)
        return run

    def watch() -> None:
        for _ in range(30):
            manager.update_positions()
            for position in manager.snapshot():
                assert position.quantity >= 0
                assert position.symbol in symbols

    with frequent_switches():
        all_at_once(*[open_and_close(offset) for offset in range(4)], watch, watch)
    book = {p.symbol: p.quantity * p.side.sign for p in manager.snapshot()}
    assert book == {symbol: net for symbol, net in house.exchange.net.items() if net}
    closed = sum((trade.quantity for trade in house.journal.trades), D(0))
    entries = [order for order in house.exchange.orders.values() if "-e" in order.client_oid]
    opened = sum((order.filled_quantity for order in entries), D(0))
    assert opened - closed == sum(abs(quantity) for quantity in book.values())
    assert len({request.client_oid for request in house.exchange.received}) == len(house.exchange.received)


def test_no_lock_is_held_while_an_order_is_on_the_wire() -> None:
    """While an entry's answer is withheld, another symbol is opened and closed."""
    other = "ETH/USDT:USDT"
    house = a_manager(symbols=[SYMBOL, other])
    on_the_wire, answer = threading.Event(), threading.Event()

    def withhold(request: Any) -> None:
        if request.symbol == SYMBOL:
            on_the_wire.set()
            assert answer.wait(PATIENCE_S)

    house.exchange.before["place_order"] = withhold
    with crowd(lambda: house.manager.open_position(an_entry_request(), an_account())) as results:
        assert on_the_wire.wait(PATIENCE_S)
        assert isinstance(house.manager.open_position(an_entry_request(symbol=other), an_account()), Position)
        assert isinstance(house.manager.close_position(other), ClosedTrade)
        assert isinstance(house.manager.open_position(an_entry_request(), an_account()), NotOpened)
        answer.set()
    assert isinstance(results[0], Position)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-v", "-p", "no:cacheprovider"]))
