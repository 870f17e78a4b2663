"""The background scan: every pair's candles, scored by the strategy, published as one frozen result."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from decimal import Decimal

from runtime.locks import condition_on, guarded_dict, named_lock
from trading.candles import Candles
from trading.errors import ExchangeError
from trading.facts import Opportunity, ScanResult, Ticker
from trading.ports import Clock, MarketData, Monitor
from trading.strategies import Signal, Strategy, signal_at
from trading.universe import UniverseRules, select

log = logging.getLogger("scan")

SETTLE_MS = 1_500          # KuCoin writes a candle a moment after it has closed
PUBLISH_EVERY_S = 0.5      # how often a scan under way may publish what it has found so far


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRules:
    """What a scan goes by."""

    timeframe: str = "1m"
    candles: int = 200
    threshold: float = 0.5     # the weakest score that is an opportunity
    interval_s: float = 5.0    # from the end of one scan to the start of the next
    time_limit_s: float = 30.0
    workers: int = 20
    strategy: str = "trend"


@dataclass(slots=True)
class _Progress:
    """One scan under way; touched by the scanning thread alone."""

    started: float
    started_ms: int
    universe: int
    found: list[Opportunity] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    scanned: int = 0
    failed: int = 0
    published_at: float = 0.0
    published: int = 0


class MarketScanner:
    """Scans on the caller's thread and its own pool `scan-0..n`; its results are read by any thread."""

    def __init__(
        self,
        market: MarketData,
        strategy: Strategy,
        universe: UniverseRules,
        monitor: Monitor,
        clock: Clock,
        rules: ScanRules,
    ) -> None:
        self._market = market
        self._strategy = strategy
        self._universe = universe
        self._monitor = monitor
        self._clock = clock
        self._rules = rules
        self._stop = threading.Event()

        self._cache_lock = named_lock("cache")
        # Guarded by _cache_lock: (symbol, timeframe) -> (candles, when fetched, exchange's ms).
        self.cache: dict[tuple[str, str], tuple[Candles, int]] = guarded_dict(self._cache_lock, "cache")

        self._scan_lock = named_lock("scan")
        self._scanned = condition_on(self._scan_lock)
        # Guarded by _scan_lock.
        self._latest_opportunities: ScanResult | None = None
        self._last_opportunity_update = 0
        self._sequence = 0

        self._names = iter(range(rules.workers))
        self._pool = ThreadPoolExecutor(rules.workers, thread_name_prefix="scan", initializer=self._name_worker)

    # ---- scanning -------------------------------------------------------------------------------

    def scan(self) -> ScanResult:
        """Scan every pair of the universe once, within the time limit, publishing as it goes.

        Raises:
            ExchangeUnavailable: the tickers could not be fetched; nothing is published.
        """
        progress, futures = self._begin()
        deadline = progress.started + self._rules.time_limit_s
        pending = set(futures)
        while pending and not self._stop.is_set():
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                break
            done, pending = wait(pending, timeout=min(left_s, PUBLISH_EVERY_S))
            for future in done:
                self._take_in(progress, future)
            self._publish_early(progress)
        for future in pending:
            future.cancel()
        return self._finish(progress, left_out=len(pending))

    def run_once(self) -> ScanResult:
        """Scan once and end the pool: for `scan --once`."""
        try:
            return self.scan()
        finally:
            self.stop()

    def scan_pair(self, symbol: str, ticker: Ticker) -> tuple[float, Opportunity | None]:
        """Return a symbol's signed score, and the opportunity if it is strong enough.

        Raises:
            ExchangeUnavailable: its candles could not be fetched: that is not "no signal".
        """
        candles = self._candles(symbol)
        signal = signal_at(self._strategy, candles)
        if signal is None:
            return 0.0, None
        if abs(signal.score) < self._rules.threshold:
            return signal.score, None
        return signal.score, self._opportunity(symbol, ticker, candles, signal)

    def _begin(self) -> tuple[_Progress, list[Future[tuple[str, float, Opportunity | None]]]]:
        started, started_ms = self._clock.monotonic(), self._clock.now_ms()
        tickers = self._market.fetch_tickers()
        symbols = select(self._market.instruments(), tickers, self._universe, started_ms)
        progress = _Progress(started=started, started_ms=started_ms, universe=len(symbols))
        futures = [self._pool.submit(self._work, symbol, tickers[symbol]) for symbol in symbols]
        return progress, futures

    def _work(self, symbol: str, ticker: Ticker) -> tuple[str, float, Opportunity | None]:
        score, opportunity = self.scan_pair(symbol, ticker)
        return symbol, score, opportunity

    def _take_in(self, progress: _Progress, future: Future[tuple[str, float, Opportunity | None]]) -> None:
        try:
            symbol, score, opportunity = future.result()
        except ExchangeError as error:
            progress.failed += 1
            log.debug("candles not fetched error=%s", error)
            return
        progress.scanned += 1
        progress.scores[symbol] = score
        if opportunity is not None:
            progress.found.append(opportunity)

    def _finish(self, progress: _Progress, left_out: int) -> ScanResult:
        result = self._publish(progress, complete=not left_out, left_out=left_out)
        duration_s = self._clock.monotonic() - progress.started
        self._monitor.record_scan_time(duration_s, progress.scanned, progress.failed)
        best = result.opportunities[0] if result.opportunities else None
        log.info(
            "scan done pairs=%d of=%d failed=%d left_out=%d opportunities=%d best=%s took=%.2fs",
            progress.scanned, progress.universe, progress.failed, left_out, len(result.opportunities),
            f"{best.symbol} {best.side.value} {best.score:.2f}" if best else "none", duration_s,
        )
        return result

    # ---- candles --------------------------------------------------------------------------------

    def _candles(self, symbol: str) -> Candles:
        """Return the closed candles, from the cache until a new one has closed."""
        key = (symbol, self._rules.timeframe)
        now_ms = self._clock.now_ms()
        with self._cache_lock:
            cached = self.cache.get(key)
        if cached is not None and now_ms < cached[0].next_close_ms + SETTLE_MS:
            return cached[0]
        candles = self._market.fetch_candles(symbol, self._rules.timeframe, self._rules.candles)
        with self._cache_lock:
            self.cache[key] = (candles, now_ms)
        return candles

    def atr_of(self, symbol: str) -> Decimal | None:
        """Return the ATR of a symbol whose candles are at hand; None otherwise."""
        with self._cache_lock:
            cached = self.cache.get((symbol, self._rules.timeframe))
        signal = None if cached is None else signal_at(self._strategy, cached[0])
        return None if signal is None else Decimal(str(signal.atr))

    def _opportunity(self, symbol: str, ticker: Ticker, candles: Candles, signal: Signal) -> Opportunity:
        return Opportunity(
            symbol=symbol,
            side=signal.side,
            score=abs(signal.score),
            price=ticker.last,
            atr=Decimal(str(signal.atr)),
            spread=ticker.spread,
            volume_24h=ticker.volume_24h,
            candle_ms=int(candles.open_ms[-1]),
            strategy=self._rules.strategy,
            reasons=signal.reasons,
        )

    # ---- publishing -----------------------------------------------------------------------------

    def _publish_early(self, progress: _Progress) -> None:
        """Publish a scan under way when it has found something new: its best need not wait for the rest."""
        now = self._clock.monotonic()
        if len(progress.found) > progress.published and now - progress.published_at >= PUBLISH_EVERY_S:
            progress.published, progress.published_at = len(progress.found), now
            self._publish(progress, complete=False, left_out=0)

    def _publish(self, progress: _Progress, *, complete: bool, left_out: int) -> ScanResult:
        opportunities = tuple(sorted(progress.found, key=lambda found: (-found.score, found.symbol)))
        finished_ms = self._clock.now_ms()
        with self._scanned:
            self._sequence += 1
            result = ScanResult(
                sequence=self._sequence,
                started_ms=progress.started_ms,
                finished_ms=finished_ms,
                opportunities=opportunities,
                scores=dict(progress.scores),
                scanned=progress.scanned,
                failed=progress.failed,
                left_out=left_out,
                universe=progress.universe,
                complete=complete,
            )
            self._latest_opportunities = result
            self._last_opportunity_update = finished_ms
            self._scanned.notify_all()
        return result

    # ---- reading --------------------------------------------------------------------------------

    def get_best_pairs(self, count: int) -> tuple[Opportunity, ...]:
        """Return the best opportunities of the latest result."""
        with self._scan_lock:
            result = self._latest_opportunities
        return () if result is None else result.opportunities[:count]

    def take_result(self, after: int) -> ScanResult | None:
        """Return the latest result if it is newer than the *after*th: each is consumed once."""
        with self._scan_lock:
            result = self._latest_opportunities
        return result if result is not None and result.sequence > after else None

    def wait_for_result(self, after: int, timeout_s: float) -> ScanResult | None:
        """Wait for a result newer than the *after*th; None when the time is up or the scanner stops."""
        with self._scanned:
            self._clock.wait_for(
                self._scanned, lambda: self._sequence > after or self._stop.is_set(), timeout_s
            )
        return self.take_result(after)

    def wait_until_due(self, stop: threading.Event) -> None:
        """Pause between two scans; ends at once when *stop* is set."""
        self._clock.wait(stop, self._rules.interval_s)

    def stop(self) -> None:
        """End the scan under way and the pool; a worker on the wire ends with its call's deadline."""
        self._stop.set()
        with self._scanned:
            self._scanned.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _name_worker(self) -> None:
        """Name a pool thread `scan-N`; a number is handed out once, next() on an iterator is one step."""
        threading.current_thread().name = f"scan-{next(self._names, 'x')}"
