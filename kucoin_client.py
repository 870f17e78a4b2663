"""The only module that talks to KuCoin: ccxt inside, facts outside, the urgent first.

Each request passes one place, `_call`: the gate (others stand aside while an order or a close is
under way), the rate budget, the wire with a total deadline, and the books of PerformanceMonitor.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import ccxt

from kucoin import endpoints, parse
from kucoin.endpoints import Endpoint
from kucoin.wire import Wire, addresses
from runtime.budget import RateBudget
from runtime.deadline import Deadlines
from runtime.locks import assert_no_lock_held, condition_on, guarded_dict, named_lock
from trading.candles import TIMEFRAME_MINUTES, Candles
from trading.errors import (
    BadResponse,
    ExchangeError,
    ExchangeUnavailable,
    OrderNotFound,
    OutcomeUnknown,
    RateLimited,
    RequestRefused,
    UnknownInstrument,
)
from trading.facts import (
    ZERO,
    Balance,
    ExchangePosition,
    Fill,
    Instrument,
    Order,
    OrderRequest,
    Priority,
    Ticker,
)
from trading.ports import Clock, Monitor

log = logging.getLogger("kucoin")

LONGEST_STAND_ASIDE_S = 1.0     # how long one request waits for critical calls; then scans go on too
PAGE = 1000
MOST_PAGES = 20                 # 20,000 rows: more than any account may have


class _Passing(threading.local):
    inside = False


class KuCoinClient:
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
        budget: RateBudget,
        clock: Clock,
        monitor: Monitor,
        deadline_s: float = 10.0,
    ) -> None:
        self.futures_url = futures_url
        self.spot_url = spot_url
        self._budget = budget
        self._clock = clock
        self._monitor = monitor
        self._deadline_s = deadline_s
        self._deadlines = Deadlines()
        access = {"key": key, "secret": secret, "passphrase": passphrase}
        # Exits and stops have a session of their own: its sockets are never queued for behind a scan.
        self._wires = {
            critical: Wire(futures_url=futures_url, spot_url=spot_url, timeout_s=deadline_s, **access)
            for critical in (True, False)
        }

        self._critical_call_lock = named_lock("critical calls")
        self._critical_calls_done = condition_on(self._critical_call_lock)
        self._pending_critical_calls = 0          # guarded by _critical_call_lock
        self._passing = _Passing()

        self._metadata_lock = named_lock("metadata")
        # Guarded by _metadata_lock; replaced whole, never edited.
        self._symbol_metadata_cache: dict[str, Instrument] = guarded_dict(self._metadata_lock, "metadata")
        self._by_id: Mapping[str, Instrument] = {}
        self._contracts: Mapping[str, parse.Row] = {}
        self._margin_modes: dict[str, str] = guarded_dict(self._metadata_lock, "margin modes")

    # ---- instruments ----------------------------------------------------------------------------

    def load(self) -> None:
        """Learn every market, once, before threads start.

        Raises:
            ExchangeError: no answer, or one that cannot be read.
        """
        assert_no_lock_held("load markets")
        self._budget.take(endpoints.PUBLIC, endpoints.LOAD_MARKETS_WEIGHT, Priority.HIGH)
        wire = self._wires[False]
        with self._deadlines.limit(self._deadline_s * 3):
            try:
                wire.load_markets(False, {"marginables": False})
            except ExchangeError:
                raise
            except (ccxt.BaseError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise ExchangeUnavailable(f"the markets could not be loaded ({type(error).__name__})") from error
        self._wires[True].set_markets_from_exchange(wire)
        self.refresh_instruments()
        log.info("markets loaded instruments=%d", len(self.instruments()))

    def refresh_instruments(self) -> None:
        """Fetch every contract's rules anew and replace them whole."""
        listed = parse.rows(self._call(endpoints.CONTRACTS, {}, Priority.HIGH))
        rows = [row for row in listed if parse.is_linear_usdt_perpetual(row)]
        found = [parse.instrument_of(row, self._symbol_of(row)) for row in rows]
        fresh: dict[str, Instrument] = guarded_dict(self._metadata_lock, "metadata")
        with self._metadata_lock:
            fresh.update({instrument.symbol: instrument for instrument in found})
            self._symbol_metadata_cache = fresh
            self._by_id = parse.by_id(found)
            self._contracts = {str(row["symbol"]): row for row in rows}

    def instruments(self) -> Mapping[str, Instrument]:
        """Return every instrument by symbol, from memory."""
        with self._metadata_lock:
            return dict(self._symbol_metadata_cache)

    def instrument(self, symbol: str) -> Instrument:
        """Return one instrument from memory, by ccxt's symbol or KuCoin's id. Raises UnknownInstrument."""
        with self._metadata_lock:
            found = self._symbol_metadata_cache.get(symbol) or self._by_id.get(symbol.upper())
        if found is None:
            raise UnknownInstrument(f"KuCoin lists no {symbol}")
        return found

    # ---- market data ----------------------------------------------------------------------------

    def fetch_tickers(self, priority: Priority = Priority.SCAN) -> dict[str, Ticker]:
        """Return the ticker of every instrument; turnover and mark price are of the last contracts call.

        Source: GET /api/v1/allTickers and /api/v1/contracts/active.
        """
        if priority is Priority.SCAN:
            self.refresh_instruments()
        data = parse.rows(self._call(endpoints.TICKERS, {}, priority))
        with self._metadata_lock:
            by_id, contracts = self._by_id, self._contracts
        tickers = (
            parse.ticker_of(row, by_id[str(row.get("symbol"))], contracts.get(str(row.get("symbol"))))
            for row in data
            if str(row.get("symbol")) in by_id
        )
        return {ticker.symbol: ticker for ticker in tickers if ticker is not None}

    def fetch_candles(self, symbol: str, timeframe: str, limit: int) -> Candles:
        """Return up to *limit* closed candles, oldest first, gaps filled with the previous close.

        Source: GET /api/v1/kline/query, at most 500.
        """
        instrument = self.instrument(symbol)
        minutes = TIMEFRAME_MINUTES[timeframe]
        now_ms = self._clock.now_ms() - self.clock_offset_ms()
        params = {
            "symbol": instrument.exchange_id,
            "granularity": minutes,
            "from": now_ms // (minutes * 60_000) * (minutes * 60_000) - limit * minutes * 60_000,
            "to": now_ms,
        }
        data = self._call(endpoints.CANDLES, params, Priority.SCAN)
        return parse.candles_of(data, instrument.symbol, timeframe, limit, now_ms)

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
        found = []
        for row in parse.rows(self._call(endpoints.POSITIONS, {"currency": "USDT"}, priority)):
            if parse.number(row, "currentQty"):
                found.append(parse.position_of(row, self.instrument(parse.text(row, "symbol"))))
        return tuple(found)

    def fetch_funding(self, symbol: str, since_ms: int) -> Decimal:
        """Return the funding received (negative: paid) since then. Source: GET /api/v1/funding-history."""
        params = {"symbol": self.instrument(symbol).exchange_id, "startAt": since_ms}
        data = self._call(endpoints.FUNDING, params, Priority.NORMAL)
        listed = data.get("dataList") if isinstance(data, Mapping) else None
        return sum((parse.number(row, "funding") for row in parse.rows(listed)), ZERO)

    def set_margin_mode(self, symbol: str, margin_mode: str) -> None:
        """Make *symbol* isolated or cross; asks only the first time. Source: changeMarginMode."""
        instrument = self.instrument(symbol)
        with self._metadata_lock:
            if self._margin_modes.get(symbol) == margin_mode:
                return
        params = {"symbol": instrument.exchange_id}
        data = self._call(endpoints.MARGIN_MODE, params, Priority.HIGH)
        if not isinstance(data, Mapping) or parse.text(data, "marginMode").lower() != margin_mode:
            self._call(endpoints.CHANGE_MARGIN_MODE, {**params, "marginMode": margin_mode.upper()}, Priority.HIGH)
        with self._metadata_lock:
            self._margin_modes[symbol] = margin_mode

    # ---- orders ---------------------------------------------------------------------------------

    def place_order(self, request: OrderRequest, priority: Priority) -> str:
        """Send once and return the order id; accepted is not filled. Source: POST /api/v1/orders.

        Raises:
            OrderRejected: a plain no: it certainly did not happen.
            OutcomeUnknown: it may have happened: look it up by its client id.
            ExchangeUnavailable: it certainly was not sent, or was turned away unread.
        """
        body = parse.order_body(request, self.instrument(request.symbol))
        data = self._call(endpoints.PLACE, body, priority)
        order_id = data.get("orderId") if isinstance(data, Mapping) else None
        if not order_id:
            raise OutcomeUnknown(f"order {request.client_oid} answered without an id")
        return str(order_id)

    def cancel_order(self, order_id: str, priority: Priority) -> None:
        """Ask for a cancel; a fill may still win. Source: DELETE /api/v1/orders/{orderId}."""
        self._call(endpoints.CANCEL, {"orderId": order_id}, priority)

    def find_order(self, client_oid: str, priority: Priority = Priority.HIGH) -> Order | None:
        """Return the order or stop with this client id; None only if plainly told so.

        Source: GET /api/v1/orders/byClientOid.
        """
        try:
            data = self._call(endpoints.ORDER_BY_CLIENT_OID, {"clientOid": client_oid}, priority)
        except OrderNotFound:
            return None
        order = self._order(data)
        if order.client_oid != client_oid:
            raise BadResponse(f"asked for order {client_oid}, told of {order.client_oid or 'none'}")
        return order

    def fetch_order(self, order_id: str, priority: Priority = Priority.HIGH) -> Order:
        """Return one order. Source: GET /api/v1/orders/{orderId}. Raises OrderNotFound."""
        return self._order(self._call(endpoints.ORDER, {"orderId": order_id}, priority))

    def fetch_open_orders(self, priority: Priority = Priority.NORMAL) -> tuple[Order, ...]:
        """Return every active order that is not an untriggered stop. Source: GET /api/v1/orders."""
        return tuple(map(self._order, self._pages(endpoints.OPEN_ORDERS, {"status": "active"}, priority)))

    def fetch_stop_orders(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL
    ) -> tuple[Order, ...]:
        """Return every untriggered stop order. Source: GET /api/v1/stopOrders."""
        params = {} if symbol is None else {"symbol": self.instrument(symbol).exchange_id}
        return tuple(map(self._order, self._pages(endpoints.STOP_ORDERS, params, priority)))

    def fetch_recent_fills(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL
    ) -> tuple[Fill, ...]:
        """Return the fills of the last 24 hours, oldest first. Source: GET /api/v1/fills."""
        params = {} if symbol is None else {"symbol": self.instrument(symbol).exchange_id}
        return self._fills(self._pages(endpoints.FILLS, params, priority))

    def fetch_order_fills(self, order_id: str, priority: Priority = Priority.HIGH) -> tuple[Fill, ...]:
        """Return the fills of one order, oldest first. Source: GET /api/v1/recentFills.

        The other list, /fills, says of itself that it is not real-time.
        """
        listed = parse.rows(self._call(endpoints.RECENT_FILLS, {}, priority))
        return self._fills([row for row in listed if row.get("orderId") == order_id])

    # ---- time and connections -------------------------------------------------------------------

    def measure_clock_offset(self) -> int:
        """Measure our clock against the exchange's, halving the round trip, and sign by its time.

        Returns milliseconds by which ours is ahead. Source: GET /api/v1/timestamp.
        """
        asked_ms = self._clock.now_ms()
        server_ms = int(self._call(endpoints.SERVER_TIME, {}, Priority.HIGH))
        offset_ms = (asked_ms + self._clock.now_ms()) // 2 - server_ms
        for wire in self._wires.values():
            wire.options["timeDifference"] = offset_ms
        if abs(offset_ms) > 1000:
            log.warning("clock differs from the exchange's ahead_by=%dms", offset_ms)
        return offset_ms

    def clock_offset_ms(self) -> int:
        """Return the offset last measured, milliseconds by which our clock is ahead."""
        return int(self._wires[False].options["timeDifference"])

    def warm_up(self) -> None:
        """Open the connection exits will use, TLS and all, before one is needed."""
        self._call(endpoints.SERVER_TIME, {}, Priority.CRITICAL)

    def stream_config(self) -> dict[str, Any]:
        """Return what ccxt.pro needs to speak to the same addresses with the same key."""
        wire = self._wires[False]
        return {
            "apiKey": wire.apiKey, "secret": wire.secret, "password": wire.password,
            "enableRateLimit": False, "newUpdates": True,
            "urls": {"api": addresses(self.futures_url, self.spot_url)},
            "options": {"hf": True, "uta": False, "defaultType": "swap",
                        "timeDifference": self.clock_offset_ms()},
        }

    def markets(self) -> tuple[list[Any], Any]:
        """Return the loaded markets and currencies as ccxt's `set_markets` takes them."""
        wire = self._wires[False]
        return list(wire.markets.values()), wire.currencies

    def close(self) -> None:
        """End the deadline thread and the connections."""
        self._deadlines.stop()
        for wire in self._wires.values():
            wire.end()

    # ---- the one place that sends ---------------------------------------------------------------

    def _call(self, endpoint: Endpoint, params: Mapping[str, Any] | list[Any], priority: Priority) -> Any:
        assert_no_lock_held(f"exchange call {endpoint.method}")
        with self._gate(priority):
            self._budget.take(endpoint.pool, endpoint.weight, priority)
            started = self._clock.monotonic()
            outcome = "ok"
            try:
                return self._ask(endpoint, params, priority)
            except ExchangeError as error:
                outcome = type(error).__name__
                raise
            finally:
                self._monitor.record_api_call(endpoint.method, self._clock.monotonic() - started, outcome)

    def _ask(self, endpoint: Endpoint, params: Mapping[str, Any] | list[Any], priority: Priority) -> Any:
        wire = self._wires[priority is Priority.CRITICAL]
        try:
            with self._deadlines.limit(self._deadline_s) as call:
                return wire.ask(endpoint.method, params, changes=endpoint.changes)
        except RateLimited as error:
            if error.retry_after_ms:
                self._budget.hold(endpoint.pool, error.retry_after_ms / 1000)
            raise
        except (ExchangeUnavailable, OutcomeUnknown) as error:
            if call.expired:
                raise type(error)(f"no whole answer within {self._deadline_s:.0f} s") from error
            raise
        finally:
            self._learn_rate(endpoint.pool, wire.answer_headers())

    def _learn_rate(self, pool: str, headers: Mapping[str, str]) -> None:
        try:
            self._budget.correct(
                pool,
                limit=int(headers["gw-ratelimit-limit"]),
                remaining=int(headers["gw-ratelimit-remaining"]),
                resets_in_s=int(headers["gw-ratelimit-reset"]) / 1000,
            )
        except (KeyError, ValueError):
            pass    # KuCoin promises the headers for the pools of a user, not for the public one

    @contextmanager
    def _gate(self, priority: Priority) -> Iterator[None]:
        """Let one request pass: a critical one marks itself, the others stand aside for it.

        Passed once per request, here. Passing it twice would be waiting for oneself: that raises.
        """
        if self._passing.inside:
            raise RuntimeError("a request inside a request would wait for itself")
        self._passing.inside = True
        try:
            if priority is not Priority.CRITICAL:
                self._wait_for_critical_calls(priority)
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

    # ---- small change ---------------------------------------------------------------------------

    def _pages(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> list[parse.Row]:
        """Return the rows of every page; a page that fails fails the whole."""
        found: list[parse.Row] = []
        for page in range(1, MOST_PAGES + 1):
            data = self._call(endpoint, {**params, "currentPage": page, "pageSize": PAGE}, priority)
            if not isinstance(data, Mapping):
                raise BadResponse("a page was expected and something else came")
            found += parse.rows(data)
            if page >= int(parse.number(data, "totalPage")):
                return found
        raise RequestRefused(f"more than {MOST_PAGES} pages")

    def _order(self, row: Any) -> Order:
        if not isinstance(row, Mapping):
            raise BadResponse("order answer without fields")
        return parse.order_of(row, self.instrument(parse.text(row, "symbol")))

    def _fills(self, listed: Sequence[parse.Row]) -> tuple[Fill, ...]:
        fills = [parse.fill_of(row, self.instrument(parse.text(row, "symbol"))) for row in listed]
        return tuple(sorted(fills, key=lambda fill: fill.ts_ms))

    def _symbol_of(self, row: parse.Row) -> str:
        """Return ccxt's symbol for a contract; built by its rule for one listed since `load`."""
        wire = self._wires[False]
        known = (wire.markets_by_id or {}).get(row["symbol"])
        if known:
            return str(known[0]["symbol"])
        base = wire.safe_currency_code(row["baseCurrency"])
        return f"{base}/{row['quoteCurrency']}:{row['settleCurrency']}"
