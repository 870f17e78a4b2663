"""The book of positions: who is open, who is claimed. Everything in here holds the lock for microseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from execution.stop_claims import StopClaims
from runtime.locks import guard
from trading import settlement
from trading.client_ids import MOST_UNRECORDED, ClientOid, Purpose, new_position_id
from trading.escalation import Leaving
from trading.facts import ZERO, EntryPlan, ExitReason, Fill, Position
from trading.lifecycle import UNSEEN_S, PositionState
from trading.ports import Clock
from trading.risk import AccountState, EntryRequest, Refused, RiskRules, approve


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOpened:
    """Why nothing was opened."""

    reason: str


class Book(StopClaims):
    """Claims on positions, to open and to close them: of two that want one, one gets it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        # Guarded by _positions_lock.
        self._last_exit_ms: dict[str, int] = {}
        self._entry_times_ms: deque[int] = deque(maxlen=1000)
        self._leaving: dict[str, Leaving] = {}          # exits decided and not over
        self._foreign: frozenset[str] = frozenset()     # symbols in which someone else has a position
        self._shared: frozenset[str] = frozenset()      # symbols in which someone else has added to ours
        self._parts_not_before: dict[str, float] = {}   # monotonic; after a restart
        self._reckoned: dict[str, set[tuple[str, str]]] = {}     # by position id: orders, trades that changed it
        self._no_entries = ""                           # why the door is shut; for good
        self._serial = 0
        guard(
            self, self._positions_lock, "_last_exit_ms", "_entry_times_ms", "_leaving", "_foreign", "_shared",
            "_parts_not_before", "_reckoned", "_no_entries", "_serial",
        )

    def busy_symbols(self) -> frozenset[str]:
        """Return the symbols with an entry, an exit or a stop move under way."""
        with self._positions_lock:
            closing = {p.symbol for p in self.positions.values() if p.state is not PositionState.OPEN}
            return frozenset(closing | set(self._opening) | self._moving_stop)

    def is_shared(self, symbol: str) -> bool:
        """Whether someone else has added to RAD's position."""
        with self._positions_lock:
            return symbol in self._shared

    def set_foreign(self, symbols: frozenset[str], shared: frozenset[str] = frozenset()) -> None:
        """Note in which symbols someone else has a position, or has added to one of RAD's.

        RAD keeps out of the first, and closes nothing but its own lots in the second.
        """
        with self._positions_lock:
            self._foreign = symbols
            self._shared = shared

    def left_lately(self, symbol: str) -> bool:
        """Whether the exchange may still show what RAD has just closed there."""
        with self._positions_lock:
            left_ms = self._last_exit_ms.get(symbol)
            # Either way: the clock may have been set back since.
            return left_ms is not None and abs(self._clock.now_ms() - left_ms) < UNSEEN_S * 1000

    def exits_in_trouble(self) -> tuple[tuple[Position, Leaving], ...]:
        """Return the positions whose exit the exchange keeps refusing."""
        with self._positions_lock:
            return tuple(
                (self.positions[symbol], leaving) for symbol, leaving in self._leaving.items()
                if leaving.ladder.is_alarming and symbol in self.positions
            )

    # ---- to open ---------------------------------------------------------------------------------

    def claim_opening(
        self, request: EntryRequest, account: AccountState, rules: RiskRules
    ) -> EntryPlan | NotOpened:
        """Reserve a symbol and its share of the risk for one entry; of two openers one gets it."""
        now_ms = self._clock.now_ms()
        symbol = request.instrument.symbol
        with self._positions_lock:
            if self._no_entries:
                return NotOpened(reason=self._no_entries)
            if symbol in self.positions or symbol in self._opening:
                return NotOpened(reason=f"{symbol} is already open or being opened")
            if symbol in self._unswept:
                return NotOpened(reason=f"{symbol} may still have a stop of its last position")
            if symbol in self._foreign:
                return NotOpened(reason=f"{symbol} has a position on the exchange that is not RAD's")
            verdict = approve(request, self._with_claims(account), rules, now_ms)
            if isinstance(verdict, Refused):
                return NotOpened(reason=verdict.text)
            position_id = self._next_id(now_ms)
            client_oid = ClientOid(position_id=position_id, purpose=Purpose.ENTRY, attempt=0)
            plan = settlement.planned(verdict, position_id, str(client_oid), now_ms)
            self._opening[symbol] = plan
            self._entry_times_ms.append(now_ms)
            return plan

    def new_id(self) -> str:
        """Return a position id nobody else has."""
        with self._positions_lock:
            return self._next_id(self._clock.now_ms())

    def release(self, symbol: str, position_id: str) -> None:
        """Give an opening claim back: it certainly opened nothing."""
        with self._positions_lock:
            plan = self._opening.get(symbol)
            if plan is not None and plan.position_id == position_id:
                del self._opening[symbol]
                self._covers.pop(position_id, None)
                self._doubts.pop(position_id, None)
                self._entry_settled.notify_all()

    def await_entries(self, timeout_s: float) -> tuple[EntryPlan, ...]:
        """Wait until no entry is under way, at most *timeout_s*; return those that still are."""
        with self._entry_settled:
            self._clock.wait_for(self._entry_settled, lambda: not self._opening, timeout_s)
            return tuple(self._opening.values())

    def shut(self, reason: str) -> None:
        """Claim nothing for opening any more: the daemon ends."""
        with self._positions_lock:
            self._no_entries = reason

    def admit(self, position: Position) -> bool:
        """Enter a position in place of its opening claim, if it has one; False if another is there or coming."""
        with self._positions_lock:
            return self._admit(position)

    # ---- to close --------------------------------------------------------------------------------

    def claim_closing(
        self, symbol: str, reason: ExitReason, *, position_id: str | None = None,
        unless: Iterable[tuple[str, str]] = (),
    ) -> Position | None:
        """OPEN -> CLOSING in one step; of two closers one gets it, the other None.

        *unless*: not if one of these orders and trades is reckoned with by now.
        """
        with self._positions_lock:
            held = self.positions.get(symbol)
            if held is not None and self._is_reckoned(held.position_id, unless):
                return None
            return self._claim_closing(symbol, reason, position_id)

    def claim_exit(
        self, symbol: str, reason: ExitReason, *, part: Decimal | None = None, position_id: str | None = None,
        patient: bool = False, version: int | None = None,
    ) -> tuple[Position, Leaving] | None:
        """Claim a position to send an exit of *part* of it, or of all; it then is to leave until it has.

        A part that has begun already goes on with what is left of it. *patient*: not while the pause
        after a refused exit lasts. *version*: only if the position is still that one.
        """
        with self._positions_lock:
            now, before = self._clock.monotonic(), self._leaving.get(symbol)
            held = self.positions.get(symbol)
            if version is not None and held is not None and held.version != version:
                return None
            if held is not None and part is not None and part >= held.quantity:
                part = None
            if before is not None and before.part is None:
                part = None               # all of it was decided before: a part does not take that back
            elif part is None:
                before = None             # all of it is decided now: no pause of a part holds it up
            if patient and before is not None and now < before.not_before:
                return None
            if part is not None and now < self._parts_not_before.get(symbol, now):
                return None
            claimed = self._claim_closing(symbol, reason, position_id)
            if claimed is None:
                return None
            if before is None or not (before.has_begun and part is not None and reason is before.reason):
                before = replace(before or Leaving(reason=reason, part=part), reason=reason, part=part)
            leaving = self._leaving[symbol] = before
            return claimed, leaving

    def leaving(self, symbol: str) -> Leaving | None:
        """Return the exit of *symbol* that is decided and not over, if there is one."""
        with self._positions_lock:
            return self._leaving.get(symbol)

    def go_on_leaving(self, symbol: str, position_id: str, leaving: Leaving | None) -> Position | None:
        """CLOSING -> OPEN with *leaving* still to be done; None: it is over, or given up."""
        with self._positions_lock:
            self._doubts.pop(position_id, None)
            back = self._change(symbol, position_id, lambda current: settlement.put_back(
                replace(current, part_left=_part_left(leaving))
            ))
            if back is not None:
                self._set_leaving(symbol, leaving)
            return back

    def give_up_leaving(self, symbol: str) -> None:
        """Forget an exit the price has made pointless, unless it is one that sticks."""
        with self._positions_lock:
            leaving = self._leaving.get(symbol)
            if leaving is not None and not leaving.sticks:
                del self._leaving[symbol]

    def take_back_unsent(self, symbol: str, position_id: str, *, pause_s: float) -> Position | None:
        """CLOSING -> OPEN: the exit certainly never left; its client id serves the next try."""
        with self._positions_lock:
            self._doubts.pop(position_id, None)
            back = self._change(symbol, position_id, settlement.unsent)
            leaving = self._leaving.get(symbol)
            if back is not None and leaving is not None:
                self._leaving[symbol] = replace(leaving, not_before=self._clock.monotonic() + pause_s)
            return back

    def put_back(self, symbol: str, position_id: str) -> Position | None:
        """CLOSING -> OPEN: what was claimed did not happen, or not wholly; an exit goes on."""
        with self._positions_lock:
            self._doubts.pop(position_id, None)
            return self._change(symbol, position_id, settlement.put_back)

    def settle_closing(
        self, claimed: Position, reduce: Callable[[Position], Position], leaving: Leaving | None,
        reckoned: Sequence[tuple[str, str]] = (),
    ) -> Position | None:
        """Replace *claimed* by what its exit made of it (pure), open again if something is left.

        *leaving* is then still to be done. *reckoned*: the order that did it and its trades (`reckoned_with`).
        None if that exit is settled already: each is booked once, whoever else has found it.
        """
        with self._positions_lock:
            current = self.positions.get(claimed.symbol)
            if (
                current is None or current.position_id != claimed.position_id or not current.quantity
                or current.state is not PositionState.CLOSING or current.exit_attempt != claimed.exit_attempt
                or self._is_reckoned(claimed.position_id, reckoned)
            ):
                return None
            left = replace(reduce(current), part_left=_part_left(leaving))
            self._reckoned.setdefault(claimed.position_id, set()).update(reckoned)
            self._doubts.pop(claimed.position_id, None)
            self._set_leaving(claimed.symbol, leaving)
            return self._put(settlement.put_back(left) if left.quantity else left)

    def is_reckoned(self, position_id: str, what: tuple[str, str]) -> bool:
        """Whether that order or trade has changed the position already, though the journal may not know yet."""
        with self._positions_lock:
            return self._is_reckoned(position_id, (what,))

    def remove(self, position: Position, closed_ms: int) -> None:
        """Forget a position of which nothing is left and whose stops are swept.

        If one has come since, or is on its way, the symbol stays unswept.
        """
        symbol, position_id = position.symbol, position.position_id
        with self._positions_lock:
            self._doubts.pop(position_id, None)
            current = self.positions.get(symbol)
            if current is None or current.position_id != position_id:
                return
            if symbol in self._moving_stop or current.protective_stop != position.protective_stop:
                self._unswept.add(symbol)
            del self.positions[symbol]
            self._leaving.pop(symbol, None)
            self._parts_not_before.pop(symbol, None)
            self._reckoned.pop(position_id, None)
            self._forget_stop(symbol)
            self._last_exit_ms[symbol] = closed_ms

    # ---- after a restart -------------------------------------------------------------------------

    def restore(self, position: Position) -> bool:
        """Enter a position after a restart; False if its symbol is taken.

        Leaving it whole may be tried twice, reduce-only. A part may not, and one that left just
        before the end may not show yet: parts wait until it would.
        """
        with self._positions_lock:
            if not self._admit(position):
                return False
            self._parts_not_before[position.symbol] = self._clock.monotonic() + UNSEEN_S
            if position.state is PositionState.CLOSING:
                self._doubt(position.position_id, 0.0)
            self._set_leaving(position.symbol, _decided(position))
            return True

    def restore_entry(self, plan: EntryPlan, last_stop: int = 0) -> None:
        """Claim an entry's symbol again after a restart; reconciliation finds out what became of it.

        *last_stop*: the number of the last stop of its that was written down.
        """
        with self._positions_lock:
            self._opening[plan.symbol] = plan
            self._covers[plan.position_id] = last_stop + MOST_UNRECORDED
            self._doubt(plan.position_id, 0.0)

    def restore_exits(self, last_exit_ms: dict[str, int]) -> None:
        """Remember when each symbol was last left, for the cool-down."""
        with self._positions_lock:
            self._last_exit_ms.update(last_exit_ms)

    def number_on(self, symbol: str, position_id: str, *, exits: int, stops: int) -> None:
        """After a restart: count on from these; an exit under way keeps its number, it is still to be found."""
        with self._positions_lock:
            self._change(symbol, position_id, lambda current: replace(
                current, stop_attempt=stops,
                exit_attempt=exits if current.state is PositionState.OPEN else current.exit_attempt,
            ))

    def resume_closing(self, symbol: str, position_id: str, attempt: int) -> None:
        """After a restart: exit number *attempt* had left, and reconciliation finds out what became of it."""
        with self._positions_lock:
            position = self.positions.get(symbol)
            if position is not None and position.position_id == position_id:
                self._put(replace(position, state=PositionState.CLOSING, exit_attempt=attempt))
                self._doubt(position_id, 0.0)

    # ---- under the caller's lock -----------------------------------------------------------------

    def _admit(self, position: Position) -> bool:
        claim = self._opening.get(position.symbol)
        if position.symbol in self.positions or (claim and claim.position_id != position.position_id):
            return False
        self._opening.pop(position.symbol, None)
        self._covers.pop(position.position_id, None)
        self._doubts.pop(position.position_id, None)
        self._put(position)
        if position.protective_stop is None:
            self._unprotected_since[position.symbol] = self._clock.monotonic()
        self._entry_settled.notify_all()
        return True

    def _claim_closing(self, symbol: str, reason: ExitReason, position_id: str | None) -> Position | None:
        position = self.positions.get(symbol)
        if position is None or position.state is not PositionState.OPEN:
            return None
        if position_id is not None and position.position_id != position_id:
            return None
        self._doubts.pop(position.position_id, None)     # whatever it was about: this exit begins its own
        return self._put(settlement.closing(position, reason))

    def _is_reckoned(self, position_id: str, whats: Iterable[tuple[str, str]]) -> bool:
        known = self._reckoned.get(position_id, ())
        return any(what in known for what in whats)

    def _set_leaving(self, symbol: str, leaving: Leaving | None) -> None:
        if leaving is None:
            self._leaving.pop(symbol, None)
        else:
            self._leaving[symbol] = leaving

    def _next_id(self, now_ms: int) -> str:
        self._serial += 1
        return new_position_id(now_ms, self._serial)

    def _with_claims(self, account: AccountState) -> AccountState:
        exposure = {p.symbol: p.notional(p.entry_price) for p in self.positions.values()}
        exposure |= {symbol: plan.notional for symbol, plan in self._opening.items()}
        return replace(
            account,
            exposure=exposure,
            last_exit_ms=dict(self._last_exit_ms),
            entry_times_ms=tuple(self._entry_times_ms),
        )


def of_order(order_id: str) -> tuple[str, str]:
    """Return how `is_reckoned` knows an order."""
    return "order", order_id


def of_trade(trade_id: str) -> tuple[str, str]:
    """Return how `is_reckoned` knows a trade."""
    return "trade", trade_id


def reckoned_with(client_oid: str, order_id: str, fills: Iterable[Fill] | None) -> tuple[tuple[str, str], ...]:
    """Return what is reckoned with once that order is booked, made of *fills* as far as they are known."""
    trades = tuple(of_trade(fill.trade_id) for fill in fills or ())
    return (of_order(order_id), *trades) if client_oid else trades       # of others an order may go on


def _part_left(leaving: Leaving | None) -> Decimal:
    return ZERO if leaving is None or leaving.part is None or not leaving.has_begun else leaving.part


def _decided(position: Position) -> Leaving | None:
    """Return the exit that was under way when *position* was last written down, as far as the row tells."""
    if position.part_left:
        return Leaving(reason=ExitReason.TAKE_PROFIT, part=position.part_left, has_begun=True)
    whole = position.exit_reason not in (None, ExitReason.TAKE_PROFIT)
    return Leaving(reason=position.exit_reason, part=None) if whole and position.exit_reason else None
