"""The spot address: the few calls ccxt makes before it trades futures, and no spot trading yet."""

from __future__ import annotations

from typing import Any

from sandbox import futures_market, shapes
from sandbox.routes import Call, RouteTable


async def account_mode(call: Call) -> Any:
    return {"selfAccountMode": call.exchange.rules.account_mode}


async def our_address(call: Call) -> Any:
    return call.remote


async def user_info(call: Call) -> Any:
    counts = ("subQuantity", "spotSubQuantity", "marginSubQuantity", "futuresSubQuantity", "optionSubQuantity",
              "maxSubQuantity", "maxDefaultSubQuantity", "maxSpotSubQuantity", "maxMarginSubQuantity",
              "maxFuturesSubQuantity", "maxOptionSubQuantity")
    return {"level": call.exchange.rules.vip_level, **dict.fromkeys(counts, 0)}


async def currencies(call: Call) -> Any:
    """Name USDT and every contract's base currency; there is no chain to withdraw over."""
    names = ["USDT", *dict.fromkeys(c.base for c in call.exchange.market.contracts())]
    return [
        {
            "currency": name, "name": name, "fullName": name, "precision": 8, "confirms": None,
            "contractAddress": None, "isMarginEnabled": False, "isDebitEnabled": False, "chains": [],
        }
        for name in names
    ]


async def symbols(call: Call) -> Any:
    return []


async def all_tickers(call: Call) -> Any:
    return {"time": call.exchange.clock.now_ms(), "ticker": []}


async def margin_symbols(call: Call) -> Any:
    return {"timestamp": call.exchange.clock.now_ms(), "items": []}


async def isolated_symbols(call: Call) -> Any:
    return []


async def hf_opened(call: Call) -> Any:
    return True


async def accounts(call: Call) -> Any:
    """A high-frequency user's account is called trade_hf; all the play money is on futures."""
    account = call.account
    kind = call.query.get("type") or "trade_hf"
    return [{
        "id": str(account.uid), "currency": account.currency, "type": kind, "balance": "0",
        "available": "0", "holds": "0",
    }]


async def api_key(call: Call) -> Any:
    key = call.key
    assert key is not None
    shape: shapes.Json = {
        "remark": "sandbox", "apiKey": key.key, "apiVersion": key.version,
        "permission": ",".join(key.permissions), "createdAt": key.created_ms, "uid": call.account.uid,
        "isMaster": not key.sub_name,
    }
    optional = {"ipWhitelist": key.ip_whitelist, "subName": key.sub_name}
    return shape | {name: value for name, value in optional.items() if value}


def spot_table() -> RouteTable:
    """Return the spot routes, so far only what a futures client asks of them."""
    table = RouteTable()
    for path, handler, weight in (
        ("/api/v3/currencies", currencies, 3),
        ("/api/v2/symbols", symbols, 4),
        ("/api/v1/market/allTickers", all_tickers, 15),
        ("/api/v1/timestamp", futures_market.timestamp, 3),
        ("/api/v1/status", futures_market.status, 3),
        ("/api/v1/my-ip", our_address, 0),
    ):
        table.add("GET", path, handler, weight, "public")
    for method, path, handler, weight, pool in (
        ("GET", "/api/ua/v1/account/mode", account_mode, 30, "management"),
        ("GET", "/api/v3/margin/symbols", margin_symbols, 3, "spot"),
        ("GET", "/api/v1/isolated/symbols", isolated_symbols, 3, "spot"),
        ("GET", "/api/v1/hf/accounts/opened", hf_opened, 30, "spot"),
        ("GET", "/api/v1/accounts", accounts, 5, "management"),
        ("GET", "/api/v1/user/api-key", api_key, 20, "management"),
        ("GET", "/api/v2/user-info", user_info, 20, "management"),
        ("POST", "/api/v1/bullet-private", futures_market.bullet_private, 10, "spot"),
        ("POST", "/api/v2/bullet-private", futures_market.bullet_private, 10, "spot"),
    ):
        table.add(method, path, handler, weight, pool, "General")
    table.add("POST", "/api/v1/bullet-public", futures_market.bullet_public, 10, "public")
    return table


def futures_table() -> RouteTable:
    """Return every futures route."""
    from sandbox import futures_account, futures_orders

    table = RouteTable()
    futures_account.add_to(table)        # risk-limit/{symbol} and its like come before the wider patterns
    futures_market.add_to(table)
    futures_orders.add_to(table)
    return table
