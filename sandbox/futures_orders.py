"""Futures REST, orders: placing, canceling, looking up, and the lists of orders and fills."""

from __future__ import annotations

import time
from typing import Any

from sandbox import admission, refusals, shapes
from sandbox.orders import ZERO, Order
from sandbox.positions import value_of
from sandbox.refusals import Refusal
from sandbox.routes import Call, RouteTable, page
from sandbox.wire import text

_DAY_MS = 86_400_000
_MOST_IN_BATCH = 20


async def place(call: Call) -> Any:
    order = call.exchange.place(call.account, _object(call), received_ns=call.received_ns)
    return {"orderId": order.id, "clientOid": order.client_oid}


async def place_with_stops(call: Call) -> Any:
    body = _object(call)
    if not body.get("triggerStopUpPrice") and not body.get("triggerStopDownPrice"):
        raise refusals.invalid_parameters()
    return await place(call)


async def place_test(call: Call) -> Any:
    """Validate only: nothing is kept."""
    order = admission.admit(_object(call), call.account, call.exchange.ledger)
    return {"orderId": order.id, "clientOid": order.client_oid}


async def place_many(call: Call) -> Any:
    """A bare list; each entry is accepted or refused on its own."""
    if not isinstance(call.body, list) or not 1 <= len(call.body) <= _MOST_IN_BATCH:
        raise refusals.invalid_parameters()
    answers = []
    for body in call.body:
        answer = {"orderId": None, "clientOid": body.get("clientOid"), "symbol": body.get("symbol")}
        try:
            order = call.exchange.place(call.account, body, received_ns=call.received_ns)
            answer |= {"orderId": order.id, "code": "200000", "msg": "success"}
        except Refusal as refusal:
            answer |= {"code": refusal.code, "msg": refusal.message}
        answers.append(answer)
    return answers


async def cancel(call: Call) -> Any:
    order = call.exchange.cancel(call.account, call.account.orders.get(call.path_values["orderId"]))
    return {"cancelledOrderIds": [order.id]}


async def cancel_by_client_oid(call: Call) -> Any:
    symbol = call.symbol()
    client_oid = call.path_values["clientOid"]
    live = (o for o in call.account.live_orders() if o.client_oid == client_oid and o.symbol == symbol)
    call.exchange.cancel(call.account, next(live, None))
    return {"clientOid": client_oid}


async def cancel_many(call: Call) -> Any:
    """By orderIdsList, or by clientOidsList of {symbol, clientOid}."""
    body = _object(call)
    account = call.account
    wanted: list[tuple[str | None, str | None, Order | None]] = [
        (order_id, None, account.orders.get(order_id)) for order_id in body.get("orderIdsList") or []
    ]
    for entry in body.get("clientOidsList") or []:
        client_oid = entry.get("clientOid")
        wanted.append((None, client_oid, account.by_client_oid(client_oid)))
    if not wanted:
        raise refusals.invalid_parameters()
    answers = []
    for order_id, client_oid, order in wanted:
        answer = {"orderId": order_id, "clientOid": client_oid, "code": "200", "msg": "success"}
        try:
            call.exchange.cancel(account, order)
        except Refusal as refusal:
            answer |= {"code": refusal.code, "msg": refusal.message}
        answers.append(answer)
    return answers


async def cancel_all(call: Call) -> Any:
    symbol = call.symbol() if call.query.get("symbol") else None
    return _cancel_each(call, [o for o in call.account.active.values() if symbol in (None, o.symbol)])


async def cancel_all_of_contract(call: Call) -> Any:
    call.symbol()
    return await cancel_all(call)


async def cancel_stops(call: Call) -> Any:
    symbol = call.symbol() if call.query.get("symbol") else None
    return _cancel_each(call, [o for o in call.account.stops.values() if symbol in (None, o.symbol)])


async def order_by_id(call: Call) -> Any:
    return _shown(call, call.account.orders.get(call.path_values["orderId"]))


async def order_by_client_oid(call: Call) -> Any:
    return _shown(call, call.account.by_client_oid(call.required("clientOid")))


async def list_orders(call: Call) -> Any:
    """Without `status` KuCoin lists the done ones; untriggered stops have their own list."""
    wanted = call.query.get("status", "done")
    if wanted not in ("active", "done"):
        raise refusals.parameter("status is illegal")
    orders = [
        o for o in _visible(call)
        if not (o.active and o.is_waiting_stop) and o.active == (wanted == "active")
    ]
    return page([_json(call, o) for o in orders if _passes(call, o)], call)


async def list_stops(call: Call) -> Any:
    waiting = [o for o in _visible(call) if o.active and o.is_waiting_stop]
    rows = [
        _json(call, o) | {"stopPrice": text(o.stop_price or ZERO)} for o in waiting if _passes(call, o)
    ]
    return page(rows, call)


