"""Sending one order and knowing what became of it: sent once, looked up until it is certain."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from trading.client_ids import Purpose
from trading.errors import (
    DuplicateClientOid,
    ExchangeError,
    ExchangeUnavailable,
    OrderNotFound,
    OutcomeUnknown,
)
from trading.facts import EntryPlan, Fill, Order, OrderRequest, Priority, total_quantity
from trading.lifecycle import UNSEEN_S, IntentState
from trading.ports import Clock, Exchange, Journal

log = logging.getLogger("order")

AGREEING_ANSWERS = 3       # "not there" is believed after this many, the last one past the wait
LOOK_UPS_S = (0.1, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0)
ENTRY_LOOK_UPS = 3         # by the main thread, which has others to look after; reconciliation goes on
STOP_LOOK_UPS = 2          # a second closeOrder stop harms nobody; a position without one is in danger
LOOK_UP_LIMIT_S = 20.0     # then reconciliation goes on
SETTLE_POLLS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.5, 1.0, 1.0, 1.0, 2.0)
FILL_POLLS_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The exchange has it; filled or not is another question."""

    order_id: str
    acknowledged: float = 0.0             # Clock.monotonic() at the answer; 0 when found by look-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A plain no, or looked up long enough to be certain that it is not there."""

    reason: str
    error: ExchangeError | None = None    # None: it never arrived


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """It certainly did not get there: no connection, or turned away unread. Its client id is unused."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """It may have happened and the exchange does not tell: to be looked up again later."""

    reason: str
    since: float                          # Clock.monotonic(): no request of it was signed later


Outcome = Accepted | Rejected | NotSent | Unresolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one order did, from the order itself: right before its fills are listed."""

    order: Order

    @property
    def quantity(self) -> Decimal:
        """Lots filled."""
        return self.order.filled_quantity

    @property
    def price(self) -> Decimal:
        """Average price; only of an order that filled."""
        if self.order.average_price is None:
            raise ValueError(f"order {self.order.order_id} filled nothing")
        return self.order.average_price


class LookUp:
    """One order whose answer is missing, asked for until it is found or certainly not there.

    "Not there" counts once no request signed before *since* could still be taken and shown, and
    only from several agreeing answers; a failed look-up is no answer.
    """

    def __init__(self, exchange: Exchange, clock: Clock, client_oid: str, since: float) -> None:
        self._exchange = exchange
        self._clock = clock
        self.client_oid = client_oid
        self._certain_at = since + UNSEEN_S
        self._not_there = 0

    def look(self) -> Accepted | Rejected | None:
        """Ask once; None while nothing is certain."""
        asked_at = self._clock.monotonic()
        try:
            order = self._exchange.find_order(self.client_oid)
        except ExchangeError as error:
            log.warning("look-up failed client_oid=%s error=%s", self.client_oid, error)
            self._not_there = 0
            return None
        if order is not None:
            return Accepted(order_id=order.order_id)
        self._not_there += 1
        if self._not_there >= AGREEING_ANSWERS and asked_at >= self._certain_at:
            return Rejected(reason="looked up: it never reached the exchange")
        return None


