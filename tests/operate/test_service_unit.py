"""The units: what is filled in, what systemd itself says of them, and what is refused."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from console import install_service
from console.__main__ import main
from runtime import service_unit
from runtime.service_unit import MOST_EXPOSED, Plan, UnitRefused, render, verify
from runtime.settings import load_settings
from trading.errors import ConfigError

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@pytest.fixture(autouse=True)
def _one_systemd(clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAD_DATA_DIR", "/var/lib/rad")
    if shutil.which("systemd-analyze") is None:
        monkeypatch.setattr(service_unit, "version", lambda: 252)


def a_plan(**wish: object) -> Plan:
    return Plan(**{"settings": load_settings(), "python": Path("/usr/bin/python3"), **wish})  # type: ignore[arg-type]


@needs_systemd
def test_systemd_takes_them_as_they_are() -> None:
    """Not a word from `systemd-analyze verify`, and both as little exposed as promised."""
    exposed = verify(render(a_plan(env_file=Path("/opt/rad/.env"), live=True)))
    assert set(exposed) == {"rad.service", "rad-alert.service"}
    assert max(exposed.values()) <= MOST_EXPOSED


@needs_systemd
@pytest.mark.parametrize(("old", "new"), [
    ("WatchdogSec=30s", "WatchdogSecs=30s"),                       # no such key: verify exits 0
    ("Restart=always", "Restart=sometimes"),                       # no such value: verify exits 0
    ("ExecStart=/usr/bin/python3", "ExecStart=/usr/bin/no-such-python"),
])
def test_whatever_systemd_says_counts(old: str, new: str) -> None:
    """Its exit code alone would let these through."""
    units = render(a_plan())
    assert old in units["rad.service"]
    units["rad.service"] = units["rad.service"].replace(old, new)
    with pytest.raises(UnitRefused, match="does not take the unit"):
        verify(units)


@needs_systemd
def test_a_unit_without_its_protections_is_refused() -> None:
    units = render(a_plan())
    kept = [line for line in units["rad.service"].splitlines()
            if not line.startswith(("Protect", "Private", "Restrict", "SystemCall", "Capability"))]
    units["rad.service"] = "\n".join(kept)
    with pytest.raises(UnitRefused, match="would be exposed"):
        verify(units)


def test_arguments_and_keys() -> None:
    """What was said goes into the unit, and the keys by their file's name alone."""
    unit = render(a_plan(env_file=Path("/opt/rad/.env"), live=True, any_key=True,
                         config=Path("/etc/rad/my settings.yaml")))["rad.service"]
    assert "-m console run --live --allow-key-that-can-withdraw --config \"/etc/rad/my settings.yaml\"" in unit
    assert "LoadCredential=rad.env:/opt/rad/.env" in unit
    assert "LoadCredential" not in render(a_plan())["rad.service"]


def test_where_it_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd makes /var/lib/NAME; any other folder is opened to it by name."""
    assert "StateDirectory=rad\n" in render(a_plan())["rad.service"]
    monkeypatch.setenv("RAD_DATA_DIR", "/srv/rad/data")
    assert "ReadWritePaths=/srv/rad/data\n" in render(a_plan())["rad.service"]


def test_a_newer_systemd_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """But gives up as an older one does, which would complain of a key it does not know."""
    monkeypatch.setattr(service_unit, "version", lambda: 255)
    said = dict(line.split("=", 1) for line in render(a_plan())["rad.service"].splitlines() if "=" in line)
    assert said["RestartMode"] == "direct"         # else the alert goes out at each end, not at the last
    first_s, steps, longest_s = 10.0, int(said["RestartSteps"]), 60.0 * int(said["RestartMaxDelaySec"][0])
    assert said["RestartSec"] == f"{first_s:.0f}s"
    # systemd.service(5): from RestartSec= by equal factors to RestartMaxDelaySec= in so many steps.
    starts, factor = int(said["StartLimitBurst"]), longest_s / first_s
    waits = [first_s * factor ** (min(number, steps) / steps) for number in range(starts)]
    assert sum(waits) < 0.75 * 3600                # what ends at once is given up within StartLimitIntervalSec=
    assert said["StartLimitIntervalSec"] == "1h"
    monkeypatch.setattr(service_unit, "version", lambda: 252)
    assert not {"RestartSteps", "RestartMode"} & set(re.findall(r"^\w+", render(a_plan())["rad.service"], re.M))


@pytest.mark.parametrize("place", ["/home/me/rad/data", "/root/data", "/tmp/data"])
def test_what_the_service_could_not_see_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Said before anything is installed, with where to move it."""
    monkeypatch.setenv("RAD_DATA_DIR", place)
    monkeypatch.setattr(service_unit, "PROJECT", Path("/opt/rad"))
    with pytest.raises(ConfigError, match="/var/lib/rad"):
        service_unit.refuse_hidden(a_plan())


def test_real_money_is_said_out_loud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A service for mode live needs --live, as `run` does, and keys."""
    monkeypatch.setenv("RAD_MODE", "live")
    assert main(["install-service", "--dry-run"]) == 4
    assert "say --live" in capsys.readouterr().err
    assert main(["install-service", "--dry-run", "--live", "--env-file", "/nowhere/.env"]) == 4
    assert "./rad init" in capsys.readouterr().err


@needs_systemd
def test_a_dry_run_prints_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file with its place, verified; nothing is written and nothing run but systemd-analyze."""
    monkeypatch.setattr(service_unit, "HIDDEN", ())
    monkeypatch.setattr(install_service, "write_all", lambda _drafts: pytest.fail("written"))
    monkeypatch.setattr(install_service, "_must", lambda *command: pytest.fail(f"run: {command}"))
    assert main(["install-service", "--dry-run"]) == 0
    said = capsys.readouterr()
    for place in ("/etc/systemd/system/rad.service", "/etc/systemd/system/rad-alert.service",
                  "/etc/sysusers.d/rad.conf"):
        assert f"# ---- {place}" in said.out
    assert f"ExecStart={sys.prefix}/bin/python -X faulthandler -m console run" in said.out
    assert "exposed 1." in said.err
