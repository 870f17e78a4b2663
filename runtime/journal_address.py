"""The journal's address, taken apart: a file of SQLite's, or a database of a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from trading.errors import JournalError

SQLITE, POSTGRES = "sqlite", "postgresql+psycopg"

# As people write them; what else could follow a + is another driver than the one RAD brings.
_DRIVERS = {
    "sqlite": SQLITE, "sqlite+pysqlite": SQLITE,
    "postgresql": POSTGRES, "postgres": POSTGRES, "postgresql+psycopg": POSTGRES,
}
_EXAMPLES = "write sqlite:////folder/file or postgresql://user:password@host/database"


def read_url(url: str) -> URL:
    """Return *url* taken apart, its driver the one RAD uses.

    Raises:
        JournalError: it is none. The text does not repeat it: there may be a password in it.
    """
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise JournalError(f"journal.url is not a database address; {_EXAMPLES}") from None
    driver = _DRIVERS.get(parts.drivername)
    if driver is None:
        raise JournalError(f"journal.url names {parts.drivername}, which RAD does not speak; {_EXAMPLES}")
    if "@" in (parts.host or ""):
        raise JournalError("journal.url has more than one @; in a password write %40 for it")
    return parts.set(drivername=driver)


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite journal, None for a server."""
    parts = read_url(url)
    return Path(parts.database) if parts.drivername == SQLITE and parts.database else None


def name_of(url: str) -> str:
    """Return the address without what is secret, or may be (the query)."""
    parts = read_url(url)
    return parts.set(drivername=parts.get_backend_name(), query={}).render_as_string(hide_password=True)
