"""The real PositionManager between a fake exchange and a fake journal, for the scheduler."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tests.fake_exchange import FakeExchange, FakeJournal
from tests.interleavings.watching import VirtualClock, edge, watch
from tests.trading_house import SYMBOL as SYMBOL
from tests.trading_house import TradingHouse, a_manager

EXCHANGE = (
    "find_order", "fetch_order", "fetch_open_orders", "fetch_stop_orders", "fetch_recent_fills",
    "fetch_order_fills", "fetch_positions", "place_order", "cancel_order", "set_margin_mode",
)
JOURNAL = (
    "record_intent", "settle_intent", "record_fills", "save_position", "record_execution", "is_booked",
    "client_oids", "last_attempt", "is_closed",
)


def a_house(**wishes: Any) -> TradingHouse:
    """A manager whose every step the scheduler sees: what it shares, and each call to exchange and journal."""
    house = a_manager(clock=VirtualClock(), **wishes)
    watch(house.manager, "book", house.manager._positions_lock)
    edge(house.exchange, "exchange", lambda: state_of(house.exchange), EXCHANGE)
    edge(house.journal, "journal", lambda: noted_in(house.journal), JOURNAL)
    return house


def state_of(exchange: FakeExchange) -> Hashable:
    """Return what answers of the exchange depend on."""
    orders = tuple(
        (order.client_oid, order.is_active, order.filled_quantity, order.stop_price)
        for order in exchange.orders.values()
    )
    return orders, tuple(exchange.net.items())


def noted_in(journal: FakeJournal) -> Hashable:
    """Return what is in the journal, whatever the order it came in."""
    return (
        frozenset(journal.intents.items()), frozenset(journal.fills), frozenset(journal.positions.items()),
        frozenset(trade.position_id for trade in journal.trades),
    )


def must_agree(house: TradingHouse) -> None:
    """Book, exchange and journal tell the same, each order has an id of its own, and no stop is left alone."""
    book = {p.symbol: p.quantity * p.side.sign for p in house.manager.snapshot()}
    there = {symbol: net for symbol, net in house.exchange.net.items() if net}
    written = {p.symbol: p.quantity * p.side.sign for p in house.journal.positions.values()}
    assert book == there, "book and exchange"
    assert written == book, "journal and book"
    sent = [request.client_oid for request in house.exchange.received]
    assert len(sent) == len(set(sent)), "client ids"
    assert not house.manager.busy_symbols(), "nobody works on it any more"
    stops = sorted(order.symbol for order in house.exchange.orders.values() if order.is_active and order.is_stop)
    assert stops == sorted(there), "one stop for each position"