class OrderSender:
    """Places orders for the position manager; any thread, no lock held, no state but its ports."""

    def __init__(self, exchange: Exchange, journal: Journal, clock: Clock, stop: threading.Event) -> None:
        self._exchange = exchange
        self._journal = journal
        self._clock = clock
        self._stop = stop

    def send_entry(self, request: OrderRequest, plan: EntryPlan) -> Outcome:
        """Write the intent and its plan to disk, send once, and find out; never sends again.

        Raises:
            JournalError: the intent could not be written: nothing was sent.
        """
        self._journal.record_intent(plan.position_id, request, Purpose.ENTRY.value, plan=plan, wait=True)
        first = self.send(request, Priority.HIGH)
        self.note(request.client_oid, first)
        return self._look_up(request, first, LOOK_UPS_S[:ENTRY_LOOK_UPS])

    def send_protection(self, request: OrderRequest, position_id: str) -> Outcome:
        """Send a protective stop and ask for it a few times: rather a second one than none.

        Its id follows from the position: the disk can wait.
        """
        first = self.send(request, Priority.CRITICAL)
        return self.find_out(request, position_id, Purpose.STOP, first, LOOK_UPS_S[:STOP_LOOK_UPS])

    def send(self, request: OrderRequest, priority: Priority) -> Outcome:
        """Send once: nothing before the wire, nothing after it. `find_out` or `write_down` is to follow."""
        try:
            order_id = self._exchange.place_order(request, priority)
        except (OutcomeUnknown, DuplicateClientOid) as error:
            # Signed at some moment before now: it may have waited for the budget first.
            return Unresolved(reason=str(error), since=self._clock.monotonic())
        except ExchangeUnavailable as error:
            return NotSent(reason=str(error))
        except ExchangeError as error:   # refused, or the key or the symbol is: a plain no
            return Rejected(reason=str(error), error=error)
        return Accepted(order_id=order_id, acknowledged=self._clock.monotonic())

    def find_out(
        self, request: OrderRequest, position_id: str, purpose: Purpose, first: Outcome,
        pauses_s: tuple[float, ...] = LOOK_UPS_S, meanwhile: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Journal what is known of an exit or stop already sent, and look up what is not.

        *meanwhile*: called before each look-up, for as long as the order may never have been.
        """
        self.write_down(request, position_id, purpose, first)
        return self._look_up(request, first, pauses_s, meanwhile)

    def write_down(
        self, request: OrderRequest, position_id: str, purpose: Purpose, first: Outcome
    ) -> None:
        """Journal an exit or stop already sent, and what is known of it."""
        if isinstance(first, NotSent):
            return                   # there is no such order: its client id goes to the next try
        self._journal.record_intent(position_id, request, purpose.value, wait=False)
        self.note(request.client_oid, first)

    def begin_look_up(self, client_oid: str, since: float) -> LookUp:
        """Return a look-up of an order signed before *since*, for one who asks now and then."""
        return LookUp(self._exchange, self._clock, client_oid, since)

    def note(self, client_oid: str, outcome: Outcome, *, looked_up: bool = False) -> None:
        """Journal what is known of an order."""
        match outcome:
            case Accepted():
                self._journal.settle_intent(client_oid, IntentState.ACCEPTED, outcome.order_id)
            case Rejected() | NotSent():
                state = IntentState.NOT_PLACED if looked_up else IntentState.REJECTED
                self._journal.settle_intent(client_oid, state)
            case Unresolved():
                self._journal.settle_intent(client_oid, IntentState.UNKNOWN)

    def settle(self, order_id: str, *, symbol: str = "") -> Execution:
        """Wait until an accepted order is done, cancelling what is left of it after a while.

        Raises:
            ExchangeUnavailable: it cannot be read or will not end, or all is over: look again later.
        """
        last = len(SETTLE_POLLS_S) - 1
        for turn, pause_s in enumerate(SETTLE_POLLS_S + SETTLE_POLLS_S[-2:]):
            try:
                order = self._exchange.fetch_order(order_id, Priority.CRITICAL)
                if not order.is_active:
                    return Execution(order=order)
                if turn == last:
                    self._exchange.cancel_order(order_id, Priority.CRITICAL)
            except OrderNotFound:
                # Accepted but not shown yet, or done just before the cancel: read on.
                pass
            except ExchangeError as error:
                log.warning("%s order not readable order_id=%s error=%s", symbol, order_id, error)
            if self._clock.wait(self._stop, pause_s):
                break
        raise ExchangeUnavailable(f"{symbol} order {order_id} does not come to an end")

    def fills_of(self, execution: Execution) -> tuple[Fill, ...] | None:
        """Return the fills that make up *execution*, or None while the exchange does not list them all."""
        for pause_s in FILL_POLLS_S:
            self._clock.wait(self._stop, pause_s)
            try:
                fills = self._exchange.fetch_order_fills(execution.order.order_id)
            except ExchangeError as error:
                log.warning("fills not readable order_id=%s error=%s", execution.order.order_id, error)
                continue
            if total_quantity(fills) == execution.quantity:
                return fills
        return None

    def _look_up(
        self, request: OrderRequest, first: Outcome, pauses_s: tuple[float, ...],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """If nobody knows yet, ask a few times, each time after a pause: an order needs a moment to show."""
        if not isinstance(first, Unresolved):
            return first
        say_unanswered(request, first)
        look_up = self.begin_look_up(request.client_oid, first.since)
        outcome: Outcome | None = None
        for pause_s in pauses_s:
            meanwhile()
            if self._clock.wait(self._stop, pause_s) or self._clock.monotonic() > first.since + LOOK_UP_LIMIT_S:
                break
            outcome = look_up.look()
            if outcome is not None:
                self.note(request.client_oid, outcome, looked_up=True)
                break
        say_looked_up(request, outcome or first)
        return outcome or first


def say_unanswered(request: OrderRequest, first: Unresolved) -> None:
    """Log that nobody knows what became of an order."""
    log.warning("%s order unanswered client_oid=%s error=%s", request.symbol, request.client_oid, first.reason)


def say_looked_up(request: OrderRequest, outcome: Outcome) -> None:
    """Log what a look-up has come to."""
    log.info("%s unanswered order looked up client_oid=%s outcome=%s", request.symbol, request.client_oid, outcome)
