"""What both sides have written down: RAD's journal, read as plain SQL, and the exchange's own record.

Nothing of RAD reads them here: the campaign would otherwise believe what it is to check.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

Json = dict[str, Any]
D = Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An order as RAD has written it down."""

    position_id: str
    purpose: str
    state: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A closed position as RAD has booked it, in quote currency."""

    realised_pnl: Decimal              # after fees and funding
    fee: Decimal
    funding: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalBooks:
    """RAD's journal."""

    intents: Mapping[str, Intent]                  # by client id
    booked: frozenset[tuple[str, str]]             # symbol and trade id of each fill
    open: Mapping[str, tuple[str, Decimal]]        # by symbol: position id, lots, negative when short
    trades: Mapping[str, Trade]                    # by position id


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeBooks:
    """The exchange's account as it stands, and all that has happened on it."""

    positions: Mapping[str, Decimal]               # lots by symbol, negative when short
    marks: Mapping[str, Decimal]
    stops: Sequence[Json]
    orders: Sequence[Json]
    wallet: Decimal
    events: Sequence[Json]


def read_journal(file: Path) -> JournalBooks:
    """Return what is committed; empty if there is no journal yet."""
    if not file.exists():
        return JournalBooks(intents={}, booked=frozenset(), open={}, trades={})
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as journal:
        journal.execute("BEGIN")                   # one moment for all four tables
        intents = {
            oid: Intent(position_id=position_id, purpose=purpose, state=state, created_ms=created_ms)
            for oid, position_id, purpose, state, created_ms in journal.execute(
                "SELECT client_oid, position_id, purpose, state, created_ms FROM intent")
        }
        booked = frozenset(
            (exchange_id(symbol), trade_id)
            for symbol, trade_id in journal.execute("SELECT symbol, trade_id FROM fill")
        )
        held = {
            exchange_id(symbol): (position_id, D(quantity) if side == "long" else -D(quantity))
            for symbol, position_id, side, quantity in journal.execute(
                "SELECT symbol, position_id, side, quantity FROM position WHERE state <> 'closed'")
        }
        trades = {
            position_id: Trade(realised_pnl=D(pnl), fee=D(fee), funding=D(funding))
            for position_id, pnl, fee, funding in journal.execute(
                "SELECT position_id, realised_pnl, fee, funding FROM trade")
        }
    return JournalBooks(intents=intents, booked=booked, open=held, trades=trades)


def exchange_books(account: Json, events: Iterable[Json]) -> ExchangeBooks:
    """Return the control API's account and history as one."""
    return ExchangeBooks(
        positions={row["symbol"]: D(str(row["currentQty"])) for row in account["positions"]},
        marks={row["symbol"]: D(str(row["markPrice"])) for row in account["positions"]},
        stops=account["stops"], orders=account["orders"], wallet=D(str(account["wallet"])),
        events=tuple(events),
    )


def exchange_id(symbol: str) -> str:
    """Return KuCoin's id of a futures symbol: BTC/USDT:USDT is XBTUSDTM."""
    base, _, rest = symbol.partition("/")
    return f"{'XBT' if base == 'BTC' else base}{rest.partition(':')[0]}M"
