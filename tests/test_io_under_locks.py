"""Nothing that can take long happens under a lock: read from the source, entry by entry and block by block."""

from __future__ import annotations

import ast
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from control.address import ControlAddress, read_address
from runtime import systemd
from runtime.clock import SystemClock
from runtime.instance import Instance
from runtime.locks import LockBreach, condition_on, named_lock
from runtime.logs import start_logging
from runtime.pool import UrgentPool
from runtime.resolving import Resolver
from runtime.settings import load_settings
from runtime.stacks import append
from runtime.stream import MarketStream
from tests.client.clients import a_wire
from tests.test_architecture import ROOMS, ROOT, sources, tree_of

BOT = [room for room in ROOMS if room not in {"sandbox", "console", "trading"}]
LOCKS = {"runtime/locks.py", "runtime/lock_rules.py", "runtime/lock_figures.py", "runtime/guards.py"}

# A call by one of these names can block: a file, a socket, a database, a process, another thread.
BLOCKING = re.compile(
    r"^(open|print|input|time\.sleep|asyncio\.run|subprocess\.\w+|urllib\.request\.urlopen|sqlite3\.connect"
    r"|.*(path|file|fresh)\.open"
    r"|fcntl\.flock|os\.(open|close|read|write|pwrite|ftruncate|replace|rename|unlink|mkdir|fsync|stat|listdir)"
    r"|socket\.(create_connection|getaddrinfo|gethostname)|socket\.socket\.shutdown|faulthandler\.dump_traceback"
    r"|.*\.(read_text|write_text|read_bytes|write_bytes|unlink|mkdir|touch|exists|is_file|iterdir|chmod|rename"
    r"|stat|is_dir|glob|rglob|rmdir|readlines|post"
    r"|connect|execute|commit|dispose|communicate|getaddrinfo|sendall|sendto|recv|readline|request|load_markets"
    r"|wait|wait_for|result)|connection\.begin|left\.acquire|.*([tT]hread|worker|timer)(\(.*\))?\.(start|join))$"
)
CLOCK = re.compile(r"(.*[._])?clock\.wait(_for)?$")        # asks itself; others wait through it
ASKS = {"assert_no_lock_held", "assert_waits_on"}

# Functions that block and do not ask themselves, each with what makes that right.
OWN_THREAD = "the first thing a thread of its own does"
HANDED_IN = "its connection comes from the journal or the lease, which ask before they use it"
ASKED_BELOW = "does it through a function of ours that asks"
ASKED_BEFORE = "whoever calls it has asked"
MAIN = "the main thread, at the start or the end"
COMMAND = "of a command, which has no locks"
WITHOUT_ASKING = {
    "runtime/deadline.py:_Watched.connect": ASKED_BELOW,
    "runtime/deadline.py:_Watched._reach_any": ASKED_BEFORE,
    "runtime/deadline.py:Call.cut": "one system call, under the lock that says whose socket it is",
    "runtime/instance.py:_holder": ASKED_BEFORE,
    "runtime/instance.py:_write": ASKED_BEFORE,
    "runtime/journal.py:SqlJournal._measure": ASKED_BEFORE,
    "runtime/journal_copies.py:_reading": ASKED_BEFORE,
    "runtime/journal_engine.py": HANDED_IN,
    "runtime/journal_migrations.py": HANDED_IN,
    "runtime/journal_postgres.py": HANDED_IN,
    "runtime/journal_writes.py": HANDED_IN,
    "runtime/lease.py:Lease.__init__": MAIN,
    "runtime/lease_row.py": ASKED_BELOW,
    "runtime/log_files.py": COMMAND,
    "runtime/logs.py:LogRuntime._next": OWN_THREAD,
    "runtime/logs.py:_FileSink._open": "at the start, or for `emit`, which asks",
    "runtime/secrets.py:read_credentials": ASKED_BELOW,
    "runtime/secrets.py:read_dotenv": ASKED_BELOW,
    "runtime/stream.py:MarketStream._run": OWN_THREAD,
    "runtime/stream.py:MarketStream._quotes": "the future is done",
    "runtime/service_unit.py": COMMAND,
    "runtime/socket_probe.py:welcome_s": COMMAND,
    "runtime/supervisor.py:Supervisor._run": OWN_THREAD,
    "runtime/worker.py:join_all": ASKED_BELOW,
    "kucoin/sessions.py:Sessions.load": ASKED_BELOW,
    "kucoin/wire.py:Wire.publicGetMyIp": ASKED_BELOW,
    "kucoin_client.py:KuCoinClient.warm_up.ask": OWN_THREAD,
    "control/calls.py:Calls._answer": "the future is done",
    "control/server.py:ControlServer._run": OWN_THREAD,
    "control/page.py:StaticFile._pack": ASKED_BEFORE,
    "control/page.py:add_page": MAIN,
    "control/page.py:charts_file": MAIN,
    "daemon/doctor_machine.py": COMMAND,
    "daemon/exchange_process.py:_ready_line": ASKED_BEFORE,
    "daemon/signals.py:end_after": MAIN,
    "daemon/signals.py:listen.hear": OWN_THREAD,
    "bot.py": MAIN,
    "daemon/standby.py:Standby.wait": MAIN,
}


