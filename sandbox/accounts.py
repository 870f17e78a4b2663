"""Who trades here: their keys, their wallet, their positions and their orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sandbox.orders import ZERO, Fill, Order
from sandbox.positions import Position

ALL_PERMISSIONS = ("General", "Futures")
KEPT_ORDERS = 20_000
KEPT_FILLS = 50_000


@dataclass(slots=True, kw_only=True)
class ApiKey:
    """One key pair of a user."""

    key: str
    secret: str
    passphrase: str
    user_id: str
    permissions: tuple[str, ...] = ALL_PERMISSIONS
    version: int = 3
    created_ms: int = 1_728_443_843_000
    ip_whitelist: str | None = None        # addresses with commas; the key works from these alone
    sub_name: str = ""                     # of a sub-account's key


@dataclass(slots=True, kw_only=True)
class Account:
    """One user's futures account in one settlement currency."""

    user_id: str
    uid: int
    currency: str = "USDT"
    wallet: Decimal = ZERO                                        # cash: realised profit is in it
    positions: dict[str, Position] = field(default_factory=dict)
    margin_modes: dict[str, str] = field(default_factory=dict)    # symbol -> ISOLATED / CROSS
    cross_leverage: dict[str, Decimal] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)        # by id, oldest first
    active: dict[str, Order] = field(default_factory=dict)        # in the book or on their way to it
    stops: dict[str, Order] = field(default_factory=dict)         # waiting for their trigger
    fills: deque[Fill] = field(default_factory=lambda: deque(maxlen=KEPT_FILLS))
    funding_history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))
    closed_positions: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))
    ledger: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))

    def margin_mode(self, symbol: str) -> str:
        return self.margin_modes.get(symbol, "ISOLATED")

    def leverage_for_cross(self, symbol: str) -> Decimal:
        return self.cross_leverage.get(symbol, Decimal(3))

    def position_qty(self, symbol: str) -> int:
        position = self.positions.get(symbol)
        return position.qty if position else 0

    def open_positions(self) -> Iterator[Position]:
        return (position for position in self.positions.values() if position.qty)

    def remember(self, order: Order) -> None:
        """File a new order; the oldest done one is forgotten beyond KEPT_ORDERS."""
        self.orders[order.id] = order
        (self.stops if order.is_waiting_stop else self.active)[order.id] = order
        if len(self.orders) > KEPT_ORDERS:
            for old in self.orders.values():
                if not old.active:
                    del self.orders[old.id]
                    break

    def retire(self, order: Order) -> None:
        """Take a done order off the lists of live ones."""
        self.active.pop(order.id, None)
        self.stops.pop(order.id, None)

    def live_orders(self) -> Iterator[Order]:
        """Yield every order that can still act, waiting stops included."""
        yield from self.active.values()
        yield from self.stops.values()

    def by_client_oid(self, client_oid: str) -> Order | None:
        """Return the newest order with this id: the ids are unique among live orders only."""
        for order in reversed(self.orders.values()):
            if order.client_oid == client_oid:
                return order
        return None

    def order_margin(self, margin_mode: str | None = None) -> Decimal:
        """Return what resting orders hold, of one margin mode when given."""
        return sum(
            (o.hold for o in self.active.values() if margin_mode in (None, o.margin_mode)), start=ZERO
        )
