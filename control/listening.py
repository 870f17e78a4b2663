"""Where the API listens, and whether it may: beyond this machine only encrypted, unless it is said out loud."""

from __future__ import annotations

import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from runtime.locks import assert_no_lock_held
from runtime.settings import Settings
from runtime.settings_fields import is_on_this_machine
from trading.errors import ConfigError

TOKEN_FILE = "control.token"
SHORTEST_TOKEN = 32          # characters; ours has 43


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address and how it is spoken to."""

    host: str = "127.0.0.1"
    port: int = 0                          # 0: any free one
    names: tuple[str, ...] = ()            # under which browsers may ask for it, besides addresses
    cert: Path | None = None               # with its chain, PEM
    key: Path | None = None
    unencrypted: bool = False              # beyond this machine all the same

    def check(self) -> None:
        """Raise ConfigError where the token and the account would travel in plain text."""
        if self.cert is None and not self.unencrypted and not is_on_this_machine(self.host):
            raise ConfigError(
                f"control: {self.host} reaches beyond this machine without encryption; set control.cert and "
                "control.key, or keep 127.0.0.1 and come through `ssh -L`, or say control.unencrypted: true"
            )

    def tls(self) -> ssl.SSLContext | None:
        """Return what encrypts; None where nothing does.

        Raises:
            ConfigError: certificate or key cannot be used.
        """
        if self.cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"control.cert, control.key: cannot be used ({reason})") from None
        return context

    @property
    def is_open(self) -> bool:
        """Whether RAD's own programs come in there too: no certificate to trust, and no crowd before them."""
        return self.cert is None and is_on_this_machine(self.host)


def listen_of(settings: Settings) -> Listen:
    """Return what the settings say."""
    said = settings.control
    return Listen(
        host=said.host, port=said.port, names=said.names, cert=settings.control_file(said.cert),
        key=settings.control_file(said.key), unencrypted=said.unencrypted,
    )


def token_of(data_dir: Path) -> str:
    """Return the token of this data folder, made when RAD first runs there; only its owner can read it.

    It stays the same from run to run, for browsers' password managers and for Prometheus.

    Raises:
        ConfigError: it cannot be read or written, or is too short to be one.
    """
    assert_no_lock_held("the token's file")
    path = data_dir / TOKEN_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
        except FileExistsError:
            os.chmod(path, 0o600)
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"data_dir: cannot write in {data_dir} ({error.strerror})") from None
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise ConfigError(f"{path} is no token any more; delete it, and RAD makes a new one when it starts")
    return token
