"""The exchange's keys: from the environment, systemd credentials or `.env`; never shown."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

from dotenv import dotenv_values

from runtime.locks import assert_no_lock_held
from trading.errors import ConfigError

CREDENTIAL = "rad.env"     # a whole .env handed over by systemd's LoadCredential
KEY, SECRET, PASSPHRASE = "KUCOIN_API_KEY", "KUCOIN_API_SECRET", "KUCOIN_API_PASSPHRASE"
NAMES = (KEY, SECRET, PASSPHRASE)

_SHORTEST_HIDDEN = 4   # hiding anything shorter would blacken innocent text


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Secrets:
    """What signs requests; its text forms show none of it."""

    key: str = ""
    secret: str = ""
    passphrase: str = ""
    source: str = "nowhere"    # environment / systemd / the path of a .env file

    def __repr__(self) -> str:
        return f"Secrets({'complete' if self.is_complete else 'incomplete'}, from {self.source})"

    @property
    def is_complete(self) -> bool:
        """Whether requests can be signed."""
        return bool(self.key and self.secret and self.passphrase)

    def missing(self) -> tuple[str, ...]:
        """Return the names that have no value."""
        return tuple(
            name
            for name, value in zip(NAMES, (self.key, self.secret, self.passphrase), strict=True)
            if not value
        )

    def require(self) -> Secrets:
        """Return self, or raise ConfigError naming what is missing and where it may be written."""
        if self.is_complete:
            return self
        raise ConfigError(
            f"mode live needs {' and '.join(self.missing())}: write them into .env beside the code, "
            "as NAME=value, or set them in the environment"
        )

    def redactions(self) -> tuple[str, ...]:
        """Return every text a log must not carry, in each form it may take on the wire, longest first."""
        forms: set[str] = set()
        for value in (self.key, self.secret, self.passphrase):
            if len(value) >= _SHORTEST_HIDDEN:
                forms |= every_form(value)
        return tuple(sorted(forms, key=lambda form: (-len(form), form)))


@dataclass(slots=True)
class _Found:
    values: dict[str, str] = field(default_factory=dict)
    source: str = "nowhere"

    def add(self, values: Mapping[str, str | None], source: str) -> None:
        for name in NAMES:
            value = (values.get(name) or "").strip()
            if value and name not in self.values:
                self.values[name] = value
                self.source = source if self.source == "nowhere" else self.source


def load_secrets(folders: Iterable[Path], environ: Mapping[str, str] | None = None) -> Secrets:
    """Return the keys: each from the environment, else systemd, else the first `.env` of *folders*.

    Raises:
        ConfigError: a file that should hold them cannot be read.
    """
    environ = os.environ if environ is None else environ
    found = _Found()
    found.add(environ, "environment")
    if environ.get("CREDENTIALS_DIRECTORY"):
        found.add(read_credentials(Path(environ["CREDENTIALS_DIRECTORY"]), NAMES), "systemd")
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if len(found.values) == len(NAMES):
            break                  # a service may not even read the file its credentials come from
        found.add(read_dotenv(folder / ".env"), str(folder / ".env"))
    return _secrets(found)


def secrets_in(file: Path) -> Secrets:
    """Return the keys that stand in one `.env` file. Raises ConfigError if it cannot be read."""
    found = _Found()
    found.add(read_dotenv(file), str(file))
    return _secrets(found)


def _secrets(found: _Found) -> Secrets:
    return Secrets(
        key=found.values.get(KEY, ""),
        secret=found.values.get(SECRET, ""),
        passphrase=found.values.get(PASSPHRASE, ""),
        source=found.source,
    )


def read_credentials(folder: Path, names: Iterable[str]) -> dict[str, str | None]:
    """Return those of *names* that systemd has put into *folder*. Raises ConfigError when one is unreadable."""
    values: dict[str, str | None] = {}
    for name in names:
        for file in (folder / name, folder / name.lower()):
            if file.is_file() and name not in values:
                values[name] = _read(file)
    return {**read_dotenv(folder / CREDENTIAL), **values}


def read_dotenv(file: Path) -> Mapping[str, str | None]:
    """Return what a `.env` file says; nothing when there is none. Raises ConfigError when it is unreadable."""
    if not file.is_file():
        return {}
    _read(file)                    # for its faults in words
    return dotenv_values(file, interpolate=False)


def _read(file: Path) -> str:
    assert_no_lock_held("reading a file")
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None


def every_form(value: str) -> set[str]:
    """Return *value* in each form it may take on the wire or in an error about it."""
    raw = value.encode()
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    forms = {value, quote(value, safe=""), quote_plus(value), *encoded, *(form.rstrip("=") for form in encoded)}
    for _ in range(2):   # a body within a body, an error about an error
        forms |= {escape(form)[1:-1] for form in forms for escape in (repr, json.dumps)}
    return forms
