"""Two RADs, one account, one journal on a server: whatever happens to the holder, only one ever trades.

Every scenario has processes of its own and mostly waits, so they all run side by side. RAD_EVERY_POINT=1
freezes the holder at every named point instead of the most telling ones (docs/STANDBY.md).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiohttp import web

from sandbox.embedded import RunningSandbox, run_sandbox
from sandbox.serving import Sandbox
from tests.daemon_process import PATIENCE_S, Daemon, Refused
from tests.postgres import PostgresServer, running_server

pytestmark = [pytest.mark.process, pytest.mark.timeout(1200)]

TAKEOVER_S = 20.0
OVERTAKEN = 75
BTC = "BTC/USDT:USDT"
CHANGES = ("POST", "DELETE")
SIDE_BY_SIDE = 8

# Where the holder is frozen: before the time is taken, with the signed request in hand, and within a
# transaction of the journal.
TELLING = ("wire.place.exit.asked", "wire.place.entry.before", "commit.before")
MOMENTS = ("asked", "timed", "checked", "signed", "before", "after")
CALLS = ("place.entry", "place.stop", "place.exit", "cancel")
EVERY = (
    *(f"wire.{call}.{moment}" for call in CALLS for moment in MOMENTS),
    "commit.before", "commit.after", "renew.before", "renew.after",
)
POINTS = EVERY if os.environ.get("RAD_EVERY_POINT") else TELLING
# Without the rule, frozen where a fresh time is taken afterwards: these must be caught.
CONTROLS = {"no_send_rule": "wire.place.entry.asked", "lease_before_time": "wire.place.entry.checked"}
MUTANTS = tuple(CONTROLS) if os.environ.get("RAD_EVERY_POINT") else ("no_send_rule",)


@dataclass(slots=True)
class Seen:
    """What one scenario showed."""

    taken_s: float = 0.0                  # from the freeze to the standby's lease
    running_s: float = 0.0                # and to its trading
    late: list[str] = field(default_factory=list)          # accepted from the old holder afterwards
    refused: list[str] = field(default_factory=list)       # and what the exchange refused it
    doubled: list[str] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)
    agrees: bool = False
    exit_code: int | None = None
    said: str = ""


@dataclass(slots=True)
class Arena:
    """An exchange, a journal, and who asked the exchange to change what."""

    box: RunningSandbox
    settings: dict[str, str]
    folder: Path
    asked: list[tuple[int, str, str, bool]] = field(default_factory=list)   # when, who, what, accepted

    def daemon(self, name: str, **trap: Any) -> Daemon:
        folder = self.folder / name
        folder.mkdir()
        return Daemon(folder, trap={"agent": name, **trap}, **self.settings)

    def listen(self, sandbox: Sandbox) -> None:
        """Note every request for a change, by the name its sender gives itself."""
        answer = sandbox.rest.answer

        async def noting(request: web.Request, market: str, prefix: str, path: str) -> web.StreamResponse:
            response = await answer(request, market, prefix, path)
            if request.method in CHANGES and "orders" in path:
                accepted = isinstance(response, web.Response) and '"code":"200000"' in (response.text or "")
                what = f"{request.method} {path} {(await request.text())[:120]}"
                self.asked.append((time.monotonic_ns(), request.headers["User-Agent"], what, accepted))
            return response

        sandbox.rest.answer = noting  # type: ignore[method-assign]


@contextmanager
def arena(postgres: PostgresServer, folder: Path) -> Iterator[Arena]:
    """An exchange that enforces the signature's life, and an empty journal."""
    url = postgres.url(folder.name.replace(".", "_"))
    with run_sandbox("synthetic", pairs=1, seed=5, volatility=1.0, tick_ms=500) as box:
        found = Arena(box=box, folder=folder, settings={
            "EXCHANGE__FUTURES_URL": box.futures_url, "EXCHANGE__SPOT_URL": box.spot_url,
            "KUCOIN_API_KEY": box.key, "KUCOIN_API_SECRET": box.secret, "KUCOIN_API_PASSPHRASE": box.passphrase,
            "JOURNAL__URL": url, "RECONCILE__INTERVAL": "5s",
            "SCANNER__MIN_VOLUME_24H": "1000000M",     # nothing is opened but by hand
            "EXCHANGE__DEADLINE": "60s",               # a request's deadline is not to be what saves it
        })
        box.call(found.listen)
        yield found


@contextmanager
def holder_and_standby(
    postgres: PostgresServer, folder: Path, **trap: Any
) -> Iterator[tuple[Arena, Daemon, Daemon]]:
    """One RAD that trades (or is about to), one that waits for its end."""
    folder.mkdir()
    with arena(postgres, folder) as found, found.daemon("holder", **trap) as holder:
        holder.await_line(r"lease taken epoch=1 from=nobody")
        with found.daemon("standby") as standby:
            standby.await_line(r"standby: \S+ holds the lease")
            yield found, holder, standby


