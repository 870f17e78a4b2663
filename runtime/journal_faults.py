"""The errors of a database, in one line a person can act on, and never with a password in it."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError, SQLAlchemyError

from runtime import journal_schema as schema
from runtime.journal_address import file_of, name_of
from trading.errors import JournalError

# What may go wrong with a database, as code above the driver sees it.
FAULTS = (SQLAlchemyError, sqlite3.Error, OSError, JournalError)

_LOCKED = "is locked by another process; is a second RAD running?"
_READ_ONLY = "is read-only; give its owner the right to write"
_FULL = "cannot grow: the disk is full"
_DAMAGED = "is damaged; move it away and RAD rebuilds what the exchange knows"
_SECOND_ENTRY = "already holds an entry under way for this symbol"
_SECOND_ORDER = "already holds an order with this client id"
_UNREACHED = "is not reached; does the server run, and is its address right?"
_SILENT = "does not answer in time; is the server, or the way to it, stuck?"
_WENT_AWAY = "lost its server, which ends, starts or closed the connection"
_NOT_THERE = "is not there; make the database (createdb) and its user"
_NOT_LET_IN = "does not let this user in; look at user and password"

# By PostgreSQL's SQLSTATE, longest first: its texts come in the server's language.
_STATES = (
    ("55P03", _LOCKED),
    ("25006", "is read-only: the server is a standby, or this user may not write"),
    ("42501", "does not let this user write; give it the right to create and change tables"),
    ("42P01", "holds no journal of RAD's yet; it is made when RAD first runs"),
    ("53100", _FULL),
    ("53300", "has no connection left; raise max_connections of the server"),
    ("57014", _SILENT),
    ("58030", "cannot be read or written: the disk fails"),
    ("3D000", _NOT_THERE),
    ("57P", _WENT_AWAY),
    ("28", _NOT_LET_IN),
    ("08", _WENT_AWAY),
    ("XX", _DAMAGED),
)

# By what is in the text: SQLite has nothing better, and a server that is not reached gave no SQLSTATE.
_TEXTS = (
    ("locked", _LOCKED),
    ("readonly", _READ_ONLY),
    ("read-only", _READ_ONLY),
    ("full", _FULL),
    ("unable to open", "cannot be opened; do folder and file exist, and may this user write there?"),
    ("not a database", "is damaged or not a journal; move it away and RAD rebuilds what the exchange knows"),
    ("malformed", _DAMAGED),
    ("disk i/o", "cannot be read or written: the disk fails"),
    ("no such table", "is not a journal of RAD's"),
    (f"index '{schema.ENTRY_INDEX}'", _SECOND_ENTRY),
    ("intent.symbol", _SECOND_ENTRY),
    ("intent.client_oid", _SECOND_ORDER),
    ("authentication failed", _NOT_LET_IN),
    ("does not exist", _NOT_THERE),
    ("timeout expired", _SILENT),
    ("closed the connection", _WENT_AWAY),
    ("connection failed", _UNREACHED),
    ("connection is closed", _WENT_AWAY),
)
_CONSTRAINTS = {schema.ENTRY_INDEX: _SECOND_ENTRY, "intent_client_oid_key": _SECOND_ORDER}

# SQLSTATE classes that condemn what was to be written: its values, a constraint, its size.
_ABOUT_THE_ROW = ("22", "23", "54")


def worded(error: BaseException, url: str) -> JournalError:
    """Return *error* as one line: which journal, what is wrong, what would help."""
    name = str(file_of(url) or name_of(url))
    cause = error.orig if isinstance(error, DBAPIError) else error
    diagnosis = getattr(cause, "diag", None)
    text = " ".join(str(getattr(diagnosis, "message_primary", None) or cause).split())
    if isinstance(error, JournalError):
        return type(error)(text if text.startswith("journal ") else f"journal {name} {text}")
    meaning = _CONSTRAINTS.get(getattr(diagnosis, "constraint_name", None) or "") or _meaning(cause, text)
    if meaning:
        return JournalError(f"journal {name} {meaning} ({text})")
    kind = "refused a row" if isinstance(error, IntegrityError) else "failed"
    return JournalError(f"journal {name} {kind}: {text or type(error).__name__}")


def _meaning(cause: BaseException | None, text: str) -> str:
    state = _state(cause)
    if state:
        return next((meaning for begin, meaning in _STATES if state.startswith(begin)), "")
    return next((meaning for sign, meaning in _TEXTS if sign in text.lower()), "")


def _state(cause: BaseException | None) -> str:
    return getattr(cause, "sqlstate", None) or ""


def is_about_the_database(error: BaseException) -> bool:
    """Whether *error* concerns every write and not one note's content."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        if state := _state(error.orig):
            return not state.startswith(_ABOUT_THE_ROW)
    if isinstance(error, IntegrityError | DataError | ProgrammingError | InterfaceError):
        return False
    return isinstance(error, OSError | DBAPIError | sa.exc.TimeoutError | sqlite3.OperationalError | JournalError)
