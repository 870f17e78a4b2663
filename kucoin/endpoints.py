"""The calls RAD makes, with the pool and weight KuCoin books them to. Source: its API reference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PUBLIC, FUTURES, MANAGEMENT, SPOT = "public", "futures", "management", "spot"


class Effect(Enum):
    """What a request may have done by the time its answer is lost."""

    NONE = "none"              # or nothing that asking again would not mend
    PLACES = "places"
    CANCELS = "cancels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call: ccxt's name for it, what it costs, and what it may do."""

    method: str                # ccxt's implicit method
    pool: str
    weight: int
    effect: Effect = Effect.NONE
    exact: bool = True         # numbers as Decimal; candles are for indicators, and there are many
    fields: frozenset[str] | None = None       # of each row, what RAD reads; the rest is not kept for a moment


def _public(method: str, weight: int, *, exact: bool = True) -> Endpoint:
    return Endpoint(method=f"futuresPublic{method}", pool=PUBLIC, weight=weight, exact=exact)


def _private(method: str, weight: int, effect: Effect = Effect.NONE) -> Endpoint:
    return Endpoint(method=f"futuresPrivate{method}", pool=FUTURES, weight=weight, effect=effect)


# Sixty fields each, for hundreds of contracts, twice a minute: kept whole they set the peak of RAD's memory;
# so do the fills of a day, at each comparison and each exit.
CONTRACTS = Endpoint(method="futuresPublicGetContractsActive", pool=PUBLIC, weight=3, fields=frozenset({
    "symbol", "type", "status", "isInverse", "baseCurrency", "quoteCurrency", "settleCurrency", "multiplier",
    "lotSize", "tickSize", "maxOrderQty", "maxLeverage", "makerFeeRate", "takerFeeRate", "firstOpenDate",
    "markPrice", "turnoverOf24h",
}))
CONTRACT = _public("GetContractsSymbol", 3)
TICKERS = _public("GetAllTickers", 5)
CANDLES = _public("GetKlineQuery", 3, exact=False)
SERVER_TIME = _public("GetTimestamp", 2)

ACCOUNT = _private("GetAccountOverview", 5)
POSITIONS = _private("GetPositions", 2)
OPEN_ORDERS = _private("GetOrders", 2)
STOP_ORDERS = _private("GetStopOrders", 6)
ORDER = _private("GetOrdersOrderId", 5)
ORDER_BY_CLIENT_OID = _private("GetOrdersByClientOid", 5)
RECENT_FILLS = Endpoint(method="futuresPrivateGetRecentFills", pool=FUTURES, weight=3, fields=frozenset({
    "tradeId", "orderId", "symbol", "side", "size", "price", "fee", "tradeTime", "tradeType",
}))
FILLS = _private("GetFills", 5)
FUNDING = _private("GetFundingHistory", 5)
MARGIN_MODE = _private("GetPositionGetMarginMode", 2)
CHANGE_MARGIN_MODE = _private("PostPositionChangeMarginMode", 2)
CROSS_LEVERAGE = _private("PostChangeCrossUserLeverage", 2)
PLACE = _private("PostOrders", 2, Effect.PLACES)
CANCEL = _private("DeleteOrdersOrderId", 1, Effect.CANCELS)

PUBLIC_TOKEN = _public("PostBulletPublic", 10)
PRIVATE_TOKEN = _private("PostBulletPrivate", 10)
STATUS = _public("GetStatus", 4)

# At the spot address, which is also that of the account.
API_KEY = Endpoint(method="privateGetUserApiKey", pool=MANAGEMENT, weight=20)
USER = Endpoint(method="privateGetUserInfo", pool=MANAGEMENT, weight=20)
ACCOUNT_MODE = Endpoint(method="utaPrivateGetAccountMode", pool=MANAGEMENT, weight=30)
SPOT_TIME = Endpoint(method="publicGetTimestamp", pool=PUBLIC, weight=3)
OUR_ADDRESS = Endpoint(method="publicGetMyIp", pool=PUBLIC, weight=1)     # KuCoin says 0
