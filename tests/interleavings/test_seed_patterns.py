"""The seed's patterns as it prints them, and RAD's beside them."""

from __future__ import annotations

from decimal import Decimal

from runtime.locks import named_lock
from tests.interleavings.explorer import Scene, explore, find, replay
from tests.interleavings.watching import watch


class AsPrinted:
    """Positions looked after by the seed's Pattern 2."""

    def __init__(self) -> None:
        self._positions_lock = named_lock("positions, as printed")
        self.positions = {"BTC": Decimal(1)}
        self.sold: list[str] = []

    def update_positions(self) -> None:
        """Snapshot, re-check under the lock, process outside of it."""
        with self._positions_lock:
            symbols = list(self.positions)
        for symbol in symbols:
            with self._positions_lock:
                if symbol not in self.positions:
                    continue
            self.sold.append(symbol)                 # on the wire
            with self._positions_lock:
                self.positions.pop(symbol, None)


def two_that_update_as_printed() -> Scene:
    book = watch(AsPrinted(), "book")
    book = AsPrinted()
    watch(book, "book", book._positions_lock)

    def sold_once(_: object) -> None:
        assert book.sold == ["BTC"]

    return Scene(threads={"one": book.update_positions, "other": book.update_positions}, check=sold_once)


def test_pattern_2_as_printed_sells_one_position_twice() -> None:
    """Between the second look and the sale another thread looks as well."""
    found = find(two_that_update_as_printed)
    print(found)
    assert [str(replay(two_that_update_as_printed, found.order)) for _ in range(10)] == [str(found)] * 10
