"""What PerformanceMonitor counts is right, whoever counts with it and whenever it is read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, ItemsView, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from performance_monitor import SAMPLES, PerformanceMonitor, Stats
from runtime import locks
from tests.crowd import PATIENCE_S, all_at_once, crowd, frequent_switches
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from trading.earnings import DAY_MS, MOST_IN_A_ROW, Money
from trading.facts import ClosedTrade, ExitReason, Side

D = Decimal
MIDNIGHT_MS = 19_676 * DAY_MS      # 2023-11-15T00:00:00Z
STAGES = {"decided": 0.001, "claimed": 0.002, "sent": 0.003, "acknowledged": 0.02}


@pytest.fixture
def clock() -> ManualClock:
    """Noon."""
    return ManualClock(MIDNIGHT_MS + DAY_MS // 2)


@pytest.fixture
def monitor(clock: ManualClock) -> PerformanceMonitor:
    return PerformanceMonitor(clock)


def a_trade(pnl: str = "10", **overrides: Any) -> ClosedTrade:
    """A long closed at noon for *pnl* after a fee of 1, at one R."""
    trade = ClosedTrade(
        position_id="p1", symbol="BTC/USDT:USDT", side=Side.LONG, quantity=D(1), entry_price=D(100),
        exit_price=D(110), opened_ms=MIDNIGHT_MS, closed_ms=MIDNIGHT_MS + DAY_MS // 2,
        exit_reason=ExitReason.MANUAL, fee=D(1), funding=D(0), realised_pnl=D(pnl), r_multiple=D(1),
    )
    return replace(trade, **overrides)


# ---- durations ----------------------------------------------------------------------------------


def test_percentiles_are_the_nearest_rank(monitor: PerformanceMonitor) -> None:
    """Of 1..100 ms in any order: the 50th is 50, the 95th 95, the 99th 99."""
    for number in [*range(51, 101), *range(50, 0, -1)]:
        monitor.record_position_update(number / 1000, 1)
    updates = monitor.get_stats().position_updates
    assert (updates.p50, updates.p95, updates.p99, updates.maximum) == (0.050, 0.095, 0.099, 0.100)
    assert updates.mean == pytest.approx(0.0505)       # 5050 / 100 ms
    assert updates.count == 100


@pytest.mark.parametrize(
    ("samples", "p50", "p95"),
    [
        ([7.0], 7.0, 7.0),
        ([1.0, 2.0], 1.0, 2.0),                        # rank ⌈0.5 × 2⌉ = 1, ⌈0.95 × 2⌉ = 2
        ([5.0, 1.0, 3.0], 3.0, 5.0),                   # rank ⌈1.5⌉ = 2, ⌈2.85⌉ = 3
        ([float(number) for number in range(1, 21)], 10.0, 19.0),   # rank 10, 19: exactly, not one more
    ],
)
def test_percentiles_of_a_few(monitor: PerformanceMonitor, samples: list[float], p50: float, p95: float) -> None:
    """Percentiles of small series, worked by hand."""
    for seconds in samples:
        monitor.record_position_update(seconds, 1)
    updates = monitor.get_stats().position_updates
    assert (updates.p50, updates.p95) == (p50, p95)


def test_counts_outlive_the_samples(monitor: PerformanceMonitor) -> None:
    """Percentiles forget old samples; count, mean and maximum do not."""
    monitor.record_position_update(9.0, 1)
    for _ in range(SAMPLES * 2):
        monitor.record_position_update(1.0, 1)
    updates = monitor.get_stats().position_updates
    assert (updates.count, updates.maximum, updates.p99) == (SAMPLES * 2 + 1, 9.0, 1.0)
    assert updates.mean == (9.0 + SAMPLES * 2) / (SAMPLES * 2 + 1)


def test_rates_are_per_second(monitor: PerformanceMonitor, clock: ManualClock) -> None:
    """Thirty calls in ten seconds are three a second; before a second has passed there is no rate."""
    clock.advance(1000)                # what was before the first call does not count
    for _ in range(10):
        for _ in range(3):
            monitor.record_api_call("GET tickers", 0.1, "ok")
        clock.advance(1)
    assert monitor.get_stats().api_calls["GET tickers"].per_second == 3.0
    monitor.record_api_call("GET candles", 0.1, "ok")
    clock.advance(0.999)
    assert monitor.get_stats().api_calls["GET candles"].per_second == 0
    clock.advance(0.001)
    assert monitor.get_stats().api_calls["GET candles"].per_second == 1.0


def test_nothing_recorded_reads_as_nothing(monitor: PerformanceMonitor) -> None:
    """Before anything happened there are no percentiles, and no ratio is made up."""
    stats = monitor.get_stats()
    assert (stats.scans.count, stats.scans.p50, stats.scans.mean, stats.scans.maximum) == (0, None, None, None)
    assert (stats.equity, stats.profit_factor, stats.expectancy_r) == (None, None, None)
    assert (stats.drawdown, stats.realised_pnl, stats.day_pnl) == (0, 0, 0)


def test_calls_are_told_apart(monitor: PerformanceMonitor) -> None:
    """Each endpoint has its own times and its outcomes by name; executions by purpose, scans by pairs."""
    monitor.record_api_call("GET candles", 0.1, "ok")
    monitor.record_api_call("GET candles", 0.3, "RateLimited")
    monitor.record_api_call("POST orders", 0.2, "ok")
    monitor.record_trade_execution("A", "entry", 0.5, "filled")
    monitor.record_trade_execution("B", "exit", 0.4, "unknown")
    monitor.record_scan_time(12.0, 498, 2)
    stats = monitor.get_stats()
    assert stats.api_outcomes == {"GET candles": {"ok": 1, "RateLimited": 1}, "POST orders": {"ok": 1}}
    assert {name: one.maximum for name, one in stats.api_calls.items()} == {"GET candles": 0.3, "POST orders": 0.2}
    assert {name: one.count for name, one in stats.executions.items()} == {"entry": 1, "exit": 1}
    assert stats.execution_outcomes == {"entry": {"filled": 1}, "exit": {"unknown": 1}}
    assert (stats.scans.p50, stats.pairs_scanned, stats.pairs_failed) == (12.0, 498, 2)


def test_locks_are_in_the_figures(clock: ManualClock) -> None:
    """Every lock alive is told of, two of one name together, without anybody recording it."""
    monitor = PerformanceMonitor(clock)
    twins, untaken = [locks.named_lock("twin"), locks.named_lock("twin")], locks.named_lock("untaken")
    for twin in (*twins, *twins, twins[0]):
        with twin:
            pass
    clock.advance(2)
    stats = monitor.get_stats()
    waits, holds = stats.lock_waits["twin"], stats.lock_holds["twin"]
    assert (waits.count, waits.maximum) == (5, 0.0)                        # nobody else wanted them
    assert (holds.count, holds.per_second) == (5, 2.5)                     # 5 in 2 s
    assert holds.maximum == max(max(twin.stats().holds) for twin in twins)
    assert stats.lock_holds[untaken.name].p99 is None


def test_a_gap_in_protection_is_measured_and_none_is_no_gap(monitor: PerformanceMonitor) -> None:
    """Two positions were without a stop for a while, one was moved without a gap."""
    for seconds in (0.25, 0.0, 0.75):
        monitor.record_protection_gap(seconds)
    gaps = monitor.get_stats().protection_gaps
    assert (gaps.count, gaps.maximum, gaps.mean) == (2, 0.75, 0.5)


def test_a_late_exit_is_counted_and_said(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """An exit sent at its budget is in time; one later is not, and the log says by how much."""
    monitor = PerformanceMonitor(clock, exit_budget_s=0.05)
    with caplog.at_level(logging.WARNING, "perf"):
        monitor.record_exit_latency({**STAGES, "sent": 0.05})
        assert not caplog.records
        monitor.record_exit_latency({**STAGES, "sent": 0.0625})
    stats = monitor.get_stats()
    assert [record.getMessage() for record in caplog.records] == [
        "exit over its budget sent_after=62.5ms budget=50.0ms"
    ]
    assert (stats.late_exits, stats.exit_stages["sent"].count) == (1, 2)
    assert set(stats.exit_stages) == set(STAGES)


# ---- money --------------------------------------------------------------------------------------


def test_money_is_exact(monitor: PerformanceMonitor) -> None:
    """Three wins and two losses: what a pocket calculator says, to the last digit."""
    for pnl, r in [("0.1", "0.5"), ("0.2", "1"), ("-0.15", "-1"), ("0.3", "1.5"), ("-0.05", "-0.5")]:
        monitor.record_trade(a_trade(pnl, r_multiple=D(r), fee=D("0.01")))
    stats = monitor.get_stats()
    assert (stats.trades, stats.wins, stats.losses, stats.losses_in_a_row) == (5, 3, 2, 1)
    assert stats.realised_pnl == D("0.40")           # 0.6 − 0.2
    assert stats.fees == D("0.05")                   # 5 × 0.01
    assert stats.profit_factor == D(3)               # 0.6 / 0.2
    assert stats.expectancy_r == D("0.3")            # 1.5 / 5


def test_losses_in_a_row(monitor: PerformanceMonitor) -> None:
    """Losses add up until a win; coming out even neither adds nor ends; a person may forgive them."""
    for pnl in ("-1", "-1", "0"):
        monitor.record_trade(a_trade(pnl))
    assert monitor.get_stats().losses_in_a_row == 2
    assert (monitor.get_stats().wins, monitor.get_stats().losses) == (0, 2)
    monitor.forgive_losses()
    assert monitor.get_stats().losses_in_a_row == 0
    monitor.record_trade(a_trade("-1"))
    assert monitor.get_stats().losses_in_a_row == 1
    monitor.record_trade(a_trade("1"))
    assert monitor.get_stats().losses_in_a_row == 0


def test_drawdown_is_measured_from_the_peak(monitor: PerformanceMonitor) -> None:
    """1000, 1250, 1000: a fifth below the peak."""
    for equity in (1000, 1250, 1000):
        monitor.record_equity(D(equity), MIDNIGHT_MS)
    stats = monitor.get_stats()
    assert (stats.equity, stats.peak_equity, stats.drawdown) == (D(1000), D(1250), D("0.2"))


def test_the_day_ends_at_midnight_utc(monitor: PerformanceMonitor, clock: ManualClock) -> None:
    """The day's profit is of trades closed since midnight; an older one that is told late is not of it."""
    monitor.record_trade(a_trade("5", closed_ms=MIDNIGHT_MS - 1))
    monitor.record_trade(a_trade("7", closed_ms=MIDNIGHT_MS))
    monitor.record_trade(a_trade("-2"))
    monitor.record_trade(a_trade("100", closed_ms=MIDNIGHT_MS - 1))
    assert monitor.get_stats().day_pnl == D(5)       # 7 − 2
    assert monitor.get_stats().realised_pnl == D(110)
    clock.advance(DAY_MS / 2000)                     # midnight
    assert monitor.get_stats().day_pnl == 0


