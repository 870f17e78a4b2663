"""Every fault of the exchange on everything RAD asks of it, once, and whether all is well afterwards.

One daemon for each operation. For each kind of fault one symbol goes through open, trail and close;
the fault strikes the operation on its way. Where a call names no symbol the kinds strike one after
the other, whoever makes the call.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.faults import ENGINE_KINDS, REST_KINDS, WS_KINDS
from tests.campaign.invariants import Violation
from tests.campaign.judge import Broken, Judge, await_running
from tests.campaign.lives import EXCHANGE, LIMIT_S, LIVELY
from tests.campaign.processes import Exchange, Victim
from tests.campaign.tally import Tally, judged

REACHED_WITHIN_S = 20.0
MOVES_WITHIN_S = 1.5             # a resting stop, after the price
LEAVES_WITHIN_S = 6.0            # with a silent stream, by the price asked for over REST
LOOK_S = 0.05
TRIES = 3
HANDS = 3                        # symbols under way at a time: the control API has as many threads to spare
STILL = {**LIVELY, "SCANNER__INCLUDE": "NONE/*", "EXITS__MAX_AGE": "none", "EXITS__TAKE_PROFIT": "none",
         "POSITIONS__MAX_OPEN": "100", "EXITS__TRAILING__DISTANCE": "0.3%"}
DETAILS: dict[str, dict[str, Any]] = {
    "delay": {"delay_ms": 700}, "drip": {"delay_ms": 50}, "rate_limit": {"retry_after_ms": 500},
    "ws_silence": {"delay_ms": 3000},
}
ORDERS, ONE_ORDER = "/api/v1/orders", "/api/v1/orders/[0-9]*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something RAD asks of the exchange, and when on its way a symbol's fault is laid."""

    name: str
    method: str = "GET"
    path: str = "*"
    before: str = "open"                 # open / trail / close
    names_symbol: bool = False           # the request says which symbol it is about
    skip: int = 0                        # requests of that kind that come first
    count: int = 1
    needs: str = ""                      # another fault, without which the call is not made
    kinds: tuple[str, ...] = tuple(REST_KINDS)


OPERATIONS = (                   # those that take longest first: several are under way at a time
    Operation(name="stream", before="trail", kinds=WS_KINDS),
    Operation(name="create entry", method="POST", path=ORDERS, names_symbol=True,
              kinds=(*REST_KINDS, "order_dies")),
    Operation(name="create stop", method="POST", path=ORDERS, names_symbol=True, skip=1,
              kinds=(*REST_KINDS, "refuse_stop", "stop_dies")),
    Operation(name="move stop", method="POST", path=ORDERS, names_symbol=True, before="trail",
              kinds=(*REST_KINDS, "refuse_stop", "stop_dies")),
    Operation(name="create exit", method="POST", path=ORDERS, names_symbol=True, before="close",
              kinds=(*REST_KINDS, "order_dies")),
    Operation(name="cancel", method="DELETE", path="/api/v1/orders/*", before="trail"),
    Operation(name="look-up", path="/api/v1/orders/byClientOid", needs="drop", count=1),
    Operation(name="order query", path=ONE_ORDER),
    Operation(name="stop list", path="/api/v1/stopOrders", names_symbol=True, count=2),
    Operation(name="order fills", path="/api/v1/recentFills", names_symbol=True, count=2),
    Operation(name="funding", path="/api/v1/funding-history", before="close"),
    Operation(name="margin mode", path="/api/v2/position/getMarginMode", names_symbol=True),
    Operation(name="positions", path="/api/v1/positions"),
    Operation(name="open orders", path=ORDERS),
    Operation(name="balance", path="/api/v1/account-overview"),
    Operation(name="tickers", path="/api/v1/allTickers"),
)
IMPOSSIBLE = {
    "cancel_loses": "it strikes no waiting stop, and nothing else of RAD's rests: the races have their own tests",
}


def cells() -> list[tuple[str, str]]:
    """Return every fault × operation that is tried."""
    return [(kind, operation.name) for operation in OPERATIONS for kind in operation.kinds]


