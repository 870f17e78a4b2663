"""What the benches share: an exchange and a daemon of their own, the way to ask both, figures of samples."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE_S = 30.0
START_S = 90.0                 # a daemon's start, or its first scan, on a machine with more to do


@contextmanager
def an_exchange(pairs: int, *options: str) -> Iterator[dict[str, str]]:
    """Start an exchange of that many contracts; yields its addresses and a key. It ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--pairs", str(pairs), "--seed", "7", "--volatility", "1",
         "--balance", "1000000", "--exit-with-stdin", *options],
        cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if line.startswith("{")), None)
        if line is None:
            raise SystemExit("the exchange did not start")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextmanager
def candle_storm(at: Mapping[str, str], *options: str) -> Iterator[None]:
    """Have the exchange asked for candles as a scan does, by no bot, for the length of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.candle_storm", at["futures_url"], *options], cwd=PROJECT,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextmanager
def onlookers(folder: Path) -> Iterator[None]:
    """Have the daemon looked at as by pages and Prometheus, for the length of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.onlookers", str(folder)], cwd=PROJECT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise SystemExit("the daemon could not be looked at")
        yield
        if process.poll() is not None:
            raise SystemExit("the daemon was no longer looked at")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextmanager
def a_daemon(folder: Path, at: Mapping[str, str], **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start RAD on that exchange, paused, with *settings* (their names without RAD_); it ends with the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAD_")} | {
        "RAD_EXCHANGE__FUTURES_URL": at["futures_url"], "RAD_EXCHANGE__SPOT_URL": at["spot_url"],
        "KUCOIN_API_KEY": at["key"], "KUCOIN_API_SECRET": at["secret"], "KUCOIN_API_PASSPHRASE": at["passphrase"],
        "RAD_DATA_DIR": str(folder), "RAD_CONTROL__PORT": "0", "RAD_SCANNER__INTERVAL": "1s",
        "RAD_LIMITS__COOLDOWN": "0s", "RAD_LIMITS__ORDERS_PER_MINUTE": "1000",
        "RAD_LIMITS__LOSSES_IN_A_ROW": "none", "RAD_POSITIONS__MAX_NOTIONAL": "500",
    } | {f"RAD_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "console", "run"], cwd=PROJECT,
        env=environment | {"RAD_CALLER_DIR": str(folder)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: (folder / "control.json").exists(), START_S)
        until(lambda: _state(folder) in ("running", "degraded"), START_S)
        ask(folder, "pause", {})
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _state(folder: Path) -> str:
    try:
        return str(ask(folder, "status")["state"])
    except OSError:
        return ""              # on a machine with more to do it may not get to answer


def ask(folder: Path, name: str, wish: dict[str, Any] | None = None) -> Any:
    address = json.loads((folder / "control.json").read_text())
    return fetch(f"{address['url']}/api/{name}", wish, {"Authorization": f"Bearer {address['token']}"})


def scrape(folder: Path, name: str) -> float:
    """Return one of the figures for Prometheus, which has no labels."""
    address = json.loads((folder / "control.json").read_text())
    allowed = {"Authorization": f"Bearer {address['token']}"}
    request = urllib.request.Request(f"{address['url']}/metrics", headers=allowed)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"rad_{name} ")))


def fetch(
    url: str, wish: dict[str, Any] | None = None, headers: dict[str, str] | None = None, *, method: str = ""
) -> Any:
    """Return an answer's JSON: POST with *wish*, GET without, unless *method* says otherwise."""
    data = None if wish is None else json.dumps(wish).encode()
    method = method or ("GET" if wish is None else "POST")
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def until(holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Return what *holds* returns once that is something."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.01)
    raise SystemExit("waited too long")


# ---- a client without a bot --------------------------------------------------------------------


def send_order(
    connection: http.client.HTTPConnection, at: Mapping[str, str], symbol: str, side: str, size: int, oid: str
) -> None:
    body = {"clientOid": oid, "symbol": symbol, "side": side, "type": "market", "size": size, "leverage": "3",
            "reduceOnly": side == "sell"}
    answer = signed_post(connection, at, "/api/v1/orders", body)
    if answer["code"] != "200000":
        raise SystemExit(f"the bare client's order was refused: {answer}")


def signed_post(
    connection: http.client.HTTPConnection, at: Mapping[str, str], path: str, body: dict[str, Any]
) -> Any:
    text, stamp = json.dumps(body), str(time.time_ns() // 1_000_000)

    def signed(what: str) -> str:
        return base64.b64encode(hmac.new(at["secret"].encode(), what.encode(), hashlib.sha256).digest()).decode()

    connection.request("POST", path, text, {
        "Content-Type": "application/json", "KC-API-KEY": at["key"], "KC-API-KEY-VERSION": "2",
        "KC-API-TIMESTAMP": stamp, "KC-API-SIGN": signed(f"{stamp}POST{path}{text}"),
        "KC-API-PASSPHRASE": signed(at["passphrase"]),
    })
    return json.loads(connection.getresponse().read())


# ---- figures ----------------------------------------------------------------------------------


def figures(samples: list[float]) -> dict[str, float]:
    ordered = sorted(samples)

    def at(quantile: float) -> float:
        return round(ordered[max(0, -int(-quantile * len(ordered) // 1) - 1)], 3)

    return {"count": len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": round(ordered[-1], 3)}


def show(title: str, rows: Mapping[str, Mapping[str, float]], keys: tuple[str, ...]) -> None:
    """Print *rows* of figures as a table."""
    width = max(len(name) for name in rows) + 2
    print(title)
    print(" " * width + "".join(f"{key:>10}" for key in keys))
    for name, row in rows.items():
        cells = (f"{row[key]:>10}" if isinstance(row[key], int) else f"{row[key]:>10.2f}" for key in keys)
        print(f"{name:{width}}" + "".join(cells))
