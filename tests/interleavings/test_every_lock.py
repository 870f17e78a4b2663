"""Each lock taken away: the same threads, a lock that locks nothing, and something breaks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interleavings import blocking, gate, journal_writer, positions, records, scanner
from tests.interleavings.explorer import Scene, find, replay

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("", "control", "console", "daemon", "execution", "kucoin", "runtime", "trading")


@dataclass(frozen=True)
class Elsewhere:
    """A mutant that a test beside its module has: `file::test`."""

    test: str


BARE = "bare: runtime/lock_rules.py _state_lock"       # it is taken under any other, to tell of that
# By the name in the source. A lock that is new needs a line here: a scene that breaks without it, or such a test.
MUTANTS: dict[str, tuple[Callable[[], Scene], ...] | Elsewhere] = {
    "positions": (
        positions.two_openers, positions.two_closers, positions.opener_and_closer, positions.two_monitors,
        positions.monitor_and_closer, positions.adopter_and_closer, positions.ending_and_opener,
    ),
    "critical calls": (gate.two_exits,),
    "metadata": Elsewhere("tests/client/test_known.py::test_two_that_learn_without_the_lock_lose_one"),
    "cache": (scanner.two_that_keep,),
    "scan": (scanner.publisher_and_two_consumers,),
    "scan pool": (scanner.scan_with_a_worker,),
    "performance": Elsewhere("tests/test_performance_monitor.py::test_two_that_count_without_the_lock_lose_one"),
    "prices": (blocking.publisher_and_waiter, blocking.price_and_mark),
    "rate budget": (blocking.two_takers,),
    "journal": (journal_writer.two_that_save,),
    "status": Elsewhere("tests/test_state.py::test_two_that_report_without_the_lock_both_tell_it"),
    "account": Elsewhere("tests/test_state.py::test_losses_forgiven_without_the_lock_take_it_back"),
    "lease": (blocking.renewal_and_the_end,),
    "connections": (blocking.late_cut_and_next_user,),
    "deadlines": (blocking.call_and_its_deadline,),
    "{name} pool": (blocking.submitter_and_the_end, blocking.two_submitters),
    "resolver": (blocking.two_that_ask_for_a_name,),
    "events": (records.two_that_tell_and_a_reader, records.reader_and_the_end),
    "redactions": (records.two_that_hide,),
    "black list": (records.two_that_list,),
    "reload": (records.two_that_reload,),
    "top": (records.two_that_answer,),
    BARE: Elsewhere("tests/test_without_gil.py::test_a_broken_rule_without_the_lock_is_told_with_anothers_words"),
}
POOL = "exit"                  # the {name} in these scenes
EXPLORED = [
    (name.format(name=POOL), scene)
    for name, mutant in MUTANTS.items() if not isinstance(mutant, Elsewhere) for scene in mutant
]


def locks_in_the_source() -> Iterator[str]:
    """Yield the name in each call of `named_lock`, a part filled in at run time as {its source}; bare ones too."""
    for room in ROOMS:
        for file in sorted((ROOT / room).glob("*.py")):
            place = str(file.relative_to(ROOT))
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and called(node) == "named_lock":
                    yield name_in(node.args[0])
                is_bare = isinstance(node, ast.Assign) and called(node.value) in {"Lock", "RLock"}
                if is_bare and place != "runtime/locks.py":       # of which a named one is made
                    yield f"bare: {place} {ast.unparse(node.targets[0])}"


def called(node: ast.expr) -> str:
    """Return the last name of what is called; empty for what is no call."""
    return ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""


def name_in(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    assert isinstance(argument, ast.JoinedStr), f"a name that the source does not tell: {ast.unparse(argument)}"
    return "".join(
        f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else str(ast.literal_eval(part))
        for part in argument.values
    )


def test_each_lock_in_the_source_has_a_mutant() -> None:
    """A lock that could be taken away without a test that fails is a lock nobody can trust."""
    assert sorted(set(locks_in_the_source())) == sorted(MUTANTS)


def test_each_mutant_elsewhere_is_there() -> None:
    """The tests named above exist."""
    for mutant in MUTANTS.values():
        if isinstance(mutant, Elsewhere):
            file, name = mutant.test.split("::")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, mutant.test


@pytest.mark.parametrize(("lock", "scene"), EXPLORED, ids=lambda value: getattr(value, "__name__", value))
def test_without_the_lock_it_breaks(lock: str, scene: Callable[[], Scene]) -> None:
    """With a lock that locks nothing an order is found in which the scene does not hold, and found again."""
    broken = find(scene, without=lock)
    again = replay(scene, broken.order, without=lock)
    assert again is not None
    assert again.story == broken.story
