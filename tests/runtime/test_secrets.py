"""Secrets: found where they may be, missing ones named, none shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.secrets import load_secrets
from trading.errors import ConfigError

IN_ENVIRONMENT = {
    "KUCOIN_API_KEY": "env-key", "KUCOIN_API_SECRET": "env-secret", "KUCOIN_API_PASSPHRASE": "env-pass",
}


def test_the_environment_wins(tmp_path: Path) -> None:
    """What stands in the environment is not looked for elsewhere."""
    (tmp_path / ".env").write_text("KUCOIN_API_KEY=file-key\n")
    secrets = load_secrets([tmp_path], IN_ENVIRONMENT)
    assert (secrets.key, secrets.secret, secrets.passphrase) == ("env-key", "env-secret", "env-pass")
    assert (secrets.source, secrets.is_complete) == ("environment", True)


def test_a_dotenv_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Quotes end, dollars stay: a passphrase may hold anything."""
    (tmp_path / ".env").write_text(
        "# keys\nexport KUCOIN_API_KEY=k1\nKUCOIN_API_SECRET='s $HOME'\nKUCOIN_API_PASSPHRASE=\"p ${PATH} #1\"\n"
    )
    secrets = load_secrets([tmp_path / "elsewhere", tmp_path], {})
    assert (secrets.key, secrets.secret, secrets.passphrase) == ("k1", "s $HOME", "p ${PATH} #1")
    assert secrets.source == str(tmp_path / ".env")


def test_systemd_credentials_are_read(tmp_path: Path) -> None:
    """A file for each, upper or lower case, its line end cut."""
    (tmp_path / "KUCOIN_API_KEY").write_text("k\n")
    (tmp_path / "kucoin_api_secret").write_text("s\n")
    (tmp_path / "kucoin_api_passphrase").write_text("p")
    secrets = load_secrets([], {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (secrets.key, secrets.secret, secrets.passphrase, secrets.source) == ("k", "s", "p", "systemd")


def test_systemd_hands_over_a_whole_file(tmp_path: Path) -> None:
    """One credential with everything in it; the file it was made from need not be readable any more."""
    (tmp_path / "rad.env").write_text("KUCOIN_API_KEY=k\nKUCOIN_API_SECRET='s'\nKUCOIN_API_PASSPHRASE='p # q'\n")
    unreadable = tmp_path / "beside"
    unreadable.mkdir()
    (unreadable / ".env").write_bytes(b"\xff")
    secrets = load_secrets([unreadable], {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (secrets.key, secrets.secret, secrets.passphrase, secrets.source) == ("k", "s", "p # q", "systemd")


def test_what_is_missing_is_named() -> None:
    """Going live without keys says which, and where they may be written."""
    with pytest.raises(ConfigError) as caught:
        load_secrets([], {"KUCOIN_API_KEY": "the-key"}).require()
    text = str(caught.value)
    assert "KUCOIN_API_SECRET and KUCOIN_API_PASSPHRASE" in text
    assert ".env" in text
    assert "the-key" not in text


def test_short_values_are_not_blackened() -> None:
    """A passphrase of three letters would blacken innocent words; longer ones are hidden, longest form first."""
    secrets = load_secrets([], {**IN_ENVIRONMENT, "KUCOIN_API_PASSPHRASE": "the"})
    assert "the" not in secrets.redactions()
    lengths = [len(form) for form in secrets.redactions()]
    assert lengths == sorted(lengths, reverse=True)


def test_an_unreadable_file_is_a_clear_error(tmp_path: Path) -> None:
    """Not silence: trading without the keys one has written down would puzzle."""
    (tmp_path / ".env").write_bytes(b"KUCOIN_API_KEY=\xff\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_secrets([tmp_path], {})
