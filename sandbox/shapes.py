"""The engine's facts in the shape of KuCoin's futures answers: names, strings, numbers, units."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox.accounts import Account
from sandbox.ledger import Ledger
from sandbox.market.source import Candle, Contract, Quote
from sandbox.marketview import MarketView
from sandbox.orders import ZERO, Fill, Order
from sandbox.positions import PRICE, Position, money, value_of
from sandbox.wire import text

Json = dict[str, Any]


def contract_json(market: MarketView, contract: Contract, now_ms: int, funding_ms: int) -> Json:
    """Return one entry of /contracts/active."""
    q = market.quote(contract.symbol)
    return {
        "symbol": contract.symbol, "rootSymbol": contract.settle, "type": "FFWCSX",
        "firstOpenDate": contract.first_open_ms, "expireDate": None, "settleDate": None,
        "baseCurrency": contract.base, "quoteCurrency": contract.quote,
        "settleCurrency": contract.settle, "maxOrderQty": contract.max_order_qty,
        "maxPrice": contract.max_price, "lotSize": contract.lot_size, "tickSize": contract.tick_size,
        "indexPriceTickSize": contract.tick_size, "multiplier": contract.multiplier,
        "initialMargin": contract.initial_margin, "maintainMargin": contract.maintain_margin,
        "maxRiskLimit": 10_000_000, "minRiskLimit": 10_000_000, "riskStep": 50_000,
        "makerFeeRate": contract.maker_fee_rate, "takerFeeRate": contract.taker_fee_rate,
        "takerFixFee": ZERO, "makerFixFee": ZERO, "settlementFee": None, "isDeleverage": True,
        "isQuanto": True, "isInverse": False, "markMethod": "FairPrice", "fairMethod": "FundingRate",
        "fundingBaseSymbol": f".{contract.base}INT8H", "fundingQuoteSymbol": f".{contract.quote}INT8H",
        "fundingRateSymbol": f".{contract.symbol}FPI8H", "indexSymbol": f".K{contract.base}USDT",
        "settlementSymbol": "", "status": contract.status, "fundingFeeRate": q.funding_rate,
        "predictedFundingFeeRate": q.funding_rate, "fundingRateGranularity": funding_ms,
        "openInterest": "1000000", "turnoverOf24h": q.turnover_24h, "volumeOf24h": q.volume_24h,
        "markPrice": q.mark, "indexPrice": q.index, "lastTradePrice": q.last,
        "nextFundingRateTime": funding_ms - now_ms % funding_ms, "maxLeverage": contract.max_leverage,
        "sourceExchanges": ["kucoin"], "premiumsSymbol1M": f".{contract.symbol}PI",
        "premiumsSymbol8H": f".{contract.symbol}PI8H", "fundingBaseSymbol1M": f".{contract.base}INT",
        "fundingQuoteSymbol1M": f".{contract.quote}INT", "lowPrice": q.low_24h, "highPrice": q.high_24h,
        "priceChgPct": q.change_rate_24h, "priceChg": q.change_24h, "k": Decimal(490), "m": Decimal(300),
        "f": Decimal("1.3"), "mmrLimit": Decimal("0.3"), "mmrLevConstant": contract.max_leverage,
        "supportCross": True, "buyLimit": market.buy_limit(contract, q.mark),
        "sellLimit": market.sell_limit(contract, q.mark),
    }


def ticker_json(q: Quote) -> Json:
    return {
        "sequence": q.sequence, "symbol": q.symbol, "side": q.last_side, "size": q.last_size,
        "tradeId": str(q.sequence), "price": text(q.last), "bestBidPrice": text(q.bid),
        "bestBidSize": q.bid_size, "bestAskPrice": text(q.ask), "bestAskSize": q.ask_size,
        "ts": q.ts_ms * 1_000_000,
    }


def candle_text(c: Candle) -> str:
    """Return one candle as JSON: [ms, open, high, low, close, lots, turnover]."""
    return f"[{c.open_ms},{c.open},{c.high},{c.low},{c.close},{c.volume},{c.turnover}]"


def order_json(order: Order, contract: Contract) -> Json:
    """Return an order as GET /orders/{id} shows it; the lists show the same."""
    average = order.filled_value / (order.filled_size * contract.multiplier) if order.filled_size else ZERO
    value = value_of(contract, order.size, order.price) if order.price else order.filled_value
    dealt = text(money(order.filled_value))
    return {
        "id": order.id, "symbol": order.symbol, "type": order.type, "side": order.side,
        "price": text(order.price), "size": order.size, "value": text(money(value)), "dealValue": dealt,
        "dealSize": order.filled_size, "stp": order.stp, "stop": order.stop,
        "stopPriceType": order.stop_price_type, "stopTriggered": order.stop_triggered,
        "stopPrice": order.stop_price,      # a number here, a string in the list of waiting stops
        "timeInForce": order.time_in_force, "postOnly": order.post_only, "hidden": order.hidden,
        "iceberg": order.iceberg, "leverage": text(order.leverage), "forceHold": order.force_hold,
        "closeOrder": order.close_order, "visibleSize": order.visible_size, "clientOid": order.client_oid,
        "remark": order.remark, "tags": "", "isActive": order.active, "cancelExist": order.cancel_exist,
        "createdAt": order.created_ms, "updatedAt": order.updated_ms, "endAt": order.end_ms,
        "orderTime": order.order_ns, "settleCurrency": contract.settle, "marginMode": order.margin_mode,
        "avgDealPrice": text(average.quantize(PRICE)), "filledSize": order.filled_size,
        "filledValue": dealt, "status": "open" if order.active else "done",
        "reduceOnly": order.reduce_only, "positionSide": "BOTH",
    }


def fill_json(fill: Fill) -> Json:
    stop_kind = "_stop" if fill.stop else ""
    return {
        "symbol": fill.symbol, "tradeId": fill.trade_id, "orderId": fill.order_id, "side": fill.side,
        "liquidity": fill.liquidity, "forceTaker": False, "price": text(fill.price), "size": fill.size,
        "value": text(fill.value), "openFeePay": text(fill.open_fee), "closeFeePay": text(fill.close_fee),
        "stop": fill.stop, "feeRate": text(fill.fee_rate), "fixFee": "0", "feeCurrency": "USDT",
        "subTradeType": None, "marginMode": fill.margin_mode, "openFeeTaxPay": "0",
        "closeFeeTaxPay": "0", "displayType": f"{fill.order_type}{stop_kind}", "fee": text(fill.fee),
        "settleCurrency": "USDT", "orderType": fill.order_type, "tradeType": fill.trade_type,
        "tradeTime": fill.trade_ns, "createdAt": fill.trade_ns // 1_000_000, "positionSide": "BOTH",
    }


def position_json(account: Account, position: Position, ledger: Ledger) -> Json:
    """Return a position as GET /position shows it, flat ones too."""
    contract = ledger.market.contract(position.symbol)
    mark = ledger.market.mark(position.symbol)
    unrealised = position.unrealised(contract, mark)
    cross = position.margin_mode == "CROSS"
    margin = position.position_margin(contract, mark)
    entry = abs(position.cost)
    initial = money(entry / position.leverage) if cross else position.margin
    # mark and sizes are exact; ratios are rounded as KuCoin rounds them
    shape: Json = {
        "id": position.id, "symbol": position.symbol, "crossMode": cross,
        "delevPercentage": Decimal("0.5"), "openingTimestamp": position.open_ms,
        "currentTimestamp": ledger.clock.now_ms(), "currentQty": position.qty,
        "currentCost": position.cost, "currentComm": position.commission,
        "unrealisedCost": position.cost, "realisedGrossCost": -position.realised_gross,
        "realisedCost": position.commission - position.realised_gross, "isOpen": bool(position.qty),
        "markPrice": mark, "markValue": value_of(contract, position.qty, mark),
        "posCost": position.cost, "posInit": initial, "posMargin": margin,
        "posMaint": position.maintenance(contract), "realisedGrossPnl": position.realised_gross,
        "realisedPnl": position.realised, "unrealisedPnl": unrealised,
        "unrealisedPnlPcnt": _ratio(unrealised, entry), "unrealisedRoePcnt": _ratio(unrealised, initial),
        "avgEntryPrice": position.entry_price(contract),
        "liquidationPrice": _liquidation_price(account, position, ledger, contract),
        "bankruptPrice": position.bankrupt_price(contract), "settleCurrency": contract.settle,
        "isInverse": False, "marginMode": position.margin_mode, "positionSide": "BOTH",
        "leverage": position.leverage, "maintMarginReq": contract.maintain_margin,
        "riskLimit": 10_000_000, "riskLimitLevel": 1,
    }
    if not cross:
        value = abs(value_of(contract, position.qty, mark))
        shape |= {
            "autoDeposit": False, "realLeverage": _ratio(value, margin + unrealised),
            "posCross": position.added_margin, "posCrossMargin": 0,
            "posComm": position.close_fee_reserve(contract),
            "posCommCommon": position.close_fee_reserve(contract), "posLoss": ZERO,
            "posFunding": position.funding, "maintMargin": margin + unrealised,
            "maintainMargin": contract.maintain_margin,
        }
    return shape


def overview_json(account: Account, ledger: Ledger) -> Json:
    """Return /account-overview of a USDT account."""
    maintenance = sum(
        (
            p.maintenance(ledger.market.contract(p.symbol))
            for p in account.open_positions() if p.margin_mode == "CROSS"
        ),
        start=ZERO,
    )
    available = ledger.available(account)
    equity = ledger.equity(account)
    return {
        "accountEquity": equity, "unrealisedPNL": ledger.unrealised(account),
        "marginBalance": account.wallet, "positionMargin": ledger.position_margin(account),
        "orderMargin": account.order_margin(), "frozenFunds": ZERO, "availableBalance": available,
        "currency": account.currency, "riskRatio": _ratio(maintenance, equity),
        "maxWithdrawAmount": max(ZERO, available), "availableMargin": available,
    }


def wallet_json(account: Account, ledger: Ledger, version: int) -> Json:
    """Return the data of a /contractAccount/wallet push: everything in strings."""
    isolated_margin = ledger.position_margin(account, "ISOLATED")
    isolated_orders = account.order_margin("ISOLATED")
    cross_unrealised = ledger.unrealised(account, "CROSS")
    available = ledger.available(account)
    numbers = {
        "crossPosMargin": ledger.position_margin(account, "CROSS"),
        "isolatedOrderMargin": isolated_orders, "holdBalance": ZERO, "equity": ledger.equity(account),
        "availableBalance": available, "isolatedPosMargin": isolated_margin,
        "maxWithdrawAmount": max(ZERO, available), "walletBalance": account.wallet,
        "isolatedFundingFeeMargin": ZERO, "crossUnPnl": cross_unrealised,
        "totalCrossMargin": account.wallet - isolated_margin - isolated_orders + cross_unrealised,
        "isolatedUnPnl": ledger.unrealised(account, "ISOLATED"), "availableMargin": available,
        "crossOrderMargin": account.order_margin("CROSS"),
    }
    strings: Json = {name: text(value) for name, value in numbers.items()}
    return strings | {
        "version": str(version), "currency": account.currency, "timestamp": str(ledger.clock.now_ms()),
    }


def closed_position_json(account: Account, closed: Json) -> Json:
    return {
        "closeId": closed["closeId"], "userId": account.user_id, "symbol": closed["symbol"],
        "settleCurrency": "USDT", "leverage": text(closed["leverage"]), "type": closed["type"],
        "pnl": text(closed["pnl"]), "realisedGrossCost": text(-closed["gross"]),
        "realisedGrossCostNew": text(-closed["gross"]), "withdrawPnl": "0",
        "tradeFee": text(closed["fee"]), "fundingFee": text(closed["funding"]),
        "openTime": closed["openTime"], "closeTime": closed["closeTime"],
        "openPrice": text(closed["openPrice"]), "closePrice": text(closed["closePrice"]),
        "marginMode": closed["marginMode"], "tax": "0", "roe": None, "liquidAmount": None,
        "liquidPrice": None, "side": closed["side"],
    }


def _liquidation_price(
    account: Account, position: Position, ledger: Ledger, contract: Contract
) -> Decimal:
    if position.margin_mode != "CROSS" or not position.qty:
        return position.liquidation_price(contract)
    # Cross is liquidated by the account's risk; with one position this is the price where it happens.
    backing = account.wallet - ledger.position_margin(account, "ISOLATED")
    distance = (backing - position.maintenance(contract)) / (abs(position.qty) * contract.multiplier)
    price = position.entry_price(contract) - position.sign * distance
    return max(price, ZERO).quantize(PRICE)


def _ratio(part: Decimal, whole: Decimal) -> Decimal:
    return (part / whole).quantize(Decimal("0.0001")) if whole > 0 else ZERO
