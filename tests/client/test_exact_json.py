"""A long answer read row by row says what `json.loads` says, and is refused where that refuses."""

from __future__ import annotations

import json
import urllib.request
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kucoin import endpoints, exact_json, parse
from kucoin.exact_json import exactly
from kucoin.wire import parsed
from sandbox.embedded import run_sandbox

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ROWS = st.lists(st.dictionaries(st.text(), VALUES, max_size=5), min_size=1, max_size=6)
BLANKS = st.text(" \t\r\n", max_size=3)


def as_json(value: Any) -> str:
    """JSON with decimals as numbers."""
    if isinstance(value, Decimal):
        return f"{value:f}" if value.as_tuple().exponent else f"{value:f}.0"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{as_json(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_json, value)) + "]"
    return json.dumps(value)


@pytest.fixture(autouse=True)
def _everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_json, "LONG", 0)


MORE = st.sampled_from(["", ',"msg":"ok","n":0.10'])


@settings(max_examples=50, deadline=None)
@given(rows=ROWS, blanks=st.lists(BLANKS, min_size=6, max_size=6), more=MORE)
def test_rows_are_what_json_says(rows: list[Any], blanks: list[str], more: str) -> None:
    """Whatever the rows hold, however the list is spaced: the same document, fractions exact."""
    a, b, c, d, e, f = blanks
    listed = f"{d},{e}".join(map(as_json, rows))
    body = f'{a}{{"code"{b}:{c}"200000","data":[{c}{listed}{f}]{more}}}{b}'
    assert exactly(body.encode()) == json.loads(body, parse_float=Decimal)


@pytest.mark.parametrize("body", [
    '{"code":"200000","data":[]}',
    '{"code":"200000","data":[1.10,{"a":2}]}',
    '{"code":"200000","data":{"items":[{"a":1.10}]}}',
    '{"data":[{"a":1.10}],"code":"200000"}',
    '{"code":"429000","msg":"Too many requests"}',
    '[{"a":0.1}]',
])
def test_other_answers_are_read_whole(body: str) -> None:
    assert exactly(body.encode()) == json.loads(body, parse_float=Decimal)


def test_half_an_answer_is_refused_wherever_it_ends() -> None:
    """Cut at any byte, or with a byte too many: no answer at all."""
    whole = b'{"code":"200000","data":[{"a":1.5,"b":[1,2]},{"a":2.5}],"msg":"x"}'
    assert exactly(whole)
    wrong = [whole[:end] for end in range(len(whole))] + [whole + more for more in (b"x", b"]", b"}")]
    assert not [body for body in wrong if parsed(body, exact=True) is not None]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        exactly(f'{{"code":"200000","data":[{{"a":1}},{{"a":{number}}}]}}'.encode())


class CountingDecoder(json.JSONDecoder):
    """Counts its calls; in each the interpreter stays with one thread."""

    calls: ClassVar[list[int]] = []

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        value, end = super().raw_decode(s, idx)
        self.calls.append(end - idx)
        return value, end


def test_no_call_reads_more_than_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """So another thread gets the interpreter between any two rows."""
    row = '{"a":0.1,"b":[1,2,3]}'
    monkeypatch.setattr(exact_json, "_DECODER", CountingDecoder(parse_float=Decimal))
    exactly(f'{{"code":"200000","data":[{",".join([row] * 50)}]}}'.encode())
    assert CountingDecoder.calls[:50] == [len(row)] * 50
    assert max(CountingDecoder.calls) <= len('{"code":"200000"}') + len(row)


def test_what_is_left_out_of_the_contracts_is_read_by_nobody() -> None:
    """The sandbox's own list, with the fields RAD keeps and with all of them: the same instruments and rows."""
    with (
        run_sandbox(pairs=12) as exchange,
        urllib.request.urlopen(f"{exchange.futures_url}/api/v1/contracts/active", timeout=20) as answer,
    ):
        body = answer.read()
    kept, whole = (exactly(body, fields)["data"] for fields in (endpoints.CONTRACTS.fields, None))
    assert all(row.keys() == endpoints.CONTRACTS.fields for row in kept)
    named = [parse.listed(rows, lambda row: f"{row['baseCurrency']}/USDT:USDT") for rows in (kept, whole)]
    assert named[0] == named[1]
    assert len(named[0]) == 12
