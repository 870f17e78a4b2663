"""What `./rad init` understands: a flag for every question, so that a script can answer them all."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.options import MODES, add_key_override


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("--mode", choices=MODES, help="who answers: RAD's own exchange, the same with real prices, or KuCoin")
    for name in ("key", "secret", "passphrase"):
        add(f"--{name}-file", type=Path, metavar="FILE",
            help=f"the file that holds the API {name}; else it is taken from KUCOIN_API_{name.upper()}, or asked")
    add("--keep-keys", action="store_true", help="use the keys that are in .env already, also with --overwrite")
    add("--cautious", action=argparse.BooleanOptionalAction, default=None,
        help="begin with the numbers that config.yaml names for real money")
    add("--max-open", metavar="N", help="how many positions at once")
    add("--leverage", metavar="X")
    add("--risk-per-trade", metavar="R", help="of the equity, lost when the first stop is hit: 0.25%%")
    add("--max-notional", metavar="Q", help="largest value of one position, in USDT, or none")
    add("--data-dir", metavar="DIR", help="where RAD writes; /var/lib/rad for a service")
    add("--config", type=Path, metavar="FILE", help="the settings file to write (default: config.yaml)")
    add("--env-file", type=Path, metavar="FILE", help="where the keys go (default: .env beside the code)")
    add("--overwrite", action="store_true", help="change what is there already, without asking")
    add("--untested", action="store_true", help="write the keys down without trying them")
    add_key_override(parser)
