"""When a position is left, and where its stop goes meanwhile."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW_MS, D, a_position, a_price, an_instrument, exit_rules
from trading import settlement
from trading.exits import HOLD, Distance, Exit, ExitRules, MoveStop, TakeProfit, Trailing, decide, initial_stop
from trading.facts import ZERO, ExitReason, Instrument, Position, Price, Side

CONTRACT = an_instrument()
NO_FEES = an_instrument(taker_fee_rate=ZERO)
BOTH = pytest.mark.parametrize("side", list(Side))


def fraction(text: str) -> Distance:
    return Distance(fraction=D(text))


def atrs(text: str) -> Distance:
    return Distance(atr=D(text))


def trailing(activate: Distance, distance: Distance) -> ExitRules:
    return exit_rules(trailing=Trailing(activate=activate, distance=distance))


def decided(
    position: Position, price: Price, rules: ExitRules, contract: Instrument = CONTRACT, age_ms: int = 0
) -> object:
    return decide(position, price, NOW_MS + age_ms, rules, contract)


def test_a_distance_is_a_fraction_or_a_multiple_of_atr() -> None:
    """One of the two, and in quote currency either way."""
    assert fraction("0.02").of(D(50), D(3)) == D(1)        # 50 × 0.02
    assert atrs("2.5").of(D(50), D(3)) == D("7.5")         # 3 × 2.5
    with pytest.raises(ValueError, match="either"):
        Distance()
    with pytest.raises(ValueError, match="either"):
        Distance(fraction=D("0.01"), atr=D(1))


@BOTH
def test_the_price_one_would_get_decides_about_the_stop(side: Side) -> None:
    """A long is left when the bid is at the stop, a short when the ask is; the other side does not matter."""
    position = a_position(side)                            # entry 100, stop 98 or 102
    at, short_of = (a_price(98, 99), a_price("98.1", 99)) if side is Side.LONG else (
        a_price(101, 102), a_price(101, "101.9"))
    assert decided(position, at, exit_rules()) == Exit(reason=ExitReason.STOP_LOSS, quantity=D(10))
    assert decided(position, short_of, exit_rules()) == HOLD


@pytest.mark.parametrize("reason", [ExitReason.STOP_LOSS, ExitReason.BREAK_EVEN, ExitReason.TRAILING_STOP])
def test_leaving_at_the_stop_is_called_what_moved_it_there(reason: ExitReason) -> None:
    """The position remembers who put its stop where it is."""
    position = a_position(stop=101, stop_reason=reason, best_price=D(104))
    assert decided(position, a_price(101), exit_rules()) == Exit(reason=reason, quantity=D(10))


def test_a_gap_beyond_the_stop_is_left_at_once() -> None:
    """The price need not stop at the stop."""
    assert decided(a_position(), a_price(80), exit_rules()) == Exit(reason=ExitReason.STOP_LOSS, quantity=D(10))


@BOTH
def test_trailing_waits_for_its_activation_and_then_follows(side: Side) -> None:
    """Before the activation only the best price is noted; from it on the stop keeps its distance."""
    rules = trailing(fraction("0.02"), fraction("0.01"))
    position = a_position(side)
    early, active = (a_price("101.9"), a_price(103)) if side is Side.LONG else (a_price("98.1"), a_price(97))
    just = a_price(100 + 2 * side.sign)                    # at the activation, not only past it
    assert decided(position, just, rules).reason is ExitReason.TRAILING_STOP
    assert decided(position, early, rules) == MoveStop(
        stop_price=position.stop_price, best_price=early.bid, reason=ExitReason.STOP_LOSS
    )
    stop = D("102") if side is Side.LONG else D("97.9")    # 103 − 1.03 = 101.97 up; 97 + 0.97 = 97.97 down
    assert decided(position, active, rules) == MoveStop(
        stop_price=stop, best_price=active.bid, reason=ExitReason.TRAILING_STOP
    )


def test_trailing_by_atr_uses_the_atr_at_entry() -> None:
    """One ATR of 1.5 behind a best price of 110."""
    rules = trailing(atrs("2"), atrs("1"))
    moved = decided(a_position(atr=D("1.5")), a_price(110), rules)
    assert moved == MoveStop(stop_price=D("108.5"), best_price=D(110), reason=ExitReason.TRAILING_STOP)


@BOTH
def test_a_price_falling_back_leaves_the_stop_where_it_is(side: Side) -> None:
    """The stop follows the best price there was, not the one there is."""
    rules = trailing(fraction("0.02"), fraction("0.01"))
    best, stop, back = (D(103), D(102), 102.5) if side is Side.LONG else (D(97), D("97.9"), 97.5)
    position = a_position(side, best_price=best, stop_reason=ExitReason.TRAILING_STOP)
    position = replace(position, stop_price=stop)
    assert decided(position, a_price(str(back)), rules) == HOLD


@BOTH
def test_break_even_pays_for_both_fees(side: Side) -> None:
    """Leaving exactly at the locked stop loses nothing, fees of entry and exit counted."""
    fee = D("0.001")
    contract = an_instrument(taker_fee_rate=fee, tick_size=D("0.01"))
    position = a_position(side)
    moved = decided(position, a_price(100 + 2 * side.sign), exit_rules(break_even=fraction("0.01")), contract)
    assert isinstance(moved, MoveStop)
    assert moved.reason is ExitReason.BREAK_EVEN
    # 100 × 1.001 / 0.999 = 100.2002 up to 100.21; 100 × 0.999 / 1.001 = 99.8002 down to 99.80
    assert moved.stop_price == (D("100.21") if side is Side.LONG else D("99.80"))
    fees = (position.entry_price + moved.stop_price) * position.base_qty * fee
    assert position.unrealised_pnl(moved.stop_price) - fees >= 0


def test_break_even_waits_until_its_price_is_behind_the_market() -> None:
    """Activated before the fees are earned, it locks nothing: a stop that does not pay for them is none."""
    rules = exit_rules(break_even=fraction("0.001"))
    contract = an_instrument(taker_fee_rate=D("0.001"))
    held = decided(a_position(), a_price("100.1"), rules, contract)
    assert held == MoveStop(stop_price=D(98), best_price=D("100.1"), reason=ExitReason.STOP_LOSS)
    locked = decided(a_position(), a_price("100.4"), rules, contract)
    assert locked == MoveStop(stop_price=D("100.3"), best_price=D("100.4"), reason=ExitReason.BREAK_EVEN)


def test_the_better_of_break_even_and_trailing_wins() -> None:
    """Early break-even is nearer; later trailing is."""
    rules = exit_rules(
        break_even=fraction("0.01"), trailing=Trailing(activate=fraction("0.01"), distance=fraction("0.02"))
    )
    early = decided(a_position(), a_price(101), rules, NO_FEES)        # trailing would be 98.98
    late = decided(a_position(), a_price(110), rules, NO_FEES)         # 107.8
    assert (early.stop_price, early.reason) == (D(100), ExitReason.BREAK_EVEN)
    assert (late.stop_price, late.reason) == (D("107.8"), ExitReason.TRAILING_STOP)


@BOTH
def test_tighter_rules_after_a_restart_stop_short_of_the_price(side: Side) -> None:
    """The new distance is passed already: the stop comes as near as it may, and the next tick decides."""
    rules = trailing(fraction("0.01"), fraction("0.01"))
    position = a_position(side, best_price=D(110) if side is Side.LONG else D(90))
    price = a_price(105) if side is Side.LONG else a_price(95)
    moved = decided(position, price, rules)
    assert isinstance(moved, MoveStop)
    assert moved.stop_price == (D("104.9") if side is Side.LONG else D("95.1"))   # 108.9 and 90.9 are beyond it


@BOTH
def test_looser_rules_after_a_restart_do_not_take_a_stop_back(side: Side) -> None:
    """What is locked in stays locked in, whatever break-even and trailing would say now."""
    rules = exit_rules(
        break_even=fraction("0.01"), trailing=Trailing(activate=fraction("0.01"), distance=fraction("0.09"))
    )
    stop, best = (D(107), D(110)) if side is Side.LONG else (D(93), D(90))
    position = a_position(side, best_price=best, stop_price=stop, stop_reason=ExitReason.TRAILING_STOP)
    assert decided(position, a_price(best), rules) == HOLD


def test_the_ladder_takes_its_rungs_one_after_another() -> None:
    """Half at 4 %, the rest at 8 %; shares are of what was opened."""
    rules = exit_rules(take_profit=(
        TakeProfit(at=fraction("0.04"), share=D("0.5")), TakeProfit(at=fraction("0.08"), share=D("0.5")),
    ))
    position = a_position()
    first = decided(position, a_price(104), rules)
    assert first == Exit(reason=ExitReason.TAKE_PROFIT, quantity=D(5))            # 10 lots × 0.5
    rest = settlement.reduced(position, D(5), D(104), ZERO, ExitReason.TAKE_PROFIT)
    assert not isinstance(decided(rest, a_price(107), rules), Exit)
    assert decided(rest, a_price(108), rules) == Exit(reason=ExitReason.TAKE_PROFIT, quantity=D(5))


@pytest.mark.parametrize(("lots", "left", "share", "leaves"), [
    (10, 10, "0.33", 4),      # 3.3 lots: up
    (10, 2, "0.33", 2),       # no more than there is
    (1, 1, "0.5", 1),         # at least one lot
    (5, 5, "0.9", 5),         # 4.5 up is 5, all of it
    (100, 100, "1", 100),
])
def test_a_rung_is_whole_lots(lots: int, left: int, share: str, leaves: int) -> None:
    """Rounded up, at least one lot, at most what is there."""
    rules = exit_rules(take_profit=(TakeProfit(at=fraction("0.01"), share=D(share)),))
    position = a_position(quantity=D(left), initial_quantity=D(lots))
    assert decided(position, a_price(105), rules) == Exit(reason=ExitReason.TAKE_PROFIT, quantity=D(leaves))


@pytest.mark.parametrize(("lot", "left", "leaves"), [
    ("10", 100, 40),           # 33 lots of one: 3.3 of ten, so four
    ("0.1", 10, "3.3"),        # 33 of a tenth exactly
    ("0.001", 1, "0.33"),
])
def test_a_rung_is_whole_lots_of_any_size(lot: str, left: int, leaves: int | str) -> None:
    """A third of what was opened, on contracts with larger and smaller lots."""
    contract = an_instrument(lot_size=D(lot), min_quantity=D(lot))
    rules = exit_rules(take_profit=(TakeProfit(at=fraction("0.01"), share=D("0.33")),))
    position = a_position(quantity=D(left), initial_quantity=D(left))
    assert decided(position, a_price(105), rules, contract) == Exit(
        reason=ExitReason.TAKE_PROFIT, quantity=D(leaves)
    )


@pytest.mark.parametrize(("smallest", "leaves"), [(3, 7), (4, 10)])
def test_a_rung_leaves_nothing_that_cannot_be_closed(smallest: int, leaves: int) -> None:
    """Seven leave three: a rest below the smallest order goes with them."""
    contract = an_instrument(min_quantity=D(smallest))
    rules = exit_rules(take_profit=(TakeProfit(at=fraction("0.01"), share=D("0.7")),))
    assert decided(a_position(), a_price(105), rules, contract) == Exit(
        reason=ExitReason.TAKE_PROFIT, quantity=D(leaves)
    )


def test_a_short_takes_profit_when_the_ask_has_fallen() -> None:
    """The mirror of a long: 4 % below, at the price of buying back."""
    rules = exit_rules(take_profit=(TakeProfit(at=fraction("0.04"), share=D("1")),))
    assert not isinstance(decided(a_position(Side.SHORT), a_price(95, "96.1"), rules), Exit)
    assert decided(a_position(Side.SHORT), a_price(95, 96), rules) == Exit(
        reason=ExitReason.TAKE_PROFIT, quantity=D(10)
    )


def test_time_is_up_at_the_age_and_not_before() -> None:
    """To the millisecond; and the stop comes first."""
    rules = exit_rules(max_age_ms=60_000)
    assert decided(a_position(), a_price(100), rules, age_ms=59_999) == HOLD
    assert decided(a_position(), a_price(100), rules, age_ms=60_000) == Exit(
        reason=ExitReason.MAX_AGE, quantity=D(10)
    )
    assert decided(a_position(), a_price(97), rules, age_ms=60_000).reason is ExitReason.STOP_LOSS


def test_the_first_stop_is_on_the_tick_that_risks_less() -> None:
    """2 % of 103.37 is 2.0674: up for a long, down for a short."""
    rules = exit_rules(stop_loss=fraction("0.02"))
    assert initial_stop(Side.LONG, D("103.37"), D(1), rules, CONTRACT) == D("101.4")      # 101.3026
    assert initial_stop(Side.SHORT, D("103.37"), D(1), rules, CONTRACT) == D("105.4")     # 105.4374
    assert initial_stop(Side.LONG, D(100), D(3), exit_rules(stop_loss=atrs("2.5")), CONTRACT) == D("92.5")


def test_the_first_stop_of_a_wild_pair_is_still_a_price() -> None:
    """A distance larger than the price ends at the lowest tick there is."""
    assert initial_stop(Side.LONG, D(1), D(5), exit_rules(stop_loss=atrs("2")), CONTRACT) == D("0.1")


PRICES = st.decimals(min_value="0.5", max_value="500", places=3)
FRACTIONS = st.decimals(min_value="0.0001", max_value="0.2", places=4)
TICKS = st.sampled_from([D("0.0001"), D("0.001"), D("0.05"), D("0.1")])
SIDES = st.sampled_from(list(Side))


@given(side=SIDES, entry=PRICES, distance=FRACTIONS, tick=TICKS)
def test_rounding_the_first_stop_never_raises_the_risk(
    side: Side, entry: Decimal, distance: Decimal, tick: Decimal
) -> None:
    """It lies beyond the entry, and no further away than said (or than one tick)."""
    contract = an_instrument(tick_size=tick)
    stop = initial_stop(side, entry, ZERO, exit_rules(stop_loss=Distance(fraction=distance)), contract)
    away = (entry - stop) * side.sign
    assert away <= max(entry * distance, tick)
    assert away > 0
    assert stop % tick == 0


@st.composite
def ladders(draw: st.DrawFn) -> tuple[TakeProfit, ...]:
    steps = draw(st.lists(st.tuples(FRACTIONS, st.decimals("0.05", "1", places=2)), max_size=4))
    return tuple(TakeProfit(at=Distance(fraction=at), share=share) for at, share in sorted(steps))


@given(
    side=SIDES, tick=TICKS, take_profit=ladders(), lots=st.integers(1, 50),
    fee=st.sampled_from([D(0), D("0.002")]),
    activate=FRACTIONS, distance=FRACTIONS, break_even=st.none() | FRACTIONS,
    steps=st.lists(st.tuples(st.integers(-30, 30), st.integers(0, 3)), max_size=40),
)
def test_whatever_the_price_does_the_stop_never_moves_back(
    side: Side, tick: Decimal, take_profit: tuple[TakeProfit, ...], lots: int, fee: Decimal,
    activate: Decimal, distance: Decimal, break_even: Decimal | None, steps: list[tuple[int, int]],
) -> None:
    """Along any path stops go towards profit, short of the price, and exits never exceed what is there."""
    contract = an_instrument(tick_size=tick, taker_fee_rate=fee)
    rules = exit_rules(
        take_profit=take_profit,
        trailing=Trailing(activate=Distance(fraction=activate), distance=Distance(fraction=distance)),
        break_even=None if break_even is None else Distance(fraction=break_even),
    )
    position = a_position(side, quantity=D(lots), initial_quantity=D(lots))
    bid = D(100)
    for move, spread in steps:
        bid = max(bid + move * D("0.05"), tick)
        price = a_price(bid, bid + spread * tick)
        decision = decided(position, price, rules, contract)
        if isinstance(decision, Exit):
            assert 0 < decision.quantity <= position.quantity
            if decision.reason is not ExitReason.TAKE_PROFIT:
                return
            position = settlement.reduced(position, decision.quantity, bid, ZERO, decision.reason)
            if not position.quantity:
                return
        elif isinstance(decision, MoveStop):
            moved = (decision.stop_price - position.stop_price) * side.sign
            assert moved >= 0
            assert (decision.best_price - position.best_price) * side.sign >= 0
            if moved:
                assert (price.to_leave(side) - decision.stop_price) * side.sign > 0
                assert decision.stop_price % tick == 0
            position = replace(
                position, stop_price=decision.stop_price, best_price=decision.best_price,
                stop_reason=decision.reason,
            )
    assert position.quantity > 0


@given(
    entry=st.integers(50, 150), path=st.lists(st.integers(-20, 20), min_size=1, max_size=30),
    activate=FRACTIONS, distance=FRACTIONS,
)
def test_a_short_mirrors_a_long(entry: int, path: list[int], activate: Decimal, distance: Decimal) -> None:
    """With distances in ATR, no fees and a mirrored path, a short does what a long does, turned over."""
    rules = trailing(Distance(atr=activate * 20), Distance(atr=distance * 20))
    long, short = a_position(Side.LONG, entry), a_position(Side.SHORT, entry)
    offset = ZERO
    for move in path:
        offset += move * D("0.1")
        up = decided(long, a_price(entry + offset), rules, NO_FEES)
        down = decided(short, a_price(entry - offset), rules, NO_FEES)
        assert type(up) is type(down)
        if isinstance(up, Exit):
            assert up == down
            return
        if isinstance(up, MoveStop) and isinstance(down, MoveStop):
            assert up.stop_price - entry == entry - down.stop_price
            assert (up.best_price - entry, up.reason) == (entry - down.best_price, down.reason)
            long = replace(long, stop_price=up.stop_price, best_price=up.best_price, stop_reason=up.reason)
            short = replace(short, stop_price=down.stop_price, best_price=down.best_price, stop_reason=down.reason)
