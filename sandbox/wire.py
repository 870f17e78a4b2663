"""How values look on the wire: exact decimals as JSON numbers or strings, and KuCoin's envelope."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

SUCCESS = "200000"
_MARK = "\x00"             # json escapes it, so no text of a client can imitate our numbers


def text(value: Decimal | int) -> str:
    """Return *value* in plain digits without trailing zeros: how KuCoin writes numbers in strings."""
    if isinstance(value, int):
        return str(value)
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def dumps(document: Any) -> str:
    """Return *document* as JSON with every Decimal as an exact JSON number."""
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=_mark_number)
    if _ESCAPED in raw:
        raw = raw.replace(f'"{_ESCAPED}', "").replace(f'{_ESCAPED}"', "")
    return raw


def loads(raw: str | bytes) -> Any:
    """Parse JSON with exact decimals; ValueError when it is none."""
    return json.loads(raw, parse_float=Decimal)


class ReadyJson(str):
    """JSON written by hand already: what is asked for often and is long."""


def succeeded(data: Any) -> str:
    """Return KuCoin's envelope for an answer, as JSON."""
    return f'{{"code":"{SUCCESS}","data":{data if isinstance(data, ReadyJson) else dumps(data)}}}'


def refused(code: str, message: str) -> str:
    """Return KuCoin's envelope for a refusal, as JSON."""
    return dumps({"code": code, "msg": message})


_ESCAPED = "\\u0000"


def _mark_number(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{_MARK}{value}{_MARK}"        # an exponent, where there is one, is JSON too
    raise TypeError(f"{type(value).__name__} has no place in JSON")
