"""Opening the database behind the journal: for the one writer, or for reading beside it."""

from __future__ import annotations

import sqlite3
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from runtime.journal_address import SQLITE, read_url
from trading.errors import JournalError

BUSY_TIMEOUT_MS = 5000
CACHE_KIB = 512                # of pages, each connection; SQLite's own 2,000 fill up over days and win nothing


def writing_engine(url: str) -> sa.Engine:
    """Return an engine for the one writer: on disk before a commit returns, locked as it begins."""
    parts = read_url(url)
    if parts.drivername != SQLITE:
        from runtime import journal_postgres  # its driver takes its time to import

        return journal_postgres.writing_engine(parts)
    engine = sa.create_engine(
        parts, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}, poolclass=NullPool
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None       # transactions are begun by us, below
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON",
            "trusted_schema=OFF", f"cache_size=-{CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(url: str) -> sa.Engine:
    """Return an engine that cannot write; it reads on while a daemon writes."""
    parts = read_url(url)
    if parts.drivername != SQLITE:
        from runtime import journal_postgres

        return journal_postgres.reading_engine(parts)
    path = parts.database or ""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
        )
        try:
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        except sqlite3.Error:              # it is no journal
            connection.close()
            raise
        return connection

    return sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)


def check_integrity(connection: sa.Connection) -> None:
    """Raise JournalError if the file is damaged; of a server, warn if it does not keep what it promises."""
    if connection.dialect.name != "sqlite":
        from runtime import journal_postgres

        journal_postgres.warn_unless_durable(connection)
        return
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise JournalError(f"is damaged ({found}); move it away and RAD rebuilds what the exchange knows")
