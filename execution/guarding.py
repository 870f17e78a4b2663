"""A stop on the exchange for each position in the book: claimed, placed, confirmed, booked.

A new stop is placed and confirmed before the old one is cancelled. Where the exchange refuses a
second one beside the first, the old one goes first: from then on the position counts as
unprotected, the monitor guards it, and the deadline runs.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from enum import Enum

from execution.protection import NotPlaced, Protection, confirmed
from execution.stop_claims import StopClaims
from trading import settlement
from trading.errors import NothingToClose, TooManyStops
from trading.facts import ZERO, EntryPlan, ExchangePosition, Instrument, Position, ProtectiveStop
from trading.lifecycle import PositionState
from trading.ports import Clock, Exchange, Journal, Monitor, Prices

log = logging.getLogger("stop")

RETRY_S = 0.2                  # between two tries to place a resting stop


class Followed(Enum):
    """What became of the wish to have a stop rest where it belongs."""

    RESTS = "rests"
    NOT_PLACED = "not_placed"      # the old one stays, if there is one
    PASSED = "passed"              # none rests, and the mark price is beyond it: a stop would be an exit


class Guard:
    """Keeps the resting stops of the book's positions; any thread, one change per symbol at a time."""

    def __init__(
        self,
        book: StopClaims,
        protection: Protection,
        exchange: Exchange,
        journal: Journal,
        prices: Prices,
        monitor: Monitor,
        clock: Clock,
        *,
        stale_after_s: float,
    ) -> None:
        self._book = book
        self._protection = protection
        self._exchange = exchange
        self._journal = journal
        self._prices = prices
        self._monitor = monitor
        self._clock = clock
        self._stale_after_s = stale_after_s
        self.rules = protection.rules

    @property
    def is_over(self) -> bool:
        """Whether nothing more is waited for: the daemon is over."""
        return self._protection.is_over

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

    def protect(self, symbol: str) -> Followed:
        """Try until a confirmed stop rests for *symbol*, at most until the deadline."""
        deadline = self._clock.monotonic() + self.rules.deadline_s
        before = self._book.find(symbol)
        while self._clock.monotonic() < deadline:
            followed = self.follow(symbol)
            if followed is not Followed.NOT_PLACED:
                return followed
            position = self._book.find(symbol)
            if position is None or position.state is not PositionState.OPEN:
                break
            if self._protection.pause(RETRY_S):
                break
            if self._is_placed_since(before):
                return Followed.RESTS
        return Followed.NOT_PLACED

    def _is_placed_since(self, before: Position | None) -> bool:
        """Whether another thread was at it meanwhile, and has placed a stop."""
        position = None if before is None else self._book.find(before.symbol)
        return (
            before is not None and position is not None and position.position_id == before.position_id
            and position.protective_stop not in (None, before.protective_stop)
        )

    def cover(self, symbol: str) -> None:
        """See that a stop rests for a position whose exit is unanswered, or try once; for whoever closes it.

        Its exit may never have been, and the stop that rested may have fired in vain.
        """
        position = self._book.find(symbol)
        if not self.rules.enabled or position is None:
            return
        stop = position.protective_stop
        if stop is not None:
            resting = self._protection.resting(symbol)
            if resting is None or stop.client_oid in {order.client_oid for order in resting}:
                return
            self._book.stop_lost(symbol, position.position_id)
        self.follow(symbol, closing=True)

    def cover_entry(self, plan: EntryPlan, theirs: ExchangePosition) -> None:
        """Let a stop rest for an entry that nobody can read yet and whose position shows already.

        The entry may turn out never to have been, and the position to be somebody else's: the stop is
        an orphan then, and swept.
        """
        instrument = self._exchange.instrument(plan.symbol)
        position = settlement.opened(
            plan, instrument, theirs.quantity, theirs.entry_price, ZERO, self._clock.now_ms(), theirs.margin_mode
        )
        number = self._book.next_cover(plan.position_id)
        placed = self._protection.place(replace(position, stop_attempt=number), instrument)
        if isinstance(placed, ProtectiveStop):
            log.warning("%s uncertain entry covered stop_price=%s", plan.symbol, placed.stop_price)
        elif not placed.has_left:
            self._book.give_back_cover(plan.position_id)

    def follow(self, symbol: str, *, closing: bool = False, leaving: bool = False) -> Followed:
        """Let one confirmed stop rest in place of older ones; the old ones stay if that fails.

        *leaving*: also where the price has passed it. It fires at once then, and that closes the position too.
        """
        claimed = self._book.claim_stop_move(symbol, closing=closing)
        if claimed is None:
            return Followed.NOT_PLACED
        followed = Followed.NOT_PLACED
        try:
            followed = self._follow(claimed, leaving=leaving or claimed.state is PositionState.CLOSING)
        finally:
            # After a failure the monitor's ticks wait a while before they ask again.
            pause_s = 0.0 if followed is Followed.RESTS else self.rules.min_interval_s
            self._book.release_stop_move(symbol, pause_s=pause_s)
        return followed

    def sweep(self, symbol: str, *, up_to: str = "") -> bool:
        """Cancel every stop of RAD's on *symbol*, as `Protection.sweep`; False if that is not certain."""
        return self._protection.sweep(symbol, up_to=up_to)

    def _follow(self, claimed: Position, *, leaving: bool) -> Followed:
        symbol = claimed.symbol
        instrument = self._exchange.instrument(symbol)
        if not leaving and self._is_passed(claimed, instrument):
            # A mark lags behind a leap of the price: while an old stop rests, a later look moves it.
            return Followed.PASSED if claimed.protective_stop is None else Followed.NOT_PLACED
        if claimed.protective_stop is not None and self._book.takes_one_stop(symbol):
            return self._swap(claimed, instrument)
        placed = self._place(claimed, instrument)
        if isinstance(placed, ProtectiveStop):
            self._protection.sweep(symbol, keep={placed.client_oid})
            return self._booked(claimed, placed)
        if isinstance(placed.error, TooManyStops) and self._protection.resting(symbol):
            log.warning("%s a second stop is refused, from now on the old one is cancelled first", symbol)
            self._book.note_one_stop(symbol)
            return self._swap(claimed, instrument)
        self._note_gone(claimed, placed)
        return Followed.NOT_PLACED

    def _is_passed(self, position: Position, instrument: Instrument) -> bool:
        """Whether the mark price is where the stop belongs, or beyond; not judged by an old price.

        A mark lags behind a leap: where no stop rests the market must be there too. If not, the
        exchange, which knows better, lets the stop fire.
        """
        price = self._prices.get(position.symbol)
        if price is None or price.age_s(self._clock.monotonic()) > self._stale_after_s:
            return False
        belongs, side = self._protection.resting_price(position, instrument), position.side
        is_there = position.protective_stop is not None or side.is_beyond(belongs, price.to_leave(side))
        return is_there and side.is_beyond(belongs, price.mark)

    def _swap(self, claimed: Position, instrument: Instrument) -> Followed:
        """Cancel the old stop, then place the new one; if that is refused, one where the old one was."""
        symbol, position_id, old = claimed.symbol, claimed.position_id, claimed.protective_stop
        self._book.stop_lost(symbol, position_id)        # before the cancel leaves: nobody may rely on it
        if not self._protection.clear(symbol):
            return self._keep_what_rests(claimed)
        placed = self._place(claimed, instrument)
        if isinstance(placed, ProtectiveStop):
            return self._booked(claimed, placed)
        self._note_gone(claimed, placed)
        if old is None or isinstance(placed.error, NothingToClose):
            return Followed.NOT_PLACED
        log.warning("%s new stop refused, putting the old one back stop_price=%s", symbol, old.stop_price)
        again = self._place(claimed, instrument, old.stop_price)
        if isinstance(again, ProtectiveStop):
            self._booked(claimed, again)                 # protected, but not where it should be by now
        return Followed.NOT_PLACED

    def _place(
        self, claimed: Position, instrument: Instrument, stop_price: Decimal | None = None
    ) -> ProtectiveStop | NotPlaced:
        """Place one under the next number, where it belongs by now or at *stop_price*."""
        numbered = self._book.next_stop_attempt(claimed.symbol, claimed.position_id)
        if numbered is None:           # closed meanwhile
            return NotPlaced()
        placed = self._protection.place(numbered, instrument, stop_price)
        if isinstance(placed, NotPlaced) and not placed.has_left:
            self._book.give_back_stop_attempt(claimed.symbol, claimed.position_id)
        return placed

    def _keep_what_rests(self, claimed: Position) -> Followed:
        """The old stop could not be cancelled for certain: if it is still listed it still protects."""
        for order in self._protection.resting(claimed.symbol) or ():
            stop = confirmed(order, self._clock.now_ms())
            if stop is not None:
                self._booked(claimed, stop)
                break
        return Followed.NOT_PLACED

    def _note_gone(self, claimed: Position, placed: NotPlaced) -> None:
        """A stop met no position: it is gone, or not visible yet; reconciliation finds out."""
        if isinstance(placed.error, NothingToClose):
            self._book.look_again(claimed.position_id)

    def _booked(self, claimed: Position, stop: ProtectiveStop) -> Followed:
        symbol = claimed.symbol
        booked = self._book.stop_rests(symbol, claimed.position_id, stop)
        if booked is None:             # closed meanwhile: the stop just placed is an orphan
            if not self.sweep(symbol):
                self._book.leave_unswept(symbol)
            return Followed.NOT_PLACED
        position, gap_s = booked
        self._monitor.record_protection_gap(gap_s)
        unprotected = f" gap={gap_s:.3f}s" if gap_s else ""
        log.info("%s stop rests on the exchange stop_price=%s%s", symbol, stop.stop_price, unprotected)
        if position.state is PositionState.OPEN:      # otherwise whoever closes it writes down what is left
            self._journal.save_position(position, wait=False)
        return Followed.RESTS
