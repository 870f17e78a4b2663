"""From the body of an order request to an `Order`: every check made before KuCoin accepts one."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

from sandbox import refusals
from sandbox.accounts import Account
from sandbox.ledger import Ledger
from sandbox.market.source import Contract
from sandbox.orders import ZERO, Order
from sandbox.positions import value_of

_CLIENT_OID = re.compile(r"[A-Za-z0-9_-]{1,40}")
Body = dict[str, Any]


def admit(body: Body, account: Account, ledger: Ledger) -> Order:
    """Return the order *body* asks for, its margin computed but not yet filed anywhere.

    Raises:
        Refusal: the order would not be accepted.
    """
    client_oid = _client_oid(body)
    contract = ledger.market.contract(_required(body, "symbol"))
    _check_service(ledger, contract)
    if any(order.client_oid == client_oid for order in account.live_orders()):
        raise refusals.client_oid_repeated()
    order = _shape(body, account, ledger, contract, client_oid)
    _check_counts(account, ledger, order)
    if order.type == "limit" and not order.is_waiting_stop:
        check_price_limit(order, ledger, contract)
    if order.is_waiting_stop:
        _check_reducing(account, order)
    else:
        freeze(order, account, ledger)
    return order


def freeze(order: Order, account: Account, ledger: Ledger) -> None:
    """Check that the account can carry *order* and set what it holds.

    Raises:
        Refusal: 300003 (balance), 300005 (risk limit), 300009 (nothing to reduce).
    """
    _check_reducing(account, order)
    contract = ledger.market.contract(order.symbol)
    quote = ledger.market.quote(order.symbol)
    price = order.price or (quote.ask if order.side == "buy" else quote.bid)
    cost = ledger.opening_cost(account, order, order.remaining, price)
    if not cost:
        return
    after = abs(account.position_qty(order.symbol) + order.sign * order.remaining)
    if value_of(contract, after, price) > ledger.rules.risk_limit:
        raise refusals.risk_limit(ledger.rules.risk_limit)
    available = ledger.available(account)
    if cost > available:
        raise refusals.balance_too_low(cost, available)
    order.hold = cost


def check_price_limit(order: Order, ledger: Ledger, contract: Contract) -> None:
    """Refuse a price too far through the market.

    Raises:
        Refusal: 300011 for a buyer, 300012 for a seller.
    """
    mark = ledger.market.mark(order.symbol)
    if order.side == "buy" and order.price > (high := ledger.market.buy_limit(contract, mark)):
        raise refusals.price_too_high(high)
    if order.side == "sell" and order.price < (low := ledger.market.sell_limit(contract, mark)):
        raise refusals.price_too_low(low)


def _shape(
    body: Body, account: Account, ledger: Ledger, contract: Contract, client_oid: str
) -> Order:
    close_order = _flag(body, "closeOrder")
    reduce_only = _flag(body, "reduceOnly")
    kind = body.get("type") or "limit"
    if kind not in ("limit", "market"):
        raise refusals.illegal("type is illegal")
    side = _side(body, account, contract, close_order)
    price = _price(body, contract, kind)
    margin_mode = _margin_mode(body, account, contract)
    now_ms = ledger.clock.now_ms()
    time_in_force = body.get("timeInForce") or "GTC"
    if time_in_force not in ("GTC", "IOC"):
        raise refusals.illegal("timeInForce is illegal")
    post_only = _flag(body, "postOnly") and kind == "limit"
    if post_only and time_in_force == "IOC":
        raise refusals.illegal("postOnly cannot be used with IOC")
    order = Order(
        id=ledger.numbers.order_id(now_ms), user_id=account.user_id, client_oid=client_oid,
        symbol=contract.symbol, type=kind, side=side, price=price,
        size=_size(body, account, contract, ledger, price, close_order),
        leverage=_leverage(body, account, contract, margin_mode, close_order or reduce_only),
        margin_mode=margin_mode, time_in_force=time_in_force, post_only=post_only,
        hidden=_flag(body, "hidden"), iceberg=_flag(body, "iceberg"),
        visible_size=int(_decimal(body, "visibleSize") or 0), reduce_only=reduce_only,
        close_order=close_order, force_hold=_flag(body, "forceHold"), stp=body.get("stp") or "",
        remark=body.get("remark"), created_ms=now_ms, updated_ms=now_ms,
        order_ns=ledger.clock.now_ns(),
    )
    _add_stop(order, body, contract)
    return order


def _add_stop(order: Order, body: Body, contract: Contract) -> None:
    price_type = body.get("stopPriceType") or ""
    if price_type not in ("", "TP", "MP", "IP"):
        raise refusals.illegal("stopPriceType is illegal")
    order.take_profit = _decimal(body, "triggerStopUpPrice")
    order.stop_loss = _decimal(body, "triggerStopDownPrice")
    stop = body.get("stop") or ""
    if not stop:
        order.stop_price_type = price_type if order.take_profit or order.stop_loss else ""
        return
    stop_price = _decimal(body, "stopPrice")
    if stop not in ("up", "down") or not price_type or stop_price is None or stop_price <= 0:
        raise refusals.invalid_parameters()
    if stop_price % contract.tick_size:
        raise refusals.illegal("stopPrice must be a multiple of tickSize")
    order.stop, order.stop_price, order.stop_price_type = stop, stop_price, price_type


def _check_service(ledger: Ledger, contract: Contract) -> None:
    if ledger.rules.service_status != "open" or contract.status != "Open":
        raise refusals.suspended()


def _check_counts(account: Account, ledger: Ledger, order: Order) -> None:
    if order.is_waiting_stop:
        waiting = sum(1 for o in account.stops.values() if o.symbol == order.symbol)
        if waiting >= ledger.rules.stop_order_limit:
            raise refusals.too_many_stops(ledger.rules.stop_order_limit, waiting)
        if ledger.rules.one_close_order_stop and order.close_order and any(
            o.close_order and o.symbol == order.symbol for o in account.stops.values()
        ):
            raise refusals.too_many_stops(1, 1)
        return
    if order.type == "market":             # an exit is never turned away by a full book
        return
    live = sum(1 for o in account.active.values() if o.symbol == order.symbol and o.type == "limit")
    if live >= ledger.rules.active_order_limit:
        raise refusals.too_many_orders(ledger.rules.active_order_limit, live)


def _check_reducing(account: Account, order: Order) -> None:
    if order.reduces_only and account.position_qty(order.symbol) * order.sign >= 0:
        raise refusals.nothing_to_close()


def _client_oid(body: Body) -> str:
    client_oid = body.get("clientOid")
    if not client_oid:
        raise refusals.parameter("validation.createOrder.clientOidIsRequired")
    if not isinstance(client_oid, str) or not _CLIENT_OID.fullmatch(client_oid):
        raise refusals.illegal("clientOid: at most 40 letters, digits, _ or -")
    return client_oid


def _side(body: Body, account: Account, contract: Contract, close_order: bool) -> str:
    if body.get("positionSide") not in (None, "", "BOTH"):
        raise refusals.position_mode_differs()
    if close_order:                       # the exchange knows better than the request
        held = account.position_qty(contract.symbol)
        if not held:
            raise refusals.nothing_to_close()
        return "sell" if held > 0 else "buy"
    side: str = _required(body, "side")
    if side not in ("buy", "sell"):
        raise refusals.illegal("side is illegal")
    return side


def _price(body: Body, contract: Contract, kind: str) -> Decimal:
    if kind == "market":
        return ZERO
    price = _decimal(body, "price")
    if price is None or price <= 0:
        raise refusals.invalid_parameters()
    if price > contract.max_price:
        raise refusals.illegal("price exceeds maxPrice")
    if price % contract.tick_size:
        raise refusals.illegal("price must be a multiple of tickSize")
    return price


def _size(
    body: Body, account: Account, contract: Contract, ledger: Ledger, price: Decimal, close_order: bool
) -> int:
    """Return the lots asked for: by size, by qty (base currency) or by valueQty (quote currency)."""
    if close_order:
        return abs(account.position_qty(contract.symbol))
    size, qty, value = (_decimal(body, name) for name in ("size", "qty", "valueQty"))
    if size is None and qty is not None:
        size = qty / contract.multiplier
    elif size is None and value is not None:
        at = price or ledger.market.quote(contract.symbol).last
        size = (value / (at * contract.multiplier)).to_integral_value(ROUND_FLOOR)
    if size is None:
        raise refusals.invalid_parameters()
    if size < contract.lot_size:
        raise refusals.parameter("Order size below the minimum requirement.")
    if size % contract.lot_size:
        raise refusals.parameter("Order size increment invalid.")
    if size > contract.max_order_qty:
        raise refusals.illegal(f"Order size cannot exceed {contract.max_order_qty}")
    return int(size)


def _leverage(
    body: Body, account: Account, contract: Contract, margin_mode: str, reducing: bool
) -> Decimal:
    if margin_mode == "CROSS":
        return account.leverage_for_cross(contract.symbol)
    leverage = _decimal(body, "leverage")
    if leverage is None:
        if not reducing:
            raise refusals.invalid_parameters()
        held = account.positions.get(contract.symbol)
        return held.leverage if held else Decimal(1)
    if leverage <= 0:
        raise refusals.invalid_parameters()
    if leverage > contract.max_leverage:
        raise refusals.leverage_too_high(contract.max_leverage)
    return leverage


def _margin_mode(body: Body, account: Account, contract: Contract) -> str:
    mode: str = body.get("marginMode") or "ISOLATED"
    if mode != account.margin_mode(contract.symbol):
        raise refusals.margin_mode_differs()
    return mode


def _required(body: Body, name: str) -> str:
    value = body.get(name)
    if not value or not isinstance(value, str):
        raise refusals.parameter(f"validation.createOrder.{name}IsRequired")
    return value


def _flag(body: Body, name: str) -> bool:
    return body.get(name) in (True, "true", "True")


def _decimal(body: Body, name: str) -> Decimal | None:
    """Return a number given as JSON number or string; None when absent or empty."""
    value = body.get(name)
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise refusals.illegal(f"{name} is not a number") from None
    if not number.is_finite():
        raise refusals.illegal(f"{name} is not a number")
    return number
