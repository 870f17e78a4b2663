"""Each invariant of the campaign can fail: histories by hand, good ones and bad ones."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from tests.campaign.books import ExchangeBooks, Intent, JournalBooks, Trade, exchange_id
from tests.campaign.invariants import Violation, broken_for_ever, longest_naked_s, not_agreed_yet

D = Decimal
BTC = "XBTUSDTM"
S = 1_000_000_000              # ns
DIES = "order_dies"
Json = dict[str, Any]


def accepted(client_oid: str, at_s: float = 1.0) -> Json:
    return event("order_accepted", client_oid, at_s)


def stop_placed(client_oid: str, at_s: float) -> Json:
    return event("stop_placed", client_oid, at_s)


def done(client_oid: str, at_s: float) -> Json:
    return event("order_done", client_oid, at_s)


def fill(client_oid: str, size: int, left: int, at_s: float = 2.0, **facts: Any) -> Json:
    """*size* lots traded, after which the exchange holds *left* of them."""
    facts = {"trade_id": f"t{client_oid}", "realised_gross": "0", "fee": "0", **facts}
    return event("fill", client_oid, at_s, size=size, position_qty=left, **facts)


def event(kind: str, client_oid: str, at_s: float, **facts: Any) -> Json:
    return {
        "event": kind, "client_oid": client_oid, "order_id": f"o{client_oid}", "symbol": BTC,
        "at_ms": round(at_s * 1000), "mono_ns": round(at_s * S), **facts,
    }


def an_exchange(*events: Json, held: int = 0, stops: Iterable[Json] = (), orders: Iterable[Json] = (),
                wallet: str = "100") -> ExchangeBooks:
    positions = {BTC: D(held)} if held else {}
    return ExchangeBooks(
        positions=positions, marks={BTC: D(50_000)}, stops=tuple(stops), orders=tuple(orders),
        wallet=D(wallet), events=events,
    )


def a_journal(*entries: str, held: int = 0, booked: Iterable[str] = (), state: str = "done",
              created_ms: int = 500, trades: dict[str, Trade] | None = None) -> JournalBooks:
    return JournalBooks(
        intents={
            oid: Intent(position_id=oid.split("-")[1], purpose="e", state=state, created_ms=created_ms)
            for oid in entries
        },
        booked=frozenset((BTC, trade_id) for trade_id in booked),
        open={BTC: ("p1", D(held))} if held else {}, trades=trades or {},
    )


def a_stop(client_oid: str = "rad-p1-s1", **facts: Any) -> Json:
    return {
        "symbol": BTC, "clientOid": client_oid, "stop": "down", "stopPrice": "49000", "closeOrder": True, **facts,
    }


def for_ever(exchange: ExchangeBooks, journal: JournalBooks, limit_s: float = 5.0) -> list[Violation]:
    return broken_for_ever(exchange, journal, watched=[(0, 100 * S)], limit_s=limit_s, now_ns=100 * S)


def not_yet(exchange: ExchangeBooks, journal: JournalBooks) -> list[Violation]:
    return not_agreed_yet(exchange, journal, start_balance=D(100))


def only(violations: list[Violation]) -> tuple[str, str]:
    """Return invariant and text of the only violation."""
    (found,) = violations
    return found.invariant, found.text


ENTERED = (accepted("rad-p1-e0"), fill("rad-p1-e0", 4, 4), stop_placed("rad-p1-s1", 2.1))
LEFT = (accepted("rad-p1-x1", 3.0), fill("rad-p1-x1", 4, 0, 3.0), done("rad-p1-s1", 3.1))


def test_a_whole_life_breaks_nothing() -> None:
    """Entered, protected, left, swept and booked: nothing to say, now or for ever."""
    exchange = an_exchange(*ENTERED, *LEFT)
    journal = a_journal("rad-p1-e0", booked=("trad-p1-e0", "trad-p1-x1"))
    assert for_ever(exchange, journal) == []
    assert not_yet(exchange, journal) == []


def test_an_open_and_protected_position_breaks_nothing() -> None:
    """Held on both sides, with its stop below the price."""
    exchange = an_exchange(*ENTERED, held=4, stops=[a_stop()])
    journal = a_journal("rad-p1-e0", held=4, booked=("trad-p1-e0",))
    assert for_ever(exchange, journal) == []
    assert not_yet(exchange, journal) == []


def test_two_orders_of_one_client_id() -> None:
    """I1: the same id accepted twice, be it an exit."""
    exchange = an_exchange(*ENTERED, accepted("rad-p1-x1"), accepted("rad-p1-x1"))
    assert only([v for v in for_ever(exchange, a_journal("rad-p1-e0")) if v.invariant == "I1"]) == (
        "I1", "rad-p1-x1 was accepted 2 times"
    )


def test_two_entries_of_one_position() -> None:
    """I1: another attempt of an entry is a second order for one intent."""
    exchange = an_exchange(accepted("rad-p1-e0"), accepted("rad-p1-e1"))
    journal = a_journal("rad-p1-e0", "rad-p1-e1")
    assert only(for_ever(exchange, journal)) == ("I1", "2 entries for position p1")


def test_more_left_than_entered() -> None:
    """I1: a stop of p1 that closes what p2 opened has sold p1 twice."""
    exchange = an_exchange(
        *ENTERED, *LEFT, accepted("rad-p2-e0", 4.0), fill("rad-p2-e0", 4, 4, 4.0), fill("rad-p1-s1", 4, 0, 4.5),
    )
    assert only(for_ever(exchange, a_journal("rad-p1-e0", "rad-p2-e0"))) == (
        "I1", "position p1 entered 4 lots and left 8"
    )


@pytest.mark.parametrize("left", [-1, 5])
def test_an_exit_that_opens(left: int) -> None:
    """I1: through zero, or the wrong way."""
    exchange = an_exchange(*ENTERED, fill("rad-p1-x1", 1, left, 3.0))
    found = for_ever(exchange, a_journal("rad-p1-e0"))
    assert f"rad-p1-x1 took the position from 4 to {left}" in {violation.text for violation in found}


def test_an_entry_that_was_never_written_down() -> None:
    """I2: on the exchange, not in the journal."""
    assert only(for_ever(an_exchange(*ENTERED, *LEFT), a_journal())) == (
        "I2", "entry rad-p1-e0 was accepted and never written down"
    )


def test_an_entry_written_down_too_late() -> None:
    """I2: after its acceptance, so that a crash between would have lost it."""
    journal = a_journal("rad-p1-e0", created_ms=1_007)
    assert only(for_ever(an_exchange(*ENTERED, *LEFT), journal)) == (
        "I2", "entry rad-p1-e0 was written down 7 ms too late"
    )


def test_a_trade_under_a_foreign_id() -> None:
    """I2: what is not RAD's, a liquidation too, must not happen in a campaign."""
    exchange = an_exchange(fill("liquidation-7", 4, 0))
    assert {violation.invariant for violation in for_ever(exchange, a_journal())} == {"I1", "I2"}


