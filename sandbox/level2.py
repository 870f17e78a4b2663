"""The whole book by its changes: each level that differs is one change with the next number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from sandbox.depth import Depth
from sandbox.market.source import Contract, Quote

Levels = dict[Decimal, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One level as it is now; no lots: it is gone."""

    sequence: int
    price: Decimal
    side: str                  # buy for a bid, sell for an ask, as KuCoin says it
    lots: int
    ts_ms: int


@dataclass(slots=True)
class Book:
    """The levels as they were last told, after change number *sequence*."""

    sequence: int
    bids: Levels
    asks: Levels


class Level2:
    """Numbers the changes of every book that somebody has asked for, and tells *on_change* of each."""

    def __init__(self, depth: Depth) -> None:
        self._depth = depth
        self._books: dict[str, Book] = {}
        self.on_change: Callable[[str, Change], None] = lambda _symbol, _change: None

    def update(self, contract: Contract, quote: Quote) -> Book:
        """Bring a book up to date, telling of what has changed since the last time, and return it."""
        bids, asks = (dict(self._depth.ladder(contract, quote, taker)) for taker in ("sell", "buy"))
        book = self._books.get(contract.symbol)
        if book is None:
            book = self._books[contract.symbol] = Book(sequence=1, bids=bids, asks=asks)
            return book
        for side, before, now in (("buy", book.bids, bids), ("sell", book.asks, asks)):
            for price in [*(before.keys() - now.keys()), *now]:
                if before.get(price) != now.get(price):
                    book.sequence += 1
                    change = Change(
                        sequence=book.sequence, price=price, side=side, lots=now.get(price, 0), ts_ms=quote.ts_ms
                    )
                    self.on_change(contract.symbol, change)
        book.bids, book.asks = bids, asks
        return book
