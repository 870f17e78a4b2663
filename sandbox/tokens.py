"""Bullet tokens: what a WebSocket connection shows to be let in."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from sandbox.settings import ExchangeRules

LIFE_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    market: str
    user_id: str | None                # None: public topics only
    expires: float                     # monotonic seconds


class Tokens:
    """Issues tokens and remembers whose they are."""

    def __init__(self, rules: ExchangeRules) -> None:
        self._rules = rules
        self._issued: dict[str, Token] = {}

    def issue(self, base_url: str, market: str, user_id: str | None) -> dict[str, Any]:
        """Return the data of a bullet answer; the address is the one the client already uses."""
        text = secrets.token_urlsafe(48)
        now = time.monotonic()
        self._issued[text] = Token(market=market, user_id=user_id, expires=now + LIFE_S)
        if len(self._issued) > 10_000:
            del self._issued[next(iter(self._issued))]
        return {
            "token": text,
            "instanceServers": [{
                "endpoint": base_url.replace("http", "ws", 1) + "/endpoint",
                "encrypt": base_url.startswith("https"),
                "protocol": "websocket",
                "pingInterval": self._rules.ws_ping_interval_ms,
                "pingTimeout": self._rules.ws_ping_timeout_ms,
            }],
        }

    def find(self, text: str) -> Token | None:
        """Return the token *text* stands for, unless unknown or too old."""
        token = self._issued.get(text)
        return token if token and token.expires > time.monotonic() else None
