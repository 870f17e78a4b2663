"""The answer of `verify`: its shape, and that every kind of difference has its words."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from control.verify_views import FILL_KINDS, POSITION_KINDS, Compared, verify_view
from control.verify_words import WORDS
from tests.control.test_views import a_position, a_stop
from trading.audit import Audit, Figure
from trading.facts import ExchangePosition, Fill, OrderSide, Side
from trading.reconciliation import Difference, ExchangeView, Kind

D = Decimal
SYMBOL, OTHER = "BTC/USDT:USDT", "ETH/USDT:USDT"
SECTIONS = ("positions", "stops", "orders", "fills", "fees", "realised_pnl", "funding")


def a_comparison(**changes: Any) -> Compared:
    """A short of ten lots, on both sides the same, its entry's fill, and a fee."""
    fill = Fill(
        trade_id="t1", order_id="o1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(10), price=D(50_000),
        fee=D("0.30"), ts_ms=2_000,
    )
    figure = Figure(symbol=SYMBOL, trades=1, journal=D("0.30"), exchange=D("0.3"), allowance=D("1e-8"))
    theirs = ExchangePosition(
        symbol=SYMBOL, side=Side.SHORT, quantity=D(10), entry_price=D("50000.0"), mark_price=D(50_000),
        leverage=D(5), margin_mode="isolated", unrealised_pnl=D(0), liquidation_price=None, opened_ms=1,
    )
    usual = Compared(
        compared_by="daemon", checked_ms=1_767_323_045_678, since_ms=1_000,
        positions=(a_position(protective_stop=a_stop()),), intents=(), booked=(fill,), listed=(fill,),
        view=ExchangeView(positions=(theirs,), open_orders=(), stop_orders=()), orders=(), foreign_fills=0,
        multipliers={SYMBOL: D("0.001")}, audit=Audit(fees=(figure,), realised_pnl=(figure,), funding=(figure,)),
        older=0, awaiting_funding=0, differences=(), under_way={},
    )
    return replace(usual, **changes)


def a_difference(kind: Kind, symbol: str = SYMBOL) -> Difference:
    return Difference(kind=kind, symbol=symbol, book="this", exchange="that", order_id="")


def test_every_row_has_two_sides_and_a_verdict() -> None:
    """Money and quantities are decimal strings, times ISO 8601; nothing is there that JSON cannot hold."""
    answer = verify_view(a_comparison())
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert (answer["agree"], answer["differences"]) == (True, [])
    assert answer["checked_at"] == "2026-01-02T03:04:05.678Z"
    for section in SECTIONS:
        for row in answer[section]:
            assert set(row) >= {"symbol", "journal", "exchange", "verdict"}
    held = {"side": "short", "quantity": "10", "entry_price": "50000"}
    assert answer["positions"] == [{"symbol": SYMBOL, "journal": held, "exchange": held, "verdict": "agree"}]
    traded = {"count": 1, "quantity": "10", "value": "500", "fee": "0.3"}      # 10 × 0.001 × 50000
    assert answer["fills"][0]["exchange"] == traded
    assert answer["fills"][1] == {
        "symbol": None, "journal": traded | {"quantity": None}, "exchange": traded | {"quantity": None},
        "verdict": "agree",
    }
    assert [row["journal"] for row in answer["fees"]] == ["0.3", "0.3"]         # and the total


@pytest.mark.parametrize("kind", Kind)
def test_one_difference_of_any_kind_is_no_agreement(kind: Kind) -> None:
    """Whatever it is, it is told with both sides, what it means and what follows."""
    answer = verify_view(a_comparison(differences=(a_difference(kind),)))
    assert answer["agree"] is False
    (difference,) = answer["differences"]
    assert (difference["kind"], difference["book"], difference["exchange"]) == (kind.value, "this", "that")
    assert difference["text"].startswith(f"{SYMBOL}: journal this, exchange that")
    assert difference["meaning"].endswith(".")
    assert difference["remedy"].endswith(".")


def test_every_kind_has_words() -> None:
    """A new kind of difference has to be explained before it can be found."""
    assert set(WORDS) == set(Kind)
    assert len({words.meaning for words in WORDS.values()}) == len(Kind)


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        *((kind, "positions") for kind in Kind if kind in POSITION_KINDS),
        *((kind, "fills") for kind in Kind if kind in FILL_KINDS),
        (Kind.UNPROTECTED, "stops"), (Kind.FEE, "fees"), (Kind.REALISED_PNL, "realised_pnl"),
        (Kind.FUNDING, "funding"),
    ],
)
def test_a_difference_marks_its_row_alone(kind: Kind, section: str) -> None:
    """The row it is about differs, and the total above it; another symbol's difference marks nothing here."""
    answer = verify_view(a_comparison(differences=(a_difference(kind),)))
    marked = {name for name in SECTIONS for row in answer[name] if row["verdict"] == "differs"}
    assert marked == {section}
    elsewhere = verify_view(a_comparison(differences=(a_difference(kind, OTHER),)))
    assert not [row for name in SECTIONS for row in elsewhere[name] if row["verdict"] == "differs"]


def test_what_is_under_way_is_neither_right_nor_wrong() -> None:
    """Rows of that symbol say so, totals with them."""
    answer = verify_view(a_comparison(under_way={SYMBOL: "an exit"}))
    assert answer["agree"] is True
    assert answer["under_way"] == [{"symbol": SYMBOL, "what": "an exit"}]
    assert {row["verdict"] for name in SECTIONS for row in answer[name]} == {"under way"}
