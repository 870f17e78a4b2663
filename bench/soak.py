"""RAD under load and random faults for as long as you like: what grows, and whether every alarm had its cause.

    .venv/bin/python -m bench.soak [--minutes 60] [--real] [--pairs 500] [--seed 7] [--quick]

RAD's clock is the machine's and so are the deadlines it keeps, so time itself is not hurried. What is hurried is
the work: positions live for seconds, scans follow each other at once, the comparison with the exchange is made
every five seconds. The table says how many days of work that came to. With `--real` nothing is hurried.

Every minute (of `--real` every five) faults drawn from the seed are in force for a while. Whatever RAD says is
wrong in `status`, and every ERROR in its log, must come of a fault that can cause it, in force then or a moment
before; what nothing explains fails the bench. So does what surely grows by more than its bound, and a journal
that does not agree with the exchange at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness import a_daemon, an_exchange, ask, fetch, scrape, until
from bench.soak_faults import Fault, explanation, gusts
from bench.soak_growth import (
    BOUNDED,
    FLAT,
    GROWS,
    KB,
    MB,
    UNDECIDED,
    Look,
    Trend,
    handles,
    rss_mb,
    size,
    threads,
    trend,
)

# A busy day of RAD as it is configured: what an hour of this is compared with.
DAY = {"scans": 1_440, "comparisons": 1_440, "trades": 200}
PROTECT_S = 5.0                # how long a position may be without its stop: protect.deadline
LOUD = ("ERROR", "FATAL")
SETTLED_WITHIN_S = 90.0        # after the last fault: nothing wrong any more, journal and exchange agree
BARE = "no stop on the exchange yet"
PROBE_S = 0.005                # so much computing, and how many times as long it may take ...
STARVED = 6                    # ... before the machine has no time: neither for this process nor for RAD
AIM_MB = 250.0
SCRAPE_EVERY = 10              # looks
JUDGED_FROM_S = 300.0          # a shorter run says nothing about growth

# Of each figure, by how much it may grow in an hour (of the journal: with each trade). Blocks: of Python's memory.
BOUNDS = {
    "rss_mb": 2.0, "blocks_k": 20.0, "threads": 1.0, "handles": 2.0, "sockets": 2.0, "wal_mb": 1.0,
    "journal_kb_per_trade": 10.0,
}


# Connections stay open for the next call, of each of two pools as many as were ever used at once, 32 at most: in
# the first hours that is growth, and no leak. One that goes on beyond what the pools can hold is.
CEILINGS = {"sockets": 2 * 32 + 16, "handles": 2 * 32 + 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one soak goes."""

    minutes: float
    pairs: int
    seed: int
    gust_s: float              # faults in force ...
    calm_s: float              # ... and then none
    grace_s: float             # how long after a fault an alarm may still come of it
    settling_s: float          # before growth is measured
    look_s: float = 1.0
    settings: Mapping[str, str] = field(default_factory=dict)


HURRIED = {
    "SCANNER__INTERVAL": "1s", "SCANNER__THRESHOLD": "0", "SCANNER__MIN_VOLUME_24H": "none",
    "SCANNER__MAX_SPREAD": "none", "EXITS__MAX_AGE": "15s", "EXITS__STOP_LOSS": "0.6%",
    "EXITS__TRAILING__ACTIVATE": "0.1%", "EXITS__TRAILING__DISTANCE": "0.2%", "RECONCILE__INTERVAL": "5s",
    "LIMITS__DAILY_LOSS": "none", "LIMITS__DRAWDOWN": "none", "POSITIONS__MAX_OPEN": "20",
    # As many requests as come of so much haste; in what KuCoin grants, a day's trades are no matter.
    "EXCHANGE__QUOTA_FUTURES": "20000", "EXCHANGE__QUOTA_ADDRESS": "5000",
}
HURRIED_EXCHANGE = ("--quota-futures", "20000")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7, help="of the faults")
    parser.add_argument("--real", action="store_true", help="as RAD is configured, nothing hurried")
    parser.add_argument("--quick", action="store_true", help="7 seconds, 24 pairs")
    plan = _plan(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))     # then what was started ends as well
    more = HURRIED_EXCHANGE if plan.settings is HURRIED else ()
    with tempfile.TemporaryDirectory(prefix="rad-soak-") as folder, \
            an_exchange(plan.pairs, "--volatility", "14", *more) as at:
        soak = Soak(Path(folder), at, plan)
        with a_daemon(Path(folder), at, **plan.settings) as process:
            soak.run(process)
    return report(soak)


