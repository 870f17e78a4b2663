"""Thousands of orders on an exchange that answers badly all the time, and nothing is killed.

Every few seconds other faults are in force, drawn from the seed; between them RAD has a calm moment,
in which book and exchange must come to agree.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count as numbers
from pathlib import Path
from typing import Any

from tests.campaign.invariants import Violation
from tests.campaign.judge import Broken, Judge, await_running
from tests.campaign.lives import EXCHANGE, LIMIT_S, LIVELY, trade
from tests.campaign.processes import Exchange, Victim
from tests.campaign.tally import Tally, judged

GUST_S = 10.0                    # faults in force
BOOKS_OF = 600                   # orders, then exchange and journal begin anew
HANDS = 3
BUSY = {**LIVELY, "POSITIONS__MAX_OPEN": "20", "EXITS__MAX_AGE": "1500ms", "SCANNER__WORKERS": "4"}

PATHS = (
    ("POST", "/api/v1/orders"), ("POST", "/api/v1/orders"), ("POST", "/api/v1/orders"),
    ("DELETE", "/api/v1/orders/*"), ("GET", "/api/v1/orders/[0-9]*"), ("GET", "/api/v1/orders/byClientOid"),
    ("GET", "/api/v1/stopOrders"), ("GET", "/api/v1/recentFills"), ("GET", "/api/v1/positions"),
    ("GET", "/api/v1/orders"), ("GET", "/api/v1/account-overview"), ("GET", "/api/v1/funding-history"),
    ("GET", "/api/v1/allTickers"), ("GET", "/api/v1/kline/query"),
)
ANSWERS = ("refuse", "delay", "drop", "drop_before", "html", "empty", "truncate", "overload")
ENGINE = ("order_dies", "stop_dies", "refuse_stop")
PUSHES = ("ws_gap", "ws_duplicate")
SILENCES = ("ws_cut", "ws_silence")


def gusts(seed: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the faults of one gust after the other."""
    dice = random.Random(seed)
    while True:
        yield [_fault(dice) for _ in range(dice.randint(4, 7))]


def _fault(dice: random.Random) -> dict[str, Any]:
    kind = dice.choice(ANSWERS + ENGINE + PUSHES + SILENCES)
    if kind in SILENCES:
        return {"kind": kind, "delay_ms": 2000}
    wish = {"kind": kind, "probability": dice.choice((0.1, 0.2, 0.3)), "seed": dice.getrandbits(16)}
    if kind in ANSWERS:
        wish["method"], wish["path"] = dice.choice(PATHS)
        wish["delay_ms"] = dice.choice((50, 300))
    return wish


class Storm:
    """One exchange, one daemon, and faults without end."""

    def __init__(self, seed: str) -> None:
        self.tally = Tally()
        self.folder = Path(tempfile.mkdtemp(prefix="rad-storm-"))
        self.exchange = Exchange(*EXCHANGE, "--pairs", "24", "--seed", str(random.Random(seed).randrange(10**6)))
        self.judge = Judge(self.exchange, self.folder, limit_s=LIMIT_S)
        self._seed = seed
        self._gust: list[dict[str, Any]] = []

    def run(self, orders: int) -> Tally:
        """Trade until that many orders were sent; a breach ends it and is told whole."""
        settings = {**BUSY, **self.exchange.settings}
        with (
            judged(self.tally, self.exchange, self.judge, self.folder, self._where),
            Victim(self.folder, settings, {"hurry": True}) as victim,
        ):
            await_running(victim)
            self._blow(victim, orders)
        return self.tally

    def _where(self) -> str:
        return f"storm, seed {self._seed}, faults {self._gust}"

    def _blow(self, victim: Victim, orders: int) -> None:
        symbols = tuple(self.exchange.prices())
        for number, gust in enumerate(gusts(self._seed)):
            self._gust = gust
            with ThreadPoolExecutor(HANDS) as hands:
                over = threading.Event()
                for n in range(HANDS):
                    hands.submit(trade, victim, random.Random(f"{self._seed} {number} {n}"), over, symbols)
                try:
                    self._one_gust(victim)
                finally:
                    over.set()
            victim.ask("/api/pause", {})
            self.tally.settles_s.append(self.judge.await_agreement(victim))
            victim.ask("/api/resume", {})
            if sent(self.exchange) >= orders:
                return

    def _one_gust(self, victim: Victim) -> None:
        begin_ns = time.monotonic_ns()
        for fault in self._gust:
            self.exchange.fault(**fault)
            self.tally.struck[fault["kind"]] += fault["kind"] in SILENCES
        if victim.has_ended(GUST_S):
            raise Broken([Violation(invariant="I7", symbol="", text="the daemon has ended by itself")])
        for rule in self.exchange.control("faults")["faults"]:
            self.tally.struck[rule["kind"]] += rule["struck"]
        self.exchange.control("faults", method="DELETE")
        self.judge.watched(begin_ns, time.monotonic_ns())


def sent(exchange: Exchange) -> int:
    """Return how many orders and stops have reached the exchange, refused ones too."""
    kinds = ("order_accepted", "stop_placed", "order_refused")
    return sum(event["event"] in kinds for event in exchange.history())


def storm(seed: int, orders: int, workers: int) -> Tally:
    """Send *orders* orders through faults, on several exchanges side by side; return what was seen."""
    total = Tally()
    left = threading.Lock()
    missing = orders
    serial = numbers()

    def one(_worker: int) -> None:
        nonlocal missing
        while True:
            with left:
                if missing <= 0:
                    return
                number, mine = next(serial), min(BOOKS_OF, missing)
                missing -= mine
            tally = Storm(f"{seed}/{number}").run(mine)
            print(*tally.failures, sep="\n", end="")          # at once: the run may be a long one
            print(f"storm {number}: orders={sum(tally.orders.values())} faults={sum(tally.struck.values())}"
                  f" failures={len(tally.failures)}", flush=True)
            with left:
                total.add(tally)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(workers)))
    return total