def test_an_entry_that_is_never_settled() -> None:
    """I2: every intent comes to an end."""
    assert only(not_yet(an_exchange(), a_journal("rad-p1-e0", state="unknown"))) == (
        "I2", "entry rad-p1-e0 is still unknown in the journal"
    )


@pytest.mark.parametrize(("theirs", "ours"), [(4, 0), (0, 4), (4, 2), (-4, 4)])
def test_a_position_lost_or_imagined(theirs: int, ours: int) -> None:
    """I3: the exchange's lots are the journal's."""
    stops = [a_stop(stop="up", stopPrice="51000") if theirs < 0 else a_stop()] if theirs else []
    found = not_yet(an_exchange(held=theirs, stops=stops), a_journal(held=ours))
    assert [violation.invariant for violation in found] == ["I3"]


def test_fills_not_booked_or_never_traded() -> None:
    """I3: each fill once, no other."""
    exchange = an_exchange(*ENTERED, *LEFT)
    journal = a_journal("rad-p1-e0", booked=("trad-p1-e0", "phantom"))
    assert [violation.text for violation in not_yet(exchange, journal)] == [
        "fill trad-p1-x1 of rad-p1-x1 is not booked", "fill phantom is booked and never traded",
    ]


def test_an_order_left_active() -> None:
    """I3: nothing of RAD's stays in the exchange's book."""
    exchange = an_exchange(orders=[{"symbol": BTC, "clientOid": "rad-p1-e0"}])
    assert only(not_yet(exchange, a_journal())) == ("I3", "order rad-p1-e0 is still active")


@pytest.mark.parametrize(
    "stop", [None, a_stop(closeOrder=False), a_stop(stop="up", stopPrice="51000"), a_stop(stopPrice="50001")]
)
def test_a_position_without_a_stop_that_closes_it(stop: Json | None) -> None:
    """I4: none, one that closes nothing, one on the profit side, one the price has passed."""
    exchange = an_exchange(held=4, stops=[stop] if stop else [])
    assert only(not_yet(exchange, a_journal(held=4))) == ("I4", "4 lots and no stop that closes them")


def test_a_stop_without_a_position_and_one_too_many() -> None:
    """I4b: both would close what comes next."""
    assert only(not_yet(an_exchange(stops=[a_stop()]), a_journal()))[0] == "I4b"
    two = an_exchange(held=4, stops=[a_stop(), a_stop("rad-p1-s2")])
    assert only(not_yet(two, a_journal(held=4)))[0] == "I4b"


