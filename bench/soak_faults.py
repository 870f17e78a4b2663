"""The faults of a soak, drawn from its seed, and which of RAD's alarms each of them explains."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from runtime.logs import FOLD_S

PATHS = (
    ("POST", "/api/v1/orders"), ("POST", "/api/v1/orders"), ("DELETE", "/api/v1/orders/*"),
    ("GET", "/api/v1/orders/[0-9]*"), ("GET", "/api/v1/orders/byClientOid"), ("GET", "/api/v1/stopOrders"),
    ("GET", "/api/v1/recentFills"), ("GET", "/api/v1/positions"), ("GET", "/api/v1/orders"),
    ("GET", "/api/v1/account-overview"), ("GET", "/api/v1/allTickers"), ("GET", "/api/v1/kline/query"),
    ("GET", "/api/v1/timestamp"), ("GET", "/api/v1/contracts/active"),
)
ANSWERS = ("refuse", "delay", "drop", "drop_before", "html", "empty", "truncate", "drip", "overload",
           "rate_limit", "black_hole")
ENGINE = ("order_dies", "stop_dies", "refuse_stop")
PUSHES = ("ws_gap", "ws_duplicate")
SILENCES = ("ws_cut", "ws_silence")
MACHINE = "machine"            # none of ours: it had no time for anybody, so everything with a deadline may fail
HUNG_ANSWERS = 3               # of black holes: each keeps a thread for as long as a call may take


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what the exchange is told, and when it was in force."""

    wish: dict[str, Any]
    begin_s: float
    end_s: float

    @property
    def kind(self) -> str:
        return str(self.wish["kind"])

    def is_on(self, method: str, *paths: str) -> bool:
        """Whether it strikes answers to *method* on one of *paths*."""
        wish = self.wish
        return self.kind in ANSWERS and wish.get("method", "*") in ("*", method) and any(
            wish.get("path", "*") in ("*", path) or fnmatchcase(path, wish.get("path", "*")) for path in paths
        )


def gusts(seed: int) -> Iterator[list[dict[str, Any]]]:
    """Yield what the exchange is told for one gust after the other; every sixth is an outage."""
    dice = random.Random(seed)
    while True:
        for _ in range(5):
            yield [_draw(dice) for _ in range(dice.randint(2, 5))]
        yield [{"kind": "black_hole"}, {"kind": "ws_silence", "delay_ms": 5000}]


def _draw(dice: random.Random) -> dict[str, Any]:
    kind = dice.choice(ANSWERS + ENGINE + PUSHES + SILENCES)
    if kind in SILENCES:
        return {"kind": kind, "delay_ms": 4000}
    wish: dict[str, Any] = {"kind": kind, "seed": dice.getrandbits(16)}
    wish["probability"] = dice.choice((0.1, 0.3, 1.0))
    if kind in ANSWERS:
        wish["method"], wish["path"] = dice.choice(PATHS)
        wish["delay_ms"] = 20 if kind == "drip" else dice.choice((50, 500))
    if kind == "black_hole":
        wish["count"] = HUNG_ANSWERS
    return wish


# ---- which alarm comes of which fault ----------------------------------------------------------

Explains = Callable[[Fault], bool]
_FOLDED = re.compile(r"\(… .+ more\)$")
_RANK = {"delay": 1, MACHINE: 2}               # of several that may have caused it these are the least likely


def _trades(fault: Fault) -> bool:
    """Whether it touches orders: their way in, their look-up, or what became of them."""
    return (
        fault.kind in ENGINE
        or fault.is_on("DELETE", "/api/v1/orders/1")
        or fault.is_on("POST", "/api/v1/orders")
        or fault.is_on("GET", "/api/v1/orders", "/api/v1/orders/1", "/api/v1/orders/byClientOid",
                       "/api/v1/stopOrders", "/api/v1/recentFills", "/api/v1/positions")
    )


def _signed(fault: Fault) -> bool:
    """Whether it may hold a signed request up for longer than its signature lives."""
    return fault.kind in ("delay", "drip", "black_hole")


def _answers(*paths: str) -> Explains:
    return lambda fault: fault.is_on("GET", *paths)


def _silences(fault: Fault) -> bool:
    return fault.kind in (*SILENCES, *PUSHES) or fault.is_on("GET", "/api/v1/allTickers")


# What is not here nothing explains: a stuck thread, a journal that is not written, an unforeseen exception.
EXPLANATIONS: tuple[tuple[str, Explains], ...] = (
    (r"^account: ", _answers("/api/v1/account-overview")),
    (r"^connection: ", _answers("/api/v1/timestamp")),
    (r"^scan: ", _answers("/api/v1/allTickers", "/api/v1/contracts/active")),
    (r"^reconcile: ", lambda fault: _trades(fault) or fault.is_on("GET", "/api/v1/allTickers")),
    (r"^entries: ", lambda fault: _trades(fault) or fault.is_on("GET", "/api/v1/allTickers")),
    (r"^prices: ", _silences),
    (r"^unpriced: ", _silences),
    (r"no stop on the exchange yet$", _trades),
    (r"cannot be closed: refused", _trades),
    (r"book says .* exchange says", _trades),
    (r"entry (uncertain|accepted but not readable)", _trades),
    (r"no confirmed stop within", _trades),
    (r"exit not finished|exit refused|CANNOT BE CLOSED|nothing explains", _trades),
    (r"(step failed .*=|fails again and again: )(ExchangeUnavailable|BadResponse|RateLimited|RequestRefused)",
     _answers("/api/v1/allTickers", "/api/v1/contracts/active")),
    (r"scan failed pairs=", _answers("/api/v1/kline/query", "/api/v1/allTickers", "/api/v1/contracts/active")),
    (r"held symbols without any price", _silences),
    (r"KC-API-TIMESTAMP", _signed),
)


def explanation(alarm: str, at_s: float, faults: Sequence[Fault], grace_s: float) -> Fault | None:
    """Return the fault that *alarm* comes of: one that can cause it, in force then or less than *grace_s* ago.

    A line that stands for others, which the log has kept back, may be of any time they were counted in.
    """
    if _FOLDED.search(alarm):
        grace_s += FOLD_S
    for pattern, explains in EXPLANATIONS:
        if re.search(pattern, alarm):
            near = (each for each in faults if each.begin_s <= at_s <= each.end_s + grace_s)
            found = [each for each in near if each.kind == MACHINE or explains(each)]
            return min(found, key=lambda fault: (_RANK.get(fault.kind, 0), -fault.begin_s), default=None)
    return None
