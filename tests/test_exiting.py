"""Exits that are refused, fall short, do not get there or come late: never given up, booked exactly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.crowd import PATIENCE_S, crowd
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened, price_moves_to
from tests.trading_house import SYMBOL, TradingHouse, a_manager, exit_rules
from trading.errors import (
    ExchangeError,
    ExchangeUnavailable,
    OrderNotFound,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    TooLarge,
)
from trading.facts import ExitReason, OrderRequest, OrderSide, Priority
from trading.lifecycle import IntentState, PositionState

D = Decimal
ALL_OUT = exit_rules(take_profit=())


def on_exits(house: TradingHouse, act: Callable[[OrderRequest], None]) -> None:
    """Let *act* see every exit order before it is taken."""
    def hook(request: object) -> None:
        assert isinstance(request, OrderRequest)
        if "-x" in request.client_oid:
            act(request)

    house.exchange.before["place_order"] = hook


def refusing(error: ExchangeError, tried: list[OrderRequest]) -> Callable[[OrderRequest], None]:
    """Refuse each exit with *error*, and keep what was asked."""
    def act(request: OrderRequest) -> None:
        tried.append(request)
        raise error

    return act


def an_open_house(clock: ManualClock) -> TradingHouse:
    """A long of 39 lots at 50,000 with a stop at 49,000."""
    house = a_manager(clock=clock, exits=ALL_OUT)
    opened(house, now_ms=clock.now_ms())
    return house


def test_a_refused_exit_goes_on_as_close_order_whatever_the_price_does(clock: ManualClock) -> None:
    """Refused at the stop, and the price recovers: decided is decided. The next order is another one."""
    house = an_open_house(clock)
    tried: list[OrderRequest] = []
    on_exits(house, refusing(OrderRejected("suspended", code="300002"), tried))
    price_moves_to(house, "48000")
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert position.state is PositionState.OPEN
    price_moves_to(house, "50500")
    assert len(tried) == 1                                        # its pause is not over
    clock.advance(0.11)
    price_moves_to(house, "50500")
    assert [(request.quantity, request.close_order) for request in tried] == [(D(39), False), (None, True)]
    del house.exchange.before["place_order"]
    clock.advance(0.11)
    house.manager.update_positions()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.STOP_LOSS
    assert len({request.client_oid for request in (*tried, *house.exchange.exits())}) == 3


def test_a_profit_to_be_taken_does_not_replace_an_exit_of_all(clock: ManualClock) -> None:
    """Refused at the stop, and then the price leaps to the take profit: all of it leaves, not a part."""
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    on_exits(house, refusing(OrderRejected("suspended", code="300002"), []))
    price_moves_to(house, "48000")
    del house.exchange.before["place_order"]
    clock.advance(0.11)
    price_moves_to(house, "52500")
    (trade,) = house.journal.trades
    assert (trade.quantity, trade.exit_reason) == (D(39), ExitReason.STOP_LOSS)
    assert [request.close_order for request in house.exchange.exits()] == [True]


def test_it_goes_on_without_a_price(clock: ManualClock) -> None:
    """The stream falls silent after the refusal: what is decided needs no price."""
    house = an_open_house(clock)
    on_exits(house, refusing(OrderRejected("suspended", code="300002"), []))
    price_moves_to(house, "48000")
    del house.exchange.before["place_order"]
    house.prices._prices.clear()
    clock.advance(0.11)
    house.manager.update_positions()
    assert len(house.journal.trades) == 1


def test_an_exit_refused_for_ever_is_tried_for_ever_and_said(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty refusals: still trying, at most two seconds apart, alarmed from the third on; then it closes."""
    house = an_open_house(clock)
    tried: list[OrderRequest] = []
    on_exits(house, refusing(OrderRejected("suspended", code="300002"), tried))
    with caplog.at_level(logging.CRITICAL):
        price_moves_to(house, "48000")
        assert house.manager.exits_in_trouble() == ()
        for _ in range(49):
            clock.advance(2.0)
            house.manager.update_positions()
    assert len(tried) == 50
    ((position, leaving),) = house.manager.exits_in_trouble()
    assert (position.symbol, leaving.ladder.refusals) == (SYMBOL, 50)
    assert [record.levelno for record in caplog.records].count(logging.CRITICAL) == 2   # the 3rd and the 30th
    assert [kind for kind, _, _ in house.journal.events if kind.startswith("exit")] == [
        "exit_refused", "exit_stuck", "exit_stuck"
    ]
    del house.exchange.before["place_order"]
    clock.advance(2.0)
    house.manager.update_positions()
    assert len(house.journal.trades) == 1
    assert house.manager.exits_in_trouble() == ()


