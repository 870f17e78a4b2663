"""What is held and what is uncertain: the part of the book that everyone may read and ask about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from runtime.locks import condition_on, guard, named_lock
from trading.facts import EntryPlan, Position
from trading.lifecycle import PositionState
from trading.ports import Clock

NEVER = -inf


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """An order nobody works on any more and whose outcome is not certain."""

    since: float           # Clock.monotonic(): no request of it was signed later; NEVER: none was taken
    due: float             # when to look again


class Holding:
    """Positions and what is not certain, under `_positions_lock`; a `Position` is replaced, never edited."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._positions_lock = named_lock("positions")
        self._entry_settled = condition_on(self._positions_lock)
        # Guarded by _positions_lock.
        self.positions: dict[str, Position] = {}
        self._opening: dict[str, EntryPlan] = {}
        self._versions = 0                              # of positions: counts the changes of all
        self._unprotected_since: dict[str, float] = {}  # monotonic; positions without a resting stop
        self._doubts: dict[str, _Doubt] = {}            # by position id; left to reconciliation
        self._unswept: set[str] = set()                 # symbols in which a stop of a closed position may rest
        guard(
            self, self._positions_lock, "positions", "_opening", "_unprotected_since", "_doubts", "_unswept",
            "_versions",
        )

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

    def change(
        self, symbol: str, position_id: str, change: Callable[[Position], Position]
    ) -> Position | None:
        """Replace that very position by what *change* (pure) makes of it; None if it is gone."""
        with self._positions_lock:
            return self._change(symbol, position_id, change)

    def change_if_open(
        self, symbol: str, position_id: str, version: int | None = None, **fields: Any
    ) -> Position | None:
        """Replace *fields* of that very position unless someone has the claim to close it.

        *version*: only if it is still that one.
        """
        with self._positions_lock:
            position = self.positions.get(symbol)
            if position is None or position.state is not PositionState.OPEN:
                return None
            if version is not None and position.version != version:
                return None
            return self._change(symbol, position_id, lambda current: replace(current, **fields))

    # ---- left to reconciliation ------------------------------------------------------------------

    def mark_uncertain(self, position_id: str, *, pause_s: float = 0.0, is_refused: bool = False) -> None:
        """Leave an entry or exit to reconciliation, to be looked at after *pause_s*: nobody works on it any more.

        *is_refused*: the order itself was plainly not taken; what is to be found out is why. The mark
        stays until what became of the position is booked, or the claim is given back.
        """
        with self._positions_lock:
            if self._held(position_id) is None and not self._is_opening(position_id):
                return                    # over already, whoever says so late
            self._doubt(position_id, pause_s)
            if is_refused:
                self._doubts[position_id] = replace(self._doubts[position_id], since=NEVER)

    def uncertain(self) -> dict[str, float]:
        """Return what waits for reconciliation and is due, by position id: since when (monotonic, or NEVER)."""
        with self._positions_lock:
            now = self._clock.monotonic()
            return {position_id: doubt.since for position_id, doubt in self._doubts.items() if doubt.due <= now}

    def has_uncertain(self) -> bool:
        """Whether something waits for reconciliation and is due."""
        return bool(self.uncertain() or self.unswept())

    def certain(self, position_id: str) -> None:
        """Take the mark back: comparing the whole is all it needs. An exit begun meanwhile keeps its own."""
        with self._positions_lock:
            held = self._held(position_id)
            if held is None or held.state is not PositionState.CLOSING:
                self._doubts.pop(position_id, None)

    def look_again(self, position_id: str) -> None:
        """Have the whole compared soon on account of an open position; a closing one is somebody's work."""
        with self._positions_lock:
            held = self._held(position_id)
            if held is not None and held.state is PositionState.OPEN:
                self._doubt(position_id, 0.0)

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

    # ---- under the caller's lock -----------------------------------------------------------------

    def _doubt(self, position_id: str, pause_s: float) -> None:
        now = self._clock.monotonic()
        before = self._doubts.get(position_id)
        since = before.since if before is not None else now
        self._doubts[position_id] = _Doubt(since=since, due=now + pause_s)

    def _change(
        self, symbol: str, position_id: str, change: Callable[[Position], Position]
    ) -> Position | None:
        current = self.positions.get(symbol)
        if current is None or current.position_id != position_id:
            return None
        changed = change(current)
        if changed.protective_stop is None and current.protective_stop is not None:
            self._unprotected_since[symbol] = self._clock.monotonic()
        elif changed.protective_stop is not None:
            self._unprotected_since.pop(symbol, None)
        return self._put(changed)

    def _put(self, position: Position) -> Position:
        """Enter a position as it is now; whoever writes down an earlier one, and later, has it passed over."""
        self._versions += 1
        entered = self.positions[position.symbol] = replace(position, version=self._versions)
        return entered

    def _held(self, position_id: str) -> Position | None:
        return next((held for held in self.positions.values() if held.position_id == position_id), None)

    def _is_opening(self, position_id: str) -> bool:
        return any(plan.position_id == position_id for plan in self._opening.values())
