"""The lease: one holder at a time, on the database's word, and nothing sent that might outlive it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal as D
from typing import Any

import pytest
import sqlalchemy as sa

from runtime import journal_postgres, lease_row
from runtime.journal import SqlJournal
from runtime.lease import LEASE_S, LONGEST_SINCE_RENEWAL_S, POLL_S, RENEW_S, Lease, account_name
from runtime.lease_row import LeaseRow, LeaseTable, on_server
from sandbox import auth
from tests.crowd import crowd
from tests.manual_clock import ManualClock
from tests.postgres import PostgresServer
from trading.errors import ExchangeUnavailable, JournalError
from trading.lifecycle import SIGNATURE_LIFE_S

ACCOUNT = "live futures 0123456789abcdef"
TAKEOVER_S = 20.0
START_S = 3.0              # a warm standby's, from the lease to the first look at every stop
TRIALS = 100_000


class Row:
    """The row in memory, with a clock of its own that a test sets, and a database that may be away."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.owner, self.epoch, self.expires_ms, self.renewed_ms = "", 0, 0, 0
        self.away = False

    def look(self) -> LeaseRow | None:
        self._answer()
        return LeaseRow(
            owner=self.owner, host="there", epoch=self.epoch, renewed_ms=self.renewed_ms,
            expired=self.expires_ms <= self.now_ms,
        )

    def take(self, owner: str, host: str, seen: LeaseRow | None, length_ms: int) -> int | None:
        self._answer()
        self.owner, self.epoch = owner, self.epoch + 1
        self.renewed_ms, self.expires_ms = self.now_ms, self.now_ms + length_ms
        return self.epoch

    def keep(self, owner: str, epoch: int, length_ms: int) -> bool:
        self._answer()
        if self.owner != owner:
            return False
        self.renewed_ms, self.expires_ms = self.now_ms, self.now_ms + length_ms
        return True

    def give_back(self, owner: str, epoch: int, left_ms: int) -> bool:
        self._answer()
        if self.owner != owner:
            return False
        self.owner, self.expires_ms = "", self.now_ms + left_ms
        return True

    def close(self) -> None:
        """Nothing to give back."""

    def is_kept(self, connection: sa.Connection, owner: str, epoch: int) -> bool:
        return self.owner == owner

    def _answer(self) -> None:
        if self.away:
            raise JournalError("the database is away")


class Boottime:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def boottime() -> Boottime:
    return Boottime()


@pytest.fixture
def row() -> Row:
    return Row()


@pytest.fixture
def lease(row: Row, clock: ManualClock, boottime: Boottime) -> Lease:
    """A lease just taken."""
    taken = Lease(row, clock, boottime=boottime)
    assert taken.acquire()
    return taken


@pytest.fixture
def url(postgres: PostgresServer, clock: ManualClock) -> str:
    """The address of a journal on a server, its tables made."""
    address = postgres.url("lease")
    SqlJournal(address, clock, label="test").close()
    return address


OPENED: list[LeaseTable] = []


@pytest.fixture(autouse=True)
def tables_closed() -> Iterator[None]:
    """Connections are given back, also where nobody releases his lease."""
    yield
    while OPENED:
        OPENED.pop().close()


def a_table(url: str, name: str = ACCOUNT) -> LeaseTable:
    OPENED.append(LeaseTable(url, name))
    return OPENED[-1]


def a_lease(url: str, clock: ManualClock, host: str, boottime: Boottime | None = None) -> Lease:
    return Lease(a_table(url), clock, host=host, boottime=boottime or Boottime())


def expire(postgres: PostgresServer) -> None:
    """Let the database's clock have passed the lease's end."""
    postgres.execute("UPDATE lease SET expires_ms = 0", "lease")


# ---- the figures -------------------------------------------------------------------------------------


def test_the_figures_fit_together() -> None:
    """A holder in health renews in time, also after one try that fails; a successor is there within 20 s."""
    assert LONGEST_SINCE_RENEWAL_S == 5.0                    # 12 - 5 - 1 - 1
    assert RENEW_S + lease_row.PATIENCE_S < LONGEST_SINCE_RENEWAL_S
    assert journal_postgres.IDLE_IN_TRANSACTION_S < LEASE_S      # a frozen writer's lock is gone before the lease
    # Renewed as it froze, looked at just before the end; that look and the taking may each take their time.
    assert LEASE_S + POLL_S + 2 * lease_row.PATIENCE_S + START_S <= TAKEOVER_S


def test_one_signature_life() -> None:
    """Who looks up orders or sends them, and who plays KuCoin, mean the same five seconds."""
    assert SIGNATURE_LIFE_S == auth.LIFE_MS / 1000


# ---- what the holder may send ------------------------------------------------------------------------