def test_funding_known_later_corrects_what_was_counted_without_it(
    monitor: PerformanceMonitor, clock: ManualClock
) -> None:
    """Said twice it counts once; a trade that becomes a loss by it is one, and yesterday's is not of today."""
    monitor.record_trade(a_trade("-9", position_id="old", closed_ms=MIDNIGHT_MS - 1, funding_known=False))
    monitor.record_trade(a_trade("1", position_id="a", funding_known=False))
    monitor.record_trade(a_trade("2", position_id="b"))
    before = monitor.get_stats()
    assert (before.awaiting_funding, before.realised_pnl, before.day_pnl) == (2, D(-6), D(3))
    for _ in range(2):
        monitor.record_funding(a_trade("-2", position_id="a", funding=D(-3)))
        monitor.record_funding(a_trade("-1", position_id="b", funding=D(-3)))        # was known already
    stats = monitor.get_stats()
    assert (stats.awaiting_funding, stats.realised_pnl, stats.day_pnl) == (1, D(-9), D(0))
    assert (stats.wins, stats.losses, stats.losses_in_a_row, stats.profit_factor) == (1, 2, 0, D(2) / D(11))
    monitor.record_funding(a_trade("-4", position_id="old", closed_ms=MIDNIGHT_MS - 1, funding=D(5)))
    stats = monitor.get_stats()
    assert (stats.awaiting_funding, stats.realised_pnl, stats.day_pnl) == (0, D(-4), D(0))
    monitor.restore([a_trade("1", position_id="a", funding_known=False), a_trade("2", position_id="b")], None)
    assert monitor.get_stats().awaiting_funding == 1


