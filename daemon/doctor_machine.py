"""The part of `doctor` that looks at this machine: keys at rest, the disk, the journal, the service."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from statistics import median

from daemon.findings import BAD_CONFIG, Finding, fault, good, warning
from runtime import service_unit
from runtime.journal_address import file_of, name_of
from runtime.journal_reader import JournalReader
from runtime.journal_version import OlderJournal
from runtime.secrets import Secrets
from runtime.settings import Settings
from trading.errors import JournalError

MB = 1_000_000
FULL_MB, SCARCE_MB = 200, 1_000        # a log of 120 MB and the journal have to find room
SLOW_COMMIT_S = 0.05                   # an entry waits for it
COMMITS = 5
# What commands leave in the data folder, as whom ever they are run; the daemon does not touch it.
NOT_THE_DAEMONS = ("backups", "replaced-", "config.restored", "lost+found", ".rad-doctor-")
INSTALL = "sudo ./rad install-service makes RAD a service that starts with the machine and is started again"


def look_at_keys(settings: Settings, secrets: Secrets) -> list[Finding]:
    """Return whether there are keys, and whether others on this machine can read them."""
    if settings.futures_url is None:
        return [good("keys", "none needed: RAD brings its own exchange, with play money")]
    if not secrets.is_complete:
        missing = ", ".join(secrets.missing())
        return [fault("keys", f"no {missing}", "./rad init asks for them and tries them", BAD_CONFIG)]
    file = Path(secrets.source)
    if file.name == ".env" and file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return [warning("keys", f"{file} can be read by others on this machine", f"chmod 600 {file}")]
    return [good("keys", f"from {secrets.source}")]


def look(settings: Settings) -> list[Finding]:
    """Return what this machine is like."""
    return [_disk(settings.data_dir), _journal(settings.journal_url), _service(settings)]


def _disk(data_dir: Path) -> Finding:
    folder = next(each for each in (data_dir, *data_dir.parents) if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return warning("disk", f"{folder} cannot be written by this user",
                       "run this as the user RAD runs as, or as root")
    strange = _strange_files(data_dir)
    if strange:
        return fault("disk", f"in {data_dir} {strange[0]} belongs to another user than the folder",
                     f"the service cannot write it: chown -R --reference={data_dir} {data_dir}")
    free_mb = shutil.disk_usage(folder).free // MB
    try:
        commit_s = _commit_s(folder)
    except OSError as error:
        return fault("disk", f"cannot write in {folder}: {error.strerror}", "make room, or mend the disk")
    said = f"{free_mb:,} MB free in {folder}, a commit takes {commit_s * 1000:.1f} ms"
    if free_mb < FULL_MB:
        return fault("disk", said, f"make room: below {FULL_MB} MB the journal may fail, and entries with it")
    if free_mb < SCARCE_MB:
        return warning("disk", said, "make room before it runs out: log and journal grow")
    if commit_s > SLOW_COMMIT_S:
        return warning("disk", said, "a slow disk: each entry waits for one commit (exits do not)")
    return good("disk", said)


def _strange_files(data_dir: Path) -> list[str]:
    """Return what somebody else has written there, as root does who runs RAD by hand beside the service."""
    if not data_dir.is_dir():
        return []
    owner = _owner(data_dir)
    its_own = (file for file in data_dir.iterdir() if not file.name.startswith(NOT_THE_DAEMONS))
    return sorted(file.name for file in its_own if _owner(file) != owner)


def _owner(path: Path) -> int:
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return path.parent.lstat().st_uid          # gone meanwhile: nobody's trouble


def _commit_s(folder: Path) -> float:
    """Return how long writing a line and having it on disk takes, in seconds: the median of a few."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rad-doctor-") as file:
        for _ in range(COMMITS):
            started = time.perf_counter()
            file.write(b"x" * 512)
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return median(taken)


def _journal(url: str) -> Finding:
    try:
        file = file_of(url)
        if file is not None and not file.exists():
            return good("journal", f"none yet: {file.name} is made when RAD first runs")
        journal = JournalReader.open(url)
        try:
            held = len(journal.open_positions())
            return good("journal", f"{name_of(url)} is readable, {held} positions open in it")
        finally:
            journal.close()
    except PermissionError:
        return warning("journal", "it cannot be read by this user", "run this as the user RAD runs as, or as root")
    except OlderJournal as error:
        return good("journal", str(error))
    except JournalError as error:
        return fault("journal", str(error), "docs/JOURNAL.md says what to do about each fault of a journal")


def _service(settings: Settings) -> Finding:
    """Return whether systemd looks after RAD."""
    if not service_unit.is_systemd_running():
        return warning("service", "systemd does not run here: nothing starts RAD again when it ends",
                       "let something else do it, or use a machine with systemd")
    state = service_unit.state()
    if state is None:
        return warning("service", "RAD is not installed as a service", INSTALL)
    said = f"{service_unit.NAME} is {state.active}, {state.enabled}, {state.restarts} restarts"
    if state.active == "failed":
        return fault("service", f"{said}, result {state.result}",
                     f"journalctl -u {service_unit.NAME} says why; systemctl reset-failed lets it start again")
    if state.enabled != "enabled":
        return warning("service", said, f"systemctl enable {service_unit.NAME} makes it start with the machine")
    if service_unit.is_outdated(settings):
        return warning("service", f"{said}; its unit is not what this RAD would write",
                       "sudo ./rad install-service writes it anew")
    return good("service", said)
