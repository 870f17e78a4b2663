"""The life of a position on a fake exchange: figures worked by hand, failures scripted."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest

from execution.book import NotOpened
from execution.protection import ProtectRules
from tests.crowd import PATIENCE_S, crowd
from tests.manual_clock import ManualClock
from tests.trading_house import (
    SYMBOL,
    TradingHouse,
    a_manager,
    an_account,
    an_entry_request,
    exit_rules,
    risk_rules,
)
from trading.errors import (
    ExchangeError,
    ExchangeUnavailable,
    JournalError,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
)
from trading.facts import ExitReason, Position, Priority, Side
from trading.lifecycle import IntentState, PositionState

D = Decimal


def opened(house: TradingHouse, **overrides: object) -> Position:
    """Open one position and return it."""
    position = house.manager.open_position(an_entry_request(**overrides), an_account())
    assert isinstance(position, Position), position
    return position


def price_moves_to(house: TradingHouse, price: str) -> None:
    """Let the exchange and the price stream stand at *price*, and the monitor look."""
    house.exchange.prices[SYMBOL] = D(price)
    house.prices.set(SYMBOL, D(price))
    house.manager.update_positions()


def test_entry_is_sized_by_its_risk() -> None:
    """1 % of 10,000 over a stop 1,250 away at the worst price would be 80 lots; 2,000 USDT caps it at 39."""
    house = a_manager()
    position = opened(house)
    assert house.exchange.entries()[0].price == D("50250.0")     # 0.5 % slippage allowed
    assert position.quantity == D(39)                            # floor(2000 / (50250 × 0.001))
    assert position.entry_price == D(50_000)
    assert position.fee == D("1.17")                             # 39 × 50 × 0.0006
    assert position.stop_price == D(49_000)


def test_entry_is_protected_on_the_exchange_and_read_back() -> None:
    """The resting stop is closeOrder, below a long, 0.1 % behind RAD's own, and in the stop list."""
    house = a_manager()
    position = opened(house)
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    assert stop.close_order
    assert stop.stop_price == D("48951.0")                       # 49,000 × 0.999
    assert position.protective_stop is not None
    assert position.protective_stop.order_id == stop.order_id


def test_an_entry_filled_in_part_is_a_smaller_position() -> None:
    """Ten of 39 lots within the slippage limit: those ten, their fee, a stop for them; the rest is not chased."""
    house = a_manager()
    house.exchange.fillable = D(10)
    position = opened(house)
    assert (position.quantity, position.initial_quantity, position.fee) == (D(10), D(10), D("0.3"))
    assert len(house.exchange.fetch_stop_orders(SYMBOL)) == 1
    assert len(house.exchange.entries()) == 1
    assert house.reconciler.run().found == ()


def test_the_intent_is_written_before_the_order_leaves() -> None:
    """When the order arrives at the exchange, its intent is in the journal already."""
    house = a_manager()
    seen: list[IntentState | None] = []
    house.exchange.before["place_order"] = lambda request: seen.append(
        house.journal.intents.get(request.client_oid)  # type: ignore[attr-defined]
    )
    opened(house)
    assert seen[0] is IntentState.INTENDED


def test_nothing_is_sent_when_the_journal_cannot_be_written() -> None:
    """No intent on disk, no order; the symbol is free again afterwards."""
    house = a_manager()
    house.journal.fail = JournalError("disk full")
    with pytest.raises(JournalError):
        house.manager.open_position(an_entry_request(), an_account())
    assert house.exchange.received == []
    house.journal.fail = None
    opened(house)


def test_an_entry_turned_away_unread_is_settled_as_rejected() -> None:
    """A rate limit: the order is certainly not there, and the journal does not go on calling it intended."""
    house = a_manager()

    def turn_away(_request: object) -> None:
        raise RateLimited("too many requests", code="429000")

    house.exchange.before["place_order"] = turn_away
    assert isinstance(house.manager.open_position(an_entry_request(), an_account()), NotOpened)
    assert list(house.journal.intents.values()) == [IntentState.REJECTED]
    assert not house.manager.has_uncertain()