@pytest.mark.parametrize(
    ("results", "corrected", "in_a_row"),
    [
        ("-1? 5 -1 -1", "3", 2),           # a win before the last one: nothing to those that came after it
        ("-1 -1? -1", "3", 1),             # a win between them: the first is not of the row any more
        ("-1 1? -1", "-2", 3),             # a loss between them: it joins both
        ("1? 5", "-2", 0),                 # a loss before the last win
        ("-1 1?", "0", 1),                 # neither
    ],
)
def test_losses_in_a_row_are_those_after_the_last_win_whatever_is_known_late(
    monitor: PerformanceMonitor, results: str, corrected: str, in_a_row: int
) -> None:
    """Funding that comes in when others have closed counts where its trade stands, as after a restart."""
    trades = [
        a_trade(said.strip("?"), position_id=str(number), funding_known="?" not in said, closed_ms=number)
        for number, said in enumerate(results.split())
    ]
    for trade in trades:
        monitor.record_trade(trade)
    (late,) = (trade for trade in trades if not trade.funding_known)
    funding = D(corrected) - late.realised_pnl
    known = replace(late, realised_pnl=D(corrected), funding=funding, funding_known=True)
    monitor.record_funding(known)
    assert monitor.losses_in_a_row() == in_a_row
    monitor.restore([known if trade is late else trade for trade in trades], None)
    assert monitor.losses_in_a_row() == in_a_row


