"""What one acquisition costs: a plain lock, RAD's, and RAD's with a guarded container under it.

    .venv/bin/python -m bench.lock_cost [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from statistics import median
from time import perf_counter

from runtime import locks
from runtime.locks import guarded_dict, named_lock


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 5 if parser.parse_args().quick else 41
    locks.make_strict()                    # or the guarded container would be a bare one
    plain, ours = threading.Lock(), named_lock("bench")
    guarded = guarded_dict(ours, "bench")
    with ours:
        guarded["key"] = 1

    def with_plain() -> None:
        with plain:
            pass

    def with_ours() -> None:
        with ours:
            pass

    def with_guarded() -> None:
        with ours:
            guarded.get("key")

    costs = {name: nanoseconds(each, rounds) for name, each in (
        ("threading.Lock", with_plain), ("named_lock", with_ours), ("with guarded dict", with_guarded),
    )}
    floor = costs["threading.Lock"]
    print("one acquisition, uncontended, ns (median of rounds)")
    for name, cost in costs.items():
        print(f"{name:20}{cost:>9.0f}{cost / floor:>8.1f} x")
    ratios = {name: round(cost / floor, 2) for name, cost in costs.items()}
    print(json.dumps({"bench": "lock_cost", "ns": {name: round(cost) for name, cost in costs.items()},
                      "ratio": ratios}))
    return 0


def nanoseconds(action: Callable[[], None], rounds: int, repeats: int = 20_000) -> float:
    """Return the median time of one *action*, its call included."""
    samples = []
    for _ in range(rounds):
        started = perf_counter()
        for _ in range(repeats):
            action()
        samples.append((perf_counter() - started) / repeats * 1e9)
    return median(samples)


if __name__ == "__main__":
    sys.exit(main())
