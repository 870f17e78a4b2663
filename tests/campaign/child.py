"""The daemon with a trap in it: killed or frozen at a named point, or with one of its rules taken out.

    python -m tests.campaign.child '{"at": "wire.place.stop.before", "nth": 2, "do": "kill"}' [bot.py arguments]

Points, counted over all threads, and with `"armed": false` only from SIGUSR1 on:

    wire.CALL.asked      about to be asked: no timestamp yet, no deadline
    wire.CALL.timed      the timestamp is taken, the lease not looked at yet
    wire.CALL.checked    the lease is found good, nothing is signed
    wire.CALL.signed     the timestamp is in the signature, nothing is sent
    wire.CALL.before     the request is about to leave
    wire.CALL.after      the answer is read, nobody has been told
    commit.before        a transaction of the journal is about to be committed
    commit.after         it is on disk, nobody has been told
    renew.before         the lease is about to be renewed
    renew.after          it is renewed, nobody has been told

CALL is an endpoint of `kucoin.endpoints` in small letters; orders are told apart by purpose:
place.entry, place.exit, place.stop. `agent` names this daemon to the exchange. Nothing of this
is in RAD itself: it is laid over it here.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from runtime.memory import loading

with loading():
    import bot
    from daemon import opening
    from execution import funding
    from kucoin import endpoints
    from kucoin import wire as wires
    from kucoin.endpoints import Endpoint
    from kucoin.sessions import Sessions
    from kucoin.wire import Wire
    from runtime.journal import SqlJournal
    from runtime.lease import Lease
    from runtime.lease_row import LeaseTable
    from tests.campaign.mutants import MUTANTS
    from trading.client_ids import parse

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
CALLS = {
    value.method: name.lower() for name, value in vars(endpoints).items() if isinstance(value, Endpoint)
}


@dataclass(slots=True)
class Trap:
    """Springs the *nth* time *at* is reached, counted from when *after* was, if that is given."""

    at: str
    after: str = ""
    nth: int = 1
    do: str = "kill"
    armed: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, point: str) -> None:
        """Note that a thread is at *point*; end or freeze the process if that is what was asked."""
        if point == self.after:
            self.after = ""
        if point != self.at or self.after or not self.armed:
            return
        with self._lock:
            self.nth -= 1
            springs = self.nth == 0
        if springs:
            # To this very thread: sent to the process, it lets us go on for a moment before all stand still.
            signal.pthread_kill(threading.get_ident(), SIGNALS[self.do])

    def arm(self, *_: object) -> None:
        """Count from now on: a handler for SIGUSR1."""
        self.armed = True


class _Calling(threading.local):
    name = "load"


def lay(trap: Trap) -> None:
    """Lay *trap* over the wire and the journal."""
    calling = _Calling()
    ask, sign, fetch, done = Wire.ask, Wire.sign, Wire.fetch, SqlJournal._done

    def asking(self: Wire, endpoint: Endpoint, params: Mapping[str, Any]) -> Any:
        calling.name = call_of(endpoint, params)
        try:
            return ask(self, endpoint, params)
        finally:
            calling.name = "load"

    def signing(self: Wire, *arguments: Any, **named: Any) -> Any:
        signed = sign(self, *arguments, **named)
        trap.reach(f"wire.{calling.name}.signed")
        return signed

    def fetching(self: Wire, *arguments: Any, **named: Any) -> Any:
        trap.reach(f"wire.{calling.name}.before")
        answer = fetch(self, *arguments, **named)
        trap.reach(f"wire.{calling.name}.after")
        return answer

    admit, require, keep = Sessions.ask, Lease.require, LeaseTable.keep

    def admitted(self: Sessions, endpoint: Endpoint, params: Mapping[str, Any], priority: Any) -> Any:
        trap.reach(f"wire.{call_of(endpoint, params)}.asked")
        return admit(self, endpoint, params, priority)

    def requiring(self: Lease, stamp_ms: int) -> None:
        trap.reach(f"wire.{calling.name}.timed")
        require(self, stamp_ms)
        trap.reach(f"wire.{calling.name}.checked")

    def keeping(self: LeaseTable, *arguments: Any) -> bool:
        trap.reach("renew.before")
        kept = keep(self, *arguments)
        trap.reach("renew.after")
        return kept

    def told(self: SqlJournal, batch: Any) -> None:
        trap.reach("commit.after")
        done(self, batch)

    Wire.ask, Wire.sign, Wire.fetch = asking, signing, fetching
    Sessions.ask, Lease.require, LeaseTable.keep = admitted, requiring, keeping
    SqlJournal._done = told
    sa.event.listen(sa.Engine, "commit", lambda _connection: trap.reach("commit.before"))


def hurry() -> None:
    """Compare with the exchange, and ask for the balance, each time the main thread comes by."""
    if_due = bot.Bot._reconcile_if_due

    def at_once(self: bot.Bot) -> None:
        self._house.look_soon.set()
        if_due(self)

    bot.ACCOUNT_INTERVAL_S = 0.0
    opening.WAIT_S = 0.2
    bot.Bot._reconcile_if_due = at_once


def call_of(endpoint: Endpoint, params: Mapping[str, Any]) -> str:
    """Return the name of a call in the points above."""
    name = CALLS[endpoint.method]
    if name != "place":
        return name
    client_oid = parse(str(params.get("clientOid")))
    return "place.foreign" if client_oid is None else f"place.{client_oid.purpose.name.lower()}"


def main(arguments: list[str]) -> int:
    wish = json.loads(arguments[0])
    funding.LISTED_AFTER_MS = 0          # nobody here waits two minutes for it
    for name in wish.pop("mutants", ()):
        MUTANTS[name]()
    if wish.pop("hurry", False):
        hurry()
    if "agent" in wish:
        wires.COMMON_HEADERS["User-Agent"] = wish.pop("agent")
    if wish:
        trap = Trap(**wish)
        signal.signal(signal.SIGUSR1, trap.arm)
        lay(trap)
    return bot.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
