"""Codes that log a browser in once."""

from __future__ import annotations

from control.codes import LIFE_S, MOST, Codes
from tests.manual_clock import ManualClock


def test_a_code_is_good_once(clock: ManualClock) -> None:
    """Whoever finds a used one in a history finds nothing."""
    codes = Codes(clock.monotonic)
    code = codes.issue()
    assert not codes.take(f"{code}x")
    assert codes.take(code)
    assert not codes.take(code)
    assert not codes.take("")


def test_a_code_is_good_for_two_minutes(clock: ManualClock) -> None:
    """One that nobody used is no good afterwards."""
    codes = Codes(clock.monotonic)
    early, late = codes.issue(), codes.issue()
    clock.advance(LIFE_S - 0.001)
    assert codes.take(early)
    clock.advance(0.001)
    assert not codes.take(late)


def test_only_so_many_wait_to_be_used(clock: ManualClock) -> None:
    """The oldest gives way."""
    codes = Codes(clock.monotonic)
    given = [codes.issue() for _ in range(MOST + 1)]
    assert [codes.take(code) for code in given] == [False] + [True] * MOST
