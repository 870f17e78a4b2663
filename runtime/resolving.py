"""Host names to addresses without waiting longer than the caller has: a dead resolver stops no exit."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime.heartbeat import Heart
from runtime.locks import assert_no_lock_held, condition_on, guard, named_lock

LOOK_UP_LIMIT_S = 60.0                 # a system's resolver gives up after half of that, by default

Answer = list[tuple[int, str]]         # (address family, numeric address)


class Resolver:
    """Asks anew for each connection; what it was told last serves when no answer comes in time."""

    def __init__(self, ask: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._ask = ask
        self._lock = named_lock("resolver")
        self._answered = condition_on(self._lock)
        # Guarded by _lock.
        self._known: dict[str, Answer] = {}
        self._asking: set[str] = set()
        self._failures: dict[str, OSError] = {}
        guard(self, self._lock, "_known", "_asking", "_failures")

    def resolve(self, host: str, port: int, timeout_s: float) -> Answer:
        """Return the addresses of *host*.

        Raises:
            OSError: no answer in time, or "no such host", and none known from before.
        """
        if _is_numeric(host):
            return [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]
        with self._lock:
            is_asked = host in self._asking
            self._asking.add(host)
        if not is_asked:
            self._start_asking(host, port)
        with self._answered:
            self._answered.wait_for(lambda: host not in self._asking, timeout_s)
            known = self._known.get(host)
            failure = self._failures.get(host)
        if known:
            return known
        raise failure or TimeoutError(f"no address for {host} in time")

    def _start_asking(self, host: str, port: int) -> None:
        """Ask in a thread of its own: getaddrinfo cannot be interrupted, and is not to block the caller."""
        assert_no_lock_held("starting a thread")
        heart = Heart("Resolver", limit_s=LOOK_UP_LIMIT_S)
        try:
            heart.start(partial(self._look_up, host, port))
        except RuntimeError as error:      # no thread is left for it
            heart.retire()
            with self._answered:
                self._asking.discard(host)
                self._failures[host] = OSError(str(error))
                self._answered.notify_all()

    def _look_up(self, host: str, port: int) -> None:
        answer: Answer = []
        failure: OSError | None = None
        try:
            told = self._ask(host, port, type=socket.SOCK_STREAM)
            answer = [(int(found[0]), str(found[4][0])) for found in told]
        except OSError as error:
            failure = error
        finally:
            with self._answered:
                self._asking.discard(host)
                if answer:
                    self._known[host] = answer
                if failure is not None:
                    self._failures[host] = failure
                self._answered.notify_all()


def _is_numeric(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
