"""The calls RAD makes, with the pool and weight KuCoin books them to. Source: its API reference."""

from __future__ import annotations

from dataclasses import dataclass

PUBLIC, FUTURES, SPOT, MANAGEMENT = "public", "futures", "spot", "management"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call: ccxt's name for it, what it costs, and whether it can change anything."""

    method: str                # ccxt's implicit method
    pool: str
    weight: int
    changes: bool = False      # an order or a cancel: unanswered means it may have happened


def _public(method: str, weight: int) -> Endpoint:
    return Endpoint(method=f"futuresPublic{method}", pool=PUBLIC, weight=weight)


def _private(method: str, weight: int, *, changes: bool = False) -> Endpoint:
    return Endpoint(method=f"futuresPrivate{method}", pool=FUTURES, weight=weight, changes=changes)


CONTRACTS = _public("GetContractsActive", 3)
TICKERS = _public("GetAllTickers", 5)
CANDLES = _public("GetKlineQuery", 3)
SERVER_TIME = _public("GetTimestamp", 2)

ACCOUNT = _private("GetAccountOverview", 5)
POSITIONS = _private("GetPositions", 2)
OPEN_ORDERS = _private("GetOrders", 2)
STOP_ORDERS = _private("GetStopOrders", 6)
ORDER = _private("GetOrdersOrderId", 5)
ORDER_BY_CLIENT_OID = _private("GetOrdersByClientOid", 5)
RECENT_FILLS = _private("GetRecentFills", 3)
FILLS = _private("GetFills", 5)
FUNDING = _private("GetFundingHistory", 5)
MARGIN_MODE = _private("GetPositionGetMarginMode", 2)
CHANGE_MARGIN_MODE = _private("PostPositionChangeMarginMode", 2)
PLACE = _private("PostOrders", 2, changes=True)
CANCEL = _private("DeleteOrdersOrderId", 1, changes=True)

KEY_INFO = Endpoint(method="privateGetUserApiKey", pool=MANAGEMENT, weight=20)
LOAD_MARKETS_WEIGHT = 3 + 4 + 15 + 3   # currencies, symbols, allTickers, contracts/active
