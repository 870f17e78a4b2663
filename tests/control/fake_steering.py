"""A daemon that answers from memory, and can be told to hang or to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

POSITION = {
    "symbol": "BTC/USDT:USDT", "side": "long", "quantity": "10", "base_qty": "0.01", "entry_price": "50000",
    "price": "50500", "stop_price": "49900", "exchange_stop_price": "49750", "protected": True,
    "unrealised_pnl": "5", "r_multiple": "1.25", "opened_at": "2026-01-02T03:04:05.678Z",
}
TRADE = {
    "symbol": "BTC/USDT:USDT", "side": "long", "quantity": "10", "entry_price": "50000",
    "exit_price": "50512.5", "opened_at": "2026-01-02T03:04:05.678Z", "closed_at": "2026-01-02T04:38:05.678Z",
    "exit_reason": "manual", "fee": "0.603", "funding": "0", "realised_pnl": "4.522", "r_multiple": "1.28",
}
STATUS = {
    "state": "running", "mode": "sandbox", "market": "futures", "version": "0.0", "equity": "10012.3",
    "positions": 1, "protected": 1, "rate": {"futures": {"used": 120, "limit": 2000}},
    "exit_latency_ms": {"p50": 1.2, "p99": 4.0, "max": 9.1, "count": 17},
    "protection_gap_ms": {"p50": 31.0, "p99": 52.5, "max": 52.5, "count": 3}, "problems": [],
}


class FakeSteering:
    """`control.steering.Steering`; *on* replaces what a method does, *asked* keeps what was asked."""

    def __init__(self) -> None:
        self.on: dict[str, Callable[..., Any]] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.threads_used: list[str] = []
        self.released = threading.Event()     # ends every call made to hang

    def hang(self, *_: Any) -> dict[str, Any]:
        """Not come back until the test lets it."""
        self.released.wait(30)
        return {}

    def _answer(self, name: str, usual: Any, *said: Any) -> Any:
        self.asked.append((name, *said))
        self.threads_used.append(threading.current_thread().name)
        return self.on[name](*said) if name in self.on else usual

    def status(self) -> Any:
        return self._answer("status", STATUS)

    def positions(self) -> Any:
        return self._answer("positions", [POSITION])

    def opportunities(self) -> Any:
        return self._answer("opportunities", [])

    def orders(self) -> Any:
        return self._answer("orders", [])

    def trades(self, limit: int) -> Any:
        return self._answer("trades", [], limit)

    def threads(self, stacks: bool = False) -> Any:
        return self._answer("threads", {"threads": [], "locks": []})

    def verify(self) -> Any:
        return self._answer("verify", {"agree": True, "differences": []})

    def open(self, symbol: str, side: str, notional: Decimal | None) -> Any:
        return self._answer("open", POSITION | {"symbol": symbol}, symbol, side, notional)

    def close(self, symbol: str) -> Any:
        return self._answer("close", TRADE | {"symbol": symbol}, symbol)

    def flatten(self) -> Any:
        return self._answer("flatten", {"closed": [TRADE], "failed": [], "paused": True})

    def pause(self) -> Any:
        return self._answer("pause", {"paused": True})

    def resume(self) -> Any:
        return self._answer("resume", {"paused": False})

    def reload(self) -> Any:
        return self._answer("reload", {"changed": [], "needs_restart": []})
