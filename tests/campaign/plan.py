"""What a campaign will do, from its seed alone: when each daemon dies, and what else goes wrong meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

ROUNDS_OF_A_LIFE = 20            # then exchange and journal begin anew

# Calls made at every start, and calls made by trading. Reading is in both.
STARTING = ("contracts", "server_time", "order_by_client_oid")
READING = ("positions", "open_orders", "stop_orders", "recent_fills", "account")
TRADING = (
    "place.entry", "place.exit", "place.stop", "cancel", "order", "fills", "funding", "margin_mode",
    "tickers", "candles",
)
UNSIGNED = ("contracts", "server_time", "tickers", "candles")
MOMENTS = ("signed", "before", "after")
COMMITS = ("commit.before", "commit.after")


class When(Enum):
    """In which part of its life a daemon is killed."""

    STARTING = "starting"        # before it says `running`: a kill during recovery
    TRADING = "trading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One end: at a named point, or after a time when there is none."""

    when: When
    point: str = ""
    nth: int = 1
    after_s: float = 0.0

    def __str__(self) -> str:
        how = f"{self.point} #{self.nth}" if self.point else f"after {self.after_s:.3f} s"
        return f"{self.when.value}, {how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One daemon's life and death."""

    number: int
    kill: Kill
    hurried: bool                # compares with the exchange every second, not every five
    dice: int                    # seeds what is traded meanwhile
    faults: tuple[dict[str, Any], ...] = ()
    down_s: float = 0.0          # before the next start
    gap: float = 0.0             # by which a held symbol's price jumps while RAD is down, a fraction


def points() -> tuple[tuple[When, str], ...]:
    """Return every named point, with the part of life in which it is reached."""
    found = [(When.STARTING, name) for name in COMMITS] + [(When.TRADING, name) for name in COMMITS]
    for when, calls in ((When.STARTING, STARTING + READING), (When.TRADING, READING + TRADING)):
        found += [
            (when, f"wire.{call}.{moment}") for call in calls for moment in MOMENTS
            if not (call in UNSIGNED and moment == "signed")
        ]
    return tuple(found)


def rounds(seed: int, count: int) -> Iterator[Round]:
    """Yield *count* rounds: all points in turn in a shuffled order, a random moment after each other one."""
    dice = random.Random(f"kills {seed}")
    order: list[tuple[When, str]] = []
    for number in range(count):
        if number % 3 == 2:
            when = dice.choice((When.STARTING, When.TRADING, When.TRADING, When.TRADING))
            kill = Kill(when=when, after_s=dice.uniform(0.0, 0.3 if when is When.STARTING else 1.5))
        else:
            if not order:
                order = list(points())
                dice.shuffle(order)
            when, point = order.pop()
            kill = Kill(when=when, point=point, nth=dice.randint(1, _most_turns(when, point)))
        yield Round(
            number=number, kill=kill, hurried=_is_reading(kill.point) or dice.random() < 0.5,
            dice=dice.getrandbits(32), faults=tuple(_faults(dice)),
            down_s=dice.choice((0.0, 0.0, 0.2)), gap=dice.choice((0.0, 0.0, 0.0, 0.03)),
        )


def _is_reading(point: str) -> bool:
    return any(point.startswith(f"wire.{call}.") for call in READING)


def _most_turns(when: When, point: str) -> int:
    if point in COMMITS:
        return 4 if when is When.STARTING else 30
    return 2 if when is When.STARTING or _is_reading(point) else 3


_KINDS = ("drop", "drop_before", "delay", "html", "truncate", "empty", "overload")
_PATHS = ("/api/v1/orders", "/api/v1/orders/*", "/api/v1/stopOrders", "/api/v1/positions")


def _faults(dice: random.Random) -> Iterator[dict[str, Any]]:
    """One round in four is traded on an exchange that answers badly."""
    if dice.random() < 0.25:
        for _ in range(dice.randint(1, 2)):
            yield {
                "kind": dice.choice(_KINDS), "path": dice.choice(_PATHS), "probability": 0.3, "delay_ms": 200,
                "seed": dice.getrandbits(16),
            }
