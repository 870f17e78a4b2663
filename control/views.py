"""Facts as the JSON the outside sees: money as decimal strings, times as ISO 8601 UTC.

Pure functions. The daemon answers with them, and the console when it reads the journal itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trading.facts import ClosedTrade, Opportunity, Order, Position, Price

JsonObject = dict[str, Any]

# Averages of fills carry 28 digits; no price, quantity or fee of KuCoin has more than this.
_FINEST = Decimal("1e-12")
_RATIO = Decimal("0.0001")


def amount(value: Decimal | None) -> str | None:
    """Return a decimal string without exponent, trailing zeros or more than 12 decimals."""
    if value is None:
        return None
    if value.as_tuple().exponent < _FINEST.as_tuple().exponent:   # type: ignore[operator]
        value = value.quantize(_FINEST, ROUND_HALF_EVEN)
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def ratio(value: Decimal | float | None) -> str | None:
    """Return a pure number (an R multiple, a fraction) as a decimal string with four decimals at most."""
    if value is None:
        return None
    return amount(Decimal(str(value)).quantize(_RATIO, ROUND_HALF_EVEN))


def moment(ms: int | None) -> str | None:
    """Return milliseconds since 1970 as ISO 8601 UTC; None for None and for 0, which means unknown."""
    if not ms:
        return None
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03d}Z"


def in_ms(count: int, **seconds: float | None) -> JsonObject:
    """Return figures of *count* times in milliseconds, under the names they are given with."""
    return {"count": count, **{
        name: None if figure is None else round(figure * 1000, 3) for name, figure in seconds.items()
    }}


def status_view(
    *,
    state: str,
    mode: str,
    market: str,
    version: str,
    equity: Decimal | None,
    positions: int,
    protected: int,
    rate: JsonObject | None = None,
    exit_latency_ms: JsonObject | None = None,
    protection_gap_ms: JsonObject | None = None,
    problems: Sequence[str] = (),
    **more: Any,
) -> JsonObject:
    """Return what `status` says; *positions* and *protected* are counts, *problems* sentences.

    *protection_gap_ms*: for how long positions had no stop on the exchange; None before the first gap.
    """
    return {
        "state": state,
        "mode": mode,
        "market": market,
        "version": version,
        "equity": amount(equity),
        "positions": positions,
        "protected": protected,
        "rate": rate or {},
        "exit_latency_ms": exit_latency_ms or {},
        "protection_gap_ms": protection_gap_ms,
        "problems": list(problems),
        **more,
    }


def position_view(position: Position, price: Decimal | None) -> JsonObject:
    """Return one position valued at *price*; without a price, what depends on it is null."""
    stop = position.protective_stop
    return {
        "symbol": position.symbol,
        "side": position.side.value,
        "state": position.state.value,
        "quantity": amount(position.quantity),
        "base_qty": amount(position.base_qty),
        "entry_price": amount(position.entry_price),
        "price": amount(price),
        "notional": None if price is None else amount(position.notional(price)),
        "stop_price": amount(position.stop_price),
        "stop_reason": position.stop_reason.value,
        "exchange_stop_price": None if stop is None else amount(stop.stop_price),
        "protected": stop is not None,
        "unrealised_pnl": None if price is None else amount(position.unrealised_pnl(price)),
        "realised_pnl": amount(position.realised_pnl),
        "fee": amount(position.fee),
        "r_multiple": None if price is None else ratio(position.r_multiple(price)),
        "opened_at": moment(position.opened_ms),
        "leverage": amount(position.leverage),
        "strategy": position.strategy,
        "reasons": list(position.reasons),
        "position_id": position.position_id,
    }


def held_view(position: Position, price: Price | None, monotonic: float) -> JsonObject:
    """Return one position at the latest price there is, and how old that is; null without one."""
    return {
        **position_view(position, None if price is None else price.mark),
        "price_age_s": None if price is None else round(price.age_s(monotonic), 1),
    }


def trade_view(trade: ClosedTrade) -> JsonObject:
    """Return one closed trade; *realised_pnl* is after fees and funding, or before it while that is null."""
    return {
        "symbol": trade.symbol,
        "side": trade.side.value,
        "quantity": amount(trade.quantity),
        "entry_price": amount(trade.entry_price),
        "exit_price": amount(trade.exit_price),
        "opened_at": moment(trade.opened_ms),
        "closed_at": moment(trade.closed_ms),
        "exit_reason": trade.exit_reason.value,
        "fee": amount(trade.fee),
        "funding": amount(trade.funding) if trade.funding_known else None,
        "realised_pnl": amount(trade.realised_pnl),
        "r_multiple": ratio(trade.r_multiple),
        "strategy": trade.strategy,
        "position_id": trade.position_id,
    }


def opportunity_view(opportunity: Opportunity) -> JsonObject:
    """Return one opportunity; *spread* is a fraction, *score* goes from 0 to 1."""
    return {
        "symbol": opportunity.symbol,
        "side": opportunity.side.value,
        "score": ratio(opportunity.score),
        "price": amount(opportunity.price),
        "atr": amount(opportunity.atr),
        "spread": amount(opportunity.spread),
        "volume_24h": amount(opportunity.volume_24h),
        "candle_at": moment(opportunity.candle_ms),
        "strategy": opportunity.strategy,
        "reasons": list(opportunity.reasons),
    }


def order_view(order: Order, purpose: str = "") -> JsonObject:
    """Return one order as the exchange reports it; *purpose* is ours (entry, stop, exit)."""
    return {
        "symbol": order.symbol,
        "side": order.side.value,
        "purpose": purpose,
        "quantity": amount(order.quantity),
        "filled_quantity": amount(order.filled_quantity),
        "average_price": amount(order.average_price),
        "stop_price": amount(order.stop_price),
        "active": order.is_active,
        "reduce_only": order.reduce_only,
        "close_order": order.close_order,
        "client_oid": order.client_oid,
        "order_id": order.order_id,
        "created_at": moment(order.created_ms),
    }
