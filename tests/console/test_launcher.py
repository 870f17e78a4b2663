"""`./rad`, with stand-ins for every Python it could find: nothing is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "cat", "cksum", "cp", "dirname", "basename", "mkdir", "mv", "readlink", "rm", "sleep")

# Notes how it was called, then does as little as the launcher can bear.
STAND_IN = f"""#!/bin/sh
echo "$(basename "$0") $*" >>"$STAND_IN_LOG"
case "$1 $2" in
    "-c import sys; sys.exit(sys.version_info"*) exit "${{STAND_IN_TOO_OLD:-0}}" ;;
    "-c import ensurepip"*) exit "${{STAND_IN_BARE:-0}}" ;;
    "-c import fcntl"*) echo "asks for the lock" >&2; exec {sys.executable} "$@" ;;
    "-c import platform"*) echo "Python 3.11" ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") echo "pip starts"; [ -z "$STAND_IN_FIFO" ] || read -r line <"$STAND_IN_FIFO"
        exit "${{STAND_IN_PIP:-0}}" ;;
    "-m console") shift 2; printf '%s|' "$PWD" "$RAD_CALLER_DIR" "$@" ;;
    "-m ruff") exit "${{STAND_IN_RUFF:-0}}" ;;
    "-m mypy") [ -z "$STAND_IN_FIFO" ] || read -r line <"$STAND_IN_FIFO" ;;
    "-m pytest")
        if [ "$3" = --collect-only ]; then
            [ -n "$STAND_IN_FIFO" ] || exit 5
            exec 3>"$STAND_IN_COMPILES"
            echo "compiling" >&3
            read -r line <"$STAND_IN_FIFO"
        fi
        echo "3 passed in 0.01s"; exit "${{STAND_IN_PYTEST:-0}}" ;;
esac
"""


class Checkout:
    """A bare project folder, and a PATH on which only stand-ins answer to the name of Python."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a project"      # with a space: every path must be quoted
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.bin.mkdir()
        (self.root / "tests").mkdir(parents=True)
        shutil.copy(PROJECT / "rad", self.root / "rad")
        (self.root / "requirements.txt").write_text("one\n")
        (self.root / "tests" / "requirements.txt").write_text("two\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "")
        self.add_python("python3")

    def add_python(self, name: str) -> None:
        (self.bin / name).write_text(STAND_IN)
        (self.bin / name).chmod(0o755)

    def start(
        self, *args: str, rad: Path | None = None, cwd: Path | None = None, shell: str = "",
        start_new_session: bool = False, **env: str,
    ) -> subprocess.Popen[str]:
        command = [*([shell] if shell else []), str(rad or self.root / "rad"), *args]
        return subprocess.Popen(
            command, cwd=cwd or self.root, text=True, start_new_session=start_new_session,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": str(self.bin), "STAND_IN_LOG": str(self.log), **env},
        )

    def run(self, *args: str, rad: Path | None = None, cwd: Path | None = None, shell: str = "",
            **env: str) -> tuple[int, str, str]:
        process = self.start(*args, rad=rad, cwd=cwd, shell=shell, **env)
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err

    def calls(self, containing: str) -> list[str]:
        """What the stand-ins were asked that contains this."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if containing in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_every_posix_shell_reads_it(shell: str) -> None:
    """The launcher is plain POSIX shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    subprocess.run([shell, "-n", str(PROJECT / "rad")], check=True)


def test_launchers_are_executable() -> None:
    """A clone can call them as they are."""
    assert os.access(PROJECT / "rad", os.X_OK)
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)


def test_first_call_makes_the_environment_and_later_ones_do_not(checkout: Checkout) -> None:
    """venv, install, then the console; the second call goes straight to the console."""
    code, out, err = checkout.run("status", "--json")
    assert code == 0
    assert out == f"{checkout.root}|{checkout.root}|status|--json|"
    assert "installing what requirements.txt names" in err
    assert len(checkout.calls("-m venv")) == len(checkout.calls("-m pip install")) == 1
    assert str(checkout.root / "requirements.txt") in checkout.calls("-m pip")[0]

    code, out, err = checkout.run("status")
    assert (code, err) == (0, "")
    assert len(checkout.calls("-m pip")) == 1


def test_changed_requirements_are_installed(checkout: Checkout) -> None:
    """A changed requirements.txt is installed into the environment that is there."""
    checkout.run()
    (checkout.root / "requirements.txt").write_text("another\n")
    assert checkout.run()[0] == 0
    assert checkout.run()[0] == 0
    assert (len(checkout.calls("-m venv")), len(checkout.calls("-m pip"))) == (1, 2)


def test_half_made_environments_are_made_anew(checkout: Checkout) -> None:
    """An install that failed leaves no environment that looks whole; the next call starts over."""
    code, out, err = checkout.run("status", STAND_IN_PIP="1")
    assert (code, out) == (1, "")
    assert "could not install what requirements.txt names" in err
    leftover = checkout.root / ".venv" / "leftover"
    leftover.touch()

    assert checkout.run("status")[0] == 0
    assert not leftover.exists()
    assert len(checkout.calls("-m venv")) == 2


