"""The WebSocket side: tokens, welcome, ping, ack, errors, what is pushed to whom, and its faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from sandbox.market.source import Candle
from tests.sandbox.fake_market import FakeMarket
from tests.sandbox.signed_client import SignedClient

D = Decimal
XBT = "XBTUSDTM"
PATIENCE_S = 5.0
QUIET_S = 0.15


class Line:
    """One connection, spoken to in whole messages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps({"id": "1", "response": True} | message))

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.socket.receive_str(timeout=PATIENCE_S))
        return message

    async def hear_of(self, subject: str) -> dict[str, Any]:
        """Return the next push with *subject*, passing over others."""
        while (message := await self.hear()).get("subject") != subject:
            pass
        return message

    async def subscribe(self, topic: str) -> None:
        await self.say(type="subscribe", topic=topic)
        while (message := await self.hear())["type"] != "ack":
            assert message["type"] == "message", message

    async def is_quiet(self) -> bool:
        """Whether nothing arrives for a moment."""
        try:
            await self.socket.receive(timeout=QUIET_S)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connect(running: RunningSandbox, *, private: bool = False) -> AsyncIterator[Line]:
    """Connect the way KuCoin documents it: bullet, endpoint, welcome."""
    kind = "private" if private else "public"
    bullet = SignedClient(running).data("POST", f"/api/v1/bullet-{kind}")
    url = f"{bullet['instanceServers'][0]['endpoint']}?token={bullet['token']}&connectId=c-1"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        line = Line(socket)
        assert await line.hear() == {"id": "c-1", "type": "welcome"}
        yield line


Talk = Callable[[Line], Awaitable[None]]


def talk(running: RunningSandbox, script: Talk, *, private: bool = False) -> None:
    async def main() -> None:
        async with connect(running, private=private) as line:
            await script(line)

    asyncio.run(main())


def test_ping_ack_and_unsubscribe(running: RunningSandbox) -> None:
    """A pong with the ping's id; an ack when asked for; silence after unsubscribing."""
    async def script(line: Line) -> None:
        await line.say(id="7", type="ping")
        pong = await line.hear()
        assert (pong["id"], pong["type"]) == ("7", "pong")
        await line.subscribe(f"/contractMarket/tickerV2:{XBT}")
        assert (await line.hear())["data"]["bestBidPrice"] == "50000"
        await line.say(id="9", type="unsubscribe", topic=f"/contractMarket/tickerV2:{XBT}")
        assert await line.hear() == {"id": "9", "type": "ack"}
        running.set_price(XBT, "50001")
        assert await line.is_quiet()

    talk(running, script)


@pytest.mark.parametrize(("wish", "code"), [
    ({"type": "subscribe"}, 406),
    ({"type": "subscribe", "topic": "/contractMarket/tickerV2:NOPE"}, 404),
    ({"type": "subscribe", "topic": "/contractMarket/weather:XBTUSDTM"}, 404),
    ({"type": "subscribe", "topic": "/contractMarket/limitCandle:XBTUSDTM_3min"}, 404),
    ({"type": "subscribe", "topic": "/contractMarket/tradeOrders"}, 403),
    ({"type": "subscribe", "topic": "/contractMarket/tickerV2:" + ",".join([XBT] * 101)}, 509),
    ({"type": "dance"}, 415),
])
def test_what_is_wrong_is_said_with_a_code(running: RunningSandbox, wish: dict[str, Any], code: int) -> None:
    """KuCoin's error numbers, with the id of the message that was wrong."""
    async def script(line: Line) -> None:
        await line.say(id="5", **wish)
        error = await line.hear()
        assert (error["id"], error["type"], error["code"]) == ("5", "error", code)

    talk(running, script)


def test_too_many_messages_are_509(running: RunningSandbox) -> None:
    """The hundred-and-first message within ten seconds is refused."""
    async def script(line: Line) -> None:
        for _ in range(101):
            await line.say(type="ping")
        kinds = [(await line.hear())["type"] for _ in range(101)]
        assert kinds == ["pong"] * 100 + ["error"]

    talk(running, script)


def the_book(running: RunningSandbox) -> tuple[int, dict[tuple[str, Decimal], int]]:
    """Return the whole book over REST: the number of its last change, and lots by side and price."""
    book = SignedClient(running).data("GET", f"/api/v1/level2/snapshot?symbol={XBT}")
    sides = (("buy", book["bids"]), ("sell", book["asks"]))
    return book["sequence"], {(side, D(str(price))): lots for side, levels in sides for price, lots in levels}