def test_a_size_that_is_refused_is_halved_until_it_is_taken(clock: ManualClock) -> None:
    """Ten lots at most: 39 and 19 are refused, then nine at a time, without a pause, to the last."""
    house = an_open_house(clock)
    house.exchange.most_lots = D(10)
    price_moves_to(house, "48000")
    for _ in range(2):
        clock.advance(0.11)
        house.manager.update_positions()
    sizes = [request.quantity for request in house.exchange.exits()]
    assert sizes == [D(39), D(19), D(9), D(9), D(9), D(9), D(3)]
    (trade,) = house.journal.trades
    assert trade.quantity == D(39)
    assert trade.realised_pnl == D("-78") - D("1.17") - D("1.1232")   # 39 × 2; 39 × 48 × 0.0006
    assert house.exchange.net[SYMBOL] == 0


def test_a_market_order_stopped_at_the_price_threshold_is_followed_by_its_rest_at_once(clock: ManualClock) -> None:
    """Ten lots fill: the other 29 go out in the same breath, what is left of those after a short pause."""
    house = an_open_house(clock)
    house.exchange.fillable = D(10)
    price_moves_to(house, "48000")
    assert [request.quantity for request in house.exchange.exits()] == [D(39), D(29)]
    assert house.manager.find(SYMBOL).quantity == D(19)           # type: ignore[union-attr]
    house.exchange.fillable = None
    clock.advance(0.11)
    price_moves_to(house, "50000")
    assert [request.quantity for request in house.exchange.exits()] == [D(39), D(29), D(19)]
    (trade,) = house.journal.trades
    # 20 lots at 48,000 and 19 at 50,000
    assert trade.exit_price.quantize(D("0.01")) == D("48974.36")
    assert trade.realised_pnl == D("-40") - D("1.17") - D("0.576") - D("0.57")


def test_an_accepted_exit_that_fills_nothing_is_no_success(clock: ManualClock) -> None:
    """Accepted and cut to nothing by the price limits: the next is a half, and so on."""
    house = an_open_house(clock)
    house.exchange.fillable = D(0)
    price_moves_to(house, "48000")
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.quantity, position.state) == (D(39), PositionState.OPEN)
    house.exchange.fillable = None
    clock.advance(0.11)
    house.manager.update_positions()
    assert [request.quantity for request in house.exchange.exits()][:2] == [D(39), D(19)]
    assert house.exchange.net[SYMBOL] == 0