def _plan(wish: argparse.Namespace) -> Plan:
    if wish.quick:
        return Plan(minutes=7 / 60, pairs=24, seed=wish.seed, gust_s=1.5, calm_s=1.0, grace_s=30.0, settling_s=0.0,
                    look_s=0.2, settings=HURRIED)
    total_s = wish.minutes * 60
    if wish.real:
        return Plan(minutes=wish.minutes, pairs=wish.pairs, seed=wish.seed, gust_s=20.0, calm_s=280.0,
                    grace_s=60.0, settling_s=total_s / 2, settings={"SCANNER__INTERVAL": "5s"})
    return Plan(minutes=wish.minutes, pairs=wish.pairs, seed=wish.seed, gust_s=10.0, calm_s=50.0,
                grace_s=30.0, settling_s=total_s / 2, settings=HURRIED)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something RAD said was wrong, and the fault it came of."""

    text: str
    at_s: float
    cause: str                 # empty: nothing explains it


class Soak:
    """One exchange, one daemon, and what was seen of it."""

    def __init__(self, folder: Path, at: Mapping[str, str], plan: Plan) -> None:
        self.plan = plan
        self.alarms: list[Alarm] = []
        self.faults: list[Fault] = []
        self.struck: Counter[str] = Counter()
        self.work = dict.fromkeys(DAY, 0)
        self.series: dict[str, list[Look]] = {name: [] for name in BOUNDS}
        self.exchange_mb: list[float] = []
        self.differences: list[str] = []
        self.settled = False
        self.took_s = 0.0
        self.starved_s = 0.0       # for how long the machine had no time
        self._folder = folder
        self._at = at
        self._log_read = 0
        self._scraped_s = 0.0
        self._bare_since: dict[str, float] = {}
        self._is_over = False              # closing everything at once is not what is measured
        self._compared_at = ""

    def run(self, process: subprocess.Popen[bytes]) -> None:
        """Trade through the gusts, then let it settle and look whether all is well."""
        ask(self._folder, "resume", {})
        begin_s = time.monotonic()
        storms = gusts(self.plan.seed)
        told_s = begin_s
        while (now := time.monotonic()) < begin_s + self.plan.minutes * 60:
            self._blow(next(storms), begin_s, process.pid)
            self._watch(begin_s, process.pid, self.plan.calm_s)
            if now - told_s > 60:
                told_s = now
                print(self._line(now - begin_s), file=sys.stderr, flush=True)
        self.took_s = time.monotonic() - begin_s
        self._settle(begin_s, process.pid)

    def _line(self, at_s: float) -> str:
        latest = {name: round(looks[-1][1], 1) for name, looks in self.series.items() if looks}
        bad = sum(not alarm.cause for alarm in self.alarms)
        return f"{at_s / 60:.0f} min {latest} {self.work} alarms={len(self.alarms)} unexplained={bad}"

    # ---- faults ---------------------------------------------------------------------------------

    def _blow(self, wishes: list[dict[str, Any]], begin_s: float, pid: int) -> None:
        """Have these faults in force while looking, then none."""
        control = self._at["control_url"]
        at_s = time.monotonic() - begin_s
        for wish in wishes:
            fetch(f"{control}/faults", wish)
            self.struck[wish["kind"]] += wish["kind"] in ("ws_cut", "ws_silence")
        # Those of this gust end when it does; until then they have no end.
        self.faults += [Fault(wish, at_s, float("inf")) for wish in wishes]
        self._watch(begin_s, pid, self.plan.gust_s)
        for rule in fetch(f"{control}/faults")["faults"]:
            self.struck[rule["kind"]] += rule["struck"]
        fetch(f"{control}/faults", method="DELETE")
        end_s = time.monotonic() - begin_s
        ended = [Fault(wish, at_s, end_s) for wish in wishes]
        self.faults[len(self.faults) - len(wishes):] = ended

    # ---- looking --------------------------------------------------------------------------------

    def _watch(self, begin_s: float, pid: int, for_s: float) -> None:
        until_s = time.monotonic() + for_s
        while (now := time.monotonic()) < until_s:
            self._look(now - begin_s, pid)
            pause_s = max(0.0, min(self.plan.look_s - (time.monotonic() - now), until_s - time.monotonic()))
            time.sleep(pause_s)
            self._probe_machine(now - begin_s, begin_s)

    def _probe_machine(self, since_s: float, begin_s: float) -> None:
        """A machine that has no time for a little computing has none for RAD either: what is late is no wonder."""
        began_s, spent_s = time.monotonic(), time.thread_time()
        while time.thread_time() - spent_s < PROBE_S:
            pass
        if time.monotonic() - began_s > STARVED * PROBE_S:
            now_s = time.monotonic() - begin_s
            self.struck["machine"] += 1
            self.starved_s += now_s - since_s
            self.faults.insert(0, Fault({"kind": "machine"}, since_s, now_s))

    def _look(self, at_s: float, pid: int) -> list[str]:
        """Ask how RAD is, note what it takes, and explain what it complains of; return the complaints."""
        try:
            status = ask(self._folder, "status")
        except OSError as error:
            self._note(f"the API does not answer: {error}", at_s)
            return []
        problems: list[str] = status["problems"]
        self.work["trades"] = status["trades"]
        if status["reconciled_at"] != self._compared_at:
            self._compared_at = status["reconciled_at"]
            self.work["comparisons"] += 1
        bare = {problem.rpartition(": ")[0] for problem in problems if problem.endswith(BARE)}
        self._bare_since = {symbol: since for symbol, since in self._bare_since.items() if symbol in bare}
        for problem in problems:
            if not self._is_being_protected(problem, at_s):
                self._note(problem, at_s)
        self._read_log(at_s)
        if self.plan.settling_s <= at_s and not self._is_over:
            self._measure(at_s, pid)
        return problems

    def _is_being_protected(self, problem: str, at_s: float) -> bool:
        """Whether it is about a position that still has time to get its stop: a moment old, not an alarm."""
        symbol, _, words = problem.rpartition(": ")
        return words == BARE and at_s - self._bare_since.setdefault(symbol, at_s) < PROTECT_S

    def _read_log(self, at_s: float) -> None:
        file = self._folder / "rad.log"
        if size(file) < self._log_read:
            self._log_read = 0                   # rotated
        with file.open("rb") as log:
            log.seek(self._log_read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._log_read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            words = line.split(None, 4)
            if len(words) == 5 and words[1] in LOUD:
                self._note(words[4], at_s)
            self.work["scans"] += " scan done " in f" {line} " and "scan done" in words[-1]

    def _note(self, text: str, at_s: float) -> None:
        cause = explanation(text, at_s, self.faults, self.plan.grace_s)
        self.alarms.append(Alarm(text, at_s, cause.kind if cause else ""))
        if cause is None:
            print(f"{at_s:.0f} s: nothing explains: {text}", file=sys.stderr, flush=True)

    def _measure(self, at_s: float, pid: int) -> None:
        hours = at_s / 3600
        open_handles, sockets = handles(pid)
        journal, wal = (next(self._folder.glob(pattern), self._folder / "none")
                        for pattern in ("journal-*.sqlite", "journal-*.sqlite-wal"))
        looked = {"rss_mb": rss_mb(pid), "threads": threads(pid), "handles": open_handles, "sockets": sockets,
                  "wal_mb": size(wal) / MB}
        for name, value in looked.items():
            self.series[name].append((hours, float(value)))
        if at_s - self._scraped_s >= SCRAPE_EVERY * self.plan.look_s:
            self._scraped_s = at_s
            self.series["blocks_k"].append((hours, scrape(self._folder, "allocated_blocks") / 1000))
        self.series["journal_kb_per_trade"].append((float(self.work["trades"]), size(journal) / KB))

    # ---- the end --------------------------------------------------------------------------------

    def _settle(self, begin_s: float, pid: int) -> None:
        """Without faults nothing stays wrong, and what RAD has written is what the exchange says."""
        self._is_over = True
        ask(self._folder, "flatten", {})

        def is_well() -> bool:
            problems = self._look(time.monotonic() - begin_s, pid)
            said = ask(self._folder, "verify")
            self.differences = [f"{one.get('symbol')} {one.get('kind')}" for one in said["differences"]]
            return not problems and bool(said["agree"])

        try:
            until(is_well, SETTLED_WITHIN_S)
            self.settled = True
        except SystemExit:
            self.settled = False


# ---- what came of it ----------------------------------------------------------------------------


def report(soak: Soak) -> int:
    trends = {name: trend(looks) for name, looks in soak.series.items() if len(looks) > 1}
    is_long = soak.took_s >= JUDGED_FROM_S
    verdicts = {name: _verdict(name, found) if is_long else UNDECIDED for name, found in trends.items()}
    if verdicts["rss_mb"] == GROWS and verdicts.get("blocks_k") == FLAT and trends["rss_mb"].highest <= AIM_MB:
        # Python holds no more than before: what grows is the room between, taken at a peak and used again at the
        # next. That ends, and the aim says where it has to.
        verdicts["rss_mb"] = BOUNDED
    _table(soak, trends, verdicts)
    unexplained = Counter(_folded(alarm.text) for alarm in soak.alarms if not alarm.cause)
    for text, count in unexplained.items():
        first_s = next(each.at_s for each in soak.alarms if not each.cause and _folded(each.text) == text)
        print(f"nothing explains ({count}x, first at {first_s:.0f} s): {text}")
    if not soak.settled:
        print(f"did not settle within {SETTLED_WITHIN_S:g} s; differences: {soak.differences or 'none'}")
    failed = bool(unexplained) or GROWS in verdicts.values() or not soak.settled
    rss = trends["rss_mb"]
    print(json.dumps({
        "bench": "soak", "hurried": soak.plan.settings is HURRIED, "minutes": round(soak.took_s / 60, 2),
        "pairs": soak.plan.pairs, "seed": soak.plan.seed, "work": soak.work, "struck": dict(soak.struck),
        "days": {name: round(count / DAY[name], 2) for name, count in soak.work.items()},
        "growth": {name: _row(found, name, verdicts[name]) for name, found in trends.items()},
        "alarms": {"seen": len(soak.alarms), "unexplained": dict(unexplained)},
        "machine_starved_s": round(soak.starved_s, 1),
        "settled": soak.settled, "failed": failed, "ratio": {"rss": round(rss.last / rss.first, 3)},
    }))
    return int(failed)


def _verdict(name: str, found: Trend) -> str:
    return BOUNDED if found.highest <= CEILINGS.get(name, 0) else found.verdict(BOUNDS[name])


def _row(found: Trend, name: str, verdict: str) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return round(value, 3) if value != float("inf") else None

    return {"slope": number(found.slope), "error": number(found.error), "bound": BOUNDS[name], "verdict": verdict,
            "first": number(found.first), "last": number(found.last), "highest": number(found.highest),
            "curve": [round(value, 2) for value in found.curve]}


def _table(soak: Soak, trends: Mapping[str, Trend], verdicts: Mapping[str, str]) -> None:
    how = "hurried" if soak.plan.settings is HURRIED else "as configured"
    done = ", ".join(f"{count:,} {what} ({count / DAY[what]:.1f} days)" for what, count in soak.work.items())
    print(f"{soak.took_s / 60:.0f} minutes, {soak.plan.pairs} pairs, {how}: {done}")
    struck = ", ".join(f"{kind} {count}" for kind, count in sorted(soak.struck.items()) if count)
    print(f"faults that struck: {struck}")
    if soak.starved_s:
        print(f"for {soak.starved_s:.0f} s of that the machine had no time for computing: 'machine'")
    causes = Counter((_folded(alarm.text), alarm.cause) for alarm in soak.alarms if alarm.cause)
    print(f"alarms seen in {len(soak.alarms)} looks and log lines, the commonest and what they came of:")
    for (text, cause), count in causes.most_common(8):
        print(f"  {count:>5}  {cause:<12} {text[:86]}")
    print(f"{'':22}{'first':>10}{'last':>10}{'highest':>10}{'slope':>10}{'±':>9}{'bound':>8}")
    for name, found in trends.items():
        per = "" if name.endswith("_trade") else "/h"
        print(f"{name + per:22}{found.first:>10.1f}{found.last:>10.1f}{found.highest:>10.1f}{found.slope:>+10.2f}"
              f"{found.error:>9.2f}{BOUNDS[name]:>8g}  {verdicts[name]}")
    rss = trends["rss_mb"]
    print(f"memory at most {rss.highest:.0f} MB; the aim is below {AIM_MB:g} MB")


def _folded(text: str) -> str:
    """Return *text* with what differs each time left out."""
    return re.sub(r"rad-[\w-]+|\b[A-Z0-9]+/USDT:USDT|\d+(\.\d+)?", "…", text)[:160]


if __name__ == "__main__":
    sys.exit(main())
