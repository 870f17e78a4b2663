"""The systemd units of RAD: filled in from deploy/, verified, and what systemd says of the installed one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.options import KEY_OVERRIDE
from runtime.secrets import CREDENTIAL
from runtime.settings import Settings
from runtime.settings_fields import PROJECT
from trading.errors import ConfigError, RadError

NAME = "rad.service"
UNITS = (NAME, "rad-alert.service")
USER = "rad"
TEMPLATES = PROJECT / "deploy"
UNIT_DIR = Path("/etc/systemd/system")
STATE_ROOT = Path("/var/lib")
MOST_EXPOSED = 2.0             # of 10, by systemd-analyze security
COMMAND_TIMEOUT_S = 60.0
GROWTH_SINCE = 254             # the systemd that knows RestartSteps=
# Not so long that 20 starts take more than the hour in which they are counted: it would never be given up. Without
# "direct" these systemds have the alert say at every end, not at the last alone, that nothing is started any more.
GROWTH = "RestartSteps=6\nRestartMaxDelaySec=2min\nRestartMode=direct"
# What the unit's own protections hide from the service.
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))


class UnitRefused(RadError):
    """A unit that systemd does not take as it is, or that would be too exposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the service is to run, and with what."""

    settings: Settings
    config: Path | None = None         # None: config.yaml beside the code
    env_file: Path | None = None       # where the keys are; None: there are none
    live: bool = False
    guard: bool = False
    any_key: bool = False
    python: Path = Path(sys.prefix) / "bin" / "python"

    def arguments(self) -> list[str]:
        """Return those of `run`."""
        said = [("--live", self.live), ("--guard", self.guard), (KEY_OVERRIDE, self.any_key)]
        return [flag for flag, wanted in said if wanted] + self.config_arguments()

    def config_arguments(self) -> list[str]:
        """Return how to name the settings file, where it is not the usual one."""
        return [] if self.config is None else ["--config", str(self.config)]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What systemd says of the installed unit."""

    active: str                # active, inactive, failed, activating …
    enabled: str
    result: str                # of the last run: success, exit-code, watchdog, start-limit-hit …
    restarts: int


def render(plan: Plan) -> dict[str, str]:
    """Return each file's text by its name: the units, and the user they run as."""
    data_dir = plan.settings.data_dir
    values = {
        "project": str(PROJECT),
        "python": str(plan.python),
        "arguments": " ".join(map(_quoted, plan.arguments())),
        "reload_arguments": " ".join(map(_quoted, plan.config_arguments())),
        "credentials": "" if plan.env_file is None else f"LoadCredential={CREDENTIAL}:{plan.env_file}",
        "storage": _storage(data_dir),
        "restart_growth": GROWTH if version() >= GROWTH_SINCE else "",
        "data_dir": str(data_dir),
    }
    files = {name: name for name in UNITS} | {"rad.conf": "rad.sysusers"}
    return {name: _filled((TEMPLATES / file).read_text(encoding="utf-8"), values) for name, file in files.items()}


def verify(units: Mapping[str, str]) -> dict[str, float]:
    """Return how exposed each unit is, of 10, having had systemd read it.

    Raises:
        UnitRefused: `systemd-analyze verify` has anything to say, or a unit is exposed beyond MOST_EXPOSED.
    """
    with tempfile.TemporaryDirectory(prefix="rad-units-") as folder:
        files = [Path(folder) / name for name in units if name.endswith(".service")]
        for file in files:
            file.write_text(units[file.name], encoding="utf-8")
        # It exits with 0 on unknown keys and bad values, so that whatever it says counts.
        names = map(str, files)
        ended = run(("systemd-analyze", "verify", "--man=no", *names), {"SYSTEMD_LOG_LEVEL": "warning"})
        said = (ended.stdout + ended.stderr).strip()
        if ended.returncode or said:
            raise UnitRefused(f"systemd does not take the unit: {said or f'exit code {ended.returncode}'}")
        exposed = {file.name: _exposure(file) for file in files}
    for name, exposure in exposed.items():
        if exposure > MOST_EXPOSED:
            raise UnitRefused(f"{name} would be exposed {exposure:.1f} of 10, more than {MOST_EXPOSED}")
    return exposed


