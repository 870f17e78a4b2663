"""Where the daemon listens: `control.json` in the data folder, readable by its owner alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.locks import assert_no_lock_held

FILE_NAME = "control.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAddress:
    """What it takes to talk to a running daemon."""

    url: str
    token: str
    pid: int
    started: str               # ISO 8601 UTC
    door: str = ""             # where RAD's own programs come in, if not there: always this machine, unencrypted

    def write(self, data_dir: Path) -> Path:
        """Write it down whole: a reader finds the old file or the new one. Mode 0600 from its first byte."""
        assert_no_lock_held("writing control.json")
        data_dir.mkdir(parents=True, exist_ok=True)
        path = data_dir / FILE_NAME
        fresh = path.with_name(f"{FILE_NAME}.{self.pid}.new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        fresh.replace(path)
        return path

    def remove(self, data_dir: Path) -> None:
        """Take the file away if it is still this daemon's."""
        assert_no_lock_held("removing control.json")
        try:
            if read_address(data_dir) == self:
                (data_dir / FILE_NAME).unlink(missing_ok=True)
        except PermissionError:
            pass               # somebody else's by now


def read_address(data_dir: Path) -> ControlAddress | None:
    """Return what the last daemon wrote; None when there is nothing readable.

    A file may outlive its daemon (power cut): whether somebody answers is for the caller to find out.

    Raises:
        PermissionError: it is not for this user to read, so that nothing is known.
    """
    assert_no_lock_held("reading control.json")
    try:
        fields = json.loads((data_dir / FILE_NAME).read_text(encoding="utf-8"))
        return ControlAddress(
            url=str(fields["url"]), token=str(fields["token"]), pid=int(fields["pid"]),
            started=str(fields["started"]), door=str(fields.get("door", "")),
        )
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return None
