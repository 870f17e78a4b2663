"""One scan beside whatever else runs: it holds no data folder, writes nothing, and needs no key."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from daemon.exchange_process import ExchangeProcess
from kucoin_client import KuCoinClient
from market_scanner import MarketScanner, ScanRules
from performance_monitor import PerformanceMonitor
from runtime.budget import RateBudget
from runtime.clock import SystemClock
from runtime.options import RunOptions
from runtime.settings import Settings, load_settings
from trading.facts import ScanResult
from trading.ports import Clock, MarketData, Monitor
from trading.strategies import Strategy
from trading.strategies import load as load_strategy

# A pair takes some 2 ms of the interpreter, so this leaves most of it to the exits; and more than the 50
# requests a second that one address may send in the long run, so no scan takes longer for it.
PACE_S = 0.01


def scanner_for(
    settings: Settings, strategy: Strategy, market: MarketData, monitor: Monitor, clock: Clock
) -> MarketScanner:
    """Return a scanner that goes by *settings*."""
    return MarketScanner(market, strategy, settings.universe_rules(), monitor, clock, scan_rules(settings))


def scan_rules(settings: Settings) -> ScanRules:
    """Return how a scan is made, as MarketScanner takes it."""
    scanner = settings.scanner
    return ScanRules(
        timeframe=scanner.timeframe, candles=scanner.candles, threshold=scanner.threshold,
        interval_s=scanner.interval_s, time_limit_s=scanner.time_limit_s, workers=scanner.workers,
        strategy=scanner.strategy, pace_s=PACE_S,
    )


def scan_once(options: RunOptions, running: Mapping[str, Any] | None) -> ScanResult:
    """Scan the configured market once; *running* is the `status` of the daemon beside which this happens.

    Raises:
        ConfigError: a setting or the strategy is wrong.
        ExchangeError: the exchange does not answer.
    """
    settings = load_settings(options.config, {"mode": options.mode} if options.mode else {})
    scanner = settings.scanner
    strategy = load_strategy(scanner.strategy, scanner.params, candles=scanner.candles)
    clock = SystemClock()
    with ExitStack() as ends:
        url = settings.futures_url or _shared(settings, running)
        if url is None:
            process = ExchangeProcess(settings, keeps_books=False)
            ends.callback(process.stop)
            url = process.start().futures_url
        budget = RateBudget(settings.quotas, clock, settings.exchange.quota_address)
        ends.callback(budget.stop)
        client = KuCoinClient(
            futures_url=url, spot_url=settings.spot_url or url, budget=budget, clock=clock,
            deadline_s=settings.exchange.deadline_s,
        )
        ends.callback(client.close)
        client.measure_clock_offset()
        client.load()
        monitor = PerformanceMonitor(clock)
        return scanner_for(settings, strategy, client, monitor, clock).run_once()


def _shared(settings: Settings, running: Mapping[str, Any] | None) -> str | None:
    """Return the address of the exchange that a daemon of the same mode has started."""
    return str(running["exchange"]) if running and running.get("mode") == settings.mode else None
