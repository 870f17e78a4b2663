"""The only way into a position and out of it: claim, act, settle.

Under `_positions_lock` a symbol is claimed (to open, to close, to move its stop); on the wire no
lock is held; the result is settled under the lock again. Of two openers or two closers of one
symbol exactly one gets the claim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from execution.book import Book, NotOpened
from execution.booking import Booking
from execution.catching_up import NUMBERS_PATIENCE_S
from execution.exiting import Exits, ExitWorkers
from execution.guarding import Followed, Guard
from execution.orders import Accepted, Execution, NotSent, OrderSender, Outcome, Rejected, Unresolved
from execution.protection import Protection
from trading import settlement
from trading.errors import ExchangeError, JournalError
from trading.events import Events, Kind, Unheard
from trading.exits import Exit, ExitRules, MoveStop, decide
from trading.facts import (
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    ExitReason,
    Fill,
    OrderRequest,
    Position,
    Price,
    Priority,
)
from trading.lifecycle import IntentState, PositionState
from trading.ports import Clock, Exchange, Journal, Monitor, Prices
from trading.risk import AccountState, EntryRequest, RiskRules

log = logging.getLogger("trade")


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRules:
    """What the position manager goes by."""

    exits: ExitRules
    risk: RiskRules
    margin_mode: str = "isolated"
    stale_after_s: float = 2.0


class PositionManager(Book):
    """Opens, watches and closes positions; every method may be called from any thread."""

    def __init__(
        self,
        exchange: Exchange,
        journal: Journal,
        prices: Prices,
        monitor: Monitor,
        clock: Clock,
        *,
        rules: PositionRules,
        sender: OrderSender,
        protection: Protection,
        exit_workers: ExitWorkers,
        events: Events | None = None,
    ) -> None:
        super().__init__(clock)
        self._events = events or Unheard()
        self._exchange = exchange
        self._journal = journal
        self._prices = prices
        self._monitor = monitor
        self._rules = rules
        self._sender = sender
        self._exit_workers = exit_workers
        self._guard = Guard(
            self, protection, exchange, journal, prices, monitor, clock, stale_after_s=rules.stale_after_s
        )
        self._booking = Booking(
            self, exchange, journal, prices, monitor, clock, guard=self._guard, events=self._events
        )
        self._exits = Exits(
            self, exchange, journal, monitor, clock,
            sender=sender, guard=self._guard, booking=self._booking, workers=exit_workers, events=self._events,
        )

    def go_by(self, rules: PositionRules) -> None:
        """Go by other *rules* from the next look on; how old a price may be stays as it was."""
        self._rules = rules

    # ---- opening --------------------------------------------------------------------------------

    def open_position(
        self, request: EntryRequest, account: AccountState, forbidden: Callable[[], str] = str
    ) -> Position | NotOpened:
        """Open a position if the risk rules approve; sends at most one order, ever.

        *account* brings equity and history; what is open and claimed is added under the lock. *forbidden*
        returns why it may not be opened, empty if it may; asked once it is claimed. So whoever forbids entries,
        and then waits for those under way, waits for this one or is heard by it.

        Raises:
            JournalError: the intent could not be written; nothing was sent.
        """
        # By our clock, as the limits are reckoned.
        price = replace(request.price, ts_ms=request.price.ts_ms + self._exchange.clock_offset_ms())
        plan = self.claim_opening(replace(request, price=price), account, self._rules.risk)
        if isinstance(plan, NotOpened):
            return plan
        started = self._clock.monotonic()
        try:
            if refusal := forbidden():
                self.release(plan.symbol, plan.position_id)
                return NotOpened(reason=refusal)
            self._exchange.set_margin_mode(plan.symbol, self._rules.margin_mode, plan.leverage)
            outcome = self._sender.send_entry(self._entry_order(plan), plan)
        except (ExchangeError, JournalError) as error:
            self.release(plan.symbol, plan.position_id)      # nothing was sent
            if isinstance(error, JournalError):
                raise
            return NotOpened(reason=str(error))
        except BaseException:
            self.mark_uncertain(plan.position_id)
            raise
        with self._exits.uncertain_unless_over(plan.position_id):
            result = self.settle_entry(plan, outcome)
        self._monitor.record_trade_execution(
            plan.symbol, "entry", self._clock.monotonic() - started, type(result).__name__
        )
        return result

    def settle_entry(
        self, plan: EntryPlan, outcome: Outcome, attempts: tuple[int, int] | None = None
    ) -> Position | NotOpened:
        """Turn what became of an entry into a position, or give the claim back.

        *attempts*: taken up by reconciliation; the last numbers of exits and stops that may have left
        before a crash. While the outcome is not certain the claim stays: the symbol and its risk remain taken.
        """
        symbol = plan.symbol
        match outcome:
            case Rejected(reason=reason) | NotSent(reason=reason):
                self.release(symbol, plan.position_id)
                log.warning("%s entry refused reason=%s", symbol, reason)
                return NotOpened(reason=reason)
            case Unresolved(reason=reason):
                log.error("%s entry uncertain, symbol stays reserved reason=%s", symbol, reason)
                self.mark_uncertain(plan.position_id)
                return NotOpened(reason=f"uncertain: {reason}")
            case Accepted(order_id=order_id):
                pass
        try:
            execution = self._sender.settle(order_id, symbol=symbol)
        except ExchangeError as error:
            log.error("%s entry accepted but not readable, symbol stays reserved error=%s", symbol, error)
            self.mark_uncertain(plan.position_id)
            return NotOpened(reason=f"uncertain: {error}")
        if not execution.quantity:
            self._journal.settle_intent(plan.client_oid, IntentState.DONE)
            self.release(symbol, plan.position_id)
            log.info("%s entry filled nothing client_oid=%s", symbol, plan.client_oid)
            return NotOpened(reason="nothing filled within the slippage limit")
        return self._enter(plan, execution, attempts)

    def _entry_order(self, plan: EntryPlan) -> OrderRequest:
        """An IOC limit at the worst price approved: a market order that cannot slip further."""
        return OrderRequest(
            client_oid=plan.client_oid,
            symbol=plan.symbol,
            side=plan.side.entry,
            quantity=plan.quantity,
            leverage=plan.leverage,
            price=plan.worst_price,
            immediate_or_cancel=True,
            margin_mode=self._rules.margin_mode,
        )

    def _enter(
        self, plan: EntryPlan, execution: Execution, attempts: tuple[int, int] | None
    ) -> Position | NotOpened:
        """Book a filled entry, protect it, then see to its fees."""
        symbol = plan.symbol
        instrument = self._exchange.instrument(symbol)
        estimate = execution.order.filled_value * instrument.taker_fee_rate
        position = settlement.opened(
            plan, instrument, execution.quantity, execution.price, estimate,
            opened_ms=execution.order.created_ms or self._exchange_ms(),
            margin_mode=self._rules.margin_mode,
        )
        if attempts is not None:
            position = replace(position, exit_attempt=attempts[0], stop_attempt=attempts[1])
        if not (self.admit(position) if attempts is None else self.restore(position)):
            # The claim excludes it. If it is so all the same, comparing blocks entries until a person has looked.
            log.critical("%s filled beside a position in the book client_oid=%s", symbol, plan.client_oid)
            self._journal.record_event("twice", plan.client_oid, symbol)
            self.release(symbol, plan.position_id)
            return NotOpened(reason=f"{symbol} is open already")
        self.follow_prices()
        log.info(
            "%s entry filled side=%s quantity=%s price=%s stop=%s notional=%.2f strategy=%s reasons=%s",
            symbol, position.side.value, position.quantity, position.entry_price, position.stop_price,
            position.notional(position.entry_price), position.strategy, "; ".join(position.reasons),
        )
        self._publish(
            Kind.ENTRY, position, notional=position.notional(position.entry_price), strategy=position.strategy,
            reasons="; ".join(position.reasons),
        )
        self._journal.save_position(position, wait=False)      # the stop does not wait long for the disk
        if attempts is not None and not self._journal.flush(NUMBERS_PATIENCE_S):
            log.warning("%s numbers not on disk yet, going on", symbol)      # the next start would look from there
        self.protect(symbol)
        fills = self._sender.fills_of(execution)
        fee = self._booking.fee_of(symbol, plan.client_oid, execution, fills)
        corrected = self.change(symbol, position.position_id, lambda p: settlement.with_fee(p, fee - estimate))
        is_open = corrected is not None and corrected.state is PositionState.OPEN
        # Otherwise whoever closes it writes down what is left.
        self._booking.record(plan.client_oid, fills, corrected if is_open else None)
        return corrected or position

    def adopt(self, theirs: ExchangePosition) -> Position | None:
        """Take over a position somebody else has opened: from now on it is protected and trailed."""
        instrument = self._exchange.instrument(theirs.symbol)
        # Nobody has looked at its candles: one percent stands in for the ATR.
        position = settlement.adopted(
            theirs, instrument, self.new_id(), self._rules.exits, theirs.mark_price / 100, self._exchange_ms()
        )
        # What RAD has just closed may still show, and whoever sweeps after it would sweep this one's stop too.
        is_too_early = self.left_lately(theirs.symbol) or theirs.symbol in self.unswept()
        if is_too_early or not self.admit(position):
            return None
        self._booking.follow_prices()
        log.warning(
            "%s adopted side=%s quantity=%s entry=%s stop=%s",
            position.symbol, position.side.value, position.quantity, position.entry_price, position.stop_price,
        )
        self._publish(Kind.ADOPTED, position)
        self._journal.save_position(position, wait=False)
        self.protect(position.symbol)
        return self.find(position.symbol)

    # ---- watching -------------------------------------------------------------------------------

    def update_positions(self) -> int:
        """Look at every open position's price and begin what the exit rules decide; return how many.

        Runs on each price tick of a held symbol: no wire, no disk, no indicator in here. Prices
        older than `stale_after_s` are not prices; whoever feeds them sees to fresh ones. An exit
        decided before goes on without one.
        """
        started = self._clock.monotonic()
        positions = [p for p in self.snapshot() if p.state is PositionState.OPEN]
        begun = 0
        for position in positions:
            try:
                begun += self._look_at(position, started)
            except Exception:  # noqa: BLE001 - one position's trouble must not delay another's exit
                log.exception("%s not watched", position.symbol)
        begun += self._flatten_overdue()
        # Two that follow at once may leave the older wish standing: the next look mends it.
        self.follow_prices()
        self._monitor.record_position_update(self._clock.monotonic() - started, len(positions))
        return begun

    def _look_at(self, position: Position, now: float) -> bool:
        leaving = self.leaving(position.symbol)
        if leaving is not None and leaving.part is None:
            if position.protective_stop is None and self._guard.wants_to_follow(position):
                self._have_covered(position.symbol)      # the exchange may refuse the exit and yet take a stop
            return self._exits.go_on(position, leaving)      # decided: no price takes it back
        price = self._prices.get(position.symbol)
        if price is not None and price.age_s(now) <= self._rules.stale_after_s and self._watch(position, price):
            return True
        return leaving is not None and leaving.sticks and self._exits.go_on(position, leaving)

    def _watch(self, position: Position, price: Price) -> bool:
        instrument = self._exchange.instrument(position.symbol)
        decision = decide(position, price, self._exchange_ms(), self._rules.exits, instrument)
        if isinstance(decision, Exit):
            return self._exits.begin(position, decision, price.received)
        self.give_up_leaving(position.symbol)
        if isinstance(decision, MoveStop):
            return self._move_stop(position, decision)
        self._have_followed(position)                    # it may have been too early when RAD's own stop moved
        return False

    def _have_followed(self, position: Position) -> bool:
        """Have the resting stop moved after RAD's own, if it lags enough; one task per symbol at a time."""
        symbol = position.symbol
        if not self._guard.wants_to_follow(position):
            return False
        if self.queue_stop_move(symbol):
            self._exit_workers.submit(lambda: self._follow(symbol), Priority.NORMAL)
        return True

    def _have_covered(self, symbol: str) -> None:
        if self.queue_stop_move(symbol):
            self._exit_workers.submit(lambda: self._cover(symbol), Priority.HIGH)

    def _cover(self, symbol: str) -> None:
        self._guard.follow(symbol, leaving=True)

    def _move_stop(self, position: Position, move: MoveStop) -> bool:
        """Move RAD's own stop in the book, and the resting one after it when it lags enough."""
        symbol = position.symbol
        moved = self.change_if_open(
            symbol, position.position_id, position.version,
            stop_price=move.stop_price, stop_reason=move.reason, best_price=move.best_price,
        )
        if moved is None:
            return False
        if moved.stop_price == position.stop_price:
            return True
        # A stop may creep up with every tick: what a person reads is its start and each larger step.
        is_news = self._have_followed(moved) or move.reason is not position.stop_reason
        log.log(
            logging.INFO if is_news else logging.DEBUG, "%s stop moved from=%s to=%s reason=%s best=%s",
            symbol, position.stop_price, moved.stop_price, move.reason.value, moved.best_price,
        )
        self._journal.save_position(moved, wait=False)
        return True

    def take_up(self, position: Position) -> bool:
        """Enter a position of RAD's own that its journal did not know; it is watched from now on."""
        if not self.restore(position):
            return False
        self._booking.follow_prices()
        stop = position.protective_stop
        log.warning(
            "%s rebuilt from the exchange side=%s quantity=%s entry=%s stop=%s resting=%s",
            position.symbol, position.side.value, position.quantity, position.entry_price, position.stop_price,
            stop.stop_price if stop else "none",
        )
        self._publish(Kind.REBUILT, position)
        self._booking.save(position)
        return True

    def follow_prices(self) -> None:
        """Tell the price stream which symbols are held."""
        self._booking.follow_prices()

    # ---- closing --------------------------------------------------------------------------------

    def close_position(self, symbol: str, reason: ExitReason = ExitReason.MANUAL) -> ClosedTrade | None:
        """Close *symbol* now and wait for the end; None if it is not open or another thread has it.

        Raises:
            ExchangeError: refused, or not certain yet. It stays in the book, and is not given up.
        """
        return self._exits.close(symbol, reason)

    def book_exit(
        self, claimed: Position, client_oid: str, execution: Execution, reason: ExitReason,
        fills: tuple[Fill, ...] | None = None,
    ) -> ClosedTrade | None:
        """Book an order that closed *claimed* or a part of it; return the trade once nothing is left."""
        return self._exits.book_exit(claimed, client_oid, execution, reason, fills)

    # ---- protection on the exchange -------------------------------------------------------------

    def protect(self, symbol: str) -> bool:
        """Put a confirmed stop on the exchange within the deadline, or flatten; True if it rests.

        Once the daemon is over it does not flatten: nobody would wait for what becomes of that.
        """
        if not self._guard.rules.enabled:
            return False
        followed = self._guard.protect(symbol)
        if followed is Followed.RESTS:
            return True
        if self._guard.is_over:
            log.warning("%s no confirmed stop at the end, the next start sees to it", symbol)
            return False
        position = self.find(symbol)
        if position is not None and position.state is PositionState.OPEN:
            self._say_unprotected(position, followed)
            reason = position.stop_reason if followed is Followed.PASSED else ExitReason.UNPROTECTED
            self._exits.begin(position, Exit(reason=reason, quantity=position.quantity))
        return False

    def cover_entry(self, plan: EntryPlan, theirs: ExchangePosition) -> None:
        """Let a stop rest for an entry that nobody can read yet and whose position shows already."""
        self._guard.cover_entry(plan, theirs)

    def _flatten_overdue(self) -> int:
        """Begin to close what has no confirmed stop, whoever may still be waiting for an answer about it."""
        begun = 0
        for position in self._guard.overdue():
            leaving = self.leaving(position.symbol)
            if leaving is not None and leaving.part is None:
                continue                                     # it is on its way out already
            leave = Exit(reason=ExitReason.UNPROTECTED, quantity=position.quantity)
            if self._exits.begin(position, leave):
                self._say_unprotected(position, Followed.NOT_PLACED)
                begun += 1
        return begun

    def _follow(self, symbol: str) -> None:
        """Move the resting stop; if the mark price has passed where it belongs, leave at once."""
        followed = self._guard.follow(symbol)
        position = self.find(symbol)
        if followed is Followed.PASSED and position is not None:
            leave = Exit(reason=position.stop_reason, quantity=position.quantity)
            if self._exits.begin(position, leave):
                self._say_unprotected(position, followed)
        elif followed is Followed.NOT_PLACED:
            log.debug("%s resting stop not moved", symbol)

    def _say_unprotected(self, position: Position, followed: Followed) -> None:
        if followed is Followed.PASSED:
            log.warning("%s mark price beyond the stop already, leaving", position.symbol)
            return
        deadline_s = self._guard.rules.deadline_s
        log.critical("%s no confirmed stop within %.1fs, flattening", position.symbol, deadline_s)
        self._journal.record_event("unprotected", "no confirmed stop on the exchange", position.symbol)
        self._publish(Kind.UNPROTECTED, position, deadline_s=deadline_s)

    def _exchange_ms(self) -> int:
        """Return the time by the exchange's clock, as orders, fills and positions are timed."""
        return self._clock.now_ms() - self._exchange.clock_offset_ms()

    def _publish(self, kind: Kind, position: Position, **more: Any) -> None:
        self._events.publish(
            kind, position.symbol, side=position.side.value, quantity=position.quantity,
            price=position.entry_price, stop=position.stop_price, **more,
        )
