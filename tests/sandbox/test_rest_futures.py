"""The futures endpoints over HTTP: shapes, lists, codes, addresses."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
import requests

from sandbox.embedded import RunningSandbox, run_sandbox
from sandbox.market.source import Candle
from tests.sandbox.fake_market import FakeMarket
from tests.sandbox.signed_client import SignedClient

D = Decimal
XBT = "XBTUSDTM"


def test_public_endpoints_need_no_signature(running: RunningSandbox) -> None:
    """Contracts, tickers, depth, marks, funding, time and status answer anybody."""
    def get(path: str) -> Any:
        answer = requests.get(running.futures_url + path, timeout=5).json()
        assert answer["code"] == "200000", answer
        return answer["data"]

    assert [c["symbol"] for c in get("/api/v1/contracts/active")] == [XBT, "ETHUSDTM"]
    assert get(f"/api/v1/contracts/{XBT}")["multiplier"] == 0.001
    assert get(f"/api/v1/ticker?symbol={XBT}")["bestAskPrice"] == "50000.1"
    assert len(get("/api/v1/allTickers")) == 2
    book = get(f"/api/v1/level2/depth20?symbol={XBT}")
    assert (len(book["bids"]), book["bids"][0], book["asks"][0]) == (20, [50000, 1000], [50000.1, 1000])
    assert get(f"/api/v1/mark-price/{XBT}/current")["value"] == 50000
    assert get(f"/api/v1/funding-rate/{XBT}/current")["value"] == 0.0001
    assert get("/api/v1/status")["status"] == "open"
    assert abs(get("/api/v1/timestamp") - time.time() * 1000) < 5000


def test_candles_are_oldest_first_numbers_at_most_five_hundred() -> None:
    """The futures layout: [ms, open, high, low, close, volume, turnover]."""
    market = FakeMarket()
    market.candle_list = tuple(
        Candle(open_ms=i * 60_000, open=D(1), high=D("2.5"), low=D("0.5"), close=D(2), volume=7, turnover=D(9))
        for i in range(600)
    )
    with run_sandbox(market) as running:
        url = f"{running.futures_url}/api/v1/kline/query?symbol={XBT}&granularity=1&from=0&to=99999999"
        rows = requests.get(url, timeout=5).json()["data"]
        assert len(rows) == 500
        assert rows[0] == [0, 1, 2.5, 0.5, 2, 7, 9]
        assert rows[1][0] == 60_000
        bad = requests.get(url.replace("granularity=1", "granularity=3"), timeout=5).json()
        assert bad["code"] == "400100"


def test_an_order_through_its_life(running: RunningSandbox, client: SignedClient) -> None:
    """Placed, found by both ids, listed as active, canceled, listed as done."""
    body = {"clientOid": "life-1", "symbol": XBT, "side": "buy", "type": "limit", "price": "49000",
            "size": 3, "leverage": 5}
    order_id = client.data("POST", "/api/v1/orders", body)["orderId"]
    by_id = client.data("GET", f"/api/v1/orders/{order_id}")
    assert by_id == client.data("GET", "/api/v1/orders/byClientOid?clientOid=life-1")
    assert (by_id["price"], by_id["size"], by_id["status"], by_id["isActive"]) == ("49000", 3, "open", True)
    assert client.data("GET", "/api/v1/orders?status=active")["totalNum"] == 1
    assert client.data("GET", "/api/v1/orders")["items"] == []              # the default is done
    statistics = client.data("GET", f"/api/v1/openOrderStatistics?symbol={XBT}")
    assert (statistics["openOrderBuySize"], statistics["openOrderBuyCost"]) == (3, "147")
    assert client.data("DELETE", f"/api/v1/orders/{order_id}") == {"cancelledOrderIds": [order_id]}
    done = client.data("GET", "/api/v1/recentDoneOrders")[0]
    assert (done["id"], done["cancelExist"], done["status"]) == (order_id, True, "done")
    assert client.code("DELETE", f"/api/v1/orders/{order_id}") == "100004"
    assert [e["event"] for e in running.history()][-3:] == ["order_accepted", "cancel_accepted", "order_done"]


def test_waiting_stops_have_their_own_list(running: RunningSandbox, client: SignedClient) -> None:
    """A stop is in stopOrders until it fires, then among the ordinary orders under the same id."""
    client.order("buy", 10)
    stop_id = client.order("sell", 10, stop="down", stopPrice="49000", stopPriceType="MP", closeOrder=True)
    assert [o["id"] for o in client.data("GET", "/api/v1/stopOrders")["items"]] == [stop_id]
    assert client.data("GET", "/api/v1/orders?status=active")["items"] == []
    assert client.data("GET", f"/api/v1/orders/{stop_id}")["stopTriggered"] is False
    running.set_price(XBT, "49000")
    assert client.data("GET", "/api/v1/stopOrders")["items"] == []
    fired = client.data("GET", f"/api/v1/orders/{stop_id}")
    assert (fired["stopTriggered"], fired["filledSize"], fired["status"]) == (True, 10, "done")


def test_stops_are_canceled_by_their_own_call(client: SignedClient) -> None:
    """DELETE stopOrders takes the stops, v3/orders the rest."""
    client.order("buy", 10)
    stop_id = client.order("sell", 10, stop="down", stopPrice="49000", stopPriceType="MP", reduceOnly=True)
    order_id = client.order("buy", 1, price="48000")
    assert client.data("DELETE", f"/api/v3/orders?symbol={XBT}") == {"cancelledOrderIds": [order_id]}
    assert client.data("DELETE", f"/api/v1/stopOrders?symbol={XBT}") == {"cancelledOrderIds": [stop_id]}
    assert client.data("GET", "/api/v1/stopOrders")["items"] == []


def test_a_fresh_order_is_not_readable_at_once() -> None:
    """KuCoin's read lag: accepted, but for a while GET says there is no such order."""
    with run_sandbox(FakeMarket(), visibility_delay_ms=60_000.0) as running:
        client = SignedClient(running)
        order_id = client.order("buy", 10)
        assert client.code("GET", f"/api/v1/orders/{order_id}") == "100001"
        assert client.data("GET", "/api/v1/recentDoneOrders") == []
        running.control("settings", {"visibility_delay_ms": 0})
        assert client.code("GET", f"/api/v1/orders/{client.order('buy', 1)}") == "200000"


