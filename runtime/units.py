"""Quantities as people write them (`2%`, `250ms`, `2.5 atr`) to numbers and back, exactly."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from trading.exits import Distance

NONE = "none"

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_THOUSANDS = {"": Decimal(1), "k": Decimal(1_000), "M": Decimal(1_000_000), "B": Decimal(1_000_000_000)}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_MONEY = re.compile(r"(-?\d[\d_]*(?:\.\d+)?)\s*([kMB]?)")
_ATR = re.compile(r"(\d+(?:\.\d+)?)\s*(?:x\s*)?atr", re.IGNORECASE)


def parse_ratio(said: Any) -> Decimal:
    """Return a fraction from `2%` or `0.02`."""
    text = _text(said)
    number = _number(text[:-1].rstrip() if text.endswith("%") else text)
    if number is None:
        raise ValueError(f"{_quoted(said)} is not a ratio; write 2% or 0.02")
    return number / 100 if text.endswith("%") else number


def parse_seconds(said: Any) -> float:
    """Return seconds from `250ms`, `10s`, `30m`, `4h` or `1d`; zero needs no unit."""
    text = _text(said)
    if _number(text) == 0:
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        hint = f"{text}s or {text}m" if _number(text) is not None else "250ms, 10s, 30m, 4h or 1d"
        fault = "has no unit" if _number(text) is not None else "is not a length of time"
        raise ValueError(f"{_quoted(said)} {fault}; write {hint}")
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def parse_distance(said: Any) -> Distance:
    """Return a distance from `2%`, `0.02` or `2.5 atr`."""
    if isinstance(said, Distance):
        return said
    match = _ATR.fullmatch(_text(said))
    try:
        distance = Distance(fraction=parse_ratio(said)) if match is None else Distance(atr=Decimal(match[1]))
    except ValueError:
        raise ValueError(f"{_quoted(said)} is not a ratio; write 2% or 0.02, or 2.5 atr") from None
    if size_of(distance) <= 0:
        raise ValueError(f"{_quoted(said)} is no distance; write 2% or 0.02, or 2.5 atr")
    if distance.fraction is not None and distance.fraction >= 1:
        raise ValueError(f"{_quoted(said)} is the whole price or more; write 2% or 0.02, or 2.5 atr")
    return distance


def size_of(distance: Distance) -> Decimal:
    """Return its number, whatever it counts."""
    return next(number for number in (distance.fraction, distance.atr) if number is not None)


def parse_money(said: Any) -> Decimal:
    """Return an amount from `1000`, `1_000`, `500k` or `2.5M`."""
    match = _MONEY.fullmatch(_text(said))
    if match is None:
        raise ValueError(f"{_quoted(said)} is not an amount; write 1000, 1_000, 500k or 2.5M")
    return Decimal(match[1].replace("_", "")) * _THOUSANDS[match[2]]


def show_ratio(ratio: Decimal) -> str:
    """Return a fraction as a percentage."""
    return f"{_plain(ratio * 100)}%"


def show_seconds(seconds: float) -> str:
    """Return a length of time in the largest unit that needs no fraction."""
    exact = Decimal(str(seconds))
    if not exact:
        return "0"
    for unit in ("d", "h", "m", "s", "ms"):
        count = exact / _SECONDS[unit]
        if count == count.to_integral_value():
            return f"{_plain(count)}{unit}"
    return f"{_plain(exact)}s"


def show_distance(distance: Distance) -> str:
    """Return a distance as `parse_distance` reads it."""
    if distance.atr is not None:
        return f"{_plain(distance.atr)} atr"
    return show_ratio(size_of(distance))


def show_money(amount: Decimal) -> str:
    """Return an amount without an exponent."""
    return _plain(amount)


def is_off(said: Any) -> bool:
    """Whether *said* switches a rule off."""
    return said is None or (isinstance(said, str) and said.strip().lower() in {NONE, "null", "~"})


def _or_none(parse: Any) -> Any:
    return lambda said: None if is_off(said) else parse(said)


def _show_or_none(show: Any) -> Any:
    return lambda value: NONE if value is None else show(value)


Ratio = Annotated[Decimal, BeforeValidator(parse_ratio), PlainSerializer(show_ratio, return_type=str)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), PlainSerializer(show_seconds, return_type=str)]
Money = Annotated[Decimal, BeforeValidator(parse_money), PlainSerializer(show_money, return_type=str)]
ADistance = Annotated[
    Distance, BeforeValidator(parse_distance), PlainSerializer(show_distance, return_type=str)
]
RatioOrNone = Annotated[
    Decimal | None, BeforeValidator(_or_none(parse_ratio)),
    PlainSerializer(_show_or_none(show_ratio), return_type=str),
]
SecondsOrNone = Annotated[
    float | None, BeforeValidator(_or_none(parse_seconds)),
    PlainSerializer(_show_or_none(show_seconds), return_type=str),
]
MoneyOrNone = Annotated[
    Decimal | None, BeforeValidator(_or_none(parse_money)),
    PlainSerializer(_show_or_none(show_money), return_type=str),
]
DistanceOrNone = Annotated[
    Distance | None, BeforeValidator(_or_none(parse_distance)),
    PlainSerializer(_show_or_none(show_distance), return_type=str),
]


def _text(said: Any) -> str:
    # A bool is an int to Python, but `true` is no number to a person.
    return "" if isinstance(said, bool) else str(said).strip()


def _quoted(said: Any) -> str:
    return f'"{said}"' if isinstance(said, str) else str(said)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _plain(number: Decimal) -> str:
    """Return *number* without exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
