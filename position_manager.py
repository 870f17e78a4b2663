"""The only way into a position and out of it: claim, act, settle.

Under `_positions_lock` a symbol is claimed (to open, to close, to move its stop); on the wire no
lock is held; the result is settled under the lock again. Of two openers or two closers of one
symbol exactly one gets the claim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from execution.book import Book, NotOpened
from execution.guarding import Guard
from execution.orders import Accepted, Execution, OrderSender, Outcome, Rejected, Unresolved
from execution.protection import Protection
from trading import settlement
from trading.client_ids import ClientOid, Purpose
from trading.errors import ExchangeError, JournalError, NothingToClose
from trading.exits import Exit, ExitRules, MoveStop, decide
from trading.facts import (
    ZERO,
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    ExitReason,
    OrderRequest,
    Position,
    Price,
    Priority,
)
from trading.lifecycle import IntentState, PositionState
from trading.ports import Clock, Exchange, Journal, Monitor, Prices
from trading.risk import AccountState, EntryRequest, RiskRules

log = logging.getLogger("trade")

EXIT_BACKOFF_S = (0.1, 0.25, 0.5, 1.0, 2.0)   # between exits the exchange refuses; they are never given up


class ExitWorkers(Protocol):
    """Where exits and stop moves are carried out; urgent ones never queue behind the others."""

    def submit(self, task: Callable[[], None], *, urgent: bool) -> None: ...


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
    ) -> None:
        super().__init__(clock)
        self._exchange = exchange
        self._journal = journal
        self._prices = prices
        self._monitor = monitor
        self._rules = rules
        self._sender = sender
        self._guard = Guard(self, protection, exchange, journal, clock)
        self._exit_workers = exit_workers

    # ---- opening --------------------------------------------------------------------------------

    def open_position(self, request: EntryRequest, account: AccountState) -> Position | NotOpened:
        """Open a position if the risk rules approve; sends at most one order, ever.

        *account* brings equity and history; what is open and claimed is added under the lock.

        Raises:
            JournalError: the intent could not be written; nothing was sent.
        """
        plan = self.claim_opening(request, account, self._rules.risk)
        if isinstance(plan, NotOpened):
            return plan
        started = self._clock.monotonic()
        try:
            self._exchange.set_margin_mode(plan.symbol, self._rules.margin_mode)
            outcome = self._sender.send_entry(self._entry_order(plan), plan)
        except (ExchangeError, JournalError) as error:
            self.release(plan.symbol, plan.position_id)      # nothing was sent
            if isinstance(error, JournalError):
                raise
            return NotOpened(reason=str(error))
        except BaseException:
            self.mark_uncertain(plan.position_id)
            raise
        with self._uncertain_unless_over(plan.position_id):
            result = self.settle_entry(plan, outcome)
        self._monitor.record_trade_execution(
            plan.symbol, "entry", self._clock.monotonic() - started, type(result).__name__
        )
        return result

    def settle_entry(
        self, plan: EntryPlan, outcome: Outcome, *, exits: int = 0, stops: int = 0
    ) -> Position | NotOpened:
        """Turn what became of an entry into a position, or give the claim back.

        *exits*, *stops*: how many of its position's the exchange knows, from before a crash. While the
        outcome is not certain the claim stays: the symbol and its risk remain taken.
        """
        symbol = plan.symbol
        match outcome:
            case Rejected(reason=reason):
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
        return self._enter(plan, execution, exits, stops)

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

    def _enter(self, plan: EntryPlan, execution: Execution, exits: int, stops: int) -> Position:
        """Book a filled entry, protect it, then see to its fees."""
        symbol = plan.symbol
        instrument = self._exchange.instrument(symbol)
        estimate = execution.order.filled_value * instrument.taker_fee_rate
        position = settlement.opened(
            plan, instrument, execution.quantity, execution.price, estimate, self._clock.now_ms()
        )
        position = replace(position, exit_attempt=exits, stop_attempt=stops)
        self.admit(position)
        self.follow_prices()
        log.info(
            "%s entry filled side=%s quantity=%s price=%s stop=%s notional=%.2f strategy=%s reasons=%s",
            symbol, position.side.value, position.quantity, position.entry_price, position.stop_price,
            position.notional(position.entry_price), position.strategy, "; ".join(position.reasons),
        )
        self._save(position)
        self.protect(symbol)
        fee = self._book_fills(symbol, plan.client_oid, execution)
        self._journal.settle_intent(plan.client_oid, IntentState.DONE)
        corrected = self.change(symbol, position.position_id, lambda p: settlement.with_fee(p, fee - estimate))
        if corrected is None:
            return position         # closed already, on the estimate
        if corrected.state is PositionState.OPEN:
            self._save(corrected)   # otherwise whoever closes it writes down what is left
        return corrected

    def adopt(self, theirs: ExchangePosition) -> Position | None:
        """Take over a position somebody else has opened: from now on it is protected and trailed."""
        instrument = self._exchange.instrument(theirs.symbol)
        # Nobody has looked at its candles: one percent stands in for the ATR.
        position = settlement.adopted(
            theirs, instrument, self.new_id(), self._rules.exits, theirs.mark_price / 100, self._clock.now_ms()
        )
        if not self.admit(position):
            return None
        self.follow_prices()
        log.warning(
            "%s adopted side=%s quantity=%s entry=%s stop=%s",
            position.symbol, position.side.value, position.quantity, position.entry_price, position.stop_price,
        )
        self._save(position)
        self.protect(position.symbol)
        return self.find(position.symbol)

    # ---- watching -------------------------------------------------------------------------------

    def update_positions(self) -> int:
        """Look at every open position's price and begin what the exit rules decide; return how many.

        Runs on each price tick of a held symbol: no wire, no disk, no indicator in here. Prices
        older than `stale_after_s` are not prices; whoever feeds them sees to fresh ones.
        """
        started = self._clock.monotonic()
        positions = [p for p in self.snapshot() if p.state is PositionState.OPEN]
        begun = 0
        for position in positions:
            price = self._prices.get(position.symbol)
            if price is None or price.age_s(started) > self._rules.stale_after_s:
                continue
            try:
                begun += self._watch(position, price)
            except Exception:  # noqa: BLE001 - one position's trouble must not delay another's exit
                log.exception("%s not watched", position.symbol)
        begun += self._flatten_overdue()
        self._monitor.record_position_update(self._clock.monotonic() - started, len(positions))
        return begun

    def _watch(self, position: Position, price: Price) -> bool:
        instrument = self._exchange.instrument(position.symbol)
        decision = decide(position, price, self._clock.now_ms(), self._rules.exits, instrument)
        match decision:
            case Exit():
                return self._begin_exit(position, decision, price.received)
            case MoveStop():
                return self._move_stop(position, decision)
            case _:
                return False

    def _move_stop(self, position: Position, move: MoveStop) -> bool:
        """Move RAD's own stop in the book, and the resting one after it when it lags enough."""
        symbol = position.symbol
        moved = self.change_if_open(
            symbol, position.position_id,
            stop_price=move.stop_price, stop_reason=move.reason, best_price=move.best_price,
        )
        if moved is None:
            return False
        if moved.stop_price == position.stop_price:
            return True
        follow = self._guard.wants_to_follow(moved)
        # A stop may creep up with every tick: what a person reads is its start and each larger step.
        is_news = follow or move.reason is not position.stop_reason
        log.log(
            logging.INFO if is_news else logging.DEBUG, "%s stop moved from=%s to=%s reason=%s best=%s",
            symbol, position.stop_price, moved.stop_price, move.reason.value, moved.best_price,
        )
        self._journal.save_position(moved, wait=False)
        if follow:
            self._exit_workers.submit(lambda: self._follow(symbol), urgent=False)
        return True

    # ---- closing --------------------------------------------------------------------------------

    def close_position(self, symbol: str, reason: ExitReason = ExitReason.MANUAL) -> ClosedTrade | None:
        """Close *symbol* now and wait for the end; None if it is not open or another thread has it.

        Raises:
            ExchangeError: refused, or not certain yet. It stays in the book, and is looked at again.
        """
        claimed = self.claim_closing(symbol, reason)
        if claimed is None:
            return None
        request = self._exit_order(claimed, claimed.quantity)
        with self._uncertain_unless_over(claimed.position_id):
            outcome = self._sender.send(request, Priority.CRITICAL)
        return self._finish_exit(claimed, request, outcome)

    def _begin_exit(self, position: Position, decision: Exit, received: float) -> bool:
        """Claim, and hand the exit to a worker: the path from a tick, *received* then, to the wire."""
        stages = {"decided": self._clock.monotonic() - received}
        claimed = self.claim_closing(
            position.symbol, decision.reason, position_id=position.position_id, patient=True
        )
        if claimed is None:
            return False
        request = self._exit_order(claimed, decision.quantity)
        stages["claimed"] = self._clock.monotonic() - received

        def act() -> None:
            stages["sent"] = self._clock.monotonic() - received
            with self._uncertain_unless_over(claimed.position_id):
                outcome = self._sender.send(request, Priority.CRITICAL)
            if isinstance(outcome, Accepted):
                stages["acknowledged"] = outcome.acknowledged - received
            # The order is out; settling it is less urgent than sending the next.
            self._exit_workers.submit(lambda: self._settle_exit(claimed, request, outcome, stages), urgent=False)

        self._exit_workers.submit(act, urgent=True)
        return True

    def _settle_exit(
        self, claimed: Position, request: OrderRequest, outcome: Outcome, stages: dict[str, float]
    ) -> None:
        self._monitor.record_exit_latency(stages)
        log.info(
            "%s exit sent reason=%s quantity=%s stop=%s price_to_wire=%.1fms",
            claimed.symbol, _reason(claimed).value, request.quantity, claimed.stop_price, stages["sent"] * 1000,
        )
        try:
            self._finish_exit(claimed, request, outcome)
        except NothingToClose as error:
            log.info("%s nothing left to close, reconciling reason=%s", claimed.symbol, error)
        except ExchangeError as error:
            log.error("%s exit not finished, looking again error=%s", claimed.symbol, error)

    def _exit_order(self, position: Position, quantity: Decimal) -> OrderRequest:
        client_oid = ClientOid(
            position_id=position.position_id, purpose=Purpose.EXIT, attempt=position.exit_attempt
        )
        return OrderRequest(
            client_oid=str(client_oid),
            symbol=position.symbol,
            side=position.side.exit,
            quantity=quantity,
            reduce_only=True,
            margin_mode=self._rules.margin_mode,
        )

    def _finish_exit(self, claimed: Position, request: OrderRequest, first: Outcome) -> ClosedTrade | None:
        """See an exit to its end: find out, settle, book.

        Anything uncertain leaves the position CLOSING: reconcile looks before anyone tries again.
        """
        started = self._clock.monotonic()
        with self._uncertain_unless_over(claimed.position_id):
            outcome = self._sender.find_out(request, claimed.position_id, Purpose.EXIT, first)
            self._monitor.record_trade_execution(
                claimed.symbol, "exit", self._clock.monotonic() - started, type(outcome).__name__
            )
            match outcome:
                case Accepted(order_id=order_id):
                    execution = self._sender.settle(order_id, symbol=claimed.symbol)
                    return self.book_exit(claimed, request.client_oid, execution, _reason(claimed))
                case Rejected(error=NothingToClose()):
                    # The exchange's stop, or a person, was faster: reconcile books it from the fills.
                    raise NothingToClose(f"{claimed.symbol} is closed already")
                case Unresolved(reason=reason):
                    raise ExchangeError(f"{claimed.symbol} exit uncertain: {reason}")
                case Rejected(reason=reason):
                    pass
        self._exit_refused(claimed, reason)
        raise ExchangeError(f"{claimed.symbol} exit refused: {reason}")

    @contextmanager
    def _uncertain_unless_over(self, position_id: str) -> Iterator[None]:
        """Whatever interrupts an entry or exit under way leaves it to reconciliation, never to nobody."""
        try:
            yield
        except BaseException:
            self.mark_uncertain(position_id)
            raise

    def _exit_refused(self, claimed: Position, reason: str) -> None:
        """A plain no: open again, and the next price tick tries again after a short pause."""
        pause_s = EXIT_BACKOFF_S[min(claimed.exit_attempt, len(EXIT_BACKOFF_S)) - 1]
        self.put_back(claimed.symbol, claimed.position_id, pause_s=pause_s)
        log.error("%s exit refused, again in %.1fs reason=%s", claimed.symbol, pause_s, reason)
        self._journal.record_event("exit_refused", reason, claimed.symbol)

    def book_exit(
        self, claimed: Position, client_oid: str, execution: Execution, reason: ExitReason
    ) -> ClosedTrade | None:
        """Book an order that closed *claimed* or a part of it; return the trade once nothing is left."""
        symbol, position_id = claimed.symbol, claimed.position_id
        left: Position | None = claimed
        if execution.quantity:
            fee = self._book_fills(symbol, client_oid, execution)
            left = self.change(symbol, position_id, lambda current: settlement.reduced(
                current, execution.quantity, execution.price, fee, reason
            ))
        self._journal.settle_intent(client_oid, IntentState.DONE)
        if left is None:
            return None
        if not left.quantity:
            return self.finish(left, reason)
        rest = self.put_back(symbol, position_id)
        if rest is not None:
            log.info("%s part closed reason=%s quantity=%s left=%s",
                     symbol, reason.value, execution.quantity, rest.quantity)
            self._save(rest)
        return None

    def finish(self, left: Position, reason: ExitReason) -> ClosedTrade:
        """Take a position of which nothing is left out of the book: sweep, journal, remove.

        The symbol stays taken until its stops are swept, by reconciliation if need be: a stop left
        behind could close the next position in it.
        """
        if not self._guard.sweep(left.symbol):
            self.leave_unswept(left.symbol)
        trade = settlement.trade_of(left, self._clock.now_ms(), reason, self._funding(left))
        try:
            self._journal.close_position(left, trade)
        except JournalError as error:
            log.error("%s closed trade not journalled error=%s", left.symbol, error)
        self.remove(left.symbol, trade.closed_ms)
        self.follow_prices()
        self._monitor.record_trade(trade)
        log.info(
            "%s closed side=%s reason=%s entry=%s exit=%s pnl=%+.4f fee=%.4f R=%+.2f held=%.1fs",
            trade.symbol, trade.side.value, reason.value, trade.entry_price, trade.exit_price,
            trade.realised_pnl, trade.fee, trade.r_multiple, (trade.closed_ms - trade.opened_ms) / 1000,
        )
        return trade

    def _funding(self, position: Position) -> Decimal:
        try:
            return self._exchange.fetch_funding(position.symbol, position.opened_ms)
        except ExchangeError as error:
            log.warning("%s funding not readable, booked as none error=%s", position.symbol, error)
            return ZERO

    def _book_fills(self, symbol: str, client_oid: str, execution: Execution) -> Decimal:
        """Journal the fills of an order and return their fee; an estimate while they are not listed."""
        fills = self._sender.fills_of(execution)
        if fills is not None:
            self._journal.record_fills(client_oid, fills)
            return settlement.total_fee(fills)
        estimate = execution.order.filled_value * self._exchange.instrument(symbol).taker_fee_rate
        log.warning("%s fills not listed yet, fee estimated client_oid=%s fee=%s", symbol, client_oid, estimate)
        self._journal.record_event("fee_estimated", f"{client_oid} {estimate}", symbol)
        return estimate

    # ---- protection on the exchange -------------------------------------------------------------

    def protect(self, symbol: str) -> bool:
        """Put a confirmed stop on the exchange within the deadline, or flatten; True if it rests."""
        if not self._guard.rules.enabled or self._guard.protect(symbol):
            return self._guard.rules.enabled
        position = self.find(symbol)
        if position is not None and position.state is PositionState.OPEN:
            self._say_unprotected(position)
            try:
                self.close_position(symbol, ExitReason.UNPROTECTED)
            except ExchangeError as error:
                log.error("%s flattening failed, the monitor goes on error=%s", symbol, error)
        return False

    def _flatten_overdue(self) -> int:
        """Begin to close what has no confirmed stop, whoever may still be waiting for an answer about it."""
        begun = 0
        for position in self._guard.overdue():
            leave = Exit(reason=ExitReason.UNPROTECTED, quantity=position.quantity)
            if self._begin_exit(position, leave, self._clock.monotonic()):
                self._say_unprotected(position)
                begun += 1
        return begun

    def _follow(self, symbol: str) -> None:
        if not self._guard.follow(symbol):
            log.debug("%s resting stop not moved, the old one stays", symbol)

    def _say_unprotected(self, position: Position) -> None:
        deadline_s = self._guard.rules.deadline_s
        log.error("%s no confirmed stop within %.1fs, flattening", position.symbol, deadline_s)
        self._journal.record_event("unprotected", "no confirmed stop on the exchange", position.symbol)

    # ---- small change ---------------------------------------------------------------------------

    def follow_prices(self) -> None:
        """Tell the price stream which symbols are held."""
        self._prices.follow(position.symbol for position in self.snapshot())

    def _save(self, position: Position) -> None:
        try:
            self._journal.save_position(position, wait=True)
        except JournalError as error:
            # The exchange has it and so has the book: recovery finds it by its order's client id.
            log.error("%s position not journalled error=%s", position.symbol, error)


def _reason(claimed: Position) -> ExitReason:
    return claimed.exit_reason or ExitReason.MANUAL
