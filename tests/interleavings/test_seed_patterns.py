"""The seed's patterns as it prints them break; RAD's, beside them, hold in every order."""

from __future__ import annotations

import pytest

from kucoin.endpoints import CANDLES
from tests.interleavings import gate, positions, seed_patterns
from tests.interleavings.explorer import Scene, explore, find, replay
from tests.interleavings.scheduler import Stuck
from trading.facts import Priority


def test_pattern_2_as_printed_sells_one_position_twice() -> None:
    """Between the second look and the sale another looks as well; the order is found and can be replayed."""
    found = find(seed_patterns.pattern_2)
    assert "sold twice" in str(found)
    for _ in range(10):
        again = replay(seed_patterns.pattern_2, found.order)
        assert again is not None
        assert again.story == found.story


def test_pattern_2_by_rad_sells_it_once() -> None:
    """The second look takes the position away from everybody else: no order sells it twice."""
    assert explore(positions.two_monitors).bound is None


def test_pattern_3_as_printed_holds_a_scan_up_without_a_bound() -> None:
    """A trade that gets no answer for a minute holds every scan up for a minute."""
    assert "held up for 60" in str(find(seed_patterns.pattern_3_and_a_lost_answer))


def test_pattern_3_by_rad_holds_it_up_for_a_second() -> None:
    """The same trade, the same scan."""
    assert explore(gate.endless_exit_and_scan).bound is None


def test_pattern_3_as_printed_waits_for_itself() -> None:
    """A trade made of two calls of which one stands aside never ends: it looks for ever."""
    found = find(seed_patterns.pattern_3_within_itself)
    assert isinstance(found.cause, Stuck)
    assert "no end" in str(found.cause)


def asks_within_itself() -> Scene:
    """A critical call that asks something on its way."""
    client = gate.a_client(gate.Wire())

    def trade() -> str:
        with client._gate(Priority.CRITICAL), pytest.raises(RuntimeError, match="wait for itself"):
            client._call(CANDLES, {}, Priority.SCAN)
        return "over"

    def check(results: object) -> None:
        assert results == {"exit": "over"}
        assert client._pending_critical_calls == 0

    return Scene(threads={"exit": trade}, check=check)


def test_pattern_3_by_rad_refuses_to_wait_for_itself() -> None:
    """The gate is passed once per request: inside of one another raises at once."""
    assert explore(asks_within_itself).orders == 1
