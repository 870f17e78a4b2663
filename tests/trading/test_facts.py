"""The arithmetic of positions and instruments."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.builders import D, a_position, a_price, a_ticker, an_instrument
from trading.facts import ZERO, OrderSide, Side


def test_profit_by_hand() -> None:
    """Ten lots of 0.01 from 100 to 130, long and short."""
    assert a_position(Side.LONG).unrealised_pnl(D(130)) == D(3)      # 30 × 10 × 0.01
    assert a_position(Side.SHORT).unrealised_pnl(D(130)) == D(-3)


def test_value_by_hand() -> None:
    """Ten lots of 0.01 are a tenth of a coin, worth 13 at 130."""
    assert a_position().base_qty == D("0.1")
    assert a_position().notional(D(130)) == an_instrument().notional(D(10), D(130)) == D(13)
    assert a_position(Side.SHORT).risk_per_unit == D(2)


def test_an_age_is_counted_from_receipt() -> None:
    """In seconds of our own clock, not the exchange's."""
    assert a_price(100, received=7.0).age_s(9.5) == 2.5


@pytest.mark.parametrize("side", list(Side))
def test_r_is_minus_one_at_the_first_stop(side: Side) -> None:
    """And one as far on the other side, wherever the stop has moved since."""
    position = a_position(side, stop_price=D(100))
    assert position.r_multiple(D(100) - 2 * side.sign) == -1
    assert position.r_multiple(D(100) + 2 * side.sign) == 1
    assert position.r_multiple(D(100) + 5 * side.sign) == D("2.5")


def test_sides_and_their_orders() -> None:
    """A long is bought and sold, a short sold and bought back."""
    assert (Side.LONG.entry, Side.LONG.exit) == (OrderSide.BUY, OrderSide.SELL)
    assert (Side.SHORT.entry, Side.SHORT.exit) == (OrderSide.SELL, OrderSide.BUY)
    assert a_price(99, 101).to_leave(Side.LONG) == 99
    assert a_price(99, 101).to_leave(Side.SHORT) == 101
    assert a_ticker(99, 101).spread == D("0.02")           # 2 / 100


@pytest.mark.parametrize("wrong", [{"quantity": D(-1)}, {"entry_price": ZERO}, {"multiplier": ZERO}])
def test_a_nonsensical_position_cannot_be(wrong: dict[str, Decimal]) -> None:
    """Nobody downstream checks again."""
    with pytest.raises(ValueError, match="a position needs"):
        a_position(stop=98, **wrong)


def test_an_instrument_without_steps_cannot_be() -> None:
    """Every rounding divides by them."""
    with pytest.raises(ValueError, match="tick size"):
        an_instrument(tick_size=ZERO)
