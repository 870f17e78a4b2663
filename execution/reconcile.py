"""Making book and exchange agree again: at start, after anything uncertain, and every minute.

The same routine each time. A look that failed, or only half succeeded, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from execution.book import NotOpened
from execution.catching_up import CatchUp, book_closing
from execution.explaining import Explainer, reason_of_own
from execution.holding import NEVER
from execution.late_fills import LateFills
from execution.orders import Accepted, Execution, LookUp, OrderSender, Outcome, Rejected
from execution.protection import is_ours
from execution.rebuild import SAME_OPENING_MS, Rebuilder
from trading.client_ids import MOST_UNRECORDED, ClientOid, Purpose
from trading.errors import ExchangeError, OrderNotFound
from trading.escalation import Leaving
from trading.facts import (
    ZERO,
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    ExitReason,
    Fill,
    Position,
    Priority,
)
from trading.lifecycle import PositionState
from trading.ports import Exchange, Journal
from trading.reconciliation import Difference, ExchangeView, Kind, compare, compare_one

log = logging.getLogger("recon")

UNEXPLAINED_PAUSE_S = 10.0     # before something that nothing explains is looked into again


class BookKeeper(Protocol):
    """What reconciling asks of the position manager."""

    def snapshot(self) -> tuple[Position, ...]: ...
    def entries_under_way(self) -> tuple[EntryPlan, ...]: ...
    def busy_symbols(self) -> frozenset[str]: ...
    def uncertain(self) -> dict[str, float]: ...
    def mark_uncertain(self, position_id: str, *, pause_s: float = 0.0) -> None: ...
    def certain(self, position_id: str) -> None: ...
    def resume_closing(self, symbol: str, position_id: str, attempt: int) -> None: ...
    def leave_unswept(self, symbol: str) -> None: ...
    def unswept(self) -> frozenset[str]: ...
    def set_swept(self, symbols: frozenset[str]) -> None: ...
    def set_foreign(self, symbols: frozenset[str], shared: frozenset[str] = frozenset()) -> None: ...
    def claim_closing(
        self, symbol: str, reason: ExitReason, *, position_id: str | None = None,
        unless: Iterable[tuple[str, str]] = (),
    ) -> Position | None: ...
    def put_back(self, symbol: str, position_id: str) -> Position | None: ...
    def settle_entry(
        self, plan: EntryPlan, outcome: Outcome, attempts: tuple[int, int] | None = None
    ) -> Position | NotOpened: ...
    def book_exit(
        self, claimed: Position, client_oid: str, execution: Execution, reason: ExitReason,
        fills: tuple[Fill, ...] | None = None,
    ) -> ClosedTrade | None: ...
    def stop_lost(self, symbol: str, position_id: str) -> Position | None: ...
    def protect(self, symbol: str) -> bool: ...
    def cover_entry(self, plan: EntryPlan, theirs: ExchangePosition) -> None: ...
    def last_cover(self, position_id: str) -> int: ...
    def leaving(self, symbol: str) -> Leaving | None: ...
    def is_reckoned(self, position_id: str, what: tuple[str, str]) -> bool: ...
    def adopt(self, theirs: ExchangePosition) -> Position | None: ...
    def take_up(self, position: Position) -> bool: ...
    def number_on(self, symbol: str, position_id: str, *, exits: int, stops: int) -> None: ...


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
        rebuilder: Rebuilder,
        adopt: bool = False,
    ) -> None:
        self._exchange = exchange
        self._books = books
        self._sender = sender
        self._journal = journal
        self._protect = protect
        self._adopt = adopt
        self._rebuilder = rebuilder
        self._explainer = Explainer(exchange, journal, books.is_reckoned)
        self._late_fills = LateFills(exchange, journal)
        self._catch_up = CatchUp(exchange, books, journal, self._explainer)
        self._look_ups: dict[str, LookUp] = {}      # under way over several runs, by client id
        self._lost: dict[str, Difference] = {}      # claimed and nothing explains it, by position id

    def run(self) -> Reconciliation:
        """Look once at everything and mend what can be explained.

        Raises:
            ExchangeError: the exchange could not be read; nothing was concluded.
        """
        fills = self._late_fills.read()
        lost = self._resolve_uncertain()
        before = {position.symbol: position for position in self._books.snapshot()}
        # Whoever is moving a stop there may have placed it when we have looked.
        unswept = self._books.unswept() - self._books.busy_symbols()
        view = self.look()
        guarding = {p.protective_stop.client_oid for p in self._books.snapshot() if p.protective_stop}
        left = {stop.symbol for stop in view.stop_orders if is_ours(stop) and stop.client_oid not in guarding}
        self._books.set_swept(unswept - left)
        before |= self._take_up_forgotten(view, before, fills)
        # What is under way, or has changed while we looked, is for the next run. In this order: what ends
        # between the two has changed.
        busy = self._books.busy_symbols()
        after = self._books.snapshot()
        moving = busy | {
            position.symbol for position in after if before.get(position.symbol) != position
        } | (before.keys() - {position.symbol for position in after})
        self._protect_doubtful(view)
        self._cover_entries(view)
        found = compare(after, view, reserved=moving, protect=self._protect)
        turned = _symbols(found, Kind.TURNED)
        self._books.set_foreign(_symbols(found, Kind.FOREIGN) | turned, _symbols(found, Kind.LARGER) | turned)
        if self._adopt:
            self._adopt_foreign(found, view)
        unexplained = tuple(difference for difference in found if not self._mend(difference, before, view))
        if {theirs.symbol for theirs in view.positions} - {position.symbol for position in after} - moving:
            self._late_fills.begin_anew()           # whose they are, its fills may tell
        elif not lost and not self._books.uncertain():
            self._late_fills.seen_through()
        return Reconciliation(found=found + lost, unexplained=unexplained + lost)

    def look(self) -> ExchangeView:
        """Return positions, orders and stops, all of them or an error."""
        return ExchangeView(
            positions=self._exchange.fetch_positions(),
            open_orders=self._exchange.fetch_open_orders(),
            stop_orders=self._exchange.fetch_stop_orders(),
        )

    def catch_up(self) -> None:
        """After a restart: take up the orders that left before it, and number on behind them."""
        self._catch_up.run()

    def _take_up_forgotten(
        self, view: ExchangeView, book: dict[str, Position], fills: tuple[Fill, ...]
    ) -> dict[str, Position]:
        """Rebuild the positions that RAD's own orders opened and its journal does not know."""
        known = book.keys() | self._books.busy_symbols() | {held.symbol for held in self._books.snapshot()}
        known |= self._books.unswept()        # what rests there belongs to nothing
        taken_up = {}
        for theirs in (theirs for theirs in view.positions if theirs.symbol not in known):
            rebuilt = self._rebuilder.rebuild(theirs, view.stop_orders, fills)
            if rebuilt is None:
                continue
            position, trail = rebuilt
            if self._books.take_up(position):
                self._rebuilder.book_orders(trail, fills)
                self._journal.record_event("rebuilt", "from its orders on the exchange", position.symbol)
                taken_up[position.symbol] = position
        return taken_up

    # ---- orders whose outcome is not certain ----------------------------------------------------

    def _resolve_uncertain(self) -> tuple[Difference, ...]:
        """Look once at each order whose outcome is not certain; return what nothing explains."""
        uncertain = self._books.uncertain()
        plans = {plan.position_id: plan for plan in self._books.entries_under_way()}
        held = {position.position_id: position for position in self._books.snapshot()}
        for position_id in plans.keys() & uncertain.keys():
            # Once settled it is watched: what closes it then is somebody else's work.
            self._resolve_entry(plans[position_id], uncertain[position_id])
        for position_id in (held.keys() & uncertain.keys()) - plans.keys():
            self._lost.pop(position_id, None)
            if held[position_id].state is not PositionState.CLOSING:
                self._books.certain(position_id)       # comparing the whole is all it needs
                continue
            lost = self._resolve_exit(held[position_id], uncertain[position_id])
            if lost is not None:
                self._lost[position_id] = lost
        self._lost = {each: found for each, found in self._lost.items() if each in held}
        return tuple(self._lost.values())

    def _resolve_entry(self, plan: EntryPlan, since: float) -> None:
        outcome = self._look(plan.client_oid, since)
        if outcome is None:
            return
        log.info("%s uncertain entry looked up outcome=%s", plan.symbol, outcome)
        if isinstance(outcome, Rejected):
            self._books.leave_unswept(plan.symbol)       # a stop may have covered it meanwhile
        # Before a crash its position may have had stops and exits already.
        covers = self._books.last_cover(plan.position_id)
        exits, stops = 0, covers
        try:
            exits = self._catch_up.last_attempts(plan.position_id, Purpose.EXIT)[1]
            stops = self._catch_up.last_attempts(plan.position_id, Purpose.STOP, covers)[1]
        except ExchangeError as error:       # what was found is protected all the same
            log.warning("%s its earlier orders are not readable, passing over more error=%s", plan.symbol, error)
        self._books.settle_entry(plan, outcome, (exits + MOST_UNRECORDED, stops + MOST_UNRECORDED))

    def _resolve_exit(self, position: Position, since: float) -> Difference | None:
        """Find out what became of the exit under way, and book it or make way for the next.

        Returns how the position differs, if nothing explains it.
        """
        client_oid = str(ClientOid(
            position_id=position.position_id, purpose=Purpose.EXIT, attempt=position.exit_attempt
        ))
        match Rejected(reason="refused") if since == NEVER else self._look(client_oid, since):
            case Accepted(order_id=order_id):
                order = self._exchange.fetch_order(order_id)
                if order.is_active:
                    self._cancel(order.symbol, order.order_id)      # and the next run reads what it has done
                else:
                    reason = reason_of_own(position, order)
                    self._books.book_exit(position, client_oid, Execution(order=order), reason)
            case Rejected():
                return self._exit_never_was(position)
        return None

    def _look(self, client_oid: str, since: float) -> Accepted | Rejected | None:
        """Ask once for an order; None while nothing is certain: a later run asks again."""
        look_up = self._look_ups.get(client_oid) or self._sender.begin_look_up(client_oid, since)
        outcome = look_up.look()
        if outcome is None:
            self._look_ups[client_oid] = look_up
        else:
            self._look_ups.pop(client_oid, None)
            self._sender.note(client_oid, outcome, looked_up=True)
        return outcome

    def _exit_never_was(self, position: Position) -> Difference | None:
        """The exit is not there: it may be sent again, or someone was faster."""
        theirs = _theirs(self._exchange.fetch_positions(), position.symbol)
        difference = compare_one(position.symbol, position, theirs)
        if difference is None or difference.kind is Kind.LARGER:
            self._books.put_back(position.symbol, position.position_id)
            return None
        missing = position.quantity - (theirs.quantity if theirs and theirs.side is position.side else ZERO)
        if self._book_what_closed_it(position, missing):
            return None
        self._books.mark_uncertain(position.position_id, pause_s=UNEXPLAINED_PAUSE_S)
        return difference

    # ---- mending --------------------------------------------------------------------------------

    def _mend(self, difference: Difference, book: dict[str, Position], view: ExchangeView) -> bool:
        """Act on one difference; True when it is explained, whether or not there was much to do."""
        log.warning(
            "%s book and exchange differ kind=%s book=%s exchange=%s",
            difference.symbol, difference.kind.value, difference.book, difference.exchange,
        )
        match difference.kind:
            case Kind.GONE | Kind.SMALLER:
                ours, theirs = book[difference.symbol], _theirs(view.positions, difference.symbol)
                explained = self._book_what_closed_it(ours, ours.quantity - (theirs.quantity if theirs else ZERO))
            case Kind.TURNED:
                explained = self._book_turned(book[difference.symbol])
            case Kind.UNPROTECTED:
                explained = self._protect_again(book[difference.symbol])
            case Kind.ORPHAN_STOP | Kind.STRAY_ORDER:
                explained = self._cancel(difference.symbol, difference.order_id)
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

    def _book_turned(self, position: Position) -> bool:
        """Somebody traded through RAD's position: it is closed if fills say so; the rest is not RAD's."""
        found = self._explainer.what_closed(position, position.quantity)
        if found is None or found.execution.quantity < position.quantity:
            log.error("%s turned, and nothing explains it; entries are blocked", position.symbol)
            return False
        return self._book_what_closed_it(position, position.quantity)

    def _protect_again(self, position: Position) -> bool:
        """The resting stop is not there: place it, or leave; False while the position is there without one."""
        held = self._find(position.symbol)
        if held is not None and held.protective_stop not in (None, position.protective_stop):
            return True                # another thread has placed one since we looked
        self._books.stop_lost(position.symbol, position.position_id)
        if self._books.protect(position.symbol):
            return True
        held = self._find(position.symbol)
        # Gone, or on its way out: an exit that is refused opens it again, and it counts as unprotected then.
        is_leaving = self._books.leaving(position.symbol) is not None
        return held is None or (held.state is PositionState.CLOSING and is_leaving)

    def _find(self, symbol: str) -> Position | None:
        return next((each for each in self._books.snapshot() if each.symbol == symbol), None)

    def _protect_doubtful(self, view: ExchangeView) -> None:
        """Have a stop rest where an exit is uncertain, for as long as that takes: it may never have been."""
        if not self._protect:
            return
        resting = {stop.client_oid for stop in view.stop_orders if stop.is_active}
        there = {theirs.symbol for theirs in view.positions}
        uncertain = self._books.uncertain()
        for position in self._books.snapshot():
            stop = position.protective_stop
            rests = stop is not None and stop.client_oid in resting
            is_doubtful = position.state is PositionState.CLOSING and position.position_id in uncertain
            if is_doubtful and position.symbol in there and not rests:
                self._protect_again(position)

    def _cover_entries(self, view: ExchangeView) -> None:
        """Have a stop rest where a position shows while no look-up tells what became of its entry."""
        if not self._protect:
            return
        uncertain = self._books.uncertain()
        covered = {stop.symbol for stop in view.stop_orders if is_ours(stop) and stop.is_active}
        for plan in self._books.entries_under_way():
            theirs = _theirs(view.positions, plan.symbol)
            if theirs is None or plan.position_id not in uncertain or plan.symbol in covered:
                continue
            if _may_come_of(plan, theirs, self._exchange.clock_offset_ms()):
                self._books.cover_entry(plan, theirs)

    def _adopt_foreign(self, found: tuple[Difference, ...], view: ExchangeView) -> None:
        foreign = {difference.symbol for difference in found if difference.kind is Kind.FOREIGN}
        for theirs in view.positions:
            if theirs.symbol in foreign:
                self._books.adopt(theirs)

    def _cancel(self, symbol: str, order_id: str) -> bool:
        try:
            self._exchange.cancel_order(order_id, Priority.NORMAL)
        except OrderNotFound:
            pass
        except ExchangeError as error:
            log.warning("%s not cancelled order_id=%s error=%s", symbol, order_id, error)
            return False
        return True

    def _book_what_closed_it(self, position: Position, missing: Decimal) -> bool:
        """Find what closed *missing* lots of a position behind our back, and book it."""
        found = self._explainer.what_closed(position, missing)
        if found is None:
            log.error("%s nothing explains what happened to it; entries are blocked", position.symbol)
            return False
        book_closing(self._books, position, found)
        return True


def _may_come_of(plan: EntryPlan, theirs: ExchangePosition, ahead_ms: int) -> bool:
    """Whether a position can be what that entry made: not older, not larger, not at a price it does not allow.

    *ahead_ms*: by which our clock, that timed the plan, is ahead of the exchange's.
    """
    return (
        theirs.side is plan.side and theirs.quantity <= plan.quantity
        and theirs.opened_ms >= plan.planned_ms - ahead_ms - SAME_OPENING_MS
        and (plan.worst_price - theirs.entry_price) * plan.side.sign >= 0
    )


def _theirs(positions: tuple[ExchangePosition, ...], symbol: str) -> ExchangePosition | None:
    return next((position for position in positions if position.symbol == symbol), None)


def _symbols(found: tuple[Difference, ...], kind: Kind) -> frozenset[str]:
    return frozenset(difference.symbol for difference in found if difference.kind is kind)