def test_an_exit_that_the_exchanges_stop_forestalls_is_no_alarm(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepted, and the stop sells all before it fills: a warning; the next order is told, all is booked."""
    house = an_open_house(clock)
    house.exchange.fillable = D(0)
    with caplog.at_level(logging.WARNING):
        price_moves_to(house, "48000")
        house.exchange.trigger_stop(SYMBOL)
        clock.advance(0.11)
        house.manager.update_positions()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.EXCHANGE_STOP
    assert max(record.levelno for record in caplog.records) == logging.WARNING


def test_one_that_fills_nothing_again_is_an_error(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Then no stop was faster."""
    house = an_open_house(clock)
    house.exchange.fillable = D(0)
    price_moves_to(house, "48000")
    clock.advance(0.11)
    with caplog.at_level(logging.ERROR):
        house.manager.update_positions()
    assert "exit refused times=2" in caplog.text


@pytest.mark.parametrize("error", [
    RateLimited("too many requests", code="429000"), ExchangeUnavailable("no connection"),
])
def test_what_did_not_get_there_is_no_rung_and_uses_no_number(clock: ManualClock, error: ExchangeError) -> None:
    """Turned away unread: the same order under the same id, 50 to 150 ms later, for as long as it takes."""
    house = an_open_house(clock)
    tried: list[OrderRequest] = []
    on_exits(house, refusing(error, tried))
    price_moves_to(house, "48000")
    for _ in range(5):
        clock.advance(0.049)
        house.manager.update_positions()
        before = len(tried)
        clock.advance(0.102)
        house.manager.update_positions()
        assert len(tried) == before + 1
    assert len(set(tried)) == 1
    assert house.manager.exits_in_trouble() == ()
    assert tried[0].client_oid not in house.journal.intents
    del house.exchange.before["place_order"]
    clock.advance(0.151)
    house.manager.update_positions()
    assert house.exchange.exits() == [tried[0]]
    assert len(house.journal.trades) == 1


def test_a_close_by_hand_that_is_refused_is_said_and_goes_on(clock: ManualClock) -> None:
    """The caller learns of the refusal; the position is closed as soon as the exchange lets it be."""
    house = an_open_house(clock)
    on_exits(house, refusing(OrderRejected("suspended", code="300002"), []))
    with pytest.raises(ExchangeError, match="suspended"):
        house.manager.close_position(SYMBOL)
    del house.exchange.before["place_order"]
    clock.advance(0.11)
    house.manager.update_positions()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.MANUAL


def test_a_close_by_hand_that_falls_short_sends_the_rest_itself(clock: ManualClock) -> None:
    """Twenty fill, then nineteen: the caller gets the whole trade."""
    house = an_open_house(clock)
    house.exchange.fillable = D(20)
    trade = house.manager.close_position(SYMBOL)
    assert trade is not None
    assert trade.quantity == D(39)
    assert [request.quantity for request in house.exchange.exits()] == [D(39), D(19)]


# ---- parts --------------------------------------------------------------------------------------


def test_a_part_filled_in_two_closes_exactly_the_part() -> None:
    """Twenty are to take profit, twelve fill: eight follow, one step is taken, nineteen stay."""
    house = a_manager()
    opened(house)
    house.exchange.fillable = D(12)
    price_moves_to(house, "52000")
    assert [request.quantity for request in house.exchange.exits()] == [D(20), D(8)]
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.quantity, position.steps_taken, position.state) == (D(19), 1, PositionState.OPEN)
    assert position.realised_pnl == D(40)                         # 20 × 0.001 × 2,000
    price_moves_to(house, "52000")
    assert house.exchange.net[SYMBOL] == D(19)


def test_a_part_that_is_refused_is_tried_smaller_and_never_with_close_order(clock: ManualClock) -> None:
    """Eight lots at most: parts of twenty in smaller orders, twenty in all."""
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    house.exchange.most_lots = D(8)
    for _ in range(4):
        price_moves_to(house, "52000")
        clock.advance(0.3)
    assert not any(request.close_order for request in house.exchange.exits())
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert (position.quantity, position.steps_taken) == (D(19), 1)
    assert house.exchange.net[SYMBOL] == D(19)


def test_a_part_nobody_takes_is_forgotten_when_the_price_leaves(clock: ManualClock) -> None:
    """Profit that could not be taken at 52,000 is not taken at 51,000; the stop still works."""
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    tried: list[OrderRequest] = []
    on_exits(house, refusing(OrderRejected("suspended", code="300002"), tried))
    price_moves_to(house, "52000")
    clock.advance(1)
    price_moves_to(house, "51000")
    assert len(tried) == 1
    assert house.manager.leaving(SYMBOL) is None
    del house.exchange.before["place_order"]
    price_moves_to(house, "48000")
    assert [request.quantity for request in house.exchange.exits()] == [D(39)]


