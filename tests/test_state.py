"""What the daemon knows of itself, by two threads at once; each with a mutant that locks nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

import daemon.state
from daemon.state import Account, Status
from tests.crowd import PATIENCE_S, all_at_once
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from trading.facts import Balance

D = Decimal
ALONE_S = 0.5                    # under the lock nobody comes


class MeetingProblems(dict[str, str]):
    """Two that look whether their trouble is news meet before either has noted it."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier = threading.Barrier(2)

    def get(self, *what: Any) -> Any:
        found = super().get(*what)
        try:
            self._barrier.wait(ALONE_S)
        except threading.BrokenBarrierError:
            pass
        return found


def told_as_news(status: Any) -> int:
    """Let two threads report the same trouble; return to how many it was news."""
    with status._lock:
        status._problems = MeetingProblems()
    return sum(map(bool, all_at_once(*[lambda: status.problem("exchange", "does not answer")] * 2)))


def test_two_that_report_one_trouble_tell_it_once() -> None:
    """It is news to the first alone: one line in the log."""
    assert told_as_news(Status()) == 1


def test_two_that_report_without_the_lock_both_tell_it() -> None:
    """The mutant: with the lock taken away the test above would count two."""
    mutant: Any = Status()
    mutant._lock = NoLock()
    assert told_as_news(mutant) == 2


def a_balance(equity: int) -> Balance:
    return Balance(currency="USDT", equity=D(equity), available=D(equity), unrealised_pnl=D(0))


def equity_after_both(account: Any, monkeypatch: pytest.MonkeyPatch) -> Decimal | None:
    """Have losses forgiven while a newer balance comes in between; return the equity known then."""
    account.update(a_balance(1000))
    forgiving, updated = threading.Event(), threading.Event()

    def slowly(state: Any, **changes: Any) -> Any:
        changed = replace(state, **changes)
        if "equity" not in changes:
            forgiving.set()
            updated.wait(ALONE_S)
        return changed

    def update() -> None:
        assert forgiving.wait(PATIENCE_S)
        account.update(a_balance(990))
        updated.set()

    monkeypatch.setattr(daemon.state, "replace", slowly)
    all_at_once(account.forgive_losses, update)
    return account.equity()          # type: ignore[no-any-return]


def an_account() -> Any:
    """Return an account on a journal and a monitor that know nothing."""
    journal: Any = SimpleNamespace(
        day_start_equity=lambda _day: None, peak_equity=lambda: None, record_account=lambda *_: None
    )
    monitor: Any = SimpleNamespace(
        losses_in_a_row=lambda: 0, forgive_losses=lambda: None, record_equity=lambda *_: None
    )
    return Account(journal, monitor, ManualClock())


def test_losses_forgiven_take_no_newer_balance_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is read and replaced in one step: the balance that came last stays."""
    assert equity_after_both(an_account(), monkeypatch) == D(990)


def test_losses_forgiven_without_the_lock_take_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: with the lock taken away the test above would find the older balance."""
    mutant = an_account()
    mutant._lock = NoLock()
    assert equity_after_both(mutant, monkeypatch) == D(1000)