def test_fills_and_positions_tell_the_same_story(client: SignedClient) -> None:
    """What was filled, what it cost, and what is held agree."""
    order_id = client.order("buy", 100)
    fill, = client.data("GET", "/api/v1/recentFills")
    assert (fill["orderId"], fill["fee"], fill["openFeePay"]) == (order_id, "3.000006", "3.000006")
    assert client.data("GET", f"/api/v1/fills?orderId={order_id}")["items"] == [fill]
    position, = client.data("GET", "/api/v1/positions?currency=USDT")
    assert (position["currentQty"], position["avgEntryPrice"], position["isOpen"]) == (100, 50000.1, True)
    assert client.data("GET", f"/api/v1/position?symbol={XBT}")["posInit"] == 500.001
    flat = client.data("GET", "/api/v1/position?symbol=ETHUSDTM")
    assert (flat["currentQty"], flat["isOpen"]) == (0, False)
    overview = client.data("GET", "/api/v1/account-overview?currency=USDT")
    assert overview["positionMargin"] == 503.3010066
    assert client.data("GET", "/api/v1/account-overview")["currency"] == "XBT"      # KuCoin's default


def test_a_closed_position_is_in_the_history(client: SignedClient) -> None:
    """history-positions shows prices, profit and fees of a finished life."""
    client.order("buy", 100)
    client.order("sell", 100)
    closed, = client.data("GET", "/api/v1/history-positions")["items"]
    assert (closed["type"], closed["openPrice"], closed["closePrice"]) == ("CLOSE_LONG", "50000.1", "50000")
    assert closed["pnl"] == "-6.010006"                                             # −0.01 − 3.000006 − 3


def test_batches_answer_entry_by_entry(client: SignedClient) -> None:
    """One bad entry does not spoil the others, in placing and in canceling."""
    good = {"clientOid": "b-1", "symbol": XBT, "side": "buy", "type": "limit", "price": "49000", "size": 1,
            "leverage": 3}
    placed = client.data("POST", "/api/v1/orders/multi", [good, good | {"clientOid": "b-2", "size": 0}])
    assert [entry["code"] for entry in placed] == ["200000", "400100"]
    body = {"clientOidsList": [{"symbol": XBT, "clientOid": "b-1"}, {"symbol": XBT, "clientOid": "b-2"}]}
    canceled = client.data("DELETE", "/api/v1/orders/multi-cancel", body)
    assert [entry["code"] for entry in canceled] == ["200", "100004"]
    assert client.code("POST", "/api/v1/orders/test", good) == "200000"
    assert client.code("GET", "/api/v1/orders/byClientOid?clientOid=b-3") == "100001"


