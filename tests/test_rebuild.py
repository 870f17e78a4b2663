"""A journal that is lost: RAD's own positions are known again by the client ids of their orders."""

from __future__ import annotations

import signal
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from sandbox.embedded import run_sandbox
from tests.daemon_process import Daemon
from tests.fake_exchange import FakeJournal
from tests.manual_clock import ManualClock
from tests.test_position_manager import opened, price_moves_to
from tests.trading_house import SYMBOL, TradingHouse, a_manager, exit_rules, restarted
from trading.errors import ExchangeUnavailable
from trading.facts import ExitReason, Fill, OrderRequest, OrderSide, Position, Priority, Side
from trading.lifecycle import IntentState
from trading.reconciliation import Kind

D = Decimal
ALL_OUT = exit_rules(take_profit=())
OTHER = "ETH/USDT:USDT"


def restarted_without_journal(house: TradingHouse) -> TradingHouse:
    """RAD anew, with an empty book and an empty journal, on the same exchange."""
    return a_manager(exchange=house.exchange, exits=house.manager._rules.exits)


def held(house: TradingHouse) -> Position:
    position = house.manager.find(SYMBOL)
    assert position is not None
    return position


@pytest.mark.parametrize("side", list(Side))
def test_a_position_is_rebuilt_from_its_own_orders(side: Side) -> None:
    """Side, size, entry, stop, id and numbers are what they were; nothing is sent, nothing is foreign."""
    house = a_manager(exits=ALL_OUT)
    before = opened(house, side=side)
    again = restarted_without_journal(house)
    sent = len(house.exchange.received)
    assert again.reconciler.run().found == ()
    rebuilt = held(again)
    for name in (
        "position_id", "side", "quantity", "initial_quantity", "entry_price", "stop_price", "initial_stop_price",
        "stop_reason", "best_price", "fee", "steps_taken",
    ):
        assert getattr(rebuilt, name) == getattr(before, name), name
    assert (rebuilt.stop_attempt, rebuilt.exit_attempt) == (1 + 3, 0 + 3)    # three may have left unseen
    assert rebuilt.protective_stop is not None
    assert before.protective_stop is not None
    assert rebuilt.protective_stop.order_id == before.protective_stop.order_id
    assert again.journal.positions == {before.position_id: rebuilt}
    assert len(house.exchange.received) == sent
    assert again.reconciler.run().found == ()


def test_a_trailed_position_goes_on_where_its_stop_was() -> None:
    """Trailed to 50,985 before the loss: there again, as a trailing stop, and it goes on upwards from the mark."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    (first,) = house.exchange.fetch_stop_orders(SYMBOL)
    position = held(house)
    assert position.protective_stop is not None
    long_ago = replace(position.protective_stop, confirmed_ms=0)
    house.manager.change(SYMBOL, position.position_id, lambda p: replace(p, protective_stop=long_ago))
    price_moves_to(house, "51500")
    house.exchange.prices[SYMBOL] = D(51_200)
    again = restarted_without_journal(house)
    again.reconciler.run()
    rebuilt = held(again)
    assert (rebuilt.stop_price, rebuilt.stop_reason) == (D("50985.0"), ExitReason.TRAILING_STOP)
    assert (rebuilt.initial_stop_price, rebuilt.best_price) == (D("49000.0"), D(51_200))
    price_moves_to(again, "52000")
    assert held(again).stop_price == D("51480.0")                 # 52,000 × 0.99
    price_moves_to(again, "51400")
    (trade,) = again.journal.trades
    assert trade.exit_reason is ExitReason.TRAILING_STOP
    # (51,400 − 50,000) × 39 × 0.001 less 1.17 and 39 × 51.4 × 0.0006
    assert trade.realised_pnl == D("54.6") - D("1.17") - D("1.20276")
    assert again.exchange.net[SYMBOL] == 0
    assert first.order_id != rebuilt.protective_stop.order_id     # type: ignore[union-attr]
    oids = [request.client_oid for request in again.exchange.received]
    assert len(set(oids)) == len(oids)


def test_a_step_taken_before_the_loss_is_not_taken_again() -> None:
    """Twenty of 39 took profit: nineteen are left, the step is known, and its profit is in the trade."""
    house = a_manager()
    opened(house)
    price_moves_to(house, "52000")
    again = restarted_without_journal(house)
    assert again.reconciler.run().found == ()
    rebuilt = held(again)
    assert (rebuilt.quantity, rebuilt.initial_quantity, rebuilt.steps_taken) == (D(19), D(39), 1)
    assert rebuilt.realised_pnl == D(40)
    assert rebuilt.exit_attempt == 1 + 3                          # three may have left unseen
    price_moves_to(again, "52000")
    assert again.exchange.net[SYMBOL] == D(19)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(4))     # that is not the twenty once more
    assert again.reconciler.run().agrees
    assert held(again).quantity == D(15)


def test_what_a_person_sold_meanwhile_is_booked_as_his() -> None:
    """Rebuilt as it was entered, and then like any partial close by somebody else."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(9))
    again = restarted_without_journal(house)
    result = again.reconciler.run()
    assert [difference.kind for difference in result.found] == [Kind.SMALLER]
    assert result.agrees
    assert held(again).quantity == D(30)
    assert again.reconciler.run().found == ()


