"""What the benches of exits share: positions to breach, the moment an exit arrives, a client without a bot."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from bench.harness import PATIENCE_S, ask, fetch, send_order, signed_post, until

OPENERS = 2                    # RAD's control API opens no more at a time
UNDISTURBED_S = 0.015          # the exchange is not asked about an exit while it is most likely under way
LONGEST_PAUSE_S = 0.05         # between two exits, so that they keep no step with the market's ticks
BURST_S = 8.0 / 500            # of each minute, for each pair listed: RAD asks for candles that have closed
AMPLE = "100000"               # weight per 30 s: what opens and settles positions is not to wait for a window
AMPLE_EXCHANGE = ("--quota-public", AMPLE, "--quota-futures", AMPLE)
# Nothing moves a stop, and no chance does reach one, before the bench does.
STEADY = {
    "POSITIONS__MAX_OPEN": "100", "POSITIONS__MAX_EXPOSURE": "none", "EXITS__STOP_LOSS": "5%",
    "EXITS__TAKE_PROFIT": "none", "EXITS__TRAILING": "none",
}
AMPLE_DAEMON = STEADY | {"EXCHANGE__QUOTA_PUBLIC": AMPLE, "EXCHANGE__QUOTA_FUTURES": AMPLE}
Opened = dict[str, Any]


def contracts(at: Mapping[str, str]) -> list[str]:
    """Return the exchange's symbols, the best known first."""
    return [row["symbol"] for row in fetch(f"{at['futures_url']}/api/v1/contracts/active")["data"]]


class Arrivals:
    """When orders arrived, in the exchange's own record; read onwards only, so that a look costs it little."""

    def __init__(self, at: Mapping[str, str]) -> None:
        self._at = at
        self._last = 0
        self._received_ns: dict[str, int] = {}

    def look(self) -> dict[str, int]:
        """Return the arrivals so far by client id, ns of the monotonic clock."""
        found = fetch(f"{self._at['control_url']}/history?event=order_accepted&since={self._last}")["events"]
        for event in found:
            self._last = event["n"]
            self._received_ns[event["client_oid"] or ""] = event["received_ns"]
        return self._received_ns

    def of(self, mark: str) -> int:
        """Wait for the order whose client id begins with *mark*."""
        return int(until(lambda: next((ns for oid, ns in self.look().items() if oid.startswith(mark)), None)))


@contextmanager
def fault(at: Mapping[str, str], kind: str, **wish: Any) -> Iterator[int]:
    """Let the exchange do that for the length of a `with`; yields the fault's number."""
    number = int(fetch(f"{at['control_url']}/faults", {"kind": kind, **wish})["id"])
    try:
        yield number
    finally:
        fetch(f"{at['control_url']}/faults/{number}", method="DELETE")


def struck(at: Mapping[str, str], number: int) -> int:
    """Return how often a fault has struck."""
    rules = fetch(f"{at['control_url']}/faults")["faults"]
    return int(next(rule["struck"] for rule in rules if rule["id"] == number))


def await_quiet(pairs: int, for_s: float = 1.0) -> None:
    """Wait until no candle closes for so long, and the calls for those that have are over.

    The sandbox answers candles in the thread that takes orders: with 500 pairs it takes none for a
    while as a minute begins, whoever sends them. Exits within such a burst have a row of their own.
    """
    burst_s = BURST_S * pairs
    while not burst_s < (second := time.time() % 60) < 60 - for_s:
        time.sleep(burst_s - second if second < burst_s else 60 - second)


def candle_calls(at: Mapping[str, str]) -> int:
    """Return how many candle calls the exchange has answered."""
    return int(fetch(f"{at['control_url']}/state")["requests"].get("GET /api/v1/kline/query", 0))


# ---- RAD ---------------------------------------------------------------------------------------


def open_positions(folder: Path, symbols: Iterable[str]) -> list[Opened]:
    """Open a long position in each of *symbols*; all are protected when this returns."""
    with ThreadPoolExecutor(OPENERS) as pool:
        return list(pool.map(lambda symbol: {
            **ask(folder, "open", {"symbol": symbol, "side": "long"}), "exchange_id": symbol,
        }, symbols))