@pytest.mark.parametrize(("booted_s", "wall_s", "passes"), [
    (0.0, 0.0, True),
    (4.9, 4.9, True),
    (5.1, 5.1, False),
    (60.0, 60.0, False),       # frozen, or suspended: both clocks went on
    (0.5, 60.0, False),        # the whole machine stood still, and its clock was set right afterwards
    (5.1, 0.0, False),         # the clock was set back
    (1.0, 3.5, False),         # set ahead: 3.5 s since the renewal, and the signature lives 2.5 s longer
    (1.0, 2.9, True),          # 2.9 + 1.9
])
def test_an_order_leaves_only_if_the_lease_outlives_it(
    lease: Lease, clock: ManualClock, boottime: Boottime, booted_s: float, wall_s: float, passes: bool
) -> None:
    """Five seconds after the renewal was asked for it is over, on whichever clock has seen more of them."""
    stamp_ms = clock.now_ms() + round(wall_s * 1000)
    boottime.now += booted_s
    if passes:
        lease.require(stamp_ms)
    else:
        with pytest.raises(ExchangeUnavailable, match="not sent: the lease was last renewed"):
            lease.require(stamp_ms)


def test_a_step_of_the_clock_counts_until_it_is_measured(
    lease: Lease, clock: ManualClock, boottime: Boottime
) -> None:
    """Signed with a clock set ahead by 4.5 s, an order lives 9.5 s: no, until RAD knows of the step."""
    clock.advance(4.5)
    assert lease.renew()
    boottime.now += 1.0
    with pytest.raises(ExchangeUnavailable):
        lease.require(clock.now_ms() + 1000)                 # 1 + 4.5 > 5
    lease.clock_measured()
    lease.require(clock.now_ms() + 1000)


def test_without_the_lease_nothing_leaves(row: Row, clock: ManualClock) -> None:
    """A standby, or a console command, sends nothing."""
    with pytest.raises(ExchangeUnavailable, match="does not hold the lease"):
        Lease(row, clock).require(clock.now_ms())


def test_an_unreachable_database_stops_orders_and_ends_nothing(
    lease: Lease, row: Row, clock: ManualClock, boottime: Boottime
) -> None:
    """Until somebody has taken over it is still ours: renewed after a minute, it goes on."""
    row.away = True
    clock.advance(6)
    boottime.now += 6
    with pytest.raises(JournalError):
        lease.renew()
    assert lease.trouble() == (
        "lease: not renewed for 6 s, no order leaves until it is (the database is away)"
    )
    with pytest.raises(ExchangeUnavailable):
        lease.require(clock.now_ms())
    row.away, row.now_ms = False, 60_000
    assert lease.renew()
    assert lease.trouble() == ""
    lease.require(clock.now_ms())


def test_the_answer_counts_from_before_the_question(
    lease: Lease, row: Row, clock: ManualClock, boottime: Boottime
) -> None:
    """Frozen while the database answers, the holder does not think it was renewed just now."""
    keep = row.keep

    def slowly(owner: str, epoch: int, length_ms: int) -> bool:
        kept = keep(owner, epoch, length_ms)
        boottime.now += 30
        clock.advance(30)
        return kept

    row.keep = slowly  # type: ignore[method-assign]
    assert lease.renew()
    with pytest.raises(ExchangeUnavailable):
        lease.require(clock.now_ms())


def test_given_back_when_the_last_signature_is_void(row: Row, clock: ManualClock, boottime: Boottime) -> None:
    """Two seconds after an order the lease stays for five more; without one it is free at once."""
    lease = Lease(row, clock, boottime=boottime)
    assert lease.acquire()
    lease.require(clock.now_ms())
    boottime.now += 2
    lease.release()
    assert row.expires_ms == 5_000                           # 5 + 1 + 1 - 2
    with pytest.raises(ExchangeUnavailable):
        lease.require(clock.now_ms())
    row.now_ms = 5_000
    quiet = Lease(row, clock, boottime=boottime)
    assert quiet.acquire()
    quiet.release()
    assert row.expires_ms == row.now_ms


def test_a_renewal_under_way_does_not_undo_the_end(lease: Lease, row: Row, clock: ManualClock) -> None:
    """Answered after the lease was given back, it neither holds it again nor takes it for lost."""
    keep = row.keep

    def meanwhile(owner: str, epoch: int, length_ms: int) -> bool:
        lease.release()
        return keep(owner, epoch, length_ms)

    row.keep = meanwhile  # type: ignore[method-assign]
    assert lease.renew()
    assert not lease.held
    assert not lease.lost


class Overtaking(Row):
    """It answers a renewal, and before that is heard another has the lease and the writer knows."""

    lease: Lease

    def keep(self, owner: str, epoch: int, length_ms: int) -> bool:
        kept = super().keep(owner, epoch, length_ms)
        self.owner = "another"
        with pytest.raises(JournalError, match="has taken over"):
            self.lease.fence(None)                                         # type: ignore[arg-type]
        return kept


