"""From a price that breaches a stop to the closing order at the exchange, beside a client without a bot.

    .venv/bin/python -m bench.exit_latency [--exits 100] [--pairs 500] [--quick]

Both are measured from just before the price is set to the order's arrival in the exchange's own
record, on one machine's monotonic clock: the price's way to the exchange is in both.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from bench.harness import (
    a_daemon,
    an_exchange,
    arrival,
    ask,
    fetch,
    figures,
    send_order,
    signed_post,
    until,
)

SYMBOLS = ("XBTUSDTM", "ETHUSDTM", "SOLUSDTM", "XRPUSDTM")
JUST_BEYOND = 0.0005           # past RAD's stop, short of the one resting 0.1 % behind it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exits", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=500, help="scanned all the while")
    parser.add_argument("--quick", action="store_true", help="12 exits, 40 pairs")
    wish = parser.parse_args()
    exits, pairs = (12, 40) if wish.quick else (wish.exits, wish.pairs)
    with tempfile.TemporaryDirectory(prefix="rad-bench-") as folder, an_exchange(pairs) as at:
        floor = asyncio.run(bare_client(at, exits))
        with a_daemon(Path(folder), at):
            rad = through_rad(Path(folder), at, exits)
    report(pairs, rad, floor)
    return 0


def report(pairs: int, rad: list[float], floor: list[float]) -> None:
    rows = {"RAD": figures(rad), "no bot": figures(floor)}
    print(f"price set -> closing order at the exchange, ms; {pairs} pairs scanned meanwhile")
    print(f"{'':8}{'exits':>8}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for name, row in rows.items():
        print(f"{name:8}{row['count']:>8}" + "".join(f"{row[key]:>9.2f}" for key in ("p50", "p95", "p99", "max")))
    ratio = {key: round(rows["RAD"][key] / rows["no bot"][key], 2) for key in ("p50", "p99")}
    print(json.dumps({"bench": "exit_latency", "pairs": pairs, "rad_ms": rows["RAD"], "floor_ms": rows["no bot"],
                      "ratio": ratio}))


# ---- measuring ----------------------------------------------------------------------------------


def through_rad(folder: Path, at: dict[str, str], exits: int) -> list[float]:
    samples = []
    for number in range(exits):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        opened = ask(folder, "open", {"symbol": symbol, "side": "long"})
        price = float(opened["stop_price"]) * (1 - JUST_BEYOND)
        asked = time.monotonic_ns()
        fetch(f"{at['control_url']}/price", {"symbol": symbol, "price": f"{price:.8f}"})
        arrived = arrival(at, f"rad-{opened['position_id']}-x")
        samples.append((arrived - asked) / 1e6)
        until(lambda: not ask(folder, "positions"))
        fetch(f"{at['control_url']}/release", {"symbol": symbol})
    return samples


async def bare_client(at: dict[str, str], exits: int) -> list[float]:
    """The same push and the same signed order over one warm connection, and nothing else."""
    symbol, samples = SYMBOLS[0], []
    connection = http.client.HTTPConnection(urlsplit(at["futures_url"]).netloc)
    token = signed_post(connection, at, "/api/v1/bullet-public", {})["data"]
    address = f"{token['instanceServers'][0]['endpoint']}?token={token['token']}&connectId=bench"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        await socket.receive()
        await socket.send_json({"id": "1", "type": "subscribe", "topic": f"/contractMarket/tickerV2:{symbol}"})
        send_order(connection, at, symbol, "buy", exits, "bench-entry")
        for number in range(exits):
            price = 60_000.0 + number
            asked = time.monotonic_ns()
            wish = asyncio.get_running_loop().run_in_executor(
                None, fetch, f"{at['control_url']}/price", {"symbol": symbol, "price": f"{price:.1f}"}
            )
            async for message in socket:
                data = json.loads(message.data).get("data") or {}
                if float(data.get("bestBidPrice", 0)) == price:
                    break
            send_order(connection, at, symbol, "sell", 1, f"bench-exit-{number}-")
            await wish
            arrived = arrival(at, f"bench-exit-{number}-")
            samples.append((arrived - asked) / 1e6)
    fetch(f"{at['control_url']}/release", {"symbol": symbol})
    return samples


if __name__ == "__main__":
    sys.exit(main())
