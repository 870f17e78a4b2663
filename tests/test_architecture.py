"""Who may import whom: read from the source, so that no import has to be run for it."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest

from console.commands import COMMANDS

ROOT = Path(__file__).parents[1]

# Room -> what it may know of the others; a name stands for itself and everything in it.
MAY_KNOW = {
    "trading": set(),
    "runtime": {"trading"},
    "kucoin": {"runtime.budget", "runtime.deadline", "runtime.locks", "trading"},
    "execution": {"runtime.locks", "trading"},
    "market_scanner": {"runtime.heartbeat", "runtime.locks", "trading"},
    "performance_monitor": {"runtime.locks", "trading"},
    "position_manager": {"execution", "runtime.locks", "trading"},
    "kucoin_client": {"kucoin", "runtime.budget", "runtime.deadline", "runtime.locks", "trading"},
    "control": {"runtime", "trading"},
    "daemon": {
        "control", "execution", "runtime", "trading",
        "kucoin_client", "market_scanner", "performance_monitor", "position_manager",
    },
    "bot": {"control", "daemon", "execution", "runtime", "trading"},
    "console": {"bot", "control", "runtime", "trading"},
    "sandbox": set(),          # it meets the bot on the wire alone
}
ROOMS = sorted(MAY_KNOW)

# What takes time, touches the world, or answers differently each time: not in the rules.
IMPURE = {
    "aiohttp", "asyncio", "ccxt", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib",
    "queue", "random", "requests", "secrets", "select", "socket", "sqlalchemy", "sqlite3", "ssl", "subprocess",
    "threading", "time", "urllib", "uuid",
}


def sources(room: str) -> list[Path]:
    """Every file of a room: a package's, or the one module's."""
    module = ROOT / f"{room}.py"
    return [module] if module.exists() else sorted((ROOT / room).rglob("*.py"))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Each module imported anywhere in *tree*; `from a import b` counts as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where a room ends"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _WithoutTypes(ast.NodeTransformer):
    """Leaves out what only type checkers import."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


@cache
def tree_of(path: Path) -> ast.Module:
    """Parsed once for all tests: look, do not touch."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_within(module: str, allowed: set[str]) -> bool:
    """Whether *module* is one of *allowed* or inside it."""
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_those_below_it(room: str) -> None:
    """Imports point down, and neighbours talk through trading/ports.py."""
    files = sources(room)
    assert files, f"{room} is gone: take it off the list"
    too_much = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imports_of(tree_of(path))
        if module.split(".")[0] in MAY_KNOW
        and module.split(".")[0] != room
        and not is_within(module, MAY_KNOW[room])
    ]
    assert not too_much


def test_every_room_is_on_the_list() -> None:
    """A new package or module has to say whom it may know."""
    apart = {"tests", "bench", "backtest"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert packages | modules <= set(ROOMS) | apart


@pytest.mark.parametrize("path", sources("trading"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_rules_are_pure(path: Path) -> None:
    """No thread, clock, dice, disk or wire in trading/: time is handed in, and the same in gives the same out."""
    found = {module.split(".")[0] for module in imports_of(_WithoutTypes().visit(deepcopy(tree_of(path))))}
    assert not found & IMPURE


def test_only_the_way_to_the_exchange_knows_ccxt() -> None:
    """Orders and queries go through the client's own package; pushes come through the stream."""
    knowing = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in sources(room)
        if any(is_within(module, {"ccxt"}) for module in imports_of(tree_of(path)))
    }
    assert knowing <= {"kucoin/sessions.py", "kucoin/wire.py", "runtime/stream.py"}


def test_locks_are_made_in_one_place() -> None:
    """A lock made elsewhere would escape the rules that runtime/locks.py enforces."""
    made = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ROOMS
        if room != "sandbox"
        for path in sources(room)
        if path not in {ROOT / "runtime" / "locks.py", ROOT / "runtime" / "lock_rules.py"}     # two bare ones
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"Lock", "RLock", "Condition"}
        and isinstance(node.func.value, ast.Name) and node.func.value.id == "threading"
    ]
    assert not made


def test_the_import_contracts_are_kept() -> None:
    """import-linter follows the packages' imports through each other too (pyproject.toml)."""
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed; it is in tests/requirements.txt")
    command = "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run(['--no-cache']))"
    ended = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_test_the_pages_name_exists() -> None:
    """README and docs/ say which test holds which claim: a test that was renamed takes its claim along."""
    files = [*(ROOT / "tests").rglob("*.py")]
    known = {path.stem for path in files}
    for path in files:
        known.update(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"\btest_\w+", page.read_text(encoding="utf-8"))}
    assert named
    assert not named - known


def test_every_claim_about_threads_names_its_test() -> None:
    """In docs/THREAD_SAFETY.md each row about shared state or a rule, and each pattern, ends with a test."""
    page = (ROOT / "docs" / "THREAD_SAFETY.md").read_text(encoding="utf-8")
    state, rules, patterns = (
        page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        for title in ("Shared state, one lock each", "Rules, and what enforces them", "Patterns")
    )
    rows = [line for part in (state, rules) for line in part.splitlines() if line.startswith("| ")]
    claims = [row for row in rows if not row.startswith(("| state ", "| rule "))]
    claims += re.split(r"\n(?=\*\*)", patterns)[1:]
    assert len(claims) > 20
    assert not [claim for claim in claims if not re.search(r"`test_\w+`", claim)]


def test_every_command_that_is_told_exists() -> None:
    """Pages, settings and messages send people to commands that are there."""
    told = [ROOT / "README.md", ROOT / "config.yaml", *(ROOT / "docs").glob("*.md")]
    told += [path for room in ROOMS for path in sources(room)]
    texts = [page.read_text(encoding="utf-8") for page in told]
    named = {name for text in texts for name in re.findall(r"\./rad ([a-z][\w-]*)", text)}
    assert named
    assert not named - COMMANDS.keys() - {"test", "campaign"}      # the launcher's own
