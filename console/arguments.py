"""The command line as a table: what can be said, and which function of `console.commands` does it.

argparse, because it is there: typer alone would take longer to import than a question may take to answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

from console.failure import Failure
from control.steering import ERROR
from runtime.options import add_key_override

DESCRIPTION = "RAD, the KuCoin bot you can leave alone. Each command has its own --help."
EPILOG = (
    "./rad test [pytest arguments] runs every check of the project; ./rad campaign kills RAD over and over and "
    "judges it by the exchange's own record. Exit codes: 0 ok, 1 error, 2 not found, 3 daemon not running, "
    "4 configuration, 5 timeout; of run also 70 a thread is stuck, 75 another RAD has taken over."
)
# These understand their own arguments, --help included.
PASSED_THROUGH = ("run", "sandbox")


QUESTIONS = {
    "status": "how it is doing",
    "positions": "what is open, and what protects it",
    "opportunities": "what the latest scan found",
    "orders": "what rests on the exchange",
    "trades": "what was closed, and what came of it",
    "threads": "what every thread and lock is doing",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Failure(f"{message}; see ./{self.prog} --help", ERROR)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return what was said; `command` names the function to call.

    Prints help and raises SystemExit(0) when asked to, or when nothing was said.

    Raises:
        Failure: it makes no sense.
    """
    if argv and argv[0] in PASSED_THROUGH:
        return argparse.Namespace(command=argv[0], rest=list(argv[1:]))
    parser = _build()
    said = parser.parse_args(argv)
    if said.command is None:
        parser.print_help()
        sys.exit(0)
    return said


def _build() -> argparse.ArgumentParser:
    parser = _Parser(prog="rad", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_Parser)

    def command(name: str, summary: str, *, asks: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if asks:
            added.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
            added.add_argument("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")
        return added

    command("run", "run the daemon in the foreground", asks=False)
    for name, summary in QUESTIONS.items():
        asking = command(name, summary)
        _add_mode(asking, "whose journal to read when the daemon is down (default: the latest)")
        if name == "threads":
            asking.add_argument("--stacks", action="store_true", help="print where in the code each thread is")
        if name == "trades":
            asking.add_argument("--limit", type=_count, default=100, metavar="N",
                                help="how many of the latest (default: 100)")
    watching = command("top", "everything at a glance, on a terminal; keys steer", asks=False)
    watching.add_argument("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")
    opening = command("open", "open a position by hand, also while paused")
    _add_symbol(opening)
    opening.add_argument("--side", choices=("long", "short"), required=True)
    opening.add_argument("--notional", type=_amount, metavar="Q",
                         help="size in quote currency (default: as the scanner would)")
    _add_symbol(command("close", "close one position"))
    command("flatten", "close everything, and pause")
    command("pause", "open nothing from scanning any more; exits go on")
    command("resume", "open from scanning again")
    command("page", "print the address of the web page, with a code that logs in once").add_argument(
        "--open", action="store_true", dest="open_it", help="open it in the browser of this machine")
    report = command("report", "write equity, trades, results and problems from the journal into one HTML file")
    report.add_argument("--out", type=Path, metavar="FILE", help="(default: rad-report-MODE-DAY.html here)")
    report.add_argument("--days", type=_count, metavar="N", help="the last N days (default: all there is)")
    _add_mode(report, "whose journal (default: the latest)")
    scanning = command("scan", "scan once and print what is worth opening; opens nothing")
    scanning.add_argument("--once", action="store_true", required=True)
    _add_mode(scanning)
    _add_mode(command("verify", "compare journal and exchange; exit 0 only when they agree"))
    saving = command("backup", "save journals and settings to one file, also while the daemon runs")
    saving.add_argument("file", type=Path, nargs="?", metavar="FILE",
                        help="a new file (default: one in data_dir/backups, of which the latest 14 are kept)")
    command("restore", "put a backup in place, while no daemon runs; what it replaces is kept").add_argument(
        "file", type=Path, metavar="FILE")
    _add_operating(command)
    command("sandbox", "run RAD's own KuCoin alone", asks=False)
    _add_logs(command("logs", "what the daemon has written down, whether it runs or not"))
    command("notify-test", "send a message to each outlet and say what came of it")
    settings = command("config", "what is configured (show), and whether it is right (check)")
    settings.add_argument("what", choices=("show", "check"))
    return parser


def _add_operating(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands of whoever looks after RAD rather than after its trades."""
    from console import init_arguments, service_arguments

    examining = command("doctor", "look at everything that could be wrong: settings, key, exchange, machine")
    _add_mode(examining)
    add_key_override(examining)
    init_arguments.add_to(command("init", "ask what RAD has to know, try the key, write .env and config.yaml",
                                  asks=False))
    listing = command("blacklist", "which markets are never entered from scanning; one more, or one less")
    listing.add_argument("what", choices=("add", "remove"), nargs="?")
    _add_symbol(listing, nargs="?")
    command("reload", "have the daemon take in its settings as they are written now")
    service_arguments.add_to(command("install-service", "make RAD a service of this machine", asks=False))
    failed = command("service-failed", "what the service's alert runs: say that RAD is down", asks=False)
    failed.add_argument("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")


def _add_symbol(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument("symbol", metavar="SYMBOL", nargs=nargs,
                        help="BTC, BTC/USDT:USDT, or KuCoin's own XBTUSDTM")


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is being written")
    parser.add_argument("--level", choices=("debug", "info", "warning", "error", "fatal"),
                        default="debug", help="this and graver (default: debug)")
    parser.add_argument("--symbol", metavar="SYMBOL", help="lines about BTC, BTC/USDT or BTC/USDT:USDT only")
    parser.add_argument("--lines", type=_count, default=100, metavar="N",
                        help="how many of the latest (default: 100)")


def _add_mode(parser: argparse.ArgumentParser, summary: str = "instead of the configured one") -> None:
    parser.add_argument("--mode", choices=("sandbox", "paper", "live"), help=summary)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _amount(text: str) -> str:
    from control.fields import AMOUNT_DIGITS, LARGEST_AMOUNT, quoted

    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    # The bounds of the API too; written out, 1e999999999 would take the machine's memory.
    if not (value.is_finite() and 0 < value <= LARGEST_AMOUNT and _digits_after_point(value) <= AMOUNT_DIGITS):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a positive amount in quote currency")
    return format(value, "f")


def _digits_after_point(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
