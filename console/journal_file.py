"""Reading the journal quickly, when its daemon does not run.

`runtime.journal_reader` is the full reader, but SQLAlchemy alone would take longer to import than a
question may take to answer. A journal on a database server is worth that wait.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import MISSING, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

from runtime.journal_version import check_readable
from trading.errors import JournalError
from trading.facts import ClosedTrade, ExitReason, Position, ProtectiveStop, Side
from trading.lifecycle import PositionState

if TYPE_CHECKING:
    from runtime.journal_reader import JournalReader

Fact = TypeVar("Fact")
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order that was written down and had not come to an end."""

    symbol: str
    side: str
    purpose: str
    state: str
    quantity: Decimal | None
    stop_price: Decimal | None
    close_order: bool
    client_oid: str
    order_id: str
    created_ms: int


class LeftBehind(Protocol):
    """What questions need of a journal. Every method may raise JournalError."""

    def mode(self) -> str | None:
        """Return the mode of the daemon that wrote it, None if none did."""

    def open_positions(self) -> tuple[Position, ...]: ...

    def trades(self, limit: int) -> tuple[ClosedTrade, ...]: ...

    def open_orders(self) -> tuple[OpenOrder, ...]: ...

    def last_equity(self) -> tuple[int, Decimal] | None:
        """Return when the account was last looked at, in ms, and what it was worth."""


class JournalFile:
    """An SQLite journal, read without SQLAlchemy; a file that is not there yet is empty."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def mode(self) -> str | None:
        return next(iter(self._rows("SELECT value FROM meta WHERE name = 'label'", _mode)), None)

    def open_positions(self) -> tuple[Position, ...]:
        query = "SELECT * FROM position WHERE state <> 'closed' ORDER BY opened_ms, position_id"
        return tuple(self._rows(query, lambda row: _fact(Position, row)))

    def trades(self, limit: int) -> tuple[ClosedTrade, ...]:
        query = "SELECT * FROM trade ORDER BY closed_ms DESC, position_id DESC LIMIT ?"
        return tuple(self._rows(query, lambda row: _fact(ClosedTrade, row), limit))

    def open_orders(self) -> tuple[OpenOrder, ...]:
        query = "SELECT * FROM intent WHERE state IN ('intended', 'unknown', 'accepted') ORDER BY seq"
        return tuple(self._rows(query, _open_order))

    def last_equity(self) -> tuple[int, Decimal] | None:
        query = "SELECT at_ms, equity FROM equity ORDER BY seq DESC LIMIT 1"
        return next(iter(self._rows(query, lambda row: (row["at_ms"], Decimal(row["equity"])))), None)

    def _rows(self, query: str, read: Any, *values: object) -> list[Any]:
        if self._file is None or not self._file.exists():
            return []
        with _in_words(self._file), closing(_connect(self._file)) as connection:
            check_readable(dict(connection.execute("SELECT name, value FROM meta").fetchall()))
            return [read(row) for row in connection.execute(query, values)]


class JournalServer:
    """A journal on a database server, read by the full reader, on a connection for each question."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def _reader(self) -> Iterator[JournalReader]:
        from runtime.journal_reader import JournalReader

        with closing(JournalReader.open(self._url)) as reader:
            yield reader

    def mode(self) -> str | None:
        with self._reader() as reader:
            return reader.meta()["label"].split()[0]

    def open_positions(self) -> tuple[Position, ...]:
        with self._reader() as reader:
            return reader.open_positions()

    def trades(self, limit: int) -> tuple[ClosedTrade, ...]:
        with self._reader() as reader:
            return reader.trades(limit)

    def open_orders(self) -> tuple[OpenOrder, ...]:
        with self._reader() as reader:
            intents = reader.unsettled_intents()
        return tuple(
            OpenOrder(
                symbol=intent.symbol, side=intent.request.side.value, purpose=intent.purpose,
                state=intent.state.value, quantity=intent.request.quantity,
                stop_price=intent.request.stop_price, close_order=intent.request.close_order,
                client_oid=intent.client_oid, order_id=intent.order_id, created_ms=intent.created_ms,
            )
            for intent in intents
        )

    def last_equity(self) -> tuple[int, Decimal] | None:
        with self._reader() as reader:
            last = reader.last_equity()
        return (last.at_ms, last.equity) if last else None


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=2.0)
    connection.row_factory = sqlite3.Row
    return connection


def _mode(row: sqlite3.Row) -> str:
    return str(row["value"]).split()[0]


@contextmanager
def _in_words(file: Path) -> Iterator[None]:
    try:
        yield
    except JournalError as error:
        raise JournalError(f"the journal {file} {error}") from error
    except (sqlite3.Error, ValueError, ArithmeticError, LookupError, TypeError) as error:
        text = " ".join(str(error).split())
        raise JournalError(f"the journal {file} cannot be read: {text}") from error


def _fact(kind: type[Fact], row: sqlite3.Row) -> Fact:
    """Return the fact a row holds, as `runtime.journal_schema.from_row` does."""
    known = row.keys()
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every fact is a dataclass
        value = row[field.name] if field.name in known else None
        if value is None:
            if field.default is MISSING:
                values[field.name] = None
            continue
        decode = _DECODERS.get(str(field.type).removesuffix(" | None"))
        values[field.name] = decode(value) if decode else value
    return kind(**values)


def _stop(text: str) -> ProtectiveStop:
    said = json.loads(text)
    return ProtectiveStop(
        client_oid=said["client_oid"], order_id=said["order_id"], stop_price=Decimal(said["stop_price"]),
        confirmed_ms=said["confirmed_ms"],
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


_DECODERS: Mapping[str, Any] = {
    "Decimal": Decimal, "Side": Side, "PositionState": PositionState, "ExitReason": ExitReason,
    "ProtectiveStop": _stop, "tuple[str, ...]": _names,
}


def _open_order(row: sqlite3.Row) -> OpenOrder:
    request = json.loads(row["request"])

    def said(name: str) -> Decimal | None:
        return None if request.get(name) is None else Decimal(request[name])

    return OpenOrder(
        symbol=row["symbol"], side=request["side"], purpose=row["purpose"], state=row["state"],
        quantity=said("quantity"), stop_price=said("stop_price"),
        close_order=bool(request.get("close_order")), client_oid=row["client_oid"],
        order_id=row["order_id"], created_ms=row["created_ms"],
    )
