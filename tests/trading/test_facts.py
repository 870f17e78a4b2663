"""The arithmetic of positions and instruments."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import D, a_position, a_price, a_ticker, an_instrument
from trading import settlement
from trading.facts import ZERO, ExitReason, OrderSide, Side
from trading.lifecycle import IllegalTransition, PositionState

PRICES = st.decimals(min_value="0.0001", max_value="100000", places=6)
LOTS = st.integers(1, 10_000)
TICKS = st.sampled_from([D("0.00001"), D("0.05"), D("0.1"), D(1)])


def test_profit_by_hand() -> None:
    """Ten lots of 0.01 from 100 to 130, long and short."""
    assert a_position(Side.LONG).unrealised_pnl(D(130)) == D(3)      # 30 × 10 × 0.01
    assert a_position(Side.SHORT).unrealised_pnl(D(130)) == D(-3)


@given(entry=PRICES, price=PRICES, lots=LOTS, multiplier=st.sampled_from([D("0.0001"), D(1), D(1_000_000)]))
def test_a_longs_profit_is_minus_the_shorts(
    entry: Decimal, price: Decimal, lots: int, multiplier: Decimal
) -> None:
    """Exactly, whatever the sizes."""
    long = a_position(Side.LONG, entry, quantity=D(lots), multiplier=multiplier)
    short = a_position(Side.SHORT, entry, quantity=D(lots), multiplier=multiplier)
    assert long.unrealised_pnl(price) == -short.unrealised_pnl(price)
    assert long.unrealised_pnl(entry) == 0


@pytest.mark.parametrize("side", list(Side))
def test_r_is_minus_one_at_the_first_stop(side: Side) -> None:
    """And one as far on the other side, wherever the stop has moved since."""
    position = a_position(side, stop_price=D(100))
    assert position.r_multiple(D(100) - 2 * side.sign) == -1
    assert position.r_multiple(D(100) + 2 * side.sign) == 1
    assert position.r_multiple(D(100) + 5 * side.sign) == D("2.5")


@given(price=PRICES, tick=TICKS)
def test_ticks_are_never_more_than_one_away(price: Decimal, tick: Decimal) -> None:
    """Down is at or below, up at or above, nearest within half a tick."""
    instrument = an_instrument(tick_size=tick)
    down, up, nearest = (
        instrument.price_down(price), instrument.price_up(price), instrument.price_nearest(price)
    )
    assert price - tick < down <= price <= up < price + tick
    assert abs(nearest - price) <= tick / 2
    assert down % tick == up % tick == nearest % tick == 0


@given(quantity=st.decimals("0", "100000", places=4), lot=st.sampled_from([D("0.001"), D(1), D(10)]))
def test_lots_are_rounded_down(quantity: Decimal, lot: Decimal) -> None:
    """Rounding never makes an order larger, and never by a whole lot smaller."""
    rounded = an_instrument(lot_size=lot).quantity_down(quantity)
    assert quantity - lot < rounded <= quantity
    assert rounded % lot == 0


@given(stop=PRICES, tick=TICKS)
def test_a_rounded_stop_is_nearer_to_the_price(stop: Decimal, tick: Decimal) -> None:
    """Up for a long, down for a short: never more at risk than reckoned."""
    instrument = an_instrument(tick_size=tick)
    assert instrument.stop_towards_price(Side.LONG, stop) >= stop
    assert instrument.stop_towards_price(Side.SHORT, stop) <= stop


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


@pytest.mark.parametrize("side", list(Side))
def test_a_trade_in_two_parts_by_hand(side: Side) -> None:
    """Four lots leave at +5, six at +10 per unit; fees and funding come off."""
    position = a_position(side, fee=D("0.01"))
    half = settlement.reduced(position, D(4), 100 + D(5) * side.sign, D("0.02"), ExitReason.TAKE_PROFIT)
    assert (half.quantity, half.steps_taken, half.realised_pnl) == (D(6), 1, D("0.2"))      # 5 × 4 × 0.01
    rest = settlement.reduced(half, D(6), 100 + D(10) * side.sign, D("0.03"), ExitReason.MAX_AGE)
    trade = settlement.trade_of(rest, 1, ExitReason.MAX_AGE, funding=D("-0.04"))
    assert trade.realised_pnl == D("0.70")                 # 0.2 + 10 × 6 × 0.01 − 0.06 − 0.04
    assert trade.exit_price == 100 + D(8) * side.sign      # (5 × 4 + 10 × 6) / 10
    assert (trade.quantity, trade.fee, trade.r_multiple) == (D(10), D("0.06"), D(4))


@given(
    side=st.sampled_from(list(Side)), entry=PRICES, lots=LOTS,
    parts=st.lists(st.tuples(LOTS, PRICES), max_size=5),
)
def test_however_it_is_split_profit_adds_up(
    side: Side, entry: Decimal, lots: int, parts: list[tuple[int, Decimal]]
) -> None:
    """Realised and unrealised together are what the parts made; no more leaves than is there."""
    position = a_position(side, entry, quantity=D(lots), initial_quantity=D(lots))
    expected = ZERO
    for quantity, price in parts:
        closed = min(D(quantity), position.quantity)
        expected += (price - entry) * side.sign * closed * position.multiplier
        position = settlement.reduced(position, D(quantity), price, ZERO, ExitReason.MANUAL)
    assert position.quantity >= 0
    assert position.realised_pnl == expected


def test_only_an_open_position_can_be_claimed_for_closing() -> None:
    """The second claim raises: two closers never both hold one position."""
    claimed = settlement.closing(a_position(), ExitReason.MANUAL)
    assert (claimed.state, claimed.exit_attempt, claimed.exit_reason) == (
        PositionState.CLOSING, 1, ExitReason.MANUAL
    )
    with pytest.raises(IllegalTransition):
        settlement.closing(claimed, ExitReason.MANUAL)
    back = settlement.put_back(claimed)
    assert (back.state, back.exit_reason) == (PositionState.OPEN, None)