class Row:
    """One operation under every kind of fault, on an exchange and a daemon of its own."""

    def __init__(self, operation: Operation, seed: int) -> None:
        self.operation = operation
        self.tally = Tally()
        self.folder = Path(tempfile.mkdtemp(prefix="rad-matrix-"))
        pairs = str(len(operation.kinds))
        self.exchange = Exchange(*EXCHANGE, "--pairs", pairs, "--volatility", "1", "--seed", str(seed))
        self.judge = Judge(self.exchange, self.folder, limit_s=LIMIT_S)

    def run(self) -> Tally:
        """Go through the row; whatever is wrong at its end is in the tally's failures."""
        settings = {**STILL, **self.exchange.settings}
        with (
            judged(self.tally, self.exchange, self.judge, self.folder, self._where),
            Victim(self.folder, settings, {"hurry": True}) as victim,
        ):
            running_ns = await_running(victim)
            self._try_all_kinds(victim)
            self.judge.watched(running_ns, time.monotonic_ns())
            self.tally.settles_s.append(self.judge.await_agreement(victim))
        return self.tally

    def _where(self) -> str:
        return f"matrix row {self.operation.name}"

    def _try_all_kinds(self, victim: Victim) -> None:
        symbols = self.exchange.prices()
        # Where no symbol is named each kind is to meet another symbol: one after the other.
        with ThreadPoolExecutor(HANDS if self.operation.names_symbol else 1) as hands:
            done = [
                hands.submit(self._go_through, victim, kind, symbol, price)
                for kind, (symbol, price) in zip(self.operation.kinds, symbols.items(), strict=True)
            ]
            self._await_strikes()
        missed = [kind for each in done if (kind := each.result())]
        rules = self.exchange.control("faults")["faults"]
        missed += [rule["kind"] for rule in rules if not rule["struck"]]
        for rule in rules:
            self.tally.struck[rule["kind"]] += rule["struck"]
        self.exchange.control("faults", method="DELETE")
        if missed:
            text = f"never reached by {', '.join(missed)}"
            raise Broken([Violation(invariant="reach", symbol="", text=f"{self.operation.name}: {text}")])

    def _await_strikes(self) -> None:
        """Wait until every rule laid by now has struck: some calls come only now and then."""
        deadline = time.monotonic() + REACHED_WITHIN_S
        while time.monotonic() < deadline:
            time.sleep(0.1)
            rules = self.exchange.control("faults")["faults"]
            laid = sum(rule["path"] == self.operation.path for rule in rules)
            if laid >= len(self.operation.kinds) and all(rule["struck"] for rule in rules):
                return

    def _go_through(self, victim: Victim, kind: str, symbol: str, price: float) -> str:
        """Open, trail and close *symbol* with a fault of *kind* on the way; return what was not reached."""
        self.exchange.control("price", {"symbol": symbol, "price": price})
        self._lay("open", kind, symbol)
        for _ in range(TRIES):
            if not victim.try_to("/api/open", {"symbol": symbol, "side": "long", "notional": "300"}):
                break
            if self.exchange.holds(symbol):
                break
        self._lay("trail", kind, symbol)
        before = self.exchange.resting(symbol)
        self.exchange.control("price", {"symbol": symbol, "price": price * 1.01})
        # Where moves are struck, those whose answers were lost hold up the workers of the later ones.
        patience_s = REACHED_WITHIN_S if self.operation.name == "move stop" else MOVES_WITHIN_S
        self._until(lambda: self.exchange.resting(symbol) != before or self._has_struck(symbol), patience_s)
        self._lay("close", kind, symbol)
        if self.operation.name == "stream":
            return self._leave_by_price(kind, symbol, price)
        for _ in range(TRIES):
            victim.try_to("/api/close", {"symbol": symbol})
            if not self.exchange.holds(symbol):
                break
        return ""

    def _leave_by_price(self, kind: str, symbol: str, price: float) -> str:
        """Let the price come back to between RAD's stop and the one behind it: only RAD itself can leave there."""
        resting = max(self.exchange.resting(symbol), default=price)
        self.exchange.control("price", {"symbol": symbol, "price": resting * 1.0005})
        left = self._until(lambda: not self.exchange.holds(symbol), LEAVES_WITHIN_S)
        return "" if left else f"{kind} (RAD did not leave {symbol} at {resting * 1.0005}, from {price})"

    def _lay(self, before: str, kind: str, symbol: str) -> None:
        operation = self.operation
        if operation.before != before:
            return
        if operation.needs:
            self.exchange.fault(operation.needs, method="POST", path=ORDERS, symbol=symbol, count=1)
        where = {} if kind in ENGINE_KINDS else {"path": operation.path}
        if operation.names_symbol:
            where["symbol"] = symbol
        if kind in REST_KINDS:
            where["method"] = operation.method
        skip = operation.skip if kind in REST_KINDS else 0      # the engine's tell orders and stops apart
        if kind == "ws_refuse":
            self.exchange.fault("ws_cut")
        self.exchange.fault(kind, count=operation.count, skip=skip, **where, **DETAILS.get(kind, {}))

    def _has_struck(self, symbol: str) -> bool:
        rules = self.exchange.control("faults")["faults"]
        return any(rule["symbol"] == symbol and rule["struck"] for rule in rules)

    @staticmethod
    def _until(is_so: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True


def matrix(seed: int, workers: int) -> Tally:
    """Try every cell and return what was seen."""
    total = Tally()

    def row(operation: Operation) -> Tally:
        begun = time.monotonic()
        tally = Row(operation, seed).run()
        print(f"{operation.name}: kinds={len(operation.kinds)} failures={len(tally.failures)}"
              f" took={time.monotonic() - begun:.1f}s", flush=True)
        return tally

    with ThreadPoolExecutor(workers) as pool:
        for tally in pool.map(row, OPERATIONS):
            total.add(tally)
    return total
