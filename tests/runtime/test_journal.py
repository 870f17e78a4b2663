"""The journal: what was committed is there again, exactly, on either database."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from decimal import Decimal as D
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime.journal import SqlJournal
from runtime.journal_address import read_url
from runtime.journal_reader import JournalReader
from runtime.journal_schema import EquityPoint
from runtime.journal_writes import account_noted
from runtime.locks import LockBreach, named_lock
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import SYMBOL, a_fill, a_plan, a_position, a_request, a_trade
from tests.runtime.journal_gate import Gate
from trading.client_ids import Purpose
from trading.errors import JournalError
from trading.facts import ExitReason, ProtectiveStop, Side
from trading.lifecycle import IntentState, PositionState

PATIENCE_S = 10.0


# ---- what is written is there again --------------------------------------------------------------


@pytest.mark.parametrize(
    "position",
    [
        a_position(),
        a_position(protective_stop=None, exit_reason=None, reasons=(), strategy=""),
        a_position(side=Side.LONG, state=PositionState.CLOSING, quantity=D("0.10"), realised_pnl=D("0E-8")),
    ],
)
def test_a_position_comes_back_exactly(url: str, clock: ManualClock, position: object) -> None:
    """Every field survives a restart, to the last digit and the exponent of its decimals."""
    journal = SqlJournal(url, clock, label="test")
    journal.save_position(position, wait=True)  # type: ignore[arg-type]
    assert journal.close()
    again = SqlJournal(url, clock, label="test")
    (found,) = again.open_positions()
    assert repr(found) == repr(position)   # repr tells 1E+3 from 1000
    again.close()


def test_a_pause_outlives_the_process_until_it_is_ended(journal: SqlJournal) -> None:
    """The last word counts; before the first there is none."""
    assert not journal.was_paused()
    for paused in (True, False, False, True):
        journal.record_pause(paused)
        assert journal.flush()
        assert journal.was_paused() is paused
    journal.record_pause(True)
    journal.record_pause(False)
    assert journal.flush()
    assert not journal.was_paused()


def test_the_latest_word_on_a_position_counts(journal: SqlJournal) -> None:
    """Saving replaces: stop and high-water mark are those of the last save."""
    journal.save_position(a_position())
    stop = ProtectiveStop(client_oid="s6", order_id="o6", stop_price=D("63800"), confirmed_ms=1)
    moved = a_position(stop_price=D("63800"), best_price=D("62000"), protective_stop=stop, stop_attempt=6)
    journal.save_position(moved)
    assert journal.open_positions() == (moved,)


def test_an_intent_comes_back_with_its_plan(journal: SqlJournal, clock: ManualClock) -> None:
    """What was about to be sent can be looked up and booked after a crash."""
    journal.record_intent("p1", a_request(), "e", plan=a_plan(), wait=True)
    (intent,) = journal.unsettled_intents()
    assert (intent.request, intent.plan) == (a_request(), a_plan())
    assert (intent.position_id, intent.purpose, intent.symbol) == ("p1", "e", SYMBOL)
    assert (intent.state, intent.order_id, intent.created_ms) == (IntentState.INTENDED, "", clock.now_ms())


def test_an_intent_goes_only_where_its_lifecycle_leads(journal: SqlJournal) -> None:
    """A settled order stays settled, whatever arrives late; its order id is known from then on."""
    journal.record_intent("p1", a_request(), "e", wait=True)
    for state, order_id, expected in (
        (IntentState.UNKNOWN, "", IntentState.UNKNOWN),
        (IntentState.REJECTED, "", IntentState.UNKNOWN),      # an unknown one is not there, or accepted
        (IntentState.ACCEPTED, "o1", IntentState.ACCEPTED),
        (IntentState.UNKNOWN, "", IntentState.ACCEPTED),
        (IntentState.DONE, "", IntentState.DONE),
        (IntentState.ACCEPTED, "o2", IntentState.DONE),
    ):
        journal.settle_intent("rad-p1-e0", state, order_id)
        assert journal.intents_of("p1")[0].state is expected
    assert journal.client_oids(["o1", "o2", ""]) == {"o1": "rad-p1-e0"}
    assert journal.client_oids([*(f"x{number}" for number in range(1_200)), "o1"]) == {"o1": "rad-p1-e0"}
    assert journal.client_oids([]) == journal.client_oids(["o2"]) == {}
    assert journal.unsettled_intents() == ()


def test_a_second_entry_is_refused_by_the_database(journal: SqlJournal) -> None:
    """While one entry is under way in a symbol, none can be written down for it, so none is sent."""
    journal.record_intent("p1", a_request("rad-p1-e0"), "e", wait=True)
    with pytest.raises(JournalError, match="already holds an entry under way for this symbol"):
        journal.record_intent("p2", a_request("rad-p2-e0"), "e", wait=True)
    assert journal.healthy
    journal.settle_intent("rad-p1-e0", IntentState.REJECTED)
    journal.record_intent("p2", a_request("rad-p2-e0"), "e", wait=True)
    with pytest.raises(JournalError, match="already holds an order with this client id"):
        journal.record_intent("p3", a_request("rad-p2-e0", symbol="ETH/USDT:USDT"), "e", wait=True)


def test_an_exit_sent_again_is_under_way_again(journal: SqlJournal) -> None:
    """A resend carries the same client id: its row is taken up, and no second one refused."""
    request = a_request("rad-p1-x1", reduce_only=True)
    journal.record_intent("p1", request, "x", wait=False)
    journal.settle_intent("rad-p1-x1", IntentState.NOT_PLACED)
    journal.record_intent("p1", request, "x", wait=False)
    assert [intent.state for intent in journal.intents_of("p1")] == [IntentState.INTENDED]
    journal.settle_intent("rad-p1-x1", IntentState.DONE)
    journal.record_intent("p1", a_request("rad-p1-x2", reduce_only=True), "x", wait=False)
    assert [intent.client_oid for intent in journal.unsettled_intents()] == ["rad-p1-x2"]


def test_a_closed_position_stays_closed(journal: SqlJournal) -> None:
    """A thread that still had it in hand says something of it afterwards: it is not open again."""
    journal.save_position(a_position("p1"), wait=True)
    journal.record_execution("", (), a_position("p1", quantity=D(0)), a_trade("p1"))
    journal.save_position(a_position("p1", quantity=D(0), state=PositionState.CLOSING), wait=True)
    assert journal.open_positions() == ()


def test_the_later_change_of_a_position_stands(journal: SqlJournal) -> None:
    """Two threads change a position one after the other and note it the other way round: the later change counts.

    What else the late note tells, the fills of its order, is booked all the same.
    """
    before, after = a_position(quantity=D(39), version=1), a_position(quantity=D(20), version=2)
    journal.save_position(after, wait=True)
    journal.save_position(before, wait=True)
    journal.record_execution("rad-p1-e0", (a_fill(),), before)
    assert journal.open_positions() == (after,)
    assert journal.is_booked(a_fill().symbol, a_fill().trade_id)


def test_a_fill_is_booked_once(journal: SqlJournal) -> None:
    """The same trade id of a symbol counts once; of another symbol it is another trade."""
    journal.record_intent("p1", a_request(), "e", wait=False)
    fills = [a_fill("t1"), a_fill("t2", ts_ms=1_700_000_000_200)]
    journal.record_fills("rad-p1-e0", fills)
    journal.record_fills("rad-p1-e0", [a_fill("t1", quantity=D(1)), a_fill("t1", symbol="ETH/USDT:USDT")])
    assert [fill for fill in journal.fills_of("p1") if fill.symbol == SYMBOL] == fills
    assert journal.is_booked(SYMBOL, "t1")
    assert not journal.is_booked(SYMBOL, "t3")
    assert set(journal.booked_fills(1_700_000_000_200)) == {(SYMBOL, "t2")}


def test_a_fill_on_its_way_to_disk_is_booked(journal: SqlJournal, gate: Gate) -> None:
    """Whoever asks at once is told the truth, however slow the disk."""
    gate.open.clear()
    journal.record_fills("", [a_fill("t9")])
    assert journal.is_booked(SYMBOL, "t9")
    gate.open.set()
    assert journal.flush()
    assert journal.is_booked(SYMBOL, "t9")


def test_closing_moves_a_position_to_the_trades(journal: SqlJournal) -> None:
    """One transaction: the position is closed, the trade noted, its orders settled."""
    position = a_position(state=PositionState.CLOSING)
    journal.record_intent("p1", a_request(), "e", wait=False)
    journal.settle_intent("rad-p1-e0", IntentState.ACCEPTED, "o1")
    journal.save_position(position)
    journal.record_execution("rad-p1-x1", (), position, a_trade())
    assert journal.open_positions() == ()
    assert journal.trades(10) == (a_trade(),)
    assert journal.unsettled_intents() == ()
    closed = journal.position("p1")
    assert closed is not None
    assert closed.state is PositionState.CLOSED


def test_trades_and_events_come_newest_first(journal: SqlJournal, clock: ManualClock) -> None:
    """The latest are what people ask for; the limit cuts the old."""
    for number in range(3):
        journal.record_execution("", (), a_position(f"p{number}"), a_trade(f"p{number}", closed_ms=number))
        journal.record_event("note", f"number {number}", SYMBOL)
        clock.advance(1)
    assert [trade.position_id for trade in journal.trades(2)] == ["p2", "p1"]
    assert [(event.message, event.at_ms) for event in journal.events(2)] == [
        ("number 2", clock.now_ms() - 1000), ("number 1", clock.now_ms() - 2000),
    ]


def test_the_account_is_remembered(journal: SqlJournal, clock: ManualClock) -> None:
    """Peak and the day's first equity survive; later words about the day's start do not change it."""
    assert (journal.peak_equity(), journal.day_start_equity("2026-11-24")) == (None, None)
    journal.record_account("2026-11-24", D("1000.10"), D("1000.10"), D("1000.10"), D("900"))
    clock.advance(60)
    journal.record_account("2026-11-24", D("1010.00"), D("1010"), D("1010.00"), D("910"))
    journal.record_equity(D("990"), D("890"))
    assert journal.peak_equity() == D("1010.00")
    assert journal.day_start_equity("2026-11-24") == D("1000.10")
    assert [point.equity for point in journal.equity_curve(clock.now_ms())] == [D("1010.00"), D("990")]


def test_the_equity_curve_does_not_grow_without_end(journal: SqlJournal, clock: ManualClock) -> None:
    """Of the last 59 minutes every point is kept, of each minute before them the last: 85 minutes of points."""
    engine = sa.create_engine(read_url(journal.url), poolclass=sa.NullPool)
    with engine.begin() as connection:             # as one note: a commit is long
        for number in range(85 * 12):              # 85 minutes, a point each five seconds
            point = EquityPoint(at_ms=clock.now_ms(), equity=D(number), available=D(900))
            account_noted(point, "2026-11-24", D(1000), D(1000))(connection)
            clock.advance(5)
    curve = journal.equity_curve()
    hour_ago = curve[-1].at_ms - 3_600_000
    older = [point for point in curve if point.at_ms < hour_ago - hour_ago % 60_000]
    assert len({point.at_ms // 60_000 for point in older}) == len(older)         # one a minute ...
    assert all(point.at_ms % 60_000 >= 55_000 for point in older[1:-1])          # ... and it is the last
    assert 24 <= len(older) <= 26
    assert 59 * 12 <= len(curve) - len(older) <= 60 * 12 + 1     # the minute an hour ago is thinned out at once
    assert curve[-1].equity == D(85 * 12 - 1)


# ---- one writer, many callers --------------------------------------------------------------------


def test_waiting_callers_share_a_commit(journal: SqlJournal, gate: Gate) -> None:
    """What gathers while the disk is busy goes into one transaction, and nobody returns before it."""
    gate.open.clear()
    journal.save_position(a_position("p0"))
    assert gate.arrived.wait(PATIENCE_S)
    returned = threading.Event()

    def save(number: int) -> None:
        journal.save_position(a_position(f"p{number}"), wait=True)
        returned.set()

    callers = [threading.Thread(target=save, args=(number,)) for number in range(1, 9)]
    for caller in callers:
        caller.start()
    while journal.backlog < 9:
        assert not returned.wait(0.001)
    gate.open.set()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert gate.batches == [1, 8]
    assert len(journal.open_positions()) == 9


def test_many_threads_lose_nothing(journal: SqlJournal) -> None:
    """Eight threads write at a tight switch interval; every note is there afterwards."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def write(thread: int) -> None:
        for number in range(25):
            name = f"p{thread}-{number}"
            journal.record_intent(name, a_request(f"rad-{name}-x0"), "x", wait=False)
            journal.record_fills(f"rad-{name}-x0", [a_fill(name)])
            journal.save_position(a_position(name), wait=number % 5 == 0)

    try:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)
    assert len(journal.open_positions()) == 200   # 8 threads × 25
    assert len(journal.unsettled_intents()) == 200
    assert len(journal.booked_fills(0)) == 200


