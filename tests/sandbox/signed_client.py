"""A KuCoin client of the plainest kind: signs, sends, returns what came back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import requests

from sandbox.embedded import RunningSandbox

TIMEOUT_S = 10


class SignedClient:
    """Speaks to one sandbox; every part of a signature can be bent to see it refused."""

    def __init__(self, sandbox: RunningSandbox, base: str | None = None) -> None:
        self.base = base or sandbox.futures_url
        self.key, self.secret, self.passphrase = sandbox.key, sandbox.secret, sandbox.passphrase
        self.session = requests.Session()

    def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str | None] | None = None,
        timeout: float = TIMEOUT_S, clock_off_ms: int = 0,
    ) -> requests.Response:
        """Send one signed request; *headers* replace (or, with None, remove) ours."""
        raw = "" if body is None else json.dumps(body)
        stamp = str(int(time.time() * 1000) + clock_off_ms)
        ours: dict[str, str | None] = {
            "KC-API-KEY": self.key, "KC-API-TIMESTAMP": stamp, "KC-API-KEY-VERSION": "3",
            "KC-API-SIGN": self._mac(f"{stamp}{method}{path}{raw}"),
            "KC-API-PASSPHRASE": self._mac(self.passphrase), "Content-Type": "application/json",
        }
        wanted = {name: value for name, value in (ours | (headers or {})).items() if value is not None}
        return self.session.request(method, self.base + path, data=raw or None, headers=wanted, timeout=timeout)

    def data(self, method: str, path: str, body: Any = None) -> Any:
        """Return the `data` of an answer that must be a success."""
        answer = self.send(method, path, body).json()
        assert answer["code"] == "200000", answer
        return answer["data"]

    def code(self, method: str, path: str, body: Any = None, **wish: Any) -> str:
        code: str = self.send(method, path, body, **wish).json()["code"]
        return code

    def order(self, side: str, size: int, /, **wish: Any) -> str:
        """Place an order and return its id; a market order unless a price is given."""
        body = {
            "clientOid": f"t-{time.time_ns()}", "symbol": "XBTUSDTM", "side": side, "size": size,
            "leverage": 10, "type": "limit" if "price" in wish else "market",
        }
        order_id: str = self.data("POST", "/api/v1/orders", body | wish)["orderId"]
        return order_id

    def _mac(self, message: str) -> str:
        digest = hmac.new(self.secret.encode(), message.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()