def test_interrupting_an_install_leaves_nothing_running(checkout: Checkout, tmp_path: Path) -> None:
    """Ctrl-C while pip runs ends pip and the ticker too, and the next call starts over."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = checkout.start("status", STAND_IN_FIFO=str(fifo), start_new_session=True)
    assert process.stderr is not None
    assert any("pip starts" in line for line in process.stderr)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=5)         # the end of stderr: nobody holds it any more
    assert process.returncode == 130
    assert checkout.run("status")[0] == 0
    assert len(checkout.calls("-m venv")) == 2


def test_two_first_calls_at_once_install_once(checkout: Checkout, tmp_path: Path) -> None:
    """The second caller waits for the first and finds the work done."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    first = checkout.start("status", STAND_IN_FIFO=str(fifo))
    assert first.stderr is not None
    assert any("pip starts" in line for line in first.stderr)
    second = checkout.start("positions")
    assert second.stderr is not None
    assert any("asks for the lock" in line for line in second.stderr)
    with fifo.open("w") as file:
        file.write("go on\n")
    assert first.communicate(timeout=20)[0].endswith("status|")
    assert second.communicate(timeout=20)[0].endswith("positions|")
    assert (len(checkout.calls("-m venv")), len(checkout.calls("-m pip"))) == (1, 1)


def test_works_from_elsewhere_through_links_without_a_home(checkout: Checkout, tmp_path: Path) -> None:
    """Called through a chain of links from another folder, with no HOME, it finds its project."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "absolute").symlink_to(checkout.root / "rad")
    (tmp_path / "relative").symlink_to("elsewhere/absolute")
    for home in ({}, {"HOME": ""}, {"HOME": str(tmp_path / "nowhere")}):
        code, out, _ = checkout.run("a b", rad=tmp_path / "relative", cwd=elsewhere, shell="sh", **home)
        assert (code, out) == (0, f"{checkout.root}|{elsewhere}|a b|")


def test_no_python_is_one_clear_line(checkout: Checkout) -> None:
    """Without a Python that is new enough there is one sentence and exit code 1."""
    assert checkout.run("status", STAND_IN_TOO_OLD="1") == (
        1, "", "rad: needs Python 3.11 or newer, and found none "
        "(tried python3 and python3.11 to python3.14)\n",
    )


def test_a_newer_python_beside_an_old_one_is_found(checkout: Checkout) -> None:
    """An old python3 does not keep python3.12 from being used."""
    (checkout.bin / "python3").write_text("#!/bin/sh\nexit 1\n")
    checkout.add_python("python3.12")
    assert checkout.run("status")[0] == 0
    assert checkout.calls("python3.12 -m venv")


def test_missing_venv_names_the_one_package(checkout: Checkout) -> None:
    """Debian leaves venv out: the one line that puts it in is said."""
    assert checkout.run("status", STAND_IN_BARE="1") == (
        1, "", "rad: python3 cannot make environments yet; run: sudo apt-get install python3-venv\n"
    )


def test_test_runs_every_check_and_ends_with_pytest(checkout: Checkout) -> None:
    """ruff, mypy, the import contracts and pytest, in this order; pytest has the last word.

    Beside them the tests are compiled, and whether that succeeds is nobody's concern.
    """
    code, out, err = checkout.run("test")
    assert code == 0
    assert out.splitlines()[-1] == "3 passed in 0.01s"
    assert err.splitlines()[-1] == "rad: pytest"
    asked = [line.split("python ", 1)[1] for line in checkout.calls("") if line.startswith("python -")]
    compiling = [line for line in asked if "--collect-only" in line]
    assert len(compiling) == 1
    assert [line.split()[1] for line in asked if not line.startswith("-m pip") and line not in compiling] == [
        "ruff", "mypy", "import", "pytest"
    ]
    assert len(checkout.calls("-m pip")) == 2
    checkout.run("test")
    assert len(checkout.calls("-m pip")) == 2


def test_test_stops_at_the_first_failure(checkout: Checkout) -> None:
    """A failing stage ends it with that stage's exit code."""
    assert checkout.run("test", STAND_IN_RUFF="7")[0] == 7
    assert not [line for line in checkout.calls("-m pytest") if "--collect-only" not in line]
    assert checkout.run("test", STAND_IN_PYTEST="3")[0] == 3


def test_interrupting_the_checks_leaves_nothing_running(checkout: Checkout, tmp_path: Path) -> None:
    """Ctrl-C in a check ends what compiles the tests beside it."""
    fifo, compiles = tmp_path / "fifo", tmp_path / "compiles"
    os.mkfifo(fifo)
    os.mkfifo(compiles)
    checkout.run("test", "--version")
    process = checkout.start(
        "test", STAND_IN_FIFO=str(fifo), STAND_IN_COMPILES=str(compiles), start_new_session=True
    )
    with compiles.open() as compiling:               # it has begun, and has the other end
        assert compiling.readline() == "compiling\n"
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=5)
        assert process.returncode == 130
        assert compiling.read() == ""                # it has let go


def test_test_arguments_are_for_pytest_alone(checkout: Checkout) -> None:
    """With arguments only pytest runs."""
    assert checkout.run("test", "-k", "two words")[0] == 0
    assert checkout.calls("-m pytest") == ["python -m pytest -k two words"]
    assert not checkout.calls("-m ruff")
