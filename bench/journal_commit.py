"""The commit an entry waits for before it is sent, beside the same bytes appended to a file and synced.

    .venv/bin/python -m bench.journal_commit [--commits 1000] [--folder .] [--quick]

Every sample is `record_intent` with its plan and wait=True on SQLite (WAL, synchronous=FULL), handover
to the writing thread included. The floor appends what a commit added to the log, in a file beside it;
the two take turns, so a disk that is busy is busy for both. They say something of the disk *folder* is
on, and nothing where that is memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.harness import PROJECT, figures
from runtime.clock import SystemClock
from runtime.journal import SqlJournal
from trading.client_ids import Purpose
from trading.facts import EntryPlan, OrderRequest, OrderSide, Side
from trading.lifecycle import IntentState

LEARNT_FROM = 50               # commits whose size on disk is looked at


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=PROJECT, help="on the disk that matters")
    parser.add_argument("--quick", action="store_true", help="100 commits")
    wish = parser.parse_args()
    commits = 100 if wish.quick else wish.commits
    with tempfile.TemporaryDirectory(prefix="rad-bench-", dir=wish.folder) as folder:
        size, rad, floor = measure(Path(folder), commits)
    report(size, figures(rad), figures(floor))
    return 0


def report(size: int, rad: dict[str, float], floor: dict[str, float]) -> None:
    rows = {"record_intent": rad, "append, fsync": floor}
    print(f"one commit before an entry, ms; {size} bytes each")
    print(f"{'':16}{'commits':>8}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for name, row in rows.items():
        print(f"{name:16}{row['count']:>8}" + "".join(f"{row[key]:>9.2f}" for key in ("p50", "p95", "p99", "max")))
    ratio = {key: round(rad[key] / floor[key], 2) for key in ("p50", "p99")}
    print(json.dumps({"bench": "journal_commit", "bytes": size, "rad_ms": rad, "floor_ms": floor, "ratio": ratio}))


# ---- measuring ----------------------------------------------------------------------------------


def measure(folder: Path, commits: int) -> tuple[int, list[float], list[float]]:
    """Return what one commit adds to the log in bytes, and how long each took either way, in ms."""
    journal = SqlJournal(f"sqlite:///{folder / 'journal.db'}", SystemClock())
    beside = os.open(folder / "beside", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = bytes_per_commit(journal, folder / "journal.db-wal")
        payload = b"x" * size
        rad, floor = list[float](), list[float]()
        for number in range(commits):
            started = perf_counter()
            note_entry(journal, f"m{number}")
            noted = perf_counter()
            os.write(beside, payload)
            os.fsync(beside)
            rad.append((noted - started) * 1000)
            floor.append((perf_counter() - noted) * 1000)
            settle(journal, f"m{number}")
    finally:
        os.close(beside)
        journal.close()
    return size, rad, floor


def bytes_per_commit(journal: SqlJournal, wal: Path) -> int:
    """Return what a commit usually adds to the log: it grows until its first checkpoint, then it is reused."""
    grown = []
    for number in range(LEARNT_FROM):
        before = wal.stat().st_size
        note_entry(journal, f"l{number}")
        grown.append(wal.stat().st_size - before)
        settle(journal, f"l{number}")
    return int(median(grown))


def note_entry(journal: SqlJournal, name: str) -> None:
    """Write down an entry as the daemon does before it sends one."""
    client_oid = f"rad-{name}-e0"
    request = OrderRequest(
        client_oid=client_oid, symbol="BTC/USDT:USDT", side=OrderSide.BUY, quantity=Decimal(12),
        leverage=Decimal(3), price=Decimal("64321.5"), immediate_or_cancel=True,
    )
    plan = EntryPlan(
        position_id=name, client_oid=client_oid, symbol="BTC/USDT:USDT", side=Side.LONG,
        quantity=Decimal(12), price=Decimal("64000.1"), worst_price=Decimal("64321.5"),
        stop_price=Decimal("63120.7"), notional=Decimal("768.0012"), leverage=Decimal(3), atr=Decimal("439.7"),
        planned_ms=1_700_000_000_000, strategy="trend", reasons=("fast above slow", "volume above its average"),
    )
    journal.record_intent(name, request, Purpose.ENTRY.value, plan=plan, wait=True)


def settle(journal: SqlJournal, name: str) -> None:
    """Say that the order is over: there is never more than one entry under way for a symbol."""
    journal.settle_intent(f"rad-{name}-e0", IntentState.DONE, wait=True)


if __name__ == "__main__":
    sys.exit(main())
