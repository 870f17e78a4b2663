"""Total wall-clock deadlines for blocking HTTP: a dripping server does not hold a thread.

A socket's timeout is per operation: an answer that drips one byte at a time never reaches it. Here
the live socket of each call is known, and shut down when the call's time is up; the thread that was
reading wakes at once with an error. Connecting and the name look-up are bounded by what is left.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any

from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from runtime.heartbeat import BEAT_S, OVERDUE_S, Heart, doing
from runtime.locks import assert_no_lock_held, condition_on, guard, named_lock
from runtime.resolving import Resolver

DEFAULT_CONNECT_S = 10.0       # outside a deadline
LEAST_S = 0.001                # a timeout of zero would mean "do not block"

_resolver = Resolver()
# Which call a connection serves, and so whether a cut may touch it; held for one system call at most.
_owners = named_lock("connections")


class Call:
    """One request under a deadline."""

    __slots__ = ("ends", "expired", "finished", "_connection", "_socket")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.expired = False
        self.finished = False
        # Guarded by _owners.
        self._connection: _Watched | None = None
        self._socket: socket.socket | None = None

    def left_s(self) -> float:
        """Seconds until it is cut."""
        return max(LEAST_S, self.ends - monotonic())

    def is_over(self) -> bool:
        """Whether its time is up, cut already or about to be."""
        return self.expired or monotonic() >= self.ends

    def runs_over(self, connection: _Watched, its_socket: socket.socket | None) -> None:
        """Know where the call runs; the connection serves no earlier call any more."""
        with _owners:
            connection.serves = self
            self._connection = connection
            self._socket = its_socket
            expired = self.expired
        if expired:
            raise TimeoutError("the time of this call is up")

    def cut(self) -> None:
        """End the call: whoever reads from its socket wakes with an error."""
        with _owners:
            self.expired = True
            # A connection that went back to the pool may be serving somebody else by now.
            if self._socket is not None and self._connection is not None and self._connection.serves is self:
                # The plain shutdown, also of a TLS socket: its own version is not made for other threads.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Current(threading.local):
    call: Call | None = None


_current = _Current()


class Deadlines:
    """Cuts every call whose time is up; one thread for all. *vital_s*: as `Heart` has it."""

    def __init__(self, name: str = "Deadlines", *, vital_s: float | None = None) -> None:
        self._lock = named_lock("deadlines")
        self._changed = condition_on(self._lock)
        # Guarded by _lock.
        self._calls: list[tuple[float, int, Call]] = []
        self._serial = itertools.count()
        self._stopped = False
        self._latest = inf                     # beyond which no call may last
        guard(self, self._lock, "_calls", "_serial", "_stopped", "_latest")
        self._heart = Heart(name, vital_s=vital_s)
        self._heart.revive = self._begin
        self._heart.supersede = self._replace
        self._begin()

    def _begin(self) -> None:
        self._heart.start(self._run)

    def _replace(self) -> bool:
        self._begin()                          # two that cut do no harm: a call is cut once
        return True

    @contextmanager
    def limit(self, seconds: float, what: str = "") -> Iterator[Call]:
        """Bound everything this thread sends and reads inside by *seconds*; `./rad threads` shows *what*."""
        with self._changed:
            call = Call(min(monotonic() + seconds, self._latest))
            heapq.heappush(self._calls, (call.ends, next(self._serial), call))
            if self._calls[0][2] is call:
                self._changed.notify()
        _current.call = call
        try:
            with doing("wire", what, seconds + OVERDUE_S):
                yield call
        finally:
            call.finished = True
            _current.call = None

    def end_by(self, moment: float) -> None:
        """Let no call last beyond *moment* (monotonic), those under way and those to come."""
        with self._changed:
            self._latest = moment
            for _, _, call in tuple(self._calls):
                if not call.finished and moment < call.ends:
                    call.ends = moment
                    heapq.heappush(self._calls, (moment, next(self._serial), call))
            self._changed.notify()

    def is_past(self) -> bool:
        """Whether a call that began now would be cut at once."""
        with self._changed:
            return monotonic() >= self._latest

    def stop(self) -> None:
        """Cut every call still under way, and end the thread."""
        assert_no_lock_held("cutting calls")
        with self._changed:
            self._stopped = True
            under_way = [call for _, _, call in self._calls if not call.finished]
            self._changed.notify()
        for call in under_way:
            call.cut()
        self._heart.join(2)

    def _run(self) -> None:
        heart = self._heart
        while heart.is_mine():
            with self._changed:
                if self._stopped:
                    return
                due = self._due()
                if not due:
                    heart.idle()
                    self._changed.wait(min(self._calls[0][0] - monotonic(), BEAT_S) if self._calls else BEAT_S)
                    continue
            heart.begin("cutting")
            for call in due:
                call.cut()
            heart.done()

    def _due(self) -> list[Call]:
        now, due = monotonic(), []
        while self._calls and (self._calls[0][0] <= now or self._calls[0][2].finished):
            call = heapq.heappop(self._calls)[2]
            if not call.finished:
                due.append(call)
        return due


class _Watched:
    """A connection that tells the current call which socket it uses."""

    sock: Any
    host: str
    port: int
    socket_options: Any
    serves: Call | None = None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if _current.call is not None:
            _current.call.runs_over(self, self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        assert_no_lock_held("sending a request")
        if _current.call is not None:
            _current.call.runs_over(self, self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        assert_no_lock_held("connecting")
        call = _current.call
        ends = monotonic() + (call.left_s() if call is not None else DEFAULT_CONNECT_S)
        connected = self._reach_any(ends)
        for option in self.socket_options or ():
            connected.setsockopt(*option)
        # A TLS handshake takes this for all of its reads together; answers do not, hence the cutting.
        connected.settimeout(max(LEAST_S, ends - monotonic()))
        return connected

    def _reach_any(self, ends: float) -> socket.socket:
        """Connect to the first address that answers before *ends*."""
        failure: OSError = OSError("no address")
        try:
            addresses = _resolver.resolve(self.host, self.port, max(LEAST_S, ends - monotonic()))
        except OSError as error:
            raise NewConnectionError(self, f"no address for {self.host}: {error}") from error  # type: ignore[arg-type]
        for family, address in addresses:
            if ends <= monotonic():
                break
            reached = socket.socket(family, socket.SOCK_STREAM)
            try:
                reached.settimeout(max(LEAST_S, ends - monotonic()))
                reached.connect((address, self.port))
                return reached
            except OSError as error:
                reached.close()
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} in time") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure  # type: ignore[arg-type]


class _HTTPConnection(_Watched, HTTPConnection):
    pass


class _HTTPSConnection(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def deadline_pools(connections: int, *, ca_certs: str) -> PoolManager:
    """Return kept-alive connections, *connections* per host, whose calls obey `Deadlines.limit`."""
    pools = PoolManager(num_pools=4, maxsize=connections, block=False, ca_certs=ca_certs)
    pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pools
