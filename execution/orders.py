"""Sending one order and knowing what became of it: sent once, looked up until it is certain."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
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
from trading.facts import ZERO, EntryPlan, Fill, Order, OrderRequest, Priority
from trading.lifecycle import IntentState
from trading.ports import Clock, Exchange, Journal

log = logging.getLogger("order")

SIGNATURE_LIFE_S = 5.0     # KuCoin refuses a request signed longer ago. PROTOCOL: authentication
READ_LAG_S = 3.0           # how long KuCoin may not show an order it has taken
AGREEING_ANSWERS = 3       # "not there" is believed after this many, the last one past the wait
LOOK_UPS_S = (0.1, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0)
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
    sent_ms: int


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
        return self._find_out(request, self.send(request, Priority.HIGH))

    def send_protection(self, request: OrderRequest, position_id: str) -> Outcome:
        """Send a protective stop and find out; its id follows from the position: the disk can wait."""
        return self.find_out(request, position_id, Purpose.STOP, self.send(request, Priority.CRITICAL))

    def send(self, request: OrderRequest, priority: Priority) -> Outcome:
        """Send once: nothing before the wire, nothing after it. `find_out` is to follow."""
        sent_ms = self._clock.now_ms()
        try:
            order_id = self._exchange.place_order(request, priority)
        except (OutcomeUnknown, DuplicateClientOid) as error:
            return Unresolved(reason=str(error), sent_ms=sent_ms)
        except ExchangeUnavailable as error:
            return NotSent(reason=str(error))
        except ExchangeError as error:   # refused, or the key or the symbol is: a plain no
            return Rejected(reason=str(error), error=error)
        return Accepted(order_id=order_id, acknowledged=self._clock.monotonic())

    def find_out(self, request: OrderRequest, position_id: str, purpose: Purpose, first: Outcome) -> Outcome:
        """Journal what is known of an exit or stop already sent, and look up what is not."""
        if isinstance(first, NotSent):
            return first             # there is no such order: its client id goes to the next try
        self._journal.record_intent(position_id, request, purpose.value, wait=False)
        return self._find_out(request, first)

    def look_up(self, client_oid: str, sent_ms: int) -> Outcome:
        """Find out what became of an order whose answer is missing, and journal it."""
        outcome = self._look_up(client_oid, sent_ms)
        self._note(client_oid, outcome, looked_up=True)
        return outcome

    def _look_up(self, client_oid: str, sent_ms: int) -> Outcome:
        """Ask for the order until it is found or certainly not there.

        "Not there" counts once no request signed at *sent_ms* could still be taken and shown, and
        only from several agreeing answers; a failed look-up is no answer.
        """
        certain_ms = sent_ms + round((SIGNATURE_LIFE_S + READ_LAG_S) * 1000)
        not_there = 0
        for pause_s in LOOK_UPS_S + (LOOK_UPS_S[-1],) * AGREEING_ANSWERS:
            # The pause comes first: an order needs a moment to show.
            self._clock.wait(self._stop, pause_s)
            try:
                order = self._exchange.find_order(client_oid)
            except ExchangeError as error:
                log.warning("look-up failed client_oid=%s error=%s", client_oid, error)
                not_there = 0
                continue
            if order is not None:
                return Accepted(order_id=order.order_id)
            not_there += 1
            if not_there >= AGREEING_ANSWERS and self._clock.now_ms() >= certain_ms:
                return Rejected(reason="looked up: it never reached the exchange")
            if self._stop.is_set():
                break
        return Unresolved(reason="no certain answer to the look-up", sent_ms=sent_ms)

    def settle(self, order_id: str, *, symbol: str = "") -> Execution:
        """Wait until an accepted order is done, cancelling what is left of it after a while.

        Raises:
            ExchangeUnavailable: it cannot be read or will not end: look again later.
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
            self._clock.wait(self._stop, pause_s)
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
            if _quantity(fills) == execution.quantity:
                return fills
        return None

    def _find_out(self, request: OrderRequest, first: Outcome) -> Outcome:
        """Journal what is known, and look up what is not."""
        oid = request.client_oid
        if not isinstance(first, Unresolved):
            self._note(oid, first)
            return first
        log.warning("%s order unanswered client_oid=%s error=%s", request.symbol, oid, first.reason)
        self._journal.settle_intent(oid, IntentState.UNKNOWN)
        outcome = self.look_up(oid, first.sent_ms)
        log.info("%s unanswered order is known now client_oid=%s outcome=%s", request.symbol, oid, outcome)
        return outcome

    def _note(self, client_oid: str, outcome: Outcome, *, looked_up: bool = False) -> None:
        match outcome:
            case Accepted():
                self._journal.settle_intent(client_oid, IntentState.ACCEPTED, outcome.order_id)
            case Rejected() | NotSent():
                state = IntentState.NOT_PLACED if looked_up else IntentState.REJECTED
                self._journal.settle_intent(client_oid, state)
            case Unresolved():
                pass


def _quantity(fills: Iterable[Fill]) -> Decimal:
    return sum((fill.quantity for fill in fills), ZERO)
