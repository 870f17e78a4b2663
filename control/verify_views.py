"""What `verify` says: rows with a journal side, an exchange side and a verdict; every difference explained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from control.verify_words import WORDS
from control.views import amount, moment
from trading.audit import Audit, Figure, quantity_of, value_of
from trading.client_ids import Purpose, parse
from trading.facts import ZERO, ExchangePosition, Fill, Order, Position
from trading.reconciliation import Difference, ExchangeView, Kind

if TYPE_CHECKING:
    from runtime.journal_schema import Intent

JsonObject = dict[str, Any]

AGREE, DIFFERS, UNDER_WAY, NOT_OURS = "agree", "differs", "under way", "not ours"

POSITION_KINDS = frozenset({Kind.GONE, Kind.SMALLER, Kind.LARGER, Kind.TURNED, Kind.FOREIGN, Kind.UNSETTLED})
FILL_KINDS = frozenset({Kind.MISSING_FILL, Kind.PHANTOM_FILL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both sides, and what was concluded from them."""

    compared_by: str                       # "daemon", or "console" when none runs
    checked_ms: int
    since_ms: int                          # fills, fees and profit are compared from here on
    positions: tuple[Position, ...]
    intents: tuple[Intent, ...]            # entries and exits that have not come to an end
    booked: tuple[Fill, ...]
    view: ExchangeView
    orders: tuple[Order, ...]              # active ones, and those of *intents* that were looked up
    listed: tuple[Fill, ...]               # of RAD's orders alone
    foreign_fills: int
    multipliers: Mapping[str, Decimal]
    audit: Audit
    older: int                             # lives that began before *since_ms*
    awaiting_funding: int                  # trades of these whose funding is not known yet
    differences: tuple[Difference, ...]
    under_way: Mapping[str, str]           # symbol -> what


def verify_view(compared: Compared) -> JsonObject:
    """Return the whole answer; it agrees only if there is not one difference."""
    return {
        "agree": not compared.differences,
        "differences": [_difference(each) for each in compared.differences],
        "under_way": [{"symbol": symbol, "what": what} for symbol, what in sorted(compared.under_way.items())],
        "positions": _positions(compared),
        "stops": _stops(compared),
        "orders": _orders(compared),
        "fills": _fills(compared),
        "fees": _figures(compared, compared.audit.fees, Kind.FEE),
        "realised_pnl": _figures(compared, compared.audit.realised_pnl, Kind.REALISED_PNL),
        "funding": _figures(compared, compared.audit.funding, Kind.FUNDING),
        "foreign_fills": compared.foreign_fills,
        "older_trades": compared.older,
        "awaiting_funding": compared.awaiting_funding,
        "since": moment(compared.since_ms),
        "checked_at": moment(compared.checked_ms),
        "compared_by": compared.compared_by,
    }


def _difference(difference: Difference) -> JsonObject:
    words = WORDS[difference.kind]
    return {
        "kind": difference.kind.value,
        "symbol": difference.symbol,
        "book": difference.book,
        "exchange": difference.exchange,
        "order_id": difference.order_id,
        "text": f"{difference.symbol}: journal {difference.book}, exchange {difference.exchange}"
                f" ({difference.kind.value.replace('_', ' ')})",
        "meaning": words.meaning,
        "remedy": words.remedy,
    }


def _verdict(
    compared: Compared, kinds: Iterable[Kind], symbol: str, order_id: str | None = None
) -> str:
    """Return what was concluded about *symbol*, or about one order of it."""
    wrong = any(
        each.kind in kinds and each.symbol == symbol and order_id in (None, each.order_id)
        for each in compared.differences
    )
    if wrong:
        return DIFFERS
    return UNDER_WAY if symbol in compared.under_way else AGREE


def _row(symbol: str | None, journal: Any, exchange: Any, verdict: str, **more: Any) -> JsonObject:
    return {"symbol": symbol, "journal": journal, "exchange": exchange, "verdict": verdict, **more}


def _positions(compared: Compared) -> list[JsonObject]:
    ours = {position.symbol: position for position in compared.positions}
    theirs = {position.symbol: position for position in compared.view.positions}
    return [
        _row(
            symbol, _held(ours.get(symbol)), _held(theirs.get(symbol)),
            _verdict(compared, POSITION_KINDS, symbol),
        )
        for symbol in sorted(ours.keys() | theirs.keys())
    ]


def _held(position: Position | ExchangePosition | None) -> JsonObject | None:
    if position is None:
        return None
    return {
        "side": position.side.value, "quantity": amount(position.quantity),
        "entry_price": amount(position.entry_price),
    }


