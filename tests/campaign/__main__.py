"""`python -m tests.campaign`: kill RAD over and over, and check the exchange's books after every restart."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.campaign.lives import LIVELY, Life, Tally
from tests.campaign.plan import ROUNDS_OF_A_LIFE, Round, rounds
from tests.campaign.processes import Nursery


def kill_campaign(seed: int, kills: int, workers: int) -> Tally:
    """Run *kills* rounds, several lives side by side, and return what was seen."""
    plan = list(rounds(seed, kills))
    lives = [plan[begin:begin + ROUNDS_OF_A_LIFE] for begin in range(0, kills, ROUNDS_OF_A_LIFE)]
    total = Tally()

    def live(number: int, mine: list[Round]) -> Tally:
        nursery = Nursery()
        try:
            tally = Life(nursery, f"{seed}/{number}", LIVELY).run(mine)
        finally:
            nursery.stop()
        print(f"life {number}: kills={sum(tally.kills.values())} failures={len(tally.failures)}", flush=True)
        return tally

    with ThreadPoolExecutor(workers) as pool:
        for tally in pool.map(live, range(len(lives)), lives):
            total.add(tally)
    return total


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="rad campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    wishes = parser.parse_args(arguments)
    begun = time.monotonic()
    total = kill_campaign(wishes.seed, wishes.kills, wishes.workers)
    for failure in total.failures:
        print(failure)
    starts, settles = sorted(total.starts_s), sorted(total.settles_s)
    print(total.kills, total.missed, total.orders, total.events, total.struck, sep="\n")
    print(f"points {len(total.points)} start p50 {starts[len(starts)//2]:.2f} max {starts[-1]:.2f} "
          f"settle p50 {settles[len(settles)//2]:.2f} max {settles[-1]:.2f} naked {total.naked_s:.2f}")
    print(f"{time.monotonic() - begun:.0f} s, failures {len(total.failures)}")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