@dataclass(frozen=True)
class Block:
    """A call that can block, and the functions around it."""

    file: str
    functions: tuple[str, ...]
    what: str
    line: int
    asks: bool

    @property
    def names(self) -> set[str]:
        """What it may be listed by: its file, or one of the functions or classes around it."""
        inner = {f"{self.file}:{'.'.join(self.functions[:count])}" for count in range(1, len(self.functions) + 1)}
        return inner | {self.file}


@cache
def bot_files() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for room in BOT for path in sources(room)]
    return tuple(
        (name, tree_of(path)) for path in paths if (name := str(path.relative_to(ROOT))) not in LOCKS
    )


def blocks(file: str, node: ast.AST, functions: tuple[str, ...] = (), asks: bool = False) -> Iterator[Block]:
    """Each call in *node* that can block its thread; awaiting holds nobody up but the coroutine."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_asking = not isinstance(child, ast.ClassDef) and any(
                isinstance(part, ast.Call) and ast.unparse(part.func).split(".")[-1] in ASKS
                for part in ast.walk(child)
            )
            yield from blocks(file, child, (*functions, child.name), is_asking)
            continue
        if isinstance(child, ast.Await) and isinstance(child.value, ast.Call):
            yield from blocks(file, child.value, functions, asks)
            continue
        if isinstance(child, ast.Call) and is_blocking(child):
            yield Block(file, functions, ast.unparse(child.func)[-60:], child.lineno, asks)
        yield from blocks(file, child, functions, asks)


def is_blocking(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant | ast.JoinedStr):
        return False                                # ", ".join(…)
    name = ast.unparse(call.func)
    if CLOCK.match(name):
        return False
    receiver, _, verb = name.rpartition(".")
    if verb in {"wait", "wait_for"} and receiver.split(".")[-1] in guards():
        return False                                # it gives the lock up
    waits_in_a_queue = verb == "get" and any(each.arg == "timeout" for each in call.keywords)
    return waits_in_a_queue or bool(BLOCKING.match(name))


def all_blocks() -> list[Block]:
    return [block for file, tree in bot_files() for block in blocks(file, tree)]


def test_whatever_can_block_asks_first() -> None:
    """Each function that opens, connects, waits or joins calls `assert_no_lock_held`, or stands on the list."""
    found = all_blocks()
    assert len(found) > 70                          # or the names above match nothing any more
    unasked = [
        f"{block.file}:{block.line} {'.'.join(block.functions)} {block.what}"
        for block in found if not block.asks and not block.names & WITHOUT_ASKING.keys()
    ]
    assert not unasked


def test_the_list_of_exceptions_is_needed() -> None:
    """An exception nobody needs any more would excuse the next who comes."""
    needed = {name for block in all_blocks() if not block.asks for name in block.names}
    assert not WITHOUT_ASKING.keys() - needed


# ---- at run time --------------------------------------------------------------------------------


def entries(folder: Path) -> dict[str, Callable[[], object]]:
    """One of each kind of way out: wire, disk, waiting, threads, others' code, the log."""
    address = ControlAddress(url="http://127.0.0.1:1", token="t", pid=1, started="")
    return {
        "request": lambda: a_wire().fetch("http://127.0.0.1:1/"),
        "look-up": lambda: Resolver(lambda *_, **__: []).resolve("a.example", 1, 0.1),
        "control.json": lambda: address.write(folder),
        "control.json, read": lambda: read_address(folder),
        "data folder": lambda: Instance.claim(folder, SystemClock()),
        "settings": lambda: load_settings(folder / "config.yaml", {}),
        "event": lambda: SystemClock().wait(threading.Event(), 0.0),
        "another's condition": lambda: SystemClock().wait_for(threading.Condition(), lambda: True, 0.0),
        "systemd": lambda: systemd.notify("READY=1"),
        "stacks": lambda: append(folder / "stacks.log", "some"),
        "threads": UrgentPool("some", 1).start,
        "task": lambda: UrgentPool("some", 0).stop(0.0),
        "price stream": lambda: MarketStream.stop(object()),             # type: ignore[arg-type]
        "a file nobody asked about": lambda: (folder / "any").read_text(encoding="utf-8"),
        "a directory nobody asked about": lambda: list(folder.iterdir()),
    }


