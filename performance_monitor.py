"""What everything took and what it earned: deques under one lock, read as one snapshot."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil

from runtime.locks import LockStats, guard, guarded, lock_stats, named_lock, together
from trading.earnings import DAY_MS, Money
from trading.facts import ZERO, ClosedTrade
from trading.ports import Clock

log = logging.getLogger("perf")

# Of each series; counts, sums and maxima go on beyond it. All are copied under the lock at once, so
# that a longer memory is a longer wait for whoever reports an exit meanwhile.
SAMPLES = 512

# Families of series, each with a name within it.
SCAN, UPDATE, CALL, EXECUTION, EXIT, GAP = range(6)
Key = tuple[int, str]
SCANS: Key = (SCAN, "")
UPDATES: Key = (UPDATE, "")
GAPS: Key = (GAP, "")
_BRIEF = frozenset({SCAN, UPDATE, EXIT, GAP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One series in seconds: percentiles of its latest samples, the rest of all."""

    count: int
    per_second: float          # since the first; 0 until a second has passed
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Everything at one moment; money in quote currency."""

    at_ms: int
    scans: Summary
    pairs_scanned: int
    pairs_failed: int
    api_calls: Mapping[str, Summary]                     # by endpoint
    api_outcomes: Mapping[str, Mapping[str, int]]        # by endpoint: ok, or the error's name
    executions: Mapping[str, Summary]                    # by purpose: entry, exit
    execution_outcomes: Mapping[str, Mapping[str, int]]
    position_updates: Summary
    exit_stages: Mapping[str, Summary]                   # decided, claimed, sent, acknowledged
    late_exits: int                                      # sent over the budget
    protection_gaps: Summary                             # without a stop on the exchange, until one rested
    lock_waits: Mapping[str, Summary]                    # by lock; of its latest acquisitions, counted all
    lock_holds: Mapping[str, Summary]
    equity: Decimal | None
    peak_equity: Decimal | None
    drawdown: Decimal                                    # fraction below the peak
    trades: int
    wins: int
    losses: int
    losses_in_a_row: int
    realised_pnl: Decimal                                # after fees and funding
    fees: Decimal
    day_pnl: Decimal                                     # of trades closed since midnight UTC
    awaiting_funding: int                                # trades whose funding is in none of these yet
    profit_factor: Decimal | None                        # gains over losses; None before the first loss
    expectancy_r: Decimal | None                         # mean R multiple


class _Series:
    """One series of durations."""

    __slots__ = ("count", "first_at", "maximum", "samples", "total")

    def __init__(self, now: float, samples: deque[float]) -> None:
        self.samples = samples                 # the latest
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0
        self.first_at = now


# What get_stats copies of a series under the lock: samples, count, total, maximum, first_at.
_Copy = tuple[list[float], int, float, float, float]


class PerformanceMonitor:
    """`trading.ports.Monitor`; every method may be called from any thread and holds the lock for microseconds."""

    def __init__(self, clock: Clock, *, exit_budget_s: float = 0.05) -> None:
        self._clock = clock
        self._exit_budget_s = exit_budget_s
        self._started = clock.monotonic()
        self._lock = named_lock("performance")
        # Guarded by _lock.
        self._series: dict[Key, _Series] = {}
        self._outcomes: dict[tuple[Key, str], int] = {}
        self._pairs_scanned = 0
        self._pairs_failed = 0
        self._late_exits = 0
        self._money = Money()
        guard(self, self._lock, "_series", "_outcomes", "_pairs_scanned", "_pairs_failed", "_late_exits", "_money")

    # ---- recording ------------------------------------------------------------------------------

    def record_scan_time(self, duration_s: float, scanned: int, failed: int) -> None:
        """Note one scan: how long, how many pairs read, how many fetches failed."""
        now = self._clock.monotonic()
        with self._lock:
            self._add(SCANS, duration_s, now)
            self._pairs_scanned += scanned
            self._pairs_failed += failed

    def record_api_call(self, endpoint: str, duration_s: float, outcome: str) -> None:
        """Note one call: *outcome* is ok, or the name of the error it raised."""
        self._record_outcome((CALL, endpoint), duration_s, outcome)

    def record_trade_execution(self, symbol: str, purpose: str, duration_s: float, outcome: str) -> None:
        """Note how long an entry or exit took from decision to certainty, and how it ended."""
        self._record_outcome((EXECUTION, purpose), duration_s, outcome)

    def record_position_update(self, duration_s: float, positions: int) -> None:
        """Note one look at every open position."""
        now = self._clock.monotonic()
        with self._lock:
            self._add(UPDATES, duration_s, now)

    def record_exit_latency(self, stages: Mapping[str, float]) -> None:
        """Note one exit: seconds from price receipt to each stage; warn when over the budget."""
        now = self._clock.monotonic()
        sent = stages.get("sent")
        is_late = sent is not None and sent > self._exit_budget_s
        with self._lock:
            for stage, seconds in stages.items():
                self._add((EXIT, stage), seconds, now)
            self._late_exits += is_late
        if is_late:
            log.warning("exit over its budget sent_after=%.1fms budget=%.1fms", stages["sent"] * 1000,
                        self._exit_budget_s * 1000)

    def record_protection_gap(self, seconds: float) -> None:
        """Note for how long a position had no stop on the exchange before one rested (again)."""
        if not seconds:
            return                     # moved: the new one was confirmed before the old one went
        now = self._clock.monotonic()
        with self._lock:
            self._add(GAPS, seconds, now)

    def record_trade(self, trade: ClosedTrade) -> None:
        """Note a closed trade."""
        with self._lock:
            self._money = self._money.with_trade(trade)

    def record_funding(self, trade: ClosedTrade) -> None:
        """Correct a trade recorded before its funding was known; said twice it counts once."""
        with self._lock:
            self._money = self._money.with_funding(trade)

    def record_equity(self, equity: Decimal, at_ms: int) -> None:
        """Note what the account is worth."""
        with self._lock:
            self._money = self._money.with_equity(equity, at_ms)

    def losses_in_a_row(self) -> int:
        """Return how many trades in a row have lost, as of now."""
        with self._lock:
            return self._money.losses_in_a_row

    def forgive_losses(self) -> None:
        """Begin the count of losses in a row anew: somebody has looked and goes on."""
        with self._lock:
            self._money = replace(self._money, latest=())

    def restore(self, trades: Iterable[ClosedTrade], peak_equity: Decimal | None) -> None:
        """Take up what an earlier run has recorded, in place of this one's; *trades* in any order."""
        money = Money(peak_equity=peak_equity)
        for trade in sorted(trades, key=lambda trade: trade.closed_ms):
            money = money.with_trade(trade)
        with self._lock:
            seen = self._money
            self._money = money if seen.equity is None else money.with_equity(seen.equity, seen.equity_ms)

    # ---- reading --------------------------------------------------------------------------------

    def get_stats(self, *, brief: bool = False) -> Stats:
        """Return everything as of one moment: copied under the lock, worked out after.

        *brief*: without calls, executions and locks, which are empty then. All of it takes
        milliseconds to work out, which whoever asks every second takes from everybody else.
        """
        now = self._clock.monotonic()
        now_ms = self._clock.now_ms()
        with self._lock:
            copies: dict[Key, _Copy] = {
                key: (list(one.samples), one.count, one.total, one.maximum, one.first_at)
                for key, one in self._series.items() if not brief or key[0] in _BRIEF
            }
            outcomes = [] if brief else list(self._outcomes.items())
            pairs_scanned, pairs_failed, late_exits = self._pairs_scanned, self._pairs_failed, self._late_exits
            money = self._money
        lock_waits, lock_holds = ({}, {}) if brief else _lock_summaries(now - self._started)

        def family(number: int) -> dict[str, Summary]:
            return {key[1]: _summary(copy, now) for key, copy in copies.items() if key[0] == number}

        return Stats(
            at_ms=now_ms,
            scans=_summary(copies.get(SCANS), now),
            pairs_scanned=pairs_scanned,
            pairs_failed=pairs_failed,
            api_calls=family(CALL),
            api_outcomes=_outcomes_of(CALL, outcomes),
            executions=family(EXECUTION),
            execution_outcomes=_outcomes_of(EXECUTION, outcomes),
            position_updates=_summary(copies.get(UPDATES), now),
            exit_stages=family(EXIT),
            late_exits=late_exits,
            protection_gaps=_summary(copies.get(GAPS), now),
            lock_waits=lock_waits,
            lock_holds=lock_holds,
            equity=money.equity,
            peak_equity=money.peak_equity,
            drawdown=money.drawdown,
            trades=money.trades,
            wins=money.wins,
            losses=money.losses,
            losses_in_a_row=money.losses_in_a_row,
            realised_pnl=money.realised_pnl,
            fees=money.fees,
            awaiting_funding=len(money.awaiting_funding),
            day_pnl=money.day_pnl if money.day == now_ms // DAY_MS else ZERO,
            profit_factor=money.gains / money.lost if money.lost else None,
            expectancy_r=money.r_sum / money.trades if money.trades else None,
        )

    # ---- inside ---------------------------------------------------------------------------------

    def _record_outcome(self, key: Key, duration_s: float, outcome: str) -> None:
        now = self._clock.monotonic()
        counted = (key, outcome)
        with self._lock:
            self._add(key, duration_s, now)
            self._outcomes[counted] = self._outcomes.get(counted, 0) + 1

    def _add(self, key: Key, seconds: float, now: float) -> None:
        """Add one sample to its series, made on first use; under the lock."""
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(now, guarded(self._lock, "samples", deque(maxlen=SAMPLES)))
        series.samples.append(seconds)
        series.count += 1
        series.total += seconds
        if seconds > series.maximum:
            series.maximum = seconds


