"""Whose folder this is: where the console was called from, and where the daemon keeps its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trading.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[1]

# The launcher tells where it was called and moves to the project folder. Taken out of the environment
# at once: children are called from here.
CALLER = Path(os.environ.pop("RAD_CALLER_DIR", "") or Path.cwd())


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """As much of the settings as a question needs; None where nothing was said."""

    data_dir: Path
    mode: str | None
    journal_url: str | None
    log_file: Path | None = None           # None: there is none


def not_allowed(place: Path) -> str:
    """Return what to say where *place* is another user's: not that there is nothing."""
    return (
        f"{place} can be read only by the user RAD runs as, so that nothing is known of it here: say this again "
        "as that user, or as root (sudo)"
    )


def can_look_into(folder: Path) -> bool:
    """Whether this user may see what is in *folder*; also if it is not there."""
    try:
        with os.scandir(folder):
            (folder / ".").stat()
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def from_caller(file: Path | None) -> Path | None:
    """Return *file* as the caller meant it."""
    return None if file is None else CALLER / file


def find_place(config: Path | None, mode: str | None = None) -> Place:
    """Return where the daemon keeps its files; `runtime.settings`, which checks all, takes its time.

    Raises:
        ConfigError: the settings file cannot be read.
    """
    file = _read(config)
    journal, log = file.get("journal"), file.get("log")
    url = _said("JOURNAL__URL", journal.get("url") if isinstance(journal, dict) else None)
    data_dir = PROJECT / Path(_said("DATA_DIR", file.get("data_dir")) or "rad-data").expanduser()
    named = _said("LOG__FILE", log.get("file") if isinstance(log, dict) else None) or "rad.log"
    return Place(
        data_dir=data_dir,
        # Not the file's: the daemon may have been told otherwise by a flag, and config.yaml always says one.
        mode=mode or _said("MODE", None),
        journal_url=None if url == "auto" else url,
        log_file=None if named == "none" else data_dir / Path(named).expanduser(),
    )


def _said(variable: str, in_file: object) -> str | None:
    return os.environ.get(f"RAD_{variable}", "").strip() or (str(in_file) if in_file else None)


def _read(config: Path | None) -> dict[str, Any]:
    file = config or PROJECT / "config.yaml"
    if config is None and not file.exists():
        return {}
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)   # every scalar stays the text it is
    try:
        said = yaml.load(file.read_bytes(), Loader=loader)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{file} is not readable as YAML; ./rad config check says where") from None
    return said if isinstance(said, dict) else {}
