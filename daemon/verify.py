"""Journal against exchange, side by side: positions, stops, orders, fills, fees, realised profit.

Asked of the daemon, what is under way is named so, and a difference counts once two looks a second
apart have both seen it: book, journal and exchange cannot be read at one instant. Without a daemon
nothing moves, and one look counts. Either way nothing is changed: neither side, on no account.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from control.verify_views import Compared, verify_view
from execution.book import Book
from kucoin_client import KuCoinClient
from runtime.journal_reader import JournalReader
from runtime.journal_schema import Intent
from trading.audit import FINEST, Audit, Life, audit, fills_by_life, funding_by_trade, funding_figures, lives_of
from trading.client_ids import Purpose, parse
from trading.errors import AuthenticationFailed, ExchangeError, RadError, RequestRefused, UnknownInstrument
from trading.facts import ClosedTrade, Fill, Funding, Order, Position
from trading.lifecycle import PositionState
from trading.ports import Clock
from trading.reconciliation import Difference, ExchangeView, Kind, compare, plain

DAY_MS = 86_400_000            # how far back KuCoin lists fills
EDGE_MS = 60_000               # so near the end of that list a fill may be on it or not
FILL_GRACE_MS = 5_000          # a fill this young may still be on its way into the journal
SECOND_LOOK_S = 1.0

FillKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who is asked. Without a *book* no daemon runs."""

    client: KuCoinClient
    journal: JournalReader
    clock: Clock
    protect: bool
    protect_deadline_s: float
    book: Book | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything both sides said at about one moment, which is the exchange's time."""

    now_ms: int
    view: ExchangeView
    fills: tuple[Fill, ...]
    looked_up: tuple[Order, ...]           # what the exchange knows of orders the journal left open
    positions: tuple[Position, ...]
    trades: tuple[ClosedTrade, ...]
    intents: tuple[Intent, ...]            # entries and exits that have not come to an end
    client_oids: dict[str, str]
    booked: dict[FillKey, Fill]
    paid: dict[str, tuple[Funding, ...]]   # by symbol, since the first of the trades in it began
    under_way: dict[str, str]              # symbol -> what

    @property
    def since_ms(self) -> int:
        """From when on both sides know every fill."""
        return self.now_ms - DAY_MS + EDGE_MS


def verify(parties: Parties) -> dict[str, Any]:
    """Compare the journal with the exchange and return what `./rad verify` says.

    Raises:
        RadError: one of them could not be read: nothing is said about agreement.
    """
    try:
        found = _compare(parties, _look(parties))
        if found.differences and parties.book is not None:
            parties.clock.wait(threading.Event(), SECOND_LOOK_S)
            found = _confirmed(found, _compare(parties, _look(parties)))
    except ExchangeError as error:
        raise unreadable(error) from error
    return verify_view(found)


def unreadable(error: ExchangeError) -> RadError:
    """Return what to raise for *error*: no answer is no agreement, and no time-out of the daemon's either."""
    if isinstance(error, AuthenticationFailed):
        return error
    return RadError(f"the exchange cannot be read, so nothing is known about agreement: {error}")


def _confirmed(first: Compared, second: Compared) -> Compared:
    """Return the second look with those differences alone that the first one saw too."""
    seen = set(first.differences)
    passing = {each.symbol: "something that changed meanwhile" for each in second.differences if each not in seen}
    return replace(
        second,
        differences=tuple(each for each in second.differences if each in seen),
        under_way=passing | dict(second.under_way),
    )


# ---- looking ------------------------------------------------------------------------------------

def _look(parties: Parties) -> Look:
    client, journal, book = parties.client, parties.journal, parties.book
    under_way = {} if book is None else _busy(book)
    view = ExchangeView(
        positions=client.fetch_positions(),
        open_orders=client.fetch_open_orders(),
        stop_orders=client.fetch_stop_orders(),
    )
    fills = client.fetch_recent_fills()
    # The journal comes last: what the exchange has told must have had its time to be written down.
    now_ms = parties.clock.now_ms() - client.clock_offset_ms()
    intents = tuple(
        intent for intent in journal.unsettled_intents() if intent.purpose != Purpose.STOP.value
    )
    positions = journal.open_positions()
    trades = journal.trades_since(now_ms - DAY_MS)
    looked_up: tuple[Order, ...] = ()
    if book is None:
        found = [client.find_order(intent.client_oid) for intent in intents]
        looked_up = tuple(order for order in found if order is not None)
    else:
        under_way |= _busy(book) | _young(positions, parties, now_ms) | {
            intent.symbol: f"an {Purpose(intent.purpose).name.lower()}" for intent in intents
        }
    return Look(
        now_ms=now_ms, view=view, fills=fills, looked_up=looked_up, positions=positions,
        trades=trades, intents=intents,
        client_oids=journal.client_oids(fill.order_id for fill in fills),
        booked=journal.booked_fills(now_ms - DAY_MS), paid=_paid(client, trades), under_way=under_way,
    )


