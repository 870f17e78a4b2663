"""What closed a position, or a part of it, behind our back: found on the exchange, never assumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.book import of_order, of_trade
from execution.orders import Execution
from trading.client_ids import MOST_UNRECORDED, ClientOid, Purpose, parse
from trading.errors import OrderNotFound
from trading.facts import ZERO, ExitReason, Fill, Order, OrderSide, Position, total_quantity
from trading.ports import Exchange, Journal

log = logging.getLogger("recon")

MOST_ASKED = 20                # orders asked for to learn whose fills these are
MOST_ASKED_ONCE = 100          # the same, where a journal may be days behind: once, after a restart
LOOK_BACK = 2 * MOST_UNRECORDED    # exits asked for when one is missing: numbers are passed over at a restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Orders, or fills of others, that closed so much for that reason; others have no client id."""

    client_oid: str
    execution: Execution
    reason: ExitReason
    fills: tuple[Fill, ...] | None = None      # of others: to be booked with it; else to be asked for


class Explainer:
    """Asks the exchange; any thread, changes nothing. Every question may raise ExchangeError.

    *is_reckoned*: the book's. What has changed a position is in the book first and in the journal a moment later.
    """

    def __init__(
        self, exchange: Exchange, journal: Journal, is_reckoned: Callable[[str, tuple[str, str]], bool]
    ) -> None:
        self._exchange = exchange
        self._journal = journal
        self._is_reckoned = is_reckoned

    def what_closed(self, position: Position, missing: Decimal) -> Explanation | None:
        """Return what closed *missing* lots of *position* or some of them; None if nothing is to be found."""
        found = self._own_exit(position) or self._stop_that_fired(position)
        if found is not None:
            return found
        own = next(self.own_behind(position, self._newest_first(position)), None)
        if own is None:
            return self._someone_else(position, missing)
        order, purpose = own
        return _own(position, order, purpose) if _has_filled(order) else None      # it is still at it: later

    def _own_exit(self, position: Position) -> Explanation | None:
        """Return an exit of RAD's own that filled and was not booked: it left just before a crash."""
        for attempt in range(position.exit_attempt, max(0, position.exit_attempt - LOOK_BACK), -1):
            order = self._find(position, Purpose.EXIT, attempt)
            if order is not None and _has_filled(order) and not self._is_booked(position, order):
                return _own(position, order, Purpose.EXIT)
        return None

    def _stop_that_fired(self, position: Position) -> Explanation | None:
        """Return the resting stop's execution; looks at every stop this position has had."""
        for attempt in range(position.stop_attempt, 0, -1):
            order = self._find(position, Purpose.STOP, attempt)
            if order is not None and _has_filled(order):
                if self._is_booked(position, order):
                    return None
                return _own(position, order, Purpose.STOP)
            if order is not None and attempt < position.stop_attempt - LOOK_BACK:
                break                 # older stops were cancelled long ago
        return None

    def own_behind(
        self, position: Position, fills: Iterable[Fill], most: int = MOST_ASKED
    ) -> Iterator[tuple[Order, Purpose]]:
        """Yield the orders of this position's behind *fills* that are in no book, whatever their numbers."""
        asked: set[str] = set()
        for fill in self._unbooked(position, fills):
            if fill.order_id in asked:
                continue
            if len(asked) == most:
                break
            asked.add(fill.order_id)
            try:
                order = self._exchange.fetch_order(fill.order_id)
            except OrderNotFound:         # a liquidation has none, say
                continue
            client_oid = parse(order.client_oid)
            is_own = client_oid is not None and client_oid.position_id == position.position_id
            if client_oid is not None and is_own and not self._is_booked(position, order):
                yield order, client_oid.purpose

    def what_ended(self, position: Position, *, is_over: bool) -> tuple[Explanation, ...]:
        """Return what closed the whole of *position*: orders of its own, the oldest first.

        Nothing unless it is all of it: whatever its symbol shows may then still be that position. Where
        it certainly *is_over*, what its own orders have not closed somebody else has.
        """
        own = [
            _own(position, order, purpose)
            for order, purpose in self.own_behind(position, self._newest_first(position), MOST_ASKED_ONCE)
            if _has_filled(order)
        ]
        own.reverse()
        missing = position.quantity - sum((each.execution.quantity for each in own), ZERO)
        if missing <= 0:
            return tuple(own)
        others = self._first_of_others(position, own, missing) if is_over else None
        return (*own, others) if others is not None else ()

    def _first_of_others(
        self, position: Position, own: Iterable[Explanation], missing: Decimal
    ) -> Explanation | None:
        """Return the first fills against *position* of no order of its *own*; None if they are too few.

        Not the newest: those may have closed whatever came after it.
        """
        ours = {each.execution.order.order_id for each in own}
        fills: list[Fill] = []
        for fill in reversed(list(self._unbooked(position, self._newest_first(position)))):
            if total_quantity(fills) >= missing:
                break
            if fill.order_id not in ours and not self._journal.client_oids([fill.order_id]):
                fills.insert(0, fill)
        return _of_others(position, fills, missing) if total_quantity(fills) >= missing else None

    def _someone_else(self, position: Position, missing: Decimal) -> Explanation | None:
        """Return what others traded against the position: a person, a liquidation, ADL.

        The newest fills, and no more than is missing: what was sold and bought back changed nothing,
        and what went beyond all of it has opened something that is not RAD's.
        """
        fills: list[Fill] = []
        for fill in self._unbooked(position, self._newest_first(position)):
            if total_quantity(fills) >= missing:
                break
            if not self._journal.client_oids([fill.order_id]):
                fills.append(fill)
        return _of_others(position, fills, min(missing, total_quantity(fills))) if fills else None

    def _unbooked(self, position: Position, newest_first: Iterable[Fill]) -> Iterator[Fill]:
        """Yield those that traded against the position and are in no book of RAD's."""
        for fill in newest_first:
            if fill.ts_ms < position.opened_ms:
                break
            is_against = fill.side is position.side.exit
            if not is_against or self._is_reckoned(position.position_id, of_trade(fill.trade_id)):
                continue
            if not self._journal.is_booked(fill.symbol, fill.trade_id):
                yield fill

    def _newest_first(self, position: Position) -> Iterator[Fill]:
        """Yield the symbol's fills, those of before the last 24 hours only if nothing newer is enough."""
        recent = self._exchange.fetch_recent_fills(position.symbol)
        yield from reversed(recent)
        told = {fill.trade_id for fill in recent}
        older = self._exchange.fetch_older_fills(position.symbol, position.opened_ms)
        yield from (fill for fill in reversed(older) if fill.trade_id not in told)

    def _find(self, position: Position, purpose: Purpose, attempt: int) -> Order | None:
        client_oid = ClientOid(position_id=position.position_id, purpose=purpose, attempt=attempt)
        return self._exchange.find_order(str(client_oid))

    def _is_booked(self, position: Position, order: Order) -> bool:
        if self._is_reckoned(position.position_id, of_order(order.order_id)):
            return True
        if self._journal.client_oids([order.order_id], settled=True):
            return True               # perhaps on an estimate, before its fills were listed
        fills = self._exchange.fetch_order_fills(order.order_id)
        return any(self._journal.is_booked(fill.symbol, fill.trade_id) for fill in fills)


