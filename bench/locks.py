"""What a lock costs, how long it makes others wait, and how late the monitor wakes beside the scan's workers.

    .venv/bin/python -m bench.locks [--seconds 1.5] [--quick]

Three locks: a plain `threading.Lock`, RAD's, and RAD's over a guarded container as tests and
RAD_LOCK_CHECK=1 have it. Uncontended: one thread; the bare `with` in a loop, the call of a function
that takes the lock (its frame is new each time), and the plain lock's acquire() and release() alone,
which is what "50-100 ns" is true of. Contended: so many threads take it as fast as they can and do a
little work outside it, at RAD's switch interval; the worst wait is measured by the thread that waits.
The monitor is a thread that waits on a Condition with a deadline; how much later it runs is what an
exit would wait. The floor beside twenty busy scan workers is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from bench.harness import figures
from runtime import locks
from runtime.locks import condition_on, guarded, named_lock

SWITCH_INTERVAL_S = 0.001      # as bot.py sets it
ROUNDS, QUICK_ROUNDS = 400, 40
REPEATS = 300                  # few: most rounds are over before the machine thinks of something else
CROWDS = (2, 4, 20)
CLAIMED_NS = (50, 100)
WORKERS = 20
MONITOR_PAUSE_S = 0.01

Taking = Callable[[], object]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each contended measurement")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a tenth of a second each")
    wish = parser.parse_args()
    rounds, seconds = (QUICK_ROUNDS, 0.1) if wish.quick else (ROUNDS, wish.seconds)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        alone = uncontended(rounds)
        crowds = {name: {count: contended(take, count, seconds) for count in CROWDS}
                  for name, take in takers().items()}
        late = {count: lateness(count, seconds * 2) for count in (1, WORKERS)}
    finally:
        sys.setswitchinterval(before)
    tell(alone, crowds, late)
    return 0


# ---- one thread ---------------------------------------------------------------------------------


def lock_of_each_kind() -> dict[str, tuple[Any, Any]]:
    """Each lock with the container it guards."""
    locks.make_strict(False)
    plain, ours = threading.Lock(), named_lock("bench")
    found = {"threading.Lock": (plain, {"key": 1}), "named_lock": (ours, guarded(ours, "bench", {"key": 1}))}
    locks.make_strict()
    checked = named_lock("bench, checked")
    found["checked, guarded"] = checked, guarded(checked, "bench", {"key": 1})
    return found


def uncontended(rounds: int) -> dict[str, dict[str, float]]:
    """Return nanoseconds per acquisition and release, net of the loop or the call around it, by kind."""
    kinds = lock_of_each_kind()
    plain = kinds["threading.Lock"][0]
    measured: dict[tuple[str, str], Callable[[], float]] = {
        ("acquire+release", "threading.Lock"): partial(timed_pair, plain.acquire, plain.release),
        ("loop", ""): timed_empty_loop,
        ("call", ""): partial(timed_calls, lambda: None),
    }
    for name, (lock, table) in kinds.items():
        measured["loop", name] = partial(timed_loop, lock)
        measured["call", name] = partial(timed_calls, taking(lock))
        measured["call and look", name] = partial(timed_calls, taking_and_looking(lock, table))
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in measured}
    for _ in range(rounds):                        # in turn: what else the machine does meets all alike
        for key, measure in measured.items():
            samples[key].append(measure() * 1e9 / REPEATS)
    found: dict[str, dict[str, float]] = {}
    for (how, name), each in samples.items():
        if name:
            around = samples["loop" if how in ("loop", "acquire+release") else "call", ""]
            found.setdefault(how, {})[name] = median(each) - median(around)
    return found


def timed_empty_loop() -> float:
    started = perf_counter()
    for _ in range(REPEATS):
        pass
    return perf_counter() - started


def timed_loop(lock: Any) -> float:
    started = perf_counter()
    for _ in range(REPEATS):
        with lock:
            pass
    return perf_counter() - started


def timed_pair(acquire: Taking, release: Taking) -> float:
    started = perf_counter()
    for _ in range(REPEATS):
        acquire()
        release()
    return perf_counter() - started


def timed_calls(take: Taking) -> float:
    started = perf_counter()
    for _ in range(REPEATS):
        take()
    return perf_counter() - started


def taking(lock: Any) -> Taking:
    def take() -> None:
        with lock:
            pass

    return take


def taking_and_looking(lock: Any, table: Any) -> Taking:
    def take() -> None:
        with lock:
            table.get("key")

    return take


# ---- several ------------------------------------------------------------------------------------


def takers() -> dict[str, Any]:
    """What each thread of a crowd does with the lock: a look at the table it guards."""
    return {name: (lock, table) for name, (lock, table) in lock_of_each_kind().items()}


def contended(kind: tuple[Any, Any], count: int, seconds: float) -> dict[str, float]:
    """Return acquisitions per second of *count* threads together, and how long the taking took, in ms."""
    lock, table = kind
    waits: list[list[float]] = [[] for _ in range(count)]
    start, done = threading.Barrier(count + 1), threading.Event()

    def work(own: list[float]) -> None:
        start.wait()
        while not done.is_set():
            asked = perf_counter()
            with lock:
                taken = perf_counter()
                table.get("key")
            own.append((taken - asked) * 1000)
            sum(range(50))

    threads = [threading.Thread(target=work, args=(own,), daemon=True) for own in waits]
    for thread in threads:
        thread.start()
    start.wait()
    started = perf_counter()
    done.wait(seconds)
    done.set()
    for thread in threads:
        thread.join()
    took = perf_counter() - started
    every = sorted(wait for own in waits for wait in own)
    return {
        "per_s": len(every) / took, "p50_ms": every[len(every) // 2], "p99_ms": every[int(len(every) * 0.99)],
        "p99.9_ms": every[int(len(every) * 0.999)], "max_ms": every[-1],
    }


def lateness(workers: int, seconds: float) -> dict[str, float]:
    """Return by how many ms a Condition's wait overruns its deadline beside *workers* that compute."""
    locks.make_strict(False)
    bell = condition_on(named_lock("monitor"))
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            sum(range(500))

    threads = [threading.Thread(target=compute, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    late, ends = [], perf_counter() + seconds
    while perf_counter() < ends or len(late) < 5:
        due = perf_counter() + MONITOR_PAUSE_S
        with bell:
            bell.wait(MONITOR_PAUSE_S)
        late.append((perf_counter() - due) * 1000)
    done.set()
    for thread in threads:
        thread.join()
    return figures(late)


# ---- the report ---------------------------------------------------------------------------------


def tell(
    alone: dict[str, dict[str, float]], crowds: dict[str, dict[int, dict[str, float]]],
    late: dict[int, dict[str, float]],
) -> None:
    kinds = list(alone["call"])
    print("one thread, ns per acquisition and release, net of what is around it (median of rounds)")
    print(f"{'':22}" + "".join(f"{name:>18}" for name in kinds))
    for how, costs in alone.items():
        print(f"{how:22}" + "".join(f"{costs[name]:>18.0f}" if name in costs else f"{'':>18}" for name in kinds))
    bare, within = alone["acquire+release"]["threading.Lock"], alone["loop"]["threading.Lock"]
    print(f"claimed: {CLAIMED_NS[0]}-{CLAIMED_NS[1]} ns per acquisition; here acquire() and release() of a plain "
          f"lock take {bare:.0f} ns, its `with` {within:.0f} ns, RAD's {alone['call']['named_lock']:.0f} ns")
    print("\nseveral threads; ms from asking to having")
    print(f"{'':18}{'threads':>8}{'per s':>10}{'p50':>9}{'p99':>9}{'p99.9':>9}{'worst':>9}")
    for name, rows in crowds.items():
        for count, row in rows.items():
            print(f"{name:18}{count:>8}{row['per_s']:>10.0f}" + "".join(
                f"{row[key]:>9.3f}" for key in ("p50_ms", "p99_ms", "p99.9_ms", "max_ms")
            ))
    print("\nthe monitor's lateness, ms (a Condition's wait with a deadline)")
    for count, row in late.items():
        print(f"beside {count:>2} busy {'worker ' if count == 1 else 'workers'}" + "".join(
            f"{key:>7} {row[key]:>8.2f}" for key in ("p50", "p99", "max")
        ))
    floor = alone["call"]["threading.Lock"]
    print(json.dumps({
        "bench": "locks",
        "ns": {how: {name: round(cost) for name, cost in costs.items()} for how, costs in alone.items()},
        "contended": crowds, "lateness_ms": late,
        "ratio": {
            **{name: round(cost / floor, 2) for name, cost in alone["call"].items()},
            "claimed": round(bare / CLAIMED_NS[1], 2),
            **{f"worst wait of {count}": round(
                crowds["named_lock"][count]["max_ms"] / crowds["threading.Lock"][count]["max_ms"], 2
            ) for count in CROWDS},
            "lateness p99": round(late[WORKERS]["p99"] / late[1]["p99"], 2),
        },
    }))


if __name__ == "__main__":
    sys.exit(main())
