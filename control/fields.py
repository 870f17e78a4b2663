"""What a request may say: each field with its schema, and read from what came in or refused in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from trading.errors import RadError

JsonObject = dict[str, Any]

LONGEST_QUOTED = 40          # of what was said wrongly, in the answer
LARGEST_AMOUNT = Decimal("1e15")
LATEST_MS = 4_102_444_800_000    # the year 2100: nothing of RAD's is later

# Letters, digits, and the marks of ccxt's symbols; some coins have Chinese, Japanese or Korean names.
SYMBOL_PATTERN = "^[A-Za-z0-9._/:\\-\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{1,40}$"
AMOUNT_DIGITS = 18           # after the point
AMOUNT_PATTERN = r"^(?=.*[1-9])[0-9]{1,15}(\.[0-9]{1,18})?$"


class BadRequest(RadError):
    """The request itself makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing a request may say; *read* raises ValueError, saying what would be right."""

    name: str
    about: str
    schema: JsonObject
    read: Callable[[Any], Any]
    required: bool = False
    default: Any = None


def symbol(about: str, *, required: bool = True) -> Field:
    """A market: ccxt's symbol or KuCoin's id."""

    def read(said: Any) -> str:
        if not isinstance(said, str) or not re.fullmatch(SYMBOL_PATTERN, said):
            raise ValueError("must be a symbol such as BTC/USDT:USDT")
        return said

    schema = {"type": "string", "pattern": SYMBOL_PATTERN, "example": "BTC/USDT:USDT"}
    return Field(name="symbol", about=about, schema=schema, read=read, required=required)


def choice(name: str, about: str, values: Sequence[str], *, required: bool = False) -> Field:
    """One of a few words."""

    def read(said: Any) -> str:
        if not isinstance(said, str) or said not in values:
            raise ValueError(f"must be {', '.join(values[:-1])} or {values[-1]}")
        return said

    return Field(name=name, about=about, schema={"type": "string", "enum": list(values)}, read=read,
                 required=required)


def count(name: str, about: str, *, most: int, default: int, least: int = 1) -> Field:
    """A whole number, as a query has it."""

    def read(said: Any) -> int:
        text = str(said)
        if not re.fullmatch(r"[0-9]{1,15}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a number from {least} to {most}")
        return int(text)

    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return Field(name=name, about=about, schema=schema, read=read, default=default)


def moment(name: str, about: str) -> Field:
    """A time in ISO 8601, read as milliseconds since 1970; without an offset it is UTC."""

    def read(said: Any) -> int:
        try:
            when = datetime.fromisoformat(str(said)[:LONGEST_QUOTED])
            ms = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            ms = -1
        if not 0 <= ms <= LATEST_MS:
            raise ValueError("must be a time such as 2026-01-02T03:04:05Z or a day such as 2026-01-02")
        return ms

    return Field(name=name, about=about, schema={"type": "string", "format": "date-time"}, read=read, default=0)


def amount(name: str, about: str) -> Field:
    """Money in quote currency: a decimal string, or a number."""

    def read(said: Any) -> Decimal:
        wanted = f"must be a positive amount in quote currency, at most {LARGEST_AMOUNT:f}"
        if isinstance(said, bool) or not isinstance(said, str | int | Decimal):
            raise ValueError(wanted)
        if isinstance(said, str) and not re.fullmatch(AMOUNT_PATTERN, said):
            raise ValueError(wanted)
        try:
            value = Decimal(said)
        except InvalidOperation:
            value = Decimal("nan")
        if not (value.is_finite() and 0 < value <= LARGEST_AMOUNT):
            raise ValueError(wanted)
        return value

    schema = {"oneOf": [
        {"type": "string", "pattern": AMOUNT_PATTERN, "example": "250.50"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": float(LARGEST_AMOUNT)},
    ]}
    return Field(name=name, about=about, schema=schema, read=read)


def text(name: str, about: str, *, longest: int, required: bool = False) -> Field:
    """Any text of a bounded length."""

    def read(said: Any) -> str:
        if not isinstance(said, str) or not 0 < len(said) <= longest:
            raise ValueError(f"must be a text of 1 to {longest} characters")
        return said

    schema = {"type": "string", "minLength": 1, "maxLength": longest}
    return Field(name=name, about=about, schema=schema, read=read, required=required)


def read_query(fields: Sequence[Field], said: Iterable[tuple[str, str]]) -> JsonObject:
    """Return the value of every field from a query's names and values."""
    found: JsonObject = {}
    for name, value in said:
        if name in found:
            raise BadRequest(f"{quoted(name)} is said twice")
        found[name] = value
    return _read(fields, found)


def read_body(fields: Sequence[Field], raw: bytes) -> JsonObject:
    """Return the value of every field from a body; nothing at all is an empty object."""
    try:
        said = json.loads(
            raw or b"{}", parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except (ValueError, InvalidOperation, RecursionError):
        raise BadRequest("the body is not JSON, or says a key twice") from None
    if not isinstance(said, dict):
        raise BadRequest("the body must be a JSON object")
    return _read(fields, said)


def quoted(said: str) -> str:
    """Return what was said as it may be shown: on one line, and not endless."""
    return ascii(said if len(said) <= LONGEST_QUOTED else f"{said[:LONGEST_QUOTED]}...")


def _read(fields: Sequence[Field], said: Mapping[str, Any]) -> JsonObject:
    unknown = said.keys() - {field.name for field in fields}
    if unknown:
        known = ", ".join(field.name for field in fields) or "nothing"
        raise BadRequest(f"{quoted(min(unknown))} is not known here; known: {known}")
    values: JsonObject = {}
    for field in fields:
        value = said.get(field.name)
        if value is None:                 # null says as little as leaving it out
            if field.required:
                raise BadRequest(f"{field.name} is missing")
            values[field.name] = field.default
            continue
        try:
            values[field.name] = field.read(value)
        except ValueError as error:
            raise BadRequest(f"{field.name} {error}") from None
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is said twice")
    return found
