"""The whole daemon: every thread of it is looked after, and a monitor that hangs is not the end of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from tests.daemon_process import PROJECT, Daemon, rad
from tests.test_daemon import exchange_settings
from tests.wedges import until

pytestmark = pytest.mark.process

# They serve one call, and whoever made it learns what came of it; or a run of a limited time.
PASSING = re.compile(r"control-\d+|control-io_\d+|warm-up_\d+|Timer|MarketStream_\d+")


class Wedged(Daemon):
    """The daemon of tests/wedged_daemon.py."""

    def program(self) -> list[str]:
        return ["tests.wedged_daemon"]


def a_daemon(box: RunningSandbox, folder: Path) -> Wedged:
    """Return one that runs."""
    daemon = Wedged(folder, **exchange_settings(box, SCANNER__INTERVAL="1h"))
    daemon.await_line(r"running positions=")
    return daemon


def test_every_thread_is_looked_after_and_a_hanging_monitor_is_replaced_or_ends_rad(tmp_path: Path) -> None:
    """Hanging by itself: another monitor, no entries, and back. With the lock of the positions: exit code 70."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box, a_daemon(box, tmp_path) as daemon:
        _all_are_known(daemon)
        _another_takes_over(daemon)
        _it_can_be_looked_at(tmp_path)
        (tmp_path / "lock").touch()
        assert daemon.await_end() == 70
    assert "PositionMonitor is stuck and cannot be replaced: ending to be started again" in daemon.text()
    stacks = (tmp_path / "data" / "stacks.log").read_text()
    assert re.search(r"--- PositionMonitor, working step for \d\.\d s, holds lock positions", stacks)
    assert re.search(r"--- MainThread, .*, waits for lock positions, held by PositionMonitor", stacks)
    ended = rad(tmp_path, "threads")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.count("\n") == 1


def _all_are_known(daemon: Daemon) -> None:
    """No thread but passing ones lives without a heart, and each has its line in the documents."""
    facts: dict[str, Any] = {}

    def all_have_a_heart() -> bool:
        facts.update(daemon.ask("/api/threads"))
        strangers = [row["name"] for row in facts["threads"] if not row["supervised"]]
        return all(PASSING.fullmatch(name) for name in strangers)

    until(all_have_a_heart, "a heart for each thread, once it has come to life")
    page = (PROJECT / "docs" / "THREAD_SAFETY.md").read_text(encoding="utf-8")
    table = page.partition("\n## Threads\n")[2].partition("\n## ")[0]
    missing = [row["name"] for row in facts["threads"] if f"`{_documented(row['name'])}" not in table]
    assert missing == []
    assert {row["state"] for row in facts["threads"]} == {"running"}
    assert [len(facts["strips"][pool]) for pool in ("exit", "flatten")] == [8, 16]
    assert 1 <= len(facts["strips"]["scan"]) <= 20       # as many as the scan needed side by side


def _documented(name: str) -> str:
    """Return how a thread's name begins in the documents: numbered ones are one row."""
    return re.sub(r"\d+$", "", name)


def _another_takes_over(daemon: Daemon) -> None:
    hang = daemon.folder / "hang"
    hang.touch()
    daemon.await_line("thread stuck and replaced by another name=PositionMonitor")
    status: dict[str, Any] = {}

    def is_said() -> bool:
        status.update(daemon.ask("/api/status"))
        return "the one before still runs" in str(status["problems"])

    until(is_said, "a word about it in the status")
    assert status["state"] == "degraded"
    assert status["entries_blocked"] == "thread stuck: PositionMonitor"
    rows = {row["name"]: row for row in daemon.ask("/api/threads")["threads"]}
    assert rows["PositionMonitor"]["restarts"] == 1
    assert rows["PositionMonitor"]["state"] == "running"
    assert "PositionMonitor (given up)" in rows
    (daemon.folder / "hanging").unlink()
    daemon.await_line("a thread given up on has ended name=PositionMonitor")
    until(lambda: daemon.ask("/api/status")["state"] == "running", "its recovery")


def _it_can_be_looked_at(folder: Path) -> None:
    """As a person sees it, and as a program does."""
    shown = rad(folder, "threads", "--stacks")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^PositionMonitor +(waits for tick|working step)", shown.stdout, re.M), shown.stdout
    assert re.search(r"^scan-0\.\.\d+ +[.wrc]{1,20}$", shown.stdout, re.M)
    assert re.search(r"^positions +[\d.]+k? +\d+ +\d", shown.stdout, re.M)
    assert "bot.py" in shown.stdout.partition("PositionMonitor: ")[2]
    told = json.loads(rad(folder, "threads", "--json", "--stacks").stdout)
    assert all(row["stack"] for row in told["threads"])
