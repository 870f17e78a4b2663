"""The journal: what must survive, written by one thread, on disk before a waiting caller goes on.

Writers hand over notes; the thread `Journal` commits whatever has gathered as one transaction, so
ten waiting callers cost one sync of the disk. When a commit fails the journal is no longer `healthy`:
callers that wait get JournalError, and every note of something that has happened stays in memory and
is tried again. Only the intent of an order not yet sent is taken back, because then it is not sent.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from time import perf_counter

import sqlalchemy as sa

from runtime import journal_writes as writes
from runtime.heartbeat import BEAT_S, Heart
from runtime.journal_engine import check_integrity, writing_engine
from runtime.journal_faults import FAULTS, is_about_the_database, worded
from runtime.journal_migrations import prepare_schema
from runtime.journal_reader import JournalReader
from runtime.journal_schema import EquityPoint, Event
from runtime.journal_writes import Apply
from runtime.locks import assert_no_lock_held, condition_on, guard, named_lock
from trading.client_ids import Purpose, parse
from trading.errors import JournalError
from trading.facts import ClosedTrade, EntryPlan, Fill, Order, OrderRequest, Position
from trading.lifecycle import IntentState
from trading.ports import Clock

log = logging.getLogger("journal")

BACKLOG = 10_000           # notes kept in memory while the disk does not take them
BATCH = 500                # notes in one transaction
PATIENCE_S = 10.0          # how long a caller waits for the disk
RETRY_S = 1.0              # between two tries of a disk that failed
READ_PATIENCE_S = 2.0      # how long a read waits for what was noted before it
PROBES = 5                 # commits made at opening to learn how long the disk takes
SLOW_COMMIT_S = 0.05       # an entry waits for one: slower than this is worth a warning


@dataclass(slots=True, eq=False)
class _Note:
    """One thing to be written."""

    what: str
    apply: Apply
    must_keep: bool = True                   # False: an event or an equity point, the first to go
    undo: Apply | None = None                # of an order that is not sent if this cannot be written
    replaces: str = ""                       # of notes waiting under one name only the latest counts
    books: tuple[tuple[str, str], ...] = ()  # fills, by symbol and trade id
    position: Position | None = None         # the one it writes down ...
    apply_without: Apply = lambda _: None    # ... and what is left of it when a later version has been noted
    has_waiter: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    error: JournalError | None = None
    withdrawn: bool = False

    def supersedes(self, other: _Note) -> bool:
        """Whether *other*, still waiting, says nothing that this one does not say later."""
        return other.replaces == self.replaces and (other.over.is_set() or not other.has_waiter)

    def taken_back(self) -> _Note:
        """Return the note to write instead when this one failed: a lost answer may hide a commit."""
        return self if self.undo is None else _Note(f"{self.what} not sent", self.undo)


class SqlJournal(JournalReader):
    """`trading.ports.Journal` on a database; any thread may call it. Opens in its constructor.

    Raises:
        JournalError: it cannot be opened, is damaged, of another schema, or belongs to another *label*.

    *fence*: called as each transaction of notes begins; raises JournalError if this process must not write.
    *redact* takes secrets out of what is noted in words.
    """

    def __init__(
        self, url: str, clock: Clock, *, label: str = "rad", backlog: int = BACKLOG,
        fence: Callable[[sa.Connection], None] | None = None, redact: Callable[[str], str] = str,
    ) -> None:
        assert_no_lock_held("journal opening")
        super().__init__(url)
        self._clock = clock
        self._label = label
        self._fence = fence
        self._redact = redact
        self._limit = backlog
        self._engine = writing_engine(url)
        self._lock = named_lock("journal")
        self._changed = condition_on(self._lock)
        # Guarded by _lock; _failure is replaced as a whole and read without it.
        self._queue: deque[_Note] = deque()
        self._in_hand: tuple[_Note, ...] = ()
        self._unbooked: set[tuple[str, str]] = set()
        self._failure = ""
        self._versions: dict[str, int] = {}    # noted last, by position id
        self._has_news = False                 # a note came since the last try: a reason to try again
        self._dropped = 0
        self._closing = False
        self._tried_last = False               # the one more try after closing began has been made
        guard(
            self, self._lock, "_queue", "_in_hand", "_unbooked", "_versions", "_has_news", "_dropped", "_closing",
            "_tried_last",
        )
        # The writer's alone; what others read of it is replaced whole after each commit.
        self._commits_s: deque[float] = deque(maxlen=512)
        self._commits_read: tuple[float, ...] = ()
        self._opened = threading.Event()
        self._opening_error: JournalError | None = None
        self._heart = Heart("Journal")         # not restarted: unhealthy without it, nothing is entered
        self._thread = self._heart.start(self._run)
        self._opened.wait()
        if self._opening_error is not None:
            raise self._opening_error

    # ---- trading.ports.Journal -------------------------------------------------------------------

    def record_intent(
        self, position_id: str, request: OrderRequest, purpose: str, *, plan: EntryPlan | None = None, wait: bool
    ) -> None:
        """Write down an order; entries with their plan before they are sent, exits and stops after."""
        is_entry = purpose == Purpose.ENTRY.value
        now_ms = self._clock.now_ms()
        apply = writes.intent_written(position_id, request, purpose, plan, now_ms, again=not is_entry)
        undo = writes.intent_settled(request.client_oid, IntentState.NOT_PLACED, "", now_ms)
        what = f"{request.symbol} order {request.client_oid}"
        self._note(_Note(what, apply, undo=undo if is_entry and wait else None), wait=wait)

    def settle_intent(
        self, client_oid: str, state: IntentState, order_id: str = "", *, wait: bool = False
    ) -> None:
        """Note what became of it."""
        apply = writes.intent_settled(client_oid, state, order_id, self._clock.now_ms())
        self._note(_Note(f"order {client_oid} {state.value}", apply), wait=wait)

    def record_fills(self, client_oid: str, fills: Iterable[Fill], *, wait: bool = False) -> None:
        """Book fills; each trade id of a symbol is booked once, whatever is said twice."""
        fills = tuple(fills)
        apply = writes.fills_booked(client_oid, fills, self._clock.now_ms())
        keys = tuple((fill.symbol, fill.trade_id) for fill in fills)
        self._note(_Note(f"fills of {client_oid or 'someone else'}", apply, books=keys), wait=wait)

    def is_booked(self, symbol: str, trade_id: str) -> bool:
        """Whether that fill is in the journal, or on its way there."""
        with self._lock:
            if (symbol, trade_id) in self._unbooked:
                return True
        return super().is_booked(symbol, trade_id)

    def save_position(self, position: Position, *, wait: bool = False) -> None:
        """Insert or replace one position."""
        apply = writes.position_saved(position, self._clock.now_ms())
        name = f"{position.symbol} position {position.position_id}"
        self._note(_Note(name, apply, replaces=name, position=position), wait=wait)

    def record_execution(
        self, client_oid: str, fills: Iterable[Fill], position: Position | None,
        trade: ClosedTrade | None = None, *, wait: bool = True,
    ) -> None:
        """Write what one order did, whole or not at all: its fills, that it is done, the position or trade."""
        fills = tuple(fills)
        apply = writes.execution_recorded(client_oid, fills, position, trade, self._clock.now_ms())
        keys = tuple((fill.symbol, fill.trade_id) for fill in fills)
        note = _Note(f"execution of {client_oid or 'somebody else'}", apply, books=keys)
        if trade is None:              # with it the position is closed, and stays so whatever is noted
            note.position = position
            note.apply_without = writes.execution_recorded(client_oid, fills, None, None, self._clock.now_ms())
        self._note(note, wait=wait)

    def record_found(self, order: Order) -> None:
        """Write down an order of RAD's that the exchange knows, unless it is written down; does not wait."""
        client_oid = parse(order.client_oid)
        if client_oid is not None:
            apply = writes.order_found(
                order, client_oid.position_id, client_oid.purpose.value, self._clock.now_ms()
            )
            self._note(_Note(f"{order.symbol} order {order.client_oid} found", apply), wait=False)

    def settle_funding(self, trade: ClosedTrade) -> None:
        """Correct a trade by its funding, which is known by now: the first word counts; does not wait."""
        name = f"{trade.symbol} funding of {trade.position_id}"
        self._note(_Note(name, writes.funding_settled(trade), replaces=name), wait=False)

    def record_event(self, kind: str, message: str, symbol: str = "") -> None:
        """Note something a person may want to read later; does not wait."""
        said = self._redact(message)           # an answer of the exchange may quote what was sent
        event = Event(at_ms=self._clock.now_ms(), kind=kind, symbol=symbol, message=said)
        self._note(_Note(f"event {kind}", writes.event_noted(event), must_keep=False), wait=False)

    def record_equity(self, equity: Decimal, available: Decimal) -> None:
        """Note a point of the equity curve; does not wait."""
        point = EquityPoint(at_ms=self._clock.now_ms(), equity=equity, available=available)
        self._note(_Note("equity", writes.equity_noted(point), must_keep=False), wait=False)

    def record_account(
        self, day: str, equity: Decimal, day_start: Decimal, peak: Decimal, available: Decimal
    ) -> None:
        """Note equity, where *day* (2026-11-24) began and the peak, for the risk limits; does not wait."""
        point = EquityPoint(at_ms=self._clock.now_ms(), equity=equity, available=available)
        apply = writes.account_noted(point, day, day_start, peak)
        self._note(_Note("account", apply, must_keep=False), wait=False)

    def record_pause(self, paused: bool) -> None:
        """Note whether entries are paused, so that a restart does not end it; does not wait."""
        self._note(_Note("pause", writes.pause_noted(paused), replaces="pause"), wait=False)

    # ---- how it is doing -------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether the last write reached the disk; while it did not, nothing new may be entered."""
        return not self._failure and self._thread.is_alive()

    @property
    def failure(self) -> str:
        """Why it is not healthy; empty while it is."""
        return self._failure

    @property
    def backlog(self) -> int:
        """How many notes are not on disk yet."""
        with self._lock:
            return len(self._queue) + len(self._in_hand)

    def commit_seconds(self) -> tuple[float, ...]:
        """Return how long the latest commits took, the disk's sync included."""
        return self._commits_read

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until everything noted so far is on disk; False if it is not by then."""
        assert_no_lock_held("journal flush")
        with self._lock:
            latest = self._queue[-1] if self._queue else next(iter(reversed(self._in_hand)), None)
        return latest is None or (latest.over.wait(timeout_s) and latest.error is None)

    def close(self, deadline_s: float = 5.0) -> bool:
        """Write what is left and end; False, and a line in the log, if something could not be written."""
        assert_no_lock_held("journal close")
        with self._lock:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(deadline_s)
        super().close()
        left = self.backlog
        if left:
            reason = self._failure or "disk too slow"
            log.error("journal closed with notes unwritten count=%d reason=%s", left, reason)
        return not left

    # ---- handing over ----------------------------------------------------------------------------

    def _note(self, note: _Note, *, wait: bool) -> None:
        note.has_waiter = wait
        if wait:
            assert_no_lock_held("journal write")
        try:
            self._hand_over(note)
        except JournalError as error:
            if wait:
                raise
            # Whoever does not wait has an exit to send: he is not to stumble over the journal.
            log.error("note lost what=%s error=%s", note.what, error)
            return
        if not wait:
            return
        if not note.over.wait(PATIENCE_S):
            self._give_up(note)
        if note.error is not None:
            raise note.error

    def _give_up(self, note: _Note) -> None:
        """Fail a note its caller waits for no longer, unless it is over this very moment."""
        fault = JournalError(f"journal: its disk does not answer within {PATIENCE_S:g} s ({note.what})")
        with self._lock:
            if note.over.is_set():
                return
            is_news = not self._failure
            self._failure = self._failure or str(fault)
            if note.undo is not None:
                note.withdrawn = True
                self._queue.append(note.taken_back())
        if is_news:
            log.error("no new entries until it does: %s", fault)
        raise fault

    def _hand_over(self, note: _Note) -> None:
        with self._lock:
            if self._closing:
                raise JournalError(f"the journal is closed; {note.what} was not written")
            self._pass_over_the_earlier(note)
            self._make_room(note)
            self._queue.append(note)
            self._has_news = True
            self._unbooked.update(note.books)
            self._changed.notify_all()

    def _pass_over_the_earlier(self, note: _Note) -> None:
        """Under the lock: whoever changed a position first may come with it last; the later change stands."""
        position = note.position
        if position is None:
            return
        if position.version < self._versions.get(position.position_id, 0):
            note.apply, note.replaces = note.apply_without, ""
        else:
            self._versions[position.position_id] = position.version

    def _make_room(self, note: _Note) -> None:
        """Under the lock: of what waits, drop what *note* replaces, else what can best be spared."""
        if note.replaces and self._failure:
            self._queue = deque(other for other in self._queue if not note.supersedes(other))
        if len(self._queue) < self._limit:
            return
        spare = next((other for other in self._queue if not other.must_keep), None)
        if spare is not None:
            self._queue.remove(spare)
            self._dropped += 1
        elif note.must_keep:
            raise JournalError(f"the journal has {self._limit} notes it cannot write; {note.what} is lost")

    # ---- the writer ------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: sa.Connection | None = None
        try:
            connection = self._open()
            self._measure(connection)
        except FAULTS as error:
            self._opening_error = worded(error, self.url)
            _close_quietly(connection)
            return
        finally:
            self._opened.set()
        while batch := self._next_batch():
            self._heart.begin(f"{len(batch)} notes")
            connection = self._write(connection, batch)
            self._heart.done()
        _close_quietly(connection)

    def _open(self) -> sa.Connection:
        assert_no_lock_held("journal opening")
        connection = self._engine.connect()
        try:
            with connection.begin():
                check_integrity(connection)
                prepare_schema(connection, self._label)
        except BaseException:
            _close_quietly(connection)
            raise
        return connection

    def _measure(self, connection: sa.Connection) -> None:
        """Commit a row that matters to nobody a few times, and say how long the disk takes for it."""
        for number in range(PROBES):
            started = perf_counter()
            with connection.begin():
                writes.probe(connection, f"{self._clock.now_ms()} {number}")
            self._commits_s.append(perf_counter() - started)
        self._commits_read = tuple(self._commits_s)
        commit_s = median(self._commits_read)
        level = logging.WARNING if commit_s > SLOW_COMMIT_S else logging.INFO
        log.log(level, "journal opened commit_ms=%.1f%s", commit_s * 1000,
                "; every entry waits that long, a faster disk helps" if level == logging.WARNING else "")

    def _next_batch(self) -> tuple[_Note, ...]:
        """Take what has gathered; empty when it is time to end."""
        with self._lock:
            if self._failure:
                self._heart.idle()
                self._changed.wait_for(lambda: self._has_news or self._closing, RETRY_S)
            while not (self._queue or self._closing):
                self._heart.idle()
                self._changed.wait(BEAT_S)
            self._has_news = False
            if self._failure and self._tried_last:
                return ()
            self._tried_last = self._closing
            count = min(len(self._queue), BATCH)
            self._in_hand = tuple(self._queue.popleft() for _ in range(count))
            return self._in_hand

    def _write(self, connection: sa.Connection | None, batch: tuple[_Note, ...]) -> sa.Connection | None:
        """Commit what *batch* notes, in one transaction; None when the connection is of no more use."""
        assert_no_lock_held("journal commit")
        notes = [note for note in batch if not note.withdrawn]
        while True:
            note = None
            started = perf_counter()
            try:
                connection = connection or self._open()
                with connection.begin():
                    if self._fence is not None:
                        self._fence(connection)
                    for note in notes:
                        note.apply(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, the notes are kept and somebody is told
                fault = worded(error, self.url)
                if note is None or is_about_the_database(error):
                    self._put_back(batch, fault)
                    _close_quietly(connection)
                    return None
                # This note can never be written: without it the others can.
                if not note.has_waiter:
                    log.error("note refused what=%s error=%s", note.what, fault)
                note.error = fault
                notes.remove(note)
            else:
                self._commits_s.append(perf_counter() - started)
                self._commits_read = tuple(self._commits_s)
                self._done(batch)
                return connection

    def _done(self, batch: tuple[_Note, ...]) -> None:
        with self._lock:
            failure, self._failure = self._failure, ""
            dropped, self._dropped = self._dropped, 0
            self._in_hand = ()
            for note in batch:
                self._unbooked.difference_update(note.books)
                note.over.set()
            self._changed.notify_all()
        if failure:
            log.info("journal writes again caught_up=%d dropped_events=%d", len(batch), dropped)

    def _put_back(self, batch: tuple[_Note, ...], fault: JournalError) -> None:
        kept = [note.taken_back() for note in batch]
        with self._lock:
            is_news = not self._failure
            self._failure = str(fault)
            self._in_hand = ()
            self._queue.extendleft(reversed(kept))
            for note in batch:
                note.error = fault
                note.over.set()
        if is_news:
            log.error("journal not written, no new entries until it is: %s waiting=%d", fault, len(kept))

    def _before_reading(self) -> None:
        if self.healthy:
            self.flush(READ_PATIENCE_S)


def _close_quietly(connection: sa.Connection | None) -> None:
    if connection is None:
        return
    try:
        connection.close()
    except FAULTS as error:
        log.debug("connection did not close cleanly error=%s", error)
