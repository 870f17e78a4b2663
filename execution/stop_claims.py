"""The right to change a position's resting stop, and how long it has gone without one."""

from __future__ import annotations

from dataclasses import replace

from execution.holding import Holding
from runtime.locks import guard
from trading.facts import Position, ProtectiveStop
from trading.lifecycle import PositionState
from trading.ports import Clock


class StopClaims(Holding):
    """Of all who want to move a symbol's stop one does, under a number of its own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        # Guarded by _positions_lock; symbols.
        self._queued_moves: set[str] = set()            # a stop move waits for a worker
        self._moving_stop: set[str] = set()             # the resting stop is being changed
        self._one_stop: set[str] = set()                # a second stop was refused
        self._stop_not_before: dict[str, float] = {}    # monotonic; after a resting stop was not placed
        self._covers: dict[str, int] = {}               # by position id: stops placed for uncertain entries
        guard(
            self, self._positions_lock, "_queued_moves", "_moving_stop", "_one_stop", "_stop_not_before", "_covers"
        )

    def queue_stop_move(self, symbol: str) -> bool:
        """Note that a stop move waits for a worker; False if one does already."""
        with self._positions_lock:
            if symbol in self._queued_moves:
                return False
            self._queued_moves.add(symbol)
            return True

    def may_move_stop(self, symbol: str) -> bool:
        """Whether nobody is changing the resting stop and the pause after a failure is over."""
        with self._positions_lock:
            pausing = self._clock.monotonic() < self._stop_not_before.get(symbol, 0.0)
            return symbol not in self._moving_stop and not pausing

    def claim_stop_move(self, symbol: str, *, closing: bool = False) -> Position | None:
        """Take the right to change the resting stop.

        A closing position is left to whoever closes it, unless that is who asks (*closing*), or nobody
        works on it: its exit may never have been.
        """
        with self._positions_lock:
            self._queued_moves.discard(symbol)
            position = self.positions.get(symbol)
            if position is None or symbol in self._moving_stop:
                return None
            is_left = closing or position.position_id in self._doubts
            if position.state is not PositionState.OPEN and not is_left:
                return None
            self._moving_stop.add(symbol)
            return position

    def release_stop_move(self, symbol: str, *, pause_s: float) -> None:
        """Give that right back; the monitor's next wish to move it waits *pause_s*."""
        with self._positions_lock:
            self._moving_stop.discard(symbol)
            self._stop_not_before[symbol] = self._clock.monotonic() + pause_s

    def next_stop_attempt(self, symbol: str, position_id: str) -> Position | None:
        """Return that position with the number of one more attempt, for whoever is about to place a stop."""
        return self.change(
            symbol, position_id, lambda current: replace(current, stop_attempt=current.stop_attempt + 1)
        )

    def give_back_stop_attempt(self, symbol: str, position_id: str) -> Position | None:
        """Take the last number back: its stop certainly never left, and the next one carries it.

        A number that no order has is a gap: too many in a row, and a restart does not look beyond them.
        """
        return self.change(
            symbol, position_id, lambda current: replace(current, stop_attempt=current.stop_attempt - 1)
        )

    def next_cover(self, position_id: str) -> int:
        """Return the number of one more stop for an entry nobody can read yet."""
        with self._positions_lock:
            self._covers[position_id] = self._covers.get(position_id, 0) + 1
            return self._covers[position_id]

    def give_back_cover(self, position_id: str) -> None:
        """Take the last of them back: it certainly never left."""
        with self._positions_lock:
            if self._covers.get(position_id):
                self._covers[position_id] -= 1

    def last_cover(self, position_id: str) -> int:
        """Return the number of the last one; 0 if there was none."""
        with self._positions_lock:
            return self._covers.get(position_id, 0)

    def stop_rests(self, symbol: str, position_id: str, stop: ProtectiveStop) -> tuple[Position, float] | None:
        """Book a confirmed stop; return the position and for how many seconds it had none."""
        with self._positions_lock:
            now = self._clock.monotonic()
            gap_s = now - self._unprotected_since.get(symbol, now)
            booked = self._change(symbol, position_id, lambda current: replace(current, protective_stop=stop))
            return None if booked is None else (booked, gap_s)

    def stop_lost(self, symbol: str, position_id: str) -> Position | None:
        """Note that no stop rests any more: from here on the deadline runs."""
        return self.change(symbol, position_id, lambda current: replace(current, protective_stop=None))

    def unprotected_for(self, seconds: float) -> tuple[Position, ...]:
        """Return the open positions that have been without a resting stop for that long, never or no more."""
        with self._positions_lock:
            before = self._clock.monotonic() - seconds
            return tuple(
                position
                for symbol, position in self.positions.items()
                if position.state is PositionState.OPEN and self._unprotected_since.get(symbol, before) < before
            )

    def note_one_stop(self, symbol: str) -> None:
        """Remember that a second stop beside a resting one is refused there."""
        with self._positions_lock:
            self._one_stop.add(symbol)

    def takes_one_stop(self, symbol: str) -> bool:
        """Whether a second stop beside a resting one was refused there."""
        with self._positions_lock:
            return symbol in self._one_stop

    def _forget_stop(self, symbol: str) -> None:
        self._queued_moves.discard(symbol)
        self._stop_not_before.pop(symbol, None)
        self._unprotected_since.pop(symbol, None)