def test_what_a_person_added_stays_his() -> None:
    """RAD's 39 of 139 are RAD's: the rest is reported, and entries are blocked."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(100))
    again = restarted_without_journal(house)
    result = again.reconciler.run()
    assert [difference.kind for difference in result.found] == [Kind.LARGER]
    assert held(again).quantity == D(39)


def test_without_its_stop_it_is_protected_again() -> None:
    """The stop was lost with the journal: the position is known by its fills, and a new one rests."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)
    again = restarted_without_journal(house)
    assert again.reconciler.run().agrees
    (new,) = house.exchange.fetch_stop_orders(SYMBOL)
    assert (new.stop_price, new.client_oid[-3:]) == (stop.stop_price, "-s5")
    assert held(again).stop_price == D(49_000)


def test_an_entry_too_old_to_be_listed_is_known_by_its_resting_stop() -> None:
    """A week later the exchange knows no entry and no fills: size and entry price are the position's own."""
    house = a_manager(exits=ALL_OUT)
    before = opened(house)
    house.exchange.fills.clear()
    for order_id, order in list(house.exchange.orders.items()):
        if not order.is_stop:
            del house.exchange.orders[order_id]
    again = restarted_without_journal(house)
    assert again.reconciler.run().found == ()
    rebuilt = held(again)
    assert (rebuilt.position_id, rebuilt.quantity, rebuilt.entry_price) == (before.position_id, D(39), D(50_000))
    assert rebuilt.stop_price == D(49_000)


def test_a_persons_position_after_rads_own_is_his() -> None:
    """RAD's is closed, a person opens another in the same symbol: foreign, whatever RAD's old fills say."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    house.manager.close_position(SYMBOL)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(39))
    again = restarted_without_journal(house)
    result = again.reconciler.run()
    assert [difference.kind for difference in result.found] == [Kind.FOREIGN]
    assert again.manager.snapshot() == ()


def test_a_persons_position_after_he_closed_rads_is_his() -> None:
    """Closed by hand, and a new one opened an hour later: younger than RAD's entry, so it is not RAD's."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(39))
    now_ms = house.exchange.now_ms() + 3_600_000
    house.exchange.now_ms = lambda: now_ms
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(39))
    again = restarted_without_journal(house)
    result = again.reconciler.run()
    assert Kind.FOREIGN in [difference.kind for difference in result.found]
    assert again.manager.snapshot() == ()
    assert house.exchange.fetch_stop_orders() == ()               # RAD's old stop is an orphan there


