"""Whose folder this is: where the console was called from, and where the daemon keeps its files."""

from __future__ import annotations

import os
from pathlib import Path

from trading.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[1]

# The launcher tells where it was called and moves to the project folder. Taken out of the environment
# at once: to the settings every RAD_ name is a setting, and children are called from here.
CALLER = Path(os.environ.pop("RAD_CALLER_DIR", "") or Path.cwd())


def from_caller(file: Path | None) -> Path | None:
    """Return *file* as the caller meant it."""
    return None if file is None else CALLER / file


def find_data_dir(config: Path | None) -> Path:
    """Return where the daemon keeps its files, read from the settings without checking the rest of them.

    Raises:
        ConfigError: the settings file cannot be read.
    """
    said = os.environ.get("RAD_DATA_DIR") or _top_level(config).get("data_dir") or "rad-data"
    return PROJECT / Path(str(said)).expanduser()


def _top_level(config: Path | None) -> dict[str, object]:
    file = config or PROJECT / "config.yaml"
    if config is None and not file.exists():
        return {}
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        said = yaml.load(file.read_bytes(), Loader=loader)  # noqa: S506 - both loaders are the safe ones
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not readable as YAML: {' '.join(str(error).split())}") from None
    return said if isinstance(said, dict) else {}