def version() -> int:
    """Return systemd's version. Raises ConfigError where there is none."""
    found = re.match(r"systemd (\d+)", run(("systemd-analyze", "--version")).stdout)
    if found is None:
        raise ConfigError("systemd-analyze does not say which systemd this is")
    return int(found[1])


def is_systemd_running() -> bool:
    """Whether systemd is what started this machine, or this container."""
    return Path("/run/systemd/system").is_dir()


def state() -> State | None:
    """Return what systemd says of rad.service; None if it knows none."""
    asked = ("LoadState", "ActiveState", "UnitFileState", "Result", "NRestarts")
    try:
        ended = run(("systemctl", "show", NAME, "--property", ",".join(asked)))
    except ConfigError:
        return None
    said = dict(line.split("=", 1) for line in ended.stdout.splitlines() if "=" in line)
    if said.get("LoadState") != "loaded":
        return None
    return State(
        active=said.get("ActiveState", "unknown"), enabled=said.get("UnitFileState") or "unknown",
        result=said.get("Result", "unknown"), restarts=int(said.get("NRestarts") or 0),
    )


def is_outdated(settings: Settings) -> bool:
    """Whether the installed unit differs from what this RAD would write, apart from its own arguments."""
    try:
        installed = (UNIT_DIR / NAME).read_text(encoding="utf-8")
        fresh = render(Plan(settings=settings))[NAME]
    except (OSError, RadError):
        return False                       # not ours to read: nothing is known, and nothing said
    return _comparable(installed) != _comparable(fresh)


def _comparable(unit: str) -> list[str]:
    """Return a unit's lines without those that follow the arguments of install-service."""
    own = ("ExecStart=", "ExecReload=", "LoadCredential=")
    return [line for line in unit.splitlines() if line.strip() and not line.startswith(("#", *own))]


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Return *template* with its names replaced; a line that was one name alone goes when that is empty."""
    lines = [
        re.sub(r"@([a-z_]+)@", lambda found: values[found[1]], line).rstrip()
        for line in template.splitlines()
        if values.get(line.strip("@"), line)
    ]
    return "\n".join(lines) + "\n"


def _storage(data_dir: Path) -> str:
    if data_dir.parent == STATE_ROOT:
        return f"StateDirectory={data_dir.name}\nStateDirectoryMode=0700"
    return f"ReadWritePaths={data_dir}"


def refuse_hidden(plan: Plan) -> None:
    """Raise ConfigError where code or data lie in a place that the unit's own protections hide from it."""
    places = {"the code": PROJECT, "Python": plan.python.resolve(), "data_dir": plan.settings.data_dir}
    if plan.config is not None:
        places["the settings file"] = plan.config
    for what, place in places.items():
        hiding = next((folder for folder in HIDDEN if place.is_relative_to(folder)), None)
        if hiding is not None:
            raise ConfigError(
                f"{what} lies in {place}, and a service sees nothing of {hiding}: move it, for instance to "
                "/opt/rad (data_dir to /var/lib/rad)"
            )


def _quoted(argument: str) -> str:
    """Return *argument* as a unit file takes it."""
    text = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if re.search(r"[\s'\"\\]", text) else text


def _exposure(file: Path) -> float:
    ended = run(("systemd-analyze", "security", "--offline=true", "--no-pager", str(file)))
    found = re.search(r"exposure level for \S+: ([\d.]+)", ended.stdout)
    if found is None:
        raise UnitRefused(f"systemd-analyze security says nothing of {file.name}: {ended.stderr.strip()[:200]}")
    return float(found[1])


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end, in English and without a pager.

    Raises:
        ConfigError: it is not there, or does not come back.
    """
    clean = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", **(env or {})}
    try:
        return subprocess.run(
            list(command), text=True, capture_output=True, timeout=COMMAND_TIMEOUT_S, stdin=subprocess.DEVNULL,
            check=False, env=clean,
        )
    except FileNotFoundError:
        raise ConfigError(f"there is no {command[0]} on this machine: RAD as a service needs systemd") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{command[0]} does not come back within {COMMAND_TIMEOUT_S:g} s") from None
