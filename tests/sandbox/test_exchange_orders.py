"""What orders do: book depth, IOC, post-only, reduce-only, closeOrder, stops, cancels."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sandbox.orders import Order
from sandbox.refusals import Refusal
from tests.sandbox.desk import XBT, Desk
from tests.sandbox.fake_market import FakeMarket

D = Decimal


def refusal_of(desk: Desk, side: str = "buy", size: int = 1, /, **wish: object) -> str:
    """Return the code an order is refused with."""
    with pytest.raises(Refusal) as caught:
        desk.trade(side, size, **wish)
    return caught.value.code


def events(desk: Desk) -> list[str]:
    return [event["event"] for event in desk.exchange.history.since()]


def test_an_accepted_order_is_matched_later() -> None:
    """Acceptance alone fills nothing: the client's answer comes before the match."""
    desk = Desk()
    order = desk.place("buy", 10)
    assert (order.filled_size, order.active) == (0, True)
    desk.exchange.run_pending()
    assert (order.filled_size, order.active) == (10, False)


def test_a_large_market_order_walks_the_book() -> None:
    """Beyond the best level the price gets worse, level by level."""
    desk = Desk("1000000", market=FakeMarket(size=100))
    order = desk.trade("buy", 300)
    # 100 at 50000.1, then 150 and 50 at steps of 0.01 % rounded up to the tick
    assert [(f.price, f.size) for f in desk.fills()] == [
        (D("50000.1"), 100), (D("50005.2"), 150), (D("50010.3"), 50)
    ]
    assert order.filled_size == 300


def test_a_market_order_stops_at_the_price_limit() -> None:
    """What lies beyond buyLimit is not bought: the rest is canceled."""
    desk = Desk("100000000", market=FakeMarket(size=10), depth_levels=2000, risk_limit=D(10**9))
    order = desk.trade("buy", 900_000, leverage=100)
    assert order.cancel_exist
    assert 0 < order.filled_size < 900_000
    assert max(f.price for f in desk.fills()) <= D("52500")            # 50000 × 1.05
    assert order.filled_size + order.canceled_size == 900_000


def test_ioc_cancels_what_it_cannot_get_at_once() -> None:
    """An IOC order never rests."""
    desk = Desk("1000000", market=FakeMarket(size=100))
    order = desk.trade("buy", 300, price="50000.1", timeInForce="IOC")
    assert (order.filled_size, order.canceled_size, order.active) == (100, 200, False)


def test_gtc_rests_with_what_is_left() -> None:
    """A limit order larger than the book at its price keeps its rest there and fills later."""
    desk = Desk("1000000", market=FakeMarket(size=100))
    order = desk.trade("buy", 250, price="50000.1")
    assert (order.filled_size, order.resting) == (100, True)
    desk.exchange.step()                                               # liquidity comes back
    desk.exchange.step()
    assert (order.filled_size, order.active) == (250, False)
    assert [f.liquidity for f in desk.fills()] == ["taker", "maker", "maker"]


def test_post_only_dies_rather_than_take() -> None:
    """A post-only order that would cross the spread is canceled unfilled."""
    desk = Desk()
    assert desk.trade("buy", 1, price="50000.1", postOnly=True).cancel_exist
    assert desk.trade("buy", 1, price="50000", postOnly=True).resting


def test_reduce_only_is_cut_to_the_position() -> None:
    """Asking for more than there is closes what there is and no more."""
    desk = Desk()
    desk.trade("buy", 10)
    order = desk.trade("sell", 25, reduceOnly=True)
    assert (order.filled_size, order.canceled_size, desk.position().qty) == (10, 15, 0)


def test_close_order_needs_neither_side_nor_size() -> None:
    """closeOrder closes the whole position, whichever way it points."""
    desk = Desk()
    desk.trade("sell", 40)
    order = desk.exchange.place(
        desk.account, {"clientOid": "x", "symbol": XBT, "type": "market", "closeOrder": True}
    )
    desk.exchange.run_pending()
    assert (order.side, order.filled_size, desk.position().qty) == ("buy", 40, 0)


def test_closing_without_a_position_is_300009() -> None:
    """Both ways of reducing are refused when there is nothing to reduce."""
    desk = Desk()
    assert refusal_of(desk, closeOrder=True) == "300009"
    assert refusal_of(desk, reduceOnly=True) == "300009"
    desk.trade("buy", 10)
    assert refusal_of(desk, "buy", reduceOnly=True) == "300009"        # the wrong way round


def test_two_closers_of_one_position_close_it_once() -> None:
    """Both accepted, one fills: the second finds nothing left and dies unfilled."""
    desk = Desk()
    desk.trade("buy", 10)
    first = desk.place("sell", 10, reduceOnly=True)
    second = desk.place("sell", 10, reduceOnly=True)
    desk.exchange.run_pending()
    assert (first.filled_size, second.filled_size, second.cancel_exist) == (10, 0, True)
    assert desk.position().qty == 0


