"""What each kind of note does to the journal's tables; each may be applied twice and counts once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from runtime import journal_schema as schema
from runtime.journal_schema import EquityPoint, Event, states_before, to_row
from trading.facts import ClosedTrade, EntryPlan, Fill, Order, OrderRequest, Position
from trading.lifecycle import IntentState, PositionState

Apply = Callable[[sa.Connection], None]

# Of the equity curve every point is kept for as long, then of each minute the last: a year is 40 MB, not 400.
EVERY_POINT_MS = 3_600_000
MINUTE_MS = 60_000

# Made once, as `_upsert_of` says.
_BEFORE = {state: schema.intent.c.state.in_(states_before(state)) for state in IntentState}
_UNSETTLED = schema.intent.c.state.in_(schema.UNSETTLED)
_STILL_OPEN = schema.position.c.state != PositionState.CLOSED.value


def intent_written(
    position_id: str, request: OrderRequest, purpose: str, plan: EntryPlan | None, now_ms: int, *, again: bool
) -> Apply:
    """Write an order down. One sent *again* under its client id is under way again; else that id is refused."""
    row = {
        "client_oid": request.client_oid, "position_id": position_id, "symbol": request.symbol,
        "purpose": purpose, "state": IntentState.INTENDED.value, "order_id": "",
        "request": json.dumps(schema.encode(request)),
        "plan": None if plan is None else json.dumps(schema.encode(plan)),
        "created_ms": now_ms, "updated_ms": now_ms,
    }

    def apply(connection: sa.Connection) -> None:
        if not again:
            connection.execute(sa.insert(schema.intent).values(row))
            return
        insert = _insert(connection, schema.intent).values(row)
        connection.execute(insert.on_conflict_do_update(
            index_elements=["client_oid"],
            set_={"state": row["state"], "request": row["request"], "updated_ms": now_ms},
            where=schema.intent.c.state == IntentState.NOT_PLACED.value,
        ))

    return apply


def order_found(order: Order, position_id: str, purpose: str, now_ms: int) -> Apply:
    """Write down an order the exchange has taken, unless it is written down already."""
    request = OrderRequest(
        client_oid=order.client_oid, symbol=order.symbol, side=order.side, quantity=order.quantity,
        reduce_only=order.reduce_only, close_order=order.close_order, stop_price=order.stop_price,
    )
    row = {
        "client_oid": order.client_oid, "position_id": position_id, "symbol": order.symbol, "purpose": purpose,
        "state": IntentState.ACCEPTED.value, "order_id": order.order_id,
        "request": json.dumps(schema.encode(request)), "plan": None, "created_ms": now_ms, "updated_ms": now_ms,
    }
    return lambda connection: _do(
        connection, _insert(connection, schema.intent).values(row).on_conflict_do_nothing()
    )


def intent_settled(client_oid: str, state: IntentState, order_id: str, now_ms: int) -> Apply:
    """Note an order's new state; one that cannot follow the state it is in changes nothing."""
    values: dict[str, Any] = {"state": state.value, "updated_ms": now_ms}
    if order_id:
        values["order_id"] = order_id
    order = schema.intent.c.client_oid == client_oid
    change = sa.update(schema.intent).where(order, _BEFORE[state]).values(values)
    return lambda connection: _do(connection, change)


def fills_booked(client_oid: str, fills: Iterable[Fill], now_ms: int) -> Apply:
    """Book fills: each trade id of a symbol once."""
    rows = [{**to_row(fill), "client_oid": client_oid, "booked_ms": now_ms} for fill in fills]

    def apply(connection: sa.Connection) -> None:
        for row in rows:
            connection.execute(_insert(connection, schema.fill).values(row).on_conflict_do_nothing())

    return apply


def position_saved(position: Position, now_ms: int) -> Apply:
    """Insert or replace a position; one that is closed stays so, whoever comes late."""
    row = {**to_row(position), "updated_ms": now_ms}
    return lambda connection: _upsert(connection, schema.position, row, "position_id", where=_STILL_OPEN)


def execution_recorded(
    client_oid: str, fills: Iterable[Fill], position: Position | None, trade: ClosedTrade | None, now_ms: int
) -> Apply:
    """Book what one order did: its fills, that it is done, and the position or trade that came of it."""
    steps = [fills_booked(client_oid, fills, now_ms), intent_settled(client_oid, IntentState.DONE, "", now_ms)]
    if position is not None and trade is not None:
        steps.append(_position_closed(position, trade, now_ms))
    elif position is not None:
        steps.append(position_saved(position, now_ms))

    def apply(connection: sa.Connection) -> None:
        for step in steps:
            step(connection)

    return apply


