"""Orders, stops and fills as KuCoin lists them, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from kucoin import endpoints, parse
from kucoin.endpoints import Endpoint
from kucoin.known import KnownInstruments
from trading.errors import BadResponse, OrderNotFound, RequestRefused
from trading.facts import Fill, Order, Priority

PAGE = 1000
MOST_PAGES = 20                 # 20,000 rows: more than any account may have
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS            # the most one question about fills may span
MOST_WEEKS = 13

Told = TypeVar("Told", Fill, Order)


class OrderFacts(KnownInstruments):
    """The part of KuCoinClient that reads orders and what they did; any thread."""

    def find_order(self, client_oid: str, priority: Priority = Priority.HIGH) -> Order | None:
        """Return the order or stop with this client id; None only if plainly told so.

        Source: GET /api/v1/orders/byClientOid.
        """
        try:
            data = self._call(endpoints.ORDER_BY_CLIENT_OID, {"clientOid": client_oid}, priority)
        except OrderNotFound:
            return None
        order = self._order(data, priority)
        if order.client_oid != client_oid:
            raise BadResponse(f"asked for order {client_oid}, told of {order.client_oid or 'none'}")
        return order

    def fetch_order(self, order_id: str, priority: Priority = Priority.HIGH) -> Order:
        """Return one order. Source: GET /api/v1/orders/{orderId}. Raises OrderNotFound."""
        order = self._order(self._call(endpoints.ORDER, {"orderId": order_id}, priority), priority)
        if order.order_id != order_id:
            raise BadResponse(f"asked for order {order_id}, told of {order.order_id}")
        return order

    def fetch_open_orders(self, priority: Priority = Priority.NORMAL) -> tuple[Order, ...]:
        """Return every active order that is not an untriggered stop. Source: GET /api/v1/orders."""
        return self._orders(self._pages(endpoints.OPEN_ORDERS, {"status": "active"}, priority), priority)

    def fetch_stop_orders(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL
    ) -> tuple[Order, ...]:
        """Return every untriggered stop order. Source: GET /api/v1/stopOrders."""
        params = self._about(symbol)
        return self._of(symbol, self._orders(self._pages(endpoints.STOP_ORDERS, params, priority), priority))

    def fetch_recent_fills(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL, *, since_ms: int = 0
    ) -> tuple[Fill, ...]:
        """Return the fills of the last 24 hours, oldest first; of those before *since_ms* not necessarily all.

        Source: GET /api/v1/recentFills. That list is fresh but ends at a thousand; if there may be more,
        /fills goes on, which may lag.
        """
        params = self._about(symbol)
        listed = parse.rows(self._call(endpoints.RECENT_FILLS, params, priority))
        fills = self._fills(listed, priority)
        if len(listed) >= PAGE and min((fill.ts_ms for fill in fills), default=since_ms) >= since_ms:
            day_ago_ms = self._clock.now_ms() - self._sessions.clock_offset_ms() - DAY_MS
            more = {**params, "startAt": max(since_ms, day_ago_ms)}
            fills = self._fills([*listed, *self._pages(endpoints.FILLS, more, priority)], priority)
        return self._of(symbol, fills)

    def fetch_older_fills(self, symbol: str, since_ms: int) -> tuple[Fill, ...]:
        """Return the fills of *symbol* since then, oldest first, at most those of three months.

        Nothing if all of them are of the last 24 hours. Source: GET /api/v1/fills, a week at a time.
        """
        end_ms = self._clock.now_ms() - self._sessions.clock_offset_ms()
        if since_ms > end_ms - DAY_MS:
            return ()
        params = self._about(symbol)
        listed: list[parse.Row] = []
        for _ in range(MOST_WEEKS):
            start_ms = max(since_ms, end_ms - WEEK_MS)
            week = {**params, "startAt": start_ms, "endAt": end_ms}
            listed += self._pages(endpoints.FILLS, week, Priority.NORMAL)
            if start_ms == since_ms:
                break
            end_ms = start_ms
        return self._of(symbol, self._fills(listed, Priority.NORMAL))

    def fetch_order_fills(self, order_id: str, priority: Priority = Priority.HIGH) -> tuple[Fill, ...]:
        """Return the fills of one order, oldest first. Source: GET /api/v1/recentFills, /api/v1/fills.

        The second, which says of itself that it is not real-time, is asked for what the first has not.
        """
        params = self._about(self._contract_of_order(order_id))
        recent = parse.rows(self._call(endpoints.RECENT_FILLS, params, priority))
        listed = [row for row in recent if row.get("orderId") == order_id]
        if not listed:
            older = self._pages(endpoints.FILLS, {"orderId": order_id}, priority)
            listed = [row for row in older if row.get("orderId") == order_id]
        return self._fills(listed, priority)

    # ---- small change ---------------------------------------------------------------------------

    def _about(self, symbol: str | None) -> dict[str, str]:
        """Return how a question names *symbol*: not at all if it is not listed, for then KuCoin may refuse it.

        What is said of all of them holds it too.
        """
        instrument = None if symbol is None else self.instrument(symbol)
        return {"symbol": instrument.exchange_id} if instrument is not None and instrument.tradable else {}

    def _of(self, symbol: str | None, facts: tuple[Told, ...]) -> tuple[Told, ...]:
        """Return those of *symbol*, by whatever name; all of them for None."""
        if symbol is None:
            return facts
        wanted = self.instrument(symbol).symbol
        return tuple(fact for fact in facts if fact.symbol == wanted)

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

    def _order(self, row: Any, priority: Priority) -> Order:
        """Return the order that was asked for by its id."""
        if not isinstance(row, Mapping):
            raise BadResponse("order answer without fields")
        found = self._orders([row], priority)
        if not found:
            raise BadResponse(f"an order of {row.get('symbol')}, which RAD does not trade")
        return found[0]

    def _orders(self, listed: Sequence[parse.Row], priority: Priority) -> tuple[Order, ...]:
        return tuple(parse.order_of(*known) for known in self._with_instruments(listed, priority))

    def _fills(self, listed: Sequence[parse.Row], priority: Priority) -> tuple[Fill, ...]:
        """Return fills, each once, oldest first."""
        fills = (parse.fill_of(*known) for known in self._with_instruments(listed, priority))
        once = {(fill.symbol, fill.trade_id, fill.order_id): fill for fill in fills}
        return tuple(sorted(once.values(), key=lambda fill: fill.ts_ms))
