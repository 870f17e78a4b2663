"""What everything took and what it earned: deques under one lock, read as one snapshot."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from runtime.locks import named_lock
from trading.facts import ZERO, ClosedTrade
from trading.ports import Clock

log = logging.getLogger("perf")

SAMPLES = 2048             # of each series; counts and sums go on beyond it
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One series: percentiles of its latest samples in seconds, counts of all."""

    count: int
    per_second: float          # since the first
    p50: float | None
    p95: float | None
    p99: float | None
    maximum: float | None      # of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Everything at one moment; money in quote currency."""

    at_ms: int
    scans: Summary
    pairs_scanned: int
    pairs_failed: int
    api_calls: Mapping[str, Summary]                   # by endpoint
    api_outcomes: Mapping[str, Mapping[str, int]]      # by endpoint: ok, or the error's name
    executions: Mapping[str, Summary]                  # by purpose: entry, exit
    position_updates: Summary
    exit_stages: Mapping[str, Summary]                 # decided, claimed, sent, acknowledged
    late_exits: int                                    # over the budget
    lock_waits: Mapping[str, Summary]
    lock_holds: Mapping[str, Summary]
    equity: Decimal | None
    peak_equity: Decimal | None
    drawdown: Decimal                                  # fraction below the peak
    trades: int
    wins: int
    losses: int
    losses_in_a_row: int
    realised_pnl: Decimal                              # after fees and funding
    fees: Decimal
    realised_pnl_24h: Decimal
    profit_factor: Decimal | None                      # gains over losses; None before the first loss
    expectancy_r: Decimal | None                       # mean R multiple


class _Series:
    """One series of durations."""

    __slots__ = ("count", "first_at", "maximum", "samples")

    def __init__(self) -> None:
        self.samples: deque[float] = deque(maxlen=SAMPLES)
        self.count = 0
        self.maximum: float | None = None
        self.first_at = 0.0

    def add(self, seconds: float, now: float) -> None:
        if not self.count:
            self.first_at = now
        self.samples.append(seconds)
        self.count += 1
        if self.maximum is None or seconds > self.maximum:
            self.maximum = seconds

    def copy(self) -> _Series:
        copied = _Series()
        copied.samples = self.samples.copy()
        copied.count, copied.maximum, copied.first_at = self.count, self.maximum, self.first_at
        return copied


class _Family(dict[str, _Series]):
    """Series by name, made on first use."""

    def __missing__(self, name: str) -> _Series:
        self[name] = _Series()
        return self[name]


