"""`./rad install-service`: write the units, have systemd verify them, enable them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from console.failure import Failure
from console.where import PROJECT, from_caller
from console.writing import Draft, write_all
from control.steering import BAD_CONFIG, ERROR, OK
from runtime import service_unit
from runtime.options import refuse_unspoken_live
from runtime.secrets import secrets_in
from runtime.service_unit import MOST_EXPOSED, NAME, UNIT_DIR, USER, Plan
from runtime.settings import load_settings

SYSUSERS_DIR = Path("/etc/sysusers.d")


def install(said: Namespace) -> int:
    """Install RAD as a service as *said*; return the exit code."""
    plan = _plan(said)
    files = service_unit.render(plan)
    exposed = service_unit.verify(files)
    if said.dry_run:
        for name, text in files.items():
            print(f"# ---- {_place(name)}\n{text}")
    for name, exposure in exposed.items():
        print(f"{name}: verified, exposed {exposure:.1f} of 10 (at most {MOST_EXPOSED})", file=sys.stderr)
    service_unit.refuse_hidden(plan)
    if said.dry_run:
        return OK
    if os.geteuid() != 0:
        raise Failure("writing a service needs root: sudo ./rad install-service", ERROR)
    write_all([Draft(path=_made(_place(name)), text=text) for name, text in files.items()])
    _give_data_dir(plan)
    _enable(start=said.start)
    return OK


def _plan(said: Namespace) -> Plan:
    """Return what the service is to be. Raises ConfigError, or Failure where keys are missing."""
    config = from_caller(said.config)
    settings = load_settings(config)
    refuse_unspoken_live(settings.mode, live=said.live)
    env_file = (from_caller(said.env_file) or PROJECT / ".env").absolute()
    has_keys = env_file.is_file()
    if settings.futures_url is not None:
        if not has_keys:
            raise Failure(f"the service needs keys, and there is no {env_file}: ./rad init writes it", BAD_CONFIG)
        secrets_in(env_file).require()
    return Plan(
        settings=settings, config=None if config is None else config.absolute(), live=said.live, guard=said.guard,
        any_key=said.any_key, env_file=env_file if has_keys else None,
    )


def _place(name: str) -> Path:
    return (UNIT_DIR if name.endswith(".service") else SYSUSERS_DIR) / name


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _give_data_dir(plan: Plan) -> None:
    """Make the user, and give it the data folder where systemd does not do that itself."""
    _must("systemd-sysusers", str(_place("rad.conf")))
    data_dir = plan.settings.data_dir
    if data_dir.parent == service_unit.STATE_ROOT:
        return
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _must("chown", "--recursive", "--no-dereference", f"{USER}:{USER}", str(data_dir))


def _enable(*, start: bool) -> None:
    if service_unit.is_systemd_running():
        _must("systemctl", "daemon-reload")
    _must("systemctl", "enable", NAME)
    print(f"{NAME} is installed and starts with the machine.")
    if not service_unit.is_systemd_running():
        print("systemd does not run here now: it is started at the next boot of a machine that has it.")
    elif start:
        _must("systemctl", "start", "--no-block", NAME)
        print(f"It is starting: systemctl status {NAME}")
    else:
        print(f"Start it: systemctl start {NAME}")


def _must(*command: str) -> None:
    """Run a command that has to succeed. Raises Failure with what it said."""
    ended = service_unit.run(command)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip() or f"exit code {ended.returncode}"
        raise Failure(f"{' '.join(command)}: {said}", ERROR)
