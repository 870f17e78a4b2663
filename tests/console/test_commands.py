"""The command line against a control API that answers from memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from console.__main__ import main
from console.aftermath import ANSWERS
from console.arguments import QUESTIONS
from control.address import ControlAddress
from control.server import ControlServer
from control.steering import ERROR, NotFound
from runtime.options import RunOptions
from tests.control.fake_steering import POSITION, STATUS, TRADE, FakeSteering
from trading.errors import ConfigError, OrderRejected, OutcomeUnknown

PROJECT = Path(__file__).resolve().parents[2]
Console = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def rad(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Console:
    """Run one command in this process; returns exit code, stdout and stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[FakeSteering]:
    steering = FakeSteering()
    server = ControlServer(steering, data_dir=data_dir, ask_timeout_s=0.2, act_timeout_s=0.2)
    server.start()
    yield steering
    steering.released.set()
    server.stop()


@pytest.fixture
def bot(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for bot.py that notes what it is asked to do."""
    module = ModuleType("bot")
    module.asked = []   # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bot", module)
    return module


def test_the_black_list_is_read_and_changed(rad: Console, daemon: FakeSteering) -> None:
    """As `config`, one word says what; half a command is refused."""
    assert rad("blacklist") == (0, "nothing is on the black list\n", "")
    assert rad("blacklist", "add", "XBTUSDTM") == (0, "XBTUSDTM\n", "")
    assert rad("blacklist", "remove", "XBTUSDTM", "--json")[0] == 0
    assert rad("blacklist", "add")[0] == rad("blacklist", "XBTUSDTM")[0] == 1
    assert daemon.asked == [("blacklist",), ("blacklist_add", "XBTUSDTM"), ("blacklist_remove", "XBTUSDTM")]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("status", STATUS), ("positions", [POSITION]), ("opportunities", []), ("orders", []), ("trades", []),
        ("threads", {"threads": [], "locks": [], "strips": {}}), ("verify", {"agree": True, "differences": []}),
    ],
)
def test_json_is_what_the_daemon_says(rad: Console, daemon: FakeSteering, command: str, answer: Any) -> None:
    """--json prints the daemon's answer as one document and nothing else."""
    code, out, err = rad(command, "--json")
    assert (code, json.loads(out), err) == (0, answer, "")


def test_tables_are_aligned_text_when_piped(rad: Console, daemon: FakeSteering) -> None:
    """Without a terminal a table has one line per row, its columns below their titles."""
    _, out, _ = rad("positions")
    title, row = out.splitlines()
    assert title.split()[:3] == ["symbol", "side", "quantity"]
    assert row.split()[:7] == ["BTC/USDT:USDT", "long", "10", "50000", "50500", "49900", "49750"]
    assert title.index("side") == row.index("long")
    assert "\x1b" not in out


def test_status_names_every_problem(rad: Console, daemon: FakeSteering) -> None:
    """Problems and unprotected positions are in the status a person reads."""
    daemon.on["status"] = lambda: STATUS | {"protected": 0, "problems": ["no stop for X", "clock is off"],
                                  "entries_blocked": "daily loss limit: -500 since the day began"}
    _, out, _ = rad("status")
    assert "problem       no stop for X\nproblem       clock is off\n" in out
    assert "1, 0 of them protected on the exchange" in out
    assert "entries       none: daily loss limit: -500 since the day began\n" in out


def test_empty_answers_are_sentences(rad: Console, daemon: FakeSteering) -> None:
    """An empty list is told in words."""
    assert rad("opportunities")[1] == "No opportunities in the latest scan.\n"
    assert rad("trades", "--limit", "5")[1] == "No closed trades yet.\n"
    assert daemon.asked[-1] == ("trades", 5)


def test_acting_by_hand(rad: Console, daemon: FakeSteering) -> None:
    """Each command of the hand reaches the daemon, and its sentence is printed."""
    from decimal import Decimal

    assert rad("open", "XBTUSDTM", "--side", "short", "--notional", "1e2")[:2] == (
        0, "Opened long 10 XBTUSDTM at 50000, stop 49750 on the exchange.\n"
    )
    assert rad("close", "BTC/USDT:USDT")[:2] == (
        0, "Closed long 10 BTC/USDT:USDT at 50512.5, PnL +4.52.\n"
    )
    assert "Closed long 10 BTC/USDT:USDT" in rad("flatten")[1]
    assert rad("pause")[1].startswith("Paused")
    assert json.loads(rad("resume", "--json")[1]) == {"paused": False}
    assert daemon.asked == [
        ("open", "XBTUSDTM", "short", Decimal("100")), ("close", "BTC/USDT:USDT"), ("flatten",), ("pause",),
        ("resume",),
    ]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (NotFound("no position in X"), 2), (ConfigError("limits"), 4), (OutcomeUnknown("no answer"), 5),
        (OrderRejected("balance insufficient"), 1), (ValueError("a bug"), 1),
    ],
)
def test_refusals_are_one_line_and_an_exit_code(
    rad: Console, daemon: FakeSteering, error: Exception, exit_code: int
) -> None:
    """What the daemon refuses ends the command with one line on stderr."""

    def fail(symbol: str) -> None:
        raise error

    daemon.on["close"] = fail
    code, out, err = rad("close", "X")
    assert (code, out, err.count("\n")) == (exit_code, "", 1)
    assert err.startswith("rad: ")
    code, out, _ = rad("close", "X", "--json")
    assert json.loads(out)["exit_code"] == code == exit_code