def test_a_long_trails_its_stop_and_leaves_there() -> None:
    """Best price 51,500 trails the stop to 50,985; the fall to 50,900 closes with the profit."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    price_moves_to(house, "51500")
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert position.stop_price == D("50985.0")                   # 51,500 × 0.99
    assert position.stop_reason is ExitReason.TRAILING_STOP
    price_moves_to(house, "51000")
    assert house.manager.find(SYMBOL).stop_price == D("50985.0")  # type: ignore[union-attr]  # never back
    price_moves_to(house, "50900")
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.TRAILING_STOP
    assert trade.exit_price == D(50_900)
    # (50,900 − 50,000) × 39 × 0.001 = 35.1, less 1.17 to enter and 39 × 50.9 × 0.0006 = 1.19106 to leave
    assert trade.realised_pnl == D("35.1") - D("1.17") - D("1.19106")
    assert trade.r_multiple == D("0.9")                          # 900 of the 1,000 risked
    assert house.manager.snapshot() == ()
    assert house.exchange.fetch_stop_orders() == ()


def test_a_short_mirrors_a_long() -> None:
    """A short's stop lies above, follows the price down and closes by buying."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house, side=Side.SHORT)
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    assert stop.stop_price == D("51051.0")                       # 51,000 × 1.001
    price_moves_to(house, "48500")
    assert house.manager.find(SYMBOL).stop_price == D("48985.0")  # type: ignore[union-attr]
    price_moves_to(house, "49000")
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.TRAILING_STOP
    assert trade.side is Side.SHORT
    assert trade.realised_pnl > 0


def test_the_resting_stop_follows_and_only_one_stays(clock: ManualClock) -> None:
    """The new stop is placed and confirmed before the old one is cancelled; one is left."""
    house = a_manager(clock=clock, exits=exit_rules(take_profit=()))
    opened(house, now_ms=clock.now_ms())
    resting: list[int] = []
    house.exchange.before["cancel_order"] = lambda _id: resting.append(
        sum(order.is_active and order.is_stop for order in house.exchange.orders.values())
    )
    clock.advance(3)
    price_moves_to(house, "51500")
    assert resting == [2]                                        # both rested when the old one was cancelled
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    assert stop.stop_price == D("50934.1")                       # up from 50,985 × 0.999 = 50,934.015
    assert house.manager.find(SYMBOL).protective_stop.order_id == stop.order_id  # type: ignore[union-attr]


def test_take_profit_closes_a_share_and_the_rest_goes_on() -> None:
    """At 4 % half the lots leave, rounded up to a lot; the rest is open with its stop."""
    house = a_manager()
    opened(house)
    price_moves_to(house, "52000")
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert position.quantity == D(19)                            # 39 − ceil(19.5)
    assert position.state is PositionState.OPEN
    assert position.steps_taken == 1
    assert house.journal.trades == []
    assert house.exchange.net[SYMBOL] == D(19)
    price_moves_to(house, "52000")                               # the rung is taken once
    assert house.exchange.net[SYMBOL] == D(19)


def test_a_lost_answer_to_an_entry_is_looked_up_not_resent() -> None:
    """The order was taken and its answer lost: found by its client id, opened once."""
    house = a_manager()
    house.exchange.lose_answer = lambda request: "-e" in request.client_oid
    position = opened(house)
    assert position.quantity == D(39)
    assert len(house.exchange.entries()) == 1
    assert house.journal.intents[house.exchange.entries()[0].client_oid] is IntentState.DONE


def test_a_lost_entry_is_believed_lost_only_after_the_wait(clock: ManualClock) -> None:
    """Not there counts after the signature's life and the read lag; the symbol is then free, nothing resent."""
    house = a_manager(clock=clock)
    house.exchange.lose_request = lambda request: True
    asked: list[int] = []

    def count(_client_oid: object) -> None:
        asked.append(clock.now_ms())

    house.exchange.before["find_order"] = count
    clock.flows = True
    sent_ms = clock.now_ms()
    result = house.manager.open_position(an_entry_request(now_ms=sent_ms), an_account())
    assert isinstance(result, NotOpened)
    while house.manager.entries_under_way():
        assert clock.now_ms() - sent_ms < 10_000
        clock.advance(1)
        house.reconciler.run()
    assert asked[-1] - sent_ms >= 8_000                           # 5 s a signature lives, 3 s of read lag
    assert house.exchange.received == []


