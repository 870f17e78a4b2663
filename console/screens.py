"""What each question's answer looks like to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from console.comparison import show_verify
from console.tables import Column, show_facts, show_table
from console.threads import show_threads
from console.wording import (
    NOTHING,
    aged,
    colour_of,
    earned_by,
    percent,
    rounded,
    short,
    signed,
    since,
    text,
    when,
    worth,
)

JsonObject = dict[str, Any]

OLD_PRICE_S = 10.0             # ticks come every second; what hangs on an older price is no result of now

STATE_COLOURS = {
    "running": "bold green", "starting": "bold cyan", "paused": "bold yellow", "degraded": "bold yellow",
    "stopping": "bold yellow", "down": "bold red",
}


def _side_colour(row: JsonObject) -> str:
    return "green" if row.get("side") in ("long", "buy") else "red"


def _get(key: str) -> Any:
    return lambda row: text(row.get(key))


SYMBOL = Column("symbol", _get("symbol"))
SIDE = Column("side", _get("side"), style=_side_colour)
QUANTITY = Column("quantity", _get("quantity"), right=True, spare=4)
ENTRY = Column("entry", _get("entry_price"), right=True, spare=3)
R = Column("R", lambda row: signed(row.get("r_multiple")), right=True,
           style=lambda row: colour_of(row.get("r_multiple")))

POSITIONS = (
    SYMBOL, SIDE, QUANTITY, ENTRY,
    Column("price", lambda row: aged(text(row.get("price")), row.get("price_age_s"), OLD_PRICE_S), right=True),
    Column("stop", _get("stop_price"), right=True),
    Column("on exchange", lambda row: text(row["exchange_stop_price"]) if row.get("protected") else "NONE",
           right=True, style=lambda row: "" if row.get("protected") else "bold red"),
    R,
    Column("PnL", lambda row: signed(row.get("unrealised_pnl")), right=True,
           style=lambda row: colour_of(row.get("unrealised_pnl"))),
    Column("open for", lambda row: since(row.get("opened_at")), right=True, spare=1),
)

OPPORTUNITIES = (
    SYMBOL, SIDE,
    Column("score", lambda row: rounded(row.get("score")), right=True),
    Column("price", _get("price"), right=True),
    Column("spread", lambda row: percent(row.get("spread")), right=True, spare=1),
    Column("volume 24h", lambda row: short(row.get("volume_24h")), right=True, spare=3),
    Column("candle", lambda row: when(row.get("candle_at")), right=True, spare=4),
    Column("strategy", _get("strategy")),
    Column("because", lambda row: ", ".join(row.get("reasons") or ()) or NOTHING, grows=True, spare=2),
)

ORDERS = (
    Column("placed", lambda row: when(row.get("created_at"))),
    SYMBOL, SIDE,
    Column("purpose", _get("purpose")),
    Column("quantity", lambda row: "all" if row.get("close_order") else text(row.get("quantity")),
           right=True),
    Column("filled", _get("filled_quantity"), right=True, spare=1),
    Column("stop", _get("stop_price"), right=True),
    Column("client id", _get("client_oid"), spare=2),
)

TRADES = (
    Column("closed", lambda row: when(row.get("closed_at"))),
    SYMBOL, SIDE, QUANTITY, ENTRY,
    Column("exit", _get("exit_price"), right=True, spare=1),
    Column("reason", lambda row: text(row.get("exit_reason")).replace("_", " ")),
    R,
    Column("PnL", earned_by, right=True,
           style=lambda row: colour_of(row.get("realised_pnl"))),
    Column("fee", lambda row: rounded(row.get("fee")), right=True, spare=3),
    Column("held", lambda row: since(row.get("opened_at"), row.get("closed_at")), right=True, spare=2),
)


def show_positions(rows: Sequence[JsonObject]) -> None:
    show_table(POSITIONS, rows, title="Open positions", empty="No open positions.")


def show_opportunities(rows: Sequence[JsonObject]) -> None:
    show_table(OPPORTUNITIES, rows, title="Opportunities", empty="No opportunities in the latest scan.")


def show_orders(rows: Sequence[JsonObject]) -> None:
    show_table(ORDERS, rows, title="Orders on the exchange", empty="No orders on the exchange.")


def show_trades(rows: Sequence[JsonObject]) -> None:
    show_table(TRADES, rows, title="Closed trades, newest first", empty="No closed trades yet.")


def show_status(facts: JsonObject) -> None:
    """Print the status: the common facts first, then each problem on a line of its own."""
    state = text(facts.get("state"))
    positions, protected = facts.get("positions") or 0, facts.get("protected") or 0
    lines = [
        ("state", state, STATE_COLOURS.get(state, "")),
        ("mode", f"{text(facts.get('mode'))}, {text(facts.get('market'))}",
         "bold red" if facts.get("mode") == "live" else ""),
        *(("entries", f"none: {why}", "bold yellow") for why in [facts.get("entries_blocked")] if why),
        ("equity", worth(facts), ""),
        ("positions", f"{positions}, {protected} of them protected on the exchange" if positions else "none",
         "bold red" if protected < positions else ""),
        ("exit latency", _latency(facts.get("exit_latency_ms")), ""),
        ("exit stages", _stages(facts.get("exit_latency_ms")), ""),
        ("without stop", _latency(facts.get("protection_gap_ms")), ""),
        *((f"rate {pool}", _rate(use), "") for pool, use in (facts.get("rate") or {}).items()),
        ("version", text(facts.get("version")), ""),
        *(("problem", text(problem), "bold red") for problem in facts.get("problems") or ()),
    ]
    show_facts(lines, title="RAD")


def show_opened(facts: JsonObject) -> None:
    stop = facts.get("exchange_stop_price")
    protection = f"stop {stop} on the exchange" if facts.get("protected") else "NO stop on the exchange yet"
    print(f"Opened {facts.get('side')} {facts.get('quantity')} {facts.get('symbol')} "
          f"at {facts.get('entry_price')}, {protection}.")


def show_closed(facts: JsonObject) -> None:
    print(f"Closed {facts.get('side')} {facts.get('quantity')} {facts.get('symbol')} "
          f"at {facts.get('exit_price')}, PnL {earned_by(facts)}.")


def show_flattened(facts: JsonObject) -> None:
    for trade in facts.get("closed") or ():
        show_closed(trade)
    for failure in facts.get("failed") or ():
        print(f"NOT closed: {failure}")
    if not facts.get("closed") and not facts.get("failed"):
        print("Nothing was open.")
    print("Paused: no entries from scanning until ./rad resume.")


def show_paused(facts: JsonObject) -> None:
    if facts.get("paused"):
        print("Paused: no entries from scanning until ./rad resume; exits go on.")
    else:
        print("Resumed: entries from scanning again.")


def show_blacklist(facts: JsonObject) -> None:
    """What is on it, one a line."""
    print("\n".join(facts["symbols"]) or "nothing is on the black list")


def show_backup(facts: JsonObject) -> None:
    for member in facts["members"]:
        print(f"  {member['name']:<28} {short(member['size'])}B")
    print(f"Backed up to {facts['file']} ({short(facts['size'])}B), read back and found whole.")
    if facts["hidden_passwords"]:
        print("The passwords in config.yaml's addresses were left out: note them elsewhere.")


def show_restored(facts: JsonObject) -> None:
    for file in facts["restored"]:
        print(f"Restored {file}, as of {facts['made_at']}.")
    print(f"What was there before is kept in {facts['kept']}." if facts["kept"] else "Nothing was there before.")
    if facts["settings"]:
        print(f"The backup's settings differ from yours or you had none: they are in {facts['settings']}.")
    if facts["hidden_passwords"]:
        print("The passwords in their addresses were left out of the backup: fill them in where it says ***.")
    print("Now ./rad verify compares the journal with the exchange; ./rad run reconciles the two.")


def show_reloaded(facts: JsonObject) -> None:
    for row in facts["changed"]:
        print(f"{row['key']}: {row['from']} -> {row['to']}")
    if facts["needs_restart"]:
        print(f"Left as it was, because it needs a restart: {', '.join(facts['needs_restart'])}")
    if not facts["changed"] and not facts["needs_restart"]:
        print("Nothing has changed.")


SCREENS: dict[str, Any] = {
    "reload": show_reloaded, "blacklist": show_blacklist,
    "status": show_status, "positions": show_positions, "opportunities": show_opportunities,
    "orders": show_orders, "trades": show_trades, "threads": show_threads, "verify": show_verify,
    "open": show_opened, "close": show_closed, "flatten": show_flattened, "pause": show_paused,
    "resume": show_paused, "backup": show_backup, "restore": show_restored,
}


def _latency(figures: Any) -> str:
    if not isinstance(figures, dict):
        return NOTHING if figures is None else f"{figures} ms"
    said = [f"{name} {figures[name]:g} ms" for name in ("p50", "p99", "max") if figures.get(name) is not None]
    if figures.get("late"):
        said.append(f"{figures['late']} over the budget")
    return ", ".join(said) or NOTHING


def _stages(figures: Any) -> str:
    stages = figures.get("stages") if isinstance(figures, dict) else None
    if not isinstance(stages, dict):
        return NOTHING
    said = (f"{name} {found['p99']:g} ms" for name, found in stages.items() if found.get("p99") is not None)
    return ", ".join(said) + " (p99)" if stages else NOTHING


def _rate(use: Any) -> str:
    if not isinstance(use, dict):
        return text(use)
    return ", ".join(f"{name.replace('_', ' ')} {text(value)}" for name, value in use.items())