def frozen(postgres: PostgresServer, folder: Path, point: str, *mutants: str) -> Seen:
    """Freeze the holder at *point*, let the standby take over, wake the holder, look at what it did."""
    trap: dict[str, Any] = {"at": point, "do": "stop", "mutants": mutants}
    if not point.startswith("wire."):
        trap["after"] = "wire.place.entry.before"
    with holder_and_standby(postgres, folder, **trap) as (found, holder, standby):
        seen = Seen()
        trading = Thread(target=trade_until_frozen, args=(holder,), daemon=True)
        trading.start()
        await_that(lambda: is_stopped(holder), f"frozen at {point}", lambda: holder.text())
        frozen_at = time.monotonic()
        standby.await_line(r"lease taken epoch=2 from=\S+")
        seen.taken_s = time.monotonic() - frozen_at
        standby.await_line(r"running positions=")
        seen.running_s = time.monotonic() - frozen_at
        woken_ns = time.monotonic_ns()
        holder.process.send_signal(signal.SIGCONT)
        seen.exit_code = holder.await_end()
        trading.join(5)
        note_requests(found, seen, woken_ns)
        if not mutants:
            look_at(found, standby, seen)
        seen.said = holder.text()
        return seen


def killed(postgres: PostgresServer, folder: Path) -> Seen:
    """End the holder with kill -9 in the middle of a position."""
    with holder_and_standby(postgres, folder) as (found, holder, standby):
        seen = Seen()
        open_by_hand(holder)
        killed_at = time.monotonic()
        seen.exit_code = holder.end(signal.SIGKILL)
        standby.await_line(r"lease taken epoch=2 from=\S+")
        seen.taken_s = time.monotonic() - killed_at
        standby.await_line(r"running positions=1 recovered=1")
        seen.running_s = time.monotonic() - killed_at
        look_at(found, standby, seen)
        return seen


def orderly(postgres: PostgresServer, folder: Path) -> Seen:
    """End the holder as a person does, once its standby has said in `status` what it waits for."""
    with holder_and_standby(postgres, folder) as (found, holder, standby):
        seen = Seen()
        holder.await_line(r"running positions=0")
        status = standby.ask("/api/status")
        assert status["state"] == "starting"
        assert [line for line in status["problems"] if line.startswith("standby: ")], status["problems"]
        troubles = holder.ask("/api/status")["problems"]
        assert [line for line in troubles if not line.startswith("universe: ")] == []      # it is to scan nothing
        holder.process.send_signal(signal.SIGINT)
        seen.exit_code = holder.await_end()
        ended_at = time.monotonic()
        standby.await_line(r"lease taken epoch=2 from=nobody")
        seen.taken_s = time.monotonic() - ended_at
        standby.await_line(r"running positions=0")
        seen.running_s = time.monotonic() - ended_at
        look_at(found, standby, seen)
        seen.said = holder.text()
        return seen


def outage(postgres: PostgresServer, folder: Path) -> Seen:
    """Take the database away from a RAD that holds a position, and give it back."""
    folder.mkdir()
    with running_server() as server, arena(server, folder) as found, found.daemon("holder") as holder:
        open_by_hand(holder)
        server.stop()
        await_that(lambda: troubled(holder), "troubled", holder.text)
        before = len(found.asked)
        with pytest.raises(Refused, match="not sent: the lease was last renewed"):
            holder.ask("/api/close", {"symbol": BTC})
        assert [position["symbol"] for position in holder.ask("/api/positions")] == [BTC]
        assert len(found.asked) == before
        server.start()
        holder.await_line(r"BTC/USDT:USDT closed .*reason=manual")        # nobody had to ask again
        assert holder.ask("/api/positions") == []
        assert not troubled(holder)
        holder.process.send_signal(signal.SIGINT)
        return Seen(exit_code=holder.await_end(), said=holder.text())


def troubled(daemon: Daemon) -> bool:
    """Whether `status` says that no order leaves."""
    problems: list[str] = daemon.ask("/api/status")["problems"]
    return bool([line for line in problems if line.startswith("lease: not renewed for")])


def note_requests(found: Arena, seen: Seen, since_ns: int) -> None:
    """Note what the exchange has accepted and refused of the old holder since it was woken."""
    afterwards = [(what, yes) for at_ns, who, what, yes in found.asked if who == "holder" and at_ns > since_ns]
    seen.late = [what for what, yes in afterwards if yes]
    seen.refused = [what for what, yes in afterwards if not yes]