def test_an_entry_that_shows_late_is_entered_not_forgotten(clock: ManualClock) -> None:
    """Sent after waiting nine seconds for the budget: the wait counts from then, and the late order is found."""
    house = a_manager(clock=clock)
    clock.flows = True
    late: list[object] = []

    def wait_then_lose(request: object) -> None:
        if not late:
            late.append(request)
            clock.advance(9)
            raise OutcomeUnknown("no answer")

    house.exchange.before["place_order"] = wait_then_lose
    result = house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    assert isinstance(result, NotOpened)
    for _ in range(3):
        clock.advance(1)
        house.reconciler.run()
    house.exchange.place_order(late[0], Priority.HIGH)            # type: ignore[arg-type]
    clock.advance(1)
    house.reconciler.run()
    position = house.manager.find(SYMBOL)
    assert position is not None
    assert position.protective_stop is not None


def test_an_unresolved_entry_keeps_its_symbol(clock: ManualClock) -> None:
    """While the look-up gets no answer the symbol stays taken; reconciliation opens it once it can see."""
    house = a_manager(clock=clock)
    clock.flows = True
    house.exchange.lose_answer = lambda request: "-e" in request.client_oid

    def blind(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    house.exchange.before["find_order"] = blind
    result = house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    assert isinstance(result, NotOpened)
    again = house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    assert again == NotOpened(reason=f"{SYMBOL} is already open or being opened")
    del house.exchange.before["find_order"]
    house.reconciler.run()
    assert house.manager.find(SYMBOL).quantity == D(39)           # type: ignore[union-attr]
    assert len(house.exchange.entries()) == 1


def test_a_lost_answer_to_an_exit_is_looked_up_not_resent() -> None:
    """The exit was taken and its answer lost: one exit order, one closed trade."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.lose_answer = lambda request: "-x" in request.client_oid
    price_moves_to(house, "48000")
    assert len(house.exchange.exits()) == 1
    assert len(house.journal.trades) == 1


def test_no_confirmed_stop_means_flat(clock: ManualClock) -> None:
    """Stops that are refused until the deadline: the position is closed and the reason kept."""
    clock.flows = True
    house = a_manager(clock=clock, protect=ProtectRules(deadline_s=5))

    def refuse(request: object) -> None:
        if "-s" in request.client_oid:                            # type: ignore[attr-defined]
            clock.advance(1)
            raise OrderRejected("too many stop orders", code="300004")

    house.exchange.before["place_order"] = refuse
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.UNPROTECTED
    assert house.exchange.net[SYMBOL] == 0


def test_a_stop_that_fired_first_is_booked_from_its_own_fills() -> None:
    """RAD's exit meets no position: the trade is booked at once, at the stop's price, under its reason."""
    house = a_manager(exits=exit_rules(take_profit=()))
    opened(house)
    house.exchange.prices[SYMBOL] = D("48940")
    house.exchange.trigger_stop(SYMBOL)
    trade = house.manager.close_position(SYMBOL)
    assert trade is not None
    assert trade.exit_reason is ExitReason.EXCHANGE_STOP
    assert trade.exit_price == D("48940")
    assert house.manager.snapshot() == ()
    assert not house.manager.has_uncertain()


def test_limits_hold_for_claims_too() -> None:
    """Two positions allowed: the third is refused, even by hand."""
    symbols = [SYMBOL, "ETH/USDT:USDT", "XRP/USDT:USDT"]
    house = a_manager(symbols=symbols, risk=risk_rules(max_open=2))
    results = [
        house.manager.open_position(an_entry_request(symbol=symbol), an_account()) for symbol in symbols
    ]
    assert isinstance(results[2], NotOpened)
    assert "2 positions" in results[2].reason


def test_closing_what_is_not_there_says_so() -> None:
    """None for a symbol without a position; no order is sent."""
    house = a_manager()
    assert house.manager.close_position(SYMBOL) is None
    assert house.exchange.received == []


def test_a_manual_close_that_is_refused_raises_and_keeps_the_position() -> None:
    """The caller learns it, the book keeps it."""
    house = a_manager()
    opened(house)

    def refuse(request: object) -> None:
        if "-x" in request.client_oid:                            # type: ignore[attr-defined]
            raise OrderRejected("system busy", code="300002")

    house.exchange.before["place_order"] = refuse
    with pytest.raises(ExchangeError, match="system busy"):
        house.manager.close_position(SYMBOL)
    assert house.manager.find(SYMBOL).state is PositionState.OPEN  # type: ignore[union-attr]


def test_one_positions_trouble_does_not_delay_anothers_exit() -> None:
    """A position that cannot be judged is logged; the exit beside it goes out in the same look."""
    other = "ETH/USDT:USDT"
    house = a_manager(symbols=[SYMBOL, other], exits=exit_rules(take_profit=()))
    opened(house)
    house.manager.open_position(an_entry_request(symbol=other), an_account())
    instrument = house.exchange.instrument

    def fail(symbol: str) -> object:
        if symbol == SYMBOL:
            raise ValueError("no rules for this one")
        return instrument(symbol)

    house.exchange.instrument = fail                              # type: ignore[method-assign,assignment]
    for symbol in (SYMBOL, other):
        house.exchange.prices[symbol] = D(48_000)
        house.prices.set(symbol, D(48_000))
    house.manager.update_positions()
    assert [request.symbol for request in house.exchange.exits()] == [other]


def test_an_exit_interrupted_by_the_unexpected_is_left_to_reconciliation() -> None:
    """A fault nobody thought of, after the order left: the position is looked up, not forgotten CLOSING."""
    house = a_manager()
    opened(house)
    house.sender.settle = None                                    # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        house.manager.close_position(SYMBOL)
    assert house.manager.has_uncertain()
    del house.sender.settle
    house.reconciler.run()
    assert len(house.journal.trades) == 1
    assert len(house.exchange.exits()) == 1


def test_a_stop_without_an_answer_does_not_hold_up_the_flattening(clock: ManualClock) -> None:
    """The stop's request hangs on the wire: the monitor closes the position when its deadline is over."""
    house = a_manager(clock=clock, protect=ProtectRules(deadline_s=5))
    hanging, answer = threading.Event(), threading.Event()

    def hang(request: object) -> None:
        if "-s" in request.client_oid:                            # type: ignore[attr-defined]
            hanging.set()
            assert answer.wait(PATIENCE_S)

    house.exchange.before["place_order"] = hang
    with crowd(lambda: house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())):
        assert hanging.wait(PATIENCE_S)
        house.manager.update_positions()
        assert house.exchange.exits() == []
        clock.advance(5.1)
        house.manager.update_positions()
        assert house.exchange.net[SYMBOL] == 0
        answer.set()
    (trade,) = house.journal.trades
    assert trade.exit_reason is ExitReason.UNPROTECTED
    assert house.exchange.fetch_stop_orders() == ()               # the late stop was swept as an orphan


