"""How soon every pair is scored from a standing start, what of the pool that used, what each candle costs after.

    .venv/bin/python -m bench.scan_budget [--pairs 500] [--closes 3] [--quick]

The exchange enforces the public pool (2000 weight per 30 s) and does the counting: weight charged,
requests refused, candles asked for. Cold is from the first request that reaches it to the scan
that has left no pair out. The floor is a client without a bot: it asks for each pair's candles once over
as many connections as RAD has workers, spends each window whole and waits for the next. The exchange
makes up a pair's past when it is first asked for: it has been before either is measured.

Warm, a pair that has not traded for a minute costs more than one request: KuCoin writes no such candle,
so RAD asks again until one written late would be there (LATE_MS in trading/reading.py).
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from bench.harness import PATIENCE_S, START_S, a_daemon, an_exchange, fetch

WORKERS = 20                   # the default of scanner.workers
WEIGHT = 3                     # of one request for candles
CANDLES = 200
MINUTE_S = 60
SETTLED_S = 1.5                # after a close RAD asks for the candle: KuCoin writes it a moment later
LOOK_S = 0.05
NO_LIMIT = 1_000_000
CANDLES_ROUTE = "GET /api/v1/kline/query"
SCAN_DONE = re.compile(r"^(\S+)Z .* scan done pairs=(\d+) of=(\d+) .* left_out=(\d+) .* took=([\d.]+)s$", re.M)


@dataclass(slots=True)
class Watch:
    """What the exchange has charged, looked at every LOOK_S by a thread of its own; times as the log has them."""

    at: Mapping[str, str]
    base: int                                                        # weight charged before
    looks: list[tuple[float, int]] = field(default_factory=list)     # when, weight charged since
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.wait(LOOK_S):
            self.looks.append((time.time(), rates(self.at)["charged"]["public"] - self.base))

    def began(self) -> float:
        """Return the last moment at which nothing had been charged: the pool's first window opens after it."""
        return max(moment for moment, charged in self.looks if not charged)

    def charged_by(self, moment: float) -> int:
        return max((charged for looked, charged in self.looks if looked < moment), default=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--closes", type=int, default=3, help="candles closing while it is warm")
    parser.add_argument("--quick", action="store_true", help="40 pairs, and no close is waited for")
    wish = parser.parse_args()
    pairs, closes = (40, 0) if wish.quick else (wish.pairs, wish.closes)
    with tempfile.TemporaryDirectory(prefix="rad-bench-") as folder, an_exchange(pairs) as at:
        candles_of_all(at, CANDLES)
        floor = bare_client(at)
        if not wish.quick:
            time.sleep(until_close_s() + SETTLED_S)       # or a candle closes half-way
        rad = through_rad(Path(folder), at, pairs, closes)
    report(pairs, rad, floor)
    return 0


def report(pairs: int, rad: dict[str, Any], floor: dict[str, Any]) -> None:
    print(f"{pairs} pairs, public pool of {rad['quota']} weight per {rad['window_s']:g} s")
    print(f"{'cold':12}{'s':>8}{'weight':>9}{'of whole windows':>18}{'refused':>9}")
    for name, row in (("RAD", rad), ("no bot", floor)):
        used = "none passed" if row["used"] is None else f"{row['used']:.1%}"
        print(f"{name:12}{row['cold_s']:>8.2f}{row['weight']:>9}{used:>18}{row['refused']:>9}")
    ratio = {"cold": round(rad["cold_s"] / floor["cold_s"], 2)}
    if rad["used"] is not None:
        ratio["used"] = rad["used"]
    if rad["warm"]:
        warm = rad["warm"]
        ratio["warm"] = round(warm["requests"] / (warm["closes"] * pairs), 3)
        print(f"{'warm':12}{'closes':>8}{'requests':>9}{'per pair, close':>18}{'refused':>9}{'no trade':>10}"
              f"   s until all are in")
        print(f"{'RAD':12}{warm['closes']:>8}{warm['requests']:>9}{ratio['warm']:>18.3f}{warm['refused']:>9}"
              f"{warm['silent']:>10}   " + " ".join(f"{seconds:.1f}" for seconds in warm["all_in_s"]))
    print(json.dumps({"bench": "scan_budget", "pairs": pairs, "rad": rad, "floor": floor, "ratio": ratio}))


# ---- RAD ----------------------------------------------------------------------------------------


def through_rad(folder: Path, at: dict[str, str], pairs: int, closes: int) -> dict[str, Any]:
    fetch(f"{at['control_url']}/rates", {"reset": True})
    before = rates(at)
    everything = {"SCANNER__MIN_VOLUME_24H": "none", "SCANNER__MAX_SPREAD": "none", "SCANNER__MAX_PAIRS": "none",
                  "SCANNER__INTERVAL": "5s", "SCANNER__WORKERS": str(WORKERS), "SCANNER__CANDLES": str(CANDLES),
                  "LOG__LEVEL": "debug"}
    with watching(at, before["charged"]["public"]) as watch, a_daemon(folder, at, **everything):
        done = first_whole_scan(folder / "rad.log", pairs)
        watch.over.set()
        now = rates(at)
        rad = {
            "quota": now["quotas"]["public"], "window_s": now["window_ms"] / 1000,
            "cold_s": round(done - watch.began(), 3), "weight": watch.charged_by(done),
            "used": used(watch, done, now), "refused": now["refused"] - before["refused"],
        }
        return rad | {"warm": warm(folder / "rad.log", at, pairs, closes) if closes else None}


def used(watch: Watch, done: float, now: Mapping[str, Any]) -> float | None:
    """Return which part of the windows that passed was spent: only they could have held anybody up."""
    window_s = now["window_ms"] / 1000
    windows = int((done - watch.began()) // window_s)
    if not windows:
        return None
    spent = watch.charged_by(watch.began() + windows * window_s)
    return round(spent / (windows * now["quotas"]["public"]), 4)


def warm(log: Path, at: Mapping[str, str], pairs: int, closes: int) -> dict[str, Any]:
    """Return how often candles were asked for while *closes* of them closed, and how soon all were in."""
    time.sleep(max(0.0, until_close_s() - SETTLED_S))
    asked, refused, first_close = candle_requests(at), rates(at)["refused"], time.time() + until_close_s()
    time.sleep(until_close_s() + closes * MINUTE_S - SETTLED_S)
    requests, refusals = candle_requests(at) - asked, rates(at)["refused"] - refused
    silent = pairs * closes - candles_of_all(at, closes)
    scans = whole_scans(log, pairs)
    all_in_s = []
    for close in (first_close + number * MINUTE_S for number in range(closes)):
        all_in_s += [round(ended - close, 2) for began, ended in scans if close + 1 < began < close + MINUTE_S][:1]
    return {"closes": closes, "requests": requests, "silent": silent, "refused": refusals, "all_in_s": all_in_s}


def first_whole_scan(log: Path, pairs: int) -> float:
    deadline = time.monotonic() + START_S + MINUTE_S * pairs / 1000
    while time.monotonic() < deadline:
        if scans := whole_scans(log, pairs):
            return scans[0][1]
        time.sleep(LOOK_S)
    raise SystemExit("no scan has had every pair in it")


def whole_scans(log: Path, pairs: int) -> list[tuple[float, float]]:
    """Return when each scan that had every pair in it began and ended, in seconds since 1970."""
    found = []
    for ended, scanned, universe, left_out, took in SCAN_DONE.findall(log.read_text()):
        if int(scanned) == int(universe) == pairs and left_out == "0":
            ended_s = datetime.fromisoformat(f"{ended}+00:00").timestamp()
            found.append((ended_s - float(took), ended_s))
    return found


# ---- asking the exchange ------------------------------------------------------------------------


@contextmanager
def watching(at: Mapping[str, str], base: int) -> Iterator[Watch]:
    watch = Watch(at, base, [(time.time(), 0)])
    thread = threading.Thread(target=watch.run, name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join(PATIENCE_S)


def rates(at: Mapping[str, str]) -> Any:
    return fetch(f"{at['control_url']}/rates")


def candle_requests(at: Mapping[str, str]) -> int:
    return int(fetch(f"{at['control_url']}/state")["requests"].get(CANDLES_ROUTE, 0))


def until_close_s() -> float:
    return MINUTE_S - time.time() % MINUTE_S


# ---- a client without a bot ---------------------------------------------------------------------


def bare_client(at: Mapping[str, str]) -> dict[str, Any]:
    """Ask for every pair's candles once, each window spent whole, and read them."""
    fetch(f"{at['control_url']}/rates", {"reset": True})
    before, began = rates(at), time.monotonic()
    pool = Pool(int(before["quotas"]["public"]))
    ask_all(at, pool, CANDLES)
    after = rates(at)
    return {"cold_s": round(time.monotonic() - began, 3),
            "weight": after["charged"]["public"] - before["charged"]["public"],
            "used": pool.used(), "refused": after["refused"] - before["refused"]}


def candles_of_all(at: Mapping[str, str], count: int) -> int:
    """Return how many of the last *count* candles of each pair there are, the pool's limit lifted meanwhile."""
    quota = rates(at)["quotas"]["public"]
    fetch(f"{at['control_url']}/rates", {"quotas": {"public": NO_LIMIT}})
    found = ask_all(at, Pool(NO_LIMIT), count)
    fetch(f"{at['control_url']}/rates", {"quotas": {"public": quota}, "reset": True})
    return found


def ask_all(at: Mapping[str, str], pool: Pool, count: int) -> int:
    """Ask for each pair's last *count* closed candles from WORKERS threads; return how many came."""
    symbols, found = SimpleQueue[str](), SimpleQueue[int]()
    pool.take()
    contracts = fetch(f"{at['futures_url']}/api/v1/contracts/active")["data"]
    for contract in contracts:
        symbols.put(contract["symbol"])
    last_ms = int(time.time() // MINUTE_S) * MINUTE_S * 1000
    query = f"granularity=1&from={last_ms - count * MINUTE_S * 1000}&to={last_ms - 1}"

    def work() -> None:
        connection = http.client.HTTPConnection(urlsplit(at["futures_url"]).netloc)
        while True:
            try:
                symbol = symbols.get_nowait()
            except Empty:
                return
            window = pool.take()
            connection.request("GET", f"/api/v1/kline/query?symbol={symbol}&{query}")
            answer = connection.getresponse()
            found.put(len(json.loads(answer.read())["data"]))
            pool.told(window, int(answer.headers["gw-ratelimit-reset"]))

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if found.qsize() < len(contracts):
        raise SystemExit("the bare client was refused")
    return sum(found.get() for _ in range(found.qsize()))


class Pool:
    """Spends the whole of each window, the exchange's word for when it ends; any thread."""

    def __init__(self, quota: int) -> None:
        self._quota = quota
        self._lock = threading.Lock()
        self._left = self._quota
        self._ends: float | None = None
        self._windows = 0

    def take(self) -> int:
        """Spend one request, in the next window if need be; return the window's number."""
        with self._lock:                         # held while waiting: the others wait for the same
            if self._left < WEIGHT:
                while self._ends is None:
                    time.sleep(0.001)
                time.sleep(max(0.0, self._ends - time.monotonic()))
                self._left, self._ends = self._quota, None
                self._windows += 1
            self._left -= WEIGHT
            return self._windows

    def told(self, window: int, reset_ms: int) -> None:
        """Note when *window* ends; the first word on it counts."""
        if self._ends is None and window == self._windows:
            self._ends = time.monotonic() + reset_ms / 1000

    def used(self) -> float | None:
        return round((self._quota - self._quota % WEIGHT) / self._quota, 4) if self._windows else None


if __name__ == "__main__":
    sys.exit(main())
