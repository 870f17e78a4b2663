"""A daemon that answers from memory, and can be told to hang or to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from control.metrics import gauge

POSITION: dict[str, Any] = {
    "symbol": "BTC/USDT:USDT", "side": "long", "quantity": "10", "base_qty": "0.01", "entry_price": "50000",
    "price": "50500", "stop_price": "49900", "exchange_stop_price": "49750", "protected": True,
    "unrealised_pnl": "5", "r_multiple": "1.25", "opened_at": "2026-01-02T03:04:05.678Z", "state": "open",
    "realised_pnl": "0", "fee": "0.3", "leverage": "3", "strategy": "trend", "reasons": ["score 0.62"],
}
TRADE: dict[str, Any] = {
    "symbol": "BTC/USDT:USDT", "side": "long", "quantity": "10", "entry_price": "50000",
    "exit_price": "50512.5", "opened_at": "2026-01-02T03:04:05.678Z", "closed_at": "2026-01-02T04:38:05.678Z",
    "exit_reason": "manual", "fee": "0.603", "funding": "0", "realised_pnl": "4.522", "r_multiple": "1.28",
}
STATUS: dict[str, Any] = {
    "state": "running", "mode": "sandbox", "market": "futures", "version": "0.0", "equity": "10012.3",
    "positions": 1, "protected": 1,
    "rate": {"futures": {"used": 120, "quota": 2000, "waiting": 0, "held_s": 0.0, "resets_in_s": 12.5}},
    "exit_latency_ms": {
        "count": 17, "p50": 1.2, "p95": 3.0, "p99": 4.0, "max": 9.1, "late": 0,
        "stages": {"sent": {"count": 17, "p50": 1.2, "p95": 3.0, "p99": 4.0, "max": 9.1}},
    },
    "protection_gap_ms": {"p50": 31.0, "p99": 52.5, "max": 52.5, "count": 3}, "problems": [],
    "stale_after_s": 2.0, "equity_age_s": 1.3,
}


EVENT = {
    "number": 7, "at": "2026-01-02T03:04:05.678Z", "kind": "paused", "level": "info", "symbol": None,
    "over": False, "text": "paused: nothing is entered", "fields": {},
}
EQUITY = {"points": [
    {"at": "2026-01-02T03:04:05.678Z", "equity": "10012.3", "lowest": "10001", "drawdown": "0.01"},
]}
CHART = {
    "symbol": "", "timeframe": "1m", "at": ["2026-01-02T03:04:00.000Z"], "open": [1.0], "high": [2.0],
    "low": [0.5], "close": [1.5], "volume": [10.0], "position": None,
    "trades": [],
}


class FakeSteering:
    """`control.steering.Steering`; *on* replaces what a method does, *asked* keeps what was asked."""

    def __init__(self) -> None:
        self.on: dict[str, Callable[..., Any]] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.threads_used: list[str] = []
        self.feed: list[dict[str, Any]] = [EVENT]
        self.released = threading.Event()     # ends every call made to hang

    def hang(self, *_: Any) -> dict[str, Any]:
        """Not come back until the test lets it."""
        self.released.wait(30)
        return {}

    def _answer(self, name: str, usual: Any, *said: Any) -> Any:
        self.asked.append((name, *said))
        self.threads_used.append(threading.current_thread().name)
        return self.on[name](*said) if name in self.on else usual

    def held_up(self) -> Any:
        return self._answer("held_up", "")

    def status(self) -> Any:
        return self._answer("status", STATUS)

    def positions(self) -> Any:
        return self._answer("positions", [POSITION])

    def opportunities(self) -> Any:
        return self._answer("opportunities", [])

    def orders(self) -> Any:
        return self._answer("orders", [])

    def trades(self, limit: int, **only: Any) -> Any:
        return self._answer("trades", [], limit, *(value for value in only.values() if value))

    def rate(self) -> Any:
        return self._answer("rate", STATUS["rate"])

    def latency(self) -> Any:
        return self._answer("latency", STATUS["exit_latency_ms"])

    def equity(self, since_ms: int, points: int) -> Any:
        return self._answer("equity", EQUITY, since_ms, points)

    def chart(self, symbol: str) -> Any:
        return self._answer("chart", CHART | {"symbol": symbol}, symbol)

    def events(self, after: int, limit: int) -> Any:
        events = [event for event in self.feed if event["number"] > after][-limit:]
        return self._answer("events", events, after, limit)

    def figures(self) -> Any:
        return self._answer("figures", (gauge("equity", "Worth of the account.", Decimal("10012.3")),))

    def blacklist(self) -> Any:
        return self._answer("blacklist", {"symbols": []})

    def blacklist_add(self, symbol: str) -> Any:
        return self._answer("blacklist_add", {"symbols": [symbol]}, symbol)

    def blacklist_remove(self, symbol: str) -> Any:
        return self._answer("blacklist_remove", {"symbols": []}, symbol)

    def threads(self, stacks: bool = False) -> Any:
        return self._answer("threads", {"threads": [], "locks": [], "strips": {}})

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
