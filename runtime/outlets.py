"""Where messages go: addresses and tokens from the environment, systemd credentials or `.env`; never shown.

`NOTIFY_URL_PHONE=ntfy://…` is an outlet named phone; a bare `NOTIFY_URL` is one named main.
`TELEGRAM_TOKEN` is the bot that listens to commands. An address is a secret: it holds tokens.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from runtime.locks import assert_no_lock_held
from runtime.secrets import every_form, read_credentials, read_dotenv
from trading.errors import ConfigError

URL, TOKEN = "NOTIFY_URL", "TELEGRAM_TOKEN"
MAIN = "main"
MOST_OUTLETS = 20

_NAME = re.compile(r"NOTIFY_URL(?:_([A-Z0-9_]+))?")
_SHORTEST_HIDDEN = 8       # a part of an address that is shorter is a word, not a token


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outlets:
    """Addresses by name, and the token of the bot; its text forms show none of it."""

    urls: Mapping[str, str] = field(default_factory=dict)
    telegram_token: str = ""

    def __repr__(self) -> str:
        return f"Outlets({', '.join(self.urls) or 'none'}; telegram {'set' if self.telegram_token else 'not set'})"

    def redactions(self) -> tuple[str, ...]:
        """Return every text a log must not carry."""
        hidden: set[str] = set()
        for url in self.urls.values():
            for part in {url, *_parts(url)}:
                hidden |= every_form(part)
        if self.telegram_token:
            hidden |= every_form(self.telegram_token)
            hidden |= every_form(self.telegram_token.partition(":")[2] or self.telegram_token)
        return tuple(sorted(hidden, key=lambda form: (-len(form), form)))


def load_outlets(folders: Iterable[Path], environ: Mapping[str, str] | None = None) -> Outlets:
    """Return what is set: each from the environment, else systemd, or without that the first `.env` of *folders*.

    Raises:
        ConfigError: a file that should hold them cannot be read, or there are too many.
    """
    environ = os.environ if environ is None else environ
    found: dict[str, str] = {}
    for values in _sources(folders, environ):
        for name, value in values.items():
            text = (value or "").strip()
            if text and (name == TOKEN or _NAME.fullmatch(name)):
                found.setdefault(name, text)
    token = found.pop(TOKEN, "")
    if len(found) > MOST_OUTLETS:
        raise ConfigError(f"{len(found)} addresses for messages are set; {MOST_OUTLETS} are the most")
    return Outlets(urls={_outlet(name): found[name] for name in sorted(found)}, telegram_token=token)


def _sources(folders: Iterable[Path], environ: Mapping[str, str]) -> Iterator[Mapping[str, str | None]]:
    assert_no_lock_held("read outlets")
    yield environ
    if environ.get("CREDENTIALS_DIRECTORY"):
        folder = Path(environ["CREDENTIALS_DIRECTORY"])
        there = sorted(file.name.upper() for file in folder.iterdir()) if folder.is_dir() else []
        yield read_credentials(folder, [name for name in there if name == TOKEN or _NAME.fullmatch(name)])
        return                     # a service may not even read the file its credentials come from
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        yield read_dotenv(folder / ".env")


def _outlet(name: str) -> str:
    return name.removeprefix(URL).lstrip("_").lower() or MAIN


def _parts(url: str) -> set[str]:
    """Return what in an address may be a token: credentials, and whatever is long and no host's name."""
    rest = url.partition("://")[2]
    place, _, tail = rest.partition("/")
    credentials, _, host = place.rpartition("@")
    parts = {part for part in credentials.split(":") if len(part) >= 4}
    pieces = [host.partition(":")[0], *re.split(r"[/?&=#]", tail)]
    if host.partition(":")[2] and not host.partition(":")[2].isdecimal():
        pieces.append(host.partition(":")[2])                    # tgram://123456:token/
    parts |= {piece for piece in pieces if len(piece) >= _SHORTEST_HIDDEN and "." not in piece}
    parts -= {"localhost"}
    return parts | {unquote(part) for part in parts} | {part.lower() for part in parts}