def test_results_that_cannot_matter_any_more_are_not_kept() -> None:
    """A win that is certain ends the row for good: what was before it goes, however long the daemon runs."""
    money = Money()
    for number in range(100):
        money = money.with_trade(a_trade("-1", position_id=f"loss{number}", funding_known=False))
        money = money.with_trade(a_trade("2", position_id=f"win{number}", funding_known=False))
        money = money.with_funding(a_trade("1", position_id=f"win{number}", funding=D(-1)))
        assert money.latest == ()
    for number in range(MOST_IN_A_ROW + 5):
        money = money.with_trade(a_trade("-1", position_id=f"more{number}", funding_known=False))
    assert money.losses_in_a_row == MOST_IN_A_ROW


def test_a_restart_takes_up_what_was(monitor: PerformanceMonitor) -> None:
    """Restored in any order, the trades count as when they happened; today's equity is kept."""
    monitor.record_equity(D(900), MIDNIGHT_MS)
    trades = [a_trade(pnl, closed_ms=MIDNIGHT_MS + minute) for minute, pnl in enumerate(("3", "-1", "-1"))]
    monitor.restore(reversed(trades), D(1000))
    stats = monitor.get_stats()
    assert (stats.trades, stats.losses_in_a_row, stats.realised_pnl, stats.day_pnl) == (3, 2, D(1), D(1))
    assert (stats.equity, stats.peak_equity, stats.drawdown) == (D(900), D(1000), D("0.1"))
    monitor.restore(trades, D(1000))
    assert monitor.get_stats().trades == 3           # not six: told twice, counted once


def test_a_peak_alone_is_no_drawdown(monitor: PerformanceMonitor) -> None:
    """Restored before the account was first asked for: nothing is known to be lost."""
    monitor.restore([], D(1000))
    assert (monitor.get_stats().peak_equity, monitor.get_stats().drawdown) == (D(1000), 0)
    monitor.record_equity(D(750), MIDNIGHT_MS)
    assert monitor.get_stats().drawdown == D("0.25")


# ---- threads ------------------------------------------------------------------------------------


@pytest.fixture
def mutant(clock: ManualClock) -> Iterator[PerformanceMonitor]:
    """A monitor whose lock locks nothing."""
    locks.make_strict(False)
    monitor: Any = PerformanceMonitor(clock)
    monitor._lock = NoLock()
    yield monitor
    locks.make_strict(True)


class MeetingName(str):
    """An outcome whose threads meet each time it is looked up, and again before it is written."""

    barrier: threading.Barrier

    def __hash__(self) -> int:
        try:
            self.barrier.wait(0.5)      # alone under the lock nobody comes: go on without company
        except threading.BrokenBarrierError:
            pass
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)  # type: ignore[arg-type]


def count_together(monitor: PerformanceMonitor) -> int:
    """Let two threads record the same outcome at once; return how many were counted."""
    name = MeetingName("ok")
    name.barrier = threading.Barrier(2)
    all_at_once(*[lambda: monitor.record_api_call("GET x", 0.1, name)] * 2)
    name.barrier.abort()
    return sum(monitor.get_stats().api_outcomes["GET x"].values())


def test_two_that_count_at_once_are_both_counted(monitor: PerformanceMonitor) -> None:
    """No update is lost though two threads are between reading and writing the same figure."""
    assert count_together(monitor) == 2


def test_two_that_count_without_the_lock_lose_one(mutant: PerformanceMonitor) -> None:
    """The mutant: with the lock taken away the test above would count one."""
    assert count_together(mutant) == 1


