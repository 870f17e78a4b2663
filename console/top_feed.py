"""What `top` shows, asked of the daemon every second by one thread, and what it is told, by another."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from console.daemon import Daemon
from console.failure import Failure, NotRunning
from console.top_keys import Order
from console.wording import earned_by
from runtime.locks import guard, named_lock

EVERY_S = 1.0
TIMEOUT_S = 3.0
QUESTIONS: Mapping[str, dict[str, int]] = {
    "positions": {}, "opportunities": {}, "trades": {"limit": 50}, "threads": {},
    "events": {"limit": 50},
}
LEAVE_S = 0.3                  # for the threads at the end: a call under way is the daemon's to finish
LOG_TAIL_BYTES = 64_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The daemon's latest answers; replaced whole, never edited."""

    answers: Mapping[str, Any] = field(default_factory=dict)
    asked_at: float = 0.0                  # monotonic: no answer is older
    trouble: str = "nothing heard yet"     # why there is no newer answer; empty while there is
    is_down: bool = False
    log: tuple[str, ...] = ()
    note: tuple[str, bool] = ("", True)    # how the last order went, and whether well

    def age_s(self, now: float) -> float:
        """Return how old they are at most, in seconds."""
        return now - self.asked_at if self.asked_at else float("inf")


class Feed:
    """Asks and tells in threads of its own; *on_news* is called from them after each change."""

    def __init__(self, daemon: Daemon, log_file: Path | None, on_news: Callable[[], None]) -> None:
        self._daemon = daemon
        self._log_file = log_file
        self._on_news = on_news
        self._stop = threading.Event()
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._soon = threading.Event()     # an order was carried out: look at once
        self._lock = named_lock("top")
        # Guarded by _lock.
        self._facts = Facts()
        guard(self, self._lock, "_facts")
        self._threads = [
            threading.Thread(target=self._ask_on, name="top-ask", daemon=True),
            threading.Thread(target=self._tell_on, name="top-tell", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; one that waits for the daemon is left to itself."""
        self._stop.set()
        self._soon.set()
        self._orders.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(LEAVE_S)

    @property
    def is_busy(self) -> bool:
        """Whether a thread has not ended."""
        return any(thread.is_alive() for thread in self._threads)

    def facts(self) -> Facts:
        with self._lock:
            return self._facts

    def tell(self, order: Order) -> None:
        """Have the daemon do something; how it went comes with the facts."""
        self._orders.put(order)

    # ---- the two threads ------------------------------------------------------------------------

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            self._ask_once()
            self._soon.wait(EVERY_S)
            self._soon.clear()

    def _ask_once(self) -> None:
        asked_at = time.monotonic()
        try:
            answers = {"status": self._ask("status", {})}
            answers |= {name: self._if_it_can(name, query) for name, query in QUESTIONS.items()}
        except Failure as failure:
            self._change(trouble=str(failure), is_down=isinstance(failure, NotRunning), log=self._tail())
            return
        self._change(answers=answers, asked_at=asked_at, trouble="", is_down=False, log=self._tail())

    def _if_it_can(self, name: str, query: dict[str, int]) -> Any:
        """Return the answer; None where the daemon lives but has none to this: its part of the screen says so."""
        try:
            return self._ask(name, query)
        except NotRunning:
            raise
        except Failure:
            return None

    def _ask(self, name: str, query: dict[str, int]) -> Any:
        if self._stop.is_set():
            raise Failure("ending", 0)
        return self._daemon.ask(name, timeout_s=TIMEOUT_S, **query)

    def _tell_on(self) -> None:
        while (order := self._orders.get()) is not None and not self._stop.is_set():
            try:
                answer = self._daemon.tell(order.name, **order.body)
            except Failure as failure:
                self._change(note=(f"{order.name}: {failure}", False))
            else:
                self._change(note=_in_words(order, answer))
            self._soon.set()

    def _change(self, **fields: Any) -> None:
        with self._lock:
            self._facts = replace(self._facts, **fields)
        self._on_news()

    def _tail(self) -> tuple[str, ...]:
        """Return the log's latest lines; none where there is no file one may read."""
        if self._log_file is None:
            return ()
        try:
            with self._log_file.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ()
        return tuple(lines[1:] if len(lines) > 1 else lines)


def _in_words(order: Order, answer: Any) -> tuple[str, bool]:
    if order.name == "close":
        return f"closed {answer.get('side')} {answer.get('symbol')} at {answer.get('exit_price')}, " \
               f"PnL {earned_by(answer)}", True
    if order.name == "flatten":
        failed = answer.get("failed") or ()
        closed = f"flattened: {len(answer.get('closed') or ())} closed, paused"
        return (f"{closed}; NOT closed: {'; '.join(failed)}", False) if failed else (closed, True)
    return ("paused: no entries from scanning; exits go on", True) if answer.get("paused") else ("resumed", True)
