"""The futures topics a WebSocket client may name, and what is wrong with the others."""

from __future__ import annotations

from sandbox.marketview import MarketView

SYMBOL_TOPICS = frozenset({
    "/contractMarket/tickerV2", "/contractMarket/ticker", "/contractMarket/level2", "/contractMarket/level2Depth5",
    "/contractMarket/level2Depth50", "/contractMarket/execution", "/contractMarket/snapshot",
    "/contractMarket/limitCandle", "/contract/instrument", "/contract/announcement",
})
PRIVATE_TOPICS = frozenset({
    "/contractMarket/tradeOrders", "/contractMarket/advancedOrders", "/contractAccount/wallet",
    "/contract/positionAll", "/contract/marginMode", "/contract/crossLeverage",
})
PRIVATE_SYMBOL_TOPICS = frozenset({"/contractMarket/tradeOrders", "/contract/position"})
CANDLE_MINUTES = {
    "1min": 1, "5min": 5, "15min": 15, "30min": 30, "1hour": 60, "2hour": 120, "4hour": 240,
    "8hour": 480, "12hour": 720, "1day": 1440, "1week": 10080,
}
MOST_PER_REQUEST = 100


class TopicError(Exception):
    """A subscription KuCoin would refuse, with its WebSocket error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def split(topic: str | None, market: MarketView, signed_in: bool) -> list[str]:
    """Return the single topics of a comma list, each checked.

    Raises:
        TopicError: 406 none given, 404 unknown, 403 private without login, 509 too many.
    """
    if not topic:
        raise TopicError(406, "topic is required")
    name, _, listed = topic.partition(":")
    if name in PRIVATE_TOPICS or name in PRIVATE_SYMBOL_TOPICS:
        if not signed_in:
            raise TopicError(403, "login is required")
        if not listed or listed == "all":
            return [name] if name in PRIVATE_TOPICS else _unknown(topic)
        if name not in PRIVATE_SYMBOL_TOPICS:
            _unknown(topic)
    elif name not in SYMBOL_TOPICS or not listed:
        _unknown(topic)
    entries = [entry for entry in listed.split(",") if entry]
    if len(entries) > MOST_PER_REQUEST:
        raise TopicError(509, f"exceed max subscription count limitation of {MOST_PER_REQUEST} per time")
    for entry in entries:
        if not _is_known(name, entry, market):
            _unknown(topic)
    return [f"{name}:{entry}" for entry in entries]


def symbol_of(topic: str) -> str:
    """Return the symbol a single topic is about; empty when it is about all."""
    entry = topic.partition(":")[2]
    return entry.partition("_")[0] if topic.startswith("/contractMarket/limitCandle:") else entry


def _is_known(name: str, entry: str, market: MarketView) -> bool:
    if name == "/contractMarket/limitCandle":
        symbol, _, interval = entry.partition("_")
        return market.knows(symbol) and interval in CANDLE_MINUTES
    return market.knows(entry)


def _unknown(topic: str) -> list[str]:
    raise TopicError(404, f"topic {topic} does not exist")
