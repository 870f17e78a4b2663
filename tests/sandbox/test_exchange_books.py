"""The books outlive the exchange: saved, loaded, and going on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import threading
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from sandbox.books import Books, UnreadableBooks, saved_market
from sandbox.embedded import run_sandbox
from sandbox.exchange import Exchange
from tests.crowd import all_at_once
from tests.sandbox.desk import XBT, Desk
from tests.sandbox.fake_market import ETH, FakeMarket
from tests.sandbox.signed_client import SignedClient

D = Decimal


def reopened(path: Path, market: FakeMarket | None = None) -> Exchange:
    """Return a new exchange with the saved books."""
    exchange = Exchange(market or FakeMarket())
    asyncio.run(exchange.start())
    assert Books(exchange, path).load()
    return exchange


def a_busy_desk(path: Path) -> Desk:
    """A desk with a position, a closed life, a resting order, a waiting stop and funding, saved."""
    desk = Desk()
    desk.trade("sell", 7)
    desk.trade("buy", 107)
    desk.trade("buy", 3, price="49000", clientOid="resting")
    desk.trade("sell", 100, stop="down", stopPrice="48000", stopPriceType="MP", closeOrder=True, clientOid="stop")
    desk.exchange.settle_funding_now()
    Books(desk.exchange, path).save()
    return desk


def test_everything_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    """Wallet, positions, orders, fills, funding and closed positions are equal after a restart."""
    desk = a_busy_desk(tmp_path / "books.json")
    account = reopened(tmp_path / "books.json").accounts["u"]
    assert account.wallet == desk.account.wallet
    assert account.positions == desk.account.positions
    assert list(account.orders) == list(desk.account.orders)
    assert set(account.active) == set(desk.account.active)
    assert set(account.stops) == set(desk.account.stops)
    assert list(account.fills) == list(desk.account.fills)
    assert list(account.funding_history) == list(desk.account.funding_history)
    assert list(account.closed_positions) == list(desk.account.closed_positions)


def test_the_last_save_meets_one_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end a thread may still be writing: both get through, and the newer books stay."""
    desk, path = Desk(), tmp_path / "books.json"
    books = Books(desk.exchange, path)
    on_its_way, last_saved = threading.Event(), threading.Event()
    write_through = os.fsync

    def slow(descriptor: int) -> None:
        write_through(descriptor)
        if not on_its_way.is_set():
            on_its_way.set()
            last_saved.wait(0.5)             # it cannot be, while this one writes

    def save_the_last() -> None:
        assert on_its_way.wait(5)
        desk.trade("buy", 7)
        books.save()
        last_saved.set()

    monkeypatch.setattr(os, "fsync", slow)
    all_at_once(lambda: asyncio.run(books.save_if_changed()), save_the_last)
    assert reopened(path).accounts["u"].positions[XBT].qty == 7


def test_a_restarted_exchange_goes_on_trading(tmp_path: Path) -> None:
    """The stop saved before still fires, and no id is given twice."""
    desk = a_busy_desk(tmp_path / "books.json")
    market = FakeMarket()
    exchange = reopened(tmp_path / "books.json", market)
    account = exchange.accounts["u"]
    market.set_price(XBT, D("48000"))
    exchange.step()
    assert account.positions[XBT].qty == 0
    old = {f.trade_id for f in desk.account.fills}
    new = [f.trade_id for f in account.fills]
    assert len(new) == len(set(new)) > len(old)


def test_an_order_accepted_but_not_matched_is_matched_after_the_restart(tmp_path: Path) -> None:
    """Acceptance was promised: it holds over a restart."""
    desk = Desk()
    order = desk.place("buy", 5)
    Books(desk.exchange, tmp_path / "b").save()
    exchange = reopened(tmp_path / "b")
    exchange.run_pending()
    assert exchange.accounts["u"].orders[order.id].filled_size == 5


def test_another_market_drops_what_it_does_not_know(tmp_path: Path) -> None:
    """A position in a contract that is gone cannot be valued: it is forgotten, and noted."""
    a_busy_desk(tmp_path / "b")
    exchange = reopened(tmp_path / "b", FakeMarket(ETH))
    account = exchange.accounts["u"]
    assert not account.positions
    assert not account.active
    assert exchange.ledger.available(account) == account.wallet
    assert exchange.history.since(event="delisted")


def test_damaged_books_are_not_overwritten(tmp_path: Path) -> None:
    """What cannot be read is refused, not replaced by an empty account."""
    path = tmp_path / "b"
    path.write_text('{"version": 1, "acc', encoding="utf-8")
    exchange = Exchange(FakeMarket())
    asyncio.run(exchange.start())
    with pytest.raises(UnreadableBooks):
        Books(exchange, path).load()
    assert path.read_text(encoding="utf-8").endswith("acc")
    assert saved_market(path) is None


def test_a_served_exchange_saves_when_it_stops(tmp_path: Path) -> None:
    """A position opened over HTTP is there in the next run of the same state file."""
    path = tmp_path / "sub" / "books.json"
    with run_sandbox(FakeMarket(), state=path) as running:
        client = SignedClient(running)
        client.order("buy", 10)
        running.set_price(XBT, "50500")
    market = saved_market(path)
    assert market is not None
    assert market.prices[XBT] == D("50500")
    with run_sandbox(FakeMarket(), state=path, balance=D(1)) as running:
        position, = SignedClient(running).data("GET", "/api/v1/positions")
        assert position["currentQty"] == 10


def test_a_synthetic_market_goes_on_from_its_last_prices(tmp_path: Path) -> None:
    """Restarted on its books the price does not jump; started afresh with other pairs it may."""
    path = tmp_path / "books.json"
    with run_sandbox(state=path, pairs=5, seed=3) as running:
        running.set_price(XBT, "12345.6")
    with run_sandbox(state=path, pairs=5, seed=4) as running:
        price = requests.get(f"{running.futures_url}/api/v1/ticker?symbol={XBT}", timeout=5).json()
        assert abs(D(price["data"]["price"]) - D("12345.6")) < D(100)      # under 1 % in a moment
