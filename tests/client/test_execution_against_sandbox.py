"""Orders, stops and reconciliation through the real client and journal, against the sandbox's own rules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from execution.orders import OrderSender
from execution.protection import Protection, ProtectRules
from execution.rebuild import Rebuilder
from execution.reconcile import Reconciler
from kucoin_client import KuCoinClient
from position_manager import PositionManager, PositionRules
from runtime.clock import SystemClock
from runtime.journal import SqlJournal
from sandbox.embedded import RunningSandbox
from sandbox.serving import Sandbox
from tests.client.clients import BTC, a_client, an_order
from tests.fake_exchange import DirectWorkers, FakePrices
from tests.runtime.journal_facts import url_in
from tests.sandbox.signed_client import SignedClient
from tests.trading_house import SilentMonitor, an_account, an_entry_request, exit_rules, risk_rules
from trading.errors import ExchangeError
from trading.facts import ExitReason, Position, Priority, Side
from trading.reconciliation import Kind

D = Decimal
ID = "XBTUSDTM"
ORDERS = {"method": "POST", "path": "/api/v1/orders"}
LIMIT_S = 60.0       # the machine may be busy: nothing here is about being fast


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveHouse:
    """A position manager on the sandbox, over the wire."""

    manager: PositionManager
    reconciler: Reconciler
    journal: SqlJournal
    prices: FakePrices
    monitor: SilentMonitor
    box: RunningSandbox

    def open(self, side: Side = Side.LONG) -> Position:
        request = an_entry_request(side=side)
        position = self.manager.open_position(request, an_account())
        assert isinstance(position, Position), position
        return position

    def price_moves_to(self, price: int) -> None:
        """Move the market and what RAD sees of it, and let the monitor look."""
        self.box.set_price(ID, price)
        self.box.control("step", {})      # what was passed through is over: a stop placed now does not meet it
        self.prices.set(BTC, D(price))
        self.manager.update_positions()

    def watch_until(self, is_so: Callable[[], bool]) -> None:
        """Let the monitor look again and again, as its thread does, until *is_so*."""
        clock = SystemClock()
        deadline = clock.monotonic() + LIMIT_S
        while not is_so():
            assert clock.monotonic() < deadline, "it did not come to that"
            self.manager.update_positions()

    def is_flat(self) -> bool:
        return self.manager.snapshot() == ()

    def exits_accepted(self) -> list[dict[str, Any]]:
        return [event for event in self.box.history("order_accepted") if "-x" in event["client_oid"]]


@contextmanager
def a_house(client: KuCoinClient, box: RunningSandbox, folder: Path) -> Iterator[LiveHouse]:
    """RAD's trading half with its journal in *folder*."""
    folder.mkdir(exist_ok=True)
    clock, monitor, prices = SystemClock(), SilentMonitor(), FakePrices()
    journal = SqlJournal(url_in(folder), clock)
    exits = exit_rules(take_profit=())
    sender = OrderSender(client, journal, clock, threading.Event())
    rules = ProtectRules(min_interval_s=0.0, deadline_s=LIMIT_S)
    protection = Protection(client, sender, rules, clock, threading.Event())
    manager = PositionManager(
        client, journal, prices, monitor, clock,
        rules=PositionRules(exits=exits, risk=risk_rules(), stale_after_s=1e12),
        sender=sender, protection=protection, exit_workers=DirectWorkers(clock),
    )
    reconciler = Reconciler(
        client, manager, sender, journal, protect=True,
        rebuilder=Rebuilder(client, journal, protection, exits, clock),
    )
    try:
        yield LiveHouse(
            manager=manager, reconciler=reconciler, journal=journal, prices=prices, monitor=monitor, box=box
        )
    finally:
        journal.close()


@pytest.fixture
def client(box: RunningSandbox) -> Iterator[KuCoinClient]:
    """A client whose calls are not cut short."""
    with a_client(
        box.futures_url, spot_url=box.spot_url, key=box.key, secret=box.secret, passphrase=box.passphrase,
        deadline_s=LIMIT_S,
    ) as found:
        yield found


@pytest.fixture
def house(client: KuCoinClient, box: RunningSandbox, tmp_path: Path) -> Iterator[LiveHouse]:
    with a_house(client, box, tmp_path / "first") as found:
        yield found


def resting(house: LiveHouse) -> list[dict[str, Any]]:
    (account,) = house.box.state()["accounts"]
    stops: list[dict[str, Any]] = account["stops"]
    return stops


def held(house: LiveHouse) -> Position:
    position = house.manager.find(BTC)
    assert position is not None
    return position


