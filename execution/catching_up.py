"""The first look after a restart: what left, and what ended, that the journal does not know.

It is behind the exchange by a moment after a crash, and by hours or days after a restore.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from execution.book import reckoned_with
from execution.explaining import Explainer, Explanation
from execution.rebuild import SAME_OPENING_MS
from trading.client_ids import MOST_UNRECORDED, ClientOid, Purpose, parse
from trading.errors import ExchangeError, JournalError
from trading.facts import Fill, Order, Position
from trading.lifecycle import PositionState
from trading.ports import Exchange, Journal

if TYPE_CHECKING:
    from execution.reconcile import BookKeeper

log = logging.getLogger("recon")

NUMBERS_PATIENCE_S = 1.0       # for client ids to be on disk before the next of them is used
PATIENT_TRIES = 4              # at reading what has happened since: some 20 s, as the daemon tries again
UNREAD = 10 * MOST_UNRECORDED  # numbers passed over when it cannot be read: those of ten unknown starts


class CatchUp:
    """Asks the exchange what became of the positions taken up; one thread, before any exit can leave."""

    def __init__(self, exchange: Exchange, books: BookKeeper, journal: Journal, explainer: Explainer) -> None:
        self._exchange = exchange
        self._books = books
        self._journal = journal
        self._explainer = explainer
        self._failures = 0

    def run(self) -> None:
        """Book what has ended, take up the orders that left, and number on behind them.

        A client id used before must not be used again, or a look-up would find the old order; some
        numbers are passed over, because one that left last may not show yet. Where the numbers go on
        is on disk before the first of them leaves: the next start looks from there.

        Raises:
            ExchangeError: not everything could be read; saying it again goes on.
        """
        named, unread = self._what_has_happened()
        found = []
        for position in self._books.snapshot():
            oids = named.get(position.position_id, ())
            found.append((
                position,
                self.last_attempts(position.position_id, Purpose.EXIT, position.exit_attempt, oids),
                self.last_attempts(position.position_id, Purpose.STOP, position.stop_attempt, oids),
            ))
        if unread is not None:
            self._go_on_without(unread)
        passed_over = MOST_UNRECORDED if unread is None else UNREAD
        for position, (exit_seen, exit_used), (_, stop_used) in found:      # nothing before all is read
            self._books.number_on(
                position.symbol, position.position_id,
                exits=exit_used + passed_over, stops=stop_used + passed_over,
            )
            if exit_seen > position.exit_attempt:
                self._books.resume_closing(position.symbol, position.position_id, exit_seen)
        for position in self._books.snapshot():
            self._journal.save_position(position, wait=False)
        if not self._journal.flush(NUMBERS_PATIENCE_S):      # exits are seen through without it
            log.warning("numbers not on disk yet, going on")

    def _what_has_happened(self) -> tuple[Mapping[str, Sequence[ClientOid]], ExchangeError | None]:
        """Book what has ended; return the orders known by name of each position left, or why that is not known."""
        try:
            fills = self._exchange.fetch_recent_fills()
            stops = self._exchange.fetch_stop_orders()
            self._book_what_has_ended(stops)
            return {
                position.position_id: self._named(position, stops, fills) for position in self._books.snapshot()
            }, None
        except ExchangeError as error:
            return {}, error

    def _go_on_without(self, unread: ExchangeError) -> None:
        """Raise *unread*, but for the last of a few times in which the exchange has answered all else.

        One list that stays unreadable must not keep every exit waiting for ever.
        """
        self._failures += 1
        if self._failures < PATIENT_TRIES:
            raise unread
        log.error("what happened since cannot be read, going on without tries=%d error=%s", self._failures, unread)

    def last_attempts(
        self, position_id: str, purpose: Purpose, known: int = 0, named: Iterable[ClientOid] = ()
    ) -> tuple[int, int]:
        """Return the last number the exchange knows an order of, and the last one used as far as anybody knows.

        *named*: of its orders that are known from elsewhere.
        """
        seen, used = known, max([known, *(oid.attempt for oid in named if oid.purpose is purpose)])
        try:
            used = max(used, self._journal.last_attempt(position_id, purpose.value))
        except JournalError as error:      # what is found is taken up without it
            log.warning("numbers not readable, going by the exchange's error=%s", error)
        attempt = known + 1
        while attempt <= used + MOST_UNRECORDED:
            client_oid = ClientOid(position_id=position_id, purpose=purpose, attempt=attempt)
            if self._exchange.find_order(str(client_oid)) is not None:
                seen, used = attempt, max(attempt, used)
            attempt += 1
        return seen, used

    def _book_what_has_ended(self, stops: tuple[Order, ...]) -> None:
        """Book the positions that have been closed and in whose symbols there is another by now.

        That one is of RAD's own making, after the journal was copied. Taken for the old one it would be
        left by the old one's stop, which may be far on the wrong side of the price.
        """
        protected = {oid.position_id for oid in (parse(stop.client_oid) for stop in stops) if oid is not None}
        there = {theirs.symbol: theirs for theirs in self._exchange.fetch_positions()}
        for position in self._books.snapshot():
            theirs = there.get(position.symbol)
            if theirs is None or position.position_id in protected:
                continue
            is_another = theirs.opened_ms > position.opened_ms + SAME_OPENING_MS
            try:
                closings = self._explainer.what_ended(position, is_over=is_another)
            except JournalError as error:      # then it is compared like any other
                log.warning("%s not looked for its end error=%s", position.symbol, error)
                continue
            for found in closings:
                current = next((p for p in self._books.snapshot() if p.position_id == position.position_id), None)
                if current is not None:
                    book_closing(self._books, current, found)
            if closings:
                # None of its stops rests: the one there is the other's, and would be cancelled as left behind.
                self._books.set_swept(frozenset({position.symbol}))

    def _named(self, position: Position, stops: Iterable[Order], fills: Iterable[Fill]) -> list[ClientOid]:
        """Return the client ids of *position* that resting stops bear, and orders behind fills nobody booked.

        After a restore numbers may have been passed over by starts the journal knows nothing of.
        """
        oids = [parse(stop.client_oid) for stop in stops]
        newest_first = [fill for fill in reversed(list(fills)) if fill.symbol == position.symbol]
        try:
            oids += [parse(order.client_oid) for order, _ in self._explainer.own_behind(position, newest_first)]
        except JournalError as error:
            log.warning("%s fills not compared error=%s", position.symbol, error)
        return [oid for oid in oids if oid is not None and oid.position_id == position.position_id]


def book_closing(books: BookKeeper, position: Position, found: Explanation) -> None:
    """Book what closed *position*, or a part of it, behind our back."""
    claimed: Position | None = position
    if position.state is PositionState.OPEN:
        # An exit of RAD's that was under way when it was found may have been booked since, by who sent it.
        claimed = books.claim_closing(
            position.symbol, found.reason, position_id=position.position_id,
            unless=reckoned_with(found.client_oid, found.execution.order.order_id, found.fills),
        )
    if claimed is None:
        return                    # another thread has it: it will find the same
    quantity = found.execution.quantity
    log.warning("%s was closed reason=%s quantity=%s", position.symbol, found.reason.value, quantity)
    books.book_exit(claimed, found.client_oid, found.execution, found.reason, found.fills)