@pytest.mark.parametrize("what", entries(Path()))
def test_what_goes_out_refuses_to_under_a_lock(what: str, tmp_path: Path) -> None:
    """Each of them raises before it has done anything."""
    enter = entries(tmp_path)[what]
    with named_lock("state"), pytest.raises(LockBreach, match="while holding (lock )?'state'"):
        enter()
    assert not list(tmp_path.iterdir())


def test_a_wait_on_its_own_condition_gives_the_lock_up() -> None:
    """The clock lets a Condition be waited for under its own lock."""
    lock = named_lock("mine")
    bell = condition_on(lock)
    with bell:
        assert SystemClock().wait_for(bell, lambda: True, 0.0)


def test_a_log_line_under_a_lock_is_refused(tmp_path: Path) -> None:
    """By the log's own intake: in a daemon with RAD_LOCK_CHECK=1 as in the tests; by what writes it, too."""
    stream, record = io.StringIO(), logging.LogRecord("trade", logging.INFO, __file__, 1, "said", (), None)
    logs = start_logging("info", tmp_path / "a.log", stream=stream)
    try:
        for handler in (logs._intake, *logs._sinks):
            with named_lock("state"), pytest.raises(LockBreach, match="a log line while holding lock 'state'"):
                handler.handle(record)
    finally:
        assert logs.stop()
    assert stream.getvalue() == (tmp_path / "a.log").read_text(encoding="utf-8") == ""


# ---- block by block -----------------------------------------------------------------------------

CALLED_UNDER_A_LOCK = {
    ("execution/holding.py", "change"): "pure, as its callers are told",
    ("execution/book.py", "reduce"): "pure, as its callers are told",
}
MAY_BLOCK_UNDER_A_LOCK = {("runtime/deadline.py", "socket.socket.shutdown")}


@cache
def guards() -> frozenset[str]:
    """The names locks and Conditions go by: whatever named_lock or condition_on is assigned to."""
    return frozenset(
        ast.unparse(target).split(".")[-1]
        for _, tree in bot_files() for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in {"named_lock", "condition_on"}
        for target in node.targets
    )


def guarded_blocks() -> Iterator[tuple[str, ast.With, set[str]]]:
    """Each `with` on a lock, in its file, and the parameters of the function it is in."""
    for file, tree in bot_files():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            parameters = {each.arg for each in (*function.args.args, *function.args.kwonlyargs)} - {"self"}
            for node in ast.walk(function):
                if isinstance(node, ast.With) and any(
                    ast.unparse(item.context_expr).split(".")[-1] in guards() for item in node.items
                ):
                    yield file, node, parameters


def test_no_block_under_a_lock_can_take_long() -> None:
    """Under a lock: no blocking call but the wait on its own Condition, no log line, no await, no callback."""
    broken, seen = [], 0
    for file, block, parameters in guarded_blocks():
        seen += 1
        for node in ast.walk(block):
            if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
                broken.append(f"{file}:{node.lineno} hands over control under a lock")
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            handed = {ast.unparse(each).split(".")[-1] for each in node.args}
            waits_elsewhere = CLOCK.match(name) and not handed & guards()
            if (is_blocking(node) or waits_elsewhere) and (file, name) not in MAY_BLOCK_UNDER_A_LOCK:
                broken.append(f"{file}:{node.lineno} {name} under a lock")
            if name.startswith("log."):
                broken.append(f"{file}:{node.lineno} a log line under a lock")
            callback = name in parameters or re.match(r"self\._on_", name)
            if callback and (file, name) not in CALLED_UNDER_A_LOCK:
                broken.append(f"{file}:{node.lineno} {name}, others' code, under a lock")
    assert seen > 100
    assert not broken


def test_the_reader_of_blocks_sees_what_it_should() -> None:
    """Of a file with every kind of fault each is found; the rest of these tests could not fail otherwise."""
    tree = ast.parse(Path(__file__).with_name("io_under_a_lock.txt").read_text(encoding="utf-8"))
    found = list(blocks("example.py", tree))
    assert [(block.functions[-1], block.what, block.asks) for block in found] == [
        ("reads", "path.read_text", False), ("asks", "open", True), ("waits", "self._done.wait", False),
        ("inner", "thread.join", False),
    ]
