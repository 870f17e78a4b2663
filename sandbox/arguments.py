"""The sandbox's command line: each argument read, or refused in one line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

from sandbox.settings import DEFAULT_KEY, DEFAULT_PASSPHRASE, DEFAULT_SECRET, POOLS

DESCRIPTION = "The exchange alone, for any KuCoin client; its last line of greeting is JSON."
LARGEST_BALANCE = Decimal("1e18")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"sandbox: {message}; --help lists what there is", file=sys.stderr)
        sys.exit(1)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return what was said; SystemExit(1) where it makes no sense, SystemExit(0) after --help."""
    return _build().parse_args(arguments)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(said: str) -> int:
        if not (said.isascii() and said.isdecimal() and len(said) < 20 and least <= int(said) <= most):
            raise argparse.ArgumentTypeError(f"{said[:40]!r} is not a whole number from {least} to {most}")
        return int(said)

    return read


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(said: str) -> float:
        try:
            value = float(said)
        except ValueError:
            value = math.nan
        if not least <= value <= most:                 # which is false of nan
            raise argparse.ArgumentTypeError(f"{said[:40]!r} is not a number from {least:g} to {most:g}")
        return value

    return read


def _money(said: str) -> Decimal:
    try:
        value = Decimal(said)
    except InvalidOperation:
        value = Decimal("nan")
    if not (value.is_finite() and 0 <= value <= LARGEST_BALANCE):
        raise argparse.ArgumentTypeError(f"{said[:40]!r} is not an amount of USDT")
    return value


def _build() -> argparse.ArgumentParser:
    parser = _Parser(prog="sandbox", description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--port", type=_whole(0, 65_535), default=0, help="of the futures address; 0: any free one")
    add("--spot-port", type=_whole(0, 65_535), default=0, help="of the spot address")
    add("--source", default="synthetic", help="synthetic, replay, relay, or module:Class")
    add("--replay", type=Path, metavar="DIR", help="folder with recorded candles (CSV)")
    add("--replay-start", metavar="ISO", help="where in the recording to begin")
    add("--granularity", type=_whole(1, 1440), default=1, metavar="MIN",
        help="minutes per recorded candle as served")
    add("--relay", metavar="URL", help="the KuCoin futures address to take the market from")
    add("--pairs", type=_whole(1, 2000), default=60)
    add("--seed", type=_whole(0, 2**63), default=1)
    add("--volatility", type=_number(0, 100), default=1.0)
    add("--frozen", action="store_true", help="begin with all prices standing still")
    add("--balance", type=_money, default=Decimal(10_000), metavar="USDT")
    add("--tick-ms", type=_number(1, 60_000), default=100.0, help="how often the market moves")
    add("--key", default=DEFAULT_KEY)
    add("--secret", default=DEFAULT_SECRET)
    add("--passphrase", default=DEFAULT_PASSPHRASE)
    for pool in POOLS:
        add(f"--quota-{pool}", type=_whole(1, 10**9), default=None, metavar="N", help="weight per 30 s")
    add("--match-delay-ms", type=_number(0, 600_000), default=1.0)
    add("--visibility-delay-ms", type=_number(0, 600_000), default=5.0)
    add("--funding-period-ms", type=_whole(0, 10**12), default=0, help="0: each contract's own")
    add("--state", type=Path, metavar="FILE", help="keep accounts, positions and orders here")
    add("--parent-pid", type=int, metavar="PID", help="stop when this parent is gone")
    add("--exit-with-stdin", action="store_true", help="stop when stdin is closed")
    return parser
