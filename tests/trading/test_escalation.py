"""The ladder of an exit, rung by rung."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import an_instrument
from trading.escalation import NEXT, Ladder, Leaving, Result, Shape, pause_unsent_s
from trading.facts import ExitReason

D = Decimal
NO = (Result.REFUSED, Result.TOO_LARGE)


def climbed(
    results: list[Result], to_go: Decimal, *, may_close_all: bool = True
) -> list[tuple[Decimal | None, float]]:
    """The lots of each order, None for closeOrder, and the pause before it, when each ends like that."""
    ladder, orders = Ladder(), []
    instrument = an_instrument()
    for result in results:
        orders.append((ladder.quantity(to_go, instrument), ladder.pause_s))
        ladder = ladder.after(result, to_go, instrument, may_close_all=may_close_all)
    return orders


def test_every_case_has_its_next_shape() -> None:
    """The table is whole: whatever becomes of an order of any shape, there is a next one."""
    assert set(NEXT) == set(product(Shape, Result))


def test_a_no_that_says_nothing_of_the_size_is_answered_with_close_order() -> None:
    """All, then closeOrder, and round again, each round more slowly, never more slowly than two seconds."""
    orders = climbed([Result.REFUSED] * 14, D(39))
    assert [quantity for quantity, _ in orders] == [D(39), None] * 7
    assert [pause for _, pause in orders] == [
        0.0, 0.1, 0.1, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0
    ]


def test_a_no_to_the_size_is_answered_with_halves_down_to_a_lot_and_then_close_order() -> None:
    """39, 19, 9, 4, 2, 1, closeOrder, and all of it again, within a second."""
    orders = climbed([Result.TOO_LARGE] * 8, D(39))
    assert [quantity for quantity, _ in orders] == [D(39), D(19), D(9), D(4), D(2), D(1), None, D(39)]
    assert sum(pause for _, pause in orders) == pytest.approx(0.7)


def test_a_part_is_never_closed_with_close_order() -> None:
    """Of a take-profit part, or where others have added: halves, and then the part again."""
    orders = climbed([Result.TOO_LARGE] * 4, D(4), may_close_all=False)
    assert [quantity for quantity, _ in orders] == [D(4), D(2), D(1), D(4)]
    assert [q for q, _ in climbed([Result.REFUSED] * 3, D(4), may_close_all=False)] == [D(4)] * 3


def test_the_rest_of_a_partial_fill_follows_at_once_and_later_rests_more_slowly() -> None:
    """A thin book: at once, then 0.1, 0.25, 0.5 s; that is no refusal."""
    orders = climbed([Result.FELL_SHORT] * 5, D(39))
    assert [pause for _, pause in orders] == [0.0, 0.0, 0.1, 0.25, 0.5]
    assert all(quantity == D(39) for quantity, _ in orders)


def test_a_smaller_size_that_fills_goes_on_without_a_pause() -> None:
    """The exchange takes 9 at a time: 9 again and again, with no pause between."""
    results = [Result.TOO_LARGE, Result.TOO_LARGE, Result.AS_ASKED, Result.AS_ASKED]
    assert climbed(results, D(39))[2:] == [(D(9), 0.1), (D(9), 0.0)]


def test_where_no_size_was_refused_the_next_is_twice_as_large() -> None:
    """Two orders died unfilled, 9 were taken: 18 follow, and then all that is left."""
    results = [Result.UNFILLED, Result.UNFILLED, Result.AS_ASKED, Result.AS_ASKED, Result.AS_ASKED]
    assert [quantity for quantity, _ in climbed(results, D(39))] == [D(39), D(19), D(9), D(18), D(36)]


def test_more_than_one_order_takes_is_sent_in_several() -> None:
    """A position above the contract's largest order begins with that, not with a refusal."""
    assert Ladder().quantity(D(2_500), an_instrument(max_quantity=D(1_000))) == D(1_000)


def test_the_third_no_in_a_row_is_an_alarm_and_a_fill_ends_it() -> None:
    """Two may happen; a fill begins the count anew."""
    instrument = an_instrument()
    ladder = Ladder()
    alarming = []
    for result in (Result.REFUSED, Result.TOO_LARGE, Result.REFUSED, Result.AS_ASKED):
        ladder = ladder.after(result, D(10), instrument, may_close_all=True)
        alarming.append(ladder.is_alarming)
    assert alarming == [False, False, True, False]


@given(
    st.lists(st.sampled_from(list(Result)), max_size=80), st.integers(1, 10_000_000), st.booleans(),
)
def test_it_never_ends_never_grows_and_never_waits_long(
    results: list[Result], lots: int, may_close_all: bool
) -> None:
    """Whatever happens: an order of one lot to all of it, within two seconds; closeOrder only where it may."""
    ladder, instrument = Ladder(), an_instrument()
    for result in results:
        ladder = ladder.after(result, D(lots), instrument, may_close_all=may_close_all)
        quantity = ladder.quantity(D(lots), instrument)
        assert 0 <= ladder.pause_s <= 2
        assert may_close_all if quantity is None else 1 <= quantity <= lots


@given(st.lists(st.sampled_from(NO), min_size=30, max_size=30), st.integers(1, 1_000_000))
def test_close_order_comes_before_long(results: list[Result], lots: int) -> None:
    """However it is refused, within twenty-two orders closeOrder has been tried: a million has twenty halves."""
    assert None in [quantity for quantity, _ in climbed(results, D(lots))][:22]


def test_a_part_sticks_once_it_has_begun() -> None:
    """Nobody has taken any of it: the price may think better of it. All of a position: never."""
    assert not Leaving(reason=ExitReason.TAKE_PROFIT, part=D(5)).sticks
    assert Leaving(reason=ExitReason.TAKE_PROFIT, part=D(5), has_begun=True).sticks
    assert Leaving(reason=ExitReason.MANUAL, part=None).sticks


def test_those_who_could_not_send_do_not_come_back_together() -> None:
    """Between 50 and 150 ms, and not the same for all."""
    pauses = [pause_unsent_s(f"rad-0abcdefgh{number:03}-x1", 1.0) for number in range(100)]
    assert min(pauses) >= 0.05
    assert max(pauses) <= 0.15
    assert len(set(pauses)) > 50
