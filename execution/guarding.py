"""A stop on the exchange for each position in the book: claimed, placed, confirmed, booked."""

from __future__ import annotations

import logging
from dataclasses import replace

from execution.book import Book
from execution.protection import Protection
from trading.facts import Position, ProtectiveStop
from trading.lifecycle import PositionState
from trading.ports import Clock, Exchange, Journal

log = logging.getLogger("stop")

RETRY_S = 0.2                  # between two tries to place a resting stop


class Guard:
    """Keeps the resting stops of the book's positions; any thread, one change per symbol at a time."""

    def __init__(
        self, book: Book, protection: Protection, exchange: Exchange, journal: Journal, clock: Clock
    ) -> None:
        self._book = book
        self._protection = protection
        self._exchange = exchange
        self._journal = journal
        self._clock = clock
        self.rules = protection.rules

    def wants_to_follow(self, position: Position) -> bool:
        """Whether the resting stop of *position* should be moved after RAD's own now."""
        return (
            self.rules.enabled
            and self._protection.is_worth_moving(position, self._exchange.instrument(position.symbol))
            and self._book.may_move_stop(position.symbol)
        )

    def overdue(self) -> tuple[Position, ...]:
        """Return the open positions that have gone without a confirmed stop for longer than they may."""
        return self._book.unprotected_for(self.rules.deadline_s) if self.rules.enabled else ()

    def protect(self, symbol: str) -> bool:
        """Try until a confirmed stop rests for *symbol*, at most until the deadline; False if none does."""
        deadline = self._clock.monotonic() + self.rules.deadline_s
        before = self._book.find(symbol)
        while self._clock.monotonic() < deadline:
            if self.follow(symbol):
                return True
            position = self._book.find(symbol)
            if position is None or position.state is not PositionState.OPEN:
                return False
            if before is not None and position.protective_stop != before.protective_stop:
                return True           # another thread was at it, and has placed one
            self._protection.pause(RETRY_S)
        return False

    def follow(self, symbol: str) -> bool:
        """Place, confirm and book one resting stop in place of older ones; False if the old ones stay."""
        claimed = self._book.claim_stop_move(symbol)
        if claimed is None:
            return False
        stop: ProtectiveStop | None = None
        try:
            stop = self._protection.replace(claimed, self._exchange.instrument(symbol))
            return self._booked(claimed, stop)
        finally:
            # After a failure the monitor's ticks wait a while before they ask again.
            self._book.release_stop_move(symbol, pause_s=0.0 if stop else self.rules.min_interval_s)

    def sweep(self, symbol: str) -> bool:
        """Cancel every stop of RAD's on *symbol*; False if that is not certain."""
        return self._protection.sweep(symbol)

    def _booked(self, claimed: Position, stop: ProtectiveStop | None) -> bool:
        symbol = claimed.symbol

        def protected(current: Position) -> Position:
            return current if stop is None else replace(current, protective_stop=stop)

        booked = self._book.change(symbol, claimed.position_id, protected)
        if booked is None:             # closed meanwhile: the stop just placed is an orphan
            if stop is None or not self.sweep(symbol):
                self._book.leave_unswept(symbol)
            return False
        if stop is None:
            return False
        log.info("%s stop rests on the exchange stop_price=%s", symbol, stop.stop_price)
        if booked.state is PositionState.OPEN:      # otherwise whoever closes it writes down what is left
            self._journal.save_position(booked, wait=False)
        return True