def test_a_cross_position_is_protected_and_closed_as_cross() -> None:
    """Each order has to name its symbol's margin mode, the resting stop and the exit too."""
    house = a_manager(margin_mode="cross")
    assert opened(house).protective_stop is not None
    assert house.manager.close_position(SYMBOL) is not None
    assert {request.margin_mode for request in house.exchange.received} == {"cross"}


def test_an_exit_that_fills_nothing_is_not_sent_at_every_tick(clock: ManualClock) -> None:
    """An empty book: the first pause is a tenth of a second, however often the price ticks meanwhile."""
    house = a_manager(clock=clock)
    clock.flows = True
    house.manager.open_position(an_entry_request(now_ms=clock.now_ms()), an_account())
    house.exchange.fillable = D(0)
    price_moves_to(house, "48900")
    for _ in range(20):
        house.manager.update_positions()
    assert len(house.exchange.exits()) == 1
    clock.advance(0.1)
    house.manager.update_positions()
    assert len(house.exchange.exits()) == 2


def test_a_position_nobody_follows_is_followed_again_at_the_next_look() -> None:
    """Two that follow at once may leave the older wish standing."""
    house = a_manager()
    opened(house)
    house.prices.follow(())
    house.manager.update_positions()
    assert house.prices.followed == (SYMBOL,)


def test_nothing_is_claimed_once_the_door_is_shut() -> None:
    """At the end no entry begins, whoever asks for it."""
    house = a_manager()
    house.manager.shut("stopping")
    assert house.manager.open_position(an_entry_request(), an_account()) == NotOpened(reason="stopping")
    assert house.exchange.received == []
