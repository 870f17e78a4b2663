"""What a backup is: one compressed file with a manifest, the journals, books, black list and settings.

Nothing secret is in it: not `.env`, not the daemon's token, not a password in an address of the settings.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from console.failure import Failure
from control.steering import ERROR, NOT_FOUND

FORMAT = 1
MANIFEST = "manifest.json"
CONFIG = "config.yaml"
# Nothing else is ever taken out of an archive, whatever stands in it.
JOURNAL = re.compile(r"\w[\w.-]*")
SMALL = re.compile(r"(sandbox|paper)-exchange\.json|blacklist\.json")
LARGEST_MANIFEST = 1_000_000
BLOCK = 1_000_000
HIDDEN = "***"
_PASSWORD = re.compile(rb"(://[^/@:\s]*):[^/@\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a backup."""

    name: str
    size: int
    sha256: str
    schema: str = ""           # of a journal
    label: str = ""            # whose it is: "live futures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    version: str               # of the RAD that made it
    made_at: str
    members: tuple[Member, ...]
    hidden_passwords: bool     # in the settings: to be filled in again

    def journals(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.schema)


def fingerprint(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while block := file.read(BLOCK):
        found.update(block)
    return found.hexdigest()


def member_of(file: Path, **more: str) -> Member:
    """Return what the manifest says of *file*."""
    with file.open("rb") as content:
        return Member(name=file.name, size=file.stat().st_size, sha256=fingerprint(content), **more)


def without_passwords(settings: bytes) -> bytes:
    """Return a settings file with the passwords in addresses replaced."""
    return _PASSWORD.sub(rb"\1:" + HIDDEN.encode() + rb"@", settings)


def pack(file: Path, manifest: Manifest, content: Sequence[Path]) -> None:
    """Write the archive; *file* is there, empty, with the mode it is to have."""
    said = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2).encode()
    with tarfile.open(file, "w:gz", compresslevel=6) as archive:
        head = tarfile.TarInfo(MANIFEST)
        head.size, head.mode = len(said), 0o600
        archive.addfile(head, io.BytesIO(said))
        for each in content:
            entry = tarfile.TarInfo(each.name)
            entry.size, entry.mode = each.stat().st_size, 0o600
            with each.open("rb") as source:
                archive.addfile(entry, source)


@contextmanager
def opened(file: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open an archive and yield it with its manifest.

    Raises:
        Failure: there is none, or it is not a backup of RAD's, or damaged.
    """
    try:
        with tarfile.open(file, "r:gz") as archive:
            yield archive, _manifest(archive)
    except FileNotFoundError:
        raise Failure(f"there is no backup {file}", NOT_FOUND) from None
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"{file} is not a whole backup of RAD's ({_reason(error)})", ERROR) from None


def extract(archive: tarfile.TarFile, member: Member, folder: Path) -> Path:
    """Write one member into *folder* and return its path; raises ValueError unless it is as the manifest says."""
    source = archive.extractfile(member.name)
    if source is None:
        raise ValueError(f"{member.name} is no file")
    target = folder / member.name
    with target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    check(target, member)
    return target


def check(file: Path, member: Member) -> None:
    """Raise ValueError unless *file* is what the manifest says of *member*."""
    if member_of(file).sha256 != member.sha256:
        raise ValueError(f"{member.name} is not what was written")


def verify(file: Path) -> None:
    """Read a whole archive back; raises Failure if it does not hold what its manifest says."""
    with opened(file) as (archive, manifest):
        for member in manifest.members:
            content = archive.extractfile(member.name)
            if content is None or fingerprint(content) != member.sha256:
                raise ValueError(f"{member.name} is not what was written")


def _manifest(archive: tarfile.TarFile) -> Manifest:
    head = archive.getmember(MANIFEST)
    content = archive.extractfile(head)
    if content is None or head.size > LARGEST_MANIFEST:
        raise ValueError("its manifest is none")
    said: dict[str, Any] = json.loads(content.read())
    if said.get("format") != FORMAT:
        raise ValueError(f"format {said.get('format')}, this RAD reads {FORMAT}")
    members = tuple(Member(**each) for each in said["members"])
    for member in members:
        is_journal = member.schema and JOURNAL.fullmatch(member.name) and member.name != MANIFEST
        if not (is_journal or member.name == CONFIG or SMALL.fullmatch(member.name)):
            raise ValueError(f"it holds {member.name!r}, which no backup does")
    return Manifest(
        version=str(said["version"]), made_at=str(said["made_at"]), members=members,
        hidden_passwords=bool(said["hidden_passwords"]),
    )


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else str(error)
    return " ".join(str(said or type(error).__name__).split())