@dataclass(slots=True)
class _Money:
    equity: Decimal | None = None
    peak: Decimal | None = None
    trades: int = 0
    wins: int = 0
    losses_in_a_row: int = 0
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    gains: Decimal = ZERO
    lost: Decimal = ZERO
    r_sum: Decimal = ZERO
    recent: deque[tuple[int, Decimal]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def add(self, trade: ClosedTrade) -> None:
        self.trades += 1
        self.realised += trade.realised_pnl
        self.fees += trade.fee
        self.r_sum += trade.r_multiple
        self.recent.append((trade.closed_ms, trade.realised_pnl))
        if trade.realised_pnl > 0:
            self.wins += 1
            self.gains += trade.realised_pnl
            self.losses_in_a_row = 0
        else:
            self.lost -= trade.realised_pnl
            self.losses_in_a_row += 1


class PerformanceMonitor:
    """`trading.ports.Monitor`; every method may be called from any thread and holds the lock for microseconds."""

    def __init__(self, clock: Clock, *, exit_budget_s: float = 0.05) -> None:
        self._clock = clock
        self._exit_budget_s = exit_budget_s
        self._lock = named_lock("performance")
        # Guarded by _lock.
        self._scans = _Series()
        self._pairs_scanned = 0
        self._pairs_failed = 0
        self._api = _Family()
        self._api_outcomes: dict[str, Counter[str]] = {}
        self._executions = _Family()
        self._updates = _Series()
        self._exit_stages = _Family()
        self._late_exits = 0
        self._lock_waits = _Family()
        self._lock_holds = _Family()
        self._money = _Money()

    # ---- recording ------------------------------------------------------------------------------

    def record_scan_time(self, duration_s: float, scanned: int, failed: int) -> None:
        """Note one scan: how long, how many pairs read, how many fetches failed."""
        now = self._clock.monotonic()
        with self._lock:
            self._scans.add(duration_s, now)
            self._pairs_scanned += scanned
            self._pairs_failed += failed

    def record_api_call(self, endpoint: str, duration_s: float, outcome: str) -> None:
        """Note one call: *outcome* is ok, or the name of the error it raised."""
        now = self._clock.monotonic()
        with self._lock:
            self._api[endpoint].add(duration_s, now)
            self._api_outcomes.setdefault(endpoint, Counter())[outcome] += 1

    def record_trade_execution(self, symbol: str, purpose: str, duration_s: float, outcome: str) -> None:
        """Note how long an entry or exit took from decision to certainty."""
        now = self._clock.monotonic()
        with self._lock:
            self._executions[purpose].add(duration_s, now)

    def record_position_update(self, duration_s: float, positions: int) -> None:
        """Note one look at every open position."""
        now = self._clock.monotonic()
        with self._lock:
            self._updates.add(duration_s, now)

    def record_exit_latency(self, stages: Mapping[str, float]) -> None:
        """Note one exit: seconds from price receipt to each stage; warn when over the budget."""
        now = self._clock.monotonic()
        sent = stages.get("sent")
        is_late = sent is not None and sent > self._exit_budget_s
        with self._lock:
            for stage, seconds in stages.items():
                self._exit_stages[stage].add(seconds, now)
            self._late_exits += is_late
        if is_late:
            log.warning("exit over its budget sent_after=%.1fms budget=%.1fms", stages["sent"] * 1000,
                        self._exit_budget_s * 1000)

    def record_lock(self, name: str, wait_s: float, hold_s: float) -> None:
        """Note one acquisition of a lock."""
        now = self._clock.monotonic()
        with self._lock:
            self._lock_waits[name].add(wait_s, now)
            self._lock_holds[name].add(hold_s, now)

    def record_trade(self, trade: ClosedTrade) -> None:
        """Note a closed trade."""
        with self._lock:
            self._money.add(trade)

    def record_equity(self, equity: Decimal, at_ms: int) -> None:
        """Note what the account is worth."""
        with self._lock:
            money = self._money
            money.equity = equity
            money.peak = equity if money.peak is None else max(money.peak, equity)

    def forgive_losses(self) -> None:
        """Begin the count of losses in a row anew: somebody has looked and goes on."""
        with self._lock:
            self._money.losses_in_a_row = 0

    def restore(self, trades: Iterable[ClosedTrade], peak_equity: Decimal | None) -> None:
        """Take up what an earlier run has recorded; *trades* in any order."""
        with self._lock:
            self._money = _Money(peak=peak_equity, equity=self._money.equity)
            for trade in sorted(trades, key=lambda trade: trade.closed_ms):
                self._money.add(trade)

    # ---- reading --------------------------------------------------------------------------------

    def get_stats(self) -> Stats:
        """Return everything as of one moment: copied under the lock, worked out after."""
        now = self._clock.monotonic()
        now_ms = self._clock.now_ms()
        with self._lock:
            series = {
                "scans": self._scans.copy(),
                "updates": self._updates.copy(),
            }
            families = {
                name: {key: one.copy() for key, one in family.items()}
                for name, family in (
                    ("api", self._api), ("executions", self._executions), ("stages", self._exit_stages),
                    ("waits", self._lock_waits), ("holds", self._lock_holds),
                )
            }
            outcomes = {name: dict(counts) for name, counts in self._api_outcomes.items()}
            pairs_scanned, pairs_failed = self._pairs_scanned, self._pairs_failed
            late_exits = self._late_exits
            money = self._money
            drawn = 1 - money.equity / money.peak if money.equity is not None and money.peak else ZERO
            figures = {
                "equity": money.equity, "peak_equity": money.peak, "drawdown": max(drawn, ZERO),
                "trades": money.trades, "wins": money.wins, "losses": money.trades - money.wins,
                "losses_in_a_row": money.losses_in_a_row, "realised_pnl": money.realised, "fees": money.fees,
                "realised_pnl_24h": sum((pnl for at_ms, pnl in money.recent if at_ms > now_ms - DAY_MS), ZERO),
                "profit_factor": money.gains / money.lost if money.lost else None,
                "expectancy_r": money.r_sum / money.trades if money.trades else None,
            }
        summed = {
            name: {key: _summary(one, now) for key, one in family.items()} for name, family in families.items()
        }
        return Stats(
            at_ms=now_ms,
            scans=_summary(series["scans"], now),
            pairs_scanned=pairs_scanned,
            pairs_failed=pairs_failed,
            api_calls=summed["api"],
            api_outcomes=outcomes,
            executions=summed["executions"],
            position_updates=_summary(series["updates"], now),
            exit_stages=summed["stages"],
            late_exits=late_exits,
            lock_waits=summed["waits"],
            lock_holds=summed["holds"],
            **figures,  # type: ignore[arg-type]
        )


def _summary(series: _Series, now: float) -> Summary:
    ordered = sorted(series.samples)
    elapsed = now - series.first_at
    return Summary(
        count=series.count,
        per_second=series.count / elapsed if series.count > 1 and elapsed > 0 else 0.0,
        p50=_percentile(ordered, 0.50),
        p95=_percentile(ordered, 0.95),
        p99=_percentile(ordered, 0.99),
        maximum=series.maximum,
    )


def _percentile(ordered: list[float], quantile: float) -> float | None:
    """Return the nearest-rank percentile: the least value at or above *quantile* of all."""
    if not ordered:
        return None
    rank = -(-quantile * len(ordered) // 1)
    return ordered[max(0, int(rank) - 1)]
