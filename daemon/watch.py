"""Looks once a second at what the daemon knows of itself and tells what has changed.

Troubles, halts, pauses and threads are compared with the look before, so that none of those whose
work it is has to stop to tell of them. Entries and exits are told where they happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any

from daemon.house import House
from daemon.state import Trouble
from runtime.version import VERSION
from trading.events import Kind
from trading.risk import halt_reason

DAY_MS = 86_400_000
SUM_UP_AFTER_MS = 300_000      # midnight, when what closed before it is booked and its funding known

# How long a trouble must have stood before anybody is told: the first retry mends most of these.
PATIENCE_S = {Kind.EXCHANGE: 10.0, Kind.PRICES: 5.0, Kind.UNCERTAIN: 10.0}
# How long it must be gone to be over: many are looked for every few seconds only.
CALM_S = 15.0
PLAIN = (Kind.PAUSED,)         # somebody's word, over with another word

_KINDS = {
    "exchange": Kind.EXCHANGE, "connection": Kind.EXCHANGE, "account": Kind.EXCHANGE, "clock": Kind.EXCHANGE,
    "reconcile": Kind.EXCHANGE, "scan": Kind.EXCHANGE, "prices": Kind.PRICES, "unpriced": Kind.PRICES,
    "universe": Kind.NO_PAIRS, "entries": Kind.ENTRIES, "journal": Kind.JOURNAL, "lease": Kind.LEASE,
    "thread": Kind.THREAD_STUCK, "difference": Kind.DIFFERENCE, "stop": Kind.NAKED, "exit": Kind.EXIT_STUCK,
    "notifier": Kind.NOTIFIER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """Something that lasts."""

    kind: Kind
    symbol: str = ""
    name: str = ""             # of a thread
    what: str = ""

    @property
    def key(self) -> tuple[Kind, str]:
        return self.kind, self.symbol or self.name


@dataclass(slots=True)
class _Standing:
    """A finding since it was first made."""

    finding: _Finding
    since: float
    seen: float
    is_told: bool = False


class Watch:
    """Compares each look with the one before; one thread."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._standing: dict[tuple[Kind, str], _Standing] = {}
        self._phase = "starting"
        self._restarts: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._day = self._today()

    def look(self) -> None:
        """Tell what is new since the last look."""
        self._tell_threads()
        self._tell_findings()
        self._tell_phase()             # the end comes last
        self._tell_day()

    # ---- what lasts -----------------------------------------------------------------------------

    def _tell_findings(self) -> None:
        now = self._house.clock.monotonic()
        for finding in self._findings():
            standing = self._standing.setdefault(finding.key, _Standing(finding=finding, since=now, seen=now))
            standing.finding, standing.seen = finding, now
            if not standing.is_told and now - standing.since >= self._patience_s(finding.kind):
                standing.is_told = True
                self._publish(finding)
        for key, standing in tuple(self._standing.items()):
            calm_s = 0.0 if standing.finding.kind in PLAIN else CALM_S
            if standing.seen < now and now - standing.seen >= calm_s:
                del self._standing[key]
                if standing.is_told:
                    self._publish(standing.finding, over=True)

    def _patience_s(self, kind: Kind) -> float:
        if kind is Kind.NAKED:
            return self._house.settings.protect.deadline_s
        return PATIENCE_S.get(kind, 0.0)

    def _publish(self, finding: _Finding, *, over: bool = False) -> None:
        self._house.events.publish(finding.kind, finding.symbol, over=over, **_said(finding))

    def _findings(self) -> Iterator[_Finding]:
        house = self._house
        yield from (_finding(trouble) for trouble in house.troubles())
        for difference in house.status.foreign:
            yield _Finding(kind=Kind.FOREIGN, symbol=difference.symbol, what=difference.exchange)
        uncertain = house.manager.uncertain()
        for held in house.manager.snapshot() + house.manager.entries_under_way():
            if held.position_id in uncertain:
                yield _Finding(kind=Kind.UNCERTAIN, symbol=held.symbol)
        if house.status.paused:
            yield _Finding(kind=Kind.PAUSED)
        if house.account.age_s() < inf:
            halted = halt_reason(house.account.state(), house.rules.risk)
            if halted:
                yield _Finding(kind=Kind.HALTED, what=halted)

    # ---- what happens ---------------------------------------------------------------------------

    def _tell_phase(self) -> None:
        house = self._house
        before, self._phase = self._phase, house.status.phase
        if self._phase == before:
            return
        positions = house.manager.snapshot()
        if self._phase == "running":
            house.events.publish(
                Kind.STARTED, version=VERSION, mode=house.settings.mode, market=house.settings.market,
                positions=len(positions),
            )
        elif self._phase == "stopping":
            protected = sum(position.protective_stop is not None for position in positions)
            house.events.publish(Kind.STOPPING, positions=len(positions), protected=protected)

    def _tell_threads(self) -> None:
        for state in self._house.worker_states():
            if state.restarts > self._restarts.get(state.name, 0):
                self._house.events.publish(
                    Kind.THREAD_REPLACED, name=state.name, what=state.last_error or "without a word"
                )
            elif state.failures > self._failures.get(state.name, 0):
                self._house.events.publish(Kind.THREAD_FAILED, name=state.name, what=state.last_error)
            self._restarts[state.name], self._failures[state.name] = state.restarts, state.failures

    def _tell_day(self) -> None:
        """Soon after midnight UTC sum up the day that is over, once the journal can be read."""
        house, today = self._house, self._today()
        if today == self._day or not house.journal.healthy:
            return
        begin_ms, end_ms = self._day * DAY_MS, (self._day + 1) * DAY_MS
        trades = [trade for trade in house.journal.trades_since(begin_ms) if trade.closed_ms < end_ms]
        self._day = today
        house.events.publish(
            Kind.DAILY,
            day=datetime.fromtimestamp(begin_ms / 1000, UTC).strftime("%Y-%m-%d"),
            trades=len(trades),
            wins=sum(trade.realised_pnl > 0 for trade in trades),
            pnl=sum(trade.realised_pnl for trade in trades),
            less="fees" if any(not trade.funding_known for trade in trades) else "fees and funding",
            quote=house.settings.scanner.quote,
            equity=house.account.equity() or 0,
            positions=len(house.manager.snapshot()),
        )

    def _today(self) -> int:
        return (self._house.clock.now_ms() - SUM_UP_AFTER_MS) // DAY_MS


def _finding(trouble: Trouble) -> _Finding:
    kind = _KINDS.get(trouble.what, Kind.TROUBLE)
    if kind is Kind.THREAD_STUCK:
        return _Finding(kind=kind, name=trouble.symbol, what=trouble.text)
    return _Finding(
        kind=kind, symbol=trouble.symbol, name=trouble.what if kind is Kind.TROUBLE else "", what=trouble.text
    )


def _said(finding: _Finding) -> Mapping[str, Any]:
    return {name: text for name, text in (("name", finding.name), ("what", finding.what)) if text}
