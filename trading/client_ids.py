"""Client order ids: derived from position, purpose and attempt, so a lost answer can be looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

MOST_UNRECORDED = 3            # orders of one purpose that may have left without the journal knowing

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# As `str()` writes it and no other way: a look-up by the id made anew must find the same order.
_PATTERN = re.compile(r"rad-([0-9a-z]{10,16})-([exs])(0|[1-9][0-9]{0,5})")


class Purpose(Enum):
    ENTRY = "e"
    EXIT = "x"
    STOP = "s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOid:
    """Whose order it is and what for; `str()` is what goes on the wire (≤ 40 of A-Za-z0-9_-)."""

    position_id: str
    purpose: Purpose
    attempt: int

    def __str__(self) -> str:
        return f"rad-{self.position_id}-{self.purpose.value}{self.attempt}"


def parse(text: str) -> ClientOid | None:
    """Return whose order carries this id, or None if it is not one of RAD's."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    return ClientOid(
        position_id=match[1], purpose=Purpose(match[2]), attempt=int(match[3])
    )


def new_position_id(now_ms: int, serial: int) -> str:
    """Return an id no other position of this account has: its time, and a serial within it."""
    return _base36(now_ms, 9) + _base36(serial % 36**3, 3)


def _base36(number: int, width: int) -> str:
    digits = ""
    while number:
        number, remainder = divmod(number, 36)
        digits = _DIGITS[remainder] + digits
    return digits.rjust(width, "0")
