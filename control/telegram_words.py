"""What Telegram's commands answer: a few lines that fit a phone, made from what the API answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from control.steering import JsonObject, NotFound, Steering

HELP = "\n".join((
    "/status how it is doing",
    "/positions what is open",
    "/profit what came of it so far",
    "/daily the last seven days",
    "/opportunities what the latest scan found",
    "/threads what makes progress",
    "/verify compare journal and exchange",
    "/pause enter nothing any more; exits go on",
    "/resume enter again",
    "/close BTC close one position",
    "/flatten close everything; asks for a code first",
))
DAYS = 7
MOST_TRADES = 2_000            # that /profit and /daily look at
MOST_ROWS = 15
OLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Asking:
    """A question: how it is answered, and the call of the API it is as urgent as."""

    route: str
    answer: Callable[[Steering], str]


def say_status(steering: Steering) -> str:
    """Return the state, the account and what is wrong."""
    facts = steering.status()
    lines = [
        f"{facts['state']}, {facts['mode']} {facts['market']}, version {facts['version']}",
        f"equity {_money(facts.get('equity'))}{_old(facts.get('equity_age_s'))}, {facts['positions']} open, "
        f"{facts['protected']} with a stop on the exchange",
    ]
    if facts.get("entries_blocked"):
        lines.append(f"nothing is entered: {facts['entries_blocked']}")
    lines += [f"! {problem}" for problem in facts.get("problems") or ()]
    return "\n".join(lines)


def say_positions(steering: Steering) -> str:
    """Return each position in a line or two; its second stop is the one on the exchange."""
    rows = steering.positions()
    return _listed([
        f"{row['symbol']} {row['side']} {row['quantity']} at {row['entry_price']}: "
        f"{_signed(row['unrealised_pnl'])} ({_signed(row['r_multiple'])} R){_old(row.get('price_age_s'))}, "
        f"stop {row['stop_price']}, "
        f"there {row['exchange_stop_price'] if row['protected'] else 'NONE'}"
        for row in rows
    ], "nothing is open")


def say_profit(steering: Steering) -> str:
    """Return what all trades earned, and the latest ones."""
    facts, trades = steering.status(), steering.trades(MOST_TRADES)
    wins = sum(Decimal(trade["realised_pnl"]) > 0 for trade in trades)
    lines = [
        f"{len(trades)} trades, {wins} won, {_earned(trades)}, after fees; equity "
        f"{_money(facts.get('equity'))}",
        *(
            f"{trade['symbol']} {trade['side']} {trade['exit_reason']}: {_earned([trade])}"
            for trade in trades[:5]
        ),
    ]
    return "\n".join(lines)


def say_daily(steering: Steering) -> str:
    """Return what each of the latest days with trades earned, newest first."""
    days: dict[str, list[JsonObject]] = {}
    for trade in steering.trades(MOST_TRADES):
        days.setdefault(str(trade["closed_at"])[:10], []).append(trade)
    return _listed([
        f"{day}: {len(trades)} trades, {_earned(trades)}"
        for day, trades in sorted(days.items(), reverse=True)[:DAYS]
    ], "no trades yet")


def say_opportunities(steering: Steering) -> str:
    """Return what the latest scan found, best first."""
    return _listed([
        f"{row['symbol']} {row['side']} {_rounded(row['score'])}: {', '.join(row.get('reasons') or ())}"
        for row in steering.opportunities()
    ], "the latest scan found nothing")


def say_threads(steering: Steering) -> str:
    """Return which threads do not get on or have stumbled; the others are only counted."""
    rows = steering.threads()["threads"]
    notable = [row for row in rows if row["state"] != "running" or row.get("failures") or row.get("restarts")]
    well = sum(row["state"] == "running" for row in rows)
    return "\n".join([f"{well} of {len(rows)} threads get on", *map(_thread, notable)])


def say_verify(steering: Steering) -> str:
    """Return whether journal and exchange agree, and where not."""
    facts = steering.verify()
    if facts.get("agree"):
        return "journal and exchange agree"
    found = [f"! {each['text']}" for each in facts["differences"]]
    return f"journal and exchange do NOT agree\n{_listed(found, '')}"


ASKING = {
    "status": Asking("status", say_status),
    "positions": Asking("positions", say_positions),
    "profit": Asking("trades", say_profit),
    "daily": Asking("trades", say_daily),
    "opportunities": Asking("opportunities", say_opportunities),
    "threads": Asking("threads", say_threads),
    "verify": Asking("verify", say_verify),
}


def say_paused(facts: JsonObject) -> str:
    """Return what a pause or its end came to."""
    return "paused: nothing is entered, exits go on" if facts["paused"] else "resumed"


def say_closed(trade: JsonObject) -> str:
    """Return what one close came to."""
    return (
        f"closed {trade['symbol']} {trade['side']} at {trade['exit_price']}: {_earned([trade])}"
        f" ({_signed(trade['r_multiple'])} R)"
    )


def say_flattened(facts: JsonObject) -> str:
    """Return what was closed and what was not."""
    closed, failed = facts["closed"], facts["failed"]
    lines = [f"paused; {len(closed)} closed, {_earned(closed)}"]
    return "\n".join([*lines, *(f"! {failure}" for failure in failed)])


def find_symbol(wanted: str, positions: Sequence[JsonObject]) -> str:
    """Return the symbol somebody means who types on a phone: BTC, btc/usdt, or the whole of it.

    Raises:
        NotFound: several positions could be meant.
    """
    typed = wanted.upper()
    symbols = [str(row["symbol"]) for row in positions]
    if typed in (symbol.upper() for symbol in symbols):
        return next(symbol for symbol in symbols if symbol.upper() == typed)
    meant = [
        symbol for symbol in symbols
        if typed in (symbol.partition("/")[0].upper(), symbol.partition(":")[0].upper())
    ]
    if len(meant) > 1:
        raise NotFound(f"{wanted} may be {' or '.join(meant)}")
    return meant[0] if meant else wanted


def _listed(lines: list[str], empty: str) -> str:
    if not lines:
        return empty
    more = len(lines) - MOST_ROWS
    return "\n".join([*lines[:MOST_ROWS], *([f"… and {more} more"] if more > 0 else [])])


def _thread(row: JsonObject) -> str:
    word = row["state"] if row["state"] == "running" else str(row["state"]).upper()
    counted = f"{row['failures']} failures, {row['restarts']} restarts"
    return f"{row['name']} {word}: {counted} {row['last_error']}".rstrip()


def _earned(trades: Sequence[JsonObject]) -> str:
    """Return what trades came to, and whether the funding of one is still missing in it."""
    made = sum((Decimal(trade["realised_pnl"]) for trade in trades), Decimal(0))
    return _signed(made) + (" before funding" if any(trade["funding"] is None for trade in trades) else "")


def _money(said: Any) -> str:
    return "unknown" if said is None else f"{Decimal(str(said)):.2f}"


def _old(age_s: Any) -> str:
    """Return how long ago that was, where it is longer than a look takes."""
    return f" {age_s / 60:.0f} min ago" if age_s is not None and age_s > OLD_S else ""


def _signed(said: Any) -> str:
    return "?" if said is None else f"{Decimal(str(said)):+.2f}"


def _rounded(said: Any) -> str:
    return "?" if said is None else f"{Decimal(str(said)):.2f}"
