"""The book of positions: who is open, who is claimed. Everything in here holds the lock for microseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from runtime.locks import guarded_dict, named_lock
from trading import settlement
from trading.client_ids import ClientOid, Purpose, new_position_id
from trading.facts import EntryPlan, ExitReason, Position
from trading.lifecycle import PositionState
from trading.ports import Clock
from trading.risk import AccountState, EntryRequest, Refused, RiskRules, approve


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOpened:
    """Why nothing was opened."""

    reason: str


class Book:
    """Positions and claims under `_positions_lock`; a `Position` in it is replaced, never edited."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._positions_lock = named_lock("positions")
        # Guarded by _positions_lock.
        self.positions: dict[str, Position] = guarded_dict(self._positions_lock, "positions")
        self._opening: dict[str, EntryPlan] = guarded_dict(self._positions_lock, "entries")
        self._moving_stop: set[str] = set()             # symbols whose resting stop is being changed
        self._last_exit_ms: dict[str, int] = {}
        self._entry_times_ms: deque[int] = deque(maxlen=1000)
        self._exit_not_before: dict[str, float] = {}    # monotonic; after an exit was refused
        self._entered_at: dict[str, float] = {}         # monotonic; when it came into the book
        self._stop_not_before: dict[str, float] = {}    # monotonic; after a resting stop was not placed
        self._uncertain: set[str] = set()               # position ids whose last order is to be looked up
        self._unswept: set[str] = set()                 # symbols in which a stop of a closed position may rest
        self._foreign: frozenset[str] = frozenset()     # symbols in which someone else has a position
        self._serial = 0

    # ---- reading --------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Position, ...]:
        """Return every position in the book, closing ones too."""
        with self._positions_lock:
            return tuple(self.positions.values())

    def entries_under_way(self) -> tuple[EntryPlan, ...]:
        """Return the entries whose outcome is not certain yet."""
        with self._positions_lock:
            return tuple(self._opening.values())

    def find(self, symbol: str) -> Position | None:
        """Return the position in *symbol*, if there is one."""
        with self._positions_lock:
            return self.positions.get(symbol)

    def busy_symbols(self) -> frozenset[str]:
        """Return the symbols with an entry, an exit or a stop move under way."""
        with self._positions_lock:
            closing = {p.symbol for p in self.positions.values() if p.state is not PositionState.OPEN}
            return frozenset(closing | set(self._opening) | self._moving_stop)

    def mark_uncertain(self, position_id: str) -> None:
        """Leave an entry or exit to reconciliation: nobody works on it any more."""
        with self._positions_lock:
            self._uncertain.add(position_id)

    def take_uncertain(self) -> frozenset[str]:
        """Take over everything left to reconciliation; each is handed out once."""
        with self._positions_lock:
            taken = frozenset(self._uncertain)
            self._uncertain.clear()
            return taken

    def has_uncertain(self) -> bool:
        """Whether something waits for reconciliation."""
        with self._positions_lock:
            return bool(self._uncertain or self._unswept)

    def leave_unswept(self, symbol: str) -> None:
        """Keep out of *symbol* until no stop of RAD's rests there: it would close the next position."""
        with self._positions_lock:
            self._unswept.add(symbol)

    def unswept(self) -> frozenset[str]:
        """Return the symbols in which a stop of a closed position may still rest."""
        with self._positions_lock:
            return frozenset(self._unswept)

    def set_swept(self, symbols: frozenset[str]) -> None:
        """Note that no stop of a closed position rests in *symbols* any more."""
        with self._positions_lock:
            self._unswept -= symbols

    def set_foreign(self, symbols: frozenset[str]) -> None:
        """Note in which symbols someone else has a position: RAD keeps out of them."""
        with self._positions_lock:
            self._foreign = symbols

    # ---- claims ---------------------------------------------------------------------------------

    def claim_opening(
        self, request: EntryRequest, account: AccountState, rules: RiskRules
    ) -> EntryPlan | NotOpened:
        """Reserve a symbol and its share of the risk for one entry; of two openers one gets it."""
        now_ms = self._clock.now_ms()
        symbol = request.instrument.symbol
        with self._positions_lock:
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

    def restore_entry(self, plan: EntryPlan) -> None:
        """Claim an entry's symbol again after a restart; reconciliation finds out what became of it."""
        with self._positions_lock:
            self._opening[plan.symbol] = plan
            self._uncertain.add(plan.position_id)

    def restore_exits(self, last_exit_ms: dict[str, int]) -> None:
        """Remember when each symbol was last left, for the cool-down."""
        with self._positions_lock:
            self._last_exit_ms.update(last_exit_ms)

    def admit(self, position: Position) -> bool:
        """Enter a position, in place of its opening claim if it has one; False if one is there already."""
        with self._positions_lock:
            if position.symbol in self.positions:
                return False
            self._opening.pop(position.symbol, None)
            self.positions[position.symbol] = position
            self._entered_at[position.symbol] = self._clock.monotonic()
            return True

    def claim_closing(
        self, symbol: str, reason: ExitReason, *, position_id: str | None = None, patient: bool = False
    ) -> Position | None:
        """OPEN -> CLOSING in one step; of two closers one gets it, the other None.

        *patient*: not while the pause after a refused exit lasts.
        """
        with self._positions_lock:
            position = self.positions.get(symbol)
            if position is None or position.state is not PositionState.OPEN:
                return None
            if position_id is not None and position.position_id != position_id:
                return None
            if patient and self._clock.monotonic() < self._exit_not_before.get(symbol, 0.0):
                return None
            claimed = settlement.closing(position, reason)
            self.positions[symbol] = claimed
            return claimed

    def put_back(self, symbol: str, position_id: str, *, pause_s: float = 0.0) -> Position | None:
        """CLOSING -> OPEN: what was claimed did not happen, or not wholly."""
        with self._positions_lock:
            self._exit_not_before[symbol] = self._clock.monotonic() + pause_s
            return self._change(symbol, position_id, settlement.put_back)

    def change(
        self, symbol: str, position_id: str, change: Callable[[Position], Position]
    ) -> Position | None:
        """Replace that very position by what *change* (pure) makes of it; None if it is gone."""
        with self._positions_lock:
            return self._change(symbol, position_id, change)

    def change_if_open(self, symbol: str, position_id: str, **fields: Any) -> Position | None:
        """Replace *fields* of that very position unless someone has the claim to close it."""
        with self._positions_lock:
            position = self.positions.get(symbol)
            if position is None or position.state is not PositionState.OPEN:
                return None
            return self._change(symbol, position_id, lambda current: replace(current, **fields))

    def remove(self, symbol: str, closed_ms: int) -> None:
        """Forget a position of which nothing is left."""
        with self._positions_lock:
            self.positions.pop(symbol, None)
            self._exit_not_before.pop(symbol, None)
            self._stop_not_before.pop(symbol, None)
            self._entered_at.pop(symbol, None)
            self._last_exit_ms[symbol] = closed_ms

    def claim_stop_move(self, symbol: str) -> Position | None:
        """Take the right to change the resting stop, with the number of a new attempt."""
        with self._positions_lock:
            position = self.positions.get(symbol)
            if position is None or position.state is not PositionState.OPEN or symbol in self._moving_stop:
                return None
            self._moving_stop.add(symbol)
            claimed = replace(position, stop_attempt=position.stop_attempt + 1)
            self.positions[symbol] = claimed
            return claimed

    def release_stop_move(self, symbol: str, *, pause_s: float) -> None:
        """Give that right back; the monitor's next wish to move it waits *pause_s*."""
        with self._positions_lock:
            self._moving_stop.discard(symbol)
            self._stop_not_before[symbol] = self._clock.monotonic() + pause_s

    def unprotected_for(self, seconds: float) -> tuple[Position, ...]:
        """Return the open positions that have been in the book that long and never had a resting stop."""
        with self._positions_lock:
            before = self._clock.monotonic() - seconds
            return tuple(
                position
                for position in self.positions.values()
                if position.protective_stop is None
                and position.state is PositionState.OPEN
                and self._entered_at[position.symbol] < before
            )

    def may_move_stop(self, symbol: str) -> bool:
        """Whether nobody is changing the resting stop and the pause after a failure is over."""
        with self._positions_lock:
            pausing = self._clock.monotonic() < self._stop_not_before.get(symbol, 0.0)
            return symbol not in self._moving_stop and not pausing

    # ---- under the caller's lock ----------------------------------------------------------------

    def _change(
        self, symbol: str, position_id: str, change: Callable[[Position], Position]
    ) -> Position | None:
        current = self.positions.get(symbol)
        if current is None or current.position_id != position_id:
            return None
        changed = change(current)
        self.positions[symbol] = changed
        return changed

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
