"""From a price that breaches a stop to the closing order at the exchange, beside a client without a bot.

    .venv/bin/python -m bench.exit_latency [--exits 100] [--pairs 500] [--quick]

Both are measured from just before the price is set to the order's arrival in the exchange's own
record, on one machine's monotonic clock: the price's way to the exchange is in both.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

PROJECT = Path(__file__).resolve().parents[1]
SYMBOLS = ("XBTUSDTM", "ETHUSDTM", "SOLUSDTM", "XRPUSDTM")
PATIENCE_S = 30.0
JUST_BEYOND = 0.0005           # past RAD's stop, short of the one resting 0.1 % behind it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exits", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=500, help="scanned all the while")
    parser.add_argument("--quick", action="store_true", help="12 exits, 40 pairs")
    wish = parser.parse_args()
    exits, pairs = (12, 40) if wish.quick else (wish.exits, wish.pairs)
    with tempfile.TemporaryDirectory(prefix="rad-bench-") as folder:
        exchange, at = start_exchange(pairs)
        try:
            floor = asyncio.run(bare_client(at, exits))
            daemon = start_daemon(Path(folder), at)
            try:
                rad = through_rad(Path(folder), at, exits)
            finally:
                daemon.terminate()
                daemon.wait(PATIENCE_S)
        finally:
            exchange.terminate()
            exchange.wait(PATIENCE_S)
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


def figures(samples: list[float]) -> dict[str, float]:
    ordered = sorted(samples)

    def at(quantile: float) -> float:
        return round(ordered[max(0, -int(-quantile * len(ordered) // 1) - 1)], 3)

    return {"count": len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": round(ordered[-1], 3)}


# ---- the two processes --------------------------------------------------------------------------


def start_exchange(pairs: int) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--pairs", str(pairs), "--seed", "7", "--volatility", "1",
         "--balance", "1000000", "--exit-with-stdin"],
        cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return process, json.loads(line)
    raise SystemExit("the exchange did not start")


def start_daemon(folder: Path, at: dict[str, str]) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAD_")} | {
        "RAD_EXCHANGE__FUTURES_URL": at["futures_url"], "RAD_EXCHANGE__SPOT_URL": at["spot_url"],
        "KUCOIN_API_KEY": at["key"], "KUCOIN_API_SECRET": at["secret"], "KUCOIN_API_PASSPHRASE": at["passphrase"],
        "RAD_DATA_DIR": str(folder), "RAD_CONTROL__PORT": "0", "RAD_SCANNER__INTERVAL": "1s",
        "RAD_LIMITS__COOLDOWN": "0s", "RAD_LIMITS__ORDERS_PER_MINUTE": "1000",
        "RAD_LIMITS__LOSSES_IN_A_ROW": "none", "RAD_POSITIONS__MAX_NOTIONAL": "500",
    }
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "bot.py")], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: (folder / "control.json").exists() and ask(folder, "status")["state"] in ("running", "degraded"))
    ask(folder, "pause", {})
    return process


def ask(folder: Path, name: str, wish: dict[str, Any] | None = None) -> Any:
    address = json.loads((folder / "control.json").read_text())
    return fetch(f"{address['url']}/api/{name}", wish, {"Authorization": f"Bearer {address['token']}"})


def fetch(url: str, wish: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Any:
    data = None if wish is None else json.dumps(wish).encode()
    method = "GET" if wish is None else "POST"
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.01)
    raise SystemExit("waited too long")


def arrival(at: dict[str, str], mark: str) -> int:
    """Return when the order with *mark* in its client id arrived, on the monotonic clock."""
    def look() -> int | None:
        events = fetch(f"{at['control_url']}/history?event=order_accepted")["events"]
        return next((event["received_ns"] for event in events if mark in (event["client_oid"] or "")), None)

    return int(until(look))


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
    token = post(connection, at, "/api/v1/bullet-public", {})["data"]
    address = f"{token['instanceServers'][0]['endpoint']}?token={token['token']}&connectId=bench"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        await socket.receive()
        await socket.send_json({"id": "1", "type": "subscribe", "topic": f"/contractMarket/tickerV2:{symbol}"})
        order(connection, at, symbol, "buy", exits, "bench-entry")
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
            order(connection, at, symbol, "sell", 1, f"bench-exit-{number}-")
            await wish
            arrived = arrival(at, f"bench-exit-{number}-")
            samples.append((arrived - asked) / 1e6)
    fetch(f"{at['control_url']}/release", {"symbol": symbol})
    return samples


def order(
    connection: http.client.HTTPConnection, at: dict[str, str], symbol: str, side: str, size: int, oid: str
) -> None:
    body = {"clientOid": oid, "symbol": symbol, "side": side, "type": "market", "size": size, "leverage": "3",
            "reduceOnly": side == "sell"}
    answer = post(connection, at, "/api/v1/orders", body)
    if answer["code"] != "200000":
        raise SystemExit(f"the bare client's order was refused: {answer}")


def post(connection: http.client.HTTPConnection, at: dict[str, str], path: str, body: dict[str, Any]) -> Any:
    text, stamp = json.dumps(body), str(time.time_ns() // 1_000_000)

    def signed(what: str) -> str:
        return base64.b64encode(hmac.new(at["secret"].encode(), what.encode(), hashlib.sha256).digest()).decode()

    connection.request("POST", path, text, {
        "Content-Type": "application/json", "KC-API-KEY": at["key"], "KC-API-KEY-VERSION": "2",
        "KC-API-TIMESTAMP": stamp, "KC-API-SIGN": signed(f"{stamp}POST{path}{text}"),
        "KC-API-PASSPHRASE": signed(at["passphrase"]),
    })
    return json.loads(connection.getresponse().read())


if __name__ == "__main__":
    sys.exit(main())
