"""Making book and exchange agree again: at start, after anything uncertain, and every minute.

The same routine each time. A look that failed, or only half succeeded, changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from execution.book import NotOpened
from execution.orders import Accepted, Execution, OrderSender, Outcome, Rejected, Unresolved
from execution.protection import is_ours
from trading.client_ids import ClientOid, Purpose
from trading.errors import ExchangeError, OrderNotFound
from trading.facts import (
    ZERO,
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    ExitReason,
    Fill,
    Order,
    OrderSide,
    Position,
    Priority,
)
from trading.lifecycle import PositionState
from trading.ports import Exchange, Journal
from trading.reconciliation import Difference, ExchangeView, Kind, compare

log = logging.getLogger("recon")

MOST_UNRECORDED = 3            # orders of one purpose that may have left without the journal knowing


class BookKeeper(Protocol):
    """What reconciling asks of the position manager."""

    def snapshot(self) -> tuple[Position, ...]: ...
    def entries_under_way(self) -> tuple[EntryPlan, ...]: ...
    def busy_symbols(self) -> frozenset[str]: ...
    def take_uncertain(self) -> frozenset[str]: ...
    def mark_uncertain(self, position_id: str) -> None: ...
    def unswept(self) -> frozenset[str]: ...
    def set_swept(self, symbols: frozenset[str]) -> None: ...
    def set_foreign(self, symbols: frozenset[str]) -> None: ...
    def claim_closing(
        self, symbol: str, reason: ExitReason, *, position_id: str | None = None, patient: bool = False
    ) -> Position | None: ...
    def put_back(self, symbol: str, position_id: str, *, pause_s: float = 0.0) -> Position | None: ...
    def settle_entry(
        self, plan: EntryPlan, outcome: Outcome, *, exits: int = 0, stops: int = 0
    ) -> Position | NotOpened: ...
    def book_exit(
        self, claimed: Position, client_oid: str, execution: Execution, reason: ExitReason
    ) -> ClosedTrade | None: ...
    def protect(self, symbol: str) -> bool: ...
    def adopt(self, theirs: ExchangePosition) -> Position | None: ...
    def change_if_open(self, symbol: str, position_id: str, **fields: Any) -> Position | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What one run found and could not mend."""

    found: tuple[Difference, ...]
    unexplained: tuple[Difference, ...]     # entries are blocked while there are any

    @property
    def agrees(self) -> bool:
        """Whether book and exchange agree, or every difference is explained."""
        return not self.unexplained


