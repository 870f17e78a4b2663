"""What each command does. Each imports what it needs when it runs: asking must stay quick."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from console.daemon import ACT_TIMEOUT_S, ASK_TIMEOUT_S, Daemon
from console.failure import Failure, NotRunning
from console.patience import waiting
from console.where import CALLER, PROJECT, Place, find_place, from_caller
from control.steering import ERROR, NOT_RUNNING, OK
from runtime.memory import loading

if TYPE_CHECKING:
    from runtime.options import RunOptions


def perform(said: Namespace) -> int:
    """Do what was said; return the exit code."""
    return COMMANDS[said.command](said)


def run(said: Namespace) -> int:
    """The daemon itself, in this process."""
    from runtime.options import parse_run_options

    options = parse_run_options(said.rest, CALLER)
    with loading():
        import bot

    return bot.run(options)


def sandbox(said: Namespace) -> int:
    """The exchange alone, as a process in this one's place."""
    # -P and PYTHONPATH: it runs where the caller is, so its file arguments mean the caller's.
    os.chdir(CALLER)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "sandbox", *said.rest], environment)


def ask(said: Namespace) -> int:
    """Ask the daemon; without one, what it left behind answers where it can."""
    query = {"limit": said.limit} if said.command == "trades" else {}
    if said.command == "threads" and said.stacks:
        query = {"stacks": 1}
    # Orders are the exchange's to tell, so the daemon may need its time.
    timeout_s = ACT_TIMEOUT_S if said.command == "orders" else ASK_TIMEOUT_S
    place = find_place(from_caller(said.config), said.mode)
    try:
        facts = Daemon(place.data_dir).ask(said.command, timeout_s=timeout_s, **query)
    except NotRunning:
        return _ask_the_journal(said, place, query)
    _tell(facts, said)
    return OK


def _ask_the_journal(said: Namespace, place: Place, query: dict[str, int]) -> int:
    """Answer from what the last daemon left behind, and say that it is that."""
    from console.aftermath import ANSWERS, read

    if said.command not in ANSWERS:
        raise NotRunning(said.command)
    _tell(read(said.command, place, **query), said)
    if said.command == "status":
        return NOT_RUNNING           # it says so itself; and whoever only looks at the code sees it too
    if not said.as_json:
        print("rad: the daemon is not running: this is how its journal stood when it ended", file=sys.stderr)
    return OK


def act(said: Namespace) -> int:
    """Have the daemon do something, and wait until it is done."""
    body = {key: getattr(said, key) for key in ("symbol", "side", "notional") if getattr(said, key, None)}
    with waiting(f"{said.command} {body.get('symbol', '')}".rstrip()):
        answer = Daemon(find_place(from_caller(said.config)).data_dir).tell(said.command, **body)
    _tell(answer, said)
    return ERROR if answer.get("failed") else OK


def page(said: Namespace) -> int:
    """Where to look at it all in a browser."""
    from console.opening_page import open_browser, page_of, show

    facts = page_of(find_place(from_caller(said.config)).data_dir)
    opened = said.open_it and open_browser(facts["url"])
    if said.as_json:
        print(json.dumps(facts | {"opened": opened}, indent=2, ensure_ascii=False))
    else:
        show(facts, opened=opened)
    return OK


def report(said: Namespace) -> int:
    """The same story as one file, from the journal: no daemon is needed."""
    from console.report import make

    with waiting("writing the report"):
        told = make(said, find_place(from_caller(said.config), said.mode), CALLER)
    print(json.dumps(told, indent=2, ensure_ascii=False) if said.as_json else f"Written: {told['file']}")
    return OK


def scan(said: Namespace) -> int:
    """One scan, in this process; of the daemon's market where one runs."""
    with redirect_stdout(sys.stderr), waiting("scanning"):
        with loading():
            import bot

        found = bot.scan_once(_options(said), _running(said))
    _tell(found, said, show="opportunities")
    return OK


def verify(said: Namespace) -> int:
    """Journal against exchange: the daemon compares, or this process where there is none."""
    with redirect_stdout(sys.stderr), waiting("comparing journal and exchange"):
        try:
            daemon = Daemon(find_place(from_caller(said.config)).data_dir)
            facts = daemon.ask("verify", timeout_s=ACT_TIMEOUT_S)
        except NotRunning:
            with loading():
                import bot

            facts = bot.verify(_options(said))
    _tell(facts, said)
    return OK if facts.get("agree") else ERROR


