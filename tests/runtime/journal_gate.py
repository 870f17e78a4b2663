"""A gate before every commit of a journal, for tests of slow and failing disks."""

from __future__ import annotations

import sqlite3
import threading

import pytest
import sqlalchemy as sa

from runtime import journal as journal_module
from runtime.journal import SqlJournal
from trading.errors import JournalError

PATIENCE_S = 10.0


class Gate:
    """Stands before every commit of a journal: closed it lets none pass, broken it fails them."""

    def __init__(self, journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.batches: list[int] = []
        write = journal._write

        def guarded(connection: sa.Connection | None, batch: tuple[object, ...]) -> sa.Connection | None:
            self.arrived.set()
            assert self.open.wait(PATIENCE_S)
            self.batches.append(len(batch))
            return write(connection, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(journal, "_write", guarded)
        create = journal_module.prepare_schema

        def failing(connection: sa.Connection, label: str) -> None:
            if self.error is not None:
                raise self.error
            create(connection, label)

        monkeypatch.setattr(journal_module, "prepare_schema", failing)
        self._journal = journal

    def break_disk(self, text: str = "database or disk is full") -> None:
        """From now on every commit fails: the one in hand, and every new connection."""
        self.error = sqlite3.OperationalError(text)
        note = journal_module._Note("a failing note", self._raise, must_keep=False)
        with pytest.raises(JournalError):
            self._journal._note(note, wait=True)

    def _raise(self, _connection: sa.Connection) -> None:
        if self.error is not None:
            raise self.error

    def mend_disk(self) -> None:
        """Commits work again."""
        self.error = None
