"""What positions and order intents may become, as tables; anything else is a bug and raises."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

SIGNATURE_LIFE_S = 5.0                      # KuCoin refuses a request signed longer ago (KC-API-TIMESTAMP)
READ_LAG_S = 3.0                            # how long KuCoin may not show an order it has taken
UNSEEN_S = SIGNATURE_LIFE_S + READ_LAG_S    # a request signed longer ago shows, or never arrives


class PositionState(Enum):
    OPEN = "open"           # filled, at least in part
    CLOSING = "closing"     # one thread has the claim to close it, or its exit is being looked up
    CLOSED = "closed"       # nothing is left of it


class IntentState(Enum):
    """What became of the wish to send one order."""

    INTENDED = "intended"       # written down; the request may or may not have left
    ACCEPTED = "accepted"       # the exchange has it
    REJECTED = "rejected"       # a plain no
    UNKNOWN = "unknown"         # no readable answer: to be looked up
    NOT_PLACED = "not_placed"   # looked up long enough: it is certainly not there
    DONE = "done"               # settled; all fills are booked


State = TypeVar("State", PositionState, IntentState)

TRANSITIONS: dict[PositionState | IntentState, frozenset[PositionState | IntentState]] = {
    PositionState.OPEN: frozenset({PositionState.CLOSING, PositionState.CLOSED}),
    PositionState.CLOSING: frozenset({PositionState.OPEN, PositionState.CLOSED}),
    PositionState.CLOSED: frozenset(),
    IntentState.INTENDED: frozenset(
        {IntentState.ACCEPTED, IntentState.REJECTED, IntentState.UNKNOWN, IntentState.NOT_PLACED}
    ),
    IntentState.UNKNOWN: frozenset({IntentState.ACCEPTED, IntentState.NOT_PLACED}),
    IntentState.ACCEPTED: frozenset({IntentState.DONE}),
    IntentState.REJECTED: frozenset({IntentState.NOT_PLACED}),   # looked up all the same
    IntentState.NOT_PLACED: frozenset({IntentState.ACCEPTED}),   # the late surprise: booked and alarmed
    IntentState.DONE: frozenset(),
}


class IllegalTransition(RuntimeError):
    """Something was asked to become what it cannot become from where it is."""


def check(before: State, after: State) -> State:
    """Return *after*, or raise if *before* may not become it."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"{before.value} may not become {after.value}")
    return after