class Reconciler:
    """Compares book and exchange and mends what it can explain; one thread at a time."""

    def __init__(
        self,
        exchange: Exchange,
        books: BookKeeper,
        sender: OrderSender,
        journal: Journal,
        *,
        protect: bool,
        adopt: bool = False,
    ) -> None:
        self._exchange = exchange
        self._books = books
        self._sender = sender
        self._journal = journal
        self._protect = protect
        self._adopt = adopt

    def run(self) -> Reconciliation:
        """Look once at everything and mend what can be explained.

        Raises:
            ExchangeError: the exchange could not be read; nothing was concluded.
        """
        self._book_late_fills()
        self._resolve_uncertain()
        before = {position.symbol: position for position in self._books.snapshot()}
        unswept = self._books.unswept()
        view = self.look()
        self._books.set_swept(unswept - {stop.symbol for stop in view.stop_orders if is_ours(stop)})
        after = self._books.snapshot()
        # What changed while we looked, or is under way, is for the next run.
        moving = self._books.busy_symbols() | {
            position.symbol for position in after if before.get(position.symbol) != position
        } | (before.keys() - {position.symbol for position in after})
        found = compare(after, view, reserved=moving, protect=self._protect)
        self._books.set_foreign(frozenset(d.symbol for d in found if d.kind is Kind.FOREIGN))
        if self._adopt:
            self._adopt_foreign(found, view)
        unexplained = tuple(difference for difference in found if not self._mend(difference, before))
        return Reconciliation(found=found, unexplained=unexplained)

    def look(self) -> ExchangeView:
        """Return positions, orders and stops, all of them or an error."""
        return ExchangeView(
            positions=self._exchange.fetch_positions(),
            open_orders=self._exchange.fetch_open_orders(),
            stop_orders=self._exchange.fetch_stop_orders(),
        )

    def catch_up(self) -> None:
        """After a restart: number on from the orders that left before it.

        A client id used before the crash must not be used again, or a look-up would find the old order.
        """
        for position in self._books.snapshot():
            exits = self._last_attempt(position.position_id, Purpose.EXIT, position.exit_attempt)
            stops = self._last_attempt(position.position_id, Purpose.STOP, position.stop_attempt)
            self._books.change_if_open(
                position.symbol, position.position_id, exit_attempt=exits, stop_attempt=stops
            )

    def _last_attempt(self, position_id: str, purpose: Purpose, known: int = 0) -> int:
        """Return the number of the last order of this purpose that the exchange knows."""
        last = known
        for attempt in range(known + 1, known + 1 + MOST_UNRECORDED):
            client_oid = ClientOid(position_id=position_id, purpose=purpose, attempt=attempt)
            if self._exchange.find_order(str(client_oid)) is not None:
                last = attempt
        return last

    def _book_late_fills(self) -> None:
        """Book fills of RAD's own orders that were not listed yet when the order was settled."""
        ours = self._journal.client_oids(settled=True)
        for fill in self._exchange.fetch_recent_fills():
            client_oid = ours.get(fill.order_id)
            if client_oid is not None and not self._journal.is_booked(fill.symbol, fill.trade_id):
                self._journal.record_fills(client_oid, [fill])

    # ---- orders whose outcome is not certain ----------------------------------------------------

    def _resolve_uncertain(self) -> None:
        uncertain = self._books.take_uncertain()
        try:
            self._resolve(uncertain)
        except BaseException:
            for position_id in uncertain:       # what is resolved already is passed over next time
                self._books.mark_uncertain(position_id)
            raise

    def _resolve(self, uncertain: frozenset[str]) -> None:
        plans = self._books.entries_under_way()
        # An entry settled here is watched at once: what closes it then is somebody else's work.
        exits = uncertain - {plan.position_id for plan in plans}
        for plan in plans:
            if plan.position_id in uncertain:
                outcome = self._sender.look_up(plan.client_oid, plan.planned_ms)
                log.info("%s uncertain entry looked up outcome=%s", plan.symbol, outcome)
                # Before a crash its position may have had stops and exits already.
                self._books.settle_entry(
                    plan, outcome, exits=self._last_attempt(plan.position_id, Purpose.EXIT),
                    stops=self._last_attempt(plan.position_id, Purpose.STOP),
                )
        for position in self._books.snapshot():
            if position.position_id in exits and position.state is PositionState.CLOSING:
                self._resolve_exit(position)

    def _resolve_exit(self, position: Position) -> None:
        """Find out what became of the exit under way, and book it or make way for the next."""
        client_oid = str(ClientOid(
            position_id=position.position_id, purpose=Purpose.EXIT, attempt=position.exit_attempt
        ))
        match self._sender.look_up(client_oid, sent_ms=0):
            case Accepted(order_id=order_id):
                try:
                    execution = self._sender.settle(order_id, symbol=position.symbol)
                except ExchangeError as error:
                    log.warning("%s exit still not readable error=%s", position.symbol, error)
                    self._books.mark_uncertain(position.position_id)
                    return
                self._books.book_exit(position, client_oid, execution, position.exit_reason or ExitReason.MANUAL)
            case Rejected():
                self._exit_never_was(position)
            case Unresolved(reason=reason):
                log.warning("%s exit still uncertain reason=%s", position.symbol, reason)
                self._books.mark_uncertain(position.position_id)

    def _exit_never_was(self, position: Position) -> None:
        """The exit is not there: someone was faster, or it may be sent again."""
        still_there = any(theirs.symbol == position.symbol for theirs in self._exchange.fetch_positions())
        if still_there:
            self._books.put_back(position.symbol, position.position_id)
        elif not self._book_what_closed_it(position):
            self._books.mark_uncertain(position.position_id)

    # ---- mending --------------------------------------------------------------------------------

    def _mend(self, difference: Difference, book: dict[str, Position]) -> bool:
        """Act on one difference; True when it is explained, whether or not there was much to do."""
        log.warning(
            "%s book and exchange differ kind=%s book=%s exchange=%s",
            difference.symbol, difference.kind.value, difference.book, difference.exchange,
        )
        match difference.kind:
            case Kind.GONE | Kind.SMALLER:
                explained = self._book_what_closed_it(book[difference.symbol])
            case Kind.UNPROTECTED:
                self._books.protect(difference.symbol)
                explained = True
            case Kind.ORPHAN_STOP | Kind.STRAY_ORDER:
                explained = self._cancel(difference)
            case Kind.FOREIGN:
                explained = True      # not RAD's: reported, and the symbol is left alone
            case _:
                explained = False
        self._journal.record_event(
            difference.kind.value,
            f"book {difference.book}, exchange {difference.exchange}, explained {explained}",
            difference.symbol,
        )
        return explained

    def _adopt_foreign(self, found: tuple[Difference, ...], view: ExchangeView) -> None:
        foreign = {difference.symbol for difference in found if difference.kind is Kind.FOREIGN}
        for theirs in view.positions:
            if theirs.symbol in foreign:
                self._books.adopt(theirs)

    def _cancel(self, difference: Difference) -> bool:
        try:
            self._exchange.cancel_order(difference.order_id, Priority.NORMAL)
        except OrderNotFound:
            pass
        except ExchangeError as error:
            log.warning("%s not cancelled order_id=%s error=%s", difference.symbol, difference.order_id, error)
            return False
        return True

    def _book_what_closed_it(self, position: Position) -> bool:
        """Find the orders that closed a position, or a part of it, behind our back, and book them."""
        closed_by = (
            self._own_exit(position) or self._stop_that_fired(position) or self._someone_else(position)
        )
        if closed_by is None:
            log.error("%s nothing explains what happened to it; entries are blocked", position.symbol)
            return False
        client_oid, execution, reason = closed_by
        claimed: Position | None = position
        if position.state is PositionState.OPEN:
            claimed = self._books.claim_closing(position.symbol, reason, position_id=position.position_id)
        if claimed is None:
            return True               # another thread has it: it will find the same
        log.warning("%s was closed reason=%s quantity=%s", position.symbol, reason.value, execution.quantity)
        self._books.book_exit(claimed, client_oid, execution, reason)
        return True

    def _own_exit(self, position: Position) -> tuple[str, Execution, ExitReason] | None:
        """Return an exit of RAD's own that filled and was not booked: it left just before a crash."""
        for attempt in range(position.exit_attempt, max(0, position.exit_attempt - MOST_UNRECORDED), -1):
            client_oid = str(ClientOid(
                position_id=position.position_id, purpose=Purpose.EXIT, attempt=attempt
            ))
            order = self._exchange.find_order(client_oid)
            if order is None or not order.filled_quantity or order.is_active:
                continue
            if not self._is_booked(order, position):
                return client_oid, Execution(order=order), position.exit_reason or position.stop_reason
        return None

    def _stop_that_fired(self, position: Position) -> tuple[str, Execution, ExitReason] | None:
        """Return the resting stop's execution; looks at every stop this position has had."""
        for attempt in range(position.stop_attempt, 0, -1):
            client_oid = str(ClientOid(
                position_id=position.position_id, purpose=Purpose.STOP, attempt=attempt
            ))
            order = self._exchange.find_order(client_oid)
            if order is not None and order.filled_quantity and not order.is_active:
                if self._is_booked(order, position):
                    return None
                return client_oid, Execution(order=order), ExitReason.EXCHANGE_STOP
            if order is not None and attempt < position.stop_attempt - 3:
                break                 # older stops were cancelled long ago
        return None

    def _is_booked(self, order: Order, position: Position) -> bool:
        """Whether *position* is without what *order* closed.

        That its fills are in the journal does not say so: they go there first, and a crash may come
        before the position. So what it has lost is counted against what has been booked until then.
        """
        fills = self._exchange.fetch_order_fills(order.order_id)
        if not any(self._journal.is_booked(fill.symbol, fill.trade_id) for fill in fills):
            return False
        exits = [fill for fill in self._journal.fills_of(position.position_id) if fill.side is position.side.exit]
        last = max((n for n, fill in enumerate(exits) if fill.order_id == order.order_id), default=-1)
        closed = sum((fill.quantity for fill in exits[:last + 1]), ZERO)
        return closed <= position.initial_quantity - position.quantity

    def _someone_else(self, position: Position) -> tuple[str, Execution, ExitReason] | None:
        """Return what others traded against the position: a person, a liquidation, ADL."""
        fills = [
            fill
            for fill in self._exchange.fetch_recent_fills(position.symbol)
            if fill.side is position.side.exit and fill.ts_ms >= position.opened_ms
            and not self._journal.is_booked(fill.symbol, fill.trade_id)
        ]
        if not fills:
            return None
        reason = (
            ExitReason.LIQUIDATION if any(fill.kind in ("liquid", "adl") for fill in fills)
            else ExitReason.EXTERNAL
        )
        order = _order_made_of(fills, position)
        self._journal.record_fills("", fills)
        return "", Execution(order=order), reason


def _order_made_of(fills: list[Fill], position: Position) -> Order:
    """An order as it must have been, from fills whose order is not ours."""
    quantity = sum((fill.quantity for fill in fills), ZERO)
    value: Decimal = sum((fill.quantity * fill.price * position.multiplier for fill in fills), ZERO)
    return Order(
        order_id=fills[-1].order_id,
        client_oid="",
        symbol=position.symbol,
        side=OrderSide(position.side.exit.value),
        quantity=quantity,
        filled_quantity=quantity,
        filled_value=value,
        average_price=value / (quantity * position.multiplier),
        is_active=False,
        is_cancelled=False,
        reduce_only=True,
        close_order=False,
        stop_price=None,
        stop_triggered=False,
        created_ms=fills[0].ts_ms,
    )