def _stops(compared: Compared) -> list[JsonObject]:
    """One row for each position of RAD's, then one for every other stop that rests."""
    resting = {(stop.symbol, stop.client_oid): stop for stop in compared.view.stop_orders}
    rows = []
    for position in sorted(compared.positions, key=lambda each: each.symbol):
        stop = position.protective_stop
        theirs = None if stop is None else resting.pop((position.symbol, stop.client_oid), None)
        journal = None if stop is None else {
            "client_oid": stop.client_oid, "order_id": stop.order_id, "stop_price": amount(stop.stop_price),
        }
        verdict = _verdict(compared, {Kind.UNPROTECTED}, position.symbol)
        rows.append(_row(position.symbol, journal, _resting(theirs), verdict))
    for (symbol, client_oid), stop_order in sorted(resting.items()):
        verdict = _verdict(compared, {Kind.ORPHAN_STOP}, symbol, stop_order.order_id)
        if parse(client_oid) is None:
            verdict = NOT_OURS
        rows.append(_row(symbol, None, _resting(stop_order), verdict))
    return rows


def _resting(stop: Order | None) -> JsonObject | None:
    if stop is None:
        return None
    return {
        "client_oid": stop.client_oid, "order_id": stop.order_id, "stop_price": amount(stop.stop_price),
        "side": stop.side.value, "close_order": stop.close_order,
    }


def _orders(compared: Compared) -> list[JsonObject]:
    """One row for each order the journal has not seen the end of, then one for every other active order."""
    theirs = {order.client_oid or order.order_id: order for order in compared.orders}
    rows = []
    for intent in compared.intents:
        order = theirs.pop(intent.client_oid, None)
        journal = {
            "client_oid": intent.client_oid, "purpose": Purpose(intent.purpose).name.lower(),
            "state": intent.state.value, "side": intent.request.side.value,
            "quantity": amount(intent.request.quantity), "created_at": moment(intent.created_ms),
        }
        kinds = {Kind.STRAY_ORDER, Kind.UNSETTLED}
        verdict = _verdict(compared, kinds, intent.symbol, "-" if order is None else order.order_id)
        # Nothing came of it, or what came of it shows in the positions: it has merely not been settled.
        rows.append(_row(intent.symbol, journal, _active(order), UNDER_WAY if verdict == AGREE else verdict))
    for order in theirs.values():
        verdict = _verdict(compared, {Kind.STRAY_ORDER, Kind.UNSETTLED}, order.symbol, order.order_id)
        if parse(order.client_oid) is None:
            verdict = NOT_OURS
        rows.append(_row(order.symbol, None, _active(order), verdict))
    return rows


def _active(order: Order | None) -> JsonObject | None:
    if order is None:
        return None
    return {
        "client_oid": order.client_oid, "order_id": order.order_id, "side": order.side.value,
        "quantity": amount(order.quantity), "filled_quantity": amount(order.filled_quantity),
        "active": order.is_active,
    }


def _fills(compared: Compared) -> list[JsonObject]:
    """One row for each symbol, and the total."""
    ours, theirs = _by_symbol(compared.booked), _by_symbol(compared.listed)
    rows = [
        _row(
            symbol,
            _traded(ours[symbol], compared.multipliers.get(symbol)),
            _traded(theirs[symbol], compared.multipliers.get(symbol)),
            _verdict(compared, FILL_KINDS, symbol),
        )
        for symbol in sorted(ours.keys() | theirs.keys())
    ]
    if rows:
        rows.append(_row(None, _total(rows, "journal"), _total(rows, "exchange"), _worst(rows)))
    return rows


def _by_symbol(fills: Iterable[Fill]) -> defaultdict[str, list[Fill]]:
    found: defaultdict[str, list[Fill]] = defaultdict(list)
    for fill in fills:
        found[fill.symbol].append(fill)
    return found


def _traded(fills: list[Fill], multiplier: Decimal | None) -> JsonObject:
    return {
        "count": len(fills), "quantity": amount(quantity_of(fills)),
        "value": None if multiplier is None else amount(value_of(fills, multiplier)),
        "fee": amount(sum((fill.fee for fill in fills), ZERO)),
    }


def _total(rows: list[JsonObject], side: str) -> JsonObject:
    """Return what all symbols come to; lots of different contracts make no sum."""
    each = [row[side] for row in rows]
    return {
        "count": sum(one["count"] for one in each), "quantity": None,
        "value": amount(sum((Decimal(one["value"] or 0) for one in each), ZERO)),
        "fee": amount(sum((Decimal(one["fee"]) for one in each), ZERO)),
    }


def _figures(compared: Compared, figures: tuple[Figure, ...], kind: Kind) -> list[JsonObject]:
    """One row for each symbol, and the total."""
    rows = [
        _row(
            figure.symbol, amount(figure.journal), amount(figure.exchange),
            _verdict(compared, {kind}, figure.symbol), trades=figure.trades, allowance=amount(figure.allowance),
        )
        for figure in figures
    ]
    if rows:
        rows.append(_row(
            None, amount(sum((each.journal for each in figures), ZERO)),
            amount(sum((each.exchange for each in figures), ZERO)), _worst(rows),
            trades=sum(each.trades for each in figures),
            allowance=amount(sum((each.allowance for each in figures), ZERO)),
        ))
    return rows


def _worst(rows: Iterable[JsonObject]) -> str:
    verdicts = {row["verdict"] for row in rows}
    return next((each for each in (DIFFERS, UNDER_WAY) if each in verdicts), AGREE)
