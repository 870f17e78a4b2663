"""KuCoin's JSON with its fractions as Decimal, long lists one row after the other.

`json.loads` keeps the interpreter to itself from the first byte to the last: 18 ms for the list of
500 contracts, and an exit would wait for that. Read row by row, it goes to whoever wants it in between.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

LONG = 32 * 1024               # bytes that `json.loads` reads in a millisecond, about
_LIST = re.compile(r'\s*\{\s*"code"\s*:\s*"(\d+)"\s*,\s*"data"\s*:\s*\[\s*(?=\{)')
_AFTER_ROW = re.compile(r"\s*([,\]])\s*")


def exactly(body: bytes, fields: frozenset[str] | None = None) -> Any:
    """Return what *body* says; of the rows of a long list *fields* alone, if given, as each is read.

    Raises ValueError, RecursionError: it is not JSON.
    """
    text = body.decode()
    begin = _LIST.match(text) if len(body) > LONG else None
    return _DECODER.decode(text) if begin is None else _row_by_row(text, begin, fields)


def _row_by_row(text: str, begin: re.Match[str], fields: frozenset[str] | None) -> Any:
    rows, at = [], begin.end()
    while True:
        row, at = _DECODER.raw_decode(text, at)
        rows.append({name: row[name] for name in fields & row.keys()} if fields and isinstance(row, dict) else row)
        mark = _AFTER_ROW.match(text, at)
        if mark is None:
            raise ValueError("a list that does not go on after a row")
        at = mark.end()
        if mark[1] == "]":
            return {**_DECODER.decode(f'{{"code":"{begin[1]}"{text[at:]}'), "data": rows}


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse)
