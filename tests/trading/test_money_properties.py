"""What holds for money whatever the numbers: exact mirrors, and rounding that never costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW_MS, D, a_position, an_instrument
from trading import settlement
from trading.facts import ZERO, EntryPlan, ExitReason, Position, Side

PRICES = st.decimals(min_value="0.0001", max_value="100000", places=6)
LOTS = st.integers(1, 10_000)
TICKS = st.sampled_from([D("0.00001"), D("0.05"), D("0.1"), D(1)])
SIDES = st.sampled_from(list(Side))
PARTS = st.lists(st.tuples(LOTS, PRICES), max_size=5)


def turned(position: Position) -> Position:
    """The same position on the other side."""
    other = Side.SHORT if position.side is Side.LONG else Side.LONG
    return replace(position, side=other)


@given(entry=PRICES, price=PRICES, lots=LOTS, multiplier=st.sampled_from([D("0.0001"), D(1), D(1_000_000)]))
def test_a_longs_profit_is_minus_the_shorts(
    entry: Decimal, price: Decimal, lots: int, multiplier: Decimal
) -> None:
    """Exactly, whatever the sizes."""
    long = a_position(Side.LONG, entry, quantity=D(lots), multiplier=multiplier)
    assert long.unrealised_pnl(price) == -turned(long).unrealised_pnl(price)
    assert long.unrealised_pnl(entry) == 0


@given(entry=PRICES, lots=LOTS, parts=PARTS)
def test_what_a_long_earns_the_short_pays(entry: Decimal, lots: int, parts: list[tuple[int, Decimal]]) -> None:
    """Closed in any parts, before fees: together nothing."""
    long = a_position(Side.LONG, entry, quantity=D(lots), initial_quantity=D(lots))
    short = turned(long)
    for quantity, price in parts:
        long = settlement.reduced(long, D(quantity), price, ZERO, ExitReason.MANUAL)
        short = settlement.reduced(short, D(quantity), price, ZERO, ExitReason.MANUAL)
    ends = [settlement.trade_of(position, 1, ExitReason.MANUAL) for position in (long, short)]
    assert ends[0].realised_pnl + ends[1].realised_pnl == 0
    assert ends[0].exit_price == ends[1].exit_price


@given(side=SIDES, entry=PRICES, lots=LOTS, parts=PARTS, last=PRICES)
def test_however_it_is_split_profit_adds_up(
    side: Side, entry: Decimal, lots: int, parts: list[tuple[int, Decimal]], last: Decimal
) -> None:
    """Realised and unrealised together are what the parts made; no more leaves than is there."""
    position = a_position(side, entry, quantity=D(lots), initial_quantity=D(lots))
    expected = ZERO
    for quantity, price in parts:
        closed = min(D(quantity), position.quantity)
        expected += (price - entry) * side.sign * closed * position.multiplier
        position = settlement.reduced(position, D(quantity), price, ZERO, ExitReason.MANUAL)
    assert 0 <= position.quantity <= lots
    assert position.realised_pnl == expected
    rest = settlement.reduced(position, position.quantity, last, ZERO, ExitReason.MANUAL)
    assert rest.realised_pnl == expected + position.unrealised_pnl(last)


@given(price=PRICES, tick=TICKS)
def test_ticks_are_never_more_than_one_away(price: Decimal, tick: Decimal) -> None:
    """Down is at or below, up at or above."""
    instrument = an_instrument(tick_size=tick)
    down, up = instrument.price_down(price), instrument.price_up(price)
    assert price - tick < down <= price <= up < price + tick
    assert down % tick == up % tick == 0


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


@given(side=SIDES, tick=TICKS, price=st.integers(100, 10**7), away=st.integers(1, 99), filled=PRICES, lots=LOTS)
def test_the_fill_never_raises_the_risk(
    side: Side, tick: Decimal, price: int, away: int, filled: Decimal, lots: int
) -> None:
    """Wherever an entry is filled, its stop is at most as far away as planned, beyond the entry and on a tick."""
    planned = price * tick
    filled = max(filled, 2 * tick)
    plan = EntryPlan(
        position_id="000001000011", client_oid="rad-000001000011-e1", symbol="S", side=side, quantity=D(lots),
        price=planned, worst_price=planned, stop_price=planned - away * tick * side.sign, notional=D(1),
        leverage=D(1), atr=D(1), planned_ms=NOW_MS,
    )
    position = settlement.opened(plan, an_instrument(tick_size=tick), D(lots), filled, ZERO, NOW_MS)
    assert 0 < position.risk_per_unit <= away * tick
    assert (filled - position.stop_price) * side.sign > 0
    assert position.stop_price % tick == 0
