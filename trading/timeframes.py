"""How long KuCoin's candles are; apart from the candles, whose arrays take their time to import."""

from __future__ import annotations

TIMEFRAME_MINUTES: dict[str, int] = {
    "1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "8h": 480, "12h": 720, "1d": 1440,
}