def _has_filled(order: Order) -> bool:
    """Whether it is over and has done something."""
    return bool(order.filled_quantity) and not order.is_active


def _own(position: Position, order: Order, purpose: Purpose) -> Explanation:
    reason = ExitReason.EXCHANGE_STOP if purpose is Purpose.STOP else reason_of_own(position, order)
    return Explanation(client_oid=order.client_oid, execution=Execution(order=order), reason=reason)


def _of_others(position: Position, fills: Sequence[Fill], quantity: Decimal) -> Explanation:
    """Return *fills* of others, newest first, as what closed *quantity* lots of *position*."""
    forced = any(fill.kind in ("liquid", "adl") for fill in fills)
    return Explanation(
        client_oid="", execution=Execution(order=_order_made_of(fills, position, quantity)),
        reason=ExitReason.LIQUIDATION if forced else ExitReason.EXTERNAL, fills=tuple(fills),
    )


def reason_of_own(position: Position, order: Order) -> ExitReason:
    """Return why an exit left that nobody wrote down: what asked for a part, at a profit, took profit."""
    if position.exit_reason is not None:
        return position.exit_reason
    price = order.average_price or position.entry_price
    asked_a_part = not order.close_order and order.quantity < position.quantity
    if asked_a_part and position.side.is_beyond(price, position.entry_price):
        return ExitReason.TAKE_PROFIT
    return position.stop_reason


def _order_made_of(fills: Sequence[Fill], position: Position, quantity: Decimal) -> Order:
    """An order as it must have been: *quantity* lots at the average of *fills*, newest first, not ours."""
    average = sum((fill.quantity * fill.price for fill in fills), ZERO) / total_quantity(fills)
    return Order(
        order_id=fills[0].order_id,
        client_oid="",
        symbol=position.symbol,
        side=OrderSide(position.side.exit.value),
        quantity=quantity,
        filled_quantity=quantity,
        filled_value=average * quantity * position.multiplier,
        average_price=average,
        is_active=False,
        is_cancelled=False,
        reduce_only=True,
        close_order=False,
        stop_price=None,
        stop_triggered=False,
        created_ms=fills[-1].ts_ms,
    )
