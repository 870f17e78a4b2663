"""The lease: of all RADs of one account and journal exactly one may trade, on whatever machine.

A row of the journal's database says who and until when. The holder renews it, and sends nothing that
changes something unless the lease outlives the signature (`Lease.require`). The exchange refuses old
signatures, so whatever a frozen holder still sends when it wakes up is refused by RAD or by the
exchange. Its notes are refused by the database (`Lease.fence`). docs/STANDBY.md has the argument.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import uuid4

import sqlalchemy as sa

from runtime.clock import boottime
from runtime.lease_row import LeaseRow, LeaseTable
from runtime.locks import guard, named_lock
from trading.errors import ExchangeUnavailable, JournalError
from trading.lifecycle import SIGNATURE_LIFE_S
from trading.ports import Clock

log = logging.getLogger("lease")

LEASE_S = 12.0             # after its last renewal the holder has been gone for so long: another takes over
RENEW_S = 2.0              # between two renewals
POLL_S = 1.0               # between two looks of a standby
CLOCK_SKEW_S = 1.0         # how far our idea of the exchange's time may be off
MARGIN_S = 1.0             # for what nobody has thought of
# A request signed later than this after the last renewal might be accepted beside a successor's.
LONGEST_SINCE_RENEWAL_S = LEASE_S - SIGNATURE_LIFE_S - CLOCK_SKEW_S - MARGIN_S


class Store(Protocol):
    """The row, as the database keeps it. Every method may raise JournalError: nothing was learnt."""

    def look(self) -> LeaseRow | None: ...

    def take(self, owner: str, host: str, seen: LeaseRow | None, length_ms: int) -> int | None: ...

    def keep(self, owner: str, epoch: int, length_ms: int) -> bool: ...

    def give_back(self, owner: str, epoch: int, left_ms: int) -> bool: ...

    def close(self) -> None: ...

    def is_kept(self, connection: sa.Connection, owner: str, epoch: int) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A lease as its holder may count on it: from before the database was asked."""

    epoch: int
    asked: float               # boottime
    asked_ms: int              # wall clock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How this process stands with the lease; replaced whole, so that any thread may read it."""

    held: _Held | None = None
    lost: bool = False
    seen: LeaseRow | None = None           # by a standby, last
    failure: str = ""