@pytest.mark.parametrize(("stop_at_s", "breaks"), [(6.9, False), (7.1, True), (None, True)])
def test_a_position_that_waits_too_long_for_its_stop(stop_at_s: float | None, breaks: bool) -> None:
    """I4: filled at 2 s, five are allowed; one that never comes counts until now."""
    events = [accepted("rad-p1-e0"), fill("rad-p1-e0", 4, 4)]
    if stop_at_s is not None:
        events.append(stop_placed("rad-p1-s1", stop_at_s))
    found = for_ever(an_exchange(*events, held=4), a_journal("rad-p1-e0"))
    assert [violation.invariant for violation in found] == ["I4"] * breaks


def test_a_stop_that_dies_leaves_its_position_naked() -> None:
    """I4: accepted is not resting."""
    exchange = an_exchange(*ENTERED, done("rad-p1-s1", 2.2), held=4)
    assert longest_naked_s(exchange, [(0, 10 * S)], 10 * S) == {BTC: pytest.approx(7.8)}


def struck(client_oid: str, at_s: float, fault: str = "refuse", *, carried_out: bool = False) -> Json:
    return event("fault_struck", client_oid, at_s, fault=fault, carried_out=carried_out)


@pytest.mark.parametrize(("strikes", "breaks"), [
    ([struck("rad-p1-s1", 4.0), struck("rad-p1-x1", 8.0), struck("rad-p1-s2", 9.0), struck("", 12, DIES)], False),
    ([struck("rad-p1-s1", 4.0), struck("", 8.0, "stop_dies")], True),
    ([struck("rad-p1-s1", 4.0), struck("rad-p1-x1", 9.5)], True),
    ([struck("rad-p1-s1", 4.0), struck("rad-p1-x1", 8.0, "drop", carried_out=True)], True),
    ([struck("rad-p1-s1", 4.0), struck("rad-p2-e0", 8.0)], True),
    ([struck("rad-p1-s1", 4.0), struck("rad-p1-s2", 8.0), struck("rad-p1-s3", 12.0)], True),
    ([struck("rad-p1-x1", 4.0), struck("rad-p1-x2", 8.0), struck("rad-p1-x3", 12.0)], True),
], ids=[
    "again and again", "a stop that died", "a long pause", "it was carried out", "an entry", "no exit is tried",
    "no stop is tried",
])
def test_only_a_try_that_was_struck_down_begins_the_time_anew(strikes: list[Json], breaks: bool) -> None:
    """I4: filled at 2 s, its stop rests at 16; five seconds are allowed from the last try that was struck."""
    exchange = an_exchange(
        accepted("rad-p1-e0"), fill("rad-p1-e0", 4, 4), *strikes, stop_placed("rad-p1-s9", 16.0), held=4
    )
    found = for_ever(exchange, a_journal("rad-p1-e0"))
    assert [violation.invariant for violation in found] == ["I4"] * breaks
    assert longest_naked_s(exchange, [(0, 100 * S)], 100 * S) == {BTC: pytest.approx(14.0)}


def test_only_the_time_in_which_rad_was_up_counts() -> None:
    """Naked from 2 s to 9 s, RAD up until 3 s and again from 8 s: one second at a time."""
    exchange = an_exchange(accepted("rad-p1-e0"), fill("rad-p1-e0", 4, 4), stop_placed("rad-p1-s1", 9.0), held=4)
    assert longest_naked_s(exchange, [(0, 3 * S), (8 * S, 20 * S)], 20 * S) == {BTC: pytest.approx(1.0)}


@pytest.mark.parametrize(("pnl", "breaks"), [("7.5", False), ("7.4", True), ("8.0", True)])
def test_a_trade_that_brought_something_else(pnl: str, breaks: bool) -> None:
    """Money: 8 gross less a fee of 0.2 and one of 0.3 is 7.5."""
    exchange = an_exchange(
        accepted("rad-p1-e0"), fill("rad-p1-e0", 4, 4, fee="0.2"),
        fill("rad-p1-x1", 4, 0, 3.0, fee="0.3", realised_gross="8"), wallet="107.5",
    )
    trade = Trade(realised_pnl=D(pnl), fee=D("0.5"), funding=D(0))
    journal = a_journal("rad-p1-e0", booked=("trad-p1-e0", "trad-p1-x1"), trades={"p1": trade})
    assert [violation.invariant for violation in not_yet(exchange, journal)] == ["money"] * breaks


def test_a_wallet_that_does_not_follow_from_the_fills() -> None:
    """Money: the oracle itself is checked."""
    assert only(not_yet(an_exchange(wallet="99"), a_journal()))[0] == "money"


def test_symbols_are_the_exchanges() -> None:
    """The journal writes ccxt's symbols, the exchange its own."""
    assert exchange_id("BTC/USDT:USDT") == BTC
    assert exchange_id("ETH/USDT:USDT") == "ETHUSDTM"
