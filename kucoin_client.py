"""The only module that talks to KuCoin: ccxt inside, facts outside, the urgent first.

Each request passes one place, `_call`: the gate (others stand aside while an order or a close is
under way), the rate budget, the wire with a total deadline, and the books of PerformanceMonitor.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

from kucoin import endpoints, parse
from kucoin.account import AccountFacts
from kucoin.endpoints import Endpoint
from kucoin.orders import MOST_PAGES, OrderFacts
from kucoin.sessions import Sessions
from kucoin.wire import SendRule
from runtime.budget import RateBudget
from runtime.locks import assert_no_lock_held, condition_on, guard, named_lock
from trading.candles import Candles
from trading.errors import (
    BadResponse,
    ClockSkew,
    ExchangeError,
    OrderRejected,
    OutcomeUnknown,
    RequestRefused,
)
from trading.facts import (
    Balance,
    ExchangePosition,
    Funding,
    OrderRequest,
    Priority,
    Ticker,
)
from trading.ports import Clock, Monitor
from trading.timeframes import TIMEFRAME_MINUTES

log = logging.getLogger("kucoin")

LONGEST_STAND_ASIDE_S = 1.0     # how long one request waits for critical calls; then scans go on too
FUNDING_PAGE = 100
MOST_CANDLES = 500              # of one answer
WRONG_MARGIN_MODE = "330005"
WARM_CONNECTIONS = 8            # as many as there are exit workers


class _Passing(threading.local):
    inside = False


class KuCoinClient(AccountFacts, OrderFacts):
    """`trading.ports.Exchange` and `MarketData`; every method may be called from any thread.

    `load` comes first, once, before threads start.
    """

    def __init__(
        self,
        *,
        futures_url: str,
        spot_url: str,
        key: str = "",
        secret: str = "",
        passphrase: str = "",
        key_version: str = "2",
        budget: RateBudget,
        clock: Clock,
        monitor: Monitor | None = None,
        deadline_s: float = 10.0,
        send_rule: SendRule | None = None,
    ) -> None:
        self.futures_url = futures_url
        self._budget = budget
        self._monitor = monitor
        super().__init__(Sessions(
            futures_url=futures_url, spot_url=spot_url, key=key, secret=secret, passphrase=passphrase,
            key_version=key_version, budget=budget, clock=clock, deadline_s=deadline_s,
            send_rule=send_rule,
        ), clock)

        self._critical_call_lock = named_lock("critical calls")
        self._critical_calls_done = condition_on(self._critical_call_lock)
        self._pending_critical_calls = 0          # guarded by _critical_call_lock
        guard(self, self._critical_call_lock, "_pending_critical_calls")
        self._passing = _Passing()

        # Guarded by _metadata_lock.
        self._margin_modes: dict[str, str] = {}
        guard(self, self._metadata_lock, "_margin_modes")

    def load(self) -> None:
        """Learn every market, once, before threads start.

        Raises:
            ExchangeError: no answer, or one that cannot be read.
        """
        assert_no_lock_held("load markets")
        self._budget.take(endpoints.CONTRACTS.pool, endpoints.CONTRACTS.weight, Priority.HIGH)
        self._sessions.load()
        self.refresh_instruments(Priority.HIGH)
        log.info("markets loaded instruments=%d", len(self.instruments()))

    # ---- market data ----------------------------------------------------------------------------

    def fetch_tickers(self, priority: Priority = Priority.SCAN) -> dict[str, Ticker]:
        """Return the ticker of every instrument; turnover and mark price are up to half a minute old.

        Source: GET /api/v1/allTickers and, now and then, /api/v1/contracts/active.
        """
        if priority is Priority.SCAN and self._is_due_to_refresh():
            self.refresh_instruments(priority)
        data = parse.rows(self._call(endpoints.TICKERS, {}, priority))
        by_id, contracts = self._listed()
        tickers = (
            parse.ticker_of(row, by_id[str(row.get("symbol"))], contracts.get(str(row.get("symbol"))))
            for row in data
            if str(row.get("symbol")) in by_id
        )
        found = {ticker.symbol: ticker for ticker in tickers if ticker is not None}
        if not found:
            raise BadResponse("not one instrument in the list of tickers")
        return found

    def fetch_candles(self, symbol: str, timeframe: str, limit: int) -> Candles:
        """Return up to *limit* closed candles, oldest first, gaps filled with the previous close.

        Raises:
            BadResponse: also when not one has closed: no trade is no candle, and no array is empty.

        Source: GET /api/v1/kline/query, at most 500.
        """
        instrument = self.instrument(symbol)
        step_ms = TIMEFRAME_MINUTES[timeframe] * 60_000
        end_ms = (self._clock.now_ms() - self.clock_offset_ms()) // step_ms * step_ms
        first_ms = end_ms - min(limit, MOST_CANDLES) * step_ms
        params = {
            "symbol": instrument.exchange_id, "granularity": TIMEFRAME_MINUTES[timeframe],
            "from": first_ms, "to": end_ms - 1,      # whether the end counts is not documented
        }
        data = self._call(endpoints.CANDLES, params, Priority.SCAN)
        return parse.candles_of(data, instrument.symbol, timeframe, first_ms, end_ms)

    # ---- account --------------------------------------------------------------------------------

    def fetch_balance(self, priority: Priority = Priority.NORMAL) -> Balance:
        """Return the margin account. Source: GET /api/v1/account-overview."""
        data = self._call(endpoints.ACCOUNT, {"currency": "USDT"}, priority)
        if not isinstance(data, Mapping):
            raise BadResponse("account answer without fields")
        return parse.balance_of(data)

    def fetch_positions(self, priority: Priority = Priority.NORMAL) -> tuple[ExchangePosition, ...]:
        """Return every open position; empty means the exchange answered "none".

        Source: GET /api/v1/positions.
        """
        held = [
            row for row in parse.rows(self._call(endpoints.POSITIONS, {"currency": "USDT"}, priority))
            if parse.number(row, "currentQty")
        ]
        return tuple(parse.position_of(*known) for known in self._with_instruments(held, priority))

    def fetch_funding(self, symbol: str, since_ms: int, until_ms: int) -> tuple[Funding, ...]:
        """Return the funding in that time, both ends included. Source: GET /api/v1/funding-history."""
        params = {
            "symbol": self.instrument(symbol).exchange_id, "startAt": since_ms, "endAt": until_ms,
            "maxCount": FUNDING_PAGE,
        }
        found, offset = list[Funding](), dict[str, str]()
        for _ in range(MOST_PAGES):
            page, has_more = parse.funding_of(self._call(endpoints.FUNDING, params | offset, Priority.NORMAL))
            found += map(parse.payment_of, page)
            if not has_more or not page:
                return tuple(each for each in found if since_ms <= each.at_ms <= until_ms)
            offset = {"offset": parse.text(page[-1], "id")}
        raise RequestRefused(f"more than {MOST_PAGES} pages of funding")

    def set_margin_mode(self, symbol: str, margin_mode: str, leverage: Decimal) -> None:
        """Make *symbol* isolated, or cross at *leverage*; asks only when that is news.

        An isolated position's leverage is that of each order.

        Source: getMarginMode, changeMarginMode, changeCrossUserLeverage.
        """
        instrument = self.instrument(symbol)
        wish = margin_mode if margin_mode == "isolated" else f"{margin_mode} {leverage}"
        with self._metadata_lock:
            if self._margin_modes.get(instrument.symbol) == wish:
                return
        params = {"symbol": instrument.exchange_id}
        data = self._call(endpoints.MARGIN_MODE, params, Priority.HIGH)
        if not isinstance(data, Mapping) or parse.text(data, "marginMode").lower() != margin_mode:
            self._call(endpoints.CHANGE_MARGIN_MODE, {**params, "marginMode": margin_mode.upper()}, Priority.HIGH)
        if margin_mode == "cross":
            self._call(endpoints.CROSS_LEVERAGE, {**params, "leverage": str(leverage)}, Priority.HIGH)
        with self._metadata_lock:
            self._margin_modes[instrument.symbol] = wish

    # ---- orders ---------------------------------------------------------------------------------

    def place_order(self, request: OrderRequest, priority: Priority) -> str:
        """Send once and return the order id; accepted is not filled. Source: POST /api/v1/orders.

        Raises:
            OrderRejected: a plain no: it certainly did not happen.
            OutcomeUnknown: it may have happened: look it up by its client id.
            ExchangeUnavailable: it certainly was not sent, or was turned away unread.
        """
        instrument = self.instrument(request.symbol)
        body = parse.order_body(request, instrument)
        try:
            data = self._call(endpoints.PLACE, body, priority)
        except OrderRejected as error:
            if error.code == WRONG_MARGIN_MODE:      # somebody has changed it: what is remembered is not so
                with self._metadata_lock:
                    self._margin_modes.pop(instrument.symbol, None)
            raise
        order_id = data.get("orderId") if isinstance(data, Mapping) else None
        if not order_id:
            raise OutcomeUnknown(f"order {request.client_oid} answered without an id")
        self._remember_order(str(order_id), instrument.exchange_id)
        return str(order_id)

    def cancel_order(self, order_id: str, priority: Priority) -> None:
        """Ask for a cancel; a fill may still win. Source: DELETE /api/v1/orders/{orderId}."""
        self._call(endpoints.CANCEL, {"orderId": order_id}, priority)

    # ---- time and connections -------------------------------------------------------------------

    def measure_clock_offset(self) -> int:
        """Measure our clock against the exchange's, halving the round trip, and sign by its time.

        Returns milliseconds by which ours is ahead. Source: GET /api/v1/timestamp.
        """
        return self._measure_clock(Priority.HIGH)

    def is_clock_off(self) -> bool:
        """Whether the exchange has refused our time since it was last measured."""
        return self._sessions.is_clock_off.is_set()

    def clock_offset_ms(self) -> int:
        """Return the offset last measured, milliseconds by which our clock is ahead."""
        return self._sessions.clock_offset_ms()

    def warm_up(self, connections: int = WARM_CONNECTIONS) -> None:
        """Open the connections exits will use, TLS and all, before one is needed."""
        assert_no_lock_held("warming connections up")
        everybody_asks = threading.Barrier(connections)

        def ask() -> None:
            everybody_asks.wait(self._sessions.deadline_s)     # side by side, or one connection would serve all
            self._call(endpoints.SERVER_TIME, {}, Priority.CRITICAL)

        with ThreadPoolExecutor(connections, thread_name_prefix="warm-up") as pool:
            for asked in [pool.submit(ask) for _ in range(connections)]:
                asked.result()

    def stream_config(self) -> dict[str, Any]:
        """Return what ccxt.pro needs to speak to the same addresses with the same key."""
        return self._sessions.stream_config()

    def markets(self) -> tuple[list[Any], Any]:
        """Return the loaded markets and currencies as ccxt's `set_markets` takes them."""
        wire = self._sessions.common
        return list(wire.markets.values()), wire.currencies

    def hurry(self, seconds: float) -> None:
        """Give everything but exits and stops *seconds* more, all together: the end is near."""
        self._sessions.hurry(seconds)

    def hurry_exits(self, seconds: float) -> None:
        """Give exits and stops *seconds* more, all together: the end is there."""
        self._sessions.hurry_exits(seconds)

    def close(self) -> None:
        """Cut what is under way and end the connections."""
        self._sessions.close()

    # ---- the one place that sends ---------------------------------------------------------------

    def _call(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> Any:
        try:
            return self._send(endpoint, params, priority)
        except ClockSkew:
            if priority is Priority.CRITICAL and self.is_clock_off():
                # Our clock was set: the exit's next try does not wait until others have time to look.
                with suppress(ExchangeError):
                    self._measure_clock(Priority.CRITICAL)
            raise

    def _measure_clock(self, priority: Priority) -> int:
        return self._sessions.set_clock_by(self._send(endpoints.SERVER_TIME, {}, priority), priority)

    def _send(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> Any:
        assert_no_lock_held(f"exchange call {endpoint.method}")
        with self._gate(priority):
            self._budget.take(endpoint.pool, endpoint.weight, priority)
            # Not before: while it waited for its budget an order may have come.
            self._wait_for_critical_calls(priority)
            started = self._clock.monotonic()
            outcome = "ok"
            try:
                return self._sessions.ask(endpoint, params, priority)
            except ExchangeError as error:
                outcome = type(error).__name__
                raise
            finally:
                if self._monitor is not None:
                    taken_s = self._clock.monotonic() - started
                    self._monitor.record_api_call(endpoint.method, taken_s, outcome)

    @contextmanager
    def _gate(self, priority: Priority) -> Iterator[None]:
        """Let one request pass: a critical one marks itself, so that the others stand aside for it.

        Passed once per request, here. Passing it twice would be waiting for oneself: that raises.
        """
        if self._passing.inside:
            raise RuntimeError("a request inside a request would wait for itself")
        self._passing.inside = True
        try:
            if priority is not Priority.CRITICAL:
                yield
                return
            with self._critical_call_lock:
                self._pending_critical_calls += 1
            try:
                yield
            finally:
                with self._critical_calls_done:
                    self._pending_critical_calls -= 1
                    self._critical_calls_done.notify_all()
        finally:
            self._passing.inside = False

    def _wait_for_critical_calls(self, priority: Priority) -> None:
        """Stand aside while an order or a close is under way, but never longer than the bound."""
        if priority is Priority.CRITICAL:
            return
        with self._critical_calls_done:
            self._clock.wait_for(
                self._critical_calls_done, lambda: not self._pending_critical_calls, LONGEST_STAND_ASIDE_S
            )
