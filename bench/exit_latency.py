"""From a price that breaches a stop to the closing order at the exchange, beside a client without a bot.

    .venv/bin/python -m bench.exit_latency [--exits 80] [--pairs 500] [--quick]

All are measured from just before the price is set to the order's arrival in the exchange's own
record, on one machine's monotonic clock: the price's way to the exchange is in each. One exchange,
which lists every pair, serves the rows in turn; "10 pairs" is RAD with `scanner.max_pairs: 10`.

RAD asks for a pair's candles once one has closed: all of them in one burst. "in a burst" are exits
within such a one, and the other rows sit it out. Its floor is the same client beside twenty threads
that ask for candles as often as RAD did then, for this exchange has one thread for orders and candles.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from bench.exits import (
    AMPLE_DAEMON,
    AMPLE_EXCHANGE,
    Arrivals,
    Exits,
    bare_client,
    candle_calls,
    contracts,
    fault,
    open_positions,
)
from bench.harness import a_daemon, an_exchange, candle_storm, figures, show, until

FEW = 10
BATCH = 20                     # positions held at a time
CANDLES = "/api/v1/kline/query"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exits", type=int, default=80, help="of each row")
    parser.add_argument("--pairs", type=int, default=500, help="scanned all the while")
    parser.add_argument("--quick", action="store_true", help="2 exits, 40 pairs")
    wish = parser.parse_args()
    exits, pairs = (2, 40) if wish.quick else (wish.exits, wish.pairs)
    with an_exchange(pairs, *AMPLE_EXCHANGE) as at:
        arrivals = Arrivals(at)
        floor, _ = asyncio.run(bare_client(at, arrivals, exits))
        with candle_storm(at):
            until(lambda: candle_calls(at) >= pairs)     # the first answer about a pair costs the exchange more
        few, _, _ = through_rad(at, arrivals, exits, FEW)
        many, burst, rate = through_rad(at, arrivals, exits, pairs)
        with candle_storm(at, "--rate", str(rate)):
            asked = candle_calls(at)
            until(lambda: candle_calls(at) > asked)
            floor_burst, _ = asyncio.run(bare_client(at, arrivals, min(BATCH, exits), "storm"))
    report(pairs, rate, {
        f"{FEW} pairs": few, f"{pairs} pairs": many, "no bot": floor,
        "in a burst": burst, "no bot, in a burst": floor_burst,
    })
    return 0


def report(pairs: int, rate: float, samples: dict[str, list[float]]) -> None:
    rows = {name: figures(each) for name, each in samples.items()}
    show("price set -> closing order at the exchange, ms, by pairs scanned meanwhile", rows,
         ("count", "p50", "p95", "p99", "max"))
    print(f"in a burst RAD asked for candles {rate:.0f} times a second")
    few, many, floor, burst, floor_burst = rows.values()
    ratio = {}
    for key in ("p50", "p99"):
        ratio[key] = round(many[key] / floor[key], 2)
        ratio[f"burst_{key}"] = round(burst[key] / floor_burst[key], 2)
        ratio[f"many_to_few_{key}"] = round(many[key] / few[key], 2)
    print(json.dumps({
        "bench": "exit_latency", "pairs": pairs, "burst_per_s": round(rate, 1), "rad_ms": many, "few_ms": few,
        "floor_ms": floor, "burst_ms": burst, "floor_burst_ms": floor_burst, "ratio": ratio,
    }))


def through_rad(
    at: dict[str, str], arrivals: Arrivals, exits: int, pairs: int
) -> tuple[list[float], list[float], float]:
    """Return the exits of a RAD that scans so many pairs: in ordinary times, and while all are fetched.

    The third is how often it then asked for candles, per second.
    """
    symbols, before = contracts(at), candle_calls(at)
    ordinary: list[float] = []
    bursts: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="rad-bench-") as name,
        a_daemon(Path(name), at, **AMPLE_DAEMON, SCANNER__MAX_PAIRS=str(pairs)),
    ):
        folder = Path(name)
        through = Exits(folder, at, arrivals)
        with fault(at, "refuse", path=CANDLES):          # no pair is read yet: all are due at once after this
            opened = open_positions(folder, symbols[:min(BATCH, exits)])
        began, rate = time.monotonic(), 0.0
        until(lambda: candle_calls(at) > before)
        for position in opened:
            in_burst = not bursts or candle_calls(at) - before < pairs     # a short one may be over already
            (bursts if in_burst else ordinary).append(through.time(position, in_burst=in_burst))
            if in_burst:
                rate = (candle_calls(at) - before) / (time.monotonic() - began)
        until(lambda: candle_calls(at) - before >= pairs)
        while len(ordinary) < exits:
            opened = open_positions(folder, symbols[:min(BATCH, exits - len(ordinary))])
            ordinary += [through.time(position) for position in opened]
    return ordinary, bursts, rate


if __name__ == "__main__":
    sys.exit(main())
