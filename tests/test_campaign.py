"""The crash and fault campaign in its short form, and that it fails when RAD lacks one of three rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.faults import ENGINE_KINDS, REST_KINDS, WS_KINDS
from tests.campaign.judge import Broken, Judge, await_running
from tests.campaign.lives import EXCHANGE, LIMIT_S, kill_campaign
from tests.campaign.matrix import IMPOSSIBLE, STILL, cells, matrix
from tests.campaign.plan import rounds
from tests.campaign.processes import Exchange, Victim
from tests.daemon_process import rad

pytestmark = pytest.mark.process

SYMBOL = "ETHUSDTM"
AGREES_WITHIN_S = 6.0
LOST_ANSWER = {"kind": "drop", "method": "POST", "path": "/api/v1/orders", "symbol": SYMBOL, "count": 1}
DYING_STOPS = {"kind": "stop_dies", "symbol": SYMBOL}


@pytest.mark.timeout(600)
def test_forty_kills_lose_nothing() -> None:
    """Killed at forty moments, most of them named: after each restart the exchange's books are RAD's."""
    seen = kill_campaign(seed=1, kills=40, workers=3)
    assert seen.failures == []
    assert sum(seen.kills.values()) == 40
    assert sum(seen.points.values()) >= 20
    assert seen.orders["entries"] >= 40


@pytest.mark.timeout(600)
def test_every_fault_on_every_operation() -> None:
    """Each fault strikes each operation once; afterwards everything agrees, nothing was naked for too long."""
    seen = matrix(seed=1, workers=3)
    assert seen.failures == []
    assert len(cells()) > 180


def test_no_fault_is_left_out() -> None:
    """Every kind the exchange knows is tried on something, or said to be impossible and why."""
    tried = {kind for kind, _ in cells()}
    assert tried | IMPOSSIBLE.keys() == {*REST_KINDS, *ENGINE_KINDS, *WS_KINDS}
    assert not tried & IMPOSSIBLE.keys()


def test_the_same_seed_is_the_same_plan() -> None:
    """What a failure prints is enough to do it again."""
    assert list(rounds(5, 40)) == list(rounds(5, 40))
    assert list(rounds(5, 40)) != list(rounds(6, 40))


# ---- RAD with one rule taken out ----------------------------------------------------------------

def opened_once(
    folder: Path, *mutants: str, fault: Mapping[str, Any] | None = None, dies_at: str = ""
) -> None:
    """Open one position, by a RAD without *mutants*' rules, and ask the judge; dead, start it again first.

    Raises:
        Broken: as the campaign would say it.
    """
    exchange = Exchange(*EXCHANGE, "--volatility", "1")
    judge = Judge(exchange, folder, limit_s=LIMIT_S)
    settings = {**STILL, **exchange.settings}
    trap = {"mutants": mutants, **({"at": dies_at} if dies_at else {})}
    try:
        victim = Victim(folder, settings, trap)
        begin_ns = running(victim)
        if fault:
            exchange.fault(**fault)
        victim.try_to("/api/open", {"symbol": SYMBOL, "side": "long", "notional": "300"})
        if dies_at:
            assert victim.has_ended(AGREES_WITHIN_S)
            victim.end()
            victim = Victim(folder, settings, {"mutants": mutants})
            begin_ns = running(victim)
        victim.has_ended(LIMIT_S + 1.0 if fault == DYING_STOPS else 0.0)
        with victim:
            judge.watched(begin_ns, begin_ns + 10**11)
            judge.await_agreement(victim, AGREES_WITHIN_S)
            assert rad(folder, "verify", **settings).returncode == 0
    finally:
        exchange.stop()


def running(victim: Victim) -> int:
    await_running(victim)
    return victim.spawned_ns


FORMS: list[tuple[str, dict[str, Any], str]] = [
    ("no_look_up", {"fault": LOST_ANSWER}, "I3"),
    ("no_intent", {"dies_at": "wire.place.entry.after"}, "I2"),
    ("no_read_back", {"fault": DYING_STOPS}, "I4"),
]


@pytest.mark.parametrize(("mutant", "form", "invariant"), FORMS)
def test_without_this_rule_the_campaign_fails(
    tmp_path: Path, mutant: str, form: dict[str, Any], invariant: str
) -> None:
    """No look-up: a position nobody knows. No intent: the same after a crash. No read-back: a naked one."""
    with pytest.raises(Broken) as broken:
        opened_once(tmp_path, mutant, **form)
    assert invariant in {violation.invariant for violation in broken.value.violations}


@pytest.mark.parametrize("form", [form for _, form, _ in FORMS])
def test_with_all_rules_the_same_form_holds(tmp_path: Path, form: dict[str, Any]) -> None:
    """What makes a mutant fail does not make RAD fail."""
    opened_once(tmp_path, **form)