def test_a_part_that_is_under_way_gives_way_to_the_stop(clock: ManualClock) -> None:
    """Five of twenty fill, twice; then the price falls through the stop: all that is left goes."""
    house = a_manager(clock=clock)
    opened(house, now_ms=clock.now_ms())
    house.exchange.fillable = D(5)
    price_moves_to(house, "52000")
    assert house.manager.find(SYMBOL).quantity == D(29)           # type: ignore[union-attr]
    house.exchange.fillable = None
    clock.advance(0.11)
    price_moves_to(house, "48000")
    assert house.exchange.exits()[-1].quantity == D(29)
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.STOP_LOSS


# ---- unknown, late, and overtaken ---------------------------------------------------------------


def test_an_exit_certainly_not_there_is_sent_again_under_the_next_number(clock: ManualClock) -> None:
    """Lost on the way, looked up until certain: then x2, and each id stands for one order at most."""
    house = an_open_house(clock)
    clock.flows = True
    lost: list[str] = []

    def lose_first(request: OrderRequest) -> bool:
        if "-x1" in request.client_oid:
            lost.append(request.client_oid)
        return "-x1" in request.client_oid

    house.exchange.lose_request = lose_first
    price_moves_to(house, "48000")
    clock.advance(0.3)
    house.manager.update_positions()
    (again,) = house.exchange.exits()
    assert (again.client_oid[-3:], again.quantity) == ("-x2", D(39))
    assert house.journal.intents[lost[0]] is IntentState.NOT_PLACED
    assert len(house.journal.trades) == 1


def test_an_exit_that_turns_up_after_all_is_booked_once(clock: ManualClock) -> None:
    """Believed lost, it fills before the next one gets there: that meets no position, and x1 is booked."""
    house = an_open_house(clock)
    clock.flows = True
    house.exchange.lose_request = lambda request: "-x1" in request.client_oid
    late: list[OrderRequest] = []

    def arrive_late(request: OrderRequest) -> None:
        if "-x1" in request.client_oid:
            late.append(request)
        else:
            house.exchange._accept(late[0])

    on_exits(house, arrive_late)
    price_moves_to(house, "48000")
    clock.advance(0.3)
    house.manager.update_positions()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.STOP_LOSS
    assert house.exchange.net[SYMBOL] == 0
    assert len(house.exchange.fills) == 2
    assert house.reconciler.run().found == ()


def test_a_stop_and_a_person_close_it_between_them(clock: ManualClock) -> None:
    """A person sold nine, the stop the other thirty; RAD's exit meets nothing and books both, then and there."""
    house = an_open_house(clock)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9))
    house.exchange.prices[SYMBOL] = D(48_900)
    house.exchange.trigger_stop(SYMBOL)
    price_moves_to(house, "48900")
    house.manager.update_positions()
    (trade,) = house.journal.trades
    # (9 × 50,000 + 30 × 48,900) / 39
    assert trade.exit_price.quantize(D("0.01")) == D("49153.85")
    assert house.manager.snapshot() == ()
    assert not house.manager.has_uncertain()


def test_an_exit_larger_than_what_is_left_books_each_part_once(clock: ManualClock) -> None:
    """A person sold nine unseen: RAD's 39 fill as thirty, the rest meets nothing and is the person's nine."""
    house = an_open_house(clock)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9))
    price_moves_to(house, "48000")
    (trade,) = house.journal.trades
    # 9 × 50,000 and 30 × 48,000
    assert trade.exit_price.quantize(D("0.01")) == D("48461.54")
    assert trade.fee == D("1.17") + D("0.27") + D("0.864")        # to enter, 9 × 50 and 30 × 48 × 0.0006
    assert house.reconciler.run().found == ()