def look_at(found: Arena, standby: Daemon, seen: Seen) -> None:
    """Wait until book and exchange agree, have everything closed, and see what the exchange has noted."""
    await_that(lambda: settled(standby), "agreement", lambda: f"{standby.ask('/api/verify')}\n{standby.text()}")
    seen.unprotected = [p["symbol"] for p in standby.ask("/api/positions") if not p["protected"]]
    standby.ask("/api/flatten", {})
    await_that(lambda: settled(standby) and not standby.ask("/api/positions"), "flat", standby.text)
    seen.agrees = [account["stops"] for account in found.box.state()["accounts"]] == [[]]
    accepted = [event["client_oid"] for event in found.box.history("order_accepted")]
    entries = [oid for oid in accepted if oid.split("-")[-1].startswith("e")]
    seen.doubled = [oid for oid in accepted if accepted.count(oid) > 1] + entries[1:]


def settled(standby: Daemon) -> bool:
    """Whether positions, orders, stops and fills agree."""
    return standby.ask("/api/verify")["differences"] == []


def open_by_hand(holder: Daemon) -> None:
    holder.await_line(r"running positions=0")
    holder.ask("/api/pause", {})
    holder.ask("/api/open", {"symbol": BTC, "side": "long"})


def trade_until_frozen(holder: Daemon) -> None:
    """Open and close: the freeze comes somewhere on the way, and then nobody answers any more."""
    with suppress(Exception):
        open_by_hand(holder)
        holder.ask("/api/close", {"symbol": BTC})


def is_stopped(daemon: Daemon) -> bool:
    status = Path(f"/proc/{daemon.process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def await_that(condition: Callable[[], bool], what: str, text: Callable[[], str]) -> None:
    """Poll until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not {what} within {PATIENCE_S:g} s:\n{text()}"
        time.sleep(0.05)


Outcomes = dict[str, Future[Seen]]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcomes]:
    """Every scenario a chosen test asks for, under way side by side."""
    root = tmp_path_factory.mktemp("standby")
    scenarios: dict[str, tuple[Any, ...]] = {
        **{mutant: (frozen, point, mutant) for mutant, point in CONTROLS.items()},
        **{point: (frozen, point) for point in POINTS},
        "killed": (killed,), "orderly": (orderly,), "outage": (outage,),
    }
    chosen = [item.name for item in request.session.items if item.parent is request.node]
    pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="scenario")
    yield {
        name: pool.submit(scenario, postgres, root / name, *more)
        for name, (scenario, *more) in scenarios.items() if any(name in test for test in chosen)
    }
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("point", POINTS)
def test_a_frozen_holder_never_trades_beside_its_successor(outcomes: Outcomes, point: str) -> None:
    """Frozen at *point* until another has taken over: nothing of it is accepted any more, and it ends."""
    seen = outcomes[point].result()
    print(f"{point:24} taken {seen.taken_s:5.1f} s, running {seen.running_s:5.1f} s, "
          f"late {len(seen.late)}, refused {len(seen.refused)}, exit {seen.exit_code}")
    assert seen.late == []
    assert seen.doubled == []
    assert seen.unprotected == []
    assert seen.agrees
    assert seen.exit_code == OVERTAKEN
    assert seen.running_s <= TAKEOVER_S


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_rule_is_what_prevents_it(outcomes: Outcomes, mutant: str) -> None:
    """The same with the rule left out, or in the wrong order: an order of the old holder is accepted."""
    seen = outcomes[mutant].result()
    assert seen.late != [], f"nothing late, refused {seen.refused}:\n{seen.said}"
    assert seen.exit_code == OVERTAKEN


def test_a_killed_holder_is_replaced(outcomes: Outcomes) -> None:
    """kill -9 in the middle of a position: within twenty seconds the standby watches it."""
    seen = outcomes["killed"].result()
    print(f"kill -9 {'':16} taken {seen.taken_s:5.1f} s, running {seen.running_s:5.1f} s")
    assert (seen.late, seen.doubled, seen.unprotected, seen.agrees) == ([], [], [], True)
    assert seen.running_s <= TAKEOVER_S


def test_an_orderly_end_hands_over_at_once(outcomes: Outcomes) -> None:
    """Nobody waits for a lease that was given back."""
    seen = outcomes["orderly"].result()
    print(f"orderly end {'':12} taken {seen.taken_s:5.1f} s, running {seen.running_s:5.1f} s")
    assert seen.exit_code == 0
    assert "Traceback" not in seen.said
    assert seen.agrees
    assert seen.taken_s < 4.0                # a look each second


def test_an_outage_of_the_database_puts_exits_off(outcomes: Outcomes) -> None:
    """While the lease cannot be renewed an exit is refused and stays pending; then it goes through."""
    outcomes["outage"].result()
