"""Futures REST, account: overview, fees, positions, margin modes, leverage, funding paid."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

from sandbox import refusals, shapes
from sandbox.orders import ZERO
from sandbox.positions import Position
from sandbox.routes import Call, RouteTable, page
from sandbox.wire import text


async def overview(call: Call) -> Any:
    """Without `currency` KuCoin means XBT, which nobody here has."""
    currency = call.query.get("currency") or "XBT"
    if currency != call.account.currency:
        empty = dict.fromkeys(
            ("accountEquity", "unrealisedPNL", "marginBalance", "positionMargin", "orderMargin",
             "frozenFunds", "availableBalance", "riskRatio", "maxWithdrawAmount"), 0,
        )
        return empty | {"currency": currency}
    return shapes.overview_json(call.account, call.exchange.ledger)


async def ledger_entries(call: Call) -> Any:
    size = call.integer("maxCount", 50)
    rows = list(reversed(call.account.ledger))
    return {"dataList": rows[:size], "hasMore": len(rows) > size}


async def trade_fees(call: Call) -> Any:
    known = call.exchange.market.contract(call.required("symbol"))
    return {
        "symbol": known.symbol, "takerFeeRate": text(known.taker_fee_rate),
        "makerFeeRate": text(known.maker_fee_rate),
    }


async def positions(call: Call) -> Any:
    currency = call.query.get("currency")
    account, ledger = call.account, call.exchange.ledger
    return [
        shapes.position_json(account, p, ledger) for p in account.open_positions()
        if currency in (None, "", ledger.market.contract(p.symbol).settle)
    ]


async def position(call: Call) -> Any:
    symbol = call.symbol()
    account = call.account
    held = account.positions.get(symbol) or Position(
        id="0", symbol=symbol, margin_mode=account.margin_mode(symbol)
    )
    return shapes.position_json(account, held, call.exchange.ledger)


async def closed_positions(call: Call) -> Any:
    symbol = call.query.get("symbol")
    start, end = call.integer("from", 0), call.integer("to", 2**63)
    rows = [
        shapes.closed_position_json(call.account, c) for c in reversed(call.account.closed_positions)
        if symbol in (None, "", c["symbol"]) and start <= c["closeTime"] <= end
    ]
    call.query |= {
        "pageSize": str(call.integer("limit", 10)), "currentPage": str(call.integer("pageId", 1))
    }
    return page(rows, call)


async def margin_mode(call: Call) -> Any:
    symbol = call.symbol()
    return {"symbol": symbol, "marginMode": call.account.margin_mode(symbol)}


async def change_margin_mode(call: Call) -> Any:
    symbol = _contract_of(call)
    mode = call.body.get("marginMode")
    if mode not in ("ISOLATED", "CROSS"):
        raise refusals.parameter("marginMode is illegal")
    account = call.account
    if mode != account.margin_mode(symbol):
        busy = account.position_qty(symbol) or any(o.symbol == symbol for o in account.live_orders())
        if busy:
            raise refusals.margin_mode_in_use()
        account.margin_modes[symbol] = mode
        if symbol in account.positions:
            account.positions[symbol].margin_mode = mode
        _note(call, symbol, margin_mode=mode)
    return {"symbol": symbol, "marginMode": mode}


async def cross_leverage(call: Call) -> Any:
    symbol = call.symbol()
    return {"symbol": symbol, "leverage": text(call.account.leverage_for_cross(symbol))}


async def change_cross_leverage(call: Call) -> Any:
    symbol = _contract_of(call)
    leverage = _number(call.body.get("leverage"))
    highest = call.exchange.market.contract(symbol).max_leverage
    if leverage < 1:
        raise refusals.parameter("leverage is illegal")
    if leverage > highest:
        raise refusals.leverage_too_high(highest)
    call.account.cross_leverage[symbol] = leverage
    held = call.account.positions.get(symbol)
    if held and held.margin_mode == "CROSS":
        held.leverage = leverage
    _note(call, symbol, leverage=text(leverage))
    return True


async def max_open_size(call: Call) -> Any:
    symbol = call.symbol()
    known = call.exchange.market.contract(symbol)
    price, leverage = _number(call.required("price")), _number(call.required("leverage"))
    if price <= 0 or leverage <= 0:
        raise refusals.parameter("price and leverage must be positive")
    per_lot = price * known.multiplier * (1 / leverage + known.taker_fee_rate * 2)
    available = max(ZERO, call.exchange.ledger.available(call.account))
    lots = min(int((available / per_lot).to_integral_value(ROUND_FLOOR)), known.max_order_qty)
    return {"symbol": symbol, "maxBuyOpenSize": lots, "maxSellOpenSize": lots}


async def position_mode(call: Call) -> Any:
    """One-way only: the exchange refuses to switch."""
    return {"positionMode": "0"}


async def switch_position_mode(call: Call) -> Any:
    if str((call.body or {}).get("positionMode")) != "0":
        raise refusals.position_mode_differs()
    return {"positionMode": "0"}


async def funding_history(call: Call) -> Any:
    """Newest first; `offset` is the id of the last row of the page before."""
    symbol = call.query.get("symbol")
    start, end = call.integer("startAt", 0), call.integer("endAt", 2**63)
    offset = call.integer("offset", 2**63)
    size = call.integer("maxCount", 50)
    rows = [
        row | {"context": f'{{"marginMode": "{row["marginMode"]}", "positionSide": "BOTH"}}'}
        for row in reversed(call.account.funding_history)
        if symbol in (None, "", row["symbol"]) and start <= row["timePoint"] <= end and row["id"] < offset
    ]
    return {"dataList": rows[:size], "hasMore": len(rows) > size}


async def deposit_margin(call: Call) -> Any:
    """Move money from the wallet behind an isolated position."""
    symbol = _contract_of(call)
    amount = _number(call.body.get("margin"))
    held = call.account.positions.get(symbol)
    if held is None or not held.qty:
        raise refusals.nothing_to_close()
    available = call.exchange.ledger.available(call.account)
    if not 0 < amount <= available:
        raise refusals.balance_too_low(amount, available)
    held.added_margin += amount
    _note(call, symbol, added_margin=text(amount))
    call.exchange.listener.position_changed(call.account, held, "marginChange")
    shape = shapes.position_json(call.account, held, call.exchange.ledger)
    return shape | {"userId": call.account.uid}


async def risk_limits(call: Call) -> Any:
    known = call.exchange.market.contract(call.path_values["symbol"])
    return [{
        "symbol": known.symbol, "level": 1, "maxRiskLimit": int(call.exchange.rules.risk_limit),
        "minRiskLimit": 0, "maxLeverage": known.max_leverage, "initialMargin": known.initial_margin,
        "maintainMargin": known.maintain_margin,
    }]


def add_to(table: RouteTable) -> None:
    """Enter the account endpoints with weights and permissions."""
    for method, path, handler, weight, permission in (
        ("GET", "/api/v1/account-overview", overview, 5, "Futures"),
        ("GET", "/api/v1/transaction-history", ledger_entries, 2, "General"),
        ("GET", "/api/v1/trade-fees", trade_fees, 3, "General"),
        ("GET", "/api/v1/positions", positions, 2, "General"),
        ("GET", "/api/v1/position", position, 2, "General"),
        ("GET", "/api/v1/history-positions", closed_positions, 2, "General"),
        ("GET", "/api/v2/position/getMarginMode", margin_mode, 2, "Futures"),
        ("POST", "/api/v2/position/changeMarginMode", change_margin_mode, 2, "Futures"),
        ("GET", "/api/v2/getCrossUserLeverage", cross_leverage, 2, "Futures"),
        ("POST", "/api/v2/changeCrossUserLeverage", change_cross_leverage, 2, "Futures"),
        ("GET", "/api/v2/getMaxOpenSize", max_open_size, 2, "Futures"),
        ("GET", "/api/v2/position/getPositionMode", position_mode, 2, "Futures"),
        ("POST", "/api/v2/position/switchPositionMode", switch_position_mode, 2, "Futures"),
        ("GET", "/api/v1/funding-history", funding_history, 5, "Futures"),
        ("POST", "/api/v1/position/margin/deposit-margin", deposit_margin, 4, "Futures"),
        ("GET", "/api/v1/contracts/risk-limit/{symbol}", risk_limits, 5, "Futures"),
    ):
        table.add(method, path, handler, weight, "futures", permission)


def _contract_of(call: Call) -> str:
    if not isinstance(call.body, dict) or not isinstance(call.body.get("symbol"), str):
        raise refusals.parameter("symbol is required")
    return call.exchange.market.contract(call.body["symbol"]).symbol


def _number(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise refusals.parameter("not a number") from None


def _note(call: Call, symbol: str, **facts: Any) -> None:
    call.exchange.history.append(
        "account_setting", call.exchange.clock.now_ms(), user_id=call.account.user_id, symbol=symbol,
        **facts,
    )