class Exits:
    """Breaches one position's stop after the other and times the closing orders."""

    def __init__(self, folder: Path, at: Mapping[str, str], arrivals: Arrivals, seed: int = 7) -> None:
        self._folder = folder
        self._at = at
        self._arrivals = arrivals
        self._dice = random.Random(seed)
        self._pairs = len(contracts(at))

    def time(self, position: Opened, *, in_burst: bool = False) -> float:
        """Return ms from the price to the order's arrival, once the position is closed and booked."""
        if not in_burst:
            await_quiet(self._pairs)
        time.sleep(self._dice.uniform(0, LONGEST_PAUSE_S))
        began = breach(self._at, position)
        time.sleep(UNDISTURBED_S)
        arrived = self._arrivals.of(f"rad-{position['position_id']}-x")
        until(lambda: position["position_id"] not in held(self._folder))
        fetch(f"{self._at['control_url']}/release", {"symbol": position["exchange_id"]})
        return (arrived - began) / 1e6


def breach(at: Mapping[str, str], position: Opened) -> int:
    """Set the price to its stop, short of the one resting behind; return when that began, monotonic ns."""
    began = time.monotonic_ns()
    fetch(f"{at['control_url']}/price", {"symbol": position["exchange_id"], "price": position["stop_price"]})
    return began


def held(folder: Path) -> set[str]:
    return {position["position_id"] for position in ask(folder, "positions")}


class OwnRecord:
    """What RAD itself writes down about its exits: from receiving the price to the order's way out."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "rad.log"
        self._from = 0

    def take(self, count: int) -> list[float]:
        """Return the next *count* exits, in ms; the log has them a moment after the exchange."""
        def look() -> list[float] | None:
            found = re.findall(r"price_to_wire=([\d.]+)ms", self._log.read_text())[self._from:]
            return [float(ms) for ms in found] if len(found) >= count else None

        taken: list[float] = until(look)
        self._from += len(taken)
        return taken


# ---- a client without a bot --------------------------------------------------------------------


@asynccontextmanager
async def price_pushes(
    at: Mapping[str, str], connection: http.client.HTTPConnection, symbols: Sequence[str]
) -> AsyncIterator[AsyncIterator[tuple[str, float]]]:
    """Subscribe to *symbols*; yields their bids as they are pushed."""
    token = signed_post(connection, at, "/api/v1/bullet-public", {})["data"]
    address = f"{token['instanceServers'][0]['endpoint']}?token={token['token']}&connectId=bench"

    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        async def pushes() -> AsyncIterator[tuple[str, float]]:
            async for message in socket:
                data = json.loads(message.data).get("data") or {}
                if "bestBidPrice" in data:
                    yield data["symbol"], float(data["bestBidPrice"])

        await socket.receive()
        topic = f"/contractMarket/tickerV2:{','.join(symbols)}"
        await socket.send_json({"id": "1", "type": "subscribe", "topic": topic})
        yield pushes()


def connect(at: Mapping[str, str]) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(at["futures_url"]).netloc, timeout=PATIENCE_S)


async def bare_client(
    at: Mapping[str, str], arrivals: Arrivals, exits: int, mark: str = "bench", *, seed: int = 7
) -> tuple[list[float], list[float]]:
    """The same push and the same signed order over one warm connection, and nothing else.

    Returns ms from before the price is set to the order's arrival, and ms of the order's round trip.
    """
    symbol, dice = contracts(at)[0], random.Random(seed)
    samples, round_trips, connection = [], [], connect(at)
    async with price_pushes(at, connection, [symbol]) as pushes:
        send_order(connection, at, symbol, "buy", exits, f"{mark}-entry")
        for number in range(exits):
            await asyncio.sleep(dice.uniform(0, LONGEST_PAUSE_S))
            price = 60_000.0 + number
            began = time.monotonic_ns()
            wish = asyncio.get_running_loop().run_in_executor(
                None, fetch, f"{at['control_url']}/price", {"symbol": symbol, "price": f"{price:.1f}"}
            )
            async for _, bid in pushes:
                if bid == price:
                    break
            sent = time.monotonic_ns()
            send_order(connection, at, symbol, "sell", 1, f"{mark}-exit-{number}-")
            round_trips.append((time.monotonic_ns() - sent) / 1e6)
            await wish
            samples.append((arrivals.of(f"{mark}-exit-{number}-") - began) / 1e6)
    fetch(f"{at['control_url']}/release", {"symbol": symbol})
    connection.close()
    return samples, round_trips
