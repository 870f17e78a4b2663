"""Parts of the journal that a page shows: trades that match, and the equity curve in a few points."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest

from runtime.journal import SqlJournal
from runtime.journal_schema import EquityStretch
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import SYMBOL, a_position, a_trade
from tests.trading.test_reconciliation import an_order
from trading.facts import ExitReason, Funding, Side
from trading.lifecycle import IntentState
from trading.settlement import with_funding

OTHER = "ETH/USDT:USDT"


@pytest.fixture
def trades(journal: SqlJournal) -> SqlJournal:
    """Four, closed a minute after one another."""
    for number, facts in enumerate((
        {"symbol": SYMBOL, "side": Side.SHORT}, {"symbol": OTHER, "side": Side.LONG},
        {"symbol": OTHER, "side": Side.SHORT, "exit_reason": ExitReason.MANUAL},
        {"symbol": SYMBOL, "side": Side.LONG},
    )):
        trade = a_trade(f"p{number}", closed_ms=(number + 1) * 60_000, **facts)
        journal.record_execution("", (), a_position(f"p{number}"), trade)
    return journal


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ({}, ["p3", "p2", "p1", "p0"]),
        ({"symbol": OTHER}, ["p2", "p1"]),
        ({"side": "long"}, ["p3", "p1"]),
        ({"reason": "manual"}, ["p2"]),
        ({"since_ms": 120_000}, ["p3", "p2", "p1"]),
        ({"until_ms": 120_000}, ["p0"]),
        ({"symbol": OTHER, "side": "short", "since_ms": 1, "until_ms": 180_001}, ["p2"]),
        ({"symbol": "X' OR '1'='1"}, []),
    ],
)
def test_trades_that_match_are_found(trades: SqlJournal, only: dict[str, Any], expected: list[str]) -> None:
    """Newest first; what is empty or 0 does not matter, and what is said is a value, never a part of the query."""
    assert [trade.position_id for trade in trades.trades(10, **only)] == expected
    assert [trade.position_id for trade in trades.trades(1, **only)] == expected[:1]


def test_funding_corrects_a_trade_once(journal: SqlJournal, url: str, clock: ManualClock) -> None:
    """Not known when it is booked; the first word about it counts, and a restart finds it as it was left."""
    due = a_trade("p1", funding=D(0), realised_pnl=D("118.6000"), funding_known=False)
    for trade in (due, a_trade("p2"), a_trade("p3", funding_known=False, closed_ms=due.closed_ms + 1)):
        journal.record_execution("", (), a_position(trade.position_id), trade)
    assert journal.trades_without_funding(due.closed_ms, 10) == (due,)
    assert [each.position_id for each in journal.trades_without_funding(2**53, 10)] == ["p1", "p3"]
    assert len(journal.trades_without_funding(2**53, 1)) == 1
    known = with_funding(due, [Funding(at_ms=due.opened_ms, amount=D("-0.0100"))])
    journal.settle_funding(known)
    journal.settle_funding(replace(known, funding=D(9), realised_pnl=D(9)))
    journal.settle_funding(replace(known, position_id="p2", funding=D(9), realised_pnl=D(9)))     # known already
    assert journal.close()
    again = SqlJournal(url, clock, label="test")
    assert again.trades_without_funding(due.closed_ms, 10) == ()
    assert {each.position_id: each for each in again.trades()}["p1"] == a_trade(
        "p1", funding=D("-0.0100"), realised_pnl=D("118.5900")
    )
    assert {each.position_id: each for each in again.trades()}["p2"] == a_trade("p2")
    again.close()


def test_an_order_found_is_written_down_unless_it_is(journal: SqlJournal) -> None:
    """Its fills can be told from anybody else's then; what is known of an order is not unsaid by it."""
    order = an_order("rad-0abcdefgh001-x1", order_id="o7", created_ms=5, close_order=True)
    journal.record_found(order)
    journal.record_found(replace(order, order_id="o8"))
    journal.record_found(replace(order, client_oid="somebody's"))
    assert journal.client_oids(["o7", "o8"]) == {"o7": "rad-0abcdefgh001-x1"}
    (intent,) = journal.intents_of("0abcdefgh001")
    assert (intent.purpose, intent.state, intent.request.close_order) == ("x", IntentState.ACCEPTED, True)
    journal.settle_intent("rad-0abcdefgh001-x1", IntentState.DONE)
    journal.record_found(order)
    assert journal.client_oids(["o7"], settled=True) == {"o7": "rad-0abcdefgh001-x1"}


def at(journal: SqlJournal, clock: ManualClock, *equities: str) -> None:
    """Note these, one a second."""
    for equity in equities:
        journal.record_equity(D(equity), D(1))
        clock.advance(1)


def test_the_equity_curve_comes_in_as_many_points_as_wanted(journal: SqlJournal, clock: ManualClock) -> None:
    """Each stands for a stretch of time: its last, its lowest and its highest."""
    begin = clock.now_ms()
    at(journal, clock, "100", "90.5", "110.25", "120", "80", "95.123456789012")
    assert journal.equity_stretches(0, 2) == (
        EquityStretch(at_ms=begin + 2000, last=D("110.25"), lowest=D("90.5"), highest=D("110.25")),
        EquityStretch(at_ms=begin + 5000, last=D("95.123456789012"), lowest=D(80), highest=D(120)),
    )
    assert len(journal.equity_stretches(0, 1)) == 1
    whole = journal.equity_stretches(0, 100)
    assert [stretch.last for stretch in whole] == [D(text) for text in (
        "100", "90.5", "110.25", "120", "80", "95.123456789012"
    )]
    late = journal.equity_stretches(begin + 4000, 100)
    assert [stretch.last for stretch in late] == [D(80), D("95.123456789012")]
    assert journal.equity_stretches(begin + 6000, 100) == ()
    assert journal.highest_equity(begin + 3000) == D("110.25")
    assert journal.highest_equity(begin) is None


@pytest.mark.parametrize("points", [1, 2, 3, 7, 50])
def test_never_more_points_than_wanted(journal: SqlJournal, clock: ManualClock, points: int) -> None:
    """Whatever the division leaves over."""
    at(journal, clock, *(str(100 + number) for number in range(50)))
    assert 0 < len(journal.equity_stretches(0, points)) <= points
