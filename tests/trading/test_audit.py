"""What trades cost and earned, by the journal and by their fills: worked by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.audit import Life, audit, fills_by_life, gross_pnl
from trading.facts import Fill, OrderSide, Side

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MULTIPLIER = D("0.001")


def a_life(**changes: Any) -> Life:
    usual = Life(
        position_id="p1", symbol=SYMBOL, side=Side.LONG, entry_price=D(50_000), opened_ms=1_000, fee=D(0),
        gross_pnl=D(0),
    )
    return replace(usual, **changes)


def a_fill(side: OrderSide, quantity: int, price: str, **changes: Any) -> Fill:
    usual = Fill(
        trade_id=f"t{side.value}{price}", order_id=side.value, symbol=SYMBOL, side=side, quantity=D(quantity),
        price=D(price), fee=D("0.03"), ts_ms=2_000,
    )
    return replace(usual, **changes)


BUY, SELL = OrderSide.BUY, OrderSide.SELL


@pytest.mark.parametrize(
    ("life", "fills", "earned"),
    [
        # (50500 − 50000) × 10 lots × 0.001
        (a_life(), [a_fill(BUY, 10, "50000"), a_fill(SELL, 10, "50500")], "5"),
        # a short earns where a long loses
        (a_life(side=Side.SHORT), [a_fill(SELL, 10, "50000"), a_fill(BUY, 10, "50500")], "-5"),
        # still open: nothing has been brought in
        (a_life(), [a_fill(BUY, 10, "50000")], "0"),
        # four of ten lots sold: (50500 − 50000) × 0.004
        (a_life(), [a_fill(BUY, 10, "50000"), a_fill(SELL, 4, "50500")], "2"),
        # bought at two prices, 50000 and 50020: the average is 50015
        (a_life(), [a_fill(BUY, 1, "50000"), a_fill(BUY, 3, "50020"), a_fill(SELL, 4, "50100")], "0.34"),
        # adopted: nobody knows its entry's fills, its average of the time counts: (50100 − 50000) × 0.004
        (a_life(), [a_fill(SELL, 4, "50100")], "0.4"),
    ],
)
def test_profit_of_fills(life: Life, fills: list[Fill], earned: str) -> None:
    """What exits brought over their share of the entry."""
    assert gross_pnl(life, fills, MULTIPLIER) == D(earned)


def figures(life: Life, *fills: Fill) -> tuple[bool, bool]:
    """Return whether fees and profit agree."""
    audited = audit([life], {"p1": fills}, {SYMBOL: MULTIPLIER})
    (fee,), (earned,) = audited.fees, audited.realised_pnl
    return fee.agrees, earned.agrees


def test_what_the_exchange_rounds_is_allowed_for_and_no_more() -> None:
    """An estimated fee may miss each fill's rounding; one millionth of a USDT is a difference."""
    fills = a_fill(BUY, 10, "50000"), a_fill(SELL, 10, "50500")
    assert figures(a_life(fee=D("0.06"), gross_pnl=D(5)), *fills) == (True, True)
    assert figures(a_life(fee=D("0.06000002"), gross_pnl=D(5)), *fills) == (True, True)      # 2 × 1e-8
    assert figures(a_life(fee=D("0.060001"), gross_pnl=D("5.000001")), *fills) == (False, False)


def test_an_average_price_is_rounded_only_where_there_was_one() -> None:
    """Filled at one price, profit is exact; at several, the average's last digit may be lost."""
    off = D("0.0000000005")                        # 10 lots × 0.001 × 1e-10 is 1e-12, ten thousand lots 1e-9
    one = a_fill(BUY, 10_000, "50000"), a_fill(SELL, 10_000, "50500")
    assert figures(a_life(fee=D("0.06"), gross_pnl=D(5_000) + off), *one) == (True, False)
    several = a_fill(BUY, 5_000, "50000"), a_fill(BUY, 5_000, "50001"), a_fill(SELL, 10_000, "50500")
    assert figures(a_life(fee=D("0.09"), gross_pnl=D(4_995) + off), *several) == (True, True)


def test_fills_find_their_position() -> None:
    """By their order; one of a stranger's order, once booked, by symbol and time; all others by nobody."""
    early, late = a_life(), a_life(position_id="p2", opened_ms=5_000)
    ours = a_fill(BUY, 1, "1", order_id="ours", ts_ms=4_900)         # settled a moment before it was booked
    closed = a_fill(SELL, 1, "2", order_id="web", ts_ms=4_000)
    closed_late = a_fill(SELL, 1, "3", order_id="web", ts_ms=6_000)
    stranger = a_fill(SELL, 1, "4", order_id="web", ts_ms=6_000)
    booked = {(fill.symbol, fill.trade_id) for fill in (ours, closed, closed_late)}
    found = fills_by_life([early, late], [ours, closed, closed_late, stranger], {"ours": "p2"}, booked)
    assert found == {"p1": (closed,), "p2": (ours, closed_late)}


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 10**7)), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 10**7)), min_size=1, max_size=6),
)
def test_a_shorts_profit_is_minus_the_longs(entry: list[tuple[int, int]], leave: list[tuple[int, int]]) -> None:
    """The same prices, the other side: the same amount with the other sign."""
    def fills(opening: OrderSide, closing: OrderSide) -> list[Fill]:
        return [a_fill(opening, lots, str(price)) for lots, price in entry] + [
            a_fill(closing, lots, str(price)) for lots, price in leave
        ]

    long = gross_pnl(a_life(), fills(BUY, SELL), MULTIPLIER)
    short = gross_pnl(a_life(side=Side.SHORT), fills(SELL, BUY), MULTIPLIER)
    assert long == -short
