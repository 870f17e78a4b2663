"""What a campaign has seen, and the end of each of its parts: counted, told whole if broken, cleared away."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.judge import Broken, Judge
from tests.campaign.processes import Exchange

MOST_EVENTS = 40                 # told of one symbol


@dataclass(slots=True)
class Tally:
    """What a campaign has seen."""

    kills: Counter[str] = field(default_factory=Counter)        # by part of life
    points: Counter[str] = field(default_factory=Counter)       # sprung traps
    missed: Counter[str] = field(default_factory=Counter)       # traps nobody stepped into in time
    events: Counter[str] = field(default_factory=Counter)       # on the exchange
    orders: Counter[str] = field(default_factory=Counter)       # accepted, by purpose
    struck: Counter[str] = field(default_factory=Counter)       # faults, by kind
    starts_s: list[float] = field(default_factory=list)         # from the fork to `running`
    settles_s: list[float] = field(default_factory=list)        # from `running` to full agreement
    naked_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take over what *other* has seen."""
        for name in ("kills", "points", "missed", "events", "orders", "struck"):
            getattr(self, name).update(getattr(other, name))
        self.starts_s += other.starts_s
        self.settles_s += other.settles_s
        self.naked_s = max(self.naked_s, other.naked_s)
        self.failures += other.failures


@contextmanager
def judged(
    tally: Tally, exchange: Exchange, judge: Judge, folder: Path, where: Callable[[], str]
) -> Iterator[None]:
    """Go through one part; a breach ends it and is told whole, its folder is kept."""
    try:
        yield
    except Broken as broken:
        tally.failures.append(told(where(), broken, exchange, folder))
    finally:
        count(tally, exchange)
        tally.naked_s = judge.longest_naked_s()
        exchange.stop()
    if not tally.failures:
        shutil.rmtree(folder)


def count(tally: Tally, exchange: Exchange) -> None:
    """Add to *tally* what has happened on *exchange*."""
    for event in exchange.history():
        tally.events[event["event"]] += 1
        if event["event"] in ("order_accepted", "stop_placed"):
            purpose = event["client_oid"].rpartition("-")[2][:1]
            tally.orders[{"e": "entries", "x": "exits", "s": "stops"}.get(purpose, "foreign")] += 1


def told(where: str, broken: Broken, exchange: Exchange, folder: Path) -> str:
    """Return everything somebody needs to find the cause."""
    lines = [where, f"data folder {folder}", *(f"  {violation}" for violation in broken.violations)]
    history = list(exchange.history())
    for symbol in dict.fromkeys(violation.symbol for violation in broken.violations):      # the worst come first
        mine = [event for event in history if event.get("symbol") == symbol]
        lines += [f"history of {symbol}:"] * bool(mine) + [f"  {_line(event)}" for event in mine[-MOST_EVENTS:]]
    lines += ["the daemon's last words:", *(folder / "rad.out").read_text().splitlines()[-30:]]
    return "\n".join(lines)


def _line(event: dict[str, Any]) -> str:
    shown = ("client_oid", "side", "size", "price", "stop_price", "position_qty", "code", "order_id")
    facts = " ".join(f"{name}={event[name]}" for name in shown if event.get(name) not in (None, ""))
    return f"{event['n']} {event['at_ms']} {event['event']} {facts}"