def test_what_flatten_could_not_close_is_an_error(rad: Console, daemon: FakeSteering) -> None:
    """A flatten that leaves something open says what, and does not end with 0."""
    daemon.on["flatten"] = lambda: {"closed": [TRADE], "failed": ["X: the exchange refused"], "paused": True}
    code, out, _ = rad("flatten")
    assert code == 1
    assert "NOT closed: X: the exchange refused\n" in out


def test_a_hung_daemon_is_a_timeout(rad: Console, daemon: FakeSteering) -> None:
    """A daemon whose call hangs ends the command with exit code 5."""
    daemon.on["status"] = daemon.hang
    assert rad("status")[0] == 5


VERIFIED = {
    "agree": False, "under_way": [{"symbol": "SOL/USDT:USDT", "what": "an exit"}], "compared_by": "daemon",
    "foreign_fills": 2, "older_trades": 1, "since": "2026-01-02T03:04:05.678Z",
    "positions": [
        {"symbol": "BTC/USDT:USDT", "verdict": "agree",
         "journal": {"side": "long", "quantity": "10", "entry_price": "0.438670637451"},
         "exchange": {"side": "long", "quantity": "10", "entry_price": "0.438670637451"}},
        {"symbol": "ETH/USDT:USDT", "verdict": "differs", "journal": None,
         "exchange": {"side": "short", "quantity": "3", "entry_price": "2000"}},
    ],
    "stops": [{"symbol": "BTC/USDT:USDT", "verdict": "agree", "journal": {"stop_price": "0.41"},
               "exchange": {"stop_price": "0.41"}}],
    "orders": [],
    "fills": [{"symbol": "BTC/USDT:USDT", "verdict": "agree", "journal": {"count": 1, "value": "4.38"},
               "exchange": {"count": 1, "value": "4.38"}}],
    "fees": [{"symbol": None, "verdict": "agree", "journal": "0.123456789", "exchange": "0.123456789"}],
    "realised_pnl": [{"symbol": "BTC/USDT:USDT", "verdict": "differs", "journal": "1.00000001", "exchange": "1"}],
    "differences": [{
        "kind": "foreign", "symbol": "ETH/USDT:USDT", "book": "none", "exchange": "short 3 at 2000",
        "order_id": "", "text": "…", "meaning": "Nobody knows it.", "remedy": "RAD leaves it alone.",
    }],
}


def test_differences_fail_verify(rad: Console, daemon: FakeSteering) -> None:
    """verify is 0 only when journal and exchange agree; each difference is explained, the verdict comes last."""
    daemon.on["verify"] = lambda: VERIFIED
    code, out, _ = rad("verify")
    assert code == 1
    lines = [line.rstrip() for line in out.splitlines()]
    told = "\n".join(" ".join(line.split()) for line in lines)
    for line in (
        "BTC/USDT:USDT long 10 at 0.43867064 long 10 at 0.43867064 agree",
        "ETH/USDT:USDT – short 3 at 2000 differs",
        "BTC/USDT:USDT at 0.41 at 0.41 agree",
        "Orders none none",
        "BTC/USDT:USDT 1 for 4.38 1 for 4.38 agree",
        "total 0.1235 0.1235 agree",
        "BTC/USDT:USDT 1.00000001 1 differs",
        "SOL/USDT:USDT under way: an exit; not judged.",
        "ETH/USDT:USDT foreign",
        "Journal: none. Exchange: short 3 at 2000.",
        "Nobody knows it.",
        "RAD leaves it alone.",
        "2 fills of orders that are not RAD's: not compared.",
    ):
        assert line in told.splitlines()
    assert lines[-1] == "Journal and exchange differ: 1 difference, explained above."
    assert "\x1b" not in out


