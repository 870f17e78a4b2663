"""What differs between book and exchange, found without touching either."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import NOW_MS, SYMBOL, D, a_position
from trading.facts import ExchangePosition, Order, OrderSide, Position, ProtectiveStop, Side
from trading.reconciliation import Difference, ExchangeView, Kind, compare

STOP_OID = "rad-000001000011-s1"


def a_protected(**overrides: Any) -> Position:
    """Ten lots at 100 whose stop rests at 97.9."""
    stop = ProtectiveStop(client_oid=STOP_OID, order_id="1", stop_price=D("97.9"), confirmed_ms=NOW_MS)
    return a_position(**{"protective_stop": stop, **overrides})


def held(**overrides: Any) -> ExchangePosition:
    """The same ten lots as the exchange reports them."""
    theirs = ExchangePosition(
        symbol=SYMBOL, side=Side.LONG, quantity=D(10), entry_price=D("100.0"), mark_price=D(100), leverage=D(5),
        margin_mode="isolated", unrealised_pnl=D(0), liquidation_price=None, opened_ms=NOW_MS,
    )
    return replace(theirs, **overrides)


def an_order(client_oid: str = STOP_OID, **overrides: Any) -> Order:
    """The stop that rests."""
    order = Order(
        order_id="1", client_oid=client_oid, symbol=SYMBOL, side=OrderSide.SELL, quantity=D(0),
        filled_quantity=D(0), filled_value=D(0), average_price=None, is_active=True, is_cancelled=False,
        reduce_only=True, close_order=True, stop_price=D("97.9"), stop_triggered=False, created_ms=NOW_MS,
    )
    return replace(order, **overrides)


def looked_at(
    positions: tuple[ExchangePosition, ...] = (), stops: tuple[Order, ...] = (), orders: tuple[Order, ...] = ()
) -> ExchangeView:
    return ExchangeView(positions=positions, open_orders=orders, stop_orders=stops)


IN_AGREEMENT = looked_at((held(),), (an_order(),))


def kinds(differences: tuple[Difference, ...]) -> list[Kind]:
    return [difference.kind for difference in differences]


def test_agreement_is_no_difference() -> None:
    """Prices may be written differently; nothing at all agrees with nothing."""
    assert compare([a_protected()], IN_AGREEMENT) == ()
    assert compare([], looked_at()) == ()


@pytest.mark.parametrize(("theirs", "kind", "exchange"), [
    (held(quantity=D(9)), Kind.SMALLER, "long 9 at 100"),
    (held(quantity=D(11)), Kind.LARGER, "long 11 at 100"),
    (held(side=Side.SHORT), Kind.TURNED, "short 10 at 100"),
    (held(side=Side.SHORT, quantity=D(9)), Kind.TURNED, "short 9 at 100"),
])
def test_another_size_or_side(theirs: ExchangePosition, kind: Kind, exchange: str) -> None:
    """Both sides are said in words a person can compare."""
    (found,) = compare([a_protected()], looked_at((theirs,), (an_order(),)))
    assert (found.kind, found.book, found.exchange) == (kind, "long 10 at 100", exchange)


def test_a_position_of_one_side_only() -> None:
    """Gone from the exchange, or not in the book; a position that is gone is not called unprotected too."""
    assert kinds(compare([a_protected()], looked_at())) == [Kind.GONE]
    assert kinds(compare([], looked_at((held(),)))) == [Kind.FOREIGN]


@pytest.mark.parametrize(("position", "stops"), [
    (a_protected(protective_stop=None), ()),                                  # never placed
    (a_protected(), ()),                                                      # cancelled by somebody
    (a_protected(), (an_order(is_active=False),)),                            # listed, but over
    (a_protected(), (an_order("somebody-elses"),)),
    (a_protected(), (an_order(symbol="ETH/USDT:USDT"),)),                     # rests for another pair
])
def test_only_its_own_resting_stop_protects_a_position(position: Position, stops: tuple[Order, ...]) -> None:
    """Whatever else is in the list does not count."""
    view = looked_at((held(),), stops)
    assert Kind.UNPROTECTED in kinds(compare([position], view))
    assert Kind.UNPROTECTED not in kinds(compare([position], view, protect=False))


def test_what_is_left_over_of_ours_is_found_and_what_is_not_ours_is_not() -> None:
    """A second stop, a stop without a position, an order nothing explains."""
    second = an_order("rad-000001000011-s2", order_id="2")
    entry = an_order("rad-000001000012-e1", order_id="3", stop_price=None)
    foreign = an_order("by-hand", order_id="4")
    found = compare([a_protected()], looked_at((held(),), (an_order(), second, foreign), (entry, foreign)))
    assert [(one.kind, one.order_id) for one in found] == [(Kind.ORPHAN_STOP, "2"), (Kind.STRAY_ORDER, "3")]
    assert kinds(compare([], looked_at(stops=(an_order(),)))) == [Kind.ORPHAN_STOP]


@pytest.mark.parametrize("view", [
    looked_at(), looked_at((held(quantity=D(1)),)), looked_at((held(),)),
    looked_at((held(),), (an_order("rad-000001000012-s1"),)),
])
def test_nothing_is_concluded_while_something_is_under_way(view: ExchangeView) -> None:
    """What is being opened or closed looks wrong on purpose."""
    assert compare([a_protected()], view)
    assert compare([a_protected()], view, reserved=[SYMBOL]) == ()