def _position_closed(position: Position, trade: ClosedTrade, now_ms: int) -> Apply:
    """Close a position, note its trade, and settle every order that was left open with it."""
    row = {**to_row(position), "state": PositionState.CLOSED.value, "updated_ms": now_ms}
    left_over = (
        sa.update(schema.intent)
        .where(schema.intent.c.position_id == position.position_id, _UNSETTLED)
        .values(state=IntentState.DONE.value, updated_ms=now_ms)
    )

    def apply(connection: sa.Connection) -> None:
        _upsert(connection, schema.position, row, "position_id")
        insert = _insert(connection, schema.trade).values(to_row(trade))
        connection.execute(insert.on_conflict_do_nothing())       # a trade once told is not told otherwise
        connection.execute(left_over)

    return apply


def funding_settled(trade: ClosedTrade) -> Apply:
    """Correct a trade whose funding was not known; one whose funding is known stays as it is."""
    change = (
        sa.update(schema.trade)
        .where(schema.trade.c.position_id == trade.position_id, schema.without_funding)
        .values(funding=str(trade.funding), realised_pnl=str(trade.realised_pnl), funding_known=True)
    )
    return lambda connection: _do(connection, change)


def event_noted(event: Event) -> Apply:
    """Note an event."""
    return lambda connection: _do(connection, sa.insert(schema.event).values(to_row(event)))


def equity_noted(point: EquityPoint) -> Apply:
    """Note a point of the equity curve."""
    return lambda connection: _do(connection, sa.insert(schema.equity).values(to_row(point)))


def account_noted(point: EquityPoint, day: str, day_start: Decimal, peak: Decimal) -> Apply:
    """Note a point of the equity curve, where the day began (the first word counts) and the peak."""
    start = {"day": day, "start_equity": str(day_start)}

    def apply(connection: sa.Connection) -> None:
        connection.execute(sa.insert(schema.equity).values(to_row(point)))
        _thin_out(connection, point.at_ms - EVERY_POINT_MS)
        connection.execute(_insert(connection, schema.day).values(start).on_conflict_do_nothing())
        _upsert(connection, schema.meta, {"name": "peak_equity", "value": str(peak)}, "name")

    return apply


def _thin_out(connection: sa.Connection, at_ms: int) -> None:
    """Of the minute that *at_ms* lies in keep the last point alone: each point asks, so none is missed."""
    began_ms = at_ms - at_ms % MINUTE_MS
    within = schema.equity.c.at_ms.between(began_ms, began_ms + MINUTE_MS - 1)
    last = sa.select(sa.func.max(schema.equity.c.seq)).where(within).scalar_subquery()
    connection.execute(sa.delete(schema.equity).where(within, schema.equity.c.seq < last))


def pause_noted(paused: bool) -> Apply:
    """Note whether a person wants no entries, for the daemon that comes after this one."""
    row = {"name": "paused", "value": "yes" if paused else "no"}
    return lambda connection: _upsert(connection, schema.meta, row, "name")


def probe(connection: sa.Connection, value: str) -> None:
    """Write a row that matters to nobody; the same *value* twice might touch no disk."""
    _upsert(connection, schema.meta, {"name": "probe", "value": value}, "name")


def _upsert(
    connection: sa.Connection, table: sa.Table, row: dict[str, Any], key: str,
    where: sa.ColumnElement[bool] | None = None,
) -> None:
    connection.execute(_upsert_of(connection.dialect.name, table, tuple(row), key, where), row)


@lru_cache
def _upsert_of(
    dialect: str, table: sa.Table, names: tuple[str, ...], key: str, where: sa.ColumnElement[bool] | None
) -> sa.Executable:
    """Return that statement, made once: each has an alias of the whole table, which only the collector frees."""
    insert = _insert_into(dialect, table)
    rest = {name: insert.excluded[name] for name in names if name != key}
    return insert.on_conflict_do_update(index_elements=[key], set_=rest, where=where)


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return _insert_into(connection.dialect.name, table)


def _insert_into(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _do(connection: sa.Connection, statement: sa.Executable) -> None:
    connection.execute(statement)
