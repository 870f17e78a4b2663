"""One RAD per data folder, however the other one ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.instance import FILE_NAME, Instance
from tests.manual_clock import ManualClock
from trading.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from runtime.clock import SystemClock
from runtime.instance import Instance
held = Instance.claim(Path(sys.argv[1]), SystemClock())
print("held", flush=True)
sys.stdin.read()
"""


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path, clock: ManualClock) -> None:
    """A data folder that is not there is made, readable by nobody else."""
    folder = tmp_path / "deep" / "rad-data"
    with Instance.claim(folder, clock):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_second_instance_is_told_who_holds_it(tmp_path: Path, clock: ManualClock) -> None:
    """One line: process, since when, where; and the folder is free again once that one has gone."""
    with Instance.claim(tmp_path, clock):
        with pytest.raises(ConfigError) as caught:
            Instance.claim(tmp_path, clock)
        assert str(caught.value) == (
            f"another RAD (process {os.getpid()}, since 2023-11-14T22:13:20Z) already works in {tmp_path}; "
            "stop it, or give this one a data_dir of its own"
        )
    Instance.claim(tmp_path, clock).release()


@pytest.mark.process
def test_a_killed_instance_holds_nothing(tmp_path: Path, clock: ManualClock) -> None:
    """While another process lives the folder is taken; after SIGKILL it is free, whatever its file says."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"another RAD \\(process {process.pid}, since "):
            Instance.claim(tmp_path, clock)
        process.kill()
    assert str(process.pid) in (tmp_path / FILE_NAME).read_text()
    Instance.claim(tmp_path, clock).release()


def test_a_child_process_does_not_inherit_the_claim(tmp_path: Path, clock: ManualClock) -> None:
    """The exchange RAD starts may outlive it by a moment and must not keep the folder."""
    held = Instance.claim(tmp_path, clock)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        held.release()
        Instance.claim(tmp_path, clock).release()
        child.kill()


def test_a_file_in_place_of_the_folder(tmp_path: Path, clock: ManualClock) -> None:
    """The text says what is there instead."""
    (tmp_path / "rad-data").write_text("")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        Instance.claim(tmp_path / "rad-data", clock)
    with pytest.raises(ConfigError, match="cannot be made: Not a directory"):
        Instance.claim(tmp_path / "rad-data" / "inner", clock)


def test_a_folder_that_cannot_be_written(tmp_path: Path, clock: ManualClock) -> None:
    """A folder where the lock file should be stands in the way, as a missing right does."""
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ConfigError, match=r"data_dir .* cannot be written: Is a directory"):
        Instance.claim(tmp_path, clock)
