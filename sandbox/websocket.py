"""KuCoin's WebSocket protocol: welcome, ping, ack, subscriptions, and who gets which push."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from sandbox import topics
from sandbox.faults import Faults
from sandbox.marketview import MarketView
from sandbox.settings import ExchangeRules
from sandbox.tokens import Token, Tokens
from sandbox.wire import dumps, loads

MOST_MESSAGES = 100                # of a client in _MESSAGE_WINDOW_S
_MESSAGE_WINDOW_S = 10.0
_MOST_UNSENT = 50_000              # a client that reads this slowly is cut off
_GOODBYE_S = 1.0                   # for the answer to a close; a deaf client must not hold up the end


class Session:
    """One connection: its subscriptions and what still has to be written to it."""

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, token: Token, connect_id: str
    ) -> None:
        self.request = request
        self.socket = socket
        self.token = token
        self.connect_id = connect_id
        self.topics: set[str] = set()
        self.unified: set[str] = set()         # channels of the unified protocol (ccxt's watch_positions)
        self.received: deque[float] = deque()
        self._unsent: deque[str] = deque()
        self._ready = asyncio.Event()
        self._writer = asyncio.create_task(self._write(), name="ws-writer")

    def send(self, text: str) -> None:
        """Queue *text*; the connection is cut when its client does not keep up."""
        self._unsent.append(text)
        self._ready.set()
        if len(self._unsent) > _MOST_UNSENT:
            self.cut()

    def cut(self) -> None:
        """Drop the connection without a closing handshake."""
        self._writer.cancel()
        if self.request.transport is not None:
            self.request.transport.abort()

    def end(self) -> None:
        self._writer.cancel()

    async def _write(self) -> None:
        try:
            while True:
                await self._ready.wait()
                self._ready.clear()
                while self._unsent:
                    await self.socket.send_str(self._unsent.popleft())
        except (ConnectionError, RuntimeError):
            return                             # the reading side sees the same and ends the session


class Hub:
    """Every session, and an index from topic to the sessions that asked for it."""

    def __init__(self, market: MarketView, rules: ExchangeRules, tokens: Tokens, faults: Faults) -> None:
        self.market = market
        self.rules = rules
        self.tokens = tokens
        self.faults = faults
        self.sessions: set[Session] = set()
        self.by_topic: dict[str, set[Session]] = {}
        self.pushes = 0
        self.silent_until = 0.0                # monotonic seconds; pushes before it are lost
        self.deaf_until = 0.0                  # pings before it get no pong
        self.on_subscribe: list[Any] = []      # called with (session, topics) after the ack

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Run one connection until it ends."""
        if self.faults.for_push("ws_refuse", "connect"):
            return web.Response(status=503, text="service busy, please retry later")
        socket = web.WebSocketResponse(timeout=_GOODBYE_S, autoping=True, max_msg_size=1 << 20)
        await socket.prepare(request)
        token = self.tokens.find(request.query.get("token", ""))
        connect_id = request.query.get("connectId", "")
        if token is None:
            await socket.send_str(_error(connect_id, 401, "token is invalid"))
            await socket.close(code=WSCloseCode.POLICY_VIOLATION)
            return socket
        session = Session(request, socket, token, connect_id)
        self.sessions.add(session)
        session.send(dumps({"id": connect_id, "type": "welcome"}))
        try:
            await self._listen(session)
        finally:
            self._forget(session)
        return socket

    def push(
        self, topic: str, subject: str, data: dict[str, Any], *, user_id: str | None = None, **more: Any
    ) -> None:
        """Send one message to everybody on *topic*; a private one to its user's sessions alone."""
        listeners = self.by_topic.get(topic)
        if not listeners:
            return
        message: dict[str, Any] = {"topic": topic, "type": "message", "subject": subject}
        if user_id is not None:
            message |= {"userId": user_id, "channelType": "private"}
        self.push_text(topic, dumps(message | more | {"data": data}), user_id)

    def push_text(self, topic: str, text: str, user_id: str | None = None) -> None:
        """Send ready-made *text* to everybody on *topic*, through the push faults."""
        copies = 1
        if self.silent_until > time.monotonic():
            return
        if self.faults.touches_pushes():
            if self.faults.for_push("ws_gap", topic):
                return
            copies += self.faults.for_push("ws_duplicate", topic)
        for session in self.by_topic.get(topic, ()):
            if user_id is None or session.token.user_id == user_id:
                for _ in range(copies):
                    session.send(text)
                    self.pushes += 1

    def cut_all(self, topic: str = "*", private: bool | None = None) -> int:
        """Cut connections: all, those on *topic*, or the signed-in (or anonymous) ones."""
        chosen = [
            s for s in self.sessions
            if (topic == "*" or topic in s.topics)
            and (private is None or private == (s.token.user_id is not None))
        ]
        for session in chosen:
            session.cut()
        return len(chosen)

    async def close(self) -> None:
        closing = (session.socket.close(code=WSCloseCode.GOING_AWAY) for session in list(self.sessions))
        await asyncio.gather(*closing)

    async def _listen(self, session: Session) -> None:
        silence_s = (self.rules.ws_ping_interval_ms + self.rules.ws_ping_timeout_ms) / 1000
        while True:
            try:
                message = await session.socket.receive(timeout=silence_s)
            except TimeoutError:
                await session.socket.send_str(_error(session.connect_id, 400, "ping timeout"))
                await session.socket.close()
                return
            if message.type is not WSMsgType.TEXT:
                return
            self._take(session, message.data)

    def _take(self, session: Session, raw: str) -> None:
        try:
            wish = loads(raw)
        except ValueError:
            wish = None
        if not isinstance(wish, dict):
            session.send(_error("", 400, "invalid message"))
            return
        number = str(wish.get("id", ""))
        if self._too_many(session):
            session.send(_error(number, 509, "exceed max permits per second"))
        elif "action" in wish:
            self._unified(session, wish, number)
        elif wish.get("type") == "ping":
            if self.deaf_until <= time.monotonic():
                session.send(dumps({"id": number, "type": "pong", "timestamp": time.time_ns() // 1000}))
        elif wish.get("type") in ("subscribe", "unsubscribe"):
            self._change_topics(session, wish, number)
        else:
            session.send(_error(number, 415, "type is not supported"))

    def _change_topics(self, session: Session, wish: dict[str, Any], number: str) -> None:
        try:
            named = topics.split(wish.get("topic"), self.market, session.token.user_id is not None)
        except topics.TopicError as error:
            session.send(_error(number, error.code, error.text))
            return
        for topic in named:
            if wish["type"] == "subscribe":
                session.topics.add(topic)
                self.by_topic.setdefault(topic, set()).add(session)
            else:
                self._drop(session, topic)
        if wish.get("response"):
            session.send(dumps({"id": number, "type": "ack"}))
        if wish["type"] == "subscribe":
            for callback in self.on_subscribe:
                callback(session, named)

    def _unified(self, session: Session, wish: dict[str, Any], number: str) -> None:
        """Answer the unified account's dialect as far as ccxt.pro needs it for a classic account."""
        channel = wish.get("channel")
        if channel != "positionAll" or session.token.user_id is None:
            session.send(dumps({"id": number, "result": False, "reason": f"unknown channel {channel}"}))
            return
        if wish["action"] == "subscribe":
            session.unified.add(channel)
        else:
            session.unified.discard(channel)
        session.send(dumps({"id": number, "result": True}))

    def _too_many(self, session: Session) -> bool:
        now = time.monotonic()
        session.received.append(now)
        while session.received[0] < now - _MESSAGE_WINDOW_S:
            session.received.popleft()
        return len(session.received) > MOST_MESSAGES

    def _drop(self, session: Session, topic: str) -> None:
        session.topics.discard(topic)
        listeners = self.by_topic.get(topic)
        if listeners is not None:
            listeners.discard(session)
            if not listeners:
                del self.by_topic[topic]

    def _forget(self, session: Session) -> None:
        session.end()
        self.sessions.discard(session)
        for topic in list(session.topics):
            self._drop(session, topic)


def _error(number: str, code: int, text: str) -> str:
    return dumps({"id": number, "type": "error", "code": code, "data": text})