def test_a_question_that_fails_rebuilds_nothing_and_forgets_nothing() -> None:
    """Unanswered while looking for orders: no conclusion, the stop stays; the next run rebuilds."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    again = restarted_without_journal(house)

    def fail(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    for call in ("fetch_order", "find_order", "fetch_recent_fills", "fetch_positions", "fetch_stop_orders"):
        house.exchange.before[call] = fail
        with pytest.raises(ExchangeUnavailable):
            again.reconciler.run()
        del house.exchange.before[call]
        assert again.manager.snapshot() == ()
        assert len(house.exchange.fetch_stop_orders()) == 1
    again.reconciler.run()
    assert held(again).quantity == D(39)


def test_foreign_orders_are_asked_for_once() -> None:
    """A person's position does not cost a question a minute."""
    house = a_manager(symbols=[SYMBOL, OTHER])
    house.exchange.trade_elsewhere(OTHER, OrderSide.BUY, D(5))
    asked: list[object] = []
    house.exchange.before["fetch_order"] = asked.append
    for _ in range(3):
        house.reconciler.run()
    assert len(asked) == 1


def test_an_entry_that_turns_up_after_all_is_taken_up_and_protected() -> None:
    """Believed never placed and forgotten; it is on the exchange: RAD's own, known again and protected."""
    house = a_manager(exits=ALL_OUT)
    before = opened(house)
    (stop,) = house.exchange.fetch_stop_orders(SYMBOL)
    house.exchange.orders[stop.order_id] = replace(stop, is_active=False, is_cancelled=True)
    again = restarted_without_journal(house)
    assert isinstance(again.journal, FakeJournal)
    entry_oid = house.exchange.entries()[0].client_oid
    again.journal.intents[entry_oid] = IntentState.NOT_PLACED
    assert again.reconciler.run().agrees
    assert held(again).position_id == before.position_id
    assert again.journal.intents[entry_oid] is IntentState.DONE
    assert len(house.exchange.fetch_stop_orders()) == 1
    assert ("rebuilt", "from its orders on the exchange", SYMBOL) in again.journal.events


# ---- fills that are listed late, of orders without an intent ---------------------------------------


def hidden_fills(house: TradingHouse) -> list[Fill]:
    """Let the exchange list no fill any more; return those it did, to be listed again."""
    taken = list(house.exchange.fills)
    house.exchange.fills.clear()
    return taken


def all_booked_late(house: TradingHouse, fills: list[Fill]) -> None:
    """List *fills*, and see each of them booked by the next run, once."""
    assert len(house.journal.fills) < len(fills)
    house.exchange.fills[:0] = fills
    house.reconciler.run()
    assert house.journal.fills == {(fill.symbol, fill.trade_id): fill for fill in fills}
    assert house.reconciler.run().found == ()


def test_a_rebuilt_positions_fills_are_booked_when_they_are_listed() -> None:
    """Its journal lost, its entry's fills not listed yet: known by its stop, its fills follow."""
    house = a_manager(exits=ALL_OUT)
    opened(house)
    late = hidden_fills(house)
    again = restarted_without_journal(house)
    assert again.reconciler.run().found == ()
    assert held(again).quantity == D(39)
    all_booked_late(again, late)


def test_the_fills_of_a_stop_from_before_the_loss_are_booked_when_they_are_listed(clock: ManualClock) -> None:
    """The stop was placed by the life before, no intent tells of it; it fires, and its fills are listed late."""
    clock.flows = True
    house = a_manager(exits=ALL_OUT, clock=clock)
    opened(house, now_ms=clock.now_ms())
    again = a_manager(exchange=house.exchange, exits=ALL_OUT, clock=clock)
    again.reconciler.run()
    house.exchange.trigger_stop(SYMBOL)
    late = hidden_fills(house)
    again.reconciler.run()
    (trade,) = again.journal.trades
    assert trade.exit_reason is ExitReason.EXCHANGE_STOP
    all_booked_late(again, late)


