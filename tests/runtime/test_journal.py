"""The journal: what was committed is there again, exactly; what failed is said, kept and caught up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime import journal as journal_module
from runtime.journal import SqlJournal
from runtime.journal_reader import JournalReader
from runtime.locks import LockBreach, named_lock
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import SYMBOL, a_fill, a_plan, a_position, a_request, a_trade, url_in
from trading.errors import JournalError
from trading.facts import ExitReason, ProtectiveStop, Side
from trading.lifecycle import IntentState, PositionState

PATIENCE_S = 10.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a journal that does not exist yet."""
    return url_in(tmp_path)


@pytest.fixture
def journal(url: str, clock: ManualClock) -> Iterator[SqlJournal]:
    """An open journal."""
    opened = SqlJournal(url, clock, label="test")
    yield opened
    opened.close()


class Gate:
    """Stands before every commit of a journal: closed it lets none pass, broken it fails them."""

    def __init__(self, journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.batches: list[int] = []
        write = journal._write

        def guarded(connection: sa.Connection | None, batch: tuple[object, ...]) -> sa.Connection | None:
            self.arrived.set()
            assert self.open.wait(PATIENCE_S)
            self.batches.append(len(batch))
            return write(connection, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(journal, "_write", guarded)
        create = journal_module.create_schema

        def failing(connection: sa.Connection, label: str) -> None:
            if self.error is not None:
                raise self.error
            create(connection, label)

        monkeypatch.setattr(journal_module, "create_schema", failing)
        self._journal = journal

    def break_disk(self, text: str = "database or disk is full") -> None:
        """From now on every commit fails: the one in hand, and every new connection."""
        self.error = sqlite3.OperationalError(text)
        note = journal_module._Note("a failing note", self._raise, must_keep=False, withdraw_on_failure=True)
        with pytest.raises(JournalError):
            self._journal._note(note, wait=True)

    def _raise(self, _connection: sa.Connection) -> None:
        assert self.error is not None
        raise self.error

    def mend_disk(self) -> None:
        """Commits work again."""
        self.error = None


@pytest.fixture
def gate(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before the commits of *journal*."""
    return Gate(journal, monkeypatch)


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
    assert set(journal.client_oids()) == {"o1"}
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
    journal.close_position(a_position("p1", quantity=D(0)), a_trade("p1"))
    journal.save_position(a_position("p1", quantity=D(0), state=PositionState.CLOSING), wait=True)
    assert journal.open_positions() == ()


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
    journal.close_position(position, a_trade())
    assert journal.open_positions() == ()
    assert journal.trades(10) == (a_trade(),)
    assert journal.unsettled_intents() == ()
    closed = journal.position("p1")
    assert closed is not None
    assert closed.state is PositionState.CLOSED


def test_trades_and_events_come_newest_first(journal: SqlJournal, clock: ManualClock) -> None:
    """The latest are what people ask for; the limit cuts the old."""
    for number in range(3):
        journal.close_position(a_position(f"p{number}"), a_trade(f"p{number}", closed_ms=number))
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
    with pytest.raises(sa.exc.OperationalError, match="readonly"), reader._reading.begin() as connection:
        connection.execute(sa.text("DELETE FROM position"))
    reader.close()


# ---- what happens when it cannot be written ------------------------------------------------------


def test_a_failed_entry_is_withdrawn(journal: SqlJournal, gate: Gate) -> None:
    """The caller is told, does not send, and the intent does not turn up later."""
    gate.break_disk()
    assert not journal.healthy
    assert "cannot grow: the disk is full" in journal.failure
    with pytest.raises(JournalError, match="the disk is full"):
        journal.record_intent("p1", a_request(), "e", wait=True)
    gate.mend_disk()
    journal.save_position(a_position("p2"), wait=True)
    assert journal.healthy
    assert journal.unsettled_intents() == ()


def test_what_has_happened_is_kept_and_caught_up(journal: SqlJournal, gate: Gate) -> None:
    """Exits, fills and positions wait in memory, in order, also when their caller was told of the fault."""
    gate.break_disk()
    journal.record_intent("p1", a_request("rad-p1-x0"), "x", wait=False)
    journal.record_fills("rad-p1-x0", [a_fill("t1")])
    with pytest.raises(JournalError, match="the disk is full"):
        journal.close_position(a_position("p1"), a_trade("p1"), wait=True)
    assert journal.is_booked(SYMBOL, "t1")
    gate.mend_disk()
    journal.record_event("mended", "")
    journal.save_position(a_position("p2"), wait=True)
    assert journal.trades() == (a_trade("p1"),)
    assert journal.fills_of("p1") == (a_fill("t1"),)
    assert [intent.state for intent in journal.intents_of("p1")] == [IntentState.DONE]
    assert (journal.failure, journal.backlog) == ("", 0)


def test_a_full_database_fails_closed_and_recovers(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself runs out of pages: nothing committed is lost, and all is caught up when it has room."""
    room = {"pages": 40}
    make_engine = journal_module.writing_engine

    def small_engine(address: str) -> sa.Engine:
        engine = make_engine(address)

        @sa.event.listens_for(engine, "connect")
        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute(f"PRAGMA max_page_count={room['pages']}")

        return engine

    monkeypatch.setattr(journal_module, "writing_engine", small_engine)
    journal = SqlJournal(url, clock, label="test")
    saved: list[str] = []

    def fill_up() -> None:
        while len(saved) < 1000:
            name = f"p{len(saved):04}"
            journal.save_position(a_position(name), wait=True)
            saved.append(name)

    with pytest.raises(JournalError, match="cannot grow: the disk is full"):
        fill_up()
    assert saved
    assert not journal.healthy
    assert [position.position_id for position in journal.open_positions()] == saved
    room["pages"] = 10_000
    journal.save_position(a_position("last"), wait=True)
    refused = f"p{len(saved):04}"                     # its caller was told, and it was kept
    assert [position.position_id for position in journal.open_positions()] == ["last", *saved, refused]
    assert journal.healthy
    journal.close()


def test_a_mended_disk_is_found_without_a_new_note(
    journal: SqlJournal, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer tries again by itself."""
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    gate.break_disk()
    journal.save_position(a_position())
    gate.mend_disk()
    with journal._lock:
        assert journal._changed.wait_for(lambda: journal.healthy, PATIENCE_S)
    assert journal.open_positions() == (a_position(),)


def test_memory_is_bounded_while_the_disk_fails(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what waits, saves of one position are one, events go first; then the loss is said."""
    journal = SqlJournal(url, clock, label="test", backlog=5)
    gate = Gate(journal, monkeypatch)
    gate.break_disk()
    gate.open.clear()
    gate.arrived.clear()
    journal.record_event("first", "in the writer's hand")
    assert gate.arrived.wait(PATIENCE_S)
    for number in range(20):
        journal.save_position(a_position(stop_price=D(number + 1)))
        journal.record_event("spare", str(number))
    assert journal.backlog <= 7
    for number in range(4):
        journal.record_fills("", [a_fill(f"t{number}")])
    journal.record_fills("", [a_fill("one too many")])
    assert "5 notes it cannot write; fills of someone else is lost" in caplog.text
    with pytest.raises(JournalError, match="5 notes it cannot write"):
        journal.record_fills("", [a_fill("one too many")], wait=True)
    gate.mend_disk()
    gate.open.set()
    assert journal.close()
    reader = JournalReader.open(url)
    assert [position.stop_price for position in reader.open_positions()] == [D(20)]
    assert len(reader.booked_fills(0)) == 4


def test_a_note_that_can_never_be_written_holds_up_nobody(journal: SqlJournal, gate: Gate) -> None:
    """Its caller is told; the others of its transaction are written."""
    gate.open.clear()
    journal.save_position(a_position("p0"))
    assert gate.arrived.wait(PATIENCE_S)
    journal.save_position(a_position("p1", opened_ms=2**70))   # no database has room for that
    journal.save_position(a_position("p2"))
    gate.open.set()
    assert journal.flush()
    assert [position.position_id for position in journal.open_positions()] == ["p0", "p2"]
    assert journal.healthy


def test_closing_writes_what_is_left(url: str, clock: ManualClock) -> None:
    """close() returns when everything noted is on disk; afterwards nothing is taken any more."""
    journal = SqlJournal(url, clock, label="test")
    for number in range(50):
        journal.save_position(a_position(f"p{number}"))
    assert journal.close()
    assert len(JournalReader.open(url).open_positions()) == 50
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.save_position(a_position(), wait=True)


def test_closing_on_a_failed_disk_ends_and_says_so(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end does not wait for a disk that will not come back."""
    journal = SqlJournal(url, clock, label="test")
    gate = Gate(journal, monkeypatch)
    gate.break_disk()
    journal.save_position(a_position())
    assert not journal.close()
    assert not journal._thread.is_alive()
    assert "journal closed with notes unwritten count=1" in caplog.text


# ---- opening -------------------------------------------------------------------------------------


def refusal(url: str, clock: ManualClock, label: str = "test") -> str:
    """Return why a journal does not open."""
    with pytest.raises(JournalError) as caught:
        SqlJournal(url, clock, label=label)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path, url: str, clock: ManualClock) -> None:
    """Something that is no database is not overwritten."""
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"this is not a database at all, but it is long enough to look at" * 20)
    assert f"journal {file} is damaged or not a journal" in refusal(url, clock)
    assert file.read_bytes().startswith(b"this is not")


def test_a_torn_page_is_found_at_opening(tmp_path: Path, url: str, clock: ManualClock) -> None:
    """A database damaged inside is refused before anything is traded on it."""
    journal = SqlJournal(url, clock, label="test")
    for number in range(40):
        journal.save_position(a_position(f"p{number}"))
    journal.close()
    file = tmp_path / "journal.sqlite"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    file.write_bytes(content)
    assert "is damaged" in refusal(url, clock)


def test_a_newer_schema_is_refused(url: str, clock: ManualClock, journal: SqlJournal) -> None:
    """A journal of a later RAD is neither written nor misread."""
    journal.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    connection.close()
    assert "has schema 99, but this RAD knows 1; use the RAD that wrote it" in refusal(url, clock)
    with pytest.raises(JournalError, match="has schema 99"):
        JournalReader.open(url)


def test_a_journal_of_another_mode_is_refused(url: str, clock: ManualClock, journal: SqlJournal) -> None:
    """Play positions are never taken for real ones."""
    journal.close()
    assert "belongs to test, not to live futures" in refusal(url, clock, label="live futures")


def test_a_field_added_later_is_read_as_its_default(url: str, clock: ManualClock, journal: SqlJournal) -> None:
    """An older file gets the new column; its rows mean the field's default."""
    journal.save_position(a_position(), wait=True)
    journal.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("ALTER TABLE position DROP COLUMN steps_taken")
    connection.close()
    again = SqlJournal(url, clock, label="test")
    assert again.open_positions() == (a_position(steps_taken=0),)
    again.save_position(a_position(steps_taken=2))
    assert again.open_positions() == (a_position(steps_taken=2),)
    again.close()


def test_a_locked_file_is_refused(url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer has it: one line says so."""
    monkeypatch.setattr("runtime.journal_engine.BUSY_TIMEOUT_MS", 1)
    SqlJournal(url, clock, label="test").close()
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "is locked by another process; is a second RAD running?" in refusal(url, clock)
    other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    """A folder without the right to write is named."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "cannot be opened; do folder and file exist" in refusal(url_in(folder), clock)


def test_a_missing_folder_and_a_wrong_address_are_refused(tmp_path: Path, clock: ManualClock) -> None:
    """The text says what is missing."""
    assert "do folder and file exist" in refusal(url_in(tmp_path / "nowhere"), clock)
    assert "is not a database address" in refusal("what is this", clock)


def test_reading_a_journal_that_is_not_there(url: str, tmp_path: Path) -> None:
    """Nothing is made by looking."""
    with pytest.raises(JournalError, match="there is no journal .* yet"):
        JournalReader.open(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("attempt to write a readonly database", "is read-only; give its owner the right to write"),
        ("disk I/O error", "cannot be read or written: the disk fails"),
        ("database disk image is malformed", "is damaged; move it away"),
        ("something new", "failed: something new"),
    ],
)
def test_a_fault_of_the_disk_in_words(journal: SqlJournal, gate: Gate, text: str, meaning: str) -> None:
    """Each kind of failed commit has a line that says what would help."""
    gate.break_disk(text)
    assert meaning in journal.failure
    assert "\n" not in journal.failure


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
