"""MarketScanner: scans that publish, consumers that take, workers that keep, an end at every point."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from market_scanner import MarketScanner, ScanRules, _Scan
from performance_monitor import PerformanceMonitor
from tests.fakes import CloseIsScore, FakeMarketData, some_candles
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import VirtualClock, edge, watch
from trading.facts import ScanResult, Ticker
from trading.reading import read
from trading.universe import UniverseRules

A, B = "AAA/USDT:USDT", "BBB/USDT:USDT"
MINUTE_MS = 60_000


def a_scanner(*symbols: str, workers: int) -> MarketScanner:
    """A scanner of *symbols* with a few workers on a market in memory."""
    clock = VirtualClock()
    market = FakeMarketData(clock, symbols)
    market.closes = dict.fromkeys(symbols, 0.9)
    scanner = MarketScanner(
        market, CloseIsScore(), UniverseRules(), PerformanceMonitor(clock), clock,
        ScanRules(candles=30, threshold=0.5, workers=workers),
    )
    edge(market, "market", lambda: (), ("fetch_candles", "fetch_tickers"))
    return scanner


def watch_cache(scanner: MarketScanner) -> MarketScanner:
    """Show the scheduler what workers share with each other."""
    return watch(scanner, "scanner", scanner._cache_lock, ("cache",))     # type: ignore[no-any-return]


def watch_results(scanner: MarketScanner) -> MarketScanner:
    """Show the scheduler what the scanning thread shares with consumers."""
    fields = ("_latest_opportunities", "_last_opportunity_update", "_sequence", "_taken", "_is_scanning")
    return watch(scanner, "scanner", scanner._scan_lock, fields)          # type: ignore[no-any-return]


def watch_scan(scanner: MarketScanner) -> MarketScanner:
    """Show the scheduler what the scanning thread shares with its workers, each scan included."""
    hand_out, fields = scanner._hand_out, ("waiting", "unsettled", "scores", "found", "failures", "has_news")

    def seen(scan: _Scan, pairs: list[tuple[str, Ticker]]) -> None:
        hand_out(watch(scan, "scan", scanner._pool_lock, fields), pairs)

    scanner._hand_out = seen                                              # type: ignore[method-assign]
    return watch(scanner, "scanner", scanner._pool_lock, ("_scan", "_being_fetched"))  # type: ignore[no-any-return]


def scanned_at_once(scanner: MarketScanner) -> Callable[[], object]:
    """Scan, and see to it that no time had to pass."""
    def scan() -> ScanResult:
        result = scanner.scan()
        assert scanner._clock.monotonic() < 1.0, "somebody was not woken"
        return result

    return scan


def publisher_and_two_consumers() -> Scene:
    """Each result is taken by one consumer, and the one that waits hears of it at once."""
    scanner = watch_results(a_scanner(A, workers=1))
    nothing = _Scan(started=0.0, started_ms=0, universe=0)

    def check(results: Mapping[str, object]) -> None:
        assert sum(isinstance(result, ScanResult) for result in results.values()) == 1
        assert results["looker"] is not None or scanner._clock.monotonic() == 0.0, "not woken"

    return Scene(check=check, threads={
        "scanner": lambda: scanner._publish(nothing).sequence,
        "waiter": lambda: scanner.wait_for_result(0, 60),
        "looker": lambda: scanner.take_result(0),
    })


def two_that_keep() -> Scene:
    """Two workers with an older and a newer answer for one pair: the newer stays in the cache."""
    scanner = watch_cache(a_scanner(A, workers=1))
    older, newer = (
        read(CloseIsScore(), some_candles(A, last_ms, 3), asked_ms=0) for last_ms in (0, MINUTE_MS)
    )

    def check(_: object) -> None:
        kept = scanner._cached(A)
        assert kept is not None
        assert kept.candles.open_ms[-1] == MINUTE_MS

    return Scene(check=check, threads={
        "older": lambda: scanner._keep(A, older), "newer": lambda: scanner._keep(A, newer),
    })


def scan_with(workers: int) -> Scene:
    scanner = watch_scan(a_scanner(A, B, workers=workers))

    def check(results: Mapping[str, object]) -> None:
        result = results["scanner"]
        assert isinstance(result, ScanResult)
        assert (result.scanned, result.failed, result.left_out) == (2, 0, 0)

    return Scene(threads={"scanner": scanned_at_once(scanner)}, ending=scanner.stop, check=check)


def scan_with_a_worker() -> Scene:
    """A scan hands two pairs to a worker: it has both answers, and nobody has waited for time to pass."""
    return scan_with(1)


def scan_with_two_workers() -> Scene:
    """The same with two workers, that settle at once."""
    return scan_with(2)


def scan_and_the_end() -> Scene:
    """The end comes at any point of a scan: it returns with what it has, and the workers end."""
    scanner = watch_scan(a_scanner(A, workers=1))

    def check(results: Mapping[str, object]) -> None:
        result = results["scanner"]
        assert isinstance(result, ScanResult)
        assert result.scanned + result.left_out == 1
        assert scanner.stop() is True

    return Scene(threads={"scanner": scanner.scan, "ending": scanner.stop}, ending=scanner.stop, check=check)


def consumer_and_the_end() -> Scene:
    """The main thread waits for a result while RAD ends: it is let go at once."""
    scanner = watch_results(a_scanner(A, workers=1))

    def check(results: Mapping[str, object]) -> None:
        assert results["consumer"] is None
        assert scanner._clock.monotonic() == 0.0

    return Scene(check=check, threads={
        "consumer": lambda: scanner.wait_for_result(0, 60), "ending": scanner.stop,
    })
