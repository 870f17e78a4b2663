"""What is pushed when: prices as they move, orders, positions and wallets as they change."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from sandbox import shapes
from sandbox.accounts import Account
from sandbox.exchange import Exchange
from sandbox.level2 import Change
from sandbox.market.source import Candle, Quote
from sandbox.orders import Fill, Order
from sandbox.positions import Position
from sandbox.topics import CANDLE_MINUTES, symbol_of
from sandbox.websocket import Hub, Session
from sandbox.wire import dumps, text

_SNAPSHOT_EVERY_S = 5
_FUNDING_EVERY_S = 60
_CANDLE_SHARE_S = 0.25
_LEVEL2 = "/contractMarket/level2:"


class Pushes:
    """The engine's listener: turns its events and the market's moves into messages."""

    def __init__(self, exchange: Exchange, hub: Hub) -> None:
        self.exchange = exchange
        self.hub = hub
        self._wallet_version = 0
        self._seconds = 0
        self._candles: dict[str, Candle] = {}
        self._candle_turns: dict[str, int] = {}      # topic -> second of its last turn
        hub.on_subscribe.append(self.greet)
        exchange.level2.on_change = self._push_level2

    # --- prices

    def market_moved(self, symbols: tuple[str, ...]) -> None:
        """Push the changed quotes somebody has asked for."""
        topics = self.hub.by_topic
        if not topics:
            return
        for symbol in symbols:
            for name, push in _PRICE_PUSHES:
                topic = f"{name}:{symbol}"
                if topic in topics:
                    push(self, topic, self.exchange.market.quote(symbol))
        for topic in list(topics):
            if topic.startswith(_LEVEL2):     # also where nothing moved: what was taken has come back
                self._update_book(topic.partition(":")[2])

    def greet(self, session: Session, topics: list[str]) -> None:
        """Push the present state of freshly subscribed price topics, so that nobody waits for a move."""
        pushes = dict(_PRICE_PUSHES)
        for topic in topics:
            name, _, symbol = topic.partition(":")
            if topic.startswith(_LEVEL2):
                self._update_book(symbol)     # its changes count from here
            if name in pushes:
                pushes[name](self, topic, self.exchange.market.quote(symbol))

    async def each_second(self) -> None:
        """Push what comes by the clock: marks, funding rates, snapshots, candles, positions."""
        self._seconds += 1
        for topic in list(self.hub.by_topic):
            if topic.startswith("/contract/instrument:"):
                self._push_instrument(topic, symbol_of(topic))
            elif topic.startswith("/contractMarket/snapshot:") and self._seconds % _SNAPSHOT_EVERY_S == 0:
                self._push_snapshot(topic, symbol_of(topic))
        for account in self.exchange.accounts.values():
            for position in list(account.open_positions()):
                self.position_changed(account, position, "markPriceChange")
        await self._push_candles()

    async def _push_candles(self) -> None:
        """Push open candles, as many as fit into a part of the second; the others come next time."""
        wanted = [t for t in self.hub.by_topic if t.startswith("/contractMarket/limitCandle:")]
        wanted.sort(key=lambda topic: self._candle_turns.get(topic, 0))
        give_up = time.monotonic() + _CANDLE_SHARE_S
        for topic in wanted:
            if time.monotonic() > give_up:
                return
            self._candle_turns[topic] = self._seconds
            await self._push_candle(topic)

    def _push_ticker_v2(self, topic: str, q: Quote) -> None:
        # The one push that goes out hundreds of times a second: written by hand.
        self.hub.push_text(
            topic,
            f'{{"topic":"{topic}","type":"message","subject":"tickerV2","sn":{q.sequence},"data":'
            f'{{"symbol":"{q.symbol}","sequence":{q.sequence},"bestBidSize":{q.bid_size},'
            f'"bestBidPrice":"{text(q.bid)}","bestAskPrice":"{text(q.ask)}",'
            f'"bestAskSize":{q.ask_size},"ts":{q.ts_ms * 1_000_000}}}}}',
        )

    def _push_ticker(self, topic: str, q: Quote) -> None:
        self.hub.push(topic, "ticker", shapes.ticker_json(q), sn=q.sequence)

    def _push_execution(self, topic: str, q: Quote) -> None:
        data = {
            "symbol": q.symbol, "sequence": q.sequence, "side": q.last_side, "size": q.last_size,
            "price": text(q.last), "takerOrderId": "0", "makerOrderId": "0", "tradeId": str(q.sequence),
            "ts": q.ts_ms * 1_000_000,
        }
        self.hub.push(topic, "match", data, sn=q.sequence)

    def _push_depth5(self, topic: str, q: Quote) -> None:
        self._push_depth(topic, q, 5)

    def _push_depth50(self, topic: str, q: Quote) -> None:
        self._push_depth(topic, q, 50)

    def _push_depth(self, topic: str, q: Quote, levels: int) -> None:
        contract = self.exchange.market.contract(q.symbol)
        ladder = self.exchange.depth.ladder
        data = {
            "bids": [[text(p), lots] for p, lots in ladder(contract, q, "sell")][:levels],
            "asks": [[text(p), lots] for p, lots in ladder(contract, q, "buy")][:levels],
            "sequence": q.sequence, "timestamp": q.ts_ms, "ts": q.ts_ms,
        }
        self.hub.push(topic, "level2", data, sn=q.sequence)

    def _update_book(self, symbol: str) -> None:
        market = self.exchange.market
        self.exchange.level2.update(market.contract(symbol), market.quote(symbol))

    def _push_level2(self, symbol: str, change: Change) -> None:
        self.hub.push(f"{_LEVEL2}{symbol}", "level2", {
            "sequence": change.sequence, "change": f"{text(change.price)},{change.side},{change.lots}",
            "timestamp": change.ts_ms,
        }, sn=change.sequence)

    def _push_instrument(self, topic: str, symbol: str) -> None:
        q = self.exchange.market.quote(symbol)
        now_ms = self.exchange.clock.now_ms()
        data: dict[str, Any] = {
            "markPrice": q.mark, "indexPrice": q.index, "granularity": 1000, "timestamp": now_ms
        }
        self.hub.push(topic, "mark.index.price", data)
        if self._seconds % _FUNDING_EVERY_S == 0:
            data = {"granularity": 60_000, "fundingRate": q.funding_rate, "timestamp": now_ms}
            self.hub.push(topic, "funding.rate", data)

    def _push_snapshot(self, topic: str, symbol: str) -> None:
        q = self.exchange.market.quote(symbol)
        self.hub.push(topic, "snapshot.24h", {
            "symbol": symbol, "highPrice": q.high_24h, "lastPrice": q.last, "lowPrice": q.low_24h,
            "price24HoursBefore": q.last - q.change_24h, "priceChg": q.change_24h,
            "priceChgPct": q.change_rate_24h, "ts": q.ts_ms * 1_000_000, "turnover": q.turnover_24h,
            "volume": q.volume_24h,
        }, id=f"{q.ts_ms:016x}{q.sequence % 2**32:08x}")

    async def _push_candle(self, topic: str) -> None:
        """Push the open candle when it has changed: seconds, and spot's order of prices."""
        symbol, _, interval = topic.partition(":")[2].partition("_")
        minutes = CANDLE_MINUTES[interval]
        now_ms = self.exchange.clock.now_ms()
        candles = await self.exchange.source.candles(symbol, minutes, now_ms - minutes * 60_000, now_ms)
        if not candles or self._candles.get(topic) == candles[-1]:
            return
        c = self._candles[topic] = candles[-1]
        values = (c.open_ms // 1000, c.open, c.close, c.high, c.low, c.volume, c.volume)
        data = {"symbol": symbol, "candles": [text(v) for v in values], "time": now_ms}
        self.hub.push(topic, "candle.stick", data)

    # --- what happens to accounts

    def order_changed(self, account: Account, order: Order, change: str, fill: Fill | None = None) -> None:
        name = "/contractMarket/tradeOrders"
        for topic, subject in ((name, "orderChange"), (f"{name}:{order.symbol}", "symbolOrderChange")):
            if topic in self.hub.by_topic:
                data = self._order_data(order, change, fill)
                self.hub.push(topic, subject, data, user_id=account.user_id)

    def stop_changed(self, account: Account, order: Order, change: str) -> None:
        data = {
            "createdAt": order.created_ms, "marginMode": order.margin_mode, "orderId": order.id,
            "clientOid": order.client_oid, "orderPrice": text(order.price), "orderType": "stop",
            "side": order.side, "size": order.size, "stop": order.stop,
            "stopPrice": text(order.stop_price or Decimal(0)), "stopPriceType": order.stop_price_type,
            "symbol": order.symbol, "ts": self.exchange.clock.now_ns(), "type": change,
        }
        self.hub.push(
            "/contractMarket/advancedOrders", "stopOrder", data, user_id=account.user_id, id=order.id
        )

    def position_changed(self, account: Account, position: Position, reason: str) -> None:
        self._push_unified_position(account, position)
        named = [f"/contract/position:{position.symbol}", "/contract/positionAll"]
        if any(topic in self.hub.by_topic for topic in named):
            data = shapes.position_json(account, position, self.exchange.ledger)
            data["changeReason"] = reason
            for topic in named:
                self.hub.push(topic, "position.change", data, user_id=account.user_id)

    def wallet_changed(self, account: Account) -> None:
        topic = "/contractAccount/wallet"
        if topic in self.hub.by_topic:
            self._wallet_version += 1
            data = shapes.wallet_json(account, self.exchange.ledger, self._wallet_version)
            number = str(self._wallet_version)
            self.hub.push(topic, "walletBalance.change", data, user_id=account.user_id, id=number)

    def funding_settled(
        self, account: Account, position: Position, *, rate: Decimal, mark: Decimal, payment: Decimal
    ) -> None:
        data = {
            "symbol": position.symbol, "fundingTime": self.exchange.clock.now_ms(), "qty": position.qty,
            "markPrice": mark, "fundingRate": rate, "fundingFee": payment,
            "ts": self.exchange.clock.now_ns(), "settleCurrency": "USDT",
        }
        for topic in (f"/contract/position:{position.symbol}", "/contract/positionAll"):
            self.hub.push(topic, "position.settlement", data, user_id=account.user_id)

    def _order_data(self, order: Order, change: str, fill: Fill | None) -> dict[str, Any]:
        status = {"open": "open", "update": "open", "match": "match"}.get(change, "done")
        data = {
            "symbol": order.symbol, "orderType": order.type, "side": order.side,
            "canceledSize": text(order.canceled_size), "orderId": order.id, "positionSide": "BOTH",
            "marginMode": order.margin_mode, "type": change, "orderTime": order.order_ns,
            "size": text(order.size), "filledSize": text(order.filled_size), "price": text(order.price),
            "remainSize": text(order.remaining if order.active else 0), "status": status,
            "ts": self.exchange.clock.now_ns(), "clientOid": order.client_oid,
            "tradeType": order.trade_type,
        }
        if fill is not None:
            data |= {
                "liquidity": fill.liquidity, "feeType": f"{fill.liquidity}Fee",
                "matchPrice": text(fill.price), "matchSize": text(fill.size), "tradeId": fill.trade_id,
            }
        elif order.resting or change == "open":
            data["liquidity"] = "maker"
        return data

    def _push_unified_position(self, account: Account, position: Position) -> None:
        listeners = [
            s for s in self.hub.sessions
            if "positionAll" in s.unified and s.token.user_id == account.user_id
        ]
        if not listeners:
            return
        p = shapes.position_json(account, position, self.exchange.ledger)
        now_ns = self.exchange.clock.now_ns()
        fields = {
            "pi": p["id"], "s": p["symbol"], "mM": p["marginMode"], "q": p["currentQty"],
            "eP": p["avgEntryPrice"], "pV": p["markValue"], "mP": p["markPrice"],
            "lP": p["liquidationPrice"], "bP": p["bankruptPrice"], "l": p["leverage"],
            "uPL": p["unrealisedPnl"], "rPL": p["realisedPnl"], "iM": p["posInit"],
            "mmr": p["maintMarginReq"], "mtM": p["posMaint"],
        }
        data: dict[str, Any] = {
            name: text(value) if isinstance(value, (int, Decimal)) else value
            for name, value in fields.items()
        }
        data |= {"U": str(now_ns), "O": position.open_ms * 1_000_000}
        message = dumps({"T": "positionAll.FUTURES", "P": str(now_ns), "d": data})
        for session in listeners:
            session.send(message)


_PRICE_PUSHES = (
    ("/contractMarket/tickerV2", Pushes._push_ticker_v2),
    ("/contractMarket/ticker", Pushes._push_ticker),
    ("/contractMarket/level2Depth5", Pushes._push_depth5),
    ("/contractMarket/level2Depth50", Pushes._push_depth50),
    ("/contractMarket/execution", Pushes._push_execution),
)
