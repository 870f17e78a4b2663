"""What the daemon knows of itself: its state, its troubles, and the account it trades."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from math import inf

from execution.reconcile import Reconciliation
from performance_monitor import PerformanceMonitor
from runtime.journal import SqlJournal
from runtime.locks import guard, named_lock
from runtime.supervisor import Ailing
from trading.facts import Balance
from trading.ports import Clock
from trading.reconciliation import Difference, Kind
from trading.risk import AccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong: what with, and in words for whoever asks."""

    what: str                  # a key of the daemon's, "thread", "difference", "journal" and the like
    text: str
    symbol: str = ""           # or the name of a thread

    @property
    def sentence(self) -> str:
        """Return it as `./rad status` says it."""
        if self.what == "lease":
            return self.text           # it says itself whether it is a lease or a standby
        if self.what == "thread":
            return f"thread {self.symbol} {self.text}"
        return f"{self.symbol or self.what}: {self.text}"


class Status:
    """The daemon's state and what is wrong with it; written by the main thread, read by any."""

    def __init__(self) -> None:
        self._lock = named_lock("status")
        # Guarded by _lock.
        self._phase = "starting"
        self._paused = False
        self._problems: dict[str, str] = {}
        self._unexplained: tuple[Difference, ...] = ()
        self._foreign: tuple[Difference, ...] = ()
        self._reconciled_ms = 0
        guard(self, self._lock, "_phase", "_paused", "_problems", "_unexplained", "_foreign", "_reconciled_ms")
        # Replaced whole and not guarded: a stuck thread may hold the lock, and that must be said too.
        self._stuck: tuple[Ailing, ...] = ()

    @property
    def state(self) -> str:
        """Return starting, running, paused, degraded or stopping, as `./rad status` says it."""
        with self._lock:
            if self._phase != "running":
                return self._phase
            if self._problems or self._stuck or self._unexplained:
                return "degraded"
            return "paused" if self._paused else "running"

    @property
    def phase(self) -> str:
        """Return starting, running or stopping, whatever else is wrong."""
        with self._lock:
            return self._phase

    @property
    def paused(self) -> bool:
        """Whether entries from scanning are switched off."""
        with self._lock:
            return self._paused

    @property
    def stuck(self) -> tuple[str, ...]:
        """Return the names of threads that do not get on."""
        return tuple(ailing.name for ailing in self._stuck)

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Return differences between book and exchange that nothing explains."""
        with self._lock:
            return self._unexplained

    @property
    def foreign(self) -> tuple[Difference, ...]:
        """Return the positions that are not RAD's, as the last comparison found them."""
        with self._lock:
            return self._foreign

    @property
    def reconciled_ms(self) -> int:
        """Return when book and exchange were last compared; 0 for never."""
        with self._lock:
            return self._reconciled_ms

    def started(self) -> None:
        """Everything runs."""
        with self._lock:
            self._phase = "running"
            self._problems.pop("exchange", None)

    def stopping(self) -> None:
        """The end has begun."""
        with self._lock:
            self._phase = "stopping"

    def pause(self, paused: bool) -> None:
        """Switch entries from scanning off or on."""
        with self._lock:
            self._paused = paused

    def problem(self, what: str, text: str) -> bool:
        """Note trouble with *what*; True if that is news."""
        with self._lock:
            is_news = self._problems.get(what) != text
            self._problems[what] = text
            return is_news

    def clear(self, what: str) -> bool:
        """*what* works again; True if that is news."""
        with self._lock:
            return self._problems.pop(what, None) is not None

    def set_stuck(self, ailing: tuple[Ailing, ...]) -> None:
        """Note which threads do not get on; called by the supervisor, and waits for nothing."""
        self._stuck = ailing

    def reconciled(self, result: Reconciliation, now_ms: int) -> None:
        """Note what the last comparison of book and exchange found."""
        foreign = tuple(difference for difference in result.found if difference.kind is Kind.FOREIGN)
        with self._lock:
            self._unexplained = result.unexplained
            self._foreign = foreign
            self._reconciled_ms = now_ms

    def troubles(self) -> list[Trouble]:
        """Return everything that is wrong."""
        with self._lock:
            problems, unexplained = dict(self._problems), self._unexplained
        found = [Trouble(what=what, text=text) for what, text in problems.items()]
        found += [Trouble(what="thread", text=ailing.why, symbol=ailing.name) for ailing in self._stuck]
        found += [Trouble(what="difference", text=_differs(d), symbol=d.symbol) for d in unexplained]
        return found


def _differs(difference: Difference) -> str:
    return f"book says {difference.book}, exchange says {difference.exchange} ({difference.kind.value})"


class Account:
    """Equity and its history, for the risk limits; survives restarts through the journal."""

    def __init__(self, journal: SqlJournal, monitor: PerformanceMonitor, clock: Clock) -> None:
        self._journal = journal
        self._monitor = monitor
        self._clock = clock
        self._lock = named_lock("account")
        # Guarded by _lock.
        self._state: AccountState | None = None
        self._read_at = 0.0
        self._day = ""
        self._forgiven = 0                     # how often losses were
        guard(self, self._lock, "_state", "_read_at", "_day", "_forgiven")

    def update(self, balance: Balance) -> None:
        """Take in what the exchange says the account is worth now."""
        now_ms = self._clock.now_ms()
        day = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d")
        with self._lock:
            before, forgiven = self._state if self._day == day else None, self._forgiven
        if before is None:
            day_start = self._journal.day_start_equity(day) or balance.equity
        else:
            day_start = before.day_start_equity
        peak = max(balance.equity, self._journal.peak_equity() or balance.equity)
        losses = self._monitor.losses_in_a_row()
        with self._lock:
            self._day = day
            self._read_at = self._clock.monotonic()
            self._state = replace(
                self._state or AccountState(equity=balance.equity, available=balance.available),
                equity=balance.equity,
                available=balance.available,
                peak_equity=peak,
                day_start_equity=day_start,
                losses_in_a_row=losses if forgiven == self._forgiven else 0,     # forgiven since they were counted
            )
        self._monitor.record_equity(balance.equity, now_ms)
        self._journal.record_account(day, balance.equity, day_start, peak, balance.available)

    def forgive_losses(self) -> None:
        """End a halt for losses in a row: somebody has looked and goes on."""
        self._monitor.forgive_losses()
        with self._lock:
            self._forgiven += 1
            if self._state is not None:
                self._state = replace(self._state, losses_in_a_row=0)

    def age_s(self) -> float:
        """Return how long ago the account was last read, in seconds; infinite before the first time."""
        with self._lock:
            return inf if self._state is None else self._clock.monotonic() - self._read_at

    def equity(self) -> Decimal | None:
        """Return the equity as last seen; None before the first look."""
        with self._lock:
            return None if self._state is None else self._state.equity

    def state(self) -> AccountState:
        """Return the account as last seen, as `trading.risk` takes it."""
        with self._lock:
            if self._state is None:
                raise RuntimeError("the account has not been read yet")
            return self._state
