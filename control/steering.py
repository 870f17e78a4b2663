"""What the control API asks of the daemon, and the few things that can go wrong in asking."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Protocol

from control.metrics import Family
from trading.errors import (
    AuthenticationFailed,
    ConfigError,
    ExchangeUnavailable,
    NothingToClose,
    OrderNotFound,
    OutcomeUnknown,
    RadError,
    UnknownInstrument,
)

JsonObject = dict[str, Any]

OK, ERROR, NOT_FOUND, NOT_RUNNING, BAD_CONFIG, TIMED_OUT = range(6)


class NotFound(RadError):
    """What was asked about is not there: no such symbol, no such position."""


class Steering(Protocol):
    """The daemon, as seen from outside. Every answer can be written as JSON (`control.views`).

    Each is called in a thread of the control API, several at a time, and may be given up on.
    May raise any RadError; NotFound when the symbol or position is not there.
    """

    def held_up(self) -> str:
        """Return who of those that must not be still makes no progress, in words; empty if all do."""

    def status(self) -> JsonObject: ...

    def positions(self) -> list[JsonObject]: ...

    def opportunities(self) -> list[JsonObject]: ...

    def orders(self) -> list[JsonObject]:
        """Return what rests on the exchange; may go and look."""

    def trades(
        self, limit: int, *, symbol: str = "", side: str = "", reason: str = "", since_ms: int = 0,
        until_ms: int = 0,
    ) -> list[JsonObject]:
        """Return the latest closed trades, newest first; what is empty or 0 does not matter."""

    def threads(self, stacks: bool = False) -> JsonObject:
        """Return `threads` and `locks`, lists of what each is doing, and `strips`; *stacks*: and every stack."""

    def verify(self) -> JsonObject:
        """Compare the journal with the exchange now."""

    def rate(self) -> JsonObject:
        """Return the use of each of the exchange's rate pools, by name."""

    def latency(self) -> JsonObject:
        """Return how long exits took in milliseconds, whole and by stage."""

    def equity(self, since_ms: int, points: int) -> JsonObject:
        """Return what the account was worth, in at most so many *points*, oldest first."""

    def chart(self, symbol: str) -> JsonObject:
        """Return the candles of a market that are in memory, and what was done in it."""

    def events(self, after: int, limit: int) -> list[JsonObject]:
        """Return the latest *limit* events that came after event *after*, oldest first; `number` counts them."""

    def figures(self) -> Iterable[Family]:
        """Return everything that can be measured, for Prometheus."""

    def blacklist(self) -> JsonObject:
        """Return `symbols`: the markets never entered from scanning."""

    def blacklist_add(self, symbol: str) -> JsonObject:
        """Put a market on the black list and return it."""

    def blacklist_remove(self, symbol: str) -> JsonObject:
        """Take a market off the black list and return it; NotFound when it is not on it."""

    def open(self, symbol: str, side: str, notional: Decimal | None) -> JsonObject:
        """Open by hand and return the position.

        *side* is long or short, *notional* in quote currency or None for the usual size.
        """

    def close(self, symbol: str) -> JsonObject:
        """Close one position and return the trade."""

    def flatten(self) -> JsonObject:
        """Pause and close everything; return `closed`, a list of trades, and `failed`, one of sentences."""

    def pause(self) -> JsonObject:
        """Stop entries from scanning and return `paused`."""

    def resume(self) -> JsonObject:
        """Allow entries from scanning and return `paused`."""

    def reload(self) -> JsonObject:
        """Take in the settings file as it is now; return `changed` and `needs_restart`."""


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of the command line that *error* amounts to."""
    if isinstance(error, NotFound | UnknownInstrument | OrderNotFound | NothingToClose):
        return NOT_FOUND
    if isinstance(error, ConfigError | AuthenticationFailed):   # a person has to change something
        return BAD_CONFIG
    if isinstance(error, TimeoutError | OutcomeUnknown | ExchangeUnavailable):
        return TIMED_OUT
    return ERROR
