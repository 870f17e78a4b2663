"""Every futures answer of the sandbox against KuCoin's own schema of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sandbox.embedded import RunningSandbox
from tests.conformance.openapi import Specification
from tests.sandbox.signed_client import SignedClient

XBT = "XBTUSDTM"
MARKET, ORDER, POSITIONS, FUNDING, ACCOUNT = (
    "futures-market", "futures-order", "futures-positions", "futures-fundingfees", "account-account"
)


@pytest.fixture(scope="module")
def client(sandbox: RunningSandbox) -> SignedClient:
    """A client that has bought, sold, set stops and rested orders: every list has something in it."""
    client = SignedClient(sandbox)
    client.order("buy", 20)
    client.order("sell", 5)
    client.order("buy", 1, price="58000")
    client.order("sell", 15, stop="down", stopPrice="55000", stopPriceType="MP", reduceOnly=True)
    for side in ("buy", "sell"):
        body = {"clientOid": f"eth-{side}", "symbol": "ETHUSDTM", "side": side, "type": "market", "size": 3,
                "leverage": 5}
        client.data("POST", "/api/v1/orders", body)
    sandbox.control("funding", {})
    return client


def an_order(**wish: Any) -> dict[str, Any]:
    body = {
        "clientOid": f"c-{time.time_ns()}", "symbol": XBT, "side": "buy", "type": "limit", "price": "57000",
        "size": 1, "leverage": 10,
    }
    return body | wish


PUBLIC = [
    (MARKET, "/api/v1/contracts/{symbol}", f"/api/v1/contracts/{XBT}"),
    (MARKET, "/api/v1/contracts/active", "/api/v1/contracts/active"),
    (MARKET, "/api/v1/ticker", f"/api/v1/ticker?symbol={XBT}"),
    (MARKET, "/api/v1/allTickers", "/api/v1/allTickers"),
    (MARKET, "/api/v1/level2/snapshot", f"/api/v1/level2/snapshot?symbol={XBT}"),
    (MARKET, "/api/v1/level2/depth{size}", f"/api/v1/level2/depth20?symbol={XBT}"),
    (MARKET, "/api/v1/trade/history", f"/api/v1/trade/history?symbol={XBT}"),
    (MARKET, "/api/v1/kline/query", f"/api/v1/kline/query?symbol={XBT}&granularity=1"),
    (MARKET, "/api/v1/mark-price/{symbol}/current", f"/api/v1/mark-price/{XBT}/current"),
    (MARKET, "/api/v1/timestamp", "/api/v1/timestamp"),
    (MARKET, "/api/v1/status", "/api/v1/status"),
    (FUNDING, "/api/v1/funding-rate/{symbol}/current", f"/api/v1/funding-rate/{XBT}/current"),
    (FUNDING, "/api/v1/contract/funding-rates",
     f"/api/v1/contract/funding-rates?symbol={XBT}&from=0&to=2000000000000"),
]
PRIVATE = [
    (ACCOUNT, "/api/v1/account-overview", "/api/v1/account-overview?currency=USDT"),
    (ACCOUNT, "/api/v1/transaction-history", "/api/v1/transaction-history"),
    (ORDER, "/api/v1/orders", "/api/v1/orders"),
    (ORDER, "/api/v1/orders", "/api/v1/orders?status=active"),
    (ORDER, "/api/v1/stopOrders", "/api/v1/stopOrders"),
    (ORDER, "/api/v1/recentDoneOrders", "/api/v1/recentDoneOrders"),
    (ORDER, "/api/v1/openOrderStatistics", f"/api/v1/openOrderStatistics?symbol={XBT}"),
    (ORDER, "/api/v1/recentFills", "/api/v1/recentFills"),
    (ORDER, "/api/v1/fills", "/api/v1/fills"),
    (POSITIONS, "/api/v2/position/getMarginMode", f"/api/v2/position/getMarginMode?symbol={XBT}"),
    (POSITIONS, "/api/v2/getMaxOpenSize", f"/api/v2/getMaxOpenSize?symbol={XBT}&price=60000&leverage=3"),
    (POSITIONS, "/api/v1/position", f"/api/v1/position?symbol={XBT}"),
    (POSITIONS, "/api/v1/positions", "/api/v1/positions"),
    (POSITIONS, "/api/v1/history-positions", "/api/v1/history-positions"),
    (POSITIONS, "/api/v2/getCrossUserLeverage", f"/api/v2/getCrossUserLeverage?symbol={XBT}"),
    (POSITIONS, "/api/v1/contracts/risk-limit/{symbol}", f"/api/v1/contracts/risk-limit/{XBT}"),
    (FUNDING, "/api/v1/funding-history", f"/api/v1/funding-history?symbol={XBT}"),
]


@pytest.mark.parametrize(("file", "path", "request_path"), PUBLIC + PRIVATE)
def test_what_is_asked_for(
    client: SignedClient, specification: Specification, file: str, path: str, request_path: str
) -> None:
    """The answer to a GET is what KuCoin's schema says, and is not empty."""
    answer = client.send("GET", request_path).json()
    assert answer["code"] == "200000", answer
    data = answer["data"]
    assert data.get("items", data) if isinstance(data, dict) else data
    assert specification.answer_breaches(file, "get", path, answer) == []


