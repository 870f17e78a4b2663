"""The order book around a quote: levels widen and grow away from the best price."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal

from sandbox.market.source import Contract, Quote

_SPACING = Decimal("0.0001")        # of the price, between two levels; one tick at the least


class Depth:
    """What can be traded at each price; what was taken comes back with `refill`, at every step."""

    def __init__(self, levels: int = 50) -> None:
        self.levels = levels
        self._taken: dict[tuple[str, str], int] = {}   # (symbol, side of the taker) -> lots

    def ladder(self, contract: Contract, quote: Quote, side: str) -> Iterator[tuple[Decimal, int]]:
        """Yield (price, lots) a taker of *side* meets, best first, less what was taken already."""
        buying = side == "buy"
        best, size = (quote.ask, quote.ask_size) if buying else (quote.bid, quote.bid_size)
        step = max(contract.tick_size, _to_tick(best * _SPACING, contract.tick_size))
        taken = self._taken.get((quote.symbol, side), 0)
        for level in range(self.levels):
            price = best + step * level if buying else best - step * level
            if price <= 0:
                return
            lots = max(1, size * (2 + level) // 2)
            skipped = min(taken, lots)
            taken -= skipped
            if lots > skipped:
                yield price, lots - skipped

    def take(self, symbol: str, side: str, lots: int) -> None:
        """Note that a taker of *side* has eaten *lots*."""
        self._taken[symbol, side] = self._taken.get((symbol, side), 0) + lots

    def refill(self) -> None:
        self._taken.clear()


def _to_tick(value: Decimal, tick: Decimal) -> Decimal:
    return (value / tick).to_integral_value(ROUND_CEILING) * tick
