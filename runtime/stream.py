"""The price stream: KuCoin's WebSocket over ccxt.pro, in an asyncio thread of its own.

It decides nothing: prices of held symbols go into the PriceBook with their receive time, and a
push about one of RAD's resting stops rings a bell. A lost connection is made again for ever, with a
bounded pause; meanwhile prices grow stale and the monitor asks by REST.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from typing import Any

import ccxt.pro

from runtime.heartbeat import BEAT_S, LIMIT_S
from runtime.locks import assert_no_lock_held
from runtime.prices import PriceBook
from runtime.worker import Worker
from trading.client_ids import Purpose, parse
from trading.errors import UnknownInstrument
from trading.facts import Price
from trading.ports import Clock

log = logging.getLogger("stream")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
MOST_TOPICS = 100              # KuCoin's limit per subscription
MOST_STALE_TOPICS = 50         # subscriptions nobody wants any more, before the connection is made anew
LOOK_AGAIN_S = 30.0            # while something followed is not listed: it may be again
FORCED = ("liquid", "adl", "settlement")
NS_PER_MS = 1_000_000
INSTRUMENT = "/contract/instrument"
_TOKEN = re.compile(r"token=[^&\s'\"]*")


class PushWire(ccxt.pro.kucoin):  # type: ignore[misc]
    """ccxt.pro's KuCoin that hands each push over at once, in the socket's own turn of the loop."""

    def __init__(
        self, config: dict[str, Any], on_quote: Callable[[Any], None], on_mark: Callable[[str, Any], None],
        on_order: Callable[[Any], None], on_open: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._on_quote = on_quote
        self._on_mark = on_mark
        self._on_order = on_order
        self._on_open = on_open

    def on_connected(self, client: Any, message: Any = None) -> None:
        super().on_connected(client, message)
        self._on_open()

    def sign(self, *args: Any, **more: Any) -> Any:
        """Sign as ccxt does, with the key's own version, which is no part of what is signed."""
        signed = super().sign(*args, **more)
        if "KC-API-KEY-VERSION" in (signed["headers"] or {}):
            signed["headers"]["KC-API-KEY-VERSION"] = self.options["keyVersion"]
        return signed

    def handle_bid_ask(self, client: Any, message: Any) -> None:
        assert_no_lock_held("a push")
        self._on_quote(message.get("data"))
        waiting = f"bidask@{self.safe_symbol(message['data'].get('symbol'))}"
        if waiting in client.futures:         # only the first push of a subscription is waited for
            client.resolve(message, waiting)

    async def watch_marks(self, symbols: list[str]) -> None:
        """Subscribe to what *symbols* are valued at, which ccxt does not; returns at the first push."""
        ids = self.market_ids(symbols)
        waiting = [f"mark@{exchange_id}" for exchange_id in ids]
        url = await self.negotiate(False, True)
        await self.subscribe_multiple(url, waiting, f"{INSTRUMENT}:{','.join(ids)}", waiting)

    def handle_subject(self, client: Any, message: Any) -> None:
        if message.get("subject") != "mark.index.price":
            super().handle_subject(client, message)
            return
        exchange_id = str(message.get("topic")).partition(":")[2]
        self._on_mark(exchange_id, message.get("data"))
        if f"mark@{exchange_id}" in client.futures:
            client.resolve(message, f"mark@{exchange_id}")

    def handle_order(self, client: Any, message: Any) -> None:
        assert_no_lock_held("a push")
        self._on_order(message.get("data"))
        super().handle_order(client, message)