def test_a_flat_position_takes_its_reducing_orders_along_but_not_its_stops() -> None:
    """Resting reducers are canceled with the position; a waiting stop stays, as on KuCoin."""
    desk = Desk()
    desk.trade("buy", 10)
    reducer = desk.trade("sell", 10, price="51000", reduceOnly=True)
    stop = a_stop(desk, "down", "49000")
    desk.trade("sell", 10)
    assert (reducer.active, stop.active) == (False, True)
    desk.move("48999")
    assert (stop.stop_triggered, stop.filled_size, stop.cancel_exist) == (True, 0, True)


def a_stop(desk: Desk, stop: str, price: str, **wish: object) -> Order:
    fields = {"stop": stop, "stopPrice": price, "stopPriceType": "MP", "closeOrder": True}
    return desk.trade("sell", 10, **(fields | wish))


@pytest.mark.parametrize("price_type", ["TP", "MP", "IP"])
def test_a_stop_fires_when_its_price_is_reached(price_type: str) -> None:
    """At the stop price itself it becomes a market order of the same id and closes."""
    desk = Desk()
    desk.trade("buy", 10)
    stop = a_stop(desk, "down", "49000", stopPriceType=price_type)
    desk.move("49000.1")
    assert stop.id in desk.account.stops
    desk.move("49000")
    assert (stop.stop_triggered, stop.filled_size, desk.position().qty) == (True, 10, 0)
    assert desk.account.orders[stop.id] is stop


def test_a_spike_the_client_never_saw_fires_the_stop() -> None:
    """The price passed through the stop and came back within one step."""
    desk = Desk()
    desk.trade("buy", 10)
    up = a_stop(desk, "up", "51000")
    desk.move("51000", "50000")
    assert up.filled_size == 10
    assert desk.fills()[-1].price == D("50000")                        # filled where the market is now


def test_a_stop_already_beyond_its_price_fires_at_once() -> None:
    """Placed on the wrong side of the market, it does not wait for a move."""
    desk = Desk()
    desk.trade("buy", 10)
    assert a_stop(desk, "down", "50500").filled_size == 10


def test_a_stop_closes_what_there_is_when_it_fires() -> None:
    """closeOrder takes size and side from the position of that moment."""
    desk = Desk()
    desk.trade("buy", 10)
    stop = a_stop(desk, "down", "49000")
    desk.trade("buy", 15)
    desk.move("49000")
    assert (stop.size, stop.filled_size, desk.position().qty) == (25, 25, 0)


def test_a_stop_of_an_abandoned_long_closes_a_new_short() -> None:
    """The danger of a forgotten closeOrder stop: it closes whatever is there next."""
    desk = Desk()
    desk.trade("buy", 10)
    stop = a_stop(desk, "down", "49000")
    desk.trade("sell", 30)
    desk.move("49000")
    assert (stop.side, stop.filled_size, desk.position().qty) == ("buy", 20, 0)


def test_an_entry_with_attached_stops_places_both_and_one_cancels_the_other() -> None:
    """st-orders: after the fill two stops wait; when one fires the other goes."""
    desk = Desk()
    desk.trade("buy", 10, triggerStopUpPrice="51000", triggerStopDownPrice="49000", stopPriceType="MP")
    assert sorted(o.stop for o in desk.account.stops.values()) == ["down", "up"]
    desk.move("51000")
    assert desk.position().qty == 0
    assert not desk.account.stops


def test_a_cancel_is_accepted_before_it_is_carried_out() -> None:
    """Between acceptance and cancellation the order is still alive."""
    desk = Desk()
    order = desk.trade("buy", 10, price="49000")
    desk.exchange.cancel(desk.account, order)
    assert order.active
    desk.exchange.run_pending()
    assert (order.active, order.cancel_exist, desk.account.order_margin()) == (False, True, 0)
    with pytest.raises(Refusal) as refusal:
        desk.exchange.cancel(desk.account, order)
    assert refusal.value.code == "100004"


def test_a_fill_can_win_against_an_accepted_cancel() -> None:
    """The injected race: the cancel was accepted, yet the order ends filled."""
    desk = Desk()
    order = desk.trade("buy", 10, price="49000")
    desk.struck.add("cancel_loses")
    desk.exchange.cancel(desk.account, order)
    desk.exchange.run_pending()
    assert (order.filled_size, order.cancel_exist, desk.position().qty) == (10, False, 10)


def test_an_accepted_order_can_die_before_the_book() -> None:
    """Accepted, then gone: done, unfilled, canceled."""
    desk = Desk()
    desk.struck.add("order_dies")
    order = desk.trade("buy", 10)
    assert (order.active, order.filled_size, order.cancel_exist) == (False, 0, True)


