"""Everything that can be counted or measured of a daemon, as families of figures for Prometheus."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from statistics import median

from control.metrics import Family, Sample, by_label, counter, gauge, quantiles
from daemon.house import House
from performance_monitor import Stats, Summary
from runtime.locks import LockStats, breaches, lock_stats
from runtime.version import VERSION
from trading.facts import ZERO, Position, Price

STATES = ("starting", "running", "paused", "degraded", "stopping")


def figures(house: House) -> tuple[Family, ...]:
    """Return all of them, each part of one moment."""
    stats = house.monitor.get_stats()
    positions = house.manager.snapshot()
    prices = house.prices.snapshot(position.symbol for position in positions)
    return (
        *_state(house), *_account(stats), *_positions(house, positions, prices), *_exits(stats), *_rate(house),
        *_calls(stats), *_scans(stats), *_locks(lock_stats(), stats), *_threads(house), *_journal(house),
    )


def _state(house: House) -> Iterator[Family]:
    state = house.status.state
    about = {"version": VERSION, "mode": house.settings.mode, "market": house.settings.market}
    yield Family(name="info", about="What runs.", samples=(Sample(value=1, labels=about),))
    yield by_label("state", "1 for the state the daemon is in.", "state",
                   {each: each == state for each in STATES})
    yield gauge("paused", "1 while nothing is entered from scanning at a person's word.", house.status.paused)
    yield gauge("problems", "How many things are wrong.", len(house.troubles()))
    # Where the process's memory grows and this does not, it is the room between them that grows: no leak.
    yield gauge("allocated_blocks", "Pieces of memory that Python has in use.", sys.getallocatedblocks())
    yield gauge("start_time_seconds", "When it was started, since 1970.", house.started_ms / 1000)
    reconciled_ms = house.status.reconciled_ms
    yield gauge("reconciled_time_seconds", "When book and exchange were last compared, since 1970.",
                reconciled_ms / 1000 if reconciled_ms else None)


def _account(stats: Stats) -> Iterator[Family]:
    yield gauge("equity", "Worth of the account in quote currency, as last seen.", stats.equity)
    yield gauge("equity_peak", "The most it was worth.", stats.peak_equity)
    yield gauge("drawdown_ratio", "Fraction below the peak.", stats.drawdown)
    yield gauge("realised_pnl", "Of closed trades, after fees and funding, in quote currency.", stats.realised_pnl)
    yield gauge("awaiting_funding", "Closed trades whose funding is not known yet, and not in any profit.",
                stats.awaiting_funding)
    yield gauge("day_pnl", "Of trades closed since midnight UTC.", stats.day_pnl)
    yield counter("fees_paid", "Fees of closed trades, in quote currency.", stats.fees)
    even = stats.trades - stats.wins - stats.losses
    yield by_label("trades", "Closed trades.", "result",
                   {"win": stats.wins, "loss": stats.losses, "even": even}, counts=True)
    yield gauge("losses_in_a_row", "Trades lost since the last one won.", stats.losses_in_a_row)


def _positions(
    house: House, positions: tuple[Position, ...], prices: Mapping[str, Price]
) -> Iterator[Family]:
    protected = sum(position.protective_stop is not None for position in positions)
    priced = [(position, prices[position.symbol].mark) for position in positions if position.symbol in prices]
    yield gauge("positions", "Open positions.", len(positions))
    yield gauge("positions_protected", "Those with a confirmed stop on the exchange.", protected)
    yield gauge("exposure", "Worth of all positions with a price, in quote currency.",
                sum((position.notional(mark) for position, mark in priced), ZERO))
    yield gauge("unrealised_pnl", "Of positions with a price, before fees.",
                sum((position.unrealised_pnl(mark) for position, mark in priced), ZERO))
    now = house.clock.monotonic()
    yield by_label("price_age_seconds", "Since the price of a held symbol was received.", "symbol",
                   {symbol: price.age_s(now) for symbol, price in prices.items()})
    yield gauge("prices_stale", "Held symbols without a price, or with one older than monitor.stale_after.",
                len(house.prices.stale(house.settings.monitor.stale_after_s)))
    yield counter("stream_connections", "Connections the price stream has made.", house.stream.connections)


def _exits(stats: Stats) -> Iterator[Family]:
    yield _summaries("exit_latency_seconds", "From the receipt of a price to each stage of the exit it causes.",
                     "stage", stats.exit_stages)
    yield counter("exits_late", "Exits sent later than monitor.exit_budget.", stats.late_exits)
    yield _summary("protection_gap_seconds", "How long positions had no stop on the exchange.",
                   stats.protection_gaps)
    yield _summary("position_update_seconds", "One look at every open position.", stats.position_updates)
    yield _summaries("order_seconds", "From the decision to certainty about an order.", "purpose",
                     stats.executions)
    yield _outcomes("orders", "Orders by what became of them.", "purpose", stats.execution_outcomes)


def _rate(house: House) -> Iterator[Family]:
    uses = house.budget.usage()
    yield by_label("rate_pool_used", "Weight spent in the pool's window.", "pool",
                   {use.pool: use.used for use in uses})
    yield by_label("rate_pool_quota", "Weight the window has.", "pool", {use.pool: use.quota for use in uses})
    yield by_label("rate_pool_waiting", "Requests that wait for the pool.", "pool",
                   {use.pool: use.waiting for use in uses})
    yield by_label("rate_pool_held_seconds", "For how long nothing may be sent.", "pool",
                   {use.pool: use.held_s for use in uses})
    yield by_label("rate_pool_resets_seconds", "Until the pool is full again.", "pool",
                   {use.pool: use.resets_in_s for use in uses})


def _calls(stats: Stats) -> Iterator[Family]:
    yield _outcomes("api_calls", "Calls to the exchange by how they ended.", "endpoint", stats.api_outcomes)
    yield _summaries("api_call_seconds", "How long they took.", "endpoint", stats.api_calls)


def _scans(stats: Stats) -> Iterator[Family]:
    yield _summary("scan_seconds", "One scan of all pairs.", stats.scans)
    yield counter("pairs_scanned", "Pairs read by scans.", stats.pairs_scanned)
    yield counter("pairs_failed", "Pairs whose candles could not be fetched.", stats.pairs_failed)


def _locks(locks: Iterable[LockStats], stats: Stats) -> Iterator[Family]:
    acquired: Counter[str] = Counter()
    contended: Counter[str] = Counter()
    for lock in locks:
        acquired[lock.name] += lock.acquisitions
        contended[lock.name] += lock.contended
    yield by_label("lock_acquisitions", "How often a lock was taken.", "lock", acquired, counts=True)
    yield by_label("lock_contended", "How often it had to be waited for.", "lock", contended, counts=True)
    yield _latest("lock_wait_seconds", "Waits of its latest acquisitions.", "lock", stats.lock_waits)
    yield _latest("lock_hold_seconds", "How long its latest holders had it.", "lock", stats.lock_holds)
    yield counter("lock_breaches", "Rules about locks that were broken.", breaches())


def _threads(house: House) -> Iterator[Family]:
    states = house.worker_states()
    yield by_label("thread_idle_seconds", "Since the thread last got something done.", "thread",
                   {state.name: state.idle_s if state.steps else None for state in states})
    yield by_label("thread_heartbeat_seconds", "Since the thread last gave a sign of life.", "thread",
                   {state.name: state.beat_s for state in states})
    yield by_label("thread_alive", "Whether it runs and makes progress.", "thread",
                   {state.name: state.alive and not state.is_stuck for state in states})
    yield by_label("thread_steps", "Steps it has made.", "thread",
                   {state.name: state.steps for state in states}, counts=True)
    yield by_label("thread_failures", "Steps that raised.", "thread",
                   {state.name: state.failures for state in states}, counts=True)
    yield by_label("thread_restarts", "How often it was replaced.", "thread",
                   {state.name: state.restarts for state in states}, counts=True)


def _journal(house: House) -> Iterator[Family]:
    yield gauge("journal_healthy", "Whether the last write reached the disk.", house.journal.healthy)
    yield gauge("journal_backlog", "Notes that are not on disk yet.", house.journal.backlog)
    commits = house.journal.commit_seconds()
    yield gauge("journal_commit_seconds", "Median of the latest commits.", median(commits) if commits else None)


def _summary(name: str, about: str, summary: Summary) -> Family:
    return Family(name=name, about=about, samples=tuple(_samples(summary, {})), kind="summary")


def _summaries(name: str, about: str, label: str, summaries: Mapping[str, Summary]) -> Family:
    samples = (sample for key, summary in summaries.items() for sample in _samples(summary, {label: key}))
    return Family(name=name, about=about, samples=tuple(samples), kind="summary")


def _latest(name: str, about: str, label: str, summaries: Mapping[str, Summary]) -> Family:
    """Quantiles alone, where there is no sum of all there ever were."""
    samples = (
        sample for key, summary in summaries.items()
        for sample in _samples(summary, {label: key}) if not sample.suffix
    )
    return Family(name=name, about=about, samples=tuple(samples))


def _samples(summary: Summary, labels: Mapping[str, str]) -> Iterator[Sample]:
    known = {"0.5": summary.p50, "0.95": summary.p95, "0.99": summary.p99, "1": summary.maximum}
    return quantiles(summary.count, summary.mean, known, labels)


def _outcomes(name: str, about: str, label: str, outcomes: Mapping[str, Mapping[str, int]]) -> Family:
    samples = tuple(
        Sample(value=count, labels={label: key, "outcome": outcome})
        for key, counts in outcomes.items() for outcome, count in counts.items()
    )
    return Family(name=name, about=about, samples=samples, kind="counter")
