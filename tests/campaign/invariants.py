"""What must never happen, as questions to the exchange's own record. Pure: books in, violations out.

`broken_for_ever` are breaches that no later repair takes back; `not_agreed_yet` must be empty once
RAD has had its time to settle.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.campaign.books import ExchangeBooks, JournalBooks

Json = dict[str, Any]
Span = tuple[int, int]                       # monotonic ns, from and to

ZERO = Decimal(0)
KILLED_BY_THE_ENGINE = {"order_dies": "x", "refuse_stop": "s"}      # a stop that dies is for RAD to notice
CENT_OF_A_CENT = Decimal("0.0000001")        # averages are divisions: the last digits are not exact
UNSETTLED = {"intended", "unknown", "accepted"}
_OURS = re.compile(r"rad-([0-9a-z]+)-([exs])(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken promise."""

    invariant: str
    symbol: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.symbol}: {self.text}"


def broken_for_ever(
    exchange: ExchangeBooks, journal: JournalBooks, *, watched: Sequence[Span], limit_s: float, now_ns: int
) -> list[Violation]:
    """Return every breach of the exchange's history; *watched*: when RAD was up and able to act."""
    return [
        *_placed_twice(exchange), *_closed_too_much(exchange), *_opened_by_an_exit(exchange),
        *_without_intent(exchange, journal), *_not_ours(exchange),
        *_naked_too_long(exchange, watched, limit_s, now_ns),
    ]


def not_agreed_yet(exchange: ExchangeBooks, journal: JournalBooks, *, start_balance: Decimal) -> list[Violation]:
    """Return every present difference between the exchange and RAD's journal."""
    return [
        *_positions_differ(exchange, journal), *_fills_differ(exchange, journal),
        *_stops_differ(exchange), *_left_open(exchange, journal),
        *_money_differs(exchange, journal, start_balance),
    ]


def longest_naked_s(exchange: ExchangeBooks, watched: Sequence[Span], now_ns: int) -> dict[str, float]:
    """Return by symbol for how long at most a position was without a resting stop while watched."""
    return _longest_s(_naked(exchange.events, now_ns), watched)


# ---- I1: at most once ---------------------------------------------------------------------------

def _placed_twice(exchange: ExchangeBooks) -> Iterator[Violation]:
    orders: Counter[tuple[str, str]] = Counter()
    entries: Counter[tuple[str, str]] = Counter()
    for event in _of(exchange.events, "order_accepted", "stop_placed"):
        orders[event["symbol"], event["client_oid"]] += 1
        position_id, purpose = _owner(event)
        if purpose == "e":
            entries[event["symbol"], position_id] += 1
    for (symbol, client_oid), count in orders.items():
        if count > 1:
            yield Violation(invariant="I1", symbol=symbol, text=f"{client_oid} was accepted {count} times")
    for (symbol, position_id), count in entries.items():
        if count > 1:
            yield Violation(invariant="I1", symbol=symbol, text=f"{count} entries for position {position_id}")


def _closed_too_much(exchange: ExchangeBooks) -> Iterator[Violation]:
    entered: dict[tuple[str, str], int] = defaultdict(int)
    left: dict[tuple[str, str], int] = defaultdict(int)
    for event in _of(exchange.events, "fill"):
        position_id, purpose = _owner(event)
        (entered if purpose == "e" else left)[event["symbol"], position_id] += event["size"]
    for (symbol, position_id), lots in left.items():
        if lots > entered[symbol, position_id]:
            text = f"position {position_id} entered {entered[symbol, position_id]} lots and left {lots}"
            yield Violation(invariant="I1", symbol=symbol, text=text)


def _opened_by_an_exit(exchange: ExchangeBooks) -> Iterator[Violation]:
    held: dict[str, int] = defaultdict(int)
    for event in _of(exchange.events, "fill"):
        before, held[event["symbol"]] = held[event["symbol"]], event["position_qty"]
        if _owner(event)[1] in ("x", "s") and (
            abs(event["position_qty"]) > abs(before) or event["position_qty"] * before < 0
        ):
            text = f"{event['client_oid']} took the position from {before} to {event['position_qty']}"
            yield Violation(invariant="I1", symbol=event["symbol"], text=text)


# ---- I2: no ghosts ------------------------------------------------------------------------------

def _without_intent(exchange: ExchangeBooks, journal: JournalBooks) -> Iterator[Violation]:
    for event in _of(exchange.events, "order_accepted"):
        if _owner(event)[1] != "e":
            continue
        intent = journal.intents.get(event["client_oid"])
        if intent is None:
            text = f"entry {event['client_oid']} was accepted and never written down"
            yield Violation(invariant="I2", symbol=event["symbol"], text=text)
        elif intent.created_ms > event["at_ms"]:
            text = f"entry {event['client_oid']} was written down {intent.created_ms - event['at_ms']} ms too late"
            yield Violation(invariant="I2", symbol=event["symbol"], text=text)