def test_a_new_stop_sees_the_price_and_not_where_it_came_from() -> None:
    """Placed behind a price that has just passed there: it rests until the price comes back."""
    desk = Desk()
    desk.trade("buy", 10)
    desk.move("50000", "51000")
    stop = desk.trade("sell", 10, stop="down", stopPrice="50500", stopPriceType="TP", closeOrder=True)
    assert stop.active
    assert not stop.stop_triggered
    desk.move("50400")
    assert stop.stop_triggered
    assert desk.position().qty == 0


def test_an_accepted_stop_can_die_at_once() -> None:
    """Accepted, then gone from the list of stops without ever having fired."""
    desk = Desk()
    desk.trade("buy", 10)
    desk.struck.add("stop_dies")
    stop = desk.trade("sell", 10, stop="down", stopPrice="49000", stopPriceType="TP", closeOrder=True)
    assert (stop.active, stop.stop_triggered, stop.cancel_exist) == (False, False, True)
    assert desk.account.stops == {}
    assert desk.position().qty == 10


def test_a_client_oid_is_unique_among_live_orders_only() -> None:
    """A live duplicate is 300018; once the first is done the id may come again."""
    desk = Desk()
    first = desk.trade("buy", 1, price="49000", clientOid="same")
    assert refusal_of(desk, clientOid="same") == "300018"
    desk.exchange.cancel(desk.account, first)
    desk.exchange.run_pending()
    second = desk.trade("buy", 1, clientOid="same")
    assert desk.account.by_client_oid("same") is second


@pytest.mark.parametrize(("wish", "code"), [
    ({"symbol": "NOSUCHM"}, "900001"),
    ({"clientOid": ""}, "400100"),
    ({"clientOid": "ä"}, "300000"),
    ({"clientOid": "x" * 41}, "300000"),
    ({"side": "long"}, "300000"),
    ({"price": "50000.05"}, "300000"),
    ({"price": "52500.1"}, "300011"),
    ({"side": "sell", "price": "47499.9"}, "300012"),
    ({"size": 0}, "400100"),
    ({"size": "1.5"}, "400100"),
    ({"size": 1_000_001}, "300000"),
    ({"size": None}, "100001"),
    ({"leverage": 126}, "300016"),
    ({"leverage": None}, "100001"),
    ({"marginMode": "CROSS"}, "330005"),
    ({"positionSide": "LONG"}, "330012"),
    ({"stop": "down", "stopPrice": "49000"}, "100001"),
    ({"stop": "down", "stopPrice": "49000.01", "stopPriceType": "MP"}, "300000"),
    ({"size": 900_000, "leverage": 125}, "300005"),
])
def test_refusals_carry_kucoins_codes(wish: dict[str, object], code: str) -> None:
    """Each broken wish is refused with its own code and leaves nothing behind."""
    desk = Desk("100000000")
    assert refusal_of(desk, **wish) == code
    assert not desk.account.orders
    assert events(desk)[-1] == "order_refused"


def test_size_may_be_given_in_base_or_quote_currency() -> None:
    """qty counts base currency, valueQty quote currency; both become lots."""
    desk = Desk()
    assert desk.trade("buy", 0, size=None, qty="0.025").size == 25     # 0.025 / 0.001
    assert desk.trade("buy", 0, size=None, valueQty="1049").size == 20  # 1049 / 50, down


def test_limits_on_the_number_of_orders() -> None:
    """Beyond the limit of a contract: 300001 for orders, 300004 for stops."""
    desk = Desk(active_order_limit=2, stop_order_limit=1)
    for _ in range(2):
        desk.trade("buy", 1, price="49000")
    assert refusal_of(desk, price="49000") == "300001"
    desk.trade("buy", 1)
    a_stop(desk, "down", "48000")
    assert refusal_of(desk, "sell", stop="down", stopPrice="48000", stopPriceType="MP") == "300004"


def test_only_one_close_order_stop_when_so_told() -> None:
    """The stricter exchange: a second closeOrder stop of a contract is refused."""
    desk = Desk(one_close_order_stop=True)
    desk.trade("buy", 1)
    a_stop(desk, "down", "48000")
    with pytest.raises(Refusal) as refusal:
        a_stop(desk, "down", "48500")
    assert refusal.value.code == "300004"


def test_maintenance_refuses_orders() -> None:
    """cancelonly: no orders, but cancels; close: neither."""
    desk = Desk()
    order = desk.trade("buy", 1, price="49000")
    desk.exchange.rules.service_status = "close"
    assert refusal_of(desk) == "300002"
    with pytest.raises(Refusal):
        desk.exchange.cancel(desk.account, order)
    desk.exchange.rules.service_status = "cancelonly"
    assert refusal_of(desk) == "300002"
    desk.exchange.cancel(desk.account, order)
    desk.exchange.run_pending()
    assert not order.active
