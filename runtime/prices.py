"""The latest price of each held symbol, and a bell that rings when one changes."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.locks import condition_on, guarded_dict, named_lock
from trading.facts import Price
from trading.ports import Clock


class PriceBook:
    """`trading.ports.Prices`: written by the stream, read by the monitor; any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._prices_lock = named_lock("prices")
        self._ticked = condition_on(self._prices_lock)
        # Guarded by _prices_lock.
        self._prices: dict[str, Price] = guarded_dict(self._prices_lock, "prices")
        self._followed: frozenset[str] = frozenset()
        self._ticks = 0

    def publish(self, price: Price) -> None:
        """Take in one price, and wake the monitor if somebody holds the symbol."""
        with self._ticked:
            self._prices[price.symbol] = price
            if price.symbol in self._followed:
                self._ticks += 1
                self._ticked.notify_all()

    def get(self, symbol: str) -> Price | None:
        """Return the latest, however old; None if there never was one."""
        with self._prices_lock:
            return self._prices.get(symbol)

    def follow(self, symbols: Iterable[str]) -> None:
        """Replace the set of symbols whose prices are wanted."""
        wanted = frozenset(symbols)
        with self._prices_lock:
            self._followed = wanted
            for symbol in set(self._prices) - wanted:
                del self._prices[symbol]

    def followed(self) -> frozenset[str]:
        """Return the symbols whose prices are wanted."""
        with self._prices_lock:
            return self._followed

    def stale(self, older_than_s: float) -> tuple[str, ...]:
        """Return the followed symbols without a price, or with one older than that."""
        now = self._clock.monotonic()
        with self._prices_lock:
            return tuple(
                symbol
                for symbol in self._followed
                if (price := self._prices.get(symbol)) is None or price.age_s(now) > older_than_s
            )

    def wait_for_tick(self, seen: int, timeout_s: float) -> int:
        """Wait until there has been a tick after the *seen*th, or the time is up; return the latest."""
        with self._ticked:
            self._clock.wait_for(self._ticked, lambda: self._ticks != seen, timeout_s)
            return self._ticks

    def wake(self) -> None:
        """Ring the bell without a price: something else is to be looked at."""
        with self._ticked:
            self._ticks += 1
            self._ticked.notify_all()
