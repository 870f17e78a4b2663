"""`./rad report`: what became of the money, in one file that needs neither a daemon nor a network."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from console.failure import Failure
from console.report_page import page
from console.where import Place
from control.steering import ERROR
from control.views import amount, ratio
from runtime.journal_reader import JournalReader
from runtime.journal_schema import EquityStretch, Event
from trading import latency
from trading.facts import ZERO, ClosedTrade, Position

DAY_MS = 86_400_000
POINTS = 1_500                 # of the equity curve
MOST_EVENTS = 100_000
QUIET_FOR_MS = 10 * 60_000     # without a look at the account, RAD did not run or did not see the exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the journal says of some time."""

    mode: str
    since_ms: int              # of the first thing that is told
    until_ms: int
    stretches: tuple[EquityStretch, ...]
    peak_before: Decimal
    trades: tuple[ClosedTrade, ...]          # oldest first
    positions: tuple[Position, ...]          # open when last seen
    latencies: dict[str, list[float]]        # by stage, ms
    events: tuple[Event, ...]                # newest first, without the latencies
    gaps: tuple[tuple[int, int], ...]        # from, to


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What some trades came to; money in quote currency, after fees and funding."""

    name: str
    trades: int
    wins: int
    pnl: Decimal
    fees: Decimal
    funding: Decimal
    gains: Decimal
    lost: Decimal              # positive
    r_sum: Decimal
    best: Decimal
    worst: Decimal
    awaiting_funding: int      # trades whose funding is not known yet, and counted as none

    @property
    def profit_factor(self) -> Decimal | None:
        """Gains over losses; None before the first loss."""
        return self.gains / self.lost if self.lost else None


def read(url: str, mode: str, *, days: int | None, now_ms: int) -> Story:
    """Return the story of the last *days*, or the whole of it.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    reader = JournalReader.open(url)
    try:
        since_ms = 0 if days is None else now_ms - days * DAY_MS
        stretches = reader.equity_stretches(since_ms, POINTS)
        trades = reader.trades_since(since_ms)
        events = [event for event in reader.events(MOST_EVENTS) if event.at_ms >= since_ms]
        latencies: dict[str, list[float]] = {}
        for event in events:
            if event.kind == latency.KIND:
                for stage, ms in latency.read(event.message).items():
                    latencies.setdefault(stage, []).append(ms)
        known = [stretch.at_ms for stretch in stretches[:1]] + [trade.closed_ms for trade in trades[:1]]
        return Story(
            mode=mode, since_ms=min(known, default=since_ms or now_ms), until_ms=now_ms,
            stretches=stretches, peak_before=reader.highest_equity(since_ms) or ZERO, trades=trades,
            positions=reader.open_positions(), latencies=latencies,
            events=tuple(event for event in events if event.kind != latency.KIND),
            gaps=reader.equity_gaps(since_ms, QUIET_FOR_MS),
        )
    finally:
        reader.close()


def sum_up(name: str, trades: Iterable[ClosedTrade]) -> Result:
    """Return what *trades* came to."""
    trades = tuple(trades)
    results = [trade.realised_pnl for trade in trades]

    def total(of: Callable[[ClosedTrade], Decimal]) -> Decimal:
        return sum((of(trade) for trade in trades), ZERO)

    return Result(
        name=name, trades=len(trades), wins=sum(pnl > 0 for pnl in results), pnl=sum(results, ZERO),
        fees=total(lambda trade: trade.fee), funding=total(lambda trade: trade.funding),
        gains=sum((pnl for pnl in results if pnl > 0), ZERO),
        lost=-sum((pnl for pnl in results if pnl < 0), ZERO), r_sum=total(lambda trade: trade.r_multiple),
        best=max(results, default=ZERO), worst=min(results, default=ZERO),
        awaiting_funding=sum(not trade.funding_known for trade in trades),
    )


def sum_up_by(trades: Iterable[ClosedTrade], of: Callable[[ClosedTrade], str]) -> list[Result]:
    """Return what trades came to by whatever *of* says of each, the best first."""
    groups: dict[str, list[ClosedTrade]] = {}
    for trade in trades:
        groups.setdefault(of(trade), []).append(trade)
    results = [sum_up(name, group) for name, group in groups.items()]
    return sorted(results, key=lambda result: (-result.pnl, result.name))


def drawdowns(stretches: Sequence[EquityStretch], peak: Decimal) -> list[Decimal]:
    """Return how far below the highest until then each stretch fell, a fraction; the deepest within it."""
    found = []
    for stretch in stretches:
        # Whether the lowest came before or after the highest within is not known: the peak before counts.
        deepest = 1 - stretch.lowest / peak if peak else ZERO
        peak = max(peak, stretch.highest)
        found.append(max(deepest, 1 - stretch.last / peak if peak else ZERO, ZERO))
    return found


def write(story: Story, file: Path) -> Path:
    """Write the report whole, for its owner alone; return where it is.

    Raises:
        Failure: it cannot be written there.
    """
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(page(story))
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise Failure(f"the report cannot be written to {file}: {error.strerror}", ERROR) from None
    return file


def make(said: Namespace, place: Place, folder: Path) -> dict[str, Any]:
    """Read, write, and return what `--json` prints; a relative file is one of *folder*."""
    from console.aftermath import journal_of

    now_ms = time.time_ns() // 1_000_000
    url, mode = journal_of(place)
    story = read(url, mode, days=said.days, now_ms=now_ms)
    day = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d")
    file = write(story, folder / (said.out or f"rad-report-{story.mode}-{day}.html"))
    total = sum_up("all", story.trades)
    deepest = max(drawdowns(story.stretches, story.peak_before), default=ZERO)
    return {
        "file": str(file), "mode": story.mode, "trades": total.trades, "realised_pnl": amount(total.pnl),
        "awaiting_funding": total.awaiting_funding, "fees": amount(total.fees), "drawdown": ratio(deepest),
    }