@pytest.mark.parametrize("width", [80, 120])
def test_verify_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    """On a terminal nothing is cut off at 80 columns, and the wrong rows are red."""
    from console.comparison import show_verify

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    show_verify(VERIFIED)
    out = capsys.readouterr().out
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in out.splitlines()]
    assert max(map(len, plain)) <= width
    assert not any("…" in line for line in plain)
    wrong = [line for line in out.splitlines() if "differs" in line]
    assert len(wrong) == 2
    assert all("\x1b[1;31m" in line for line in wrong)


def test_an_older_daemons_verify_is_shown_too(rad: Console, daemon: FakeSteering) -> None:
    """An answer that has agree and differences alone, as the interface promises, is enough."""
    daemon.on["verify"] = lambda: {"agree": False, "differences": [{"symbol": "X", "text": "stop is missing"}]}
    code, out, _ = rad("verify")
    assert code == 1
    assert "stop is missing" in out


@pytest.mark.parametrize(
    "argv",
    [
        ("opportunities",), ("threads",), ("pause",), ("resume",), ("flatten",), ("close", "X"),
        ("open", "X", "--side", "long"),
    ],
)
def test_what_needs_the_daemon_says_so(rad: Console, argv: tuple[str, ...]) -> None:
    """Without a daemon: exit code 3, one line that says how to start it."""
    code, out, err = rad(*argv)
    assert (code, out) == (3, "")
    assert err == f"rad: the daemon is not running, and {argv[0]} needs it; start it with ./rad run\n"


def test_a_file_of_a_dead_daemon_is_no_daemon(rad: Console, data_dir: Path) -> None:
    """control.json outlives a power cut; nobody listening there means not running."""
    ControlAddress(url="http://127.0.0.1:1", token="t", pid=2**22 + 1, started="").write(data_dir)
    assert rad("pause")[0] == 3
    (data_dir / "control.json").write_text("{half")
    assert rad("pause")[0] == 3


@pytest.mark.parametrize(
    "argv",
    [
        ("nonsense",), ("open", "X"), ("open", "X", "--side", "up"), ("status", "--bad"), ("close",),
        ("open", "X", "--side", "long", "--notional", "-3"),
        ("open", "X", "--side", "long", "--notional", "1e999999999"),
        ("open", "X", "--side", "long", "--notional", "1e-999999"),
        ("trades", "--limit", "0"), ("scan",), ("config",),
    ],
)
def test_usage_errors_are_one_line(rad: Console, argv: tuple[str, ...]) -> None:
    """What makes no sense ends with exit code 1 and points at the help."""
    code, out, err = rad(*argv)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.endswith("--help\n")


def test_run_hands_its_arguments_to_the_bot(rad: Console, bot: Any) -> None:
    """run takes the same arguments as bot.py, and its exit code is the bot's."""
    bot.run = lambda options: bot.asked.append(options) or 5
    code, _, _ = rad("run", "--mode", "paper", "--guard", "--for", "2.5", "--config", "/tmp/c.yaml")
    assert code == 5
    assert bot.asked == [
        RunOptions(mode="paper", guard=True, for_seconds=2.5, config=Path("/tmp/c.yaml"))
    ]


@pytest.mark.parametrize(
    "argv", [("--mode", "live"), ("--mode", "dry"), ("--for", "-1"), ("--for", "soon"), ("--nonsense",)]
)
def test_run_refuses_what_is_not_meant(rad: Console, bot: Any, argv: tuple[str, ...]) -> None:
    """Live without --live, and anything not understood, never reaches the bot: exit code 4."""
    code, out, err = rad("run", *argv)
    assert (code, out, err.count("\n")) == (4, "", 1)


def test_scan_prints_one_document_whatever_the_bot_prints(rad: Console, bot: Any) -> None:
    """What the bot says on the way goes to stderr."""

    def scan_once(options: RunOptions, running: object) -> list[dict[str, Any]]:
        assert running is None
        print("scanning 60 pairs")
        return [{"symbol": "X", "side": "long", "score": "0.5"}]

    bot.scan_once = scan_once
    code, out, err = rad("scan", "--once", "--json")
    assert (code, json.loads(out)[0]["symbol"]) == (0, "X")
    assert "scanning 60 pairs" in err


def test_scan_is_told_of_the_daemon_that_runs(rad: Console, daemon: FakeSteering, bot: Any) -> None:
    """Its status says which exchange is there to be scanned."""
    bot.scan_once = lambda options, running: bot.asked.append(running) or []
    assert rad("scan", "--once", "--json")[:2] == (0, "[]\n")
    assert bot.asked == [STATUS]


def test_verify_without_a_daemon_compares_here(rad: Console, bot: Any) -> None:
    """With the daemon down this process compares."""
    bot.verify = lambda options: bot.asked.append(options.mode) or {"agree": True, "differences": []}
    code, out, _ = rad("verify", "--mode", "paper")
    assert (code, out.splitlines()[-1]) == (0, "Journal and exchange agree.")
    assert bot.asked == ["paper"]


