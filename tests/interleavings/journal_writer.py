"""The journal's writer between callers that wait, a disk that fails, and the end, in every order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from runtime import journal
from runtime.journal import SqlJournal
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import VirtualClock, edge, watch
from tests.runtime.journal_facts import a_plan, a_position, a_request
from trading.client_ids import Purpose
from trading.errors import JournalError


class Disk:
    """What takes transactions: whole, or not at all on the tries named."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.tries = 0
        self.written: list[str] = []
        edge(self, "disk", lambda: (self.tries, tuple(self.written)), ("commit",))

    def commit(self, notes: list[str]) -> None:
        self.tries += 1
        if self.tries in self.failing:
            raise OSError("the disk is full")
        self.written += notes


class Connection:
    """One connection to it: notes name themselves, and are on the disk once their transaction ends."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.noted: list[str] = []

    @contextmanager
    def begin(self) -> Iterator[None]:
        self.noted = []
        yield
        self._disk.commit(self.noted)

    def close(self) -> None: ...


class Journal(SqlJournal):
    """The journal, but for what it is written on."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        with patch.object(journal, "writing_engine", lambda _url: None):
            super().__init__("sqlite://", VirtualClock())
        fields = (
            "_queue", "_in_hand", "_unbooked", "_failure", "_has_news", "_dropped", "_closing", "_tried_last"
        )
        watch(self, "journal", self._lock, fields)

    def _open(self) -> Any:
        return Connection(self.disk)

    def _measure(self, connection: Any) -> None: ...

    def _hand_over(self, note: Any) -> None:
        note.apply = lambda connection, what=note.what: connection.noted.append(what)
        if note.undo is not None:
            note.undo = lambda connection, what=f"{note.what} not sent": connection.noted.append(what)
        super()._hand_over(note)


def saving(book: Journal, position_id: str) -> Callable[[], bool]:
    """Save a position and wait for the disk; return whether that was said to have happened."""
    def save() -> bool:
        try:
            book.save_position(a_position(position_id), wait=True)
        except JournalError:
            return False
        return True

    return save


def entering(book: Journal) -> Callable[[], bool]:
    """Write an entry's intent; return whether it may be sent."""
    def enter() -> bool:
        try:
            book.record_intent("p1", a_request(), Purpose.ENTRY.value, plan=a_plan(), wait=True)
        except JournalError:
            return False
        return True

    return enter


def two_that_save() -> Scene:
    """Two callers wait for the disk: each goes on when its own note is there, woken and not by the clock."""
    book = Journal(Disk())

    def check(results: Mapping[str, object]) -> None:
        assert results == {"one": True, "other": True}
        assert sorted(book.disk.written) == ["BTC/USDT:USDT position p1", "BTC/USDT:USDT position p2"]
        assert book._clock.now_ms() == VirtualClock.START_MS

    return Scene(check=check, ending=book.close, threads={"one": saving(book, "p1"), "other": saving(book, "p2")})


def saver_and_the_end() -> Scene:
    """The end comes at any point: a note is on disk, or its caller was told that it is not."""
    book = Journal(Disk())

    def check(results: Mapping[str, object]) -> None:
        assert results["ending"] is True
        assert results["saver"] is bool(book.disk.written)

    return Scene(check=check, threads={"saver": saving(book, "p1"), "ending": book.close})


def saver_on_a_failing_disk() -> Scene:
    """The disk fails once: the callers are told, and what has happened is written all the same, once."""
    book = Journal(Disk(1))

    def check(results: Mapping[str, object]) -> None:
        assert sorted(set(book.disk.written)) == ["BTC/USDT:USDT position p1", "BTC/USDT:USDT position p2"]
        assert not all(results.values())
        assert book.backlog == 0

    return Scene(check=check, ending=book.close, threads={"one": saving(book, "p1"), "other": saving(book, "p2")})


def entry_on_a_failing_disk() -> Scene:
    """An entry may be sent if and only if its intent is on disk and not taken back, whoever writes beside it."""
    book = Journal(Disk(1))
    entry = "BTC/USDT:USDT order rad-p1-e0"

    def check(results: Mapping[str, object]) -> None:
        written = book.disk.written
        stands = entry in written and f"{entry} not sent" not in written
        assert results["entry"] is stands, (results, written)

    return Scene(check=check, ending=book.close, threads={"entry": entering(book), "saver": saving(book, "p2")})