async def changes_until(line: Line, sequence: int) -> list[dict[str, Any]]:
    """Return the changes pushed up to number *sequence*, as far as they come."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["sequence"] < sequence:
        found.append((await line.hear_of("level2"))["data"])
    return found


def test_the_book_is_kept_by_its_changes(running: RunningSandbox) -> None:
    """The whole book once, then each change with the next number: what comes out is the whole book again."""
    async def script(line: Line) -> None:
        await line.subscribe(f"/contractMarket/level2:{XBT}")
        first, book = the_book(running)
        running.set_price(XBT, "50003")
        running.set_price(XBT, "49990")
        last, expected = the_book(running)
        changes = await changes_until(line, last)
        assert [change["sequence"] for change in changes] == list(range(first + 1, last + 1))
        for change in changes:
            price, side, lots = change["change"].split(",")
            book[side, D(price)] = int(lots)
        assert {level: lots for level, lots in book.items() if lots} == expected

    talk(running, script)


def test_a_lost_change_leaves_a_hole(running: RunningSandbox) -> None:
    """ws_gap swallows one: the next one's number tells."""
    async def script(line: Line) -> None:
        await line.subscribe(f"/contractMarket/level2:{XBT}")
        first, _ = the_book(running)
        running.fault("ws_gap", path=f"/contractMarket/level2:{XBT}", skip=1, count=1)
        running.set_price(XBT, "50003")
        last, _ = the_book(running)
        numbers = [change["sequence"] for change in await changes_until(line, last)]
        assert numbers == [number for number in range(first + 1, last + 1) if number != first + 2]

    talk(running, script)


