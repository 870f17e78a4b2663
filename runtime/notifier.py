"""Messages to a person: each outlet has a thread that reads the feed of events and sends what it may.

The feed is the queue, and it is bounded: an outlet that is dead or slow falls behind, alone, and says
so in `status`. What repeats is counted and said once; what piled up while an outlet was away goes in
a few messages, not in hundreds.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any

from runtime.events import EventFeed
from runtime.folding import Folding
from runtime.heartbeat import Heart
from runtime.locks import assert_no_lock_held
from trading.events import Event, Kind, Level, NotifyRules
from trading.ports import Clock

log = logging.getLogger("notify")

PATIENCE_S = 60.0              # longest time between two looks at the feed
FOLD_S = 300.0
FOLD_CRITICAL_S = 60.0
RETRY_S = (5.0, 10.0, 30.0, 60.0, 300.0)
HANGS_AFTER_S = 30.0           # in one send, before an outlet counts as silent
MOST_WAITING = 100             # lines; the least grave and oldest give way
MOST_LINES, MOST_CHARACTERS = 20, 1500     # of one message
LATE_S = 60.0                  # older news says when it happened

# Each of these is news, however many there are.
_NEVER_FOLDED = frozenset({Kind.ENTRY, Kind.EXIT, Kind.PART_CLOSED, Kind.DAILY, Kind.STARTED, Kind.STOPPING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes out in one piece."""

    title: str
    body: str
    level: Level


# Sends one message and returns why it was not taken; empty when it was. May take its time, may raise.
Send = Callable[[Message], str]


@dataclass(frozen=True, slots=True)
class _Line:
    at_ms: int
    level: Level
    text: str


