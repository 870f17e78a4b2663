"""Exits while something else goes wrong, beside exits in calm and a client without a bot.

    .venv/bin/python -m bench.exit_under_fire [--exits 60] [--pairs 500] [--quick]

From just before the price is set to the closing order's arrival at the exchange, which notes it
before any delay of its own: the way through the wire is in no row, what RAD makes of it is. "RAD"
is RAD's own record, from the price's receipt to the order's way out. Growth is that of the p99 over
calm, in ms and as a part of a round trip of 50 ms, the one of the row that has one; loopback's own
is printed below.

    entry in flight     another symbol's entry is accepted and not answered, for seconds
    candles lost        every candle call hangs until its deadline: all scan workers wait
    public pool empty   the exchange refuses every public call until its window ends, and from then on again
    onlookers           eight watch RAD's stream of events, a ninth asks for everything twice a second
    50 ms round trip    every answer takes 50 ms; so it does for the client without a bot

Last, without the stream: no price is pushed any more, RAD asks for them by REST once they are older than
`monitor.stale_after`, and that is what such an exit may take beside one in calm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.exits import (
    AMPLE_DAEMON,
    AMPLE_EXCHANGE,
    Arrivals,
    Exits,
    Opened,
    OwnRecord,
    await_quiet,
    bare_client,
    candle_calls,
    contracts,
    fault,
    open_positions,
    struck,
)
from bench.harness import a_daemon, an_exchange, ask, fetch, figures, onlookers, show, until

SCAN_WORKERS = 20
ROUND_TRIP_MS = 50.0
STALE_AFTER_S = 2.0
QUOTES = "/contractMarket/tickerV2*"
BOUGHT = 0                     # of the exchange's symbols, the one whose entry hangs
CALM, ENTRY, CANDLES, POOL, WATCHED, SLOW = (
    "calm", "entry in flight", "candles lost", "public pool empty", "onlookers", "50 ms round trip",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exits", type=int, default=60, help="of each row, 99 at most")
    parser.add_argument("--pairs", type=int, default=500, help="scanned all the while")
    parser.add_argument("--quick", action="store_true", help="1 exit a row, 30 pairs")
    wish = parser.parse_args()
    exits, pairs = (1, 30) if wish.quick else (wish.exits, wish.pairs)
    with tempfile.TemporaryDirectory(prefix="rad-bench-") as folder, an_exchange(pairs, *AMPLE_EXCHANGE) as at:
        arrivals = Arrivals(at)
        floor, round_trips = asyncio.run(bare_client(at, arrivals, exits))
        with slow_answers(at):
            slow_floor, _ = asyncio.run(bare_client(at, arrivals, exits, "slow"))
        fire = Fire(Path(folder), at, arrivals, exits, pairs, answer_s=3.0 if wish.quick else 10.0)
        fire.run()
    report(fire, floor, slow_floor, figures(round_trips)["p50"])
    return 0


def report(fire: Fire, floor: list[float], slow_floor: list[float], loopback_ms: float) -> None:
    rows = {name: figures(fire.rows[name]) for name in (CALM, ENTRY, CANDLES, POOL, WATCHED, SLOW)}
    floors = {"no bot": figures(floor), "no bot, 50 ms": figures(slow_floor)}
    own = {name: figures(fire.own[name]) for name in rows}
    for name, row in rows.items():
        row["growth"] = round(row["p99"] - rows[CALM]["p99"], 3)
        row["trips"] = round(row["growth"] / ROUND_TRIP_MS, 3)
        row["RAD p50"], row["RAD p99"], row["RAD max"] = (own[name][key] for key in ("p50", "p99", "max"))
    show("price set -> closing order at the exchange, ms", rows,
         ("count", "p50", "p99", "max", "growth", "trips", "RAD p50", "RAD p99", "RAD max"))
    show("", floors, ("count", "p50", "p99", "max"))
    print(f"a signed order's round trip on this loopback: {loopback_ms:.2f} ms")
    silent = figures(fire.silent)
    show(f"no price is pushed, those older than {STALE_AFTER_S:g} s are asked for, ms",
         {"stream silent": silent}, ("count", "p50", "p99", "max"))
    ratio = {
        f"{name}_p99": round(row["p99"] / floors["no bot, 50 ms" if name == SLOW else "no bot"]["p99"], 2)
        for name, row in rows.items()
    }
    ratio["stream silent_max_to_stale_after"] = round(silent["max"] / (1000 * STALE_AFTER_S), 2)
    print(json.dumps({
        "bench": "exit_under_fire", "rows_ms": rows, "floors_ms": floors, "loopback_ms": loopback_ms,
        "silent_ms": silent, "ratio": ratio,
    }))


def slow_answers(at: Mapping[str, str]) -> AbstractContextManager[int]:
    return fault(at, "delay", delay_ms=ROUND_TRIP_MS)


@dataclass
class Fire:
    """One RAD, and what is done to it in turn; positions are opened before each trouble begins."""

    folder: Path
    at: dict[str, str]
    arrivals: Arrivals
    exits: int
    pairs: int
    answer_s: float                     # RAD's patience with one call
    rows: dict[str, list[float]] = field(default_factory=dict)
    own: dict[str, list[float]] = field(default_factory=dict)
    silent: list[float] = field(default_factory=list)
    through: Exits = field(init=False)
    record: OwnRecord = field(init=False)
    symbols: list[str] = field(init=False)

    def run(self) -> None:
        """Measure every row."""
        lost_candles = ExitStack()
        # Candles are asked for once a minute: to have all calls hang, they do from the start on.
        hole = lost_candles.enter_context(fault(self.at, "black_hole", path="/api/v1/kline/query"))
        settings = AMPLE_DAEMON | {
            "EXCHANGE__DEADLINE": f"{self.answer_s:g}s", "MONITOR__STALE_AFTER": f"{STALE_AFTER_S:g}s",
        }
        with lost_candles, a_daemon(self.folder, self.at, **settings):
            self.through = Exits(self.folder, self.at, self.arrivals)
            self.record = OwnRecord(self.folder)
            self.symbols = contracts(self.at)
            opened = self.open()
            until(lambda: struck(self.at, hole) >= SCAN_WORKERS)
            self.note(CANDLES, [self.through.time(position) for position in opened])
            lost_candles.close()
            until(lambda: candle_calls(self.at) >= self.pairs)
            self.note(CALM, [self.through.time(position) for position in self.open()])
            opened = self.open()
            with onlookers(self.folder):
                self.note(WATCHED, [self.through.time(position) for position in opened])
            self.note(ENTRY, list(self.beside_an_entry(self.open())))
            opened = self.open()
            with slow_answers(self.at):
                self.note(SLOW, [self.through.time(position) for position in opened])
            opened = self.open()
            with fault(self.at, "ws_gap", path=QUOTES):
                self.silent = [self.through.time(position) for position in opened]
            self.record.take(self.exits)
            self.note(POOL, [self.without_public_pool(position) for position in self.open()])

    def open(self) -> list[Opened]:
        return open_positions(self.folder, (self.symbols[:BOUGHT] + self.symbols[BOUGHT + 1:])[:self.exits])

    def note(self, name: str, samples: list[float]) -> None:
        if not samples:
            raise SystemExit(f"no exit was measured: {name}")
        self.rows[name] = samples
        self.own[name] = self.record.take(self.exits)

    def beside_an_entry(self, opened: list[Opened]) -> Iterator[float]:
        """Yield the exits timed while an entry waits for its answer; it is asked for anew when it has one."""
        held_s, waiting = self.answer_s * 0.8, deque(opened)
        while waiting:
            await_quiet(len(contracts(self.at)), held_s + 2)
            with fault(
                self.at, "delay", method="POST", path="/api/v1/orders", symbol=self.symbols[BOUGHT], count=1,
                commit=True, delay_ms=held_s * 1000,
            ) as number, ThreadPoolExecutor(1) as pool:
                entry = pool.submit(open_positions, self.folder, [self.symbols[BOUGHT]])
                until(lambda: struck(self.at, number))
                while waiting and not entry.done():
                    sample = self.through.time(waiting.popleft())
                    if not entry.done():           # otherwise it was not there all the while
                        yield sample
            ask(self.folder, "close", {"symbol": self.symbols[BOUGHT]})

    def without_public_pool(self, position: Opened) -> float:
        fetch(f"{self.at['control_url']}/rates", {"exhaust": "public"})
        return self.through.time(position)


if __name__ == "__main__":
    sys.exit(main())
