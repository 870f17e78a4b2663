"""The commands. Each imports what it needs when it runs: asking must stay quick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.daemon import ACT_TIMEOUT_S, Daemon
from console.failure import Failure, NotRunning
from console.patience import waiting
from console.where import CALLER, PROJECT, find_data_dir, from_caller
from control.steering import ERROR

if TYPE_CHECKING:
    from runtime.options import RunOptions

app = typer.Typer(
    name="rad",
    help="RAD, the KuCoin bot you can leave alone. ./rad test runs every check of the project.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="What is configured, and whether it is right.")
app.add_typer(config_app, name="config")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings instead of config.yaml.")
]
Symbol = Annotated[str, typer.Argument(help="BTC/USDT:USDT, or KuCoin's own XBTUSDTM.")]
PASSED_THROUGH: Any = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=PASSED_THROUGH)
def run(context: typer.Context) -> None:
    """Run the daemon in the foreground; see ./rad run --help."""
    from runtime.options import parse_run_options

    options = parse_run_options(context.args, CALLER)
    import bot

    raise typer.Exit(bot.run(options))


@app.command()
def status(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """How it is doing."""
    from console.screens import show_status

    _tell(_ask_or_read("status", config), as_json, show_status)


@app.command()
def positions(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """What is open, and what protects it."""
    from console.screens import show_positions

    _tell(_ask_or_read("positions", config), as_json, show_positions)


@app.command()
def trades(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the latest.")] = 100,
    config: ConfigFile = None,
) -> None:
    """What was closed, and what came of it."""
    from console.screens import show_trades

    _tell(_ask_or_read("trades", config, limit=limit), as_json, show_trades)


@app.command()
def opportunities(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """What the latest scan found. Needs the running daemon."""
    from console.screens import show_opportunities

    _tell(_daemon(config).ask("opportunities"), as_json, show_opportunities)


@app.command()
def orders(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """What rests on the exchange; with the daemon down, what the journal knows of."""
    from console.screens import show_orders

    _tell(_ask_or_read("orders", config), as_json, show_orders)


@app.command()
def threads(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """What every thread and lock is doing. Needs the running daemon."""
    from console.screens import show_threads

    _tell(_daemon(config).ask("threads"), as_json, show_threads)


@app.command(name="open")
def open_(
    symbol: Symbol,
    side: Annotated[str, typer.Option(help="long or short.", metavar="long|short")],
    notional: Annotated[
        str | None, typer.Option(metavar="Q", help="Size in quote currency; the usual size if not said.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Open a position by hand, also while paused."""
    if side not in ("long", "short"):
        raise Failure(f"--side must be long or short, not {side!r}", ERROR)
    body: dict[str, object] = {"symbol": symbol, "side": side}
    if notional is not None:
        body["notional"] = _positive(notional)
    _act("open", f"opening {symbol}", as_json, config, **body)


@app.command()
def close(symbol: Symbol, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Close one position."""
    _act("close", f"closing {symbol}", as_json, config, symbol=symbol)


@app.command()
def flatten(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Close everything, and pause."""
    _act("flatten", "closing everything", as_json, config)


@app.command()
def pause(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Open nothing from scanning any more; exits go on."""
    _act("pause", "pausing", as_json, config)


@app.command()
def resume(as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Open from scanning again."""
    _act("resume", "resuming", as_json, config)


@app.command()
def scan(
    once: Annotated[bool, typer.Option("--once", help="One scan, printed.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    mode: Annotated[str | None, typer.Option(help="sandbox, paper or live.")] = None,
) -> None:
    """Scan once and print what is worth opening; opens nothing."""
    if not once:
        raise Failure("say ./rad scan --once; the daemon (./rad run) scans all the time", ERROR)
    from console.screens import show_opportunities

    with redirect_stdout(sys.stderr), waiting("scanning"):
        import bot

        found = bot.scan_once(_options(mode, config))
    _tell(found, as_json, show_opportunities)


@app.command()
def verify(
    as_json: AsJson = False,
    config: ConfigFile = None,
    mode: Annotated[str | None, typer.Option(help="sandbox, paper or live; when the daemon is down.")] = None,
) -> None:
    """Compare journal and exchange; exit 0 only when they agree."""
    from console.screens import show_verify

    with redirect_stdout(sys.stderr), waiting("comparing"):
        try:
            facts = _daemon(config).ask("verify", timeout_s=ACT_TIMEOUT_S)
        except NotRunning:
            import bot

            facts = bot.verify(_options(mode, config))
    _tell(facts, as_json, show_verify)
    if not facts.get("agree"):
        raise typer.Exit(ERROR)


@app.command(context_settings=PASSED_THROUGH)
def sandbox(context: typer.Context) -> None:
    """Run RAD's own KuCoin alone: [--port …]; its other options: ./rad sandbox --help."""
    # -P and PYTHONPATH: the sandbox runs where the caller is, so its file arguments mean the caller's.
    os.chdir(CALLER)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "sandbox", *context.args], environment)


def _daemon(config: Path | None) -> Daemon:
    return Daemon(find_data_dir(config))


def _ask_or_read(name: str, config: Path | None, **query: int) -> Any:
    """Ask the daemon; when there is none, its journal."""
    data_dir = find_data_dir(config)
    try:
        return Daemon(data_dir).ask(name, **query)
    except NotRunning:
        from console.aftermath import read

        return read(name, data_dir, **query)


def _options(mode: str | None, config: Path | None) -> RunOptions:
    from runtime.options import RunOptions

    return RunOptions(mode=mode, config=from_caller(config))


def _act(name: str, doing: str, as_json: bool, config: Path | None, **body: object) -> None:
    with waiting(doing):
        answer = _daemon(config).tell(name, **body)
    _tell(answer, as_json, lambda facts: print(facts.get("message") or _in_words(facts)))


def _in_words(facts: dict[str, Any]) -> str:
    said = (f"{key}={value}" for key, value in facts.items() if not isinstance(value, dict | list))
    return " ".join(said) or "done"


def _tell(facts: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        show(facts)


def _positive(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    if not (value.is_finite() and value > 0):
        raise Failure(f"--notional must be a positive amount in quote currency, not {text!r}", ERROR)
    return format(value, "f")
