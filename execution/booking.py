"""What has happened to a position, written down: fees, fills, its end; the book is told last.

A journal that fails is no reason to stop: the exchange has it, and the next start makes good. Funding is
looked up later (`execution.funding`): it is listed late, and nobody who closes waits for it.
"""

from __future__ import annotations

import logging
from decimal import Decimal

from execution.book import Book
from execution.guarding import Guard
from execution.orders import Execution
from trading import settlement
from trading.errors import JournalError
from trading.events import Events, Kind
from trading.facts import ClosedTrade, ExitReason, Fill, Position
from trading.ports import Clock, Exchange, Journal, Monitor, Prices

log = logging.getLogger("trade")


class Booking:
    """Books what orders did to the positions of the book; any thread."""

    def __init__(
        self, book: Book, exchange: Exchange, journal: Journal, prices: Prices, monitor: Monitor, clock: Clock,
        *, guard: Guard, events: Events,
    ) -> None:
        self._book = book
        self._exchange = exchange
        self._journal = journal
        self._prices = prices
        self._monitor = monitor
        self._clock = clock
        self._guard = guard
        self._events = events

    def end(
        self, left: Position, reason: ExitReason, client_oid: str, fills: tuple[Fill, ...] | None
    ) -> ClosedTrade:
        """Take a position of which nothing is left out of the book: journal, sweep, remove.

        The symbol stays taken until its stops are swept, by reconciliation if need be: a stop left
        behind could close the next position in it.
        """
        trade = settlement.trade_of(left, self._closed_ms(fills), reason)
        self._monitor.record_trade(trade)     # before anybody can find it in the journal and correct it
        self.record(client_oid, fills, left, trade)
        if not self._guard.sweep(left.symbol, up_to=left.position_id):
            self._book.leave_unswept(left.symbol)
        self._book.remove(left, self._clock.now_ms())
        self.follow_prices()
        log.info(
            "%s closed side=%s reason=%s entry=%s exit=%s pnl=%+.4f fee=%.4f R=%+.2f held=%.1fs",
            trade.symbol, trade.side.value, reason.value, trade.entry_price, trade.exit_price,
            trade.realised_pnl, trade.fee, trade.r_multiple, (trade.closed_ms - trade.opened_ms) / 1000,
        )
        self._events.publish(
            Kind.EXIT, trade.symbol, side=trade.side.value, reason=reason.value, quantity=trade.quantity,
            entry=trade.entry_price, price=trade.exit_price, pnl=trade.realised_pnl, fee=trade.fee,
            r=trade.r_multiple, held_s=(trade.closed_ms - trade.opened_ms) / 1000,
        )
        return trade

    def fee_of(
        self, symbol: str, client_oid: str, execution: Execution, fills: tuple[Fill, ...] | None
    ) -> Decimal:
        """Return what *fills* cost; an estimate while they are not listed."""
        if fills is not None:
            return settlement.total_fee(fills)
        estimate = execution.order.filled_value * self._exchange.instrument(symbol).taker_fee_rate
        log.warning("%s fills not listed yet, fee estimated client_oid=%s fee=%s", symbol, client_oid, estimate)
        self._journal.record_event("fee_estimated", f"{client_oid} {estimate}", symbol)
        return estimate

    def record(
        self, client_oid: str, fills: tuple[Fill, ...] | None, position: Position | None,
        trade: ClosedTrade | None = None,
    ) -> None:
        """Journal what one order did, whole or not at all; what a crash prevents the next start makes good."""
        try:
            self._journal.record_execution(client_oid, fills or (), position, trade)
        except JournalError as error:
            log.error("order not journalled client_oid=%s error=%s", client_oid, error)

    def follow_prices(self) -> None:
        """Tell the price stream which symbols are held."""
        self._prices.follow(position.symbol for position in self._book.snapshot())

    def save(self, position: Position) -> None:
        """Journal a position; a journal that fails is no reason to stop."""
        try:
            self._journal.save_position(position, wait=True)
        except JournalError as error:
            # The exchange has it and so has the book: recovery finds it by its order's client id.
            log.error("%s position not journalled error=%s", position.symbol, error)

    def _closed_ms(self, fills: tuple[Fill, ...] | None) -> int:
        """Return when the last of *fills* traded, by the exchange's clock; its time now while none is listed."""
        if fills:
            return max(fill.ts_ms for fill in fills)
        return self._clock.now_ms() - self._exchange.clock_offset_ms()