def _lock_summaries(age_s: float) -> tuple[dict[str, Summary], dict[str, Summary]]:
    """Return waits and holds by lock. Locks keep their own figures: one that had to tell another lock of
    itself would be under it."""
    by_name: dict[str, list[LockStats]] = {}
    for stats in lock_stats():
        by_name.setdefault(stats.name, []).append(stats)
    locks = {name: together(name, alike) for name, alike in by_name.items()}

    def summary(
        lock: LockStats, total: float, among: int, maximum: float, at: Callable[[float], float | None]
    ) -> Summary:
        return Summary(
            count=lock.acquisitions, per_second=lock.acquisitions / age_s if age_s >= 1 else 0.0,
            mean=total / among if among else None, p50=at(50), p95=at(95), p99=at(99),
            maximum=maximum if among else None,
        )

    return (
        {name: summary(lock, sum(lock.waited), lock.waited_among, lock.longest_wait, lock.wait_s)
         for name, lock in locks.items()},
        {name: summary(lock, sum(lock.holds), len(lock.holds), lock.longest_hold, lock.hold_s)
         for name, lock in locks.items()},
    )


def _summary(copy: _Copy | None, now: float) -> Summary:
    if copy is None:
        return Summary(count=0, per_second=0.0, mean=None, p50=None, p95=None, p99=None, maximum=None)
    samples, count, total, maximum, first_at = copy
    samples.sort()
    elapsed = now - first_at
    return Summary(
        count=count,
        per_second=count / elapsed if elapsed >= 1 else 0.0,
        mean=total / count,
        p50=_percentile(samples, 50),
        p95=_percentile(samples, 95),
        p99=_percentile(samples, 99),
        maximum=maximum,
    )


def _percentile(ordered: list[float], percent: int) -> float:
    """Return the nearest-rank percentile: the least value with *percent* of all at or below it."""
    return ordered[ceil(percent * len(ordered) / 100) - 1]


def _outcomes_of(family: int, outcomes: list[tuple[tuple[Key, str], int]]) -> dict[str, dict[str, int]]:
    sorted_out: dict[str, dict[str, int]] = {}
    for ((number, name), outcome), count in outcomes:
        if number == family:
            sorted_out.setdefault(name, {})[outcome] = count
    return sorted_out
