"""The latest price of each held symbol, and a bell that rings when one changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from runtime.locks import condition_on, guard, named_lock
from trading.facts import Price
from trading.ports import Clock

OVERTAKEN_S = 2.0              # an answer by REST may be this much older than the push that overtook it
MISSED_FOR_S = 5.0             # what was asked for may be some seconds behind what was pushed
SUBSCRIBED_WITHIN_S = 3.0      # nothing is pushed about a symbol before somebody has asked for it


class PriceBook:
    """`trading.ports.Prices`: written by the stream, read by the monitor; any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._prices_lock = named_lock("prices")
        self._ticked = condition_on(self._prices_lock)
        # Guarded by _prices_lock.
        self._prices: dict[str, Price] = {}
        self._followed: frozenset[str] = frozenset()
        self._heard: dict[str, float] = {}    # of the followed: the latest push about it
        self._quotes: dict[str, tuple[Decimal, Decimal]] = {}     # pushed last; at first what was asked for
        self._unpushed: dict[str, float] = {}     # since when another was asked for, and none pushed
        self._ticks = 0
        guard(self, self._prices_lock, "_prices", "_followed", "_heard", "_quotes", "_unpushed", "_ticks")

    def publish(self, price: Price) -> None:
        """Take in a price the stream has pushed, and wake the monitor if somebody holds the symbol."""
        self.publish_many((price,), pushed=True)

    def publish_many(self, prices: Iterable[Price], *, pushed: bool = False) -> None:
        """Take in several prices at once, which were asked for or *pushed*; the monitor is woken once."""
        with self._ticked:
            rings = False
            for price in prices:
                is_overtaken = self._is_overtaken(price)
                if pushed:
                    self._hear(price.symbol)
                if price.symbol in self._followed and (pushed or not is_overtaken):
                    self._note_quote(price, pushed=pushed)
                if not is_overtaken:
                    self._prices[price.symbol] = price
                    rings = rings or price.symbol in self._followed
            if rings:
                self._ticks += 1
                self._ticked.notify_all()

    def publish_mark(self, symbol: str, mark: Decimal) -> None:
        """Take in what a symbol is valued at, pushed each second; nobody is woken, no price is fresher for it."""
        with self._prices_lock:
            self._hear(symbol)
            known = self._prices.get(symbol)
            if known is not None:
                self._prices[symbol] = replace(known, mark=mark)

    def get(self, symbol: str) -> Price | None:
        """Return the latest, however old; None if there never was one."""
        with self._prices_lock:
            return self._prices.get(symbol)

    def snapshot(self, symbols: Iterable[str]) -> Mapping[str, Price]:
        """Return the latest of each of *symbols* that has one, all of one moment."""
        with self._prices_lock:
            return {symbol: price for symbol in symbols if (price := self._prices.get(symbol)) is not None}

    def follow(self, symbols: Iterable[str]) -> bool:
        """Replace the set of symbols whose prices are wanted; True if that is news."""
        wanted = frozenset(symbols)
        with self._prices_lock:
            if wanted == self._followed:
                return False
            self._followed = wanted
            for symbol in set(self._prices) - wanted:
                del self._prices[symbol]
            expected = self._clock.monotonic() + SUBSCRIBED_WITHIN_S
            self._heard = {symbol: self._heard.get(symbol, expected) for symbol in wanted}
            for symbol in set(self._quotes) - wanted:
                del self._quotes[symbol]
                self._unpushed.pop(symbol, None)
            return True

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

    def silent(self, for_s: float) -> tuple[str, ...]:
        """Return the followed symbols of which nothing was pushed for so long, or not what has changed.

        Their stream has died. A market in which nothing moves is stale and not silent: what it is valued at
        is still pushed, and whoever asks is told the price that was pushed last.
        """
        now, missed_for_s = self._clock.monotonic(), max(for_s, MISSED_FOR_S)
        with self._prices_lock:
            return tuple(
                symbol for symbol, heard in self._heard.items()
                if now - heard > for_s or now - self._unpushed.get(symbol, now) > missed_for_s
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

    def _hear(self, symbol: str) -> None:
        if symbol in self._heard:
            self._heard[symbol] = self._clock.monotonic()

    def _note_quote(self, price: Price, *, pushed: bool) -> None:
        quote = price.bid, price.ask
        if pushed:
            self._quotes[price.symbol] = quote
        if self._quotes.setdefault(price.symbol, quote) == quote:
            self._unpushed.pop(price.symbol, None)
        else:
            # Not before it is subscribed to.
            since = max(self._clock.monotonic(), self._heard[price.symbol])
            self._unpushed.setdefault(price.symbol, since)

    def _is_overtaken(self, price: Price) -> bool:
        """Whether what is known is newer by the exchange's time; an old one is not defended for long."""
        known = self._prices.get(price.symbol)
        return known is not None and price.ts_ms < known.ts_ms and price.received - known.received < OVERTAKEN_S
