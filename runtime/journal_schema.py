"""The journal's tables, their columns taken from the facts they hold; money is text, to the last digit.

A field added to a fact becomes a column, for which `runtime.journal_migrations` needs a step; in older
rows it is NULL and read as the field's default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import sqlalchemy as sa

from trading.client_ids import Purpose
from trading.facts import ClosedTrade, EntryPlan, Fill, OrderRequest, Position, Side
from trading.lifecycle import TRANSITIONS, IntentState, PositionState

Fact = TypeVar("Fact")

_SQL_TYPES: dict[Any, type[sa.types.TypeEngine[Any]]] = {int: sa.BigInteger, bool: sa.Boolean, float: sa.Float}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An order as it was written down, and what became of it."""

    client_oid: str
    position_id: str
    symbol: str
    purpose: str               # trading.client_ids.Purpose
    state: IntentState
    order_id: str              # empty until the exchange gave one
    request: OrderRequest
    plan: EntryPlan | None     # entries only
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """What the account was worth at one moment."""

    at_ms: int
    equity: Decimal
    available: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityStretch:
    """What the account was worth over some time; *lowest* and *highest* to some ten digits."""

    at_ms: int                 # of the last
    last: Decimal
    lowest: Decimal
    highest: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a person may want to read later."""

    at_ms: int
    kind: str
    symbol: str
    message: str


_hints_of: dict[Any, dict[str, Any]] = {}   # resolving them takes longer than reading a row


def _hints(fact: Any) -> dict[str, Any]:
    if fact not in _hints_of:
        _hints_of[fact] = get_type_hints(fact)
    return _hints_of[fact]


def _written(fact: Any) -> Iterable[Field[Any]]:
    return (each for each in fields(fact) if each.metadata.get("written", True))


def to_row(fact: Any) -> dict[str, Any]:
    """Return a fact as column values: numbers and text as they are, whatever is nested as JSON."""
    row = {}
    for each in _written(fact):
        value = encode(getattr(fact, each.name))
        row[each.name] = json.dumps(value) if isinstance(value, dict | list) else value
    return row


def from_row(fact: type[Fact], row: Mapping[str, Any]) -> Fact:
    """Return the fact that *row* holds; columns it does not know are passed over."""
    values = {}
    for each in _written(fact):
        value = row.get(each.name)
        kind = _without_none(_hints(fact)[each.name])
        if value is None and (each.default is not MISSING):
            continue
        values[each.name] = _decode(kind, json.loads(value) if _is_nested(kind) and value else value)
    return fact(**values)


def encode(value: Any) -> Any:
    """Return *value* as JSON can hold it, exactly."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: encode(getattr(value, each.name)) for each in fields(value)}
    return [encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(kind) is tuple:
        return tuple(_decode(get_args(kind)[0], item) for item in value)
    if is_dataclass(kind):
        hints = _hints(kind)
        known = {each.name for each in fields(kind)}
        return kind(**{  # type: ignore[operator]
            name: _decode(_without_none(hints[name]), item) for name, item in value.items() if name in known
        })
    if isinstance(kind, type) and issubclass(kind, Decimal | Enum | bool):
        return kind(value)
    return value


def _without_none(hint: Any) -> Any:
    if isinstance(hint, UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _is_nested(kind: Any) -> bool:
    return is_dataclass(kind) or get_origin(kind) is tuple


def _columns(fact: type[Any], *keys: str) -> Iterable[sa.Column[Any]]:
    for each in _written(fact):
        hint = _hints(fact)[each.name]
        may_be_null = isinstance(hint, UnionType) or each.default is not MISSING
        yield sa.Column(
            each.name, _SQL_TYPES.get(hint, sa.Text), primary_key=each.name in keys,
            nullable=may_be_null and each.name not in keys,
        )


def _one_of(column: str, values: Iterable[Enum]) -> sa.CheckConstraint:
    names = ", ".join(f"'{value.value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({names})", name=f"{column}_is_known")


def states_before(after: IntentState) -> tuple[str, ...]:
    """Return the states an intent may become *after* from, directly or by way of others."""
    found: set[IntentState] = set()
    edge = {after}
    while edge:
        edge = {
            state for state in IntentState
            if state not in found and edge & TRANSITIONS[state]
        }
        found |= edge
    return tuple(sorted(state.value for state in found))


UNSETTLED = tuple(state.value for state in (IntentState.INTENDED, IntentState.UNKNOWN, IntentState.ACCEPTED))

metadata = sa.MetaData()

meta = sa.Table(
    "meta", metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

intent = sa.Table(
    "intent", metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("client_oid", sa.Text, nullable=False, unique=True),
    sa.Column("position_id", sa.Text, nullable=False, index=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("order_id", sa.Text, nullable=False, server_default="", index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("plan", sa.Text),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    _one_of("state", IntentState),
    _one_of("purpose", Purpose),
)

# Entries are written down before they are sent, so the database itself refuses a second one.
# Exits and stops are written after the wire: refusing those would only lose what has happened.
ENTRY_INDEX = "one_entry_under_way"
_under_way = (intent.c.purpose == Purpose.ENTRY.value) & intent.c.state.in_(UNSETTLED)
sa.Index(ENTRY_INDEX, intent.c.symbol, unique=True, sqlite_where=_under_way, postgresql_where=_under_way)

fill = sa.Table(
    "fill", metadata,
    *_columns(Fill, "symbol", "trade_id"),
    sa.Column("client_oid", sa.Text, nullable=False, index=True),
    sa.Column("booked_ms", sa.BigInteger, nullable=False),
)
sa.Index("fill_ts_ms", fill.c.ts_ms)

position = sa.Table(
    "position", metadata,
    *_columns(Position, "position_id"),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    _one_of("state", PositionState),
    _one_of("side", Side),
)
sa.Index("position_state", position.c.state)

trade = sa.Table("trade", metadata, *_columns(ClosedTrade, "position_id"), _one_of("side", Side))
sa.Index("trade_closed_ms", trade.c.closed_ms)
without_funding = trade.c.funding_known.is_(False)
sa.Index(
    "trade_without_funding", trade.c.closed_ms, sqlite_where=without_funding, postgresql_where=without_funding
)

equity = sa.Table(
    "equity", metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    *_columns(EquityPoint),
)
sa.Index("equity_at_ms", equity.c.at_ms)

# Who may trade an account whose journal is on a server: see runtime.lease.
lease = sa.Table(
    "lease", metadata,
    sa.Column("name", sa.Text, primary_key=True),            # of the account
    sa.Column("owner", sa.Text, nullable=False),             # one process; empty: given back
    sa.Column("host", sa.Text, nullable=False),              # where it runs, for people
    sa.Column("epoch", sa.BigInteger, nullable=False),       # counts the takings
    sa.Column("expires_ms", sa.BigInteger, nullable=False),  # the database's clock, as below
    sa.Column("renewed_ms", sa.BigInteger, nullable=False),
)

day = sa.Table(
    "day", metadata,
    sa.Column("day", sa.Text, primary_key=True),             # 2026-11-24, UTC
    sa.Column("start_equity", sa.Text, nullable=False),
)

event = sa.Table(
    "event", metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    *_columns(Event),
)