@pytest.mark.parametrize(("file", "path"), [
    (ACCOUNT, "/api/v1/user/api-key"), (ACCOUNT, "/api/v2/user-info"), ("spot-market", "/api/v1/my-ip"),
])
def test_what_is_asked_of_the_account(
    sandbox: RunningSandbox, specification: Specification, file: str, path: str
) -> None:
    """Key, level and our address: at the spot address, as KuCoin's schema says."""
    answer = SignedClient(sandbox, sandbox.spot_url).send("GET", path).json()
    assert answer["code"] == "200000", answer
    assert specification.answer_breaches(file, "get", path, answer) == []


@pytest.mark.parametrize("kind", ["public", "private"])
def test_tokens(client: SignedClient, specification: Specification, kind: str) -> None:
    """Both bullet answers carry a token and a server, as specified."""
    path = f"/api/v1/bullet-{kind}"
    answer = client.send("POST", path).json()
    assert specification.answer_breaches(MARKET, "post", path, answer) == []


def test_single_orders(client: SignedClient, specification: Specification) -> None:
    """Orders placed, tested, looked up both ways and cancelled both ways answer as specified."""
    def breaches(method: str, path: str, request_path: str, body: Any = None) -> Any:
        answer = client.send(method, request_path, body).json()
        assert answer["code"] == "200000", answer
        assert specification.answer_breaches(ORDER, method, path, answer) == []
        return answer["data"]

    first, second = an_order(), an_order()
    order_id = breaches("POST", "/api/v1/orders", "/api/v1/orders", first)["orderId"]
    breaches("POST", "/api/v1/orders", "/api/v1/orders", second)
    breaches("POST", "/api/v1/orders/test", "/api/v1/orders/test", an_order())
    breaches("GET", "/api/v1/orders/{order-id}", f"/api/v1/orders/{order_id}")
    oid = second["clientOid"]
    breaches("GET", "/api/v1/orders/byClientOid", f"/api/v1/orders/byClientOid?clientOid={oid}")
    breaches("DELETE", "/api/v1/orders/{orderId}", f"/api/v1/orders/{order_id}")
    path = "/api/v1/orders/client-order/{clientOid}"
    breaches("DELETE", path, f"/api/v1/orders/client-order/{oid}?symbol={XBT}")


def test_orders_by_the_dozen(client: SignedClient, specification: Specification) -> None:
    """Batches, orders with two stops, and the ways to cancel many answer as specified."""
    def breaches(method: str, path: str, body: Any = None, query: str = "") -> Any:
        answer = client.send(method, path + query, body).json()
        assert answer["code"] == "200000", answer
        assert specification.answer_breaches(ORDER, method, path, answer) == []
        return answer["data"]

    placed = breaches("POST", "/api/v1/orders/multi", [an_order(), an_order()])
    breaches("DELETE", "/api/v1/orders/multi-cancel", {"orderIdsList": [placed[0]["orderId"]]})
    breaches(
        "POST", "/api/v1/st-orders",
        an_order(triggerStopUpPrice="65000", triggerStopDownPrice="50000", stopPriceType="TP"),
    )
    breaches("DELETE", "/api/v3/orders", query=f"?symbol={XBT}")
    breaches("DELETE", "/api/v1/stopOrders", query=f"?symbol={XBT}")
    breaches("POST", "/api/v1/orders", an_order())
    breaches("DELETE", "/api/v1/orders", query=f"?symbol={XBT}")


def test_changes_of_leverage_margin_and_mode(client: SignedClient, specification: Specification) -> None:
    """Deposit, cross leverage and margin mode answer as specified."""
    for path, body in (
        ("/api/v1/position/margin/deposit-margin", {"symbol": XBT, "margin": 5, "bizNo": "1"}),
        ("/api/v2/changeCrossUserLeverage", {"symbol": "SOLUSDTM", "leverage": "7"}),
        ("/api/v2/position/changeMarginMode", {"symbol": "SOLUSDTM", "marginMode": "CROSS"}),
    ):
        answer = client.send("POST", path, body).json()
        assert answer["code"] == "200000", answer
        assert specification.answer_breaches(POSITIONS, "post", path, answer) == []


def test_trade_fees(client: SignedClient, specification: Specification) -> None:
    """The fees of a contract; the specification files this GET under PATCH."""
    answer = client.send("GET", f"/api/v1/trade-fees?symbol={XBT}").json()
    assert specification.answer_breaches("account-fee", "patch", "/api/v1/trade-fees", answer) == []


def test_a_wrong_answer_is_noticed(specification: Specification) -> None:
    """A field of another type and a missing one are breaches: the check can fail."""
    path = "/api/v1/ticker"
    breaches = specification.answer_breaches(MARKET, "get", path, {"code": "200000", "data": {"sequence": "x"}})
    assert any("sequence" in breach and "integer" in breach for breach in breaches)
    assert any("'bestBidPrice' is a required property" in breach for breach in breaches)