def test_the_fills_of_an_exit_nobody_wrote_down_are_booked_when_they_are_listed(clock: ManualClock) -> None:
    """Killed between the wire and the journal: the exit is found by its number, its fills are listed late."""
    clock.flows = True
    house = a_manager(exits=ALL_OUT, clock=clock)
    position = opened(house, now_ms=clock.now_ms())
    house.exchange.place_order(
        OrderRequest(
            client_oid=f"rad-{position.position_id}-x1", symbol=SYMBOL, side=OrderSide.SELL, close_order=True
        ), Priority.CRITICAL,
    )
    late = hidden_fills(house)
    again = restarted(house, exits=ALL_OUT, clock=clock)
    again.reconciler.run()
    assert len(again.journal.trades) == 1
    all_booked_late(again, late)


def test_an_exit_that_is_still_filling_is_booked_whole_when_it_is_over() -> None:
    """Ten of its 39 lots were sold as the position was rebuilt, the others after: one trade, of all of them."""
    house = a_manager(exits=ALL_OUT)
    position = opened(house)
    exchange, client_oid = house.exchange, f"rad-{position.position_id}-x1"
    exchange.resting.add(client_oid)
    order_id = exchange.place_order(OrderRequest(
        client_oid=client_oid, symbol=SYMBOL, side=OrderSide.SELL, quantity=D(39), reduce_only=True
    ), Priority.CRITICAL)

    def fill(lots: int, *, is_active: bool) -> None:
        before = exchange.orders[order_id]
        exchange.fill_resting(client_oid, D(lots))
        exchange.orders[order_id] = replace(
            exchange.orders[order_id], is_active=is_active, is_cancelled=False,
            filled_quantity=before.filled_quantity + lots,
            filled_value=before.filled_value + exchange.orders[order_id].filled_value,
        )

    fill(10, is_active=True)
    again = restarted_without_journal(house)
    exchange.before["cancel_order"] = lambda _order: fill(29, is_active=False)      # which comes too late
    again.reconciler.run()
    exchange.before.clear()
    assert again.reconciler.run().agrees
    assert again.manager.snapshot() == ()
    (trade,) = again.journal.trades
    assert (trade.quantity, trade.exit_price) == (D(39), D(50_000))
    assert trade.fee == D("2.34")                                 # 2 × 39 × 0.001 × 50,000 × 0.0006
    assert len(again.journal.fills) == 3


@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_daemon_whose_journal_is_deleted_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed, its journal deleted, started again: the same position under the same id, and verify agrees."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box:
        settings = {
            "EXCHANGE__FUTURES_URL": box.futures_url, "EXCHANGE__SPOT_URL": box.spot_url,
            "KUCOIN_API_KEY": box.key, "KUCOIN_API_SECRET": box.secret, "KUCOIN_API_PASSPHRASE": box.passphrase,
            "LIMITS__COOLDOWN": "10m", "POSITIONS__MAX_OPEN": "1",
        }
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            daemon.ask("/api/pause", {})
            daemon.ask("/api/open", {"symbol": "XBTUSDTM", "side": "long"})
            (before,) = daemon.ask("/api/positions")
            daemon.end(signal.SIGKILL)
        lost = list((tmp_path / "data").glob("*.sqlite*"))
        assert lost
        for file in lost:
            file.unlink()
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"BTC/USDT:USDT rebuilt from the exchange side=long")
            daemon.await_line(r"running positions=1 recovered=0")
            (after,) = daemon.ask("/api/positions")
            same = ("position_id", "quantity", "entry_price", "side", "protected")
            assert {name: after[name] for name in same} == {name: before[name] for name in same}
            assert daemon.ask("/api/verify")["differences"] == []
            trade = daemon.ask("/api/close", {"symbol": "BTC/USDT:USDT"})
            assert trade["exit_reason"] == "manual"
            assert daemon.ask("/api/verify")["differences"] == []
            assert daemon.end() == 0
        fills = [event for event in box.history("fill") if event["symbol"] == "XBTUSDTM"]
        assert len({event["order_id"] for event in fills}) == 2
