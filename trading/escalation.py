"""An exit that is refused or does not fill: what is tried next, and when. Pure; it has no last rung.

A plain no that says nothing of the size is answered with `closeOrder`, which needs neither size nor
leverage; one that speaks of size or price with a half, and a half of that, down to the smallest
order, and then with `closeOrder` too. After that it begins again, ever more slowly, but never more
slowly than the longest pause. What filled in part was no refusal: the rest follows at once. What was
taken in a smaller size is followed by as much again, or twice as much where no size was refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from zlib import crc32

from trading.facts import ExitReason, Instrument

PAUSES_S = (0.1, 0.25, 0.5, 1.0, 2.0)   # before the next order, by how often all shapes have been tried
JITTER_S = (0.05, 0.15)                 # after one that certainly did not get there
ALARM_AFTER = 3                         # refusals in a row


class Shape(Enum):
    """What the next order of an exit looks like: always at the market, never enlarging anything."""

    WHOLE = "whole"                # reduce-only, for all that is to go
    SMALLER = "smaller"            # reduce-only, for a half of it, or a half of that
    CLOSE_ORDER = "close_order"    # for whatever is there, without a size


class Result(Enum):
    """What became of an order that did not end the exit."""

    REFUSED = "refused"            # a plain no
    TOO_LARGE = "too_large"        # a plain no on account of size or price
    UNFILLED = "unfilled"          # accepted, and not one lot filled
    FELL_SHORT = "fell_short"      # filled in part, and the rest of it cancelled
    AS_ASKED = "as_asked"          # filled, but asked for less than there is


NEXT: dict[tuple[Shape, Result], Shape] = {
    (Shape.WHOLE, Result.REFUSED): Shape.CLOSE_ORDER,
    (Shape.WHOLE, Result.TOO_LARGE): Shape.SMALLER,
    (Shape.WHOLE, Result.UNFILLED): Shape.SMALLER,
    (Shape.WHOLE, Result.FELL_SHORT): Shape.WHOLE,
    (Shape.WHOLE, Result.AS_ASKED): Shape.WHOLE,
    (Shape.SMALLER, Result.REFUSED): Shape.CLOSE_ORDER,
    (Shape.SMALLER, Result.TOO_LARGE): Shape.SMALLER,        # at the smallest order: CLOSE_ORDER
    (Shape.SMALLER, Result.UNFILLED): Shape.SMALLER,         # likewise
    (Shape.SMALLER, Result.FELL_SHORT): Shape.SMALLER,
    (Shape.SMALLER, Result.AS_ASKED): Shape.SMALLER,
    (Shape.CLOSE_ORDER, Result.REFUSED): Shape.WHOLE,
    (Shape.CLOSE_ORDER, Result.TOO_LARGE): Shape.WHOLE,
    (Shape.CLOSE_ORDER, Result.UNFILLED): Shape.WHOLE,
    (Shape.CLOSE_ORDER, Result.FELL_SHORT): Shape.WHOLE,
    (Shape.CLOSE_ORDER, Result.AS_ASKED): Shape.WHOLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """How far one exit has got."""

    shape: Shape = Shape.WHOLE
    lots: Decimal | None = None    # of a smaller order
    has_limit: bool = False        # larger ones were refused for their size
    rounds: int = 0                # how often it has begun again, or fallen short
    refusals: int = 0              # in a row
    pause_s: float = 0.0           # before the next order

    @property
    def is_alarming(self) -> bool:
        """Whether a person has to be told."""
        return self.refusals >= ALARM_AFTER

    def quantity(
        self, to_go: Decimal, instrument: Instrument, *, may_close_all: bool = True
    ) -> Decimal | None:
        """Return the lots of the next order, *to_go* being left; None for `closeOrder`."""
        if self.shape is Shape.CLOSE_ORDER and may_close_all:
            return None
        most = self.lots or instrument.max_quantity
        return min(max(most, instrument.min_quantity), instrument.max_quantity, to_go)

    def after(
        self, result: Result, to_go: Decimal, instrument: Instrument, *, may_close_all: bool
    ) -> Ladder:
        """Return where it stands after an order for *to_go* that ended like that."""
        shape, lots = NEXT[self.shape, result], self.lots
        if shape is Shape.SMALLER and result in (Result.TOO_LARGE, Result.UNFILLED):
            last = self.quantity(to_go, instrument) or to_go
            lots = instrument.quantity_down(last / 2)
            if last <= instrument.min_quantity:
                shape = Shape.CLOSE_ORDER
        if shape is Shape.SMALLER and result is Result.AS_ASKED and lots and not self.has_limit:
            lots *= 2                      # whatever was in the way is over
            shape = Shape.SMALLER if lots < to_go else Shape.WHOLE
        if shape is Shape.CLOSE_ORDER and not may_close_all:
            shape = Shape.WHOLE
        if shape is not Shape.SMALLER:
            lots = None
        has_limit = shape is Shape.SMALLER and (self.has_limit or result is Result.TOO_LARGE)
        if result in (Result.REFUSED, Result.TOO_LARGE, Result.UNFILLED):
            return Ladder(
                shape=shape, lots=lots, has_limit=has_limit, rounds=self.rounds + (shape is Shape.WHOLE),
                refusals=self.refusals + 1, pause_s=_pause_s(self.rounds),
            )
        if result is Result.AS_ASKED:
            return replace(self, shape=shape, lots=lots, has_limit=has_limit, refusals=0, pause_s=0.0)
        pause_s = _pause_s(self.rounds - 1) if self.rounds else 0.0
        return Ladder(shape=shape, lots=lots, has_limit=has_limit, rounds=self.rounds + 1, pause_s=pause_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """An exit that is decided and not over."""

    reason: ExitReason
    part: Decimal | None           # lots still to go; None: all there are
    ladder: Ladder = Ladder()
    not_before: float = 0.0        # monotonic
    has_begun: bool = False        # some of the part has filled

    @property
    def sticks(self) -> bool:
        """Whether it goes on whatever the price does: a part nobody has taken yet may be thought over."""
        return self.part is None or self.has_begun

    def to_go(self, held: Decimal) -> Decimal:
        """Return the lots still to go when *held* are there."""
        return held if self.part is None else min(self.part, held)


def pause_unsent_s(client_oid: str, turn: float) -> float:
    """Return the pause after an order that did not get there: short, and not the same for all who wait."""
    low, high = JITTER_S
    return low + (high - low) * (crc32(f"{client_oid} {turn}".encode()) % 1000) / 1000


def _pause_s(rounds: int) -> float:
    return PAUSES_S[min(rounds, len(PAUSES_S) - 1)]
