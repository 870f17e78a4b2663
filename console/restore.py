"""`restore`: puts a backup in place of what is there, and keeps what was there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console import archive
from console.archive import CONFIG, Manifest
from console.backup import ON_A_SERVER, SQLITE, give_to_owner
from console.failure import Failure
from console.where import PROJECT, Place
from control.steering import ERROR
from runtime.clock import SystemClock
from runtime.instance import AlreadyRuns, Instance
from runtime.journal_copies import check_journal, sync_folder
from runtime.journal_version import SCHEMA_VERSION
from trading.errors import ConfigError

STAGED = ".rad-restore-"
BESIDE = "config.restored.yaml"


def restore(place: Place, config: Path | None, file: Path) -> dict[str, Any]:
    """Put the journals and books of the backup *file* in place and return what was done.

    Everything is read and checked before anything is touched. Then each file is exchanged at once, so that
    whatever interrupts this leaves under each name the old one or the new one, and saying it again finishes it.

    Raises:
        Failure: a daemon runs, the backup is no good, or it does not belong here.
        JournalError: a journal in it is damaged or of a newer RAD.
    """
    with archive.opened(file) as (_, manifest):
        targets = _targets(place, manifest)
    with _claimed(place), tempfile.TemporaryDirectory(prefix=STAGED, dir=place.data_dir) as staged:
        kept = place.data_dir / f"replaced-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}"
        try:
            fresh = _stage(file, manifest, Path(staged))
            replaced = [_exchange(fresh[name], target, kept) for name, target in targets.items()]
            settings = _settings(fresh.get(CONFIG), config, place)
            give_to_owner(place.data_dir)
        except OSError as error:
            raise Failure(f"the disk refused the restoring: {error}; saying it again begins anew", ERROR) from None
    return {
        "file": str(file), "made_at": manifest.made_at, "version": manifest.version,
        "restored": [str(target) for target in targets.values()],
        "kept": str(kept) if any(replaced) else None,
        "settings": settings, "hidden_passwords": manifest.hidden_passwords and settings is not None,
    }


def _claimed(place: Place) -> Instance:
    """Return the claim on the data folder; raises Failure, and says how to come by it."""
    try:
        return Instance.claim(place.data_dir, SystemClock())
    except AlreadyRuns as error:
        raise Failure(
            f"nothing was restored: RAD{error.holder} works in {place.data_dir}. End it first, by systemctl stop "
            "rad or Ctrl-C where it runs (what is open keeps its stop on the exchange), then say this again",
            ERROR,
        ) from None
    except ConfigError as error:
        raise Failure(f"nothing was restored: {error}", ERROR) from None


def _targets(place: Place, manifest: Manifest) -> dict[str, Path]:
    """Return where each member goes; the journals last: their positions are looked for in the exchange's books."""
    journals = [member.name for member in manifest.journals()]
    if not journals:
        raise Failure("there is no journal in that backup", ERROR)
    small = [member.name for member in manifest.members if archive.SMALL.fullmatch(member.name)]
    found = {name: place.data_dir / name for name in small + journals}
    if place.journal_url is not None:
        if not place.journal_url.startswith(SQLITE):
            raise Failure(ON_A_SERVER, ERROR)
        if len(journals) > 1:
            raise Failure("journal.url names one file, and the backup holds several journals", ERROR)
        found[journals[0]] = Path(place.journal_url.removeprefix(SQLITE))
    return found


def _stage(file: Path, manifest: Manifest, folder: Path) -> dict[str, Path]:
    """Take everything out beside where it goes, checked and on disk."""
    with archive.opened(file) as (content, _):
        fresh = {member.name: archive.extract(content, member, folder) for member in manifest.members}
    for path in fresh.values():
        path.chmod(0o600)
        with path.open("rb") as written:
            os.fsync(written.fileno())
    for member in manifest.journals():
        check_journal(fresh[member.name])
        if member.schema != str(SCHEMA_VERSION):
            _bring_up_to_date(fresh[member.name], member.label)
    return fresh


def _bring_up_to_date(journal: Path, label: str) -> None:
    """Migrate a journal of an older RAD's, as its start would: whoever reads, as `verify`, reads the newest."""
    from runtime.journal_migrations import migrate  # SQLAlchemy, which takes its time, for that alone

    migrate(f"{SQLITE}{journal}", label)


def _exchange(fresh: Path, target: Path, kept: Path) -> bool:
    """Put *fresh* in the place of *target*, which is kept; False if there was none."""
    there = target.exists()
    if there:
        kept.mkdir(mode=0o700, exist_ok=True)
        if target.suffix != ".json" and not _is_one_file(target):
            # A log that cannot be worked in must not meet the new journal: it moves with its own.
            for part in (target, *_logs(target)):
                part.replace(kept / part.name)
        else:
            _also_as(target, kept / target.name)
        sync_folder(kept)
    else:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in _logs(target):
            part.unlink()
    if fresh.stat().st_dev != target.parent.stat().st_dev:
        beside = target.with_name(f".{target.name}.new")       # a journal.url on another disk
        shutil.copy2(fresh, beside)
        fresh = beside
    fresh.replace(target)
    sync_folder(target.parent)
    return there


def _is_one_file(journal: Path) -> bool:
    """Work the journal's log into it, as no daemon runs; False if it cannot be."""
    try:
        with closing(sqlite3.connect(journal, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        return False
    return not any(part.stat().st_size for part in _logs(journal) if part.name.endswith("-wal"))


def _logs(journal: Path) -> list[Path]:
    beside = (journal.with_name(f"{journal.name}{ending}") for ending in ("-wal", "-shm"))
    return [part for part in beside if part.exists()]


def _also_as(file: Path, other: Path) -> None:
    """Give *file* a second name: it lives on under that one when the first is given away."""
    try:
        os.link(file, other)
    except OSError:
        shutil.copy2(file, other)


def _settings(fresh: Path | None, config: Path | None, place: Place) -> str | None:
    """Put the backup's settings where there are none, beside the others if those say something else."""
    if fresh is None:
        return None
    target = config or PROJECT / CONFIG
    if target.exists() and archive.without_passwords(target.read_bytes()) == fresh.read_bytes():
        return None
    if target.exists():
        target = place.data_dir / BESIDE
    beside = target.with_name(f".{target.name}.new")
    shutil.copy2(fresh, beside)
    beside.replace(target)
    return str(target)
