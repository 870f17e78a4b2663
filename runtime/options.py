"""What was said on the command line of `./rad run`, which is also that of `python bot.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from trading.errors import ConfigError

MODES = ("sandbox", "paper", "live")
KEY_OVERRIDE = "--allow-key-that-can-withdraw"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run; None leaves it to the settings."""

    mode: str | None = None
    live: bool = False               # real money, said out loud
    guard: bool = False              # look after what a person opened by hand, never enter
    config: Path | None = None
    for_seconds: float | None = None
    any_key: bool = False            # also one that can move money out of the account


class _Parser(argparse.ArgumentParser):
    """An argument parser whose faults are configuration faults: a flag is a setting too."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see ./rad run --help")


def parse_run_options(argv: Sequence[str], folder: Path | None = None) -> RunOptions:
    """Return what *argv* asks for; a relative file is looked for in *folder*, by default the current one.

    `--help` prints the help and raises SystemExit(0).

    Raises:
        ConfigError: an argument is not understood, or live trading was not said out loud.
    """
    said = _parser().parse_args(argv)
    config = None if said.config is None else (folder or Path.cwd()) / said.config
    if said.mode == "live":
        refuse_unspoken_live(said.mode, live=said.live)
    return RunOptions(
        mode=said.mode, live=said.live, guard=said.guard, config=config, for_seconds=said.for_seconds,
        any_key=said.any_key,
    )


def refuse_unspoken_live(mode: str, *, live: bool) -> None:
    """Raise ConfigError if *mode* is live, wherever that was set, and `--live` was not said."""
    if mode == "live" and not live:
        raise ConfigError("mode live trades real money: say --live as well to mean it")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="rad run",
        description="Run the daemon in the foreground. Ctrl-C or SIGTERM ends it within 10 s, "
        "with every open position protected by a stop on the exchange.",
        allow_abbrev=False,
    )
    parser.add_argument("--mode", choices=MODES, help="who answers: RAD's own exchange on this machine, the "
                        "same with real prices, or KuCoin (default: as configured, else sandbox)")
    parser.add_argument("--live", action="store_true", help="mean it: mode live trades real money")
    parser.add_argument("--guard", action="store_true",
                        help="protect and trail positions opened by hand; never enter")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")
    parser.add_argument("--for", dest="for_seconds", type=_positive_seconds, metavar="SECONDS",
                        help="end by itself after this long")
    add_key_override(parser)
    return parser


def add_key_override(parser: argparse.ArgumentParser) -> None:
    """Let *parser* understand the word that allows a key RAD would refuse."""
    parser.add_argument(KEY_OVERRIDE, dest="any_key", action="store_true",
                        help="trade real money with an API key that can also move it out of the account")


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("the time to run must be longer than nothing")
    return seconds