class Outlet:
    """Brings the feed's events to one service, in a thread of its own."""

    def __init__(
        self, name: str, send: Send, feed: EventFeed, clock: Clock, *,
        rules: NotifyRules, title: str, redact: Callable[[str], str],
    ) -> None:
        self.name = name
        self._send = send
        self._feed = feed
        self._clock = clock
        self._rules = rules
        self._title = title
        self._redact = redact
        self._stop = threading.Event()
        self._heart = Heart(f"Notifier-{name}", monotonic=clock.monotonic)
        self._heart.revive = self.start
        # Below: the thread's own; what `trouble` reads is replaced whole.
        self._seen = feed.latest
        self._waiting: deque[_Line] = deque()
        self._lost = 0
        self._foldings = {
            True: Folding[Event](FOLD_CRITICAL_S), False: Folding[Event](FOLD_S),
        }
        self._failures = 0
        self._next_try = 0.0
        self._sending_since: float | None = None
        self._failing: tuple[float, str] | None = None      # since when, and why the latest was not taken

    def start(self) -> None:
        """Start the thread; also the way to start it again."""
        self._heart.start(self._run)

    def ask_to_stop(self) -> None:
        """Bring what there is and end; it is noticed when the feed is closed."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False if the service holds the thread still."""
        assert_no_lock_held("join an outlet")
        return self._heart.join(timeout_s)       # one that never came to a start has ended, too

    def trouble(self) -> str:
        """Return why messages do not get out; empty while they do."""
        now, since, failing = self._clock.monotonic(), self._sending_since, self._failing
        if since is not None and now - since > HANGS_AFTER_S:
            return f"{self.name} has not answered for {now - since:.0f} s"
        if failing is not None:
            return f"{self.name} has taken nothing for {now - failing[0]:.0f} s ({failing[1]})"
        return ""

    # ---- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        self._heart.idle(inf)          # a service that hangs is no reason to enter nothing: `trouble` says it
        while not self._stop.is_set():
            try:
                self._take(self._feed.wait_after(self._seen, self._pause_s()))
                self._take_repeats()
                while self._waiting and not self._stop.is_set() and self._clock.monotonic() >= self._next_try:
                    self._deliver()
            except Exception:  # noqa: BLE001 - the outlet outlives whatever it stumbles over
                log.exception("outlet stumbled outlet=%s", self.name)
                self._clock.wait(self._stop, RETRY_S[0])
        self._bring_the_last()

    def _bring_the_last(self) -> None:
        """Send what there is before the end; what is not taken now is lost."""
        self._take(self._feed.after(self._seen))
        self._take_repeats(at_the_end=True)
        while self._waiting and self._deliver():
            pass

    def _pause_s(self) -> float:
        """Return how long there is nothing to do unless something happens."""
        now = self._clock.monotonic()
        due = (folding.next_due_s(now) for folding in self._foldings.values())
        pauses = [PATIENCE_S, *(each for each in due if each is not None)]
        if self._waiting:
            pauses.append(self._next_try - now)
        return max(0.0, min(pauses))

    def _take(self, events: Sequence[Event]) -> None:
        if not events:
            return
        missed, self._seen = events[0].number - self._seen - 1, events[-1].number
        self._lost += max(0, missed)
        now = self._clock.monotonic()
        for event in events:
            if not self._rules.wants(self.name, event):
                continue
            folding = self._foldings[event.gravity is Level.CRITICAL]
            if event.kind in _NEVER_FOLDED or folding.admit(_fold_key(event), event, now):
                self._wait(event, "")

    def _take_repeats(self, *, at_the_end: bool = False) -> None:
        now = self._clock.monotonic()
        due = [
            repeats for folding in self._foldings.values()
            for repeats in folding.due(now, all_of_them=at_the_end)
        ]
        for event, count in sorted(due, key=lambda repeats: repeats[0].number):
            self._wait(event, f" (… {count} times more)" if count > 1 else " (… once more)")

    def _wait(self, event: Event, suffix: str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            least = min(self._waiting, key=lambda line: (line.level, line.at_ms))
            self._waiting.remove(least)
            self._lost += 1
        text = self._redact(f"{event.text}{suffix}")
        self._waiting.append(_Line(event.at_ms, event.level, text))

    def _deliver(self) -> bool:
        """Send one message of what waits; what was not taken is tried again later."""
        lines, message = self._next_message()
        self._sending_since = self._clock.monotonic()
        try:
            reason = self._redact(self._send(message))
        except Exception as error:  # noqa: BLE001 - a service's library may raise anything; it is no end
            reason = self._redact(f"{type(error).__name__}: {error}")
        finally:
            self._sending_since = None
        if reason:
            self._failed(reason)
            return False
        self._heart.done()
        for _ in range(lines):
            self._waiting.popleft()
        self._lost = 0
        if self._failing is not None:
            log.info("messages get out again outlet=%s", self.name)
        self._failures, self._failing = 0, None
        return True

    def _failed(self, reason: str) -> None:
        now, failing = self._clock.monotonic(), self._failing
        if failing is None:
            log.warning("message not taken, trying on outlet=%s reason=%s", self.name, reason)
        self._failing = now if failing is None else failing[0], reason
        self._next_try = now + RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1

    def _next_message(self) -> tuple[int, Message]:
        """Return how many lines go next, and the message they make."""
        now_ms, texts, level = self._clock.now_ms(), [], Level.INFO
        if self._lost:
            texts.append(f"… {self._lost} older messages were lost")
        lines = 0
        for line in self._waiting:
            text = _dated(line, now_ms)
            is_full = lines >= MOST_LINES or sum(map(len, texts)) + len(text) > MOST_CHARACTERS
            if lines and is_full:
                break
            texts.append(text[:MOST_CHARACTERS])
            level = max(level, line.level)
            lines += 1
        title = self._title if level is Level.INFO else f"{self._title} {level.word}"
        return lines, Message(title=title, body="\n".join(texts), level=level)


class Notifier:
    """All outlets of one daemon."""

    def __init__(self, outlets: Sequence[Outlet], clock: Clock) -> None:
        self._outlets = tuple(outlets)
        self._clock = clock

    def start(self) -> None:
        """Start their threads."""
        for outlet in self._outlets:
            outlet.start()

    def stop(self, feed: EventFeed, timeout_s: float) -> bool:
        """End *feed* and let each bring what it has, all at once; False if some did not get it out in time."""
        for outlet in self._outlets:
            outlet.ask_to_stop()
        feed.close()
        deadline = self._clock.monotonic() + timeout_s
        ended = [outlet.join(max(0.0, deadline - self._clock.monotonic())) for outlet in self._outlets]
        return all(ended)

    def trouble(self) -> str:
        """Return why messages do not get out; empty while they do."""
        return "; ".join(filter(None, (outlet.trouble() for outlet in self._outlets)))


def _fold_key(event: Event) -> tuple[Any, ...]:
    """Return what makes two events the same news: numbers in their words may differ."""
    name, what = event.fields.get("name", ""), event.fields.get("what", "")
    return event.kind, event.symbol, event.over, name, re.sub(r"\d+", "", str(what))


def _dated(line: _Line, now_ms: int) -> str:
    if now_ms - line.at_ms < LATE_S * 1000:
        return line.text
    return f"{datetime.fromtimestamp(line.at_ms / 1000, UTC).strftime('%d %b %H:%M:%S')} {line.text}"
