"""`./rad init`: ask what RAD has to know, have the exchange try the key, and write it all down at the end.

Nothing is written before the last answer is in, so that Ctrl-C leaves everything as it was.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getpass
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from console.config_edit import live_numbers, value_of, with_values
from console.failure import Failure
from console.key_words import FIELDS, HOW_TO_MAKE_A_KEY, said_of_key
from console.patience import waiting
from console.where import PROJECT, from_caller
from console.writing import SECRET, Draft, write_all
from control.steering import BAD_CONFIG, OK
from runtime.memory import loading
from runtime.secrets import NAMES, Secrets, secrets_in
from runtime.settings import Settings, load_settings
from trading.errors import ConfigError

TRIES = 3
HEADING = "# RAD's key to KuCoin. Whoever reads this file can trade with it."
# Key, the flag that answers it, what it means.
QUESTIONS = (
    ("positions.max_open", "max_open", "How many positions at once?"),
    ("positions.leverage", "leverage", "Leverage?"),
    ("positions.risk_per_trade", "risk_per_trade", "How much of the equity may one trade lose at its first stop?"),
    ("positions.max_notional", "max_notional", "Largest value of one position, in USDT (or none)?"),
    ("data_dir", "data_dir", "Where is RAD to write (/var/lib/rad if it is to be a service)?"),
)


def init(said: Namespace) -> int:
    """Ask, try, write; return the exit code."""
    asker = Asker(is_person=sys.stdin.isatty())
    config = from_caller(said.config) or PROJECT / "config.yaml"
    env_file = from_caller(said.env_file) or PROJECT / ".env"
    template = config if config.exists() else PROJECT / "config.yaml"
    text = template.read_text(encoding="utf-8")
    form = _Form(asker=asker, said=said, text=text, config=config, env_file=env_file, values={})
    form.ask_mode()
    secrets = form.ask_keys()
    form.ask_numbers()
    drafts = form.drafts(secrets)
    if not drafts:
        print("Nothing to write: all of it is there already.")
        return OK
    write_all(drafts)
    for draft in drafts:
        print(f"wrote {draft.path}")
    print(f"Next: ./rad doctor, then ./rad run{' --live' if form.mode == 'live' else ''}")
    return OK


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a person; where there is none, every answer has to come by a flag or be the usual one."""

    is_person: bool

    def ask(self, question: str, usual: str | None, flag: str, check: Callable[[str], str] | None = None) -> str:
        """Return the answer, which *check* finds nothing wrong with."""
        if not self.is_person:
            if usual is None:
                raise Failure(f"nobody to ask: say {flag}", BAD_CONFIG)
            return usual
        while True:
            print(f"{question} [{usual}] " if usual else f"{question} ", end="", file=sys.stderr, flush=True)
            answer = input().strip() or usual or ""
            wrong = check(answer) if check is not None and answer else ""
            if answer and not wrong:
                return answer
            if wrong:
                print(f"  {wrong}", file=sys.stderr)

    def agrees(self, question: str, flag: str, *, usual: bool) -> bool:
        """Return whether a person says yes; without one it has to be said by *flag*."""
        if not self.is_person:
            raise Failure(f"{question.rstrip('?')}: say {flag} to mean it", BAD_CONFIG)
        answer = self.ask(f"{question} (y/n)", "y" if usual else "n", flag)
        return answer.lower().startswith("y")

    def ask_secret(self, question: str, flag: str) -> str:
        """Return what is typed unseen."""
        if not self.is_person:
            raise Failure(f"nobody to ask: say {flag}, or set it in the environment", BAD_CONFIG)
        while True:
            answer = getpass(f"{question} ", stream=sys.stderr).strip()
            if answer:
                return answer