def _not_ours(exchange: ExchangeBooks) -> Iterator[Violation]:
    for event in _of(exchange.events, "fill", "liquidation"):
        if event["event"] == "liquidation" or _OURS.fullmatch(event["client_oid"]) is None:
            text = f"{event['event']} under the id {event.get('client_oid')}"
            yield Violation(invariant="I2", symbol=event["symbol"], text=text)


# ---- I3: conservation ---------------------------------------------------------------------------

def _positions_differ(exchange: ExchangeBooks, journal: JournalBooks) -> Iterator[Violation]:
    for symbol in sorted(exchange.positions.keys() | journal.open.keys()):
        theirs = exchange.positions.get(symbol, ZERO)
        position_id, ours = journal.open.get(symbol, ("none", ZERO))
        if theirs != ours:
            text = f"the exchange holds {theirs} lots, position {position_id} of the journal {ours}"
            yield Violation(invariant="I3", symbol=symbol, text=text)


def _fills_differ(exchange: ExchangeBooks, journal: JournalBooks) -> Iterator[Violation]:
    traded = {(event["symbol"], event["trade_id"]): event for event in _of(exchange.events, "fill")}
    for symbol, trade_id in sorted(traded.keys() - journal.booked):
        text = f"fill {trade_id} of {traded[symbol, trade_id]['client_oid']} is not booked"
        yield Violation(invariant="I3", symbol=symbol, text=text)
    for symbol, trade_id in sorted(journal.booked - traded.keys()):
        yield Violation(invariant="I3", symbol=symbol, text=f"fill {trade_id} is booked and never traded")


def _left_open(exchange: ExchangeBooks, journal: JournalBooks) -> Iterator[Violation]:
    for order in exchange.orders:
        text = f"order {order['clientOid']} is still active"
        yield Violation(invariant="I3", symbol=order["symbol"], text=text)
    for client_oid, intent in journal.intents.items():
        if intent.purpose == "e" and intent.state in UNSETTLED:
            text = f"entry {client_oid} is still {intent.state} in the journal"
            yield Violation(invariant="I2", symbol="", text=text)


def _money_differs(
    exchange: ExchangeBooks, journal: JournalBooks, start_balance: Decimal
) -> Iterator[Violation]:
    """The wallet follows from the fills and funding; each closed trade of the journal from its own."""
    result: dict[str, Decimal] = defaultdict(lambda: ZERO)
    fees: dict[str, Decimal] = defaultdict(lambda: ZERO)
    wallet = start_balance
    for event in _of(exchange.events, "fill"):
        position_id, _ = _owner(event)
        result[position_id] += Decimal(event["realised_gross"]) - Decimal(event["fee"])
        fees[position_id] += Decimal(event["fee"])
        wallet += Decimal(event["realised_gross"]) - Decimal(event["fee"])
    wallet += sum((Decimal(event["payment"]) for event in _of(exchange.events, "funding")), ZERO)
    if wallet != exchange.wallet:
        text = f"fills and funding make it {wallet}, the exchange says {exchange.wallet}"
        yield Violation(invariant="money", symbol="wallet", text=text)
    for position_id, trade in journal.trades.items():
        ours, theirs = trade.realised_pnl - trade.funding, result[position_id]
        if abs(ours - theirs) > CENT_OF_A_CENT:
            text = (f"position {position_id} brought {theirs} (fees {fees[position_id]}),"
                    f" the journal says {ours} (fees {trade.fee})")
            yield Violation(invariant="money", symbol=_symbol_of(exchange, position_id), text=text)


# ---- I4: protection -----------------------------------------------------------------------------

def _stops_differ(exchange: ExchangeBooks) -> Iterator[Violation]:
    resting: dict[str, list[Json]] = defaultdict(list)
    for stop in exchange.stops:
        resting[stop["symbol"]].append(stop)
    for symbol in sorted(exchange.positions.keys() | resting.keys()):
        lots, stops = exchange.positions.get(symbol, ZERO), resting[symbol]
        if lots and not any(_protects(stop, lots, exchange.marks[symbol]) for stop in stops):
            yield Violation(invariant="I4", symbol=symbol, text=f"{lots} lots and no stop that closes them")
        if len(stops) > (1 if lots else 0):
            ids = ", ".join(stop["clientOid"] for stop in stops)
            yield Violation(invariant="I4b", symbol=symbol, text=f"{lots} lots and these stops: {ids}")


def _protects(stop: Json, lots: Decimal, mark: Decimal) -> bool:
    price = Decimal(str(stop["stopPrice"]))
    if lots > 0:
        is_behind = stop["stop"] == "down" and price <= mark
    else:
        is_behind = stop["stop"] == "up" and price >= mark
    return bool(stop["closeOrder"]) and is_behind


