"""Journal against exchange, side by side: positions, orders, stops and fills."""

from __future__ import annotations

from typing import Any

from control.views import verify_view
from daemon.house import House
from trading.facts import Fill
from trading.lifecycle import PositionState
from trading.reconciliation import Difference, ExchangeView, Kind, compare

DAY_MS = 86_400_000
FILL_GRACE_MS = 5_000          # a fill this young may still be on its way into the journal


def verify_once(house: House) -> dict[str, Any]:
    """Compare the journal with one whole look at the exchange.

    Raises:
        ExchangeError: the exchange could not be read: nothing is said about agreement.
    """
    view: ExchangeView = house.reconciler.look()
    fills = house.client.fetch_recent_fills()
    positions = house.journal.open_positions()
    busy = house.manager.busy_symbols() | {
        position.symbol for position in positions if position.state is not PositionState.OPEN
    }
    found = compare(positions, view, reserved=busy, protect=house.settings.protect.enabled)
    found += _fill_differences(house, fills, busy)
    return verify_view([_view(difference) for difference in found], house.clock.now_ms())


def _fill_differences(house: House, fills: tuple[Fill, ...], busy: frozenset[str]) -> tuple[Difference, ...]:
    """Compare the fills of RAD's own orders over what KuCoin lists: the last 24 hours."""
    now_ms = house.clock.now_ms()
    ours = house.journal.client_oids()
    booked = house.journal.booked_fills(now_ms - DAY_MS)
    listed = {(fill.symbol, fill.trade_id): fill for fill in fills}
    missing = [
        Difference(
            kind=Kind.MISSING_FILL, symbol=fill.symbol, book="none",
            exchange=f"{fill.side.value} {fill.quantity} at {fill.price}", order_id=fill.order_id,
        )
        for key, fill in listed.items()
        if key not in booked and fill.order_id in ours
        and fill.symbol not in busy and now_ms - fill.ts_ms > FILL_GRACE_MS
    ]
    phantom = [
        Difference(
            kind=Kind.PHANTOM_FILL, symbol=fill.symbol, book=f"{fill.side.value} {fill.quantity} at {fill.price}",
            exchange="none", order_id=fill.order_id,
        )
        for key, fill in booked.items()
        if key not in listed and fill.ts_ms > now_ms - DAY_MS + 60_000
    ]
    return tuple(missing + phantom)


def _view(difference: Difference) -> dict[str, Any]:
    return {
        "kind": difference.kind.value,
        "symbol": difference.symbol,
        "book": difference.book,
        "exchange": difference.exchange,
        "order_id": difference.order_id,
        "text": f"{difference.symbol}: journal {difference.book}, exchange {difference.exchange}"
                f" ({difference.kind.value.replace('_', ' ')})",
    }
