"""The background scan: every pair's candles, scored by the strategy, published as one frozen result.

The scanning thread asks for all tickers, answers from the cache for every pair whose candles are
still the newest, and hands the others to the workers, most liquid first. Workers wait on the wire
and do little else: the strategy runs once per new candle, on arrays.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from runtime.heartbeat import BEAT_S, IDLE, IDLE_LIMIT_S, Heart, doing
from runtime.locks import assert_no_lock_held, condition_on, guard, guarded, named_lock
from trading import indicators
from trading.candles import Candles, joined
from trading.errors import BadResponse, ExchangeError, RadError
from trading.facts import Opportunity, ScanResult, Ticker
from trading.ports import Clock, MarketData, Monitor
from trading.reading import SETTLE_MS, Reading, StrategyFailed, read
from trading.strategies import ATR_PERIOD, Strategy
from trading.timeframes import TIMEFRAME_MINUTES
from trading.universe import UniverseRules, select

log = logging.getLogger("scan")

OVERLAP = 10               # candles asked for again with the missing ones, late entries among them
PAIR_LIMIT_S = 300.0       # for one pair, budget and both requests included, before its worker counts as stuck
PUBLISH_EVERY_S = 0.5      # how often a scan under way may publish what it has found so far


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRules:
    """What a scan goes by."""

    timeframe: str = "1m"
    candles: int = 200
    threshold: float = 0.5     # the weakest score that is an opportunity
    interval_s: float = 5.0    # from the end of one scan to the start of the next, if no candle closes
    time_limit_s: float = 30.0
    workers: int = 20
    strategy: str = "trend"
    pace_s: float = 0.0        # between the starts of two pairs


@dataclass(slots=True)
class _Failures:
    """Those of one kind in one scan: an exception keeps alive all it came through, so only the first is kept."""

    count: int = 0
    symbol: str = ""
    error: Exception | None = None

    def add(self, symbol: str, error: Exception) -> None:
        if not self.count:
            self.symbol, self.error = symbol, error
        self.count += 1


@dataclass(slots=True, kw_only=True)
class _Scan:
    """One scan under way; guarded by _pool_lock once it is handed out."""

    started: float
    started_ms: int
    universe: int
    waiting: deque[tuple[str, Ticker]] = field(default_factory=deque)
    unsettled: int = 0                                            # handed to workers, not answered yet
    scores: dict[str, float] = field(default_factory=dict)
    found: list[Opportunity] = field(default_factory=list)
    lost: _Failures = field(default_factory=_Failures)            # the exchange has not answered
    faults: _Failures = field(default_factory=_Failures)          # of our own, or a strategy's
    due: int = 0                                                  # of them, at the start
    has_news: bool = False                                        # found since it last published

    def settle(self, symbol: str, score: float, opportunity: Opportunity | None) -> None:
        self.scores[symbol] = score
        if opportunity is not None:
            self.found.append(opportunity)

    def fail(self, symbol: str, error: Exception) -> None:
        (self.lost if isinstance(error, ExchangeError) else self.faults).add(symbol, error)

    @property
    def failed(self) -> int:
        return self.lost.count + self.faults.count


class MarketScanner:
    """Scans on the caller's thread and its own workers `scan-0..n`; its results are read by any thread."""

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
        self._monitor = monitor
        self._clock = clock
        self._rules = rules                    # replaced whole, and read without a lock
        self._stop = threading.Event()

        self._cache_lock = named_lock("cache")
        # Guarded by _cache_lock: (symbol, timeframe) -> (reading, when asked for in our ms).
        self.cache: dict[tuple[str, str], tuple[Reading, int]] = {}
        guard(self, self._cache_lock, "cache")

        self._scan_lock = named_lock("scan")
        self._published = condition_on(self._scan_lock)
        self._scan_over = condition_on(self._scan_lock)
        # Guarded by _scan_lock.
        self._latest_opportunities: ScanResult | None = None
        self._universe = universe
        self._last_opportunity_update = 0      # our ms
        self._sequence = 0
        self._taken = 0                        # sequence of the result last consumed
        self._is_scanning = False
        guard(
            self, self._scan_lock, "_latest_opportunities", "_universe", "_last_opportunity_update", "_sequence",
            "_taken", "_is_scanning",
        )

        self._pool_lock = named_lock("scan pool")
        self._pairs_waiting = condition_on(self._pool_lock)
        self._pairs_settled = condition_on(self._pool_lock)
        # Guarded by _pool_lock.
        self._scan: _Scan | None = None
        self._being_fetched: set[str] = set()
        self._next_start = 0.0                 # of a pair; monotonic
        guard(self, self._pool_lock, "_scan", "_being_fetched", "_next_start")

        self._hearts: tuple[Heart, ...] = ()   # of the workers, which the first scan starts

    def go_by(self, universe: UniverseRules, rules: ScanRules | None = None) -> None:
        """Choose pairs and judge signals otherwise from the next scan on; workers, candles and timeframe stay."""
        with self._scan_lock:
            self._universe = universe
        if rules is not None:
            self._rules = rules

    # ---- scanning -------------------------------------------------------------------------------

    def scan(self) -> ScanResult:
        """Scan every pair of the universe once, within the time limit, publishing as it goes.

        A second caller waits until the first scan is over.

        Raises:
            ExchangeUnavailable: the tickers could not be fetched; nothing is published.
        """
        with self._turn():
            started, started_ms = self._clock.monotonic(), self._clock.now_ms()
            tickers = self._market.fetch_tickers()
            with self._scan_lock:
                universe = self._universe
            symbols = select(self._market.instruments(), tickers, universe, started_ms)
            scan = _Scan(started=started, started_ms=started_ms, universe=len(symbols))
            self._hand_out(scan, [(symbol, tickers[symbol]) for symbol in symbols])
            try:
                self._follow(scan)
            finally:
                self._call_off()
            return self._finish(scan)

    def run_once(self) -> ScanResult:
        """Scan once and end the workers: for `scan --once`."""
        try:
            return self.scan()
        finally:
            self.stop()

    def scan_pair(self, symbol: str, ticker: Ticker) -> tuple[float, Opportunity | None]:
        """Return a symbol's signed score, and the opportunity if it is strong enough.

        Raises:
            ExchangeUnavailable: its candles could not be fetched: that is not "no signal".
            StrategyFailed: nor is this.
        """
        now_ms = self._clock.now_ms()
        reading = self._cached(symbol)
        if reading is None or not reading.is_newest(now_ms):
            reading = read(self._strategy, self._fetch(symbol, reading, now_ms), now_ms)
            self._keep(symbol, reading)
        return self._judge(symbol, ticker, reading)

    def _judge(self, symbol: str, ticker: Ticker, reading: Reading) -> tuple[float, Opportunity | None]:
        signal = reading.opinion()
        if signal is None:
            return 0.0, None
        if abs(signal.score) < self._rules.threshold:
            return signal.score, None
        return signal.score, Opportunity(
            symbol=symbol,
            side=signal.side,
            score=abs(signal.score),
            price=ticker.last,
            atr=Decimal(str(signal.atr)),
            spread=ticker.spread,
            volume_24h=ticker.volume_24h,
            candle_ms=int(reading.candles.open_ms[-1]),
            strategy=self._rules.strategy,
            reasons=signal.reasons,
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one scan run at a time."""
        with self._scan_over:
            self._clock.wait_for(self._scan_over, lambda: not self._is_scanning, None)
            self._is_scanning = True
        try:
            self._start_workers()
            yield
        finally:
            with self._scan_over:
                self._is_scanning = False
                self._scan_over.notify_all()

    def _hand_out(self, scan: _Scan, pairs: list[tuple[str, Ticker]]) -> None:
        """Answer from the cache what it can, and give the rest to the workers."""
        keys = [(symbol, self._rules.timeframe) for symbol, _ in pairs]
        with self._cache_lock:
            cached = [self.cache.get(key) for key in keys]
        due = []
        for (symbol, ticker), entry in zip(pairs, cached, strict=True):
            if entry is None or not entry[0].is_newest(scan.started_ms):
                due.append((symbol, ticker))
                continue
            try:
                scan.settle(symbol, *self._judge(symbol, ticker, entry[0]))
            except StrategyFailed as error:
                scan.fail(symbol, error)
        with self._pairs_waiting:
            # A pair that a worker of an earlier scan still waits for is not asked for twice: it is left out.
            scan.waiting.extend(pair for pair in due if pair[0] not in self._being_fetched)
            scan.unsettled = scan.due = len(scan.waiting)
            scan.waiting = guarded(self._pool_lock, "waiting", scan.waiting)
            scan.scores = guarded(self._pool_lock, "scores", scan.scores)
            scan.found = guarded(self._pool_lock, "found", scan.found)
            self._scan = scan
            self._pairs_waiting.notify_all()

    def _follow(self, scan: _Scan) -> None:
        """Wait for the workers until all have answered or the time is up; publish finds as they come."""
        deadline = scan.started + self._rules.time_limit_s
        while self._await(scan, deadline, news=True):
            self._publish(scan)
            self._await(scan, min(deadline, self._clock.monotonic() + PUBLISH_EVERY_S), news=False)

    def _await(self, scan: _Scan, until: float, *, news: bool) -> bool:
        """Wait until the scan is over, for *news* too if wanted; True if there is some and it is not over."""
        def is_over() -> bool:
            return not scan.unsettled or self._stop.is_set()

        with self._pairs_settled:
            self._clock.wait_for(
                self._pairs_settled,
                lambda: is_over() or (news and scan.has_news),
                until - self._clock.monotonic(),
            )
            return scan.has_news and not is_over() and self._clock.monotonic() < until

    def _call_off(self) -> None:
        """Take the pairs not yet begun from the workers; what they still fetch goes into the cache alone."""
        with self._pool_lock:
            self._scan = None

    def _finish(self, scan: _Scan) -> ScanResult:
        result = self._publish(scan)
        duration_s = self._clock.monotonic() - scan.started
        self._monitor.record_scan_time(duration_s, result.scanned, result.failed)
        best = result.opportunities[0] if result.opportunities else None
        log.log(
            logging.INFO if scan.due or result.failed else logging.DEBUG,
            "scan done pairs=%d of=%d due=%d failed=%d left_out=%d opportunities=%d best=%s took=%.2fs",
            result.scanned, result.universe, scan.due, result.failed, result.left_out,
            len(result.opportunities),
            f"{best.symbol} {best.side.value} {best.score:.2f}" if best else "none", duration_s,
        )
        with self._pool_lock:
            lost, faults = replace(scan.lost), replace(scan.faults)      # a late worker may still add to them
        _report(lost, faults)
        return result

    # ---- candles --------------------------------------------------------------------------------

    def _cached(self, symbol: str) -> Reading | None:
        with self._cache_lock:
            entry = self.cache.get((symbol, self._rules.timeframe))
        return None if entry is None else entry[0]

    def _keep(self, symbol: str, reading: Reading) -> None:
        """Put a reading into the cache, unless a later one was quicker."""
        key = (symbol, self._rules.timeframe)
        with self._cache_lock:
            there = self.cache.get(key)
            if there is None or there[0].candles.next_close_ms <= reading.candles.next_close_ms:
                self.cache[key] = (reading, reading.asked_ms)

    def _fetch(self, symbol: str, cached: Reading | None, now_ms: int) -> Candles:
        """Return the closed candles: those not yet in *cached* and a few before them, or all anew."""
        rules = self._rules
        if cached is not None and (few := cached.missing(now_ms) + OVERLAP) < rules.candles:
            try:
                newer = self._market.fetch_candles(symbol, rules.timeframe, few)
                both = joined(cached.candles, newer, rules.candles)
            except BadResponse:
                both = None       # a pair that has not traded for so long: the longer request will tell
            if both is not None:
                return both
        candles = self._market.fetch_candles(symbol, rules.timeframe, rules.candles)
        if not len(candles):
            raise BadResponse(f"{symbol} no candles in the answer")
        return candles

    def candles_of(self, symbol: str) -> Candles | None:
        """Return the candles of a symbol that are at hand; None if there are none."""
        reading = self._cached(symbol)
        return None if reading is None else reading.candles

    def atr_of(self, symbol: str) -> Decimal | None:
        """Return the ATR of a symbol whose candles are at hand; None otherwise."""
        reading = self._cached(symbol)
        if reading is None or len(reading.candles) <= ATR_PERIOD:
            return None
        atr = float(indicators.atr(reading.candles, ATR_PERIOD)[-1])
        return Decimal(str(atr)) if atr > 0 else None

    # ---- workers --------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        """Start those that never were: all at the first scan, unless the system has no room for so many."""
        assert_no_lock_held("starting threads")
        if not self._hearts:
            self._hearts = tuple(
                Heart(f"scan-{index}", task_limit_s=PAIR_LIMIT_S) for index in range(self._rules.workers)
            )
        for heart in self._hearts:
            if heart.thread is not None:
                continue
            heart.revive = partial(self._begin_work, heart)
            try:
                self._begin_work(heart)
            except RuntimeError as error:      # this one is the supervisor's now, the others the next scan's
                log.error("worker not started name=%s error=%s", heart.name, error)
                break

    def _begin_work(self, heart: Heart) -> None:
        heart.start(partial(self._work, heart))

    def _work(self, heart: Heart) -> None:
        while (task := self._next_pair(heart)) is not None:
            scan, symbol, ticker = task
            heart.begin(symbol)
            self._keep_pace()
            try:
                answer = self.scan_pair(symbol, ticker)
            except Exception as error:  # noqa: BLE001 - the pool outlives a pair; the scan's report says it
                self._settle(scan, symbol, error)
            except BaseException as error:  # noqa: BLE001 - a strategy may even call sys.exit()
                self._settle(scan, symbol, StrategyFailed(f"{symbol} strategy ended by {type(error).__name__}"))
            else:
                self._settle(scan, symbol, answer)
            heart.done()

    def _next_pair(self, heart: Heart) -> tuple[_Scan, str, Ticker] | None:
        """Wait for a pair to fetch, the most liquid first; None when it is time to end."""
        with self._pairs_waiting:
            while not self._stop.is_set():
                if self._scan is not None and self._scan.waiting:
                    symbol, ticker = self._scan.waiting.popleft()
                    self._being_fetched.add(symbol)
                    return self._scan, symbol, ticker
                heart.idle()
                self._pairs_waiting.wait(BEAT_S)
        return None

    def _keep_pace(self) -> None:
        """Wait until one more pair may start: twenty at once would keep the interpreter from an exit."""
        if not self._rules.pace_s:
            return
        with self._pool_lock:
            now = self._clock.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self._rules.pace_s
        if start > now:
            self._clock.wait(self._stop, start - now)

    def _settle(self, scan: _Scan, symbol: str, answer: tuple[float, Opportunity | None] | Exception) -> None:
        with self._pairs_settled:
            self._being_fetched.discard(symbol)
            scan.unsettled -= 1
            if isinstance(answer, Exception):
                scan.fail(symbol, answer)
            else:
                scan.settle(symbol, *answer)
                scan.has_news |= answer[1] is not None
            if scan.has_news or not scan.unsettled:
                self._pairs_settled.notify_all()

    # ---- publishing -----------------------------------------------------------------------------

    def _publish(self, scan: _Scan) -> ScanResult:
        """Replace the latest result by what the scan has so far."""
        with self._pool_lock:
            scan.has_news = False
            scores, found, failed = dict(scan.scores), list(scan.found), scan.failed
        found.sort(key=lambda opportunity: (-opportunity.score, opportunity.symbol))
        left_out = scan.universe - len(scores) - failed
        finished_ms = self._clock.now_ms()
        with self._published:
            self._sequence += 1
            result = ScanResult(
                sequence=self._sequence,
                started_ms=scan.started_ms,
                finished_ms=finished_ms,
                opportunities=tuple(found),
                scores=scores,
                scanned=len(scores),
                failed=failed,
                left_out=left_out,
                universe=scan.universe,
                complete=not left_out,
            )
            self._latest_opportunities = result
            self._last_opportunity_update = finished_ms
            self._published.notify_all()
        return result

    # ---- reading --------------------------------------------------------------------------------

    def get_best_pairs(self, count: int) -> tuple[Opportunity, ...]:
        """Return the best opportunities of the latest result."""
        with self._scan_lock:
            result = self._latest_opportunities
        return () if result is None else result.opportunities[:count]

    def take_result(self, after: int) -> ScanResult | None:
        """Return the latest result if it is newer than the *after*th and nobody has taken it yet."""
        with self._scan_lock:
            return self._take(after)

    def wait_for_result(self, after: int, timeout_s: float) -> ScanResult | None:
        """Wait for a result to take; None when the time is up or the scanner stops."""
        with self._published:
            self._clock.wait_for(
                self._published,
                lambda: self._sequence > max(after, self._taken) or self._stop.is_set(),
                timeout_s,
            )
            return self._take(after)

    def _take(self, after: int) -> ScanResult | None:
        result = self._latest_opportunities
        if result is None or result.sequence <= max(after, self._taken):
            return None
        self._taken = result.sequence
        return result

    # ---- between scans and at the end -----------------------------------------------------------

    def wait_until_due(self, stop: threading.Event) -> None:
        """Pause until the interval is over or the next candle is written; ends at once when *stop* is set."""
        candle_ms = TIMEFRAME_MINUTES[self._rules.timeframe] * 60_000
        until_candle_s = (candle_ms - (self._clock.now_ms() - SETTLE_MS) % candle_ms) / 1000
        pause_s = min(self._rules.interval_s, until_candle_s)
        with doing(IDLE, "next scan", pause_s + IDLE_LIMIT_S):
            self._clock.wait(stop, pause_s)

    def stop(self, timeout_s: float = 1.0) -> bool:
        """End the scan under way and the workers; False if some are still on the wire by then.

        Those end with their call's deadline, and nothing waits for them.
        """
        assert_no_lock_held("joining threads")
        self._stop.set()
        with self._pool_lock:
            self._pairs_waiting.notify_all()
            self._pairs_settled.notify_all()
        with self._published:
            self._published.notify_all()
        hearts = self._hearts                  # a scan may be starting them this moment
        ended = [heart.join(timeout_s / len(hearts)) for heart in hearts]
        return all(ended)


def _report(lost: _Failures, faults: _Failures) -> None:
    """Say once per scan what failed: one line for the exchange's answers, one for faults of our own."""
    if lost.count:
        log.warning("candles not fetched pairs=%d first=%s error=%s", lost.count, lost.symbol, lost.error)
    if faults.count:
        unexpected = None if isinstance(faults.error, RadError) else faults.error
        log.error("scan failed pairs=%d first=%s error=%s", faults.count, faults.symbol, faults.error,
                  exc_info=unexpected)