def _naked_too_long(
    exchange: ExchangeBooks, watched: Sequence[Span], limit_s: float, now_ns: int
) -> Iterator[Violation]:
    for symbol, seconds in _longest_s(_let_be(exchange.events, now_ns, round(limit_s * 1e9)), watched).items():
        if seconds > limit_s:
            text = f"a position without a resting stop for {seconds:.2f} s while RAD was up and could have acted"
            yield Violation(invariant="I4", symbol=symbol, text=text)


def _longest_s(spans: Iterable[tuple[str, int, int]], watched: Sequence[Span]) -> dict[str, float]:
    longest: dict[str, float] = defaultdict(float)
    for symbol, begin, end in spans:
        for up, down in watched:
            longest[symbol] = max(longest[symbol], (min(end, down) - max(begin, up)) / 1e9)
    return dict(longest)


def _naked(events: Sequence[Json], now_ns: int) -> Iterator[tuple[str, int, int]]:
    """Yield symbol, begin and end of every time in which a position had no resting stop."""
    since: dict[str, int] = {}
    for event, is_naked in _with_nakedness(events):
        if is_naked:
            since.setdefault(event["symbol"], event["mono_ns"])
        elif event["symbol"] in since:
            yield event["symbol"], since.pop(event["symbol"]), event["mono_ns"]
    for symbol, begin in since.items():
        yield symbol, begin, now_ns


def _let_be(events: Sequence[Json], now_ns: int, limit_ns: int) -> Iterator[tuple[str, int, int]]:
    """Yield the times without a stop in which RAD did not do what it could.

    Nobody can protect a position on an exchange that takes nothing. So a try that an injected fault has struck
    down begins the time anew: a stop until the limit is reached, from then on an exit alone; and an exit only if
    a stop has been tried within the limit too.
    """
    naked_since: dict[str, int] = {}
    begin: dict[str, int] = {}
    stop_tried: dict[str, int] = {}
    for event, is_naked in _with_nakedness(events):
        symbol, at = event["symbol"], event["mono_ns"]
        if not is_naked:
            if symbol in begin:
                yield symbol, begin.pop(symbol), at
                del naked_since[symbol]
            continue
        if symbol not in begin:
            naked_since[symbol] = begin[symbol] = stop_tried[symbol] = at
        tried = _tried(event)
        if tried == "s":
            stop_tried[symbol] = at
        if not _was_struck_down(event):
            continue
        since = naked_since[symbol] if tried == "s" else stop_tried[symbol]
        if tried and at - since <= limit_ns:
            yield symbol, begin[symbol], at
            begin[symbol] = at
    for symbol, since in begin.items():
        yield symbol, since, now_ns


def _with_nakedness(events: Sequence[Json]) -> Iterator[tuple[Json, bool]]:
    """Yield each event of a symbol with whether its position has no resting stop after it."""
    held: dict[str, int] = defaultdict(int)
    resting: dict[str, set[str]] = defaultdict(set)
    kinds = ("fill", "stop_placed", "order_done", "stop_triggered", "order_refused", "fault_struck")
    for event in _of(events, *kinds):
        symbol = event["symbol"]
        match event["event"]:
            case "fill":
                held[symbol] = event["position_qty"]
            case "stop_placed":
                resting[symbol].add(event["order_id"])
            case "order_done" | "stop_triggered":
                resting[symbol].discard(event["order_id"])
        yield event, bool(held[symbol]) and not resting[symbol]


def _tried(event: Json) -> str:
    """Return what RAD tried there to protect a position: s, a stop; x, an exit; empty: nothing."""
    if event["event"] == "fault_struck" and event["fault"] in KILLED_BY_THE_ENGINE:
        return KILLED_BY_THE_ENGINE[event["fault"]]
    purpose = _owner(event)[1]
    return purpose if event["event"] in ("stop_placed", "order_refused", "fault_struck") and purpose != "e" else ""


def _was_struck_down(event: Json) -> bool:
    """Whether an injected fault kept it from taking effect."""
    if event["event"] != "fault_struck":
        return False
    return event["fault"] in KILLED_BY_THE_ENGINE or not event["carried_out"]


# ---- small change -------------------------------------------------------------------------------

def _of(events: Sequence[Json], *kinds: str) -> Iterator[Json]:
    return (event for event in events if event["event"] in kinds)


def _owner(event: Json) -> tuple[str, str]:
    """Return position id and purpose (e, x, s) of an order of RAD's; empty for anybody else's."""
    match = _OURS.fullmatch(event["client_oid"] or "")
    return (match[1], match[2]) if match else ("", "")


def _symbol_of(exchange: ExchangeBooks, position_id: str) -> str:
    return next((e["symbol"] for e in _of(exchange.events, "fill") if _owner(e)[0] == position_id), "")
