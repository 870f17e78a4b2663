"""Client order ids: what goes on the wire can be read back, and nothing else can."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW_MS
from trading.client_ids import ClientOid, Purpose, new_position_id, parse

YEAR_2255_MS = 9_000_000_000_000
OIDS = st.builds(
    ClientOid,
    position_id=st.builds(new_position_id, st.integers(0, YEAR_2255_MS), st.integers(0, 10**9)),
    purpose=st.sampled_from(Purpose),
    attempt=st.integers(0, 999_999),
)


@given(oid=OIDS)
def test_what_is_written_can_be_read_back(oid: ClientOid) -> None:
    """Recovery makes the id anew and looks the order up: KuCoin takes it, and it says whose it is."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", str(oid))
    assert parse(str(oid)) == oid


@given(text=st.from_regex(r"rad-[0-9a-z]{9,17}-[exsy]\d{1,7}\n?", fullmatch=True) | st.text(max_size=40))
def test_what_is_read_is_what_would_be_written(text: str) -> None:
    """No two texts stand for one order."""
    oid = parse(text)
    assert oid is None or str(oid) == text


@pytest.mark.parametrize("text", [
    "", "rad-", "ccxt-abc", "rad-0lqvsb5a8000-e",        # not ours, or cut off
    "rad-0lqvsb5a8000-e01", "rad-0lqvsb5a8000-e٣",       # not as it is written
    "rad-0lqvsb5a8000-q1", "rad-0LQVSB5A8000-e1", "rad-short-e1", "rad-0lqvsb5a8000-e1\n", " rad-0lqvsb5a8000-e1",
])
def test_other_peoples_ids_are_not_ours(text: str) -> None:
    """Whatever a person or another bot calls an order, RAD does not take it for its own."""
    assert parse(text) is None


def test_an_id_by_hand() -> None:
    """Nine digits of time, three of serial, to the base of 36."""
    assert new_position_id(36**3, 37) == "000001000" + "011"
    assert str(ClientOid(position_id="000001000011", purpose=Purpose.STOP, attempt=2)) == "rad-000001000011-s2"


@given(moments=st.lists(st.integers(0, YEAR_2255_MS), min_size=2, max_size=20))
def test_later_positions_sort_later(moments: list[int]) -> None:
    """Ids sort as texts the way their positions came."""
    assert [new_position_id(ms, 0) for ms in sorted(moments)] == sorted(new_position_id(ms, 0) for ms in moments)


def test_positions_of_one_moment_have_ids_of_their_own() -> None:
    """46,656 in one millisecond before one comes back."""
    assert len({new_position_id(NOW_MS, serial) for serial in range(36**3)}) == 36**3
    assert new_position_id(NOW_MS, 36**3) == new_position_id(NOW_MS, 0)