def test_a_crowd_loses_nothing(monitor: PerformanceMonitor) -> None:
    """Eight threads record everything there is: every total is exact."""
    turns = 100

    def record() -> None:
        for _ in range(turns):
            monitor.record_scan_time(1.0, 3, 1)
            monitor.record_api_call("GET x", 0.5, "ok")
            monitor.record_trade_execution("A", "entry", 0.25, "filled")
            monitor.record_position_update(0.125, 1)
            monitor.record_exit_latency({**STAGES, "sent": 0.001})
            monitor.record_trade(a_trade("0.01"))

    with frequent_switches():
        all_at_once(*[record] * 8)
    stats = monitor.get_stats()
    counts = (
        stats.scans.count, stats.api_calls["GET x"].count, stats.api_outcomes["GET x"]["ok"],
        stats.executions["entry"].count, stats.position_updates.count, stats.exit_stages["sent"].count,
        stats.trades, stats.wins,
    )
    assert counts == (8 * turns,) * 8
    assert (stats.pairs_scanned, stats.pairs_failed) == (3 * 8 * turns, 8 * turns)
    assert stats.realised_pnl == D("0.01") * 8 * turns
    assert (stats.scans.mean, stats.position_updates.mean) == (1.0, 0.125)


class HalfWritten(dict[str, float]):
    """Stages whose writer stops after the second and lets a reader look."""

    def __init__(self, stages: dict[str, float]) -> None:
        super().__init__(stages)
        self.is_half_way, self.go_on = threading.Event(), threading.Event()

    def items(self) -> ItemsView[str, float]:  # type: ignore[override]
        def each() -> Iterator[tuple[str, float]]:
            for number, item in enumerate(dict.items(self)):
                if number == 2:
                    self.is_half_way.set()
                    self.go_on.wait(0.3)      # under the lock the reader cannot come: go on
                yield item
        return each()  # type: ignore[return-value]


def look_half_way(monitor: PerformanceMonitor) -> set[str]:
    """Read while an exit's four stages are being written; return the stages seen."""
    stages = HalfWritten(STAGES)

    def look() -> Stats:
        assert stages.is_half_way.wait(PATIENCE_S)
        stats = monitor.get_stats()
        stages.go_on.set()
        return stats

    with crowd(lambda: monitor.record_exit_latency(stages), look) as results:
        pass
    seen = results[1]
    assert isinstance(seen, Stats)
    return set(seen.exit_stages)


def test_a_snapshot_is_never_torn(monitor: PerformanceMonitor) -> None:
    """A reader that comes while an exit is half written sees all of it or nothing."""
    assert look_half_way(monitor) == set(STAGES)


def test_a_snapshot_without_the_lock_is_torn(mutant: PerformanceMonitor) -> None:
    """The mutant: with the lock taken away the reader would see half an exit."""
    assert look_half_way(mutant) == {"decided", "claimed"}


def test_snapshots_agree_with_themselves_under_load(monitor: PerformanceMonitor) -> None:
    """In every snapshot taken under load the figures that belong together agree."""
    over = threading.Event()

    def write() -> None:
        for number in range(150):
            monitor.record_exit_latency({**STAGES, "sent": 0.001})
            monitor.record_trade(a_trade("2" if number % 2 else "-1"))
            monitor.record_api_call("GET x", 0.1, "ok")
        over.set()

    def read() -> None:
        is_last = False
        while not is_last:
            is_last = over.is_set()
            stats = monitor.get_stats()
            assert len({one.count for one in stats.exit_stages.values()}) <= 1
            assert stats.trades == stats.wins + stats.losses
            assert stats.realised_pnl == 2 * stats.wins - stats.losses
            assert {name: one.count for name, one in stats.api_calls.items()} == {
                name: sum(counts.values()) for name, counts in stats.api_outcomes.items()
            }

    with frequent_switches():
        all_at_once(write, write, read, read)


def test_percentiles_are_worked_out_without_the_lock(
    monitor: PerformanceMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader sorts, others record."""
    import performance_monitor

    plain: Callable[..., Any] = performance_monitor._summary

    def looking(*args: Any) -> Any:
        locks.assert_no_lock_held("sorting")
        return plain(*args)

    monitor.record_scan_time(1.0, 1, 0)
    monkeypatch.setattr(performance_monitor, "_summary", looking)
    assert monitor.get_stats().scans.count == 1


def test_the_figures_may_not_be_touched_without_the_lock(monitor: PerformanceMonitor) -> None:
    """In tests even a look at the deques outside the lock is a breach."""
    with pytest.raises(locks.LockBreach, match="series touched without lock"):
        monitor._series.get((0, ""))
