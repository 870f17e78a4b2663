"""What happens that a person may want to be told: the kinds, how grave each is, and its words.

Whoever publishes hands over the kind and plain facts. The sentence is made by whoever reads it, so
that nothing on its way to the exchange ever stops to word one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Protocol

READ_DIGITS = 9
READ_CONTEXT = Context(prec=READ_DIGITS)
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Level(IntEnum):
    """How grave: a person should know, should look some time, should look now."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3

    @property
    def word(self) -> str:
        """Return it as config.yaml writes it."""
        return self.name.lower()


class Kind(StrEnum):
    """What happened. Those that last (`Words.over` is not empty) come once more when it is over."""

    STARTED = "started"
    STOPPING = "stopping"
    PAUSED = "paused"
    HALTED = "halted"
    DAILY = "daily"
    ENTRY = "entry"
    PART_CLOSED = "part_closed"
    EXIT = "exit"
    REBUILT = "rebuilt"
    ADOPTED = "adopted"
    UNPROTECTED = "unprotected"
    NAKED = "naked"
    EXIT_STUCK = "exit_stuck"
    UNCERTAIN = "uncertain"
    DIFFERENCE = "difference"
    FOREIGN = "foreign"
    THREAD_STUCK = "thread_stuck"
    THREAD_REPLACED = "thread_replaced"
    THREAD_FAILED = "thread_failed"
    EXCHANGE = "exchange"
    PRICES = "prices"
    JOURNAL = "journal"
    LEASE = "lease"
    NO_PAIRS = "no_pairs"
    ENTRIES = "entries"
    NOTIFIER = "notifier"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind is told: its level, its sentence, and the sentence for its end if it lasts."""

    level: Level
    text: str
    over: str = ""


INFO, WARNING, CRITICAL = Level

WORDS: Mapping[Kind, Words] = {
    Kind.STARTED: Words(INFO, "RAD {version} runs: {mode} {market}, {positions} open"),
    Kind.STOPPING: Words(INFO, "RAD stops; {positions} stay open, {protected} with a stop on the exchange"),
    Kind.PAUSED: Words(INFO, "paused: nothing is entered", "resumed"),
    Kind.HALTED: Words(WARNING, "halted, nothing is entered: {what}", "no longer halted"),
    Kind.DAILY: Words(
        INFO, "{day}: {trades} trades, {wins} won, {pnl:+.2f} {quote} after {less}; equity {equity:.2f},"
        " {positions} open"),
    Kind.ENTRY: Words(
        INFO, "opened {side}, {quantity} at {price}, stop {stop}, worth {notional:.2f}; {reasons}"),
    Kind.PART_CLOSED: Words(INFO, "part closed ({reason}): {quantity} at {price}, {left} left"),
    Kind.EXIT: Words(
        INFO, "closed {side} ({reason}): {pnl:+.2f} {quote} before funding, {r:+.2f} R; {entry} to {price},"
        " held {held_s:.0f} s"),
    Kind.REBUILT: Words(WARNING, "rebuilt from the exchange, not in the journal: {side} {quantity} at {price}"),
    Kind.ADOPTED: Words(INFO, "adopted, looked after from now on: {side} {quantity} at {price}, stop {stop}"),
    Kind.UNPROTECTED: Words(CRITICAL, "no stop confirmed on the exchange within {deadline_s:.0f} s: closing it"),
    Kind.NAKED: Words(CRITICAL, "has no stop on the exchange", "has a stop on the exchange again"),
    Kind.EXIT_STUCK: Words(CRITICAL, "CANNOT BE CLOSED, trying on: {what}", "can be closed again, or is gone"),
    Kind.UNCERTAIN: Words(WARNING, "what became of its order is not certain yet", "what became of it is certain"),
    Kind.DIFFERENCE: Words(
        CRITICAL, "book and exchange differ, and nothing explains it; nothing is entered: {what}",
        "book and exchange agree again"),
    Kind.FOREIGN: Words(
        WARNING, "a position that is not RAD's: {what}; left alone", "the position that was not RAD's is gone"),
    Kind.THREAD_STUCK: Words(
        CRITICAL, "thread {name} {what}; nothing is entered", "thread {name} gets on again"),
    Kind.THREAD_REPLACED: Words(CRITICAL, "thread {name} died and was replaced: {what}"),
    Kind.THREAD_FAILED: Words(WARNING, "thread {name} failed and goes on: {what}"),
    Kind.EXCHANGE: Words(WARNING, "the exchange does not answer: {what}", "the exchange answers again"),
    Kind.PRICES: Words(WARNING, "prices of what is held: {what}", "prices come by the stream again"),
    Kind.JOURNAL: Words(CRITICAL, "the journal is not written, nothing is entered: {what}",
                        "the journal is written again"),
    Kind.LEASE: Words(WARNING, "{what}", "the lease is ours"),
    Kind.NO_PAIRS: Words(WARNING, "{what}", "pairs pass the filter again"),
    Kind.ENTRIES: Words(WARNING, "entering fails: {what}", "entering works again"),
    Kind.NOTIFIER: Words(WARNING, "messages do not get out: {what}", "messages get out again"),
    Kind.TROUBLE: Words(WARNING, "{what}", "over: {what}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. Numbers grow, over restarts too, and leave nothing out."""

    number: int
    at_ms: int
    kind: Kind
    gravity: Level                         # of its kind
    symbol: str = ""
    over: bool = False                     # it is the end of what was told before
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """Return how grave it is now: the end of a trouble is good news."""
        return Level.INFO if self.over else self.gravity

    @property
    def text(self) -> str:
        """Return it as a sentence, the symbol first; facts that do not fit are told as they are."""
        words = WORDS[self.kind]
        try:
            told = {name: _told(name, value) for name, value in self.fields.items()}
            facts = {"quote": _quote(self.symbol), **told}
            said = (words.over if self.over else words.text).format_map(facts)
        except Exception:  # noqa: BLE001 - a badly worded event must not cost the ones after it
            said = f"{self.kind} {'over ' * self.over}{dict(self.fields)}"
        return f"{self.symbol} {said}" if self.symbol else said


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyRules:
    """Who is told what."""

    level: Level = Level.INFO                              # nothing less grave is sent
    muted: frozenset[Kind] = frozenset()
    outlets: Mapping[str, Level] = field(default_factory=dict)     # an outlet's own level
    silent: frozenset[str] = frozenset()                           # outlets that bring nothing

    def wants(self, outlet: str, event: Event) -> bool:
        """Whether *outlet* is to bring it. The end of what was told is told as well."""
        if event.kind in self.muted or outlet in self.silent:
            return False
        return event.gravity >= self.outlets.get(outlet, self.level)


def _told(name: str, value: Any) -> Any:
    """Return a fact as a sentence has it: an average price has more digits than anybody reads."""
    if isinstance(value, Decimal) and len(value.as_tuple().digits) > READ_DIGITS:
        return READ_CONTEXT.plus(value)
    return value.replace("_", " ") if name == "reason" and isinstance(value, str) else value


def _quote(symbol: str) -> str:
    """Return the quote currency of a symbol as ccxt writes it."""
    return symbol.partition("/")[2].partition(":")[0]


class Events(Protocol):
    """Where what happens is told; cheap, never blocks on anything but a short lock, never raises."""

    def publish(self, kind: Kind, symbol: str = "", *, over: bool = False, **fields: Any) -> None: ...


class Unheard:
    """`Events` nobody listens to."""

    def publish(self, kind: Kind, symbol: str = "", *, over: bool = False, **fields: Any) -> None:
        pass