def test_an_exchange_that_lets_one_stop_rest(house: LiveHouse) -> None:
    """The second beside it is refused (300004): cancelled, placed higher, read back, the gap measured."""
    house.box.control("settings", {"one_close_order_stop": True})
    house.open()
    house.price_moves_to(51_500)
    (stop,) = resting(house)
    assert D(str(stop["stopPrice"])) == D("50934.1")              # 51,500 × 0.99 × 0.999, up
    assert held(house).protective_stop.order_id == stop["id"]     # type: ignore[union-attr]
    assert 0 < house.monitor.gaps_s[-1] < LIMIT_S
    assert [event["code"] for event in house.box.history("order_refused")] == ["300004"]
    house.price_moves_to(52_500)
    assert len(resting(house)) == 1
    assert len(house.box.history("order_refused")) == 1           # not tried beside it again
    assert house.reconciler.run().found == ()


def test_a_swap_whose_new_stop_is_refused_puts_the_old_price_back(house: LiveHouse) -> None:
    """After the cancel the new one is refused: one at the old price rests, and the next move succeeds."""
    house.box.control("settings", {"one_close_order_stop": True})
    house.open()
    first = held(house).protective_stop
    assert first is not None
    house.box.fault("refuse_stop", skip=1, count=1)               # beside the old one; then the one after it
    house.price_moves_to(51_500)
    (stop,) = resting(house)
    assert D(str(stop["stopPrice"])) == first.stop_price
    assert house.reconciler.run().found == ()


def test_a_thin_book_is_sold_into_until_nothing_is_left(house: LiveHouse) -> None:
    """Twelve lots a time are found: each rest follows, no lot is sold twice."""
    house.open()

    def thin_out(sandbox: Sandbox) -> None:
        sandbox.exchange.depth.levels = 2                         # 5 lots at the bid, 7 one level below
        sandbox.exchange.source.change(ID, bid_size=5)            # type: ignore[attr-defined]

    house.box.call(thin_out)
    house.prices.set(BTC, D(48_000))
    house.manager.update_positions()
    house.watch_until(house.is_flat)
    (trade,) = house.journal.trades()
    sold = [event for event in house.box.history("fill") if event["side"] == "sell"]
    assert sum(int(event["size"]) for event in sold) == 39
    assert trade.quantity == D(39)
    exits = house.exits_accepted()
    assert len(exits) >= 3
    assert len({event["client_oid"] for event in exits}) == len(exits)
    assert house.reconciler.run().found == ()


def test_an_exit_turned_away_by_the_rate_limit_goes_out_as_soon_as_it_may(house: LiveHouse) -> None:
    """429000 twice: not sent, no refusal, no number used; one order reaches the exchange."""
    house.open()
    house.box.fault("rate_limit", **ORDERS, count=2, retry_after_ms=100)
    house.price_moves_to(48_990)
    assert house.manager.exits_in_trouble() == ()
    house.watch_until(house.is_flat)
    assert [event["client_oid"][-3:] for event in house.exits_accepted()] == ["-x1"]


def test_a_suspended_exit_goes_through_as_close_order(house: LiveHouse) -> None:
    """300002 to the first: the second is closeOrder without a size, which the exchange takes."""
    house.open()
    house.box.fault("refuse", **ORDERS, count=1, code="300002", message="Order placement suspended")
    house.price_moves_to(48_990)
    house.watch_until(house.is_flat)
    (exit_order,) = house.exits_accepted()
    assert exit_order["close_order"]
    (trade,) = house.journal.trades()
    assert (trade.quantity, trade.exit_reason) == (D(39), ExitReason.STOP_LOSS)


@pytest.mark.parametrize("kind", ["drop_after", "truncate", "html"])
def test_an_exit_whose_answer_is_lost_is_looked_up(house: LiveHouse, kind: str) -> None:
    """Taken, and the answer lost: found by its client id, one exit, one trade."""
    house.open()
    house.box.fault(kind, **ORDERS, count=1, commit=True)
    house.price_moves_to(48_990)
    house.watch_until(house.is_flat)
    assert len(house.exits_accepted()) == 1
    assert len(house.journal.trades()) == 1


def test_a_stop_that_fired_while_rad_was_down_is_booked_and_explained(
    house: LiveHouse, client: KuCoinClient, tmp_path: Path
) -> None:
    """The market falls through the resting stop; RAD comes back with its journal: real fills, real reason."""
    house.open()
    house.journal.close()
    house.box.set_price(ID, 48_900)
    house.box.control("step", {})
    with a_house(client, house.box, tmp_path / "first") as again:
        for position in again.journal.open_positions():
            again.manager.admit(position)
        again.reconciler.catch_up()
        result = again.reconciler.run()
        assert [difference.kind for difference in result.found] == [Kind.GONE]
        assert result.agrees
        (trade,) = again.journal.trades()
        assert (trade.exit_reason, trade.exit_price) == (ExitReason.EXCHANGE_STOP, D(48_900))
        assert again.reconciler.run().found == ()


