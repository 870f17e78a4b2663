"""How single values read on the screen. All take what JSON holds: strings, numbers, null."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

NOTHING = "–"
OLD_S = 60.0                   # the account is looked at every few seconds


def text(value: Any) -> str:
    """Return *value* as it is; a dash for nothing."""
    return NOTHING if value is None or value == "" else str(value)


def signed(value: Any, decimals: int = 2) -> str:
    """Return an amount with its sign: `+12.30`."""
    if value is None:
        return NOTHING
    number = Decimal(str(value))
    return f"{number:+,.{decimals}f}" if round(number, decimals) else f"{0:.{decimals}f}"


def earned(pnl: Any, misses_funding: object) -> str:
    """Return a result with its sign, and whether funding is still missing in it."""
    return f"{signed(pnl)}{' before funding' if misses_funding else ''}"


def earned_by(trade: Mapping[str, Any]) -> str:
    """Return what a closed trade brought, as JSON tells of it."""
    return earned(trade.get("realised_pnl"), trade.get("funding", "") is None)


def rounded(value: Any, decimals: int = 2) -> str:
    """Return an amount with thousands separated: `10,012.30`."""
    return NOTHING if value is None else f"{Decimal(str(value)):,.{decimals}f}"


def price(value: Any) -> str:
    """Return a price with eight digits that count; averages of fills have many more."""
    if value is None:
        return NOTHING
    number = Decimal(str(value))
    told = f"{number:.{max(0, 7 - number.adjusted())}f}"
    return told.rstrip("0").rstrip(".") if "." in told else told


def short(value: Any) -> str:
    """Return a large amount in three digits: `12.3M`."""
    if value is None:
        return NOTHING
    number = float(f"{float(value):.3g}")   # rounded first: 999,999 is 1M, not 1000k
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.4g}{letter}"
    return f"{number:g}"


def percent(value: Any, decimals: int = 3) -> str:
    """Return a fraction in percent: `0.012 %`."""
    return NOTHING if value is None else f"{float(value) * 100:.{decimals}f} %"


def when(value: Any) -> str:
    """Return an ISO time without its date if that is today (UTC): `14:03:27`."""
    if not value:
        return NOTHING
    then = _parsed(value)
    if then.date() == datetime.now(UTC).date():
        return then.strftime("%H:%M:%S")
    return then.strftime("%Y-%m-%d %H:%M")


def since(start: Any, end: Any = None) -> str:
    """Return how long it is from *start* to *end* or now: `2h 05m`."""
    if not start:
        return NOTHING
    until = _parsed(end) if end else datetime.now(UTC)
    return span((until - _parsed(start)).total_seconds())


def worth(facts: Mapping[str, Any]) -> str:
    """Return what the account is worth by what `status` says, and how old that is once it is old."""
    told = rounded(facts.get("equity"))
    if facts.get("equity") is not None and facts.get("last_seen_at"):
        return f"{told} ({since(facts['last_seen_at'])} old)"
    return aged(told, facts.get("equity_age_s"), OLD_S)


def aged(told: str, age_s: float | None, old_s: float) -> str:
    """Return *told*, with its age beside it if that is more than *old_s*."""
    return told if age_s is None or age_s <= old_s else f"{told} ({span(age_s)} old)"


def span(seconds: float) -> str:
    """Return a length of time: `2h 05m`."""
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02d}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {seconds:02d}s" if minutes else f"{seconds}s"


def plural(count: int, thing: str) -> str:
    """Return how many there are: `1 fill`, `3 fills`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def colour_of(value: Any) -> str:
    """Return green for a profit, red for a loss."""
    if value is None or not Decimal(str(value)):
        return ""
    return "green" if Decimal(str(value)) > 0 else "red"


def _parsed(value: str) -> datetime:
    then = datetime.fromisoformat(value)
    return then if then.tzinfo else then.replace(tzinfo=UTC)
