"""`./rad campaign`: RAD killed over and over, and traded through faults; the exchange's books judge."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from tests.campaign.lives import kill_campaign
from tests.campaign.matrix import cells, matrix
from tests.campaign.plan import points
from tests.campaign.storm import storm
from tests.campaign.tally import Tally


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, tell every failure whole, end with a table and one line of JSON."""
    wishes = _parser().parse_args(arguments)
    begun = time.monotonic()
    parts: dict[str, Tally] = {}
    if wishes.kills:
        parts["kills"] = kill_campaign(wishes.seed, wishes.kills, wishes.workers)
    if not wishes.no_matrix:
        parts["matrix"] = matrix(wishes.seed, wishes.workers)
    if wishes.orders:
        parts["orders"] = storm(wishes.seed, wishes.orders, wishes.workers)
    for tally in parts.values():
        for failure in tally.failures:
            print(failure, "", sep="\n")
    print(f"seed {wishes.seed}, {time.monotonic() - begun:.0f} s")
    for name, tally in parts.items():
        print(*table(name, tally), sep="\n")
    print(json.dumps({"campaign": {name: figures(name, tally) for name, tally in parts.items()}}))
    return 1 if any(tally.failures for tally in parts.values()) else 0


def figures(name: str, tally: Tally) -> dict[str, object]:
    """Return what one part of the campaign comes to."""
    found: dict[str, object] = {
        "violations": len(tally.failures), "checks_passed": len(tally.settles_s),
        "orders_accepted": sum(tally.orders.values()), **dict(tally.orders),
        "orders_refused": tally.events["order_refused"], "fills": tally.events["fill"],
        "stops_fired": tally.events["stop_triggered"], "faults_struck": sum(tally.struck.values()),
        "longest_without_a_stop_s": round(tally.naked_s, 2),
        "agreement_s": _spread(tally.settles_s),
    }
    if name == "kills":
        found |= {
            "kills": sum(tally.kills.values()), "while_starting": tally.kills["starting"],
            "at_named_points": sum(tally.points.values()),
            "points_hit": f"{len(tally.points)} of {len(points())}",
            "traps_nobody_reached": sum(tally.missed.values()),
            "missed": ", ".join(sorted(tally.missed)) or "none",
            "start_s": _spread(tally.starts_s),
        }
    if name == "matrix":
        found |= {"cells": len(cells())}
    return found


def table(name: str, tally: Tally) -> list[str]:
    """Return the figures as the rows of a Markdown table."""
    rows = [f"| {what.replace('_', ' ')} | {value} |" for what, value in figures(name, tally).items()]
    return [f"| {name} | |", "|---|---|", *rows]


def _spread(seconds: Sequence[float]) -> str:
    """Return median, p99 and maximum."""
    if not seconds:
        return "none"
    row = sorted(seconds)
    p99 = row[min(len(row) - 1, len(row) * 99 // 100)]
    return f"p50 {row[len(row) // 2]:.2f}, p99 {p99:.2f}, max {row[-1]:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rad campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="daemons killed (0: none)")
    parser.add_argument("--orders", type=int, default=0, help="orders sent through random faults")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same plan")
    parser.add_argument("--workers", type=int, default=3, help="exchanges side by side")
    parser.add_argument("--no-matrix", action="store_true", help="leave out every fault on every operation")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
