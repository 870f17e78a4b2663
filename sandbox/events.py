"""What the engine tells whoever listens: the WebSocket side pushes it to clients."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from sandbox.accounts import Account
from sandbox.orders import Fill, Order
from sandbox.positions import Position


class Listener(Protocol):
    """Called by the engine inside the event loop; must return at once."""

    def order_changed(self, account: Account, order: Order, change: str, fill: Fill | None = None) -> None:
        """*change* is KuCoin's word: open, match, update, filled, canceled."""

    def stop_changed(self, account: Account, order: Order, change: str) -> None:
        """*change* is open, triggered or cancel."""

    def position_changed(self, account: Account, position: Position, reason: str) -> None: ...

    def wallet_changed(self, account: Account) -> None: ...

    def funding_settled(
        self, account: Account, position: Position, *, rate: Decimal, mark: Decimal, payment: Decimal
    ) -> None: ...


class Deaf:
    """A listener for an exchange nobody is connected to."""

    def order_changed(self, account: Account, order: Order, change: str, fill: Fill | None = None) -> None:
        pass

    def stop_changed(self, account: Account, order: Order, change: str) -> None:
        pass

    def position_changed(self, account: Account, position: Position, reason: str) -> None:
        pass

    def wallet_changed(self, account: Account) -> None:
        pass

    def funding_settled(
        self, account: Account, position: Position, *, rate: Decimal, mark: Decimal, payment: Decimal
    ) -> None:
        pass
