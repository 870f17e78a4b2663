"""Facts as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.views import (
    amount,
    in_ms,
    moment,
    opportunity_view,
    position_view,
    ratio,
    status_view,
    trade_view,
)
from trading.facts import ClosedTrade, ExitReason, Opportunity, Position, ProtectiveStop, Side
from trading.lifecycle import PositionState

D = Decimal
FIXED_POSITION = {
    "symbol", "side", "quantity", "base_qty", "entry_price", "price", "stop_price", "exchange_stop_price",
    "protected", "unrealised_pnl", "r_multiple", "opened_at",
}
FIXED_TRADE = {
    "symbol", "side", "quantity", "entry_price", "exit_price", "opened_at", "closed_at", "exit_reason",
    "fee", "funding", "realised_pnl", "r_multiple",
}
FIXED_STATUS = {
    "state", "mode", "market", "version", "equity", "positions", "protected", "rate", "exit_latency_ms",
    "protection_gap_ms", "problems",
}


def a_position(**changes: Any) -> Position:
    usual = Position(
        position_id="p1", symbol="BTC/USDT:USDT", side=Side.SHORT, state=PositionState.OPEN, quantity=D(10),
        initial_quantity=D(10), multiplier=D("0.001"), entry_price=D(50000), initial_stop_price=D(50400),
        stop_price=D("50400.0"), stop_reason=ExitReason.STOP_LOSS, best_price=D(50000), atr=D(200),
        opened_ms=1_767_323_045_678, protective_stop=None, reasons=("EMA falls",),
    )
    return replace(usual, **changes)


def a_stop() -> ProtectiveStop:
    return ProtectiveStop(client_oid="rad-1", order_id="1", stop_price=D("50400.10"), confirmed_ms=1)


def test_position_view_has_the_fixed_shape() -> None:
    """A short that fell by half its risk is worth half an R, in decimal strings."""
    view = position_view(a_position(protective_stop=a_stop()), D(49800))
    assert set(view) >= FIXED_POSITION
    assert json.loads(json.dumps(view)) == view
    assert view["base_qty"] == "0.01"              # 10 lots × 0.001
    assert view["unrealised_pnl"] == "2"           # (50000 − 49800) × 0.01
    assert view["r_multiple"] == "0.5"             # 200 of 400
    assert view["stop_price"] == "50400"
    assert view["exchange_stop_price"] == "50400.1"
    assert view["protected"] is True
    assert view["opened_at"] == "2026-01-02T03:04:05.678Z"


def test_unknown_price_is_null_not_zero() -> None:
    """Without a price nothing is made up, and without a confirmed stop nothing is protected."""
    view = position_view(a_position(), None)
    assert (view["price"], view["unrealised_pnl"], view["r_multiple"]) == (None, None, None)
    assert (view["protected"], view["exchange_stop_price"]) == (False, None)


def test_trade_view_has_the_fixed_shape() -> None:
    """An average exit price of 28 digits is told with 12 decimals."""
    trade = ClosedTrade(
        position_id="p1", symbol="X", side=Side.LONG, quantity=D(3), entry_price=D(1),
        exit_price=D(10) / D(3), opened_ms=1000, closed_ms=61_000, exit_reason=ExitReason.TRAILING_STOP,
        fee=D("0.00600"), funding=D("-0.1"), realised_pnl=D("6.9"), r_multiple=D(7) / D(3),
    )
    view = trade_view(trade)
    assert set(view) >= FIXED_TRADE
    assert view["exit_price"] == "3.333333333333"
    assert (view["fee"], view["funding"], view["r_multiple"]) == ("0.006", "-0.1", "2.3333")
    assert view["exit_reason"] == "trailing_stop"
    assert view["closed_at"] == "1970-01-01T00:01:01.000Z"
    assert trade_view(replace(trade, funding=D(0), funding_known=False))["funding"] is None      # and not 0


def test_opportunity_and_status_views() -> None:
    """Scores and equity are decimal strings too; more fields may be given."""
    opportunity = opportunity_view(
        Opportunity(symbol="X", side=Side.LONG, score=0.123456, price=D("1E-8"), atr=D(0), spread=D("0.0001"),
                    volume_24h=D("1E+6"), candle_ms=0, strategy="trend", reasons=("RSI 61",))
    )
    assert (opportunity["score"], opportunity["price"]) == ("0.1235", "0.00000001")
    assert (opportunity["volume_24h"], opportunity["candle_at"]) == ("1000000", None)
    status = status_view(state="running", mode="paper", market="futures", version="1", equity=D("10.50"),
                         positions=1, protected=1, pid=7)
    assert set(status) == FIXED_STATUS | {"pid"}
    assert status["equity"] == "10.5"


def test_status_tells_how_long_positions_had_no_stop() -> None:
    """Seconds become milliseconds; before the first gap it is null, not zero."""
    facts: dict[str, Any] = {"state": "running", "mode": "paper", "market": "futures", "version": "1",
                             "equity": None, "positions": 0, "protected": 0}
    assert status_view(**facts)["protection_gap_ms"] is None
    gaps = in_ms(2, p50=0.25, p99=0.7500004, max=None)
    assert status_view(**facts, protection_gap_ms=gaps)["protection_gap_ms"] == {
        "count": 2, "p50": 250.0, "p99": 750.0, "max": None,
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [("1E+3", "1000"), ("-0.0", "0"), ("0E-20", "0"), ("100", "100"), ("1.2300", "1.23"), ("-1E-13", "0")],
)
def test_amounts_read_as_people_write_them(value: str, told: str) -> None:
    """No exponent, no trailing zeros, no minus zero."""
    assert amount(D(value)) == told


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**12), max_value=10**12))
def test_amounts_lose_nothing(value: Decimal) -> None:
    """Any amount of up to 12 decimals comes back as it was."""
    told = amount(value)
    assert told is not None
    assert "E" not in told
    assert D(told) == value


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=4_000_000_000_000))
def test_moments_come_back(ms: int) -> None:
    """ISO times keep every millisecond."""
    from datetime import datetime

    told = moment(ms)
    assert told is not None
    assert round(datetime.fromisoformat(told).timestamp() * 1000) == ms


def test_ratio_of_nothing_is_null() -> None:
    """None stays null."""
    assert ratio(None) is None
