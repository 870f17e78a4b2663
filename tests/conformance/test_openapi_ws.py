"""Every futures push of the sandbox against KuCoin's own schema of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from sandbox.embedded import RunningSandbox
from tests.conformance.openapi import Specification
from tests.sandbox.signed_client import SignedClient

XBT = "XBTUSDTM"
PATIENCE_S = 10.0
PUBLIC = {
    "/contractMarket/tickerV2:{symbol}": f"/contractMarket/tickerV2:{XBT}",
    "/contractMarket/ticker:{symbol}": f"/contractMarket/ticker:{XBT}",
    "/contractMarket/level2:{symbol}": f"/contractMarket/level2:{XBT}",
    "/contractMarket/level2Depth5:{symbol}": f"/contractMarket/level2Depth5:{XBT}",
    "/contractMarket/level2Depth50:{symbol}": f"/contractMarket/level2Depth50:{XBT}",
    "/contractMarket/limitCandle:{symbol}_{type}": f"/contractMarket/limitCandle:{XBT}_1min",
    "/contractMarket/execution:{symbol}": f"/contractMarket/execution:{XBT}",
    "/contract/instrument:{symbol}": f"/contract/instrument:{XBT}",
    "/contractMarket/snapshot:{symbol}": f"/contractMarket/snapshot:{XBT}",
}
PRIVATE = {
    "/contractMarket/tradeOrders:{symbol}": f"/contractMarket/tradeOrders:{XBT}",
    "/contractMarket/tradeOrders": "/contractMarket/tradeOrders",
    "/contractMarket/advancedOrders": "/contractMarket/advancedOrders",
    "/contractAccount/wallet": "/contractAccount/wallet",
    "/contract/position:{symbol}": f"/contract/position:{XBT}",
    "/contract/positionAll": "/contract/positionAll",
}


class Listener:
    """One WebSocket, subscribed as KuCoin's documentation says."""

    def __init__(self, client: SignedClient, kind: str, topics: list[str]) -> None:
        token = client.data("POST", f"/api/v1/bullet-{kind}")
        endpoint = token["instanceServers"][0]["endpoint"]
        self._socket = websocket.create_connection(
            f"{endpoint}?token={token['token']}&connectId=1", timeout=PATIENCE_S
        )
        assert self.read()["type"] == "welcome"
        self.messages: list[dict[str, Any]] = []
        for number, topic in enumerate(topics):
            wish = {"id": str(number), "type": "subscribe", "topic": topic, "response": True,
                    "privateChannel": kind == "private"}
            self._socket.send(json.dumps(wish))
        acks = 0
        while acks < len(topics):
            message = self.read()
            acks += message["type"] == "ack"
            if message["type"] == "message":
                self.messages.append(message)

    def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        return message

    def read_until(self, wanted: set[str]) -> None:
        """Collect messages until each of the *wanted* topics and types has come."""
        deadline = time.monotonic() + PATIENCE_S
        while missing := wanted - {name for message in self.messages for name in _names(message)}:
            try:
                message = self.read()
            except websocket.WebSocketTimeoutException:
                message = {"type": "nothing"}
            assert time.monotonic() < deadline, f"never pushed: {missing}"
            if message["type"] == "message":
                self.messages.append(message)

    def close(self) -> None:
        self._socket.close()


def _names(message: dict[str, Any]) -> tuple[str, str]:
    return message["topic"], str(message["data"].get("type"))


@pytest.fixture(scope="module")
def pushed(sandbox: RunningSandbox) -> Iterator[list[dict[str, Any]]]:
    """Everything that was pushed while prices moved and orders lived, on both kinds of socket."""
    client = SignedClient(sandbox)
    public = Listener(client, "public", list(PUBLIC.values()))
    private = Listener(client, "private", list(PRIVATE.values()))
    sandbox.set_price(XBT, 60_100)
    client.order("buy", 4)
    resting = client.order("buy", 1, price="58000")
    client.data("DELETE", f"/api/v1/orders/{resting}")
    client.order("sell", 4, stop="down", stopPrice="59500", stopPriceType="MP", reduceOnly=True)
    client.order("buy", 1, stop="up", stopPrice="69000", stopPriceType="TP")
    sandbox.set_price(XBT, 59_000)
    client.data("DELETE", f"/api/v1/stopOrders?symbol={XBT}")
    private.read_until({*PRIVATE.values(), "triggered", "cancel"})
    public.read_until(set(PUBLIC.values()))
    yield public.messages + private.messages
    public.close()
    private.close()


@pytest.mark.parametrize(("file", "topic"), [
    *(("futures-public", topic) for topic in PUBLIC), *(("futures-private", topic) for topic in PRIVATE),
])
def test_what_is_pushed(
    pushed: list[dict[str, Any]], specification: Specification, file: str, topic: str
) -> None:
    """All pushes of a topic are what KuCoin's schema says."""
    name = (PUBLIC | PRIVATE)[topic]
    messages = [message for message in pushed if message["topic"] == name]
    assert messages
    breaches = {breach for m in messages for breach in specification.push_breaches(file, topic, m)}
    assert breaches == set()


def test_the_life_of_orders_is_told(pushed: list[dict[str, Any]]) -> None:
    """A market order is matched and filled, a resting one opened and cancelled, a stop opened and triggered."""
    orders = [m["data"]["type"] for m in pushed if m["topic"] == "/contractMarket/tradeOrders"]
    stops = [m["data"]["type"] for m in pushed if m["topic"] == "/contractMarket/advancedOrders"]
    assert {"open", "match", "filled", "canceled"} <= set(orders)
    assert {"open", "triggered"} <= set(stops)