def test_a_cancel_that_loses_to_a_fill_is_a_fill(clock: ManualClock) -> None:
    """An exit that rests is cancelled after a while; it fills first: booked as filled, nothing sent again."""
    house = an_open_house(clock)
    clock.flows = True
    position = house.manager.find(SYMBOL)
    assert position is not None
    exit_oid = f"rad-{position.position_id}-x1"
    house.exchange.resting.add(exit_oid)

    def fill_first(_order_id: object) -> None:
        house.exchange.before.pop("cancel_order")
        house.exchange.fill_resting(exit_oid, D(39))
        raise OrderNotFound("the order cannot be canceled", code="100004")

    house.exchange.before["cancel_order"] = fill_first
    trade = house.manager.close_position(SYMBOL)
    assert trade is not None
    assert trade.quantity == D(39)
    assert len(house.exchange.exits()) == 1


def test_an_unanswered_cancel_is_looked_at_not_believed(clock: ManualClock) -> None:
    """The cancel's answer is lost and twelve lots have filled: the order says so, the rest follows."""
    house = an_open_house(clock)
    clock.flows = True
    position = house.manager.find(SYMBOL)
    assert position is not None
    exit_oid = f"rad-{position.position_id}-x1"
    house.exchange.resting.add(exit_oid)

    def cancelled_unheard(_order_id: object) -> None:
        house.exchange.before.pop("cancel_order")
        house.exchange.fill_resting(exit_oid, D(12))
        raise OutcomeUnknown("no answer")

    house.exchange.before["cancel_order"] = cancelled_unheard
    trade = house.manager.close_position(SYMBOL)
    assert trade is not None
    assert [request.quantity for request in house.exchange.exits()] == [D(39), D(27)]
    assert house.exchange.net[SYMBOL] == 0


def test_too_large_and_not_there_are_told_apart_from_a_plain_no(clock: ManualClock) -> None:
    """A price limit asks for a half, a suspension for closeOrder: the second order tells which was heard."""
    for error, second in (
        (TooLarge("price cannot be lower", code="300012"), (D(19), False)),
        (OrderRejected("suspended", code="300002"), (None, True)),
    ):
        house = an_open_house(clock)
        tried: list[OrderRequest] = []
        on_exits(house, refusing(error, tried))
        price_moves_to(house, "48000")
        clock.advance(0.11)
        house.manager.update_positions()
        assert (tried[1].quantity, tried[1].close_order) == second


def test_a_monitor_and_a_person_who_close_at_once_send_one_exit(clock: ManualClock) -> None:
    """While one exit is on the wire nobody else gets the claim, and the book is told once."""
    house = an_open_house(clock)
    on_wire, answer = threading.Event(), threading.Event()

    def park(_request: OrderRequest) -> None:
        on_wire.set()
        assert answer.wait(PATIENCE_S)

    on_exits(house, park)
    with crowd(lambda: house.manager.close_position(SYMBOL)):
        assert on_wire.wait(PATIENCE_S)
        price_moves_to(house, "48000")
        assert house.manager.close_position(SYMBOL) is None
        answer.set()
    assert len(house.exchange.exits()) == 1
    assert len(house.journal.trades) == 1


def test_a_restart_does_not_take_a_part_for_all(clock: ManualClock) -> None:
    """The part of a take-profit left just before a crash: booked as that step, which is not taken twice."""
    house = a_manager(clock=clock)
    position = opened(house, now_ms=clock.now_ms())
    house.exchange.prices[SYMBOL] = D(52_000)
    house.exchange.place_order(
        OrderRequest(
            client_oid=f"rad-{position.position_id}-x1", symbol=SYMBOL, side=OrderSide.SELL, quantity=D(20),
            reduce_only=True,
        ),
        Priority.CRITICAL,
    )
    house.reconciler.catch_up()
    assert house.reconciler.run().agrees
    price_moves_to(house, "52000")
    found = house.manager.find(SYMBOL)
    assert found is not None
    assert (found.quantity, found.steps_taken) == (D(19), 1)
    assert house.exchange.net[SYMBOL] == D(19)
