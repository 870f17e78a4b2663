"""A hundred stops breached at one moment: until the last closing order has arrived at the exchange.

    .venv/bin/python -m bench.flatten [--positions 100] [--pairs 500] [--quick]

Every answer of the exchange takes 50 ms, and its pools have KuCoin's quotas: a refused order is
counted, whatever for. The floor is a client without a bot: it hears of the same prices, and sends
the same signed orders over as many connections as RAD has workers for exits.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.exits import (
    AMPLE_DAEMON,
    AMPLE_EXCHANGE,
    Arrivals,
    OwnRecord,
    await_quiet,
    connect,
    contracts,
    fault,
    held,
    open_positions,
    price_pushes,
)
from bench.harness import a_daemon, an_exchange, ask, fetch, figures, send_order, show, signed_post, until
from daemon.house import EXIT_WORKERS

ROUND_TRIP_MS = 50.0
QUOTAS = {"public": 2000, "futures": 2000}     # weight per 30 s of KuCoin's pools
WEIGHT_OF_EXIT = 22            # of the futures pool: the order, and what settles and sweeps after it
MOMENT_S = 5.0                 # no candle closes meanwhile
WINDOWS_S = 70.0               # of two windows, and a little
FALL = 0.95                    # of the price, for the client without a bot


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=500, help="scanned all the while")
    parser.add_argument("--quick", action="store_true", help="4 positions, 30 pairs")
    wish = parser.parse_args()
    positions, pairs = (4, 30) if wish.quick else (wish.positions, wish.pairs)
    with tempfile.TemporaryDirectory(prefix="rad-bench-") as name, an_exchange(pairs, *AMPLE_EXCHANGE) as at:
        arrivals, symbols, folder = Arrivals(at), contracts(at)[:positions], Path(name)
        floor = asyncio.run(bare_client(at, arrivals, symbols))
        with a_daemon(folder, at, **AMPLE_DAEMON):
            rad, refused = through_rad(folder, at, arrivals, symbols)
            own = OwnRecord(folder).take(positions)
    report(rad, floor, own, refused)
    return 0


def report(rad: list[float], floor: list[float], own: list[float], refused: dict[str, int]) -> None:
    rows, own_row = {"RAD": figures(rad), "no bot": figures(floor)}, figures(own)
    keys = ("count", "p50", "p95", "max")
    show("prices set -> closing orders at the exchange, ms; 50 ms round trip", rows, keys)
    show("RAD's own record: price received -> order on its way, ms", {"": own_row}, keys)
    print(f"refused before the last arrived: orders={refused['orders']} calls for their rate={refused['rate']}")
    ratio = {"p50": round(rows["RAD"]["p50"] / rows["no bot"]["p50"], 2),
             "last": round(rows["RAD"]["max"] / rows["no bot"]["max"], 2)}
    print(json.dumps({"bench": "flatten", "rad_ms": rows["RAD"], "floor_ms": rows["no bot"], "own_ms": own_row,
                      "refused": refused, "ratio": ratio}))


# ---- measuring ----------------------------------------------------------------------------------


def through_rad(
    folder: Path, at: Mapping[str, str], arrivals: Arrivals, symbols: Sequence[str]
) -> tuple[list[float], dict[str, int]]:
    """Return ms until each closing order had arrived, and what was refused until the last had."""
    opened = open_positions(folder, symbols)
    fetch(f"{at['control_url']}/rates", {"quotas": QUOTAS})
    until(lambda: has_room(folder, len(opened)), WINDOWS_S)
    await_quiet(len(contracts(at)), MOMENT_S)
    marks = [f"rad-{position['position_id']}-x" for position in opened]
    with fault(at, "delay", delay_ms=ROUND_TRIP_MS):
        time.sleep(1)                                    # nothing is under way any more that was quicker
        before = refusals(at)
        began = breach(at, {position["exchange_id"]: position["stop_price"] for position in opened})
        arrived = [arrivals.of(mark) for mark in marks]
        refused = {kind: count - before[kind] for kind, count in refusals(at).items()}
        until(lambda: not held(folder), WINDOWS_S)
    return [(each - began) / 1e6 for each in arrived], refused


def has_room(folder: Path, exits: int) -> bool:
    """Whether the exchange's pools, as RAD knows them, have KuCoin's size and nearly room for so many exits."""
    rate = ask(folder, "status")["rate"]
    room = min(rate["futures"]["quota"] - rate["futures"]["used"], QUOTAS["futures"])
    return all(rate[pool]["quota"] == quota for pool, quota in QUOTAS.items()) and room >= min(
        exits * WEIGHT_OF_EXIT, QUOTAS["futures"] * 0.9
    )


def refusals(at: Mapping[str, str]) -> dict[str, int]:
    orders = fetch(f"{at['control_url']}/history?event=order_refused")["events"]
    return {"orders": len(orders), "rate": fetch(f"{at['control_url']}/rates")["refused"]}


def breach(at: Mapping[str, str], prices: Mapping[str, str]) -> int:
    """Set all *prices* at one moment; return when that began, ns of the monotonic clock."""
    began = time.monotonic_ns()
    fetch(f"{at['control_url']}/prices", {"prices": prices})
    return began


async def bare_client(at: Mapping[str, str], arrivals: Arrivals, symbols: Sequence[str]) -> list[float]:
    """Hear of the prices, and sell by a thread for each connection; ms until each order had arrived."""
    connections = [connect(at) for _ in range(EXIT_WORKERS)]
    for symbol in symbols:
        send_order(connections[0], at, symbol, "buy", 1, f"bench-entry-{symbol}")
    prices = {
        symbol: float(fetch(f"{at['futures_url']}/api/v1/ticker?symbol={symbol}")["data"]["price"]) * FALL
        for symbol in symbols
    }
    fallen: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def sell(connection: http.client.HTTPConnection) -> None:
        while (symbol := fallen.get()) is not None:
            send_order(connection, at, symbol, "sell", 1, f"bench-exit-{symbol}")

    threads = [threading.Thread(target=sell, args=(connection,)) for connection in connections]
    async with price_pushes(at, connections[0], symbols) as pushes:
        with fault(at, "delay", delay_ms=ROUND_TRIP_MS):
            for connection in connections:
                signed_post(connection, at, "/api/v1/bullet-public", {})          # warm
            for thread in threads:
                thread.start()
            wish = asyncio.get_running_loop().run_in_executor(
                None, breach, at, {symbol: f"{price:.10f}" for symbol, price in prices.items()}
            )
            left = set(symbols)
            while left:
                symbol, bid = await anext(pushes)
                if symbol in left and bid < prices[symbol] * (1 + (1 - FALL) / 2):
                    left.remove(symbol)
                    fallen.put(symbol)
            began = await wish
            for _ in threads:
                fallen.put(None)
            arrived = [await asyncio.to_thread(arrivals.of, f"bench-exit-{symbol}") for symbol in symbols]
            for thread in threads:
                thread.join()
    for symbol in symbols:
        fetch(f"{at['control_url']}/release", {"symbol": symbol})
    return [(each - began) / 1e6 for each in arrived]


if __name__ == "__main__":
    sys.exit(main())