def test_a_renewal_heard_late_does_not_undo_that_another_has_it(clock: ManualClock, boottime: Boottime) -> None:
    """Its thread slept for the length of a lease with the answer in hand."""
    row = Overtaking()
    row.lease = lease = Lease(row, clock, boottime=boottime)
    assert lease.acquire()
    assert lease.renew() is False
    assert (lease.held, lease.lost) == (False, True)


def test_a_writer_that_is_late_does_not_take_the_end_for_a_take_over(lease: Lease, row: Row) -> None:
    """It looks at the row when the lease has been given back: it may not write, and RAD ends as it was told to."""
    is_kept = row.is_kept

    def given_back_meanwhile(*asked: Any) -> bool:
        lease.release()
        return is_kept(*asked)

    row.is_kept = given_back_meanwhile                                     # type: ignore[method-assign]
    with pytest.raises(JournalError):
        lease.fence(None)                                                  # type: ignore[arg-type]
    assert (lease.held, lease.lost) == (False, False)


def test_the_rule_simulated() -> None:
    """A holder frozen 0 to 60 s at any step, requests up to 6 s on the way, clocks off by up to a second."""
    dice = random.Random(20261126)
    assert accepted_after_takeover(as_it_is, TRIALS, dice) == 0
    assert accepted_after_takeover(without, TRIALS // 10, dice) > 3_000
    assert accepted_after_takeover(lease_first, TRIALS // 10, dice) > 1_500
    assert accepted_after_takeover(without_margins, TRIALS, dice) > 0


class World(ManualClock):
    """One time for everybody: what passes on one clock passes on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 500.0

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def __call__(self) -> float:
        return self.now


def as_it_is(lease: Lease, world: World, pause: float, renewed: float) -> float:
    """First the time, then the lease."""
    stamp = world.now
    world.now += pause
    lease.require(round(stamp * 1000))
    return stamp


def without(lease: Lease, world: World, pause: float, renewed: float) -> float:
    world.now += pause
    return world.now


def lease_first(lease: Lease, world: World, pause: float, renewed: float) -> float:
    """The usual "is my lease still good?", and the time afterwards."""
    lease.require(world.now_ms())
    world.now += pause
    return world.now


def without_margins(lease: Lease, world: World, pause: float, renewed: float) -> float:
    """In the right order, but as if clocks were exact."""
    stamp = world.now
    world.now += pause
    if world.now - renewed > LEASE_S - SIGNATURE_LIFE_S:
        raise ExchangeUnavailable("not sent")
    return stamp


def accepted_after_takeover(
    sign: Callable[[Lease, World, float, float], float], trials: int, dice: random.Random
) -> int:
    """Return how many of *trials* sends the exchange accepts after somebody else has taken over."""
    world = World()
    lease = Lease(Row(), world, boottime=world)
    renewed = world.now
    lease.acquire()
    count = 0
    for _ in range(trials):
        pauses = [dice.random() * 0.05 for _ in range(4)]
        pauses[dice.randrange(4)] += dice.random() * 60      # frozen here
        pauses[3] += dice.random() * 6                       # and slow on the way
        world.now = renewed + dice.random() * RENEW_S + pauses[0]
        try:
            stamp = sign(lease, world, pauses[1], renewed)
        except ExchangeUnavailable:
            continue
        world.now += pauses[2] + pauses[3]                   # signed, and sent, and on its way
        taken = stamp + dice.uniform(-1, 1)                  # for the time of the exchange
        count += abs(world.now - taken) <= SIGNATURE_LIFE_S and world.now > renewed + LEASE_S
    return count


# ---- who holds it: on a real server ------------------------------------------------------------------


def test_one_holds_it_and_the_other_knows_who(url: str, clock: ManualClock) -> None:
    """The second is refused and can name the first; given back, it is taken at once."""
    first, second = a_lease(url, clock, "here"), a_lease(url, clock, "there")
    assert first.acquire()
    assert not second.acquire()
    assert second.trouble() == "standby: here holds the lease"
    first.release()
    assert second.acquire()
    assert second.trouble() == ""
    second.release()


def test_of_many_takers_one_has_it(url: str, clock: ManualClock, postgres: PostgresServer) -> None:
    """Free from the start, and expired: each time exactly one of eight."""
    first = [a_lease(url, clock, f"host{n}") for n in range(8)]
    for number in (1, 2):
        takers = [a_lease(url, clock, f"host{n}") for n in range(8)] if number == 2 else first
        won: list[Lease] = []
        together = threading.Barrier(8)

        def take(taker: Lease, together: threading.Barrier = together, won: list[Lease] = won) -> None:
            together.wait(10)
            if taker.acquire():
                won.append(taker)

        with crowd(*[lambda taker=taker: take(taker) for taker in takers]):
            pass
        assert len(won) == 1
        assert postgres.execute("SELECT epoch FROM lease", "lease") == [(number,)]
        expire(postgres)


def test_overtaken_it_knows_at_the_next_renewal(url: str, clock: ManualClock, postgres: PostgresServer) -> None:
    """Expired and taken by another, nothing leaves any more, and renewing says so for ever."""
    first, second = a_lease(url, clock, "here"), a_lease(url, clock, "there")
    assert first.acquire()
    expire(postgres)
    assert first.renew()                       # expired, but nobody came: it goes on
    expire(postgres)
    assert second.acquire()
    assert not first.renew()
    assert first.lost
    assert not first.renew()
    with pytest.raises(ExchangeUnavailable):
        first.require(clock.now_ms())
    assert second.renew()


def test_overtaken_it_knows_at_its_end_at_the_latest(
    url: str, clock: ManualClock, postgres: PostgresServer
) -> None:
    """It gives nothing back that is another's."""
    first, second = a_lease(url, clock, "here"), a_lease(url, clock, "there")
    assert first.acquire()
    expire(postgres)
    assert second.acquire()
    first.release()
    assert first.lost
    assert second.renew()


def test_a_step_of_the_databases_clock_ends_no_lease_early(
    url: str, clock: ManualClock, postgres: PostgresServer
) -> None:
    """A standby that saw it renewed waits its length out by its own watch as well."""
    watch = Boottime()
    holder, standby = a_lease(url, clock, "here"), a_lease(url, clock, "there", watch)
    assert holder.acquire()
    assert not standby.acquire()
    assert holder.renew()
    assert not standby.acquire()               # sees the renewal
    expire(postgres)                           # and the database's clock leaps an hour
    watch.now += LEASE_S - 0.1
    assert not standby.acquire()
    watch.now += 0.1
    assert standby.acquire()


def test_every_account_has_a_lease_of_its_own(url: str, clock: ManualClock) -> None:
    """Two accounts on one server do not meet, and their leases' names do not tell the key."""
    names = {account_name("live", "futures", key) for key in ("key-one", "key-two")}
    assert len(names) == 2
    assert not [name for name in names if "key" in name]
    assert all(Lease(a_table(url, name), clock).acquire() for name in names)


def test_only_a_server_needs_one() -> None:
    """A file is excluded by the folder's lock, and a broken file must not stop an exit."""
    assert on_server("postgresql://host/rad")
    assert not on_server("sqlite:////folder/journal.sqlite")


# ---- what the old holder still writes ----------------------------------------------------------------


def test_the_old_holders_notes_are_refused(url: str, clock: ManualClock, postgres: PostgresServer) -> None:
    """After the takeover not one of them lands; who waits for one gets the error."""
    first, second = a_lease(url, clock, "here"), a_lease(url, clock, "there")
    assert first.acquire()
    journal = SqlJournal(url, clock, label="test", fence=first.fence)
    journal.record_equity(D(1), D(1))
    assert journal.flush()
    expire(postgres)
    assert second.acquire()
    journal.record_equity(D(2), D(2))
    assert not journal.flush()
    assert "another RAD" in journal.failure
    assert first.lost
    assert not journal.close()
    assert postgres.execute("SELECT equity FROM equity", "lease") == [("1",)]


def test_a_standby_writes_nothing(url: str, clock: ManualClock, postgres: PostgresServer) -> None:
    """Without the lease the journal takes no note."""
    journal = SqlJournal(url, clock, label="test", fence=a_lease(url, clock, "there").fence)
    journal.record_equity(D(1), D(1))
    assert not journal.flush()
    journal.close()
    assert postgres.execute("SELECT equity FROM equity", "lease") == []


def test_a_writer_frozen_in_its_transaction_is_ended_by_the_server(
    url: str, clock: ManualClock, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was writing is gone, its lock on the row too, and the successor takes over."""
    monkeypatch.setitem(journal_postgres._SESSION, "idle_in_transaction_session_timeout", "1s")
    first, second = a_lease(url, clock, "here"), a_lease(url, clock, "there")
    assert first.acquire()
    arrived, go_on = threading.Event(), threading.Event()

    def frozen(connection: sa.Connection) -> None:
        first.fence(connection)
        arrived.set()
        go_on.wait(10)

    journal = SqlJournal(url, clock, label="test", fence=frozen)
    journal.record_equity(D(1), D(1))
    assert arrived.wait(10)
    expire(postgres)                           # like the successor, it waits for the frozen writer's lock
    assert second.acquire()
    go_on.set()
    assert not journal.flush()
    journal.close()
    assert postgres.execute("SELECT equity FROM equity", "lease") == []

