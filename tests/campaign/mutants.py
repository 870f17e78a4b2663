"""RAD with one rule taken out: what the campaign is for must fail on each of these."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from execution.orders import LookUp, Rejected
from execution.protection import Protection
from kucoin.endpoints import Effect
from kucoin.wire import Wire
from runtime.journal import SqlJournal
from runtime.lease import Lease
from trading.facts import ProtectiveStop

FAR_ABOVE = Decimal(10**9)       # a long's stop up there is never worth moving: nothing corrects the mutant


def no_look_up() -> None:
    """An order without an answer is taken for one that never was."""
    def look(self: LookUp) -> Rejected:
        return Rejected(reason="mutant: taken for a no")

    LookUp.look = look  # type: ignore[method-assign,assignment]


def no_intent() -> None:
    """Entries leave without having been written down."""
    written = SqlJournal.record_intent

    def record_intent(self: SqlJournal, *arguments: Any, wait: bool, **named: Any) -> None:
        if not wait:
            written(self, *arguments, wait=wait, **named)

    SqlJournal.record_intent = record_intent  # type: ignore[method-assign]


def no_read_back() -> None:
    """A stop is taken for resting because it was accepted."""
    def read_back(self: Protection, symbol: str, client_oid: str, order_id: str) -> ProtectiveStop | None:
        return ProtectiveStop(client_oid=client_oid, order_id=order_id, stop_price=FAR_ABOVE, confirmed_ms=0)

    Protection._read_back = read_back  # type: ignore[method-assign]


def no_send_rule() -> None:
    """Orders leave however old the lease is."""
    def require(self: Lease, stamp_ms: int) -> None:
        """Anything goes."""

    Lease.require = require  # type: ignore[method-assign]


def lease_before_time() -> None:
    """The lease is looked at first and the time taken afterwards: the usual, wrong order."""
    def nonce(self: Wire) -> int:
        if self._send_rule is not None and self._asking.effect is not Effect.NONE:
            self._send_rule.require(self.milliseconds())
        return self.milliseconds() - int(self.options["timeDifference"])

    Wire.nonce = nonce  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "no_look_up": no_look_up, "no_intent": no_intent, "no_read_back": no_read_back,
    "no_send_rule": no_send_rule, "lease_before_time": lease_before_time,
}