def top(said: Namespace) -> int:
    """The terminal dashboard, until somebody quits."""
    from console.top import run as show

    place = find_place(from_caller(said.config))
    return show(place.data_dir, place.log_file)


def backup(said: Namespace) -> int:
    """What must survive, in one file."""
    from console import backup as saving

    file = from_caller(said.config)
    with waiting("copying and checking"):
        _tell(saving.backup(find_place(file), file, from_caller(said.file)), said)
    return OK


def restore(said: Namespace) -> int:
    """A backup in place of what is there."""
    from console import restore as restoring

    file = from_caller(said.config)
    with waiting("checking and restoring"):
        _tell(restoring.restore(find_place(file), file, CALLER / said.file), said)
    return OK


def doctor(said: Namespace) -> int:
    """Everything a person could have got wrong, a line each."""
    from console.checkup import tell

    with redirect_stdout(sys.stderr), waiting("examining"):
        with loading():
            import bot

        facts = bot.doctor(replace(_options(said), any_key=said.any_key))
    return tell(facts, as_json=said.as_json)


def init(said: Namespace) -> int:
    """Ask what RAD has to know, try it, write it down."""
    from console.init import init as ask_and_write

    return ask_and_write(said)


def install_service(said: Namespace) -> int:
    """RAD as a service of this machine."""
    from console.install_service import install

    return install(said)


def service_failed(said: Namespace) -> int:
    """What systemd runs when it starts RAD no more."""
    from console.service_failed import tell_everybody

    return tell_everybody(find_place(from_caller(said.config)))


def reload(said: Namespace) -> int:
    """Have the daemon take in its settings file as it is now."""
    answer = Daemon(find_place(from_caller(said.config)).data_dir).tell("reload")
    _tell(answer, said)
    return OK


def blacklist(said: Namespace) -> int:
    """The markets never entered from scanning; or one more or less of them."""
    if (said.what is None) != (said.symbol is None):
        raise Failure("write add or remove, and which SYMBOL", ERROR)
    daemon = Daemon(find_place(from_caller(said.config)).data_dir)
    if said.what is None:
        _tell(daemon.ask("blacklist"), said)
    else:
        _tell(daemon.tell(f"blacklist/{said.what}", symbol=said.symbol), said)
    return OK


def config(said: Namespace) -> int:
    """The settings, each with where it came from; or all their faults."""
    from console.settings_report import check, show

    return (show if said.what == "show" else check)(from_caller(said.config), as_json=said.as_json)


def notify_test(said: Namespace) -> int:
    """One message to each outlet, and what came of it."""
    from console.notify_test import notify_test

    with waiting("sending"):
        return notify_test(from_caller(said.config), as_json=said.as_json)


def logs(said: Namespace) -> int:
    """What the daemon has written down, and with -f what it writes."""
    from console.logs import logs
    from runtime.log_files import WORDS, Wanted

    wanted = Wanted(level=WORDS[said.level], symbol=said.symbol or "")
    return logs(
        from_caller(said.config), wanted=wanted, count=said.lines, follow=said.follow, as_json=said.as_json
    )


def _running(said: Namespace) -> Any:
    """Return the daemon's status; None where none runs, or it is too busy to say."""
    try:
        return Daemon(find_place(from_caller(said.config)).data_dir).ask("status")
    except Failure:
        return None


def _options(said: Namespace) -> RunOptions:
    from runtime.options import RunOptions

    # Neither a scan nor a comparison sends an order, so live need not be said twice.
    return RunOptions(mode=said.mode, live=True, config=from_caller(said.config))


def _tell(facts: Any, said: Namespace, show: str = "") -> None:
    if said.as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    from console.screens import SCREENS

    SCREENS[show or said.command](facts)


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "run": run, "sandbox": sandbox, "scan": scan, "verify": verify, "config": config,
    "page": page, "report": report, "top": top, "backup": backup, "restore": restore,
    "notify-test": notify_test, "logs": logs, "blacklist": blacklist,
    "doctor": doctor, "init": init, "reload": reload, "install-service": install_service,
    "service-failed": service_failed,
    **dict.fromkeys(("status", "positions", "opportunities", "orders", "trades", "threads"), ask),
    **dict.fromkeys(("open", "close", "flatten", "pause", "resume"), act),
}
