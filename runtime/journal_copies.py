"""A copy of an SQLite journal, taken while another process writes it: whole, checked, for its owner alone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from runtime.journal_version import version_of
from runtime.locks import assert_no_lock_held
from trading.errors import JournalError

BUSY_TIMEOUT_S = 5.0
COPIES_KEPT = 3                # of a journal before it was migrated, one for each version


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal *source* as of one moment to *target*, one file, on disk when this returns.

    The copy is made under another name and checked first: *target* is afterwards the copy, or as it was.

    Raises:
        JournalError: it cannot be read or written, or is damaged.
    """
    assert_no_lock_held("journal copy")
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        make_private(fresh)
        with closing(_reading(source)) as reading, closing(sqlite3.connect(fresh)) as writing:
            writing.isolation_level = None
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE")       # one file, without a log beside it
        check_journal(fresh)
        fresh.replace(target)
        sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"the journal {source} cannot be copied to {target}: {_reason(error)}") from None
    finally:
        for leftover in (fresh, fresh.with_name(f"{fresh.name}-journal")):
            leftover.unlink(missing_ok=True)


def check_journal(file: Path) -> dict[str, str]:
    """Read the whole of *file*, see that it is on disk, and return what its meta table says.

    Raises:
        JournalError: it is damaged, not RAD's, or of a newer RAD.
    """
    assert_no_lock_held("journal check")
    try:
        with closing(_reading(file)) as reading:
            found = reading.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise JournalError(f"{file.name} is damaged: {found}")
            meta = {str(name): str(value) for name, value in reading.execute("SELECT name, value FROM meta")}
        with open(file, "rb") as written:
            os.fsync(written.fileno())
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"{file.name} cannot be read: {_reason(error)}") from None
    try:
        version_of(meta)
    except JournalError as error:
        raise JournalError(f"{file.name} {error}") from None
    return meta


def keep_before_migration(journal: Path, version: int) -> Path:
    """Keep a copy of *journal* as it is before it leaves schema *version*; the oldest beyond a few go."""
    assert_no_lock_held("journal copy")
    target = journal.with_name(f"{journal.name}.schema-{version}")
    copy_journal(journal, target)
    kept = sorted(journal.parent.glob(f"{journal.name}.schema-*"), key=_version_in_name)
    for old in kept[:-COPIES_KEPT]:
        old.unlink(missing_ok=True)
    return target


def make_private(file: Path) -> None:
    """Make an empty file that its owner alone can read, from its first byte on."""
    assert_no_lock_held("making a file")
    file.unlink(missing_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def sync_folder(folder: Path) -> None:
    """See that the names in *folder* are on disk."""
    assert_no_lock_held("folder sync")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reading(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)


def _version_in_name(file: Path) -> int:
    number = file.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else str(error)
    return " ".join(str(said or error).split())
