"""A position RAD opened and its journal does not know: rebuilt from its orders on the exchange.

Client ids are derived from the position, so its orders name it: a resting stop, or the orders
behind the latest fills. From the entry's id on, exits and stops are found by counting. What is not
RAD's stays foreign: without an entry of RAD's that is still in it, or opened later than that entry.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from execution.explaining import reason_of_own
from execution.protection import Protection, confirmed, is_ours
from trading import settlement
from trading.client_ids import MOST_UNRECORDED, ClientOid, Purpose, parse
from trading.errors import OrderNotFound
from trading.exits import ExitRules
from trading.facts import ZERO, ExchangePosition, ExitReason, Fill, Order, Position, ProtectiveStop
from trading.lifecycle import IntentState
from trading.ports import Clock, Exchange, Journal

log = logging.getLogger("recover")

MOST_ORDERS = 100              # behind the latest fills of one symbol
SAME_OPENING_MS = 60_000       # by how much the position may seem younger than the order that opened it


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """The orders of one position that the exchange still knows."""

    position_id: str
    entry: Order | None
    exits: tuple[Order, ...]
    stops: tuple[Order, ...]       # in the order of their numbers


class Rebuilder:
    """Asks the exchange for forgotten positions; the reconciling thread alone. May raise ExchangeError."""

    def __init__(
        self, exchange: Exchange, journal: Journal, protection: Protection, rules: ExitRules, clock: Clock
    ) -> None:
        self._exchange = exchange
        self._journal = journal
        self._protection = protection
        self._rules = rules
        self._clock = clock
        self._client_oids: dict[str, str] = {}       # of orders looked at before, by order id
        self._over: set[str] = set()                 # positions of RAD's that are certainly not there any more

    def go_by(self, rules: ExitRules) -> None:
        """Go by other *rules* from the next position on."""
        self._rules = rules

    def rebuild(
        self, theirs: ExchangePosition, stops: Iterable[Order], fills: Iterable[Fill]
    ) -> tuple[Position, Trail] | None:
        """Return *theirs* as RAD's own, and its orders, if they opened it; None if it is somebody else's."""
        here = [stop for stop in stops if stop.symbol == theirs.symbol and is_ours(stop)]
        order_ids = dict.fromkeys(fill.order_id for fill in reversed(list(fills)) if fill.symbol == theirs.symbol)
        known = [stop.client_oid for stop in here] + self._known(list(order_ids)[:MOST_ORDERS])
        named = [client_oid for client_oid in map(parse, known) if client_oid is not None]
        for position_id in sorted({client_oid.position_id for client_oid in named} - self._over, reverse=True):
            if self._journal.is_closed(position_id):      # whatever is there now is not that one
                self._over.add(position_id)
                continue
            mine = [client_oid for client_oid in named if client_oid.position_id == position_id]
            trail = self._follow(position_id, mine)
            position = self._position_of(trail, theirs)
            if position is not None:
                return position, trail
            if trail.entry is not None and not trail.entry.is_active:
                self._over.add(position_id)
        return None

    def book_orders(self, trail: Trail, fills: Iterable[Fill]) -> None:
        """Write the orders of *trail* down, and the fills of those reckoned with, so that none counts twice.

        Fills that are not listed yet are booked late, as those of any order the journal knows to be done.
        """
        for order in (trail.entry, *trail.exits, *trail.stops):
            if order is None:
                continue
            self._journal.record_found(order)
            self._journal.settle_intent(order.client_oid, IntentState.ACCEPTED, order.order_id)
            if order is not trail.entry and order.is_active:
                continue                   # not reckoned with: it is booked whole when it is over
            if order.filled_quantity > ZERO:
                mine = [fill for fill in fills if fill.order_id == order.order_id]
                self._journal.record_fills(order.client_oid, mine)
            if order.filled_quantity > ZERO or not order.is_active:
                self._journal.settle_intent(order.client_oid, IntentState.DONE)

    def _known(self, order_ids: list[str]) -> list[str]:
        """Return the client ids of orders; each is asked for once."""
        if len(self._client_oids) > 10 * MOST_ORDERS:
            self._client_oids.clear()
        for order_id in order_ids:
            if order_id not in self._client_oids:
                try:
                    self._client_oids[order_id] = self._exchange.fetch_order(order_id).client_oid
                except OrderNotFound:      # a liquidation has none, say
                    self._client_oids[order_id] = ""
        return [self._client_oids[order_id] for order_id in order_ids]

    def _follow(self, position_id: str, named: list[ClientOid]) -> Trail:
        """Find the orders of one position, from those that are named on."""
        def numbered(purpose: Purpose) -> tuple[Order, ...]:
            found, number = {}, 1
            last = max((oid.attempt for oid in named if oid.purpose is purpose), default=0)
            while number <= last + MOST_UNRECORDED:
                order = self._exchange.find_order(
                    str(ClientOid(position_id=position_id, purpose=purpose, attempt=number))
                )
                if order is not None:
                    found[number] = order
                    last = max(last, number)
                number += 1
            return tuple(found.values())

        entry = ClientOid(position_id=position_id, purpose=Purpose.ENTRY, attempt=0)
        return Trail(
            position_id=position_id, entry=self._exchange.find_order(str(entry)),
            exits=numbered(Purpose.EXIT), stops=numbered(Purpose.STOP),
        )

    def _position_of(self, trail: Trail, theirs: ExchangePosition) -> Position | None:
        """Return what the orders of *trail* amount to; None if nothing of it can be in *theirs*."""
        instrument = self._exchange.instrument(theirs.symbol)
        entry = trail.entry
        resting = [stop for stop in trail.stops if stop.is_stop and stop.is_active]
        if entry is None and not resting:
            return None
        opened_ms = theirs.opened_ms if entry is None else entry.created_ms
        if entry is not None and (
            entry.side is not theirs.side.entry or not entry.filled_quantity
            or theirs.opened_ms > entry.created_ms + SAME_OPENING_MS
        ):
            return None
        own = [
            self._protection.own_stop(stop.stop_price, theirs.side, instrument)
            for stop in trail.stops if stop.stop_price is not None
        ]
        position = settlement.rebuilt(
            theirs, instrument, trail.position_id, opened_ms,
            theirs.quantity if entry is None else entry.filled_quantity,
            theirs.entry_price if entry is None or entry.average_price is None else entry.average_price,
            own[-1] if own else None, own[0] if own else None, self._rules,
        )
        position = self._less_its_exits(position, trail, known_entry=entry is not None)
        if not position.quantity:
            return None
        stop = confirmed(resting[-1], self._clock.now_ms()) if resting else None
        return self._numbered(position, trail, stop)

    def _less_its_exits(self, position: Position, trail: Trail, *, known_entry: bool) -> Position:
        """Return *position* after the exits and stops of its own that filled; not one that is still at it."""
        instrument = self._exchange.instrument(position.symbol)
        if not known_entry:
            return position                  # its size is the exchange's: they have left it already
        if trail.entry is not None:
            position = settlement.with_fee(position, trail.entry.filled_value * instrument.taker_fee_rate)
        for order in trail.exits + trail.stops:
            if order.filled_quantity and order.average_price is not None and not order.is_active:
                reason = ExitReason.EXCHANGE_STOP if order in trail.stops else reason_of_own(position, order)
                fee = order.filled_value * instrument.taker_fee_rate
                position = settlement.reduced(
                    position, order.filled_quantity, order.average_price, fee, reason
                )
        return position

    def _numbered(self, position: Position, trail: Trail, stop: ProtectiveStop | None) -> Position:
        """Return *position* with the numbers its next orders go on from, and its stop.

        Some are passed over: what left last may not show yet.
        """
        def last(orders: tuple[Order, ...]) -> int:
            return max((oid.attempt for oid in (parse(order.client_oid) for order in orders) if oid), default=0)

        return replace(
            position, exit_attempt=last(trail.exits) + MOST_UNRECORDED,
            stop_attempt=last(trail.stops) + MOST_UNRECORDED, protective_stop=stop,
        )
