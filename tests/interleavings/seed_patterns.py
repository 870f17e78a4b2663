"""The seed's patterns 2 and 3 as it prints them, for the scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal

from runtime.locks import named_lock
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import watch


class Positions:
    """Pattern 2: a snapshot, a second look at each under the lock, the work outside of it."""

    def __init__(self) -> None:
        self._positions_lock = named_lock("positions, as printed")
        self.positions = {"BTC": Decimal(1)}
        self.sold: list[str] = []

    def update_positions(self) -> None:
        with self._positions_lock:
            symbols = list(self.positions)
        for symbol in symbols:
            with self._positions_lock:
                if symbol not in self.positions:
                    continue
            self.sold.append(symbol)                 # on the wire
            with self._positions_lock:
                self.positions.pop(symbol, None)


def pattern_2() -> Scene:
    """Two threads update positions; one position is to be sold."""
    book = Positions()
    watch(book, "book", book._positions_lock, ("positions",))
    watch(book, "wire", fields=("sold",))

    def check(_: object) -> None:
        assert book.sold == ["BTC"], "sold twice"

    return Scene(threads={"one": book.update_positions, "other": book.update_positions}, check=check)


class Gate:
    """Pattern 3: critical calls count themselves, the others look again and again until none is counted."""

    def __init__(self) -> None:
        self._critical_call_lock = named_lock("critical calls, as printed")
        self._pending_critical_calls = 0
        watch(self, "gate", self._critical_call_lock, ("_pending_critical_calls",))

    def critical(self, trade: Callable[[], object]) -> None:
        with self._critical_call_lock:
            self._pending_critical_calls += 1
        try:
            trade()
        finally:
            with self._critical_call_lock:
                self._pending_critical_calls -= 1

    def scan(self) -> float:
        """Wait for critical calls, and return when that was over."""
        while self._pending_critical_calls > 0:
            time.sleep(0.05)
        return time.monotonic()


def pattern_3_and_a_lost_answer() -> Scene:
    """A trade gets no answer for a minute; a scan is not to be held up longer than a second."""
    gate = Gate()

    def check(results: Mapping[str, object]) -> None:
        assert results["scan"] in (0.0, 1.0), f"held up for {results['scan']:.2f} s"

    return Scene(threads={"exit": lambda: gate.critical(lambda: time.sleep(60)), "scan": gate.scan}, check=check)


def pattern_3_within_itself() -> Scene:
    """A trade that asks something on its way, at the priority questions have."""
    gate = Gate()
    return Scene(threads={"exit": lambda: gate.critical(gate.scan)}, check=lambda _: None)
