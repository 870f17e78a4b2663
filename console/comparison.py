"""What `verify` looks like to a person: a table for each kind of thing, then every difference in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from console.tables import Column, show_note, show_table
from console.wording import NOTHING, plural, rounded, text, when

JsonObject = dict[str, Any]
Side = Callable[[JsonObject, Any], str]      # a row and what one side of it says

# What `control.verify_views` concludes.
_COLOURS = {"agree": "green", "differs": "bold red", "under way": "cyan", "not ours": "dim"}
_MONEY_DECIMALS = 4


def show_verify(facts: JsonObject) -> None:
    """Print both sides of everything, then what differs and why, then the verdict: it is what stays in sight."""
    for name, title, empty, side in _SECTIONS:
        if name in facts:
            show_table(_columns(side), facts[name], title=title, empty=empty)
    for each in facts.get("under_way") or ():
        show_note(f"{text(each.get('symbol'))}  under way: {text(each.get('what'))}; not judged.", (), "cyan")
    differences = facts.get("differences") or ()
    for each in differences:
        heading = f"{text(each.get('symbol'))}  {text(each.get('kind')).replace('_', ' ')}"
        show_note(heading, _explained(each), "bold red")
    for line in _beside(facts):
        show_note(line, (), "dim")
    if facts.get("agree"):
        show_note("Journal and exchange agree.", (), "bold green")
    else:
        many = plural(len(differences), "difference")
        show_note(f"Journal and exchange differ: {many}, explained above.", (), "bold red")


def _explained(difference: JsonObject) -> list[str]:
    if "meaning" not in difference:
        return [text(difference.get("text"))]
    order = difference.get("order_id")
    return [
        f"Journal: {text(difference.get('book'))}. Exchange: {text(difference.get('exchange'))}."
        + (f" Order {order}." if order else ""),
        difference["meaning"],
        text(difference.get("remedy")),
    ]


def _beside(facts: JsonObject) -> list[str]:
    """Return what was left out of the comparison, and why."""
    lines = []
    older, foreign = facts.get("older_trades"), facts.get("foreign_fills")
    if older:
        lines.append(f"{plural(older, 'trade')} began before {when(facts.get('since'))}: "
                     "their fees and PnL are not compared, for the exchange lists the fills of 24 hours.")
    if foreign:
        lines.append(f"{plural(foreign, 'fill')} of orders that are not RAD's: not compared.")
    return lines


def _columns(side: Side) -> tuple[Column, ...]:
    def one(name: str) -> Callable[[JsonObject], str]:
        return lambda row: NOTHING if row.get(name) is None else side(row, row[name])

    return (
        Column("symbol", lambda row: text(row.get("symbol") or "total"), style=_emphasis),
        Column("journal", one("journal"), right=True, style=_emphasis),
        Column("exchange", one("exchange"), right=True, style=_emphasis),
        Column("", lambda row: text(row.get("verdict")), style=lambda row: _COLOURS.get(row["verdict"], "")),
    )


def _emphasis(row: JsonObject) -> str:
    if row.get("verdict") == "differs":
        return "bold red"
    return "bold" if row.get("symbol") is None else ""


def _held(_row: JsonObject, said: Any) -> str:
    return f"{said['side']} {said['quantity']} at {said['entry_price']}"


def _stop(_row: JsonObject, said: Any) -> str:
    return f"at {said['stop_price']}"


def _order(_row: JsonObject, said: Any) -> str:
    if "purpose" in said:
        return f"{said['purpose']} {said['side']} {text(said['quantity'])}, {said['state'].replace('_', ' ')}"
    return f"{said['side']} {said['quantity']}, {said['filled_quantity']} filled"


def _traded(_row: JsonObject, said: Any) -> str:
    return f"{said['count']} for {rounded(said['value'])}"


def _money(row: JsonObject, said: Any) -> str:
    """Return an amount short enough to read; to the last digit where the digits are what it is about."""
    return str(said) if row.get("verdict") == "differs" else rounded(said, _MONEY_DECIMALS)


_SECTIONS: tuple[tuple[str, str, str, Side], ...] = (
    ("positions", "Open positions", "Open positions: none on either side.", _held),
    ("stops", "Stops on the exchange", "Stops on the exchange: none on either side.", _stop),
    ("orders", "Orders under way", "Orders under way: none on either side.", _order),
    ("fills", "Fills of 24 hours, and their value in USDT", "Fills of 24 hours: none on either side.", _traded),
    ("fees", "Fees of trades begun in 24 hours, USDT", "Fees: nothing traded in 24 hours.", _money),
    ("realised_pnl", "Realised PnL of the same trades before fees and funding, USDT",
     "Realised PnL: nothing traded in 24 hours.", _money),
)
