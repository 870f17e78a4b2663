"""Total wall-clock deadlines for blocking HTTP: a dripping server does not hold a thread.

`requests`' timeout is per socket operation: an answer that drips one byte at a time never reaches
it. Here the live socket of each call is known, and shut down when the call's time is up; the thread
that was reading wakes at once with an error.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from runtime.locks import condition_on, named_lock


class Call:
    """One request under a deadline."""

    __slots__ = ("ends", "expired", "finished", "_socket")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.expired = False
        self.finished = False
        self._socket: socket.socket | None = None

    def watch(self, connection_socket: socket.socket | None) -> None:
        """Know the socket the call runs over; a call already over loses it at once."""
        self._socket = connection_socket
        if self.expired:
            self.cut()

    def cut(self) -> None:
        """End the call: whoever reads from its socket wakes with an error."""
        self.expired = True
        if self._socket is not None and not self.finished:
            # The plain shutdown, also of a TLS socket: its own version is not made for other threads.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Current(threading.local):
    call: Call | None = None


_current = _Current()


class Deadlines:
    """Cuts every call whose time is up; one thread for all."""

    def __init__(self) -> None:
        self._lock = named_lock("deadlines")
        self._changed = condition_on(self._lock)
        # Guarded by _lock.
        self._calls: list[tuple[float, int, Call]] = []
        self._serial = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="Deadlines", daemon=True)
        self._thread.start()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Call]:
        """Bound everything this thread sends and reads inside by *seconds*."""
        call = Call(monotonic() + seconds)
        with self._changed:
            heapq.heappush(self._calls, (call.ends, next(self._serial), call))
            if self._calls[0][2] is call:
                self._changed.notify()
        _current.call = call
        try:
            yield call
        finally:
            call.finished = True
            _current.call = None

    def stop(self) -> None:
        """Cut every call still under way, and end the thread."""
        with self._changed:
            self._stopped = True
            under_way = [call for _, _, call in self._calls if not call.finished]
            self._changed.notify()
        for call in under_way:
            call.cut()
        self._thread.join(2)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                due = self._due()
                if not due:
                    self._changed.wait(self._calls[0][0] - monotonic() if self._calls else None)
            for call in due:
                call.cut()

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

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if _current.call is not None:
            _current.call.watch(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if _current.call is not None:
            _current.call.watch(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _HTTPConnection(_Watched, HTTPConnection):
    pass


class _HTTPSConnection(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """The transport of a `requests.Session` whose calls obey `Deadlines.limit`; never retries."""

    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