def test_cancel_by_client_oid_asks_for_the_symbol(client: SignedClient) -> None:
    """Without the symbol it is a parameter error; with it the order goes."""
    client.order("buy", 1, price="49000", clientOid="mine")
    assert client.code("DELETE", "/api/v1/orders/client-order/mine") == "400100"
    answer = client.data("DELETE", f"/api/v1/orders/client-order/mine?symbol={XBT}")
    assert answer == {"clientOid": "mine"}
    assert client.data("GET", "/api/v1/orders?status=active")["items"] == []


def test_margin_mode_cannot_change_under_a_position(client: SignedClient) -> None:
    """Isolated and cross are per symbol, and fixed while anything is open there."""
    assert client.data("GET", f"/api/v2/position/getMarginMode?symbol={XBT}")["marginMode"] == "ISOLATED"
    change = {"symbol": XBT, "marginMode": "CROSS"}
    assert client.data("POST", "/api/v2/position/changeMarginMode", change) == change
    assert client.code("POST", "/api/v1/orders", {
        "clientOid": "m", "symbol": XBT, "side": "buy", "type": "market", "size": 1, "leverage": 3,
    }) == "330005"
    assert client.data("POST", "/api/v2/changeCrossUserLeverage", {"symbol": XBT, "leverage": "7"}) is True
    assert client.data("GET", f"/api/v2/getCrossUserLeverage?symbol={XBT}")["leverage"] == "7"
    client.order("buy", 10, marginMode="CROSS")
    assert client.data("GET", "/api/v1/positions")[0]["crossMode"] is True
    back = {"symbol": XBT, "marginMode": "ISOLATED"}
    assert client.code("POST", "/api/v2/position/changeMarginMode", back) == "300000"


def test_paging(client: SignedClient) -> None:
    """currentPage and pageSize cut the list, newest first."""
    ids = [client.order("buy", 1, price="49000") for _ in range(5)]
    second = client.data("GET", "/api/v1/orders?status=active&pageSize=2&currentPage=2")
    assert [o["id"] for o in second["items"]] == [ids[2], ids[1]]
    assert (second["totalNum"], second["totalPage"]) == (5, 3)


@pytest.mark.parametrize("prefix", ["", "/futures"])
def test_an_address_may_carry_a_path(running: RunningSandbox, prefix: str) -> None:
    """The same port serves /futures and /spot; signatures cover KuCoin's path alone."""
    client = SignedClient(running, running.futures_url + prefix)
    client.order("buy", 1)
    token = client.data("POST", "/api/v1/bullet-private")
    assert token["instanceServers"][0]["endpoint"].endswith(f"{prefix}/endpoint")
    spot = SignedClient(running, running.futures_url + "/spot")
    assert spot.data("GET", "/api/v1/user/api-key")["permission"] == "General,Futures"
    assert spot.code("GET", "/api/v1/contracts/active") == "404000"


def test_the_spot_address_answers_what_a_futures_client_asks_first(running: RunningSandbox) -> None:
    """Account mode, currencies, and empty lists of symbols: enough for ccxt's load_markets."""
    spot = SignedClient(running, running.spot_url)
    assert spot.data("GET", "/api/ua/v1/account/mode") == {"selfAccountMode": "CLASSIC"}
    assert {"USDT", "XBT"} <= {c["currency"] for c in spot.data("GET", "/api/v3/currencies")}
    assert spot.data("GET", "/api/v2/symbols") == []
    assert spot.data("GET", "/api/v1/hf/accounts/opened") is True


def test_numbers_are_exact_on_the_wire(running: RunningSandbox, client: SignedClient) -> None:
    """Money is written with every digit it has, never through a binary float."""
    running.control("account", {"balance": "12345678901234.1234567891"})
    raw = client.send("GET", "/api/v1/account-overview?currency=USDT").text
    assert '"availableBalance":12345678901234.1234567891' in raw


def test_what_nobody_knows_is_404000(client: SignedClient) -> None:
    """An unknown path and an unknown symbol have their own codes."""
    assert client.code("GET", "/api/v9/nothing") == "404000"
    assert client.code("GET", "/api/v1/ticker?symbol=NOPE") == "900001"
    assert client.code("GET", "/api/v1/ticker") == "400100"
