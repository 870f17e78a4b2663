"""Book against exchange: what differs, in words and by kind. Pure; acting on it is another's job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from trading.client_ids import parse
from trading.facts import ExchangePosition, Order, Position


class Kind(Enum):
    """What a difference is; docs/RECONCILIATION.md says what is concluded and done about each."""

    GONE = "gone"                       # in the book, not on the exchange
    SMALLER = "smaller"                 # the exchange has less than the book
    LARGER = "larger"                   # the exchange has more than the book
    TURNED = "turned"                   # the exchange has the other side
    FOREIGN = "foreign"                 # on the exchange, not in the book
    UNPROTECTED = "unprotected"         # a position whose stop does not rest on the exchange
    ORPHAN_STOP = "orphan_stop"         # a stop of RAD's without a position, or one too many
    STRAY_ORDER = "stray_order"         # an active order of RAD's that nothing in the book explains
    MISSING_FILL = "missing_fill"       # traded on the exchange under an order of ours, not booked
    PHANTOM_FILL = "phantom_fill"       # booked, but the exchange does not list it
    UNSETTLED = "unsettled"             # an entry that was under way when RAD ended, and did something
    FEE = "fee"                         # the trades' fees are not what their fills cost
    REALISED_PNL = "realised_pnl"       # the trades' profit is not what their fills come to
    FUNDING = "funding"                 # a trade's funding is not what the exchange lists for its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One disagreement between book and exchange."""

    kind: Kind
    symbol: str
    book: str
    exchange: str
    order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeView:
    """One whole look at the exchange: never made from a partial or failed answer."""

    positions: tuple[ExchangePosition, ...]
    open_orders: tuple[Order, ...]
    stop_orders: tuple[Order, ...]


def compare(
    book: Iterable[Position], view: ExchangeView, *, reserved: Iterable[str] = (), protect: bool = True
) -> tuple[Difference, ...]:
    """Return every difference, the dangerous kinds first.

    *reserved*: symbols with an entry or exit under way; nothing is concluded about those.
    """
    reserved = set(reserved)
    ours = {position.symbol: position for position in book}
    theirs = {position.symbol: position for position in view.positions}
    differences: list[Difference] = []
    for symbol in sorted((ours.keys() | theirs.keys()) - reserved):
        difference = compare_one(symbol, ours.get(symbol), theirs.get(symbol))
        if difference is not None:
            differences.append(difference)
    over = {d.symbol for d in differences if d.kind in (Kind.GONE, Kind.TURNED)}
    if protect:
        differences += _unprotected(ours, view.stop_orders, reserved | over)
    differences += _left_over(ours, view, reserved)
    return tuple(differences)


def compare_one(
    symbol: str, ours: Position | None, theirs: ExchangePosition | None
) -> Difference | None:
    """Return how book and exchange differ in one symbol's position; None if they agree."""
    if ours is None and theirs is not None:
        kind = Kind.FOREIGN
    elif ours is not None and theirs is None:
        kind = Kind.GONE
    elif ours is None or theirs is None:
        return None
    elif ours.side is not theirs.side:
        kind = Kind.TURNED
    elif theirs.quantity < ours.quantity:
        kind = Kind.SMALLER
    elif theirs.quantity > ours.quantity:
        kind = Kind.LARGER
    else:
        return None
    return Difference(kind=kind, symbol=symbol, book=_size(ours), exchange=_size(theirs))


def _unprotected(
    ours: dict[str, Position], stops: tuple[Order, ...], skip: set[str]
) -> list[Difference]:
    resting = {(stop.symbol, stop.client_oid) for stop in stops if stop.is_active}
    return [
        Difference(
            kind=Kind.UNPROTECTED,
            symbol=symbol,
            book=str(position.protective_stop.stop_price) if position.protective_stop else "none",
            exchange="none",
        )
        for symbol, position in ours.items()
        if symbol not in skip
        and (position.protective_stop is None
             or (symbol, position.protective_stop.client_oid) not in resting)
    ]


def _left_over(ours: dict[str, Position], view: ExchangeView, reserved: set[str]) -> list[Difference]:
    """Stops and orders of RAD's that no position accounts for; other people's are not ours to judge."""
    found = []
    for order in view.stop_orders + view.open_orders:
        client_oid = parse(order.client_oid)
        if client_oid is None or order.symbol in reserved:
            continue
        position = ours.get(order.symbol)
        stop = position.protective_stop if position else None
        if stop is not None and stop.client_oid == order.client_oid:
            continue
        found.append(Difference(
            kind=Kind.ORPHAN_STOP if order.is_stop else Kind.STRAY_ORDER,
            symbol=order.symbol,
            book="none",
            exchange=f"{order.side.value} stop at {order.stop_price}" if order.is_stop else order.side.value,
            order_id=order.order_id,
        ))
    return found


def _size(position: Position | ExchangePosition | None) -> str:
    if position is None:
        return "none"
    return f"{position.side.value} {plain(position.quantity)} at {plain(position.entry_price)}"


def plain(number: Decimal) -> str:
    """Return *number* without exponent and without zeros at its end."""
    return f"{number.normalize():f}"
