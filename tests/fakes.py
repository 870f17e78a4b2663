"""The market in memory, at the edge of the scanner: candles and tickers set by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from runtime.locks import assert_no_lock_held
from tests.builders import a_ticker, an_instrument
from trading.candles import Candles, Floats
from trading.errors import BadResponse, ExchangeUnavailable
from trading.facts import Instrument, Priority, Ticker
from trading.ports import Clock
from trading.timeframes import TIMEFRAME_MINUTES

D = Decimal


def some_candles(
    symbol: str, last_open_ms: int, count: int, *, timeframe: str = "1m", close: float = 100.0, volume: float = 5.0
) -> Candles:
    """*count* candles that end at *close*, one higher in each; true range 2 throughout."""
    step = TIMEFRAME_MINUTES[timeframe] * 60_000
    closes = close - np.arange(count - 1, -1, -1, dtype=np.float64)
    return Candles(
        symbol=symbol, timeframe=timeframe,
        open_ms=last_open_ms - np.arange(count - 1, -1, -1, dtype=np.int64) * step,
        open=closes - 1, high=closes + 1, low=closes - 1, close=closes, volume=np.full(count, volume),
    )


class FakeMarketData:
    """`trading.ports.MarketData`: every symbol has candles up to the clock's time, unless told otherwise.

    `closes` sets a symbol's last close (the strategy of `scoring` reads it as a score), `volumes` the
    volume of all its candles, `failures` what its candles raise, `tickers_fail` what the tickers raise.
    `during_fetch` runs inside each fetch_candles, with the symbol and the limit: a meeting point.
    """

    def __init__(self, clock: Clock, symbols: Iterable[str]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        listed = list(symbols)
        self._instruments = {symbol: an_instrument(symbol) for symbol in listed}
        # Most liquid first, in the order given.
        self.tickers = {
            symbol: a_ticker("99.9", "100.1", symbol=symbol, volume_24h=D(1_000_000 - rank))
            for rank, symbol in enumerate(listed)
        }
        self.closes: dict[str, float] = {}
        self.volumes: dict[str, float] = {}
        self.failures: dict[str, Exception] = {}
        self.tickers_fail: Exception | None = None
        self.during_fetch: Callable[[str, int], None] = lambda _symbol, _limit: None
        self.shown_ms: int | None = None                 # the exchange's time, None: the clock's
        self.asked: list[tuple[str, int]] = []           # (symbol, limit), in the order of arrival
        self.threads: set[str] = set()                   # names of the threads that asked for candles

    def instruments(self) -> Mapping[str, Instrument]:
        return self._instruments

    def fetch_tickers(self, priority: Priority = Priority.SCAN) -> dict[str, Ticker]:
        assert_no_lock_held("exchange call fetch_tickers")
        if self.tickers_fail is not None:
            raise self.tickers_fail
        return dict(self.tickers)

    def fetch_candles(self, symbol: str, timeframe: str, limit: int) -> Candles:
        assert_no_lock_held("exchange call fetch_candles")
        with self._lock:
            self.asked.append((symbol, limit))
            self.threads.add(threading.current_thread().name)
        self.during_fetch(symbol, limit)
        failure = self.failures.get(symbol)
        if failure is not None:
            raise failure
        step = TIMEFRAME_MINUTES[timeframe] * 60_000
        now_ms = self._clock.now_ms() if self.shown_ms is None else self.shown_ms
        return some_candles(
            symbol, now_ms // step * step - step, limit, timeframe=timeframe,
            close=self.closes.get(symbol, 0.0), volume=self.volumes.get(symbol, 5.0),
        )

    def asked_symbols(self) -> list[str]:
        """Return the symbols whose candles were asked for, in that order."""
        with self._lock:
            return [symbol for symbol, _ in self.asked]


NO_ANSWER = ExchangeUnavailable("no whole answer within 10 s")
NO_CANDLES = BadResponse("no closed candle in the answer")


@dataclass(frozen=True)
class CloseIsScore:
    """A strategy whose score is the close itself: what a test sets is what the scanner sees."""

    min_candles: int = 1

    def score(self, candles: Candles) -> Floats:
        return candles.close

    def reasons(self, candles: Candles, index: int) -> tuple[str, ...]:
        return ("because",)