def test_a_made_up_token_is_401(running: RunningSandbox) -> None:
    """The connection is told why and closed."""
    async def main() -> None:
        url = running.futures_url.replace("http", "ws") + "/endpoint?token=x&connectId=c"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            assert json.loads(await socket.receive_str(timeout=PATIENCE_S))["code"] == 401
            assert (await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE

    asyncio.run(main())


def test_a_client_that_never_pings_is_dropped() -> None:
    """Silence beyond interval plus timeout ends the connection."""
    with run_sandbox(FakeMarket(), ws_ping_interval_ms=50, ws_ping_timeout_ms=50) as running:
        async def script(line: Line) -> None:
            assert (await line.hear())["data"] == "ping timeout"
            assert (await line.socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE

        talk(running, script)


def test_prices_are_pushed_for_subscribed_symbols_only(running: RunningSandbox) -> None:
    """tickerV2 as the exchange's samples show it; another symbol's move is nobody's business."""
    async def script(line: Line) -> None:
        await line.subscribe(f"/contractMarket/tickerV2:{XBT}")
        await line.hear()
        running.set_price("ETHUSDTM", "2001")
        running.set_price(XBT, "50002.5")
        push = await line.hear()
        assert push["topic"] == f"/contractMarket/tickerV2:{XBT}"
        assert push["subject"] == "tickerV2"
        assert push["sn"] == push["data"]["sequence"] == 2
        assert (push["data"]["bestBidPrice"], push["data"]["bestAskPrice"]) == ("50002.5", "50002.6")
        assert await line.is_quiet()

    talk(running, script)


def test_an_order_is_told_step_by_step(running: RunningSandbox) -> None:
    """open, then match with its trade, then filled; and the stop on its own topic."""
    client = SignedClient(running)

    async def script(line: Line) -> None:
        await line.subscribe("/contractMarket/tradeOrders")
        await line.subscribe("/contractMarket/advancedOrders")
        order_id = await asyncio.to_thread(client.order, "buy", 5, price="49000")
        opened = await line.hear()
        assert (opened["topic"], opened["subject"]) == ("/contractMarket/tradeOrders", "orderChange")
        assert (opened["data"]["type"], opened["data"]["status"]) == ("open", "open")
        running.set_price(XBT, "48999.9")
        match, filled = await line.hear(), await line.hear()
        assert (match["data"]["type"], match["data"]["matchPrice"], match["data"]["matchSize"]) == (
            "match", "49000", "5")
        assert (filled["data"]["type"], filled["data"]["status"], filled["data"]["orderId"]) == (
            "filled", "done", order_id)
        assert "matchPrice" not in filled["data"]
        await asyncio.to_thread(
            client.order, "sell", 5, stop="down", stopPrice="48000", stopPriceType="MP", closeOrder=True)
        placed = await line.hear_of("stopOrder")
        assert (placed["data"]["type"], placed["data"]["stopPrice"]) == ("open", "48000")
        running.set_price(XBT, "48000")
        assert (await line.hear_of("stopOrder"))["data"]["type"] == "triggered"

    talk(running, script, private=True)


def test_position_and_wallet_follow_a_fill(running: RunningSandbox) -> None:
    """positionAll, position:{symbol} and the wallet all speak after a trade."""
    client = SignedClient(running)

    async def script(line: Line) -> None:
        for topic in ("/contract/positionAll", f"/contract/position:{XBT}", "/contractAccount/wallet"):
            await line.subscribe(topic)
        await asyncio.to_thread(client.order, "buy", 100)
        seen: dict[str, dict[str, Any]] = {}
        while len(seen) < 3:
            push = await line.hear()
            seen.setdefault(push["topic"], push)
        assert seen["/contract/positionAll"]["data"]["currentQty"] == 100
        assert seen[f"/contract/position:{XBT}"]["data"]["changeReason"] == "positionChange"
        assert seen["/contractAccount/wallet"]["data"]["walletBalance"] == "9996.999994"
        assert seen["/contractAccount/wallet"]["channelType"] == "private"

    talk(running, script, private=True)


def test_private_news_reach_their_owner_alone(running: RunningSandbox) -> None:
    """Another user's trade is not pushed to us."""
    running.control("keys", {"key": "other"})
    other = SignedClient(running)
    other.key = "other"

    async def script(line: Line) -> None:
        await line.subscribe("/contractMarket/tradeOrders")
        await asyncio.to_thread(other.order, "buy", 1)
        assert await line.is_quiet()

    talk(running, script, private=True)


def test_marks_and_candles_come_by_the_clock() -> None:
    """Within a second, though nothing moved: the mark price, and the open candle in spot's order."""
    market = FakeMarket()
    with run_sandbox(market) as running:
        now_ms = int(running.control("clock")["now_ms"])
        market.candle_list = (
            Candle(open_ms=now_ms, open=D(1), high=D(4), low=D("0.5"), close=D(2), volume=7, turnover=D(9)),
        )

        async def script(line: Line) -> None:
            await line.subscribe(f"/contract/instrument:{XBT}")
            await line.subscribe(f"/contractMarket/limitCandle:{XBT}_1min")
            mark = await line.hear_of("mark.index.price")
            assert mark["data"]["markPrice"] == 50000
            candle = await line.hear_of("candle.stick")
            assert candle["data"]["candles"] == [str(now_ms // 1000), "1", "2", "4", "0.5", "7", "7"]

        talk(running, script)


def test_a_cut_ends_the_connection_and_leaves_the_exchange_alive(running: RunningSandbox) -> None:
    """ws_cut: no closing handshake; a new connection works at once."""
    async def script(line: Line) -> None:
        assert running.fault("ws_cut") == {"cut": 1}
        message = await line.socket.receive(timeout=PATIENCE_S)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)

    talk(running, script)
    talk(running, lambda line: line.subscribe(f"/contractMarket/tickerV2:{XBT}"))


def test_silence_swallows_pushes_but_answers_pings(running: RunningSandbox) -> None:
    """A stale stream: alive by its pongs, dead by its prices; until it is cleared."""
    async def script(line: Line) -> None:
        await line.subscribe(f"/contractMarket/tickerV2:{XBT}")
        await line.hear()
        running.fault("ws_silence")
        running.set_price(XBT, "50001")
        await line.say(type="ping")
        assert (await line.hear())["type"] == "pong"
        running.control("faults", method="DELETE")
        running.set_price(XBT, "50002")
        assert (await line.hear())["data"]["bestBidPrice"] == "50002"

    talk(running, script)


def test_duplicates_and_gaps(running: RunningSandbox) -> None:
    """A push twice, and a push never: the sequence shows both."""
    async def script(line: Line) -> None:
        await line.subscribe(f"/contractMarket/tickerV2:{XBT}")
        assert (await line.hear())["data"]["sequence"] == 1
        running.fault("ws_duplicate", path="/contractMarket/tickerV2:*", count=1)
        running.set_price(XBT, "50001")
        assert [(await line.hear())["data"]["sequence"] for _ in range(2)] == [2, 2]
        running.fault("ws_gap", path="/contractMarket/tickerV2:*", count=1)
        running.set_price(XBT, "50002")
        running.set_price(XBT, "50003")
        assert (await line.hear())["data"]["sequence"] == 4

    talk(running, script)


def test_a_refused_connection(running: RunningSandbox) -> None:
    """ws_refuse: the handshake fails once, then works."""
    running.fault("ws_refuse", count=1)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        talk(running, lambda line: line.say(type="ping"))
    talk(running, lambda line: line.say(type="ping"))
