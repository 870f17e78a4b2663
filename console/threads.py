"""What `./rad threads` looks like: each thread, the pools as strips, the locks; stacks when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from console.tables import Column, show_facts, show_note, show_table
from console.wording import NOTHING, short, text
from control.thread_views import MEANINGS, POOLS

JsonObject = dict[str, Any]

_COLOURS = {"running": "", "stuck": "bold red", "dead": "bold red"}


def _doing(row: JsonObject) -> str:
    """Return what a thread is at: `wire futuresPublicGetTicker`, `lock positions, held by exit-3`."""
    if row.get("state") == "dead":
        return f"DEAD {row.get('last_error') or ''}".rstrip()
    waits = row.get("waits_for")
    if waits:
        said = f"lock {waits['lock']}, held by {waits['held_by']}"
    elif not row.get("supervised"):
        said = text(row.get("at"))
    elif row.get("doing") == "idle" and row.get("what"):
        said = f"waits for {row['what']}"
    else:
        said = f"{text(row.get('doing'))} {row.get('what') or ''}".rstrip()
    return f"STUCK {said}" if row.get("state") == "stuck" else said


def _seconds(key: str) -> Any:
    return lambda row: NOTHING if row.get(key) is None else span(row[key])


def span(seconds: float) -> str:
    """Return a time in four or five characters: `0.2s`, `14s`, `3m`, `2h`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def _count(key: str) -> Any:
    return lambda row: NOTHING if row.get(key) is None else short(row[key])


THREADS = (
    Column("thread", lambda row: text(row.get("name"))),
    Column("doing", _doing, grows=True, style=lambda row: _COLOURS.get(str(row.get("state")), "")),
    Column("for", _seconds("for_s"), right=True),
    Column("progress", _seconds("idle_s"), right=True),
    Column("beat", _seconds("heartbeat_s"), right=True),
    Column("done", _count("steps"), right=True),
    Column("restarts", _count("restarts"), right=True),
    Column("failed", _count("failures"), right=True, spare=1),
    Column("limit", _seconds("stuck_after_s"), right=True, spare=2),
)


def _micros(kind: str) -> Any:
    """Return a cell with the three figures of a lock's waits or holds."""
    def cell(row: JsonObject) -> str:
        figures = row.get(f"{kind}_us") or {}
        p50, p99, most = (_time(figures.get(name)) for name in ("p50", "p99", "max"))
        return f"{p50} {p99:>4} {most:>4}"

    return cell


def _time(us: float | None) -> str:
    """Return microseconds in four characters: `0.4µ`, `12µ`, `3.1m` for milliseconds, `2.0s`."""
    if us is None:
        return NOTHING
    for size, unit in ((1.0, "µ"), (1e3, "m")):
        if us < size * 1000:
            return f"{us / size:.1f}{unit}" if us / size < 10 else f"{us / size:.0f}{unit}"
    return f"{us / 1e6:.1f}s"


def _held_by(row: JsonObject) -> str:
    said = text(row.get("holder"))
    return f"{said}; {len(row['waiting'])} waiting" if row.get("waiting") else said


LOCKS = (
    Column("lock", lambda row: text(row.get("name"))),
    Column("taken", _count("acquisitions"), right=True),
    Column("waited", _count("contended"), right=True),
    Column("wait 50 99 max", _micros("wait"), right=True),
    Column("hold 50 99 max", _micros("hold"), right=True),
    Column("held by", _held_by, grows=True, style=lambda row: "bold red" if row.get("waiting") else ""),
)


def show_threads(facts: JsonObject) -> None:
    """Print it all; idle workers of the pools in their strips alone."""
    rows = facts.get("threads") or []
    show_table(THREADS, [row for row in rows if not _is_in_strip(row)], title="Threads",
               empty="No threads reported.")
    strips = {pool: strip for pool, strip in (facts.get("strips") or {}).items() if strip}
    if strips:
        print()
        show_facts([(f"{pool}-0..{len(strip) - 1}", strip, _alarm(strip)) for pool, strip in strips.items()],
                   title="Workers")
        print(", ".join(f"{letter} {meaning}" for letter, meaning in MEANINGS.items()
                        if letter in ".wrc" or any(letter in strip for strip in strips.values())))
    print()
    show_table(LOCKS, facts.get("locks") or [], empty="No locks reported.",
               title="Locks: median, 99th percentile and longest, in µ(s) and m(s)")
    show_stacks(rows)


def show_stacks(rows: Iterable[JsonObject]) -> None:
    """Print the stacks of those that came with one."""
    for row in rows:
        if row.get("stack"):
            print()
            show_note(f"{row.get('name')}: {_doing(row)}", row["stack"], "bold")


def _is_in_strip(row: JsonObject) -> bool:
    """Whether a strip says all there is to say: a worker of a pool that is not stuck or dead."""
    in_pool = any(re.fullmatch(rf"{pool}-\d+", str(row.get("name"))) for pool in POOLS)
    return in_pool and row.get("state") == "running" and not row.get("waits_for")


def _alarm(strip: str) -> str:
    return "bold red" if set(strip) & set("!x") else ""
