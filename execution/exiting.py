"""The way out of a position: sent once each, seen to its end, and never given up.

An exit that was decided stays decided. Refused or short of lots, it goes on as `trading.escalation`
says: the rest of a partial fill at once, the others when the monitor looks again. Each order has a
client id of its own. Even one that is certainly not there is not sent again under its old id: KuCoin
compares ids among active orders only, and a market order is active for a moment, so that the same
id would not keep a late first one out; but it would leave two orders under one id, and a look-up
could find either. `reduceOnly` keeps two exits from closing more than there is. Only an order that
never got to the exchange passes its id on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from execution.book import Book, reckoned_with
from execution.booking import Booking
from execution.explaining import Explainer
from execution.guarding import Guard
from execution.orders import (
    LOOK_UP_LIMIT_S,
    LOOK_UPS_S,
    Accepted,
    Execution,
    LookUp,
    NotSent,
    OrderSender,
    Outcome,
    Rejected,
    Unresolved,
    say_looked_up,
    say_unanswered,
)
from trading import latency, settlement
from trading.client_ids import ClientOid, Purpose, parse
from trading.errors import ExchangeError, NothingToClose, TooLarge
from trading.escalation import ALARM_AFTER, Leaving, Result, pause_unsent_s
from trading.events import Events, Kind
from trading.exits import Exit
from trading.facts import (
    ZERO,
    ClosedTrade,
    ExitReason,
    Fill,
    OrderRequest,
    Position,
    Priority,
    total_quantity,
)
from trading.lifecycle import IntentState
from trading.ports import Clock, Exchange, Journal, Monitor

log = logging.getLogger("trade")

REMIND_EVERY = 30              # refusals in a row, after the first alarm


class ExitWorkers(Protocol):
    """Where exits (CRITICAL), their settling (HIGH) and stop moves (NORMAL) are carried out."""

    def submit(self, task: Callable[[], None], priority: Priority, after_s: float = 0.0) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unanswered:
    """An exit of which nobody knows what became."""

    claimed: Position
    request: OrderRequest
    first: Unresolved
    look_up: LookUp
    started: float


class Exits:
    """Closes positions of the book; every method may be called from any thread."""

    def __init__(
        self,
        book: Book,
        exchange: Exchange,
        journal: Journal,
        monitor: Monitor,
        clock: Clock,
        *,
        sender: OrderSender,
        guard: Guard,
        booking: Booking,
        workers: ExitWorkers,
        events: Events,
    ) -> None:
        self._book = book
        self._exchange = exchange
        self._journal = journal
        self._monitor = monitor
        self._clock = clock
        self._sender = sender
        self._guard = guard
        self._booking = booking
        self._workers = workers
        self._events = events
        self._explainer = Explainer(exchange, journal, book.is_reckoned)

    # ---- sending --------------------------------------------------------------------------------

    def close(self, symbol: str, reason: ExitReason) -> ClosedTrade | None:
        """Close *symbol* now and wait for the end; None if it is not open or another thread has it.

        Raises:
            ExchangeError: refused, filled in part, or not certain yet. It is not given up.
        """
        claim = self._book.claim_exit(symbol, reason)
        while claim is not None:
            claimed, leaving = claim
            request = self._order(claimed, leaving)
            self._journal.save_position(claimed, wait=False)
            started = self._clock.monotonic()
            with self.uncertain_unless_over(claimed.position_id):
                outcome = self._sender.find_out(
                    request, claimed.position_id, Purpose.EXIT, self._sender.send(request, Priority.CRITICAL),
                    meanwhile=lambda: self._guard.cover(symbol),
                )
            trade = self._conclude(claimed, request, outcome, started)
            if trade is not None or self._book.find(symbol) is None:
                return trade
            claim = self._book.claim_exit(symbol, reason, position_id=claimed.position_id, patient=True)
            if claim is None:
                raise ExchangeError(f"{symbol} closed in part, the rest follows")
        return None

    def begin(self, position: Position, decision: Exit, received: float | None = None) -> bool:
        """Claim, and hand the exit to a worker: the path from a tick, *received* then, to the wire.

        Without *received* no price called for it just now, and its latency is not one.
        """
        since = self._clock.monotonic() if received is None else received
        stages = {"decided": self._clock.monotonic() - since}
        claim = self._book.claim_exit(
            position.symbol, decision.reason, part=decision.quantity, position_id=position.position_id,
            # A rung is reckoned from the position as it was; whatever else leaves, leaves whole.
            patient=True, version=position.version if decision.reason is ExitReason.TAKE_PROFIT else None,
        )
        if claim is None:
            return False
        claimed, leaving = claim
        request = self._order(claimed, leaving)
        stages["claimed"] = self._clock.monotonic() - since

        def act() -> None:
            stages["sent"] = self._clock.monotonic() - since
            with self.uncertain_unless_over(claimed.position_id):
                outcome = self._sender.send(request, Priority.CRITICAL)
            self._journal.save_position(claimed, wait=False)     # so that a restart knows which exit to look up
            if isinstance(outcome, Accepted):
                stages["acknowledged"] = outcome.acknowledged - since
            if received is not None:
                self._monitor.record_exit_latency(stages)
            # The order is out; settling it is less urgent than sending the next.
            self._workers.submit(lambda: settle(outcome), Priority.HIGH)

        def settle(outcome: Outcome) -> None:
            if received is not None:
                self._journal.record_event(latency.KIND, latency.worded(stages), claimed.symbol)
            self._settle(claimed, request, outcome, stages)

        self._workers.submit(act, Priority.CRITICAL)
        return True

    def go_on(self, position: Position, leaving: Leaving) -> bool:
        """Send the next order of an exit decided before, if its pause is over."""
        quantity = leaving.to_go(position.quantity)
        return self.begin(position, Exit(reason=leaving.reason, quantity=quantity))

    def _order(self, position: Position, leaving: Leaving) -> OrderRequest:
        client_oid = ClientOid(
            position_id=position.position_id, purpose=Purpose.EXIT, attempt=position.exit_attempt
        )
        quantity = leaving.ladder.quantity(
            leaving.to_go(position.quantity), self._exchange.instrument(position.symbol),
            may_close_all=not self._book.is_shared(position.symbol),      # it may have become so since
        )
        return OrderRequest(
            client_oid=str(client_oid),
            symbol=position.symbol,
            side=position.side.exit,
            quantity=quantity,
            reduce_only=True,
            close_order=quantity is None,
            margin_mode=position.margin_mode,
        )

    # ---- settling -------------------------------------------------------------------------------

    def _settle(
        self, claimed: Position, request: OrderRequest, outcome: Outcome, stages: dict[str, float]
    ) -> None:
        log.info(
            "%s exit sent reason=%s quantity=%s stop=%s price_to_wire=%.1fms",
            claimed.symbol, _reason(claimed).value, request.quantity or "all", claimed.stop_price,
            stages["sent"] * 1000,
        )
        with self.uncertain_unless_over(claimed.position_id):
            self._sender.write_down(request, claimed.position_id, Purpose.EXIT, outcome)
        started = self._clock.monotonic()
        if isinstance(outcome, Unresolved):
            say_unanswered(request, outcome)
            look_up = self._sender.begin_look_up(request.client_oid, outcome.since)
            self._pursue(_Unanswered(
                claimed=claimed, request=request, first=outcome, look_up=look_up, started=started
            ), iter(LOOK_UPS_S))
        else:
            self._see_through(claimed, request, outcome, started)

    def _pursue(self, lost: _Unanswered, pauses_s: Iterator[float]) -> None:
        """Look an unanswered exit up now and then, and let a stop rest meanwhile.

        Between two looks the worker is free: an exit that is lost holds up no other.
        """
        with self.uncertain_unless_over(lost.claimed.position_id):
            self._guard.cover(lost.claimed.symbol)
        pause_s = next(pauses_s, None)
        if pause_s is None or self._clock.monotonic() + pause_s > lost.first.since + LOOK_UP_LIMIT_S:
            say_looked_up(lost.request, lost.first)
            self._see_through(lost.claimed, lost.request, lost.first, lost.started)
            return

        def look() -> None:
            with self.uncertain_unless_over(lost.claimed.position_id):
                outcome = lost.look_up.look()
                if outcome is not None:
                    self._sender.note(lost.request.client_oid, outcome, looked_up=True)
            if outcome is None:
                self._pursue(lost, pauses_s)
            else:
                say_looked_up(lost.request, outcome)
                self._see_through(lost.claimed, lost.request, outcome, lost.started)

        self._workers.submit(look, Priority.HIGH, pause_s)

    def _see_through(self, claimed: Position, request: OrderRequest, outcome: Outcome, started: float) -> None:
        """Settle and book what one order of a worker's did; what is left to do goes on."""
        try:
            self._conclude(claimed, request, outcome, started)
        except NothingToClose as error:
            log.info("%s nothing left to close, reconciling reason=%s", claimed.symbol, error)
        except ExchangeError as error:
            log.error("%s exit not finished, looking again error=%s", claimed.symbol, error)
        left, leaving = self._book.find(claimed.symbol), self._book.leaving(claimed.symbol)
        if left is not None and left.position_id == claimed.position_id and leaving is not None and leaving.sticks:
            self.go_on(left, leaving)

    def _conclude(
        self, claimed: Position, request: OrderRequest, outcome: Outcome, started: float
    ) -> ClosedTrade | None:
        """See one order of an exit to its end: settle and book it; None if something is left.

        Anything uncertain leaves the position CLOSING: reconcile looks before anyone tries again.
        """
        with self.uncertain_unless_over(claimed.position_id):
            self._monitor.record_trade_execution(
                claimed.symbol, "exit", self._clock.monotonic() - started, type(outcome).__name__
            )
            match outcome:
                case Accepted(order_id=order_id):
                    execution = self._sender.settle(order_id, symbol=claimed.symbol)
                    return self.book_exit(claimed, request.client_oid, execution, _reason(claimed))
                case Rejected(error=NothingToClose()):
                    return self._closed_by_another(claimed)
                case Unresolved(reason=reason):
                    raise ExchangeError(f"{claimed.symbol} exit uncertain: {reason}")
                case Rejected(reason=reason, error=None):     # looked up, and not there: the same again
                    self._go_on(claimed, self._book.leaving(claimed.symbol))
                case Rejected(reason=reason, error=error):
                    result = Result.TOO_LARGE if isinstance(error, TooLarge) else Result.REFUSED
                    self._refused(claimed, result, reason)
                case NotSent(reason=reason):
                    pause_s = pause_unsent_s(request.client_oid, started)
                    self._save_open(
                        self._book.take_back_unsent(claimed.symbol, claimed.position_id, pause_s=pause_s)
                    )
        raise ExchangeError(f"{claimed.symbol} not closed, trying on: {reason}")

    def _closed_by_another(self, claimed: Position) -> ClosedTrade | None:
        """The exchange's stop, a person or an earlier exit was faster: book it from its fills, now."""
        found = self._explainer.what_closed(claimed, claimed.quantity)
        if found is None:
            self._book.mark_uncertain(claimed.position_id, is_refused=True)
            raise NothingToClose(f"{claimed.symbol} is closed already, and nothing says by what")
        log.warning("%s was closed by another order reason=%s client_oid=%s quantity=%s", claimed.symbol,
                    found.reason.value, found.client_oid or "not ours", found.execution.quantity)
        return self.book_exit(claimed, found.client_oid, found.execution, found.reason, found.fills)

    @contextmanager
    def uncertain_unless_over(self, position_id: str) -> Iterator[None]:
        """Whatever interrupts an entry or exit under way leaves it to reconciliation, never to nobody."""
        try:
            yield
        except BaseException:
            self._book.mark_uncertain(position_id)
            raise

    def _refused(self, claimed: Position, result: Result, reason: str) -> None:
        """Open again, and on to the next rung; from the third in a row on a person is told."""
        symbol = claimed.symbol
        leaving = self._after(claimed, result)
        if leaving is None:          # decided before a restart: the rules decide anew
            self._go_on(claimed, None)
            return
        ladder = leaving.ladder
        if leaving.has_begun and leaving.part is not None:
            log.info("%s rest of a part not taken, it stays in the position quantity=%s", symbol, leaving.part)
            self._go_on(claimed, None)
            return
        self._go_on(claimed, leaving)
        # Once may come of the exchange's stop, which was faster: the next order will be told.
        may_be_over = result is Result.UNFILLED and ladder.refusals == 1
        log.log(
            logging.WARNING if may_be_over else logging.ERROR,
            "%s exit refused times=%d next=%s in=%.1fs reason=%s",
            symbol, ladder.refusals, ladder.shape.value, ladder.pause_s, reason,
        )
        if ladder.is_alarming and (ladder.refusals == ALARM_AFTER or ladder.refusals % REMIND_EVERY == 0):
            log.critical("%s CANNOT BE CLOSED, trying on times=%d reason=%s", symbol, ladder.refusals, reason)
            self._journal.record_event("exit_stuck", f"refused {ladder.refusals} times: {reason}", symbol)
        elif ladder.refusals == 1:
            self._journal.record_event("exit_refused", reason, symbol)

    def _after(self, claimed: Position, result: Result) -> Leaving | None:
        """Return the exit under way as it stands after an order that ended like that."""
        leaving = self._book.leaving(claimed.symbol)
        if leaving is None:
            return None
        ladder = leaving.ladder.after(
            result, leaving.to_go(claimed.quantity), self._exchange.instrument(claimed.symbol),
            # closeOrder would close what others hold there too.
            may_close_all=leaving.part is None and not self._book.is_shared(claimed.symbol),
        )
        return replace(leaving, ladder=ladder, not_before=self._clock.monotonic() + ladder.pause_s)

    def _go_on(self, claimed: Position, leaving: Leaving | None) -> None:
        self._save_open(self._book.go_on_leaving(claimed.symbol, claimed.position_id, leaving))

    def _save_open(self, back: Position | None) -> None:
        if back is not None:
            self._journal.save_position(back, wait=False)    # the attempts that are used up

    # ---- booking --------------------------------------------------------------------------------

    def book_exit(
        self, claimed: Position, client_oid: str, execution: Execution, reason: ExitReason,
        fills: tuple[Fill, ...] | None = None,
    ) -> ClosedTrade | None:
        """Book an order that closed *claimed* or a part of it; return the trade once nothing is left.

        *fills*: what it is made of; None: to be asked for.
        """
        symbol, filled = claimed.symbol, execution.quantity
        if not filled:
            self._journal.settle_intent(client_oid, IntentState.DONE)
            self._refused(claimed, Result.UNFILLED, "accepted, and not one lot filled")
            return None
        if fills is None:
            fills = self._sender.fills_of(execution)
        # Whoever closed more than was ours has paid for the rest himself.
        traded = total_quantity(fills) if fills else filled
        fee = self._booking.fee_of(symbol, client_oid, execution, fills) * min(claimed.quantity, filled) / traded
        leaving = self._book.leaving(symbol)
        is_more = _is_exit(client_oid) and claimed.part_left > 0
        # Before anybody sees what is left: who compares that with the exchange would look for what else did it.
        reckoned = reckoned_with(client_oid, execution.order.order_id, fills)
        left = self._book.settle_closing(
            claimed,
            lambda current: settlement.reduced(current, filled, execution.price, fee, reason, more=is_more),
            self._still_to_do(claimed, execution) if _is_exit(client_oid) else leaving, reckoned,
        )
        if left is None:
            log.warning("%s exit is booked already client_oid=%s", symbol, client_oid)
            return None
        # It may have left just before a crash or a loss of the journal, which learns of it here. One believed
        # never to have got there may turn up after all: accepted comes first.
        self._journal.record_found(execution.order)
        self._journal.settle_intent(client_oid, IntentState.ACCEPTED, execution.order.order_id)
        if not left.quantity:
            return self._booking.end(left, reason, client_oid, fills)
        log.info("%s part closed reason=%s quantity=%s left=%s", symbol, reason.value, filled, left.quantity)
        self._events.publish(
            Kind.PART_CLOSED, symbol, side=left.side.value, reason=reason.value, quantity=filled,
            price=execution.price, left=left.quantity,
        )
        self._booking.record(client_oid, fills, left)
        return None

    def _still_to_do(self, claimed: Position, execution: Execution) -> Leaving | None:
        """Return what is left of the exit under way once *execution* is booked."""
        filled = execution.quantity
        is_short = filled < min(execution.order.quantity, claimed.quantity)
        rest = replace(claimed, quantity=max(ZERO, claimed.quantity - filled))
        return _with_less(self._after(rest, Result.FELL_SHORT if is_short else Result.AS_ASKED), filled)


def _reason(claimed: Position) -> ExitReason:
    return claimed.exit_reason or ExitReason.MANUAL


def _is_exit(client_oid: str) -> bool:
    order = parse(client_oid)
    return order is not None and order.purpose is Purpose.EXIT


def _with_less(leaving: Leaving | None, filled: Decimal) -> Leaving | None:
    """Return what is still to go after *filled* lots have gone; None when the part is done."""
    if leaving is None or leaving.part is None:
        return leaving
    rest = leaving.part - filled
    return replace(leaving, part=rest, has_begun=True) if rest > 0 else None
