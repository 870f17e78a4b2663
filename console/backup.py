"""`backup`: a checked copy of what must survive, taken while the daemon runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console import archive
from console.archive import CONFIG, Manifest, Member
from console.failure import Failure
from console.where import PROJECT, Place, can_look_into, not_allowed
from control.steering import ERROR
from runtime.journal_copies import check_journal, copy_journal, make_private, sync_folder
from runtime.version import VERSION

FOLDER = "backups"             # in data_dir, where nothing else is said
KEPT = 14                      # of those named by RAD itself; what a person names is never taken away
SQLITE = "sqlite:///"
SCRATCH = ".rad-backup-"
ON_A_SERVER = (
    "the journal is on a database server, and such a backup is the server's own matter: pg_dump while RAD runs, "
    "pg_restore while it does not, as docs/OPERATIONS.md writes them (Backup and restore); config.yaml and "
    "data_dir/blacklist.json are files to copy"
)


def backup(place: Place, config: Path | None, file: Path | None) -> dict[str, Any]:
    """Write a backup to *file*, or to one of RAD's own naming, and return what is in it.

    A crash leaves no file under that name, or the whole one.

    Raises:
        Failure: there is nothing to back up, *file* is there already, or the disk does not take it.
        JournalError: a journal is damaged; the text says which.
    """
    target = file or _own_name(place)
    journals = journals_of(place)
    if target.exists() or target.is_symlink():
        raise Failure(f"{target} is there already; name another file", ERROR)
    if not journals:
        raise Failure(f"there is no journal in {place.data_dir} yet, so there is nothing to back up", ERROR)
    try:
        if file is None:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _scratch(target.parent) as scratch:
            manifest = _write(scratch, target, journals, place, config)
        if file is None:
            _sweep_old(target.parent)
            give_to_owner(place.data_dir)
    except OSError as error:
        raise Failure(f"the backup could not be written to {target}: {error.strerror}", ERROR) from None
    return {
        "file": str(target), "size": target.stat().st_size, "made_at": manifest.made_at,
        "members": [{"name": member.name, "size": member.size} for member in manifest.members],
        "hidden_passwords": manifest.hidden_passwords,
    }


def journals_of(place: Place) -> list[Path]:
    """Return the journals there are; raises Failure where they are a server's."""
    if not can_look_into(place.data_dir):
        raise Failure(not_allowed(place.data_dir), ERROR)
    if place.journal_url is None:
        return sorted(place.data_dir.glob("journal-*.sqlite"))
    if not place.journal_url.startswith(SQLITE):
        raise Failure(ON_A_SERVER, ERROR)
    only = Path(place.journal_url.removeprefix(SQLITE))
    return [only] if only.exists() else []


def _write(
    scratch: Path, target: Path, journals: list[Path], place: Place, config: Path | None
) -> Manifest:
    members: list[Member] = []
    content: list[Path] = []
    for journal in journals:
        copy = scratch / journal.name
        copy_journal(journal, copy)
        meta = check_journal(copy)
        members.append(archive.member_of(copy, schema=meta["schema"], label=meta.get("label", "")))
        content.append(copy)
    for small in sorted(path for path in place.data_dir.glob("*.json") if archive.SMALL.fullmatch(path.name)):
        content.append(_copied(small.read_bytes(), scratch / small.name))   # replaced whole, so never half of it
        members.append(archive.member_of(content[-1]))
    settings = config or PROJECT / CONFIG
    hidden = False
    if settings.exists():
        as_it_is = settings.read_bytes()
        shown = archive.without_passwords(as_it_is)
        hidden = shown != as_it_is
        content.append(_copied(shown, scratch / CONFIG))
        members.append(archive.member_of(content[-1]))
    manifest = Manifest(
        version=VERSION, made_at=_now(), members=tuple(members), hidden_passwords=hidden,
    )
    fresh = scratch / "backup"
    make_private(fresh)
    archive.pack(fresh, manifest, content)
    archive.verify(fresh)
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    _name(fresh, target)
    return manifest


def _name(fresh: Path, target: Path) -> None:
    """Give the finished backup its name, unless somebody else has taken that meanwhile."""
    try:
        os.link(fresh, target)
    except FileExistsError:
        raise Failure(f"{target} is there already; name another file", ERROR) from None
    except OSError:
        fresh.replace(target)              # a file system without links
    sync_folder(target.parent)


def _copied(content: bytes, to: Path) -> Path:
    make_private(to)
    to.write_bytes(content)
    return to


def _own_name(place: Place) -> Path:
    return place.data_dir / FOLDER / f"rad-backup-{_now().translate({ord('-'): None, ord(':'): None})}.tar.gz"


def _sweep_old(folder: Path) -> None:
    for old in sorted(folder.glob("rad-backup-*.tar.gz"))[:-KEPT]:
        old.unlink(missing_ok=True)


def give_to_owner(data_dir: Path) -> None:
    """Give what root made in the data folder to whoever the folder belongs to: RAD, which has to write it."""
    if os.geteuid() != 0:
        return
    owner = data_dir.stat()
    for path in (data_dir, *data_dir.rglob("*")):
        found = path.lstat()
        if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a folder of our own in *folder*, and take away those that killed ones left."""
    for old in folder.glob(f"{SCRATCH}*"):
        if not _is_alive(old.name.removeprefix(SCRATCH).partition("-")[0]):
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-", dir=folder) as scratch:
        yield Path(scratch)


def _is_alive(pid: str) -> bool:
    return pid.isdecimal() and Path(f"/proc/{pid}").exists()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
