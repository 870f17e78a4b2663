"""What the daemon takes of memory and processor in steady state, beside a Python that only has what it needs.

    .venv/bin/python -m bench.footprint [--minutes 5] [--pairs 500] [--held 4] [--quick]

RSS and processor time are those of the daemon's process alone, from /proc. The floor is a process that
has imported what RAD imports and loaded the same markets with ccxt, and that then makes each minute's
requests of a scan (every pair's latest candles, and the lists of contracts and tickers as often as RAD
does), reading the answers and nothing more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.harness import PATIENCE_S, PROJECT, START_S, a_daemon, an_exchange, ask, fetch, until

HELD = ("XBTUSDTM", "ETHUSDTM", "SOLUSDTM", "XRPUSDTM")
SCAN_INTERVAL_S = 5
SCANS_PER_MINUTE = 60 // SCAN_INTERVAL_S
FEW_CANDLES = 11               # what RAD asks for when one is missing
LOOK_S = 1.0
SETTLING_S = 30.0              # after the first scan, before growth is measured
MB = 1_000_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BARE = "from bench.footprint import bare; import sys; bare(*sys.argv[1:])"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="in steady state")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--held", type=int, default=len(HELD), help="positions held meanwhile, four at most")
    parser.add_argument("--quick", action="store_true", help="2 seconds, 40 pairs")
    wish = parser.parse_args()
    pairs, steady_s, settling_s = (40, 2.0, 0.0) if wish.quick else (wish.pairs, wish.minutes * 60, SETTLING_S)
    with tempfile.TemporaryDirectory(prefix="rad-bench-") as folder, an_exchange(pairs) as at:
        floor = bare_process(at)
        fetch(f"{at['control_url']}/rates", {"reset": True})
        rad = daemon(Path(folder), at, HELD[: wish.held], steady_s, settling_s)
    report(pairs, steady_s, rad, floor)
    return 0


def report(pairs: int, steady_s: float, rad: dict[str, float], floor: dict[str, float]) -> None:
    print(f"{pairs} pairs scanned, {steady_s / 60:g} minutes in steady state")
    print(f"{'':10}{'RSS, MB':>9}{'scanned':>9}{'end':>7}{'MB per h':>10}{'of one core':>13}")
    print(f"{'RAD':10}{rad['started_mb']:>9.1f}{rad['scanned_mb']:>9.1f}{rad['end_mb']:>7.1f}"
          f"{rad['growth_mb_per_h']:>+10.1f}{rad['core']:>13.1%}")
    print(f"{'no bot':10}{floor['started_mb']:>9.1f}{'':>9}{floor['end_mb']:>7.1f}{'':>10}{floor['core']:>13.1%}")
    ratio = {"rss": round(rad["end_mb"] / floor["end_mb"], 2), "cpu": round(rad["core"] / floor["core"], 2)}
    print(json.dumps({"bench": "footprint", "pairs": pairs, "steady_s": steady_s, "rad": rad, "floor": floor,
                      "ratio": ratio}))


# ---- the daemon ---------------------------------------------------------------------------------


def daemon(
    folder: Path, at: Mapping[str, str], held: tuple[str, ...], steady_s: float, settling_s: float
) -> dict[str, float]:
    everything = {"SCANNER__MIN_VOLUME_24H": "none", "SCANNER__MAX_SPREAD": "none", "SCANNER__MAX_PAIRS": "none",
                  "SCANNER__INTERVAL": f"{SCAN_INTERVAL_S}s"}
    with a_daemon(folder, at, **everything) as process:
        started_mb = rss_mb(process.pid)
        until(lambda: "scan done" in (folder / "rad.log").read_text(), START_S)
        scanned_mb = rss_mb(process.pid)
        for symbol in held:
            ask(folder, "open", {"symbol": symbol, "side": "long"})
        time.sleep(settling_s)
        began, spent_s = time.monotonic(), cpu_s(process.pid)
        looks = [(began, rss_mb(process.pid))]
        while (now := time.monotonic()) < began + steady_s:
            time.sleep(min(LOOK_S, began + steady_s - now))
            looks.append((time.monotonic(), rss_mb(process.pid)))
        core = (cpu_s(process.pid) - spent_s) / (looks[-1][0] - began)
        ask(folder, "flatten", {})
    return {"started_mb": started_mb, "scanned_mb": scanned_mb, "end_mb": looks[-1][1],
            "growth_mb_per_h": round(slope(looks) * 3600, 1), "core": round(core, 4)}


def rss_mb(pid: int) -> float:
    """Return the resident memory. Source: /proc/<pid>/statm, in pages."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MB, 1)


def cpu_s(pid: int) -> float:
    """Return the processor time of all its threads, the system's for it included. Source: /proc/<pid>/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def slope(looks: list[tuple[float, float]]) -> float:
    """Return the slope of the line that fits best, per second."""
    middle = sum(moment for moment, _ in looks) / len(looks)
    mean = sum(mb for _, mb in looks) / len(looks)
    spread = sum((moment - middle) ** 2 for moment, _ in looks)
    return sum((moment - middle) * (mb - mean) for moment, mb in looks) / spread


# ---- a process without a bot --------------------------------------------------------------------


def bare_process(at: Mapping[str, str]) -> dict[str, float]:
    """Start one, wait until it has done a minute's requests, and return what it takes."""
    process = subprocess.Popen(
        [sys.executable, "-c", BARE, at["futures_url"], at["spot_url"]], cwd=PROJECT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        started_mb, spent_s = rss_mb(process.pid), cpu_s(process.pid)
        process.stdout.readline()
        minute_s = max(cpu_s(process.pid) - spent_s, 1 / TICKS_PER_S)
        return {"started_mb": started_mb, "end_mb": rss_mb(process.pid), "core": round(minute_s / 60, 4)}
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def bare(futures_url: str, spot_url: str) -> None:
    """Import, load the markets, say so; make the requests of a minute, say so; wait for the end of stdin."""
    import ccxt

    import bot  # noqa: F401 - for what it imports
    from kucoin.wire import addresses

    exchange = ccxt.kucoin({
        "enableRateLimit": False, "urls": {"api": addresses(futures_url, spot_url)},
        "options": {"fetchMarkets": {"types": ["swap"]}, "uta": False},
    })
    exchange.has["fetchCurrencies"] = False
    exchange.load_markets(False, {"marginables": False})
    print("loaded", flush=True)
    connection = http.client.HTTPConnection(urlsplit(futures_url).netloc)

    def get(path: str) -> Any:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())["data"]

    for _ in range(SCANS_PER_MINUTE):
        get("/api/v1/contracts/active")
        get("/api/v1/allTickers")
    first_ms = int(time.time() // 60 - FEW_CANDLES) * 60_000
    for market in exchange.markets.values():
        get(f"/api/v1/kline/query?symbol={market['id']}&granularity=1&from={first_ms}")
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    sys.exit(main())