def _paid(client: KuCoinClient, trades: Iterable[ClosedTrade]) -> dict[str, tuple[Funding, ...]]:
    """Return the funding of every symbol in which *trades* know theirs; of none that is not traded any more."""
    spans: dict[str, tuple[int, int]] = {}
    for trade in trades:
        if trade.funding_known:
            begin_ms, end_ms = spans.get(trade.symbol, (trade.opened_ms, trade.closed_ms))
            spans[trade.symbol] = min(begin_ms, trade.opened_ms), max(end_ms, trade.closed_ms)
    found = {}
    for symbol, (begin_ms, end_ms) in spans.items():
        try:
            found[symbol] = client.fetch_funding(symbol, begin_ms, end_ms)
        except (UnknownInstrument, RequestRefused):
            if client.is_listed(symbol):
                raise                          # it is no answer; otherwise KuCoin does not know it any more
    return found


def _busy(book: Book) -> dict[str, str]:
    """Return the symbols in which the daemon is doing something, and what."""
    found = dict.fromkeys(book.busy_symbols(), "a stop being moved")
    closing = [position for position in book.snapshot() if position.state is not PositionState.OPEN]
    found |= {position.symbol: "an exit" for position in closing}
    return found | {plan.symbol: "an entry" for plan in book.entries_under_way()}


def _young(positions: Iterable[Position], parties: Parties, now_ms: int) -> dict[str, str]:
    """Return what was opened so lately that its first stop may still be on its way."""
    before_ms = now_ms - round(parties.protect_deadline_s * 1000)
    return {
        position.symbol: "its first stop" for position in positions
        if parties.protect and position.protective_stop is None and position.opened_ms > before_ms
    }


# ---- comparing ----------------------------------------------------------------------------------

def _compare(parties: Parties, look: Look) -> Compared:
    if parties.book is not None:
        fresh = [fill for fill in _unbooked(look) if look.now_ms - fill.ts_ms <= FILL_GRACE_MS]
        look = replace(look, under_way={fill.symbol: "a fill being booked" for fill in fresh} | look.under_way)
    multipliers = _multipliers(parties.client, look)
    lives = _lives(look, multipliers)
    in_scope = [life for life in lives if life.opened_ms >= look.since_ms + EDGE_MS]
    funding = funding_by_trade(look.trades, look.paid)
    audited = replace(_audit(look, lives, in_scope, multipliers), funding=funding_figures(funding))
    found = compare(look.positions, look.view, reserved=look.under_way, protect=parties.protect)
    differences = (
        _with_unsettled(look, found) + _fill_differences(look) + _money_differences(look, audited)
        + _funding_differences(look, funding)
    )
    ours = tuple(fill for fill in look.fills if _is_ours(fill, look))
    return Compared(
        compared_by="console" if parties.book is None else "daemon",
        checked_ms=look.now_ms, since_ms=look.since_ms,
        positions=look.positions, intents=look.intents, view=look.view,
        orders=tuple({o.order_id: o for o in look.view.open_orders + look.looked_up}.values()),
        booked=tuple(fill for fill in look.booked.values() if fill.ts_ms >= look.since_ms),
        listed=tuple(fill for fill in ours if fill.ts_ms >= look.since_ms),
        foreign_fills=len(look.fills) - len(ours),
        multipliers=multipliers, audit=audited, older=len(lives) - len(in_scope),
        awaiting_funding=sum(not trade.funding_known for trade in look.trades),
        differences=differences, under_way=look.under_way,
    )


def _is_ours(fill: Fill, look: Look) -> bool:
    """Whether an order of RAD's made it, or it closed a position of RAD's and was booked."""
    return fill.order_id in look.client_oids or (fill.symbol, fill.trade_id) in look.booked