class MarketStream:
    """Follows the PriceBook's symbols; `start` and `stop` are its only controls."""

    def __init__(
        self,
        prices: PriceBook,
        clock: Clock,
        *,
        config: Callable[[], Mapping[str, Any]],
        markets: Callable[[], tuple[list[Any], Any]],
        symbol_of: Callable[[str], str],
        is_listed: Callable[[str], bool] = lambda _symbol: True,
        spend: Callable[[bool], None],
        on_stop_filled: Callable[[], None],
    ) -> None:
        """*config* returns ccxt's, asked for at each connection: the clock may have been measured since;
        *markets* returns what `set_markets` takes; *symbol_of* maps KuCoin's ids; *is_listed*: whether a
        symbol may be subscribed to; *spend* takes a connection's weight from the budget (True: a private one)."""
        self._prices = prices
        self._clock = clock
        self._config = config
        self._markets = markets
        self._symbol_of = symbol_of
        self._is_listed = is_listed
        self._spend = spend
        self._on_stop_filled = on_stop_filled
        self._ending = threading.Event()
        # Its one step is the whole loop, which says itself that it turns.
        self._worker = Worker("MarketStream", self._run, stop=self._ending, clock=clock, stuck_after_s=LIMIT_S,
                              longest_backoff_s=LONGEST_PAUSE_S)
        # The loop there is and its event, together: the thread that wakes may meet another being made.
        self._bell: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._marks: dict[str, Decimal] = {}  # the stream's thread alone: the latest of this connection
        # Written by the stream's thread alone, read by any.
        self.connections = 0                  # how often a connection was made
        self.connected = False                # prices: something came over the connection there is
        self.listening = False                # the socket of our own orders is open

    def start(self) -> None:
        """Start the thread."""
        assert_no_lock_held("starting a thread")
        self._worker.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Close the sockets and end the thread."""
        assert_no_lock_held("joining a thread")
        self._ending.set()
        self.wake()
        self._worker.join(timeout_s)

    def is_live(self) -> bool:
        """Whether what is pushed reaches us: prices of what is held and listed, and news of our own orders."""
        has_prices = self.connected or not any(map(self._is_listed, self._prices.followed()))
        return has_prices and (self.listening or not self._config().get("apiKey"))

    def wake(self) -> None:
        """The followed symbols have changed, or it is time to end."""
        bell = self._bell
        if bell is not None:
            loop, changed = bell
            with contextlib.suppress(RuntimeError):      # the loop is closed already
                loop.call_soon_threadsafe(changed.set)

    # ---- inside the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="MarketStream"))
        self._bell = loop, changed
        tasks = [asyncio.create_task(self._forever(self._quotes, private=False))]
        if self._config().get("apiKey"):
            tasks.append(asyncio.create_task(self._forever(self._orders, private=True)))
        try:
            while not self._ending.is_set():
                self._worker.heart.idle()
                if any(task.done() for task in tasks):       # they go on for ever: something has cancelled one
                    raise RuntimeError("a connection's task has ended")
                try:
                    async with asyncio.timeout(BEAT_S):
                        await changed.wait()
                except TimeoutError:
                    continue
                if not self._ending.is_set():
                    await asyncio.sleep(0.01)     # each quote task sees the event too before it is cleared
                    changed.clear()
        finally:
            self.connected = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _forever(self, session: Callable[[PushWire], Any], *, private: bool) -> None:
        """Keep one connection alive for ever, with a pause that grows while it fails."""
        pause_s = FIRST_PAUSE_S
        while True:
            started = self._clock.monotonic()
            try:
                await self._connection(session, private=private)
            except Exception as error:  # noqa: BLE001 - whatever broke the connection, it is made anew
                log.warning("stream lost kind=%s again_in=%.1fs error=%s: %s",
                            "orders" if private else "prices", pause_s, type(error).__name__, _fit_to_log(error))
            if private:
                self.listening = False
            else:
                self.connected = False
            if self._clock.monotonic() - started > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _connection(self, session: Callable[[PushWire], Any], *, private: bool) -> None:
        """Run *session* on a wire of its own and close it."""
        config = {**self._config(), "asyncio_loop": asyncio.get_running_loop()}
        wire = PushWire(config, self._take_quote, self._take_mark, self._take_order,
                        on_open=lambda: self._opened(private=private))
        try:
            wire.set_markets(*self._markets())
            await session(wire)
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(wire.close(), 1.0)
            if wire.session is not None:               # a socket that did not close in time has kept it open
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(wire.session.close(), 1.0)

    def _opened(self, *, private: bool) -> None:
        self.listening = self.listening or private

    async def _quotes(self, wire: PushWire) -> None:
        """Subscribe to what is followed as it changes; ends when the connection does."""
        self._marks.clear()
        subscribed: set[str] = set()
        pending: set[asyncio.Future[Any]] = set()      # subscriptions without a first push yet
        lost: asyncio.Future[Any] | None = None
        try:
            while True:
                followed = self._prices.followed()
                # One that is refused would take the connection with it: it is priced by REST, or not at all.
                wanted = frozenset(filter(self._is_listed, followed))
                if len(subscribed - wanted) > MOST_STALE_TOPICS:
                    return                             # pushes nobody wants: begin anew with less
                new = sorted(wanted - subscribed)
                if new and lost is None:
                    await self._connect(private=False)
                    lost = wire.client(await wire.negotiate(False, True)).future("lost")
                for chunk in _chunks(new):
                    pending |= {asyncio.ensure_future(wire.watch_bids_asks(chunk)),
                                asyncio.ensure_future(wire.watch_marks(chunk))}
                if new:
                    log.debug("following prices symbols=%d new=%s", len(wanted), ",".join(new))
                subscribed |= wanted
                change = asyncio.ensure_future(self._until_changed(followed))
                awaited = {change, *pending, *([lost] if lost is not None else [])}
                again_s = LOOK_AGAIN_S if wanted < followed else None
                done, _ = await asyncio.wait(awaited, timeout=again_s, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                for future in done - {change}:
                    future.result()                    # raises what broke the connection
                pending -= done
        finally:
            for future in pending:
                future.cancel()

    async def _orders(self, wire: PushWire) -> None:
        await self._connect(private=True)
        while True:
            await wire.watch_orders(None, None, None, {"type": "swap"})

    async def _connect(self, *, private: bool) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._spend, private)
        self.connections += 1

    async def _until_changed(self, before: frozenset[str]) -> None:
        assert self._bell is not None
        _, changed = self._bell
        while self._prices.followed() == before:
            await changed.wait()
            await asyncio.sleep(0.02)

    def _take_quote(self, data: Any) -> None:
        """Publish a tickerV2 push. Source: /contractMarket/tickerV2:{symbol}."""
        received = self._clock.monotonic()
        try:
            bid, ask = Decimal(str(data["bestBidPrice"])), Decimal(str(data["bestAskPrice"]))
            symbol = self._symbol_of(str(data["symbol"]))
            ts_ms = int(data["ts"]) // NS_PER_MS
        except (KeyError, TypeError, ValueError, InvalidOperation, UnknownInstrument) as error:
            log.warning("unreadable push error=%s", type(error).__name__)
            return
        if bid <= 0 or ask <= 0:
            return                            # one side is empty: that is not a price
        middle = (bid + ask) / 2
        mark = self._marks.get(symbol, middle)
        self.connected = True
        self._prices.publish(Price(
            symbol=symbol, bid=bid, ask=ask, last=middle, mark=mark, ts_ms=ts_ms, received=received
        ))

    def _take_mark(self, exchange_id: str, data: Any) -> None:
        """Publish what a symbol is valued at. Source: /contract/instrument:{symbol}, mark.index.price."""
        try:
            mark, symbol = Decimal(str(data["markPrice"])), self._symbol_of(exchange_id)
        except (KeyError, TypeError, InvalidOperation, UnknownInstrument) as error:
            log.warning("unreadable push error=%s", type(error).__name__)
            return
        if mark.is_finite() and mark > 0:
            self._marks[symbol] = mark
            self._prices.publish_mark(symbol, mark)

    def _take_order(self, data: Any) -> None:
        """Ring when a resting stop of RAD's has filled, or the exchange itself has closed something."""
        if not isinstance(data, Mapping):
            return
        client_oid = parse(str(data.get("clientOid") or ""))
        is_stop = client_oid is not None and client_oid.purpose is Purpose.STOP
        if data.get("type") in ("filled", "match") and (is_stop or data.get("tradeType") in FORCED):
            self._on_stop_filled()


def _chunks(symbols: list[str]) -> list[list[str]]:
    return [symbols[start:start + MOST_TOPICS] for start in range(0, len(symbols), MOST_TOPICS)]


def _fit_to_log(error: Exception) -> str:
    """Return the start of an error's text, without the token that an address may carry."""
    return _TOKEN.sub("token=…", str(error))[:120]
