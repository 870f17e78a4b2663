"""Opening the database behind the journal, and its errors in words a person can act on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from runtime import journal_schema as schema
from trading.errors import JournalError

BUSY_TIMEOUT_MS = 5000

_MEANINGS = (
    ("locked", "is locked by another process; is a second RAD running?"),
    ("readonly", "is read-only; give its owner the right to write"),
    ("read-only", "is read-only; give its owner the right to write"),
    ("full", "cannot grow: the disk is full"),
    ("unable to open", "cannot be opened; do folder and file exist, and may this user write there?"),
    ("not a database", "is damaged or not a journal; move it away and RAD rebuilds what the exchange knows"),
    ("malformed", "is damaged; move it away and RAD rebuilds what the exchange knows"),
    ("disk i/o", "cannot be read or written: the disk fails"),
    ("no such table", "is not a journal of RAD's"),
    (f"index '{schema.ENTRY_INDEX}'", "already holds an entry under way for this symbol"),
    ("intent.symbol", "already holds an entry under way for this symbol"),
    ("intent.client_oid", "already holds an order with this client id"),
)


def read_url(url: str) -> URL:
    """Return *url* taken apart. Raises JournalError if it is none."""
    try:
        return make_url(url)
    except ArgumentError:
        raise JournalError(
            f"journal.url {url!r} is not a database address; write sqlite:////folder/file"
        ) from None


def writing_engine(url: str) -> sa.Engine:
    """Return an engine for the one writer: WAL, on disk before a commit returns, locked as it begins."""
    if read_url(url).get_backend_name() != "sqlite":
        return sa.create_engine(url)
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}, poolclass=NullPool
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None       # transactions are begun by us, below
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(url: str) -> sa.Engine:
    """Return an engine that cannot write; it reads on while a daemon writes."""
    parts = read_url(url)
    if parts.get_backend_name() != "sqlite":
        return sa.create_engine(url, execution_options={"postgresql_readonly": True})
    path = parts.database or ""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
        )

    return sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite journal, None for a server."""
    parts = read_url(url)
    return Path(parts.database) if parts.get_backend_name() == "sqlite" and parts.database else None


def create_schema(connection: sa.Connection, label: str) -> None:
    """Make missing tables and columns, inside the caller's transaction.

    Raises:
        JournalError: it is of a newer RAD, or belongs to another mode.
    """
    schema.metadata.create_all(connection)
    known = sa.inspect(connection)
    for table in schema.metadata.sorted_tables:
        present = {column["name"] for column in known.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {kind}')
    found: dict[str, str] = {row.name: row.value for row in connection.execute(sa.select(schema.meta))}
    check_version(found)
    if found.get("label", label) != label:
        raise JournalError(f"belongs to {found['label']}, not to {label}; each needs a journal of its own")
    for name, value in (("schema", str(schema.SCHEMA_VERSION)), ("label", label)):
        if name not in found:
            connection.execute(sa.insert(schema.meta).values(name=name, value=value))


def check_integrity(connection: sa.Connection) -> None:
    """Raise JournalError if the file is damaged."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise JournalError(f"is damaged ({found}); move it away and RAD rebuilds what the exchange knows")


def check_version(found: dict[str, str]) -> None:
    """Raise JournalError unless this RAD can read a journal whose meta table says *found*."""
    version = found.get("schema", str(schema.SCHEMA_VERSION))
    if version != str(schema.SCHEMA_VERSION):
        raise JournalError(
            f"has schema {version}, but this RAD knows {schema.SCHEMA_VERSION}; use the RAD that wrote it"
        )


def worded(error: BaseException, url: str) -> JournalError:
    """Return *error* as one line: which journal, what is wrong, what would help."""
    name = str(file_of(url) or read_url(url).render_as_string(hide_password=True))
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = " ".join(str(cause).split())
    if isinstance(error, JournalError):
        return JournalError(text if text.startswith("journal ") else f"journal {name} {text}")
    for sign, meaning in _MEANINGS:
        if sign in text.lower():
            return JournalError(f"journal {name} {meaning} ({text})")
    kind = "refused a row" if isinstance(error, IntegrityError) else "failed"
    return JournalError(f"journal {name} {kind}: {text or type(error).__name__}")


def is_about_the_database(error: BaseException) -> bool:
    """Whether *error* concerns every write and not one note's content."""
    if isinstance(error, IntegrityError | DataError | ProgrammingError | InterfaceError):
        return False
    return isinstance(error, OSError | DBAPIError | sqlite3.OperationalError | JournalError)


FAULTS = (SQLAlchemyError, sqlite3.Error, OSError, JournalError)