def test_what_a_person_closed_days_ago_is_found_among_the_older_fills(
    house: LiveHouse, client: KuCoinClient
) -> None:
    """RAD was down for nine days and the position was closed on the first: it is not held for ever."""
    position = house.open()
    SignedClient(house.box).order("sell", int(position.quantity), symbol=ID, reduceOnly=True)
    house.box.control("clock", {"offset_ms": 9 * 86_400_000})
    client.measure_clock_offset()
    assert client.fetch_recent_fills() == ()
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades()
    assert (trade.exit_reason, trade.quantity) == (ExitReason.EXTERNAL, position.quantity)


def test_a_liquidation_is_told_by_the_exchange_and_booked_as_one(house: LiveHouse) -> None:
    """Taken over by the exchange: its fills say liquid, and so does the trade."""
    house.open()
    house.box.control("liquidate", {"symbol": ID})
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades()
    assert trade.exit_reason is ExitReason.LIQUIDATION
    house.watch_until(lambda: resting(house) == [])


@pytest.mark.parametrize("side", list(Side))
def test_a_lost_journal_is_rebuilt_from_the_exchange(
    house: LiveHouse, client: KuCoinClient, tmp_path: Path, side: Side
) -> None:
    """Trailed, then journal and book are gone: the same position again, watched, trailed and closed."""
    before = house.open(side)
    favourable = 50_000 + 1_500 * side.sign
    house.price_moves_to(favourable)
    trailed = held(house)
    assert trailed.stop_reason is ExitReason.TRAILING_STOP
    house.watch_until(lambda: len(resting(house)) == 1)          # the old one's cancel is carried out
    with a_house(client, house.box, tmp_path / "second") as again:
        again.reconciler.catch_up()
        assert again.reconciler.run().found == ()
        rebuilt = held(again)
        for name in ("position_id", "side", "quantity", "entry_price", "initial_stop_price", "stop_reason"):
            assert getattr(rebuilt, name) == getattr(trailed, name), name
        assert rebuilt.stop_attempt == trailed.stop_attempt + 3      # three may have left unseen
        tick = D("0.1")
        assert abs(rebuilt.stop_price - trailed.stop_price) <= tick
        assert rebuilt.protective_stop is not None
        assert trailed.protective_stop is not None
        assert rebuilt.protective_stop.order_id == trailed.protective_stop.order_id
        again.price_moves_to(favourable + 1_000 * side.sign)
        assert (held(again).stop_price - rebuilt.stop_price) * side.sign > 900
        again.watch_until(lambda: len(resting(again)) == 1)
        trade = again.manager.close_position(BTC)
        assert trade is not None
        assert (trade.position_id, trade.quantity) == (before.position_id, before.quantity)
        again.watch_until(lambda: resting(again) == [])
        assert again.reconciler.run().found == ()
        accepted = [event["client_oid"] for event in again.box.history("order_accepted")]
        assert len(set(accepted)) == len(accepted)


def test_a_position_in_the_other_margin_mode_can_be_protected_and_closed(
    house: LiveHouse, client: KuCoinClient
) -> None:
    """Opened by hand in cross mode, RAD set to isolated: its stop and its exit speak of cross, or 330005."""
    box = house.box
    with a_client(
        box.futures_url, spot_url=box.spot_url, key=box.key, secret=box.secret, passphrase=box.passphrase
    ) as by_hand:
        by_hand.set_margin_mode(BTC, "cross", D(3))
        by_hand.place_order(an_order("web-1", quantity=D(5), leverage=None, margin_mode="cross"), Priority.HIGH)
    (theirs,) = client.fetch_positions()
    assert theirs.margin_mode == "cross"
    position = house.manager.adopt(theirs)
    assert position is not None
    assert position.protective_stop is not None
    assert house.manager.close_position(BTC) is not None
    assert house.box.history("order_refused") == []


def test_a_refused_close_by_hand_is_said_and_done_later(house: LiveHouse) -> None:
    """Refused three times over: the caller hears it, a person is told, and it closes when it may."""
    house.open()
    house.box.fault("refuse", **ORDERS, count=3, code="300002", message="Order placement suspended")
    with pytest.raises(ExchangeError, match="suspended"):
        house.manager.close_position(BTC)
    house.watch_until(lambda: bool(house.manager.exits_in_trouble()))
    house.watch_until(house.is_flat)
    assert "exit_stuck" in [event.kind for event in house.journal.events()]


def test_a_margin_mode_that_a_person_has_changed_is_set_again(house: LiveHouse) -> None:
    """Remembered as isolated and cross by now: one entry is refused, and the next is taken."""
    house.open()
    assert house.manager.close_position(BTC) is not None
    SignedClient(house.box).data(
        "POST", "/api/v2/position/changeMarginMode", {"symbol": ID, "marginMode": "CROSS"}
    )
    refused = house.manager.open_position(an_entry_request(), an_account())
    assert not isinstance(refused, Position)
    assert "330005" in refused.reason
    house.open()