@dataclass(slots=True, kw_only=True)
class _Form:
    """What has been answered so far."""

    asker: Asker
    said: Namespace
    text: str                  # of the settings file, as it is
    config: Path
    env_file: Path
    values: dict[str, str]
    mode: str = ""

    # ---- settings -------------------------------------------------------------------------------

    def ask_mode(self) -> None:
        """Sandbox, paper or live."""
        usual = value_of(self.text, "mode") or "sandbox"
        self.mode = self.said.mode or self.asker.ask(
            "Mode: sandbox (RAD's own exchange), paper (the same with real prices) or live (real money)?",
            usual, "--mode", lambda answer: self.fault_of("mode", answer),
        )
        self.values["mode"] = self.mode

    def ask_numbers(self) -> None:
        """How much, how many, and where."""
        cautious = live_numbers(self.text) if self.is_cautious() else {}
        self.values.update(cautious)
        for key, name, question in QUESTIONS:
            usual = self.values.get(key) or value_of(self.text, key) or str(_default(key))
            told = getattr(self.said, name)
            flag = f"--{name.replace('_', '-')}"
            self.values[key] = told or self.asker.ask(
                question, usual, flag, lambda answer, key=key: self.fault_of(key, answer)  # type: ignore[misc]
            )
        self.settings(self.values)             # together they have to make sense too

    def is_cautious(self) -> bool:
        """Whether to begin with the numbers named for real money; that is usual where it is real."""
        if self.said.cautious is not None:
            return bool(self.said.cautious)
        if self.mode != "live":
            return False
        question = "Begin with the cautious numbers that config.yaml names for real money?"
        return not self.asker.is_person or self.asker.agrees(question, "--cautious", usual=True)

    def fault_of(self, key: str, answer: str) -> str:
        """Return what is wrong with *answer*; empty if nothing is."""
        try:
            self.settings({**self.values, key: answer})
        except ConfigError as error:
            return str(error).splitlines()[-1].strip()
        return ""

    def settings(self, values: dict[str, str]) -> Settings:
        """Return the settings as they would be. Raises ConfigError."""
        return load_settings(self.config if self.config.exists() else None, dict(values))

    # ---- keys -----------------------------------------------------------------------------------

    def ask_keys(self) -> Secrets | None:
        """Return new keys that the exchange has tried; None where none are to be written."""
        if self.mode != "live":
            return None
        if self.keeps_keys():
            self.accept(secrets_in(self.env_file))
            return None
        if self.asker.is_person:
            print(HOW_TO_MAKE_A_KEY, file=sys.stderr)
        for turn in range(1, TRIES + 1):
            secrets = self.typed_keys()
            try:
                self.accept(secrets)
                return secrets
            except ConfigError as error:
                if turn == TRIES or not self.asker.is_person:
                    raise
                print(f"  {error}", file=sys.stderr)
        raise AssertionError("the last try raises")

    def keeps_keys(self) -> bool:
        """Whether the keys that are there stay."""
        if not self.env_file.exists():
            return False
        if self.said.keep_keys:
            return True
        if not any(_keys_of(secrets_in(self.env_file))) or self.said.overwrite:
            return False
        if not self.asker.is_person:
            raise Failure(f"{self.env_file} is there: say --keep-keys or --overwrite", BAD_CONFIG)
        return self.asker.agrees(f"{self.env_file} is there. Keep the keys in it?", "--keep-keys", usual=True)

    def typed_keys(self) -> Secrets:
        """Return the three, each from its file, the environment or the keyboard."""
        found = {}
        for name, (field, meaning) in zip(NAMES, FIELDS.items(), strict=True):
            file = from_caller(getattr(self.said, f"{field}_file"))
            flag = f"--{field}-file"
            if file is not None:
                found[field] = _read_secret(file, flag)
            else:
                found[field] = os.environ.get(name, "").strip() or self.asker.ask_secret(meaning, flag)
        return Secrets(**found, source=str(self.env_file))

    def accept(self, secrets: Secrets) -> None:
        """Have the exchange try the keys, unless told not to, and note the version they need.

        Raises:
            ConfigError: it refuses them, or RAD does.
        """
        if self.said.untested:
            return
        secrets.require()
        settings = self.settings(self.values)
        with waiting("trying the key"):
            with loading():
                import bot

            facts = bot.try_key(settings, secrets)
        if facts.refusal and not self.said.any_key:
            raise ConfigError(facts.refusal)
        print(said_of_key(facts), file=sys.stderr)
        self.values["exchange.key_version"] = str(facts.version)

    # ---- the end --------------------------------------------------------------------------------

    def drafts(self, secrets: Secrets | None) -> list[Draft]:
        """Return what is to be written, having been told to."""
        found = []
        if secrets is not None:
            kept = self.env_file.read_text(encoding="utf-8") if self.env_file.exists() else ""
            found.append(Draft(path=self.env_file, text=_env_text(secrets, kept), mode=SECRET))
        changes = {key: value for key, value in self.values.items() if value_of(self.text, key) != value}
        if changes or not self.config.exists():
            self.confirm(changes)
            found.append(Draft(path=self.config, text=with_values(self.text, changes)))
        return found

    def confirm(self, changes: dict[str, str]) -> None:
        """Go on only if what is there may be changed."""
        for key, value in changes.items():
            print(f"  {key}: {value_of(self.text, key) or '(not there)'} -> {value}", file=sys.stderr)
        if not self.config.exists() or self.said.overwrite:
            return
        if not self.asker.agrees(f"Change this in {self.config}?", "--overwrite", usual=False):
            raise Failure("nothing was written", OK)


def _default(key: str) -> Any:
    return {row[0]: row[1] for row in Settings().as_rows()}[key]


def _read_secret(file: Path, flag: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Failure(f"{flag}: cannot read {file}: {reason}", BAD_CONFIG) from None
    if not text or "\n" in text:
        raise Failure(f"{flag}: {file} holds {'nothing' if not text else 'more than one line'}", BAD_CONFIG)
    return text


def _keys_of(secrets: Secrets) -> tuple[str, str, str]:
    """Return what stands under NAMES."""
    return secrets.key, secrets.secret, secrets.passphrase


def _env_text(secrets: Secrets, before: str = "") -> str:
    """Return *before*, a .env, with *secrets* in the place of its keys, quoted so that any passphrase comes back.

    Whatever else it says stays: where messages go stands there too.
    """
    others = [
        line.original.string for line in parse_stream(StringIO(before))
        if line.key not in NAMES and line.original.string.strip() != HEADING
    ]
    values = zip(NAMES, _keys_of(secrets), strict=True)
    lines = [f"{name}='{value.replace(chr(92), chr(92) * 2).replace(chr(39), chr(92) + chr(39))}'"
             for name, value in values]
    rest = "".join(others).strip("\n")
    return "\n".join([HEADING, *lines, *([rest] if rest else []), ""])
