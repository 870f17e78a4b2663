"""What `./rad threads` shows to a person in a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

import pytest

from console.tables import _width, fitting
from console.threads import LOCKS, THREADS, show_threads, span


def a_row(name: str, **more: Any) -> dict[str, Any]:
    """A supervised thread that waits for work."""
    return {
        "name": name, "state": "running", "doing": "idle", "what": "", "for_s": 0.51, "idle_s": 372.0,
        "heartbeat_s": 0.5, "stuck_after_s": 15.0, "steps": 12_345, "failures": 0, "restarts": 0, "last_error": "",
        "supervised": True, "vital": False, "at": "a.py:1 b", "waits_for": None, "holds": [], **more,
    }


A_LOCK = {
    "name": "critical calls", "acquisitions": 123_456, "contended": 8888,
    "wait_us": {"p50": 0.04, "p99": 188.2, "max": 12_345.6}, "hold_us": {"p50": None, "p99": None, "max": None},
    "holder": "PositionMonitor", "waiting": ["exit-1", "exit-2"],
}
KNOT = {"lock": "positions", "held_by": "exit-3"}


def test_nothing_that_matters_is_left_out_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of threads what they are at, since when, their progress, beat and restarts; of locks everything."""
    row = a_row("BackgroundScanner", state="stuck", waits_for=KNOT)
    monkeypatch.setattr("console.tables.NARROWEST_TEXT", len("STUCK lock positions"))
    shown = fitting(THREADS, [row], 80)
    assert {"thread", "doing", "for", "progress", "beat", "restarts"} <= {column.title for column in shown}
    assert _width(shown, [row]) <= 80
    monkeypatch.setattr("console.tables.NARROWEST_TEXT", len("PositionMonitor"))      # enough for any holder
    assert _width(LOCKS, [A_LOCK]) <= 80


def test_idle_workers_are_a_strip_and_the_others_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Who is stuck, dead or behind a lock is named, with what keeps it; the strip shows where."""
    show_threads({
        "threads": [
            a_row("PositionMonitor", doing="idle", what="tick"),
            a_row("scan-0"), a_row("scan-1", state="stuck", doing="wire", what="GET /klines", for_s=17.0),
            a_row("exit-0", state="stuck", waits_for=KNOT),
            a_row("exit-1", state="dead", last_error="SystemExit: "),
            {"name": "Timer", "supervised": False, "state": "running", "at": "threading.py:331 wait"},
        ],
        "locks": [A_LOCK], "strips": {"scan": ".!", "exit": "!x", "flatten": ""},
    })
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split("  ")[0]: " ".join(line.split()) for line in lines if line}
    assert "scan-0" not in shown
    assert shown["PositionMonitor"] == "PositionMonitor waits for tick 0.5s 6m 0.5s 12.3k 0 0 15s"
    assert shown["scan-1"].startswith("scan-1 STUCK wire GET /klines 17s")
    assert shown["exit-0"].startswith("exit-0 STUCK lock positions, held by exit-3")
    assert shown["exit-1"].startswith("exit-1 DEAD SystemExit:")
    assert shown["Timer"].startswith("Timer threading.py:331 wait –")
    assert shown["scan-0..1"] == "scan-0..1 .!"
    assert "! stuck, x dead" in "\n".join(lines)
    assert shown["critical calls"] == (
        "critical calls 123k 8.89k 0.0µ 188µ 12m – – – PositionMonitor; 2 waiting"
    )


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0.0s"), (9.94, "9.9s"), (14.2, "14s"), (119, "119s"), (180, "3m"), (7200, "2h"),
                          (90_000, "25h"), (200_000, "2d")],
)
def test_times_fit_in_five_characters(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_stacks_follow_when_they_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Each under its thread's name, workers in the strips included."""
    show_threads({"threads": [a_row("scan-0", stack=["a.py:1 b: c()"])], "locks": [], "strips": {"scan": "."}})
    assert "scan-0: idle\n    a.py:1 b: c()\n" in capsys.readouterr().out