class Lease:
    """This process's hold on the right to trade one account; any thread."""

    def __init__(
        self, store: Store, clock: Clock, *, host: str = "", boottime: Callable[[], float] = boottime
    ) -> None:
        self.host = host or socket.gethostname()
        self.ended = threading.Event()         # given back: nobody is to renew it any more
        self._store = store
        self._clock = clock
        self._boottime = boottime
        self._owner = uuid4().hex
        self._lock = named_lock("lease")
        # Guarded by _lock; _standing is changed under it and read without.
        self._standing = _Standing()
        self._quiet_since: float | None = None         # since when a standby has seen nothing change
        self._last_request: float | None = None        # let through
        guard(self, self._lock, "_quiet_since", "_last_request")
        # The main thread's, read by any: wall clock minus boottime when the exchange's time was measured.
        self._wall_ahead = self._now_ahead()

    # ---- what others ask ------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether this process is the one to trade, as far as it knows."""
        return self._standing.held is not None

    @property
    def lost(self) -> bool:
        """Whether another RAD has taken over: this one is to end."""
        return self._standing.lost

    def trouble(self) -> str:
        """Return a sentence on what keeps this process from trading just now; empty when nothing does."""
        now = self._standing
        why = f" ({now.failure})" if now.failure else ""
        if now.lost:
            return "lease: another RAD has taken over, this one ends"
        if now.held is None:
            holder = now.seen.host if now.seen is not None and now.seen.owner else "nobody"
            return f"standby: {holder} holds the lease{why}"
        idle_s = self._boottime() - now.held.asked
        if idle_s <= LONGEST_SINCE_RENEWAL_S:
            return ""
        return f"lease: not renewed for {idle_s:.0f} s, no order leaves until it is{why}"

    # ---- taking, keeping, giving back -----------------------------------------------------------

    def acquire(self) -> bool:
        """Take the lease if nobody has it any more; False if somebody does.

        Raises:
            JournalError: the database does not answer: nothing is known.
        """
        with self._failures_noted("lease cannot be read"):
            seen = self._store.look()
            if not self._is_quiet(seen):
                return False
            asked, asked_ms = self._boottime(), self._clock.now_ms()
            epoch = self._store.take(self._owner, self.host, seen, _ms(LEASE_S))
        if epoch is None:
            return False
        with self._lock:
            self._standing = replace(self._standing, held=_Held(epoch=epoch, asked=asked, asked_ms=asked_ms))
        log.info("lease taken epoch=%d from=%s", epoch, seen.host if seen and seen.owner else "nobody")
        return True

    def _is_quiet(self, seen: LeaseRow | None) -> bool:
        """Whether it is free: given back, or expired, also by the watch of a standby that saw it renewed.

        The second keeps a step of the database's clock from ending a lease before its time.
        """
        now = self._boottime()
        with self._lock:
            before = self._standing.seen
            self._standing = replace(self._standing, seen=seen)
            if seen is not None and before is not None and seen != before:
                self._quiet_since = now
            quiet_since = self._quiet_since
        if seen is None:
            return True
        if not seen.expired:
            return False
        return not seen.owner or quiet_since is None or now - quiet_since >= LEASE_S

    def renew(self) -> bool:
        """Prolong the lease; False once another RAD has it.

        Raises:
            JournalError: the database does not answer. It is held until somebody takes it.
        """
        held, lost = self._standing.held, self._standing.lost
        if held is None or lost:
            return not lost
        asked, asked_ms = self._boottime(), self._clock.now_ms()
        with self._failures_noted("lease not renewed"):
            kept = self._store.keep(self._owner, held.epoch, _ms(LEASE_S))
        with self._lock:
            if self.ended.is_set():
                return True
            if self._standing.lost:            # the writer has been told by now, and this answer is the older
                return False
            renewed = _Held(epoch=held.epoch, asked=asked, asked_ms=asked_ms) if kept else None
            self._standing = replace(self._standing, held=renewed, lost=not kept)
        return kept

    def release(self) -> None:
        """Give it back, so that a standby need not wait; not before the last request's signature is void."""
        self.ended.set()
        with self._lock:
            held, last_request = self._standing.held, self._last_request
            self._standing = replace(self._standing, held=None)
        if held is not None:
            self._give_back(held, last_request)
        self._store.close()

    def _give_back(self, held: _Held, last_request: float | None) -> None:
        left_s = 0.0
        if last_request is not None:
            void = last_request + SIGNATURE_LIFE_S + CLOCK_SKEW_S + MARGIN_S
            left_s = max(0.0, void - self._boottime())
        try:
            given = self._store.give_back(self._owner, held.epoch, _ms(left_s))
            with self._lock:
                self._standing = replace(self._standing, lost=not given)
        except JournalError as error:
            log.warning("lease not given back, it expires by itself in=%.0fs error=%s", LEASE_S, error)

    # ---- what the lease forbids -----------------------------------------------------------------

    def require(self, stamp_ms: int) -> None:
        """Let a request pass that is about to be signed with *stamp_ms*, this machine's time, taken before.

        The order matters: who is frozen after taking the time has it refused by the exchange, who is
        frozen before it finds the lease too old here.

        Raises:
            ExchangeUnavailable: the signature might outlive the lease; nothing may be sent.
        """
        now = self._boottime()
        with self._lock:
            # In one step: who gives the lease back either knows of this request or has refused it.
            held = self._standing.held
            self._last_request = now if self._last_request is None else max(self._last_request, now)
        if held is None:
            raise ExchangeUnavailable("not sent: this RAD does not hold the lease")
        # Whichever clock has seen more time pass is believed: a virtual machine may stand still as a
        # whole, and somebody then sets its clock right.
        since_renewal_s = max(now - held.asked, (stamp_ms - held.asked_ms) / 1000)
        stepped_s = max(0.0, stamp_ms / 1000 - now - self._wall_ahead)
        if since_renewal_s + stepped_s > LONGEST_SINCE_RENEWAL_S:
            raise ExchangeUnavailable(f"not sent: the lease was last renewed {since_renewal_s:.1f} s ago")

    def clock_measured(self) -> None:
        """The exchange's time has just been measured: steps of our clock count from here."""
        self._wall_ahead = self._now_ahead()

    def fence(self, connection: sa.Connection) -> None:
        """Refuse what *connection*'s transaction writes unless the lease is held till its end.

        Raises:
            JournalError: it is not.
        """
        held = self._standing.held
        if held is None:
            raise JournalError("is written by the RAD that holds the lease, which this one does not")
        if not self._store.is_kept(connection, self._owner, held.epoch):
            with self._lock:
                # What was given back meanwhile nobody has taken over.
                lost = self._standing.lost or not self.ended.is_set()
                self._standing = replace(self._standing, held=None, lost=lost)
            raise JournalError("belongs to another RAD now: it has taken over the lease")

    @contextmanager
    def _failures_noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except JournalError as error:
            with self._lock:
                before = self._standing.failure
                self._standing = replace(self._standing, failure=str(error))
            if not before:
                log.error("%s, trying again error=%s", what, error)
            raise
        with self._lock:
            before = self._standing.failure
            self._standing = replace(self._standing, failure="")
        if before:
            log.info("lease: the database answers again")

    def _now_ahead(self) -> float:
        return self._clock.now_ms() / 1000 - self._boottime()


def account_name(mode: str, market: str, key: str) -> str:
    """Return the lease's name for an account: told from others by a print of its key, never the key."""
    return f"{mode} {market} {hashlib.sha256(key.encode()).hexdigest()[:16]}"


def lease_of(url: str, name: str, clock: Clock) -> Lease:
    """Return a lease, not held yet, on the row *name* of the journal at *url*, which is on a server."""
    return Lease(LeaseTable(url, name), clock)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