def _unbooked(look: Look) -> list[Fill]:
    return [
        fill for fill in look.fills
        if fill.order_id in look.client_oids and (fill.symbol, fill.trade_id) not in look.booked
        and fill.ts_ms >= look.since_ms
    ]


def _fill_differences(look: Look) -> tuple[Difference, ...]:
    """Compare the fills of RAD's own orders over what KuCoin lists: the last 24 hours."""
    listed = {(fill.symbol, fill.trade_id) for fill in look.fills}
    missing = [
        Difference(
            kind=Kind.MISSING_FILL, symbol=fill.symbol, book="none", exchange=_words(fill), order_id=fill.order_id
        )
        for fill in _unbooked(look) if fill.symbol not in look.under_way
    ]
    phantom = [
        Difference(
            kind=Kind.PHANTOM_FILL, symbol=fill.symbol, book=_words(fill), exchange="none", order_id=fill.order_id
        )
        for key, fill in look.booked.items() if key not in listed and fill.ts_ms >= look.since_ms
    ]
    return tuple(missing + phantom)


def _with_unsettled(look: Look, found: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """Name what an entry did that RAD left behind when it ended: that is not somebody else's doing."""
    held = {position.position_id for position in look.positions}
    orders = {order.client_oid: order for order in look.looked_up}
    unsettled = [
        Difference(
            kind=Kind.UNSETTLED, symbol=intent.symbol, book=f"an entry, {intent.state.value}",
            exchange=f"{order.side.value}, {plain(order.filled_quantity)} of {plain(order.quantity)} filled",
            order_id=order.order_id,
        )
        for intent in look.intents
        if intent.purpose == Purpose.ENTRY.value and intent.position_id not in held
        and (order := orders.get(intent.client_oid)) is not None and (order.filled_quantity or order.is_active)
    ]
    explained = {difference.symbol for difference in unsettled}
    return tuple(unsettled) + tuple(
        difference for difference in found
        if difference.symbol not in explained or difference.kind not in (Kind.FOREIGN, Kind.STRAY_ORDER)
    )


# ---- money --------------------------------------------------------------------------------------

def _multipliers(client: KuCoinClient, look: Look) -> dict[str, Decimal]:
    """Return the multiplier of every contract in question that the exchange still knows."""
    found: dict[str, Decimal] = {}
    traded = {fill.symbol for fill in (*look.fills, *look.booked.values())}
    held = {life.symbol for life in lives_of(look.trades, look.positions)}
    for symbol in traded | held:
        try:
            found[symbol] = client.instrument(symbol).multiplier
        except UnknownInstrument:
            continue
    return found


def _lives(look: Look, multipliers: dict[str, Decimal]) -> tuple[Life, ...]:
    """Return trades and positions as lives; they began by the exchange's clock, as its fills are timed."""
    return tuple(life for life in lives_of(look.trades, look.positions) if life.symbol in multipliers)


def _audit(
    look: Look, lives: tuple[Life, ...], in_scope: list[Life], multipliers: dict[str, Decimal]
) -> Audit:
    """Hold the lives all of whose fills are listed against those fills."""
    owners = {
        fill.order_id: client_oid.position_id for fill in look.fills
        if (client_oid := parse(look.client_oids.get(fill.order_id, ""))) is not None
    }
    return audit(in_scope, fills_by_life(lives, look.fills, owners, look.booked), multipliers)


def _money_differences(look: Look, audited: Audit) -> tuple[Difference, ...]:
    return tuple(
        Difference(
            kind=kind, symbol=figure.symbol, book=f"{plain(figure.journal)} USDT",
            exchange=f"{plain(figure.exchange)} USDT",
        )
        for kind, figures in ((Kind.FEE, audited.fees), (Kind.REALISED_PNL, audited.realised_pnl))
        for figure in figures if not figure.agrees and figure.symbol not in look.under_way
    )


def _funding_differences(
    look: Look, compared: Iterable[tuple[ClosedTrade, Decimal]]
) -> tuple[Difference, ...]:
    return tuple(
        Difference(
            kind=Kind.FUNDING, symbol=trade.symbol, exchange=f"{plain(theirs)} USDT",
            book=f"{plain(trade.funding)} USDT for position {trade.position_id}",
        )
        for trade, theirs in compared
        if abs(trade.funding - theirs) > FINEST and trade.symbol not in look.under_way
    )


def _words(fill: Fill) -> str:
    return f"{fill.side.value} {plain(fill.quantity)} at {plain(fill.price)}"
