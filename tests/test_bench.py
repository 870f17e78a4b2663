"""The benches run and end with one line of JSON whose figures are numbers; no threshold is held here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def last_line(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--quick"], cwd=Path(__file__).parents[1], text=True,
        capture_output=True, timeout=110, check=False, stdin=subprocess.DEVNULL,
    )
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "name",
    [
        "locks", "switch_interval", "exit_latency", "exit_under_fire", "flatten", "scan_budget", "footprint",
        "journal_commit", "soak",
    ],
)
def test_a_bench_completes_with_finite_ratios(name: str) -> None:
    """Each measures itself against a floor of the same run."""
    found = last_line(name)
    assert found["bench"] == name
    assert found["ratio"]
    for ratio in found["ratio"].values():
        assert math.isfinite(ratio)
        assert ratio > 0
