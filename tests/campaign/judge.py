"""Asks both sides until they agree, for as long as RAD may take, and keeps the times that are judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.campaign.books import exchange_books, read_journal
from tests.campaign.invariants import Span, Violation, broken_for_ever, longest_naked_s, not_agreed_yet
from tests.campaign.processes import Exchange, Victim

STARTS_WITHIN_S = 30.0           # until it is running, whatever was under way
SETTLES_WITHIN_S = 30.0          # after a restart, with the exchange answering
LOOK_S = 0.05
BALANCE = Decimal(100_000)
JOURNAL = Path("data", "journal-sandbox.sqlite")


class Broken(Exception):
    """RAD has broken a promise."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = tuple(violations)


class Judge:
    """Judges one exchange and one data folder, from their beginning on."""

    def __init__(self, exchange: Exchange, folder: Path, *, limit_s: float) -> None:
        self._exchange = exchange
        self._journal = folder / JOURNAL
        self._limit_s = limit_s
        self._watched: list[Span] = []

    def watched(self, begin_ns: int, end_ns: int) -> None:
        """Note a time in which RAD was up and had to protect what it held."""
        if end_ns > begin_ns:
            self._watched.append((begin_ns, end_ns))

    def longest_naked_s(self) -> float:
        """Return for how long any position was at most without a stop while watched."""
        books = exchange_books(self._exchange.books(), self._exchange.history())
        return max(longest_naked_s(books, self._watched, time.monotonic_ns()).values(), default=0.0)

    def await_agreement(self, victim: Victim, timeout_s: float = SETTLES_WITHIN_S) -> float:
        """Return after how long nothing is wrong: exchange, journal and RAD's own `verify` agree.

        Raises:
            Broken: something is wrong that cannot be mended, or was not in time.
        """
        begun = time.monotonic()
        while True:
            for_ever, not_yet = self._look()
            if for_ever:
                raise Broken([*for_ever, *not_yet])
            if not not_yet:
                not_yet = _verified(victim)
            taken_s = time.monotonic() - begun
            if not not_yet:
                return taken_s
            if taken_s > timeout_s:
                raise Broken(not_yet)
            if victim.has_ended(LOOK_S):
                raise Broken([Violation(invariant="I7", symbol="", text="the daemon has ended by itself")])

    def _look(self) -> tuple[list[Violation], list[Violation]]:
        # Exchange first: an entry it has accepted by then must be in the journal already.
        account, events = self._exchange.books(), list(self._exchange.history())
        journal = read_journal(self._journal)
        books = exchange_books(account, events)
        for_ever = broken_for_ever(
            books, journal, watched=self._watched, limit_s=self._limit_s, now_ns=time.monotonic_ns()
        )
        return for_ever, not_agreed_yet(books, journal, start_balance=BALANCE)


def await_running(victim: Victim) -> int:
    """Return when it said that it runs, monotonic ns.

    Raises:
        Broken: it did not in time.
    """
    text = "it ended while starting"
    try:
        if victim.await_line(r"running positions=", STARTS_WITHIN_S) is not None:
            return time.monotonic_ns()
    except TimeoutError as error:
        text = f"not running: {error}"
    raise Broken([Violation(invariant="I5", symbol="", text=text)])


def _verified(victim: Victim) -> list[Violation]:
    """Return what `./rad verify` would print: it asks the running daemon exactly this."""
    try:
        said: dict[str, Any] = victim.ask("/api/verify")
    except (OSError, ValueError) as error:
        return [Violation(invariant="verify", symbol="", text=f"no answer: {error}")]
    return [
        Violation(invariant="verify", symbol=difference["symbol"], text=difference["text"])
        for difference in said["differences"]
    ]
