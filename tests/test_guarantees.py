"""The table of guarantees is whole: every part of the seed document, tests that exist, the page that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guarantees import GUARANTEES, ORDERS, WITHOUT, Guarantee, Outcomes, as_markdown, is_there, prove, told
from tests.interleavings.test_every_lock import EXPLORED
from tests.interleavings.test_every_order import SCENES

ROOT = Path(__file__).resolve().parents[1]
SEED = (
    *(f"component-{number}" for number in range(1, 5)), *(f"do-{number}" for number in range(1, 5)),
    *(f"dont-{number}" for number in range(1, 4)), *(f"pattern-{number}" for number in range(1, 4)),
    "debugging-deadlocks", "debugging-races", "performance", "testing",
)


def test_every_part_of_the_seed_is_there() -> None:
    """Each of its sections has at least one guarantee, and each guarantee belongs to one."""
    keys = [one.key for one in GUARANTEES]
    assert len(keys) == len(set(keys))
    assert {next((part for part in SEED if key.startswith(part)), key) for key in keys} == set(SEED)


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda one: one.key)
def test_its_tests_exist(guarantee: Guarantee) -> None:
    """What stands beside a guarantee can be run, and there is a mutant to it."""
    assert guarantee.checks
    assert guarantee.mutants
    for node in (*guarantee.checks, *guarantee.mutants):
        parameter = node.partition("[")[2]
        assert is_there(node), node
        if node.startswith(ORDERS):
            assert parameter.rstrip("]") in {scene.__name__ for scene in SCENES}, node
        elif node.startswith(WITHOUT) and parameter:
            assert parameter.rstrip("]") in {f"{lock}-{scene.__name__}" for lock, scene in EXPLORED}, node


def test_the_page_shows_the_table() -> None:
    """docs/THREAD_SAFETY.md has the guarantees, their checks and mutants as they are run."""
    page = (ROOT / "docs" / "THREAD_SAFETY.md").read_text(encoding="utf-8")
    assert as_markdown() in page, 'print it: python -c "from tests.guarantees import *; print(as_markdown())"'


def test_it_proves_the_same_wherever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From its own folder, as the seed document has it: its tests are found, and what did not run is broken."""
    there: list[bool] = []

    def run(arguments: list[str], plugins: object) -> int:
        there.extend(Path(each.partition("::")[0]).is_file() for each in arguments if "::" in each)
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pytest, "main", run)
    assert prove(["do-2"]) == 1
    assert there == [True, True]
    assert "0 of 1 guarantees hold" in capsys.readouterr().out


def test_a_guarantee_without_a_run_does_not_hold() -> None:
    """A test that failed, was skipped or never ran proves nothing, and the sums say so."""
    first, second = GUARANTEES[:2]
    ran = {*first.checks, *first.mutants, *second.checks, *second.mutants}
    outcomes = Outcomes(passed=ran, failed={second.checks[0]})
    lines = told((first, second), outcomes).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["holds", "BROKEN"]
    assert lines[5].startswith("1 of 2 guarantees hold")
    assert not Outcomes().holds(first.checks)
