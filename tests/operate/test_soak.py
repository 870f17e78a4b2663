"""The soak's own judgement: a leak is seen, noise is none, and an alarm needs a fault that can cause it."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice

import pytest

from bench.soak_faults import Fault, explanation, gusts
from bench.soak_growth import FLAT, GROWS, UNDECIDED, trend

GRACE_S = 30.0
HOUR = 3600


def looks(value: Callable[[int], float], seconds: int = HOUR) -> list[tuple[float, float]]:
    """Return one look a second, by the hour."""
    return [(at / HOUR, value(at)) for at in range(seconds)]


def noise(seed: int = 1) -> Callable[[int], float]:
    """Return what memory does without a leak: it comes and goes by a few MB and stays there for a while."""
    dice = random.Random(seed)
    level = [0.0]

    def value(_: int) -> float:
        level[0] = 0.98 * level[0] + dice.gauss(0, 0.3)
        return 200 + level[0]

    return value


def test_a_straight_line_is_found_exactly() -> None:
    """Six an hour from 200 on, without noise: slope 6, no error."""
    found = trend(looks(lambda at: 200 + 6 * at / HOUR))
    assert found.slope == pytest.approx(6.0)
    assert found.error == pytest.approx(0.0, abs=1e-6)
    assert (found.first, round(found.last, 2), round(found.highest, 2)) == (200.0, 206.0, 206.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_of_five_an_hour_is_seen_through_the_noise(seed: int) -> None:
    """Against a bound of 2; and the same noise without it is never called growth."""
    calm, leaking = noise(seed), noise(seed)
    assert trend(looks(calm)).verdict(2.0) != GROWS
    assert trend(looks(lambda at: leaking(at) + 5 * at / HOUR)).verdict(2.0) != FLAT


def test_what_does_not_move_is_flat_and_what_was_hardly_looked_at_undecided() -> None:
    """Too few looks prove nothing, either way."""
    assert trend(looks(lambda _: 57.0)).verdict(1.0) == FLAT
    assert trend([(0.0, 1.0), (0.1, 1.0)]).verdict(1.0) == UNDECIDED


def a_fault(kind: str = "drop", begin_s: float = 10.0, end_s: float = 20.0, **wish: str) -> Fault:
    return Fault({"kind": kind, **wish}, begin_s, end_s)


ACCOUNT = a_fault(method="GET", path="/api/v1/account-overview")
ORDERS = a_fault(method="POST", path="/api/v1/orders")


@pytest.mark.parametrize(("alarm", "at_s", "fault", "explained"), [
    ("account: no answer", 15.0, ACCOUNT, True),
    ("account: no answer", 49.0, ACCOUNT, True),             # within the grace
    ("account: no answer", 51.0, ACCOUNT, False),            # long over
    ("account: no answer", 9.0, ACCOUNT, False),             # not yet begun
    ("account: no answer", 15.0, ORDERS, False),             # of something else
    ("reconcile: no answer", 15.0, ORDERS, True),
    ("BTC/USDT:USDT: no stop on the exchange yet", 15.0, ORDERS, True),
    ("BTC/USDT:USDT: no stop on the exchange yet", 15.0, a_fault("ws_gap"), False),
    ("BTC/USDT:USDT exit refused (… 3 times more)", 109.0, ORDERS, True),     # kept back for a minute
    ("BTC/USDT:USDT exit refused (… once more)", 111.0, ORDERS, False),
    ("step failed again_in=0.5s error=RequestRefused: injected", 15.0,
     a_fault("refuse", method="GET", path="/api/v1/contracts/active"), True),
    ("prices: the stream is silent", 15.0, a_fault("ws_silence"), True),
    ("prices: the stream is silent", 15.0, a_fault("machine"), True),
    ("account: no answer", 15.0, a_fault("machine"), True),                   # no time for anything
    ("thread PositionMonitor makes no progress", 15.0, a_fault("machine"), False),
    ("account: no answer", 15.0, a_fault("black_hole"), True),                # everything
    ("thread PositionMonitor makes no progress", 15.0, a_fault("black_hole"), False),
    ("journal: disk full", 15.0, a_fault("black_hole"), False),
    ("entries failed unexpectedly", 15.0, a_fault("black_hole"), False),
    ("the API does not answer: timed out", 15.0, a_fault("black_hole"), False),
])
def test_an_alarm_needs_its_fault(alarm: str, at_s: float, fault: Fault, explained: bool) -> None:
    """One that can cause it, in force then or a moment before."""
    assert (explanation(alarm, at_s, [fault], GRACE_S) is fault) is explained


def test_the_seed_draws_the_same_faults() -> None:
    """A run that failed can be had again."""
    assert list(islice(gusts(7), 12)) == list(islice(gusts(7), 12))
    assert list(islice(gusts(7), 12)) != list(islice(gusts(8), 12))
