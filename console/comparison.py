"""What `verify` looks like to a person: a table for each kind of thing, then every difference in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from console.tables import Column, show_note, show_table
from console.wording import NOTHING, plural, price, rounded, text, when

JsonObject = dict[str, Any]
Side = Callable[[JsonObject, Any], str]      # a row and what one side of it says

# What `control.verify_views` concludes.
_COLOURS = {"agree": "green", "differs": "bold red", "under way": "cyan", "not ours": "dim"}
_MONEY_DECIMALS = 4


def show_verify(facts: JsonObject) -> None:
    """Print both sides of everything, then what differs and why, then the verdict: it is what stays in sight."""
    lines = list(_lines(facts))
    if lines:
        show_table(_COLUMNS, lines, title="Journal and exchange, side by side", empty="")
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


def _lines(facts: JsonObject) -> Iterator[JsonObject]:
    """Return the lines of the one table: a heading for each kind of thing, and its rows."""
    for name, heading, side in _SECTIONS:
        if name not in facts:
            continue                     # a daemon that tells less than this console can show
        rows = facts[name]
        none = "" if rows else "none"
        yield {"symbol": heading, "journal": none, "exchange": none, "verdict": "", "is_heading": True}
        for row in rows:
            yield row | {
                "symbol": "  " + text(row.get("symbol") or "total"),
                **{each: NOTHING if row.get(each) is None else side(row, row[each]) for each in _SIDES},
            }


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
    if facts.get("compared_by") == "console":
        lines.append("No daemon runs: what RAD mends with its next comparison it mends when it is started.")
    older, foreign = facts.get("older_trades"), facts.get("foreign_fills")
    awaiting = facts.get("awaiting_funding")
    if older:
        lines.append(f"Fees and PnL of {plural(older, 'trade')} begun before {when(facts.get('since'))}: "
                     "not compared, the exchange lists the fills of 24 hours.")
    if awaiting:
        lines.append(f"Funding of {plural(awaiting, 'trade')} closed in 24 hours: not known yet, not compared.")
    if foreign:
        lines.append(f"{plural(foreign, 'fill')} of orders that are not RAD's: not compared.")
    if facts.get("realised_pnl"):
        lines.append("PnL is what exits brought over their entries, before fees and funding; "
                     "fees and PnL are of trades begun in 24 hours, funding of those closed in them.")
    return lines


def _emphasis(row: JsonObject) -> str:
    if row.get("is_heading"):
        return "bold"
    return "bold red" if row.get("verdict") == "differs" else ""


def _held(_row: JsonObject, said: Any) -> str:
    return f"{said['side']} {said['quantity']} at {price(said['entry_price'])}"


def _stop(_row: JsonObject, said: Any) -> str:
    return f"at {price(said['stop_price'])}"


def _order(_row: JsonObject, said: Any) -> str:
    if "purpose" in said:
        return f"{said['purpose']} {said['side']} {text(said['quantity'])}, {said['state'].replace('_', ' ')}"
    return f"{said['side']} {said['quantity']}, {said['filled_quantity']} filled"


def _traded(_row: JsonObject, said: Any) -> str:
    return f"{said['count']} for {rounded(said['value'])}"


def _money(row: JsonObject, said: Any) -> str:
    """Return an amount short enough to read; to the last digit where the digits are what it is about."""
    return str(said) if row.get("verdict") == "differs" else rounded(said, _MONEY_DECIMALS)


_SECTIONS: tuple[tuple[str, str, Side], ...] = (
    ("positions", "Positions", _held),
    ("stops", "Stops", _stop),
    ("orders", "Orders", _order),
    ("fills", "Fills, 24 h", _traded),
    ("fees", "Fees, USDT", _money),
    ("realised_pnl", "PnL, USDT", _money),
    ("funding", "Funding, USDT", _money),
)
_SIDES = ("journal", "exchange")
_COLUMNS = (
    Column("", lambda row: text(row.get("symbol")), style=_emphasis),
    Column("journal", lambda row: str(row["journal"]), right=True, style=_emphasis),
    Column("exchange", lambda row: str(row["exchange"]), right=True, style=_emphasis),
    Column("", lambda row: str(row.get("verdict")), style=lambda row: _COLOURS.get(row["verdict"], "")),
)