def test_the_unforeseen_is_one_line_too(rad: Console, bot: Any) -> None:
    """A bug ends in one line that says where its traceback lies."""
    bot.scan_once = lambda *asked: 1 // 0
    code, out, err = rad("scan", "--once")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "unexpected ZeroDivisionError" in err
    trace = Path(err.rsplit(": ", 1)[1].rstrip(")\n"))
    assert "Traceback" in trace.read_text()
    trace.unlink()


def test_interrupting_is_quiet(rad: Console, bot: Any) -> None:
    """Ctrl-C leaves no traceback."""

    def interrupted(*asked: object) -> None:
        raise KeyboardInterrupt

    bot.scan_once = interrupted
    assert rad("scan", "--once") == (130, "", "rad: interrupted\n")


def console_process(data_dir: Path, *argv: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "console", *argv], cwd=PROJECT, text=True, capture_output=True,
        timeout=20, env=os.environ | {"RAD_DATA_DIR": str(data_dir)}, check=False,
    )


def loaded_by(data_dir: Path, *argv: str) -> set[str]:
    """Return every module that a command imports, having seen it end well."""
    done = console_process(data_dir, *argv, "--json", python=("-X", "importtime"))
    assert done.returncode in (0, 3), done.stderr       # 3: status, where no daemon runs
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "console.commands" in loaded
    return loaded


SLOW = {"ccxt", "numpy", "talib", "sqlalchemy", "aiohttp", "rich", "requests"}


@pytest.mark.parametrize("is_up", [True, False])
def test_asking_stays_quick(data_dir: Path, request: pytest.FixtureRequest, is_up: bool) -> None:
    """The commands that only ask load nothing that takes its time, daemon or not."""
    if is_up:
        request.getfixturevalue("daemon")
    for command in QUESTIONS if is_up else ANSWERS:
        assert not loaded_by(data_dir, command) & (SLOW | {"pydantic"}), command


@pytest.mark.parametrize("what", ["show", "check"])
def test_asking_for_the_settings_stays_quick(data_dir: Path, what: str) -> None:
    """Settings need pydantic, and nothing that computes or trades."""
    assert not loaded_by(data_dir, "config", what) & SLOW


def test_a_reader_that_leaves_is_no_error(data_dir: Path, daemon: FakeSteering) -> None:
    """`rad trades | head` ends quietly."""
    daemon.on["positions"] = lambda: [POSITION] * 1000
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "console", "positions"], cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE,
        timeout=20, env=os.environ | {"RAD_DATA_DIR": str(data_dir)}, check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture
def locked_out(data_dir: Path) -> Iterator[None]:
    """The data folder is another user's, as that of a service is for whoever forgets to say sudo."""
    (data_dir / "control.json").write_text('{"url": "http://127.0.0.1:9", "token": "x", "pid": 1, "started": ""}')
    (data_dir / "rad.log").write_text("")
    (data_dir / "control.json").chmod(0o600)
    data_dir.chmod(0o700)
    is_root = os.geteuid() == 0
    if is_root:
        for argv in LOCKED_OUT:
            main(argv)                       # whatever they import: the other user may not reach it either
        os.seteuid(65534)
    else:
        data_dir.chmod(0)
    yield
    if is_root:
        os.seteuid(0)
    data_dir.chmod(0o700)


LOCKED_OUT = [
    *([name] for name in ("status", "positions", "trades", "orders", "threads", "opportunities", "pause", "resume",
                          "flatten", "blacklist", "reload", "page", "verify", "backup", "report", "logs")),
    ["close", "BTC"], ["open", "BTC", "--side", "long"], ["positions", "--mode", "live"],
    ["trades", "--mode", "sandbox"], ["report", "--mode", "paper"],
]


def test_what_another_user_keeps_is_not_taken_for_nothing(
    locked_out: None, bot: Any, capsys: pytest.CaptureFixture[str], data_dir: Path
) -> None:
    """Neither "not running" nor "no open positions": nothing is known, and who may know it is said."""
    for argv in LOCKED_OUT:
        capsys.readouterr()
        assert main(argv) == ERROR, argv
        said = capsys.readouterr()
        assert not said.out.strip(), argv
        assert "can be read only by the user RAD runs as" in said.err, argv
        assert str(data_dir) in said.err


def test_a_token_of_another_users_is_not_taken_for_no_daemon(
    rad: Console, daemon: FakeSteering, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be looked into, the file in it that says where the daemon listens may not."""
    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        code, _, err = rad("flatten")
    assert (code, daemon.asked) == (ERROR, [])
    assert "can be read only by" in err