def test_nothing_waits_for_the_disk_under_a_lock(journal: SqlJournal) -> None:
    """Waiting writes and reads refuse to be called with a lock of RAD's held."""
    with named_lock("somebody's"):
        with pytest.raises(LockBreach):
            journal.save_position(a_position(), wait=True)
        with pytest.raises(LockBreach):
            journal.trades()


def test_a_daemon_is_read_beside(journal: SqlJournal, url: str) -> None:
    """Another process reads what is committed while the writer has the file, and cannot write."""
    reader = JournalReader.open(url)
    journal.save_position(a_position(), wait=True)
    assert reader.open_positions() == (a_position(),)
    with pytest.raises(sa.exc.DBAPIError, match="read-?only"), reader._reading.begin() as connection:
        connection.execute(sa.text("DELETE FROM position"))
    reader.close()


# ---- kill ----------------------------------------------------------------------------------------


@pytest.mark.process
def test_what_was_committed_survives_a_kill(url: str, clock: ManualClock) -> None:
    """After SIGKILL everything a waiting caller was told about is there, whole."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.journal_facts", url], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(5)]
        process.kill()
        said += process.stdout.read().split()
    journal = SqlJournal(url, clock, label="test")
    found = {position.position_id: position for position in journal.open_positions()}
    assert said[:5] == ["p1", "p2", "p3", "p4", "p5"]
    assert set(said) <= set(found)
    for name in said:
        assert found[name] == a_position(name, symbol=name)
        assert journal.is_booked(name, name.replace("p", "t"))
        assert journal.intents_of(name)[0].plan == a_plan(name)
    journal.close()


def test_every_exit_reason_can_be_written(journal: SqlJournal) -> None:
    """A reason added to the facts needs no change of the schema."""
    for reason in ExitReason:
        journal.save_position(a_position(reason.value, stop_reason=reason, exit_reason=reason))
    assert {position.exit_reason for position in journal.open_positions()} == set(ExitReason)


def test_writing_leaves_nothing_to_the_collector(journal: SqlJournal) -> None:
    """A daemon writes all day: what it throws away is free at once, or memory gets full of holes until then."""
    def write(*numbers: int) -> None:
        for number in numbers:
            client_oid = f"rad-p{number}-x1"
            journal.record_intent(f"p{number}", a_request(client_oid), Purpose.EXIT.value, wait=False)
            journal.save_position(a_position(f"p{number}"), wait=False)
            journal.record_execution(client_oid, (a_fill(str(number)),), a_position(f"p{number}"))
            journal.record_account("2026-11-24", D(100), D(100), D(100), D(100))
            journal.record_pause(False)
        assert journal.flush()

    write(*range(5))               # what is made once
    gc.collect()
    gc.disable()
    try:
        write(*range(5, 25))
        assert gc.collect() < 20, "less than one object for each"
    finally:
        gc.enable()
