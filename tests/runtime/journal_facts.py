"""Facts to write into a journal, each with overrides, and a process that writes until it is killed."""

from __future__ import annotations

import sys
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from runtime.clock import SystemClock
from runtime.journal import SqlJournal
from trading.facts import (
    ClosedTrade,
    EntryPlan,
    ExitReason,
    Fill,
    OrderRequest,
    OrderSide,
    Position,
    ProtectiveStop,
    Side,
)
from trading.lifecycle import PositionState

SYMBOL = "BTC/USDT:USDT"


def url_in(folder: Path) -> str:
    """Return the address of a journal in *folder*."""
    return f"sqlite:///{folder / 'journal.sqlite'}"


def a_position(position_id: str = "p1", **fields: Any) -> Position:
    """Return a position in which every field has a value of its own."""
    facts: dict[str, Any] = {
        "symbol": SYMBOL, "side": Side.SHORT, "state": PositionState.OPEN,
        "quantity": D("1E+3"), "initial_quantity": D("1200.0"), "multiplier": D("0.001"),
        "entry_price": D("64000.10"), "initial_stop_price": D("65000"), "stop_price": D("63900.5"),
        "stop_reason": ExitReason.TRAILING_STOP, "best_price": D("63000.00000001"), "atr": D("120.50"),
        "opened_ms": 1_700_000_000_000, "leverage": D(3), "steps_taken": 1, "fee": D("0.12345678901234567890"),
        "realised_pnl": D("-1.50"), "exit_value": D("12.8"), "exit_attempt": 2, "stop_attempt": 5,
        "protective_stop": ProtectiveStop(
            client_oid="rad-p1-s5", order_id="o5", stop_price=D("63910"), confirmed_ms=1_700_000_000_500
        ),
        "exit_reason": ExitReason.MAX_AGE, "strategy": "trend",
        "reasons": ("EMA 9 below 21", "ünïcode, 'quotes' and \"more\""),
    }
    return Position(position_id=position_id, **{**facts, **fields})


def a_trade(position_id: str = "p1", **fields: Any) -> ClosedTrade:
    """Return how a position ended."""
    facts: dict[str, Any] = {
        "symbol": SYMBOL, "side": Side.SHORT, "quantity": D("1200.0"), "entry_price": D("64000.10"),
        "exit_price": D("63900.5"), "opened_ms": 1_700_000_000_000, "closed_ms": 1_700_000_060_000,
        "exit_reason": ExitReason.TRAILING_STOP, "fee": D("0.92"), "funding": D("-0.01"),
        "realised_pnl": D("118.5900"), "r_multiple": D("0.0996"), "strategy": "trend",
    }
    return ClosedTrade(position_id=position_id, **{**facts, **fields})


def a_request(client_oid: str = "rad-p1-e0", **fields: Any) -> OrderRequest:
    """Return an entry order."""
    facts: dict[str, Any] = {
        "symbol": SYMBOL, "side": OrderSide.SELL, "quantity": D("1200.0"), "leverage": D(3),
        "price": D("63990.0"), "immediate_or_cancel": True,
    }
    return OrderRequest(client_oid=client_oid, **{**facts, **fields})


def a_plan(position_id: str = "p1") -> EntryPlan:
    """Return the plan of an entry."""
    return EntryPlan(
        position_id=position_id, client_oid=f"rad-{position_id}-e0", symbol=SYMBOL, side=Side.SHORT,
        quantity=D("1200.0"), price=D("64000"), worst_price=D("63900"), stop_price=D("65000"),
        notional=D("76680.00"), leverage=D(3), atr=D("120.50"), planned_ms=1_700_000_000_000,
        strategy="trend", reasons=("one", "two"),
    )


def a_fill(trade_id: str = "t1", **fields: Any) -> Fill:
    """Return an execution."""
    facts: dict[str, Any] = {
        "order_id": "o1", "symbol": SYMBOL, "side": OrderSide.SELL, "quantity": D("600"),
        "price": D("64000.10"), "fee": D("0.46080072"), "ts_ms": 1_700_000_000_100,
    }
    return Fill(trade_id=trade_id, **{**facts, **fields})


def write_until_killed(url: str) -> None:
    """Commit one note of each kind after the other, and say so after each commit."""
    journal = SqlJournal(url, SystemClock(), label="test")
    number = 0
    while True:
        number += 1
        name = f"p{number}"
        journal.record_intent(name, a_request(f"rad-{name}-e0", symbol=name), "e", plan=a_plan(name), wait=True)
        journal.record_fills(f"rad-{name}-e0", [a_fill(f"t{number}", symbol=name)])
        journal.save_position(a_position(name, symbol=name), wait=True)
        print(name, flush=True)


if __name__ == "__main__":
    write_until_killed(sys.argv[1])
