"""How late a thread wakes beside twenty that compute, by the interpreter's switch interval.

    .venv/bin/python -m bench.switch_interval [--wakes 300] [--quick]

The computing threads are what scan workers are at worst. The waiting one is the position monitor: a
Condition with a deadline; how much later it runs is what an exit would wait. `work` is what the others
got done meanwhile, beside the first row's.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from math import ceil
from time import perf_counter

INTERVALS_MS = (5.0, 1.0, 0.5, 0.1)
BUSY_THREADS = 20
PAUSE_S = 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="10 wakes")
    wish = parser.parse_args()
    wakes = 10 if wish.quick else wish.wakes
    rows = [row(interval_ms, *measure(interval_ms, wakes)) for interval_ms in INTERVALS_MS]
    print(f"{'switch':>8} {'p50':>8} {'p99':>8} {'max':>8}  {'work':>5}   (ms)")
    for found in rows:
        print(f"{found['switch_ms']:8.1f} {found['p50_ms']:8.2f} {found['p99_ms']:8.2f} {found['max_ms']:8.2f}"
              f"  {found['work_per_s'] / rows[0]['work_per_s']:5.0%}")
    ratio = {f"{found['switch_ms']:g} ms": round(found["p99_ms"] / rows[0]["p99_ms"], 3) for found in rows}
    print(json.dumps({"bench": "switch_interval", "busy_threads": BUSY_THREADS, "rows": rows, "ratio": ratio}))
    return 0


def measure(interval_ms: float, wakes: int) -> tuple[list[float], float]:
    """Return how late each wake was, in seconds, and what the busy threads did per second."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval_ms / 1000)
    done = threading.Event()
    turns = [0] * BUSY_THREADS

    def compute(index: int) -> None:
        while not done.is_set():
            sum(range(500))
            turns[index] += 1

    threads = [threading.Thread(target=compute, args=(index,), daemon=True) for index in range(BUSY_THREADS)]
    for thread in threads:
        thread.start()
    started, late, bell = perf_counter(), list[float](), threading.Condition()
    for _ in range(wakes):
        due = perf_counter() + PAUSE_S
        with bell:
            bell.wait(PAUSE_S)
        late.append(perf_counter() - due)
    per_second = sum(turns) / (perf_counter() - started)
    done.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    return late, per_second


def row(interval_ms: float, late: list[float], per_second: float) -> dict[str, float]:
    """Return the figures of one interval."""
    late.sort()
    return {
        "switch_ms": interval_ms,
        **{f"p{percent}_ms": 1000 * late[ceil(percent * len(late) / 100) - 1] for percent in (50, 99)},
        "max_ms": 1000 * late[-1], "work_per_s": per_second,
    }


if __name__ == "__main__":
    sys.exit(main())
