"""What positions and orders may become."""

from __future__ import annotations

from itertools import product

import pytest

from trading.lifecycle import TRANSITIONS, IllegalTransition, IntentState, PositionState, check

# Worked out by hand; everything else is a bug. (before, after)
LEGAL = {
    ("OPEN", "CLOSING"), ("OPEN", "CLOSED"), ("CLOSING", "OPEN"), ("CLOSING", "CLOSED"),
    ("INTENDED", "ACCEPTED"), ("INTENDED", "REJECTED"), ("INTENDED", "UNKNOWN"), ("INTENDED", "NOT_PLACED"),
    ("UNKNOWN", "ACCEPTED"), ("UNKNOWN", "NOT_PLACED"),
    ("ACCEPTED", "DONE"), ("REJECTED", "NOT_PLACED"), ("NOT_PLACED", "ACCEPTED"),
}
EVERY = [*PositionState, *IntentState]


@pytest.mark.parametrize(("before", "after"), list(product(EVERY, EVERY)), ids=lambda state: state.name)
def test_every_step_is_legal_or_raises(
    before: PositionState | IntentState, after: PositionState | IntentState
) -> None:
    """Each of all pairs; a position never becomes an intent."""
    if (before.name, after.name) in LEGAL:
        assert check(before, after) is after
    else:
        with pytest.raises(IllegalTransition, match=f"^{before.value} may not become {after.value}$"):
            check(before, after)


def reachable(start: PositionState | IntentState) -> set[PositionState | IntentState]:
    """Everything *start* may become in any number of steps, itself included."""
    found, new = {start}, [start]
    while new:
        new = [after for before in new for after in TRANSITIONS[before] if after not in found]
        found.update(new)
    return found


@pytest.mark.parametrize("state", EVERY, ids=lambda state: state.name)
def test_every_state_is_reached_and_can_be_left_for_an_end(state: PositionState | IntentState) -> None:
    """Nothing is stuck on its way, and no state is there for nobody."""
    start, ends = (
        (PositionState.OPEN, {PositionState.CLOSED}) if isinstance(state, PositionState)
        else (IntentState.INTENDED, {IntentState.DONE})
    )
    assert state in reachable(start)
    assert reachable(state) & ends


def test_the_ends_are_final() -> None:
    """A closed position stays closed, a settled order settled."""
    assert {state for state, after in TRANSITIONS.items() if not after} == {PositionState.CLOSED, IntentState.DONE}
