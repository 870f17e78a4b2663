"""Commands by Telegram: long polling in a thread of its own, obeyed for the chats on the list only.

A command goes through the same Steering as one by the API, as urgent as there; what is asked by one
who waits for nothing (a close, a flatten) finds a worker whatever the others do.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control import audit
from control.calls import Urgency
from control.routes import ROUTES
from control.steering import Steering
from control.telegram_api import GRACE_S, TelegramApi, TelegramFailed
from control.telegram_words import ASKING, HELP, find_symbol, say_closed, say_flattened, say_paused
from runtime.heartbeat import IDLE_LIMIT_S, Heart
from runtime.locks import assert_no_lock_held
from runtime.pool import UrgentPool
from trading.errors import RadError
from trading.facts import Priority
from trading.ports import Clock

log = logging.getLogger("telegram")

POLL_S = 25                    # Telegram answers at once when there is news, or after this long
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
LONGEST_RETRY_S = 300.0        # whatever Telegram asks for
STALE_S = 60.0                 # a command that was longer on its way is not what is wanted now
CODE_S = 60.0                  # in which a flatten can be confirmed
MOST_WAITING = 20              # commands not answered yet
MOST_STRANGERS = 100           # that the log speaks of
LONGEST_COMMAND = 200
LONGEST_REPLY = 4_000          # characters; Telegram takes 4096
WORKERS = 4
COMMAND_LIMIT_S = 120.0        # a flatten waits for entries under way, and then for each close
MUTE_AFTER_S = 60.0            # without Telegram, before `status` says so

_PRIORITY = {Urgency.EXIT: Priority.CRITICAL, Urgency.ASK: Priority.HIGH, Urgency.SLOW: Priority.NORMAL}
_URGENCY = {route.name: route.urgency for route in ROUTES}


@dataclass(frozen=True, slots=True)
class _Command:
    """One message of somebody who may command."""

    chat: int
    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class _Code:
    """What confirms a flatten, until then."""

    text: str
    ends: float

    def is_meant_by(self, said: str) -> bool:
        """Whether *said* is it."""
        return secrets.compare_digest(self.text.encode(), said.encode())


class Telegram:
    """Listens to one bot's messages and does what they say."""

    def __init__(
        self, steering: Steering, api: TelegramApi, clock: Clock, *,
        chats: Sequence[int], title: str, redact: Callable[[str], str],
    ) -> None:
        self._steering = steering
        self._api = api
        self._clock = clock
        self._chats = frozenset(chats)
        self._title = title
        self._redact = redact
        self._stop = threading.Event()
        self._pool = UrgentPool("telegram", WORKERS, limit_s=COMMAND_LIMIT_S)
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._heart = Heart("Telegram", monotonic=clock.monotonic)
        self._heart.revive = self._begin
        # Below: the thread's own; what `trouble` reads is replaced whole.
        self._offset: int | None = None        # None: what is old has not been passed over yet
        self._codes: dict[int, _Code] = {}
        self._strangers: set[int] = set()
        self._failures = 0
        self._failing: tuple[float, str] | None = None

    def start(self) -> None:
        """Start the threads."""
        self._pool.start()
        self._begin()

    def _begin(self) -> None:
        self._heart.start(self._run)

    def stop(self, timeout_s: float) -> bool:
        """Listen no more and let commands under way end; False if something has not by then."""
        assert_no_lock_held("end Telegram")
        deadline = self._clock.monotonic() + timeout_s
        self._stop.set()
        ended = self._pool.stop(timeout_s)
        self._api.stop()
        return self._heart.join(max(0.1, deadline - self._clock.monotonic())) and ended

    def trouble(self) -> str:
        """Return why no command gets here; empty while they do."""
        failing = self._failing
        if failing is None or self._clock.monotonic() - failing[0] < MUTE_AFTER_S:
            return ""
        return f"Telegram has not answered for {self._clock.monotonic() - failing[0]:.0f} s ({failing[1]})"

    # ---- listening ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._heart.idle(POLL_S + GRACE_S + IDLE_LIMIT_S)
                self._listen_once()
                self._heart.done()
                self._answered()
            except TelegramFailed as error:
                self._wait_after(str(error), error.retry_after_s)
            except Exception as error:  # noqa: BLE001 - a message nobody foresaw is no end
                log.exception("telegram stumbled")
                self._wait_after(type(error).__name__, 0.0)

    def _listen_once(self) -> None:
        if self._offset is None:
            # Passing over: with -1 Telegram gives the latest alone, and the next call forgets it with the rest.
            latest = self._updates(offset=-1, timeout=0)
            self._offset = max((update["update_id"] + 1 for update in latest), default=0)
            return
        for update in self._updates(offset=self._offset, timeout=POLL_S):
            self._offset = max(self._offset, update["update_id"] + 1)     # whatever it holds, it comes once
            self._take(update)

    def _updates(self, *, offset: int, timeout: int) -> list[dict[str, Any]]:
        updates = self._api.call(
            "getUpdates", wait_s=timeout, offset=offset, timeout=timeout, allowed_updates=["message"]
        )
        return [
            update for update in (updates if isinstance(updates, list) else ())
            if isinstance(update, dict) and isinstance(update.get("update_id"), int)
        ]

    def _answered(self) -> None:
        if self._failing is not None:
            log.info("telegram answers again")
        self._failures, self._failing = 0, None

    def _wait_after(self, reason: str, asked_s: float) -> None:
        if self._stop.is_set():
            return
        if self._failing is None:
            log.warning("telegram not reached, trying on reason=%s", self._redact(reason))
        since = self._failing[0] if self._failing is not None else self._clock.monotonic()
        self._failing = since, self._redact(reason)
        pause_s = max(RETRY_S[min(self._failures, len(RETRY_S) - 1)], min(asked_s, LONGEST_RETRY_S))
        self._failures += 1
        self._heart.idle(pause_s + IDLE_LIMIT_S)
        self._clock.wait(self._stop, pause_s)

    # ---- what was said --------------------------------------------------------------------------

    def _take(self, update: Mapping[str, Any]) -> None:
        message = update.get("message")
        if not isinstance(message, dict):
            return
        chat, sender = _id_of(message.get("chat")), _id_of(message.get("from"))
        text, sent_s = message.get("text"), message.get("date")
        if chat not in self._chats or sender not in self._chats:
            self._ignore(chat, sender)
            return
        if not isinstance(text, str) or not text.startswith("/"):
            return
        name, _, rest = text[1:LONGEST_COMMAND].partition(" ")
        command = _Command(chat, name.partition("@")[0].lower(), rest.strip())
        age_s = self._clock.now_ms() / 1000 - sent_s if isinstance(sent_s, int) else STALE_S + 1
        if age_s > STALE_S:
            self._refuse(command, "came too late; say it again if it still holds")
        else:
            self._obey(command)

    def _ignore(self, chat: int | None, sender: int | None) -> None:
        """Say of each stranger once that he is one: a person finds his own number this way."""
        who = sender if chat in self._chats else chat
        if who is None or who in self._strangers or len(self._strangers) >= MOST_STRANGERS:
            return
        self._strangers.add(who)
        log.warning("message ignored, not in telegram.chats chat=%s from=%s", chat, sender)

    def _obey(self, command: _Command) -> None:
        name, desk = command.name, self._steering
        if name in ASKING:
            asking = ASKING[name]
            self._queue(command, _URGENCY[asking.route], lambda: asking.answer(desk))
        elif name == "pause":
            self._do(command, lambda: say_paused(desk.pause()))
        elif name == "resume":
            self._do(command, lambda: say_paused(desk.resume()))
        elif name == "close" and command.rest:
            self._do(command, lambda: say_closed(desk.close(find_symbol(command.rest, desk.positions()))))
        elif name == "close":
            self._say(command, "which one? /close BTC")
        elif name == "flatten":
            self._flatten(command)
        else:
            self._say(command, HELP if name in ("help", "start") else f"I do not know /{name}.\n{HELP}")

    def _flatten(self, command: _Command) -> None:
        """Ask for a code first; it serves once, for a minute, and one wrong answer ends it."""
        code = self._codes.pop(command.chat, None)
        now = self._clock.monotonic()
        if not command.rest:
            code = self._codes[command.chat] = _Code(f"{secrets.randbelow(10_000):04d}", now + CODE_S)
            self._say(command, f"This pauses {self._title} and closes everything. If you mean it, say "
                               f"/flatten {code.text} within {CODE_S:.0f} seconds.")
        elif code is None or now > code.ends or not code.is_meant_by(command.rest):
            self._refuse(command, "was not confirmed: that code does not hold; nothing was done")
        else:
            self._do(command, lambda: say_flattened(self._steering.flatten()))

    # ---- doing and answering --------------------------------------------------------------------

    def _say(self, command: _Command, text: str) -> None:
        self._queue(command, Urgency.ASK, lambda: text)

    def _refuse(self, command: _Command, why: str) -> None:
        audit.record("telegram", command.name, {"chat": command.chat}, why, refused=True)
        self._say(command, f"/{command.name} {why}")

    def _do(self, command: _Command, act: Callable[[], str]) -> None:
        """Have a command carried out, and written down with what came of it."""
        def written_down() -> str:
            said = {"chat": command.chat, "symbol": command.rest if command.name == "close" else None}
            try:
                reply = act()
            except BaseException as error:
                audit.record("telegram", command.name, said, self._redact(str(error)), refused=True)
                raise
            audit.record("telegram", command.name, said, "ok")
            return reply

        self._queue(command, _URGENCY[command.name], written_down)

    def _queue(self, command: _Command, urgency: Urgency, act: Callable[[], str]) -> None:
        if not self._room.acquire(blocking=False):
            log.warning("command dropped, too many wait what=%s", command.name)
            return

        def carry_out() -> None:
            try:
                self._reply(command, self._result_of(command, act))
            finally:
                self._room.release()

        self._pool.submit(carry_out, _PRIORITY[urgency])

    def _result_of(self, command: _Command, act: Callable[[], str]) -> str:
        try:
            return act()
        except (RadError, TimeoutError) as error:
            return str(error) or "timed out"
        except Exception as error:  # noqa: BLE001 - whoever asked gets an answer, and the thread goes on
            log.exception("command failed what=%s", command.name)
            # The text of an unforeseen error may hold anything; its kind is enough outside.
            return f"internal error {type(error).__name__}; the log has the details"

    def _reply(self, command: _Command, text: str) -> None:
        text = f"[{self._title}] {self._redact(text)}"
        if len(text) > LONGEST_REPLY:
            text = f"{text[:LONGEST_REPLY]}\n…"
        try:
            self._api.call("sendMessage", chat_id=command.chat, text=text)
        except TelegramFailed as error:
            log.warning("reply not sent what=%s reason=%s", command.name, self._redact(str(error)))


def _id_of(said: Any) -> int | None:
    number = said.get("id") if isinstance(said, dict) else None
    return number if isinstance(number, int) else None