async def recent_done(call: Call) -> Any:
    since_ms = call.exchange.clock.now_ms() - _DAY_MS
    done = [
        o for o in _visible(call)
        if not o.active and (o.end_ms or 0) >= since_ms and call.query.get("symbol") in (None, "", o.symbol)
    ]
    return [_json(call, o) for o in done[:1000]]


async def open_statistics(call: Call) -> Any:
    symbol = call.symbol()
    known = call.exchange.market.contract(symbol)
    size = {"buy": 0, "sell": 0}
    cost = {"buy": ZERO, "sell": ZERO}
    for order in call.account.active.values():
        if order.symbol == symbol:
            size[order.side] += order.remaining
            cost[order.side] += value_of(known, order.remaining, order.price)
    return {
        "openOrderBuySize": size["buy"], "openOrderSellSize": size["sell"],
        "openOrderBuyCost": text(cost["buy"]), "openOrderSellCost": text(cost["sell"]),
        "settleCurrency": known.settle,
    }


async def list_fills(call: Call) -> Any:
    query = call.query
    start, end = call.integer("startAt", 0), call.integer("endAt", 2**63)
    fills = [
        f for f in reversed(call.account.fills)
        if query.get("orderId") in (None, "", f.order_id)
        and query.get("symbol") in (None, "", f.symbol)
        and query.get("side") in (None, "", f.side)
        and start <= f.trade_ns // 1_000_000 <= end
    ]
    return page([shapes.fill_json(f) for f in fills], call)


async def recent_fills(call: Call) -> Any:
    since_ns = (call.exchange.clock.now_ms() - _DAY_MS) * 1_000_000
    fills = [
        f for f in reversed(call.account.fills)
        if f.trade_ns >= since_ns and call.query.get("symbol") in (None, "", f.symbol)
    ]
    return [shapes.fill_json(f) for f in fills[:1000]]


def add_to(table: RouteTable) -> None:
    """Enter the order endpoints with weights and permissions."""
    for method, path, handler, weight, permission in (
        ("POST", "/api/v1/orders", place, 2, "Futures"),
        ("POST", "/api/v1/orders/test", place_test, 2, "Futures"),
        ("POST", "/api/v1/orders/multi", place_many, 20, "Futures"),
        ("POST", "/api/v1/st-orders", place_with_stops, 2, "Futures"),
        ("DELETE", "/api/v1/orders/multi-cancel", cancel_many, 20, "Futures"),
        ("DELETE", "/api/v1/orders/client-order/{clientOid}", cancel_by_client_oid, 1, "Futures"),
        ("DELETE", "/api/v1/orders/{orderId}", cancel, 1, "Futures"),
        ("DELETE", "/api/v1/orders", cancel_all, 800, "Futures"),
        ("DELETE", "/api/v3/orders", cancel_all_of_contract, 10, "Futures"),
        ("DELETE", "/api/v1/stopOrders", cancel_stops, 15, "Futures"),
        ("GET", "/api/v1/orders/byClientOid", order_by_client_oid, 5, "General"),
        ("GET", "/api/v1/orders/{orderId}", order_by_id, 5, "General"),
        ("GET", "/api/v1/orders", list_orders, 2, "General"),
        ("GET", "/api/v1/stopOrders", list_stops, 6, "General"),
        ("GET", "/api/v1/recentDoneOrders", recent_done, 5, "General"),
        ("GET", "/api/v1/openOrderStatistics", open_statistics, 10, "General"),
        ("GET", "/api/v1/fills", list_fills, 5, "General"),
        ("GET", "/api/v1/recentFills", recent_fills, 3, "Futures"),
    ):
        table.add(method, path, handler, weight, "futures", permission)


def _object(call: Call) -> admission.Body:
    if not isinstance(call.body, dict):
        raise refusals.parameter("the request body must be a JSON object")
    return call.body


def _cancel_each(call: Call, orders: list[Order]) -> Any:
    for order in orders:
        call.exchange.cancel(call.account, order)
    return {"cancelledOrderIds": [order.id for order in orders]}


def _is_visible(order: Order) -> bool:
    return order.visible_at <= time.monotonic()


def _visible(call: Call) -> list[Order]:
    """Return what reads know already, newest first."""
    return [order for order in reversed(call.account.orders.values()) if _is_visible(order)]


def _shown(call: Call, order: Order | None) -> Any:
    if order is None or not _is_visible(order):
        raise refusals.order_unknown()
    return _json(call, order)


def _json(call: Call, order: Order) -> Any:
    return shapes.order_json(order, call.exchange.market.contract(order.symbol))


def _passes(call: Call, order: Order) -> bool:
    query = call.query
    kind = query.get("type") or order.type
    return (
        query.get("symbol") in (None, "", order.symbol)
        and query.get("side") in (None, "", order.side)
        and kind.removesuffix("_stop") == order.type
        and call.integer("startAt", 0) <= order.created_ms <= call.integer("endAt", 2**63)
    )
