"""The market as the engine reads it: contracts by symbol, quotes, price limits."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from sandbox import refusals
from sandbox.market.source import Contract, MarketSource, Quote


class MarketView:
    """Names and prices of one source; unknown symbols are refused in KuCoin's words."""

    def __init__(self, source: MarketSource) -> None:
        self.source = source
        self._contracts: dict[str, Contract] = {}

    def reload(self) -> None:
        """Read the contracts again, after the source has started."""
        self._contracts = {contract.symbol: contract for contract in self.source.contracts()}

    def contracts(self) -> tuple[Contract, ...]:
        return tuple(self._contracts.values())

    def knows(self, symbol: str) -> bool:
        return symbol in self._contracts

    def contract(self, symbol: str) -> Contract:
        """Return the rules of *symbol*.

        Raises:
            Refusal: 900001, there is no such contract.
        """
        try:
            return self._contracts[symbol]
        except KeyError:
            raise refusals.symbol_unknown() from None

    def quote(self, symbol: str) -> Quote:
        return self.source.quote(symbol)

    def mark(self, symbol: str) -> Decimal:
        return self.source.quote(symbol).mark

    def buy_limit(self, contract: Contract, mark: Decimal) -> Decimal:
        """Return the highest price a buyer may name, on the tick."""
        return _step(mark * (1 + contract.price_limit_rate), contract.tick_size, ROUND_FLOOR)

    def sell_limit(self, contract: Contract, mark: Decimal) -> Decimal:
        """Return the lowest price a seller may name, on the tick."""
        return _step(mark * (1 - contract.price_limit_rate), contract.tick_size, ROUND_CEILING)

    def stop_range(self, symbol: str, price_type: str) -> tuple[Decimal, Decimal]:
        """Return (low, high) a stop of *price_type* has seen in the last step.

        The source reports the range of mark prices; last and index are taken to have moved along.
        """
        low, high = self.source.traded_range(symbol)
        now = self.stop_price_now(symbol, price_type)
        shift = now - self.mark(symbol)
        return min(low + shift, now), max(high + shift, now)

    def stop_price_now(self, symbol: str, price_type: str) -> Decimal:
        """Return what a stop of *price_type* looks at: all that a new one sees."""
        quote = self.source.quote(symbol)
        return {"TP": quote.last, "IP": quote.index}.get(price_type, quote.mark)


def _step(value: Decimal, tick: Decimal, rounding: str) -> Decimal:
    return (value / tick).to_integral_value(rounding) * tick
