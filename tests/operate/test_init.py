"""`./rad init`: what it asks, what it refuses, and that nothing is ever half written."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from console import init as init_module
from console import writing
from console.__main__ import main
from console.config_edit import live_numbers, with_values
from runtime.options import KEY_OVERRIDE
from runtime.secrets import Secrets, secrets_in
from runtime.settings import load_settings
from sandbox.embedded import RunningSandbox

Live = Callable[..., dict[str, str]]
PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = (PROJECT / "config.yaml").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files are to go, with the settings file as it is shipped; nobody sits at the keyboard."""
    (tmp_path / "config.yaml").write_text(SHIPPED, encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


def init(folder: Path, *more: str) -> int:
    """Run it on the files of *folder*, every answer a flag."""
    places = ["--config", str(folder / "config.yaml"), "--env-file", str(folder / ".env")]
    return main(["init", *places, *more])


def left(folder: Path) -> dict[str, str]:
    """Return every file there is, but for the data folder."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_it_writes_both_files(live: Live, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys of the environment, numbers for real money, a data folder: written, and read back as meant."""
    keys = live()
    assert init(folder, "--mode", "live", "--overwrite", "--max-open", "2", "--data-dir", "/var/lib/rad") == 0
    found = secrets_in(folder / ".env")
    assert (found.key, found.secret, found.passphrase) == tuple(keys.values())
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert (written["mode"], written["data_dir"]) == ("live", "/var/lib/rad")
    assert (written["positions"]["max_open"], written["positions"]["leverage"]) == (2, 2)     # live: 2
    assert (written["limits"]["daily_loss"], written["scanner"]["timeframe"]) == ("2%", "15m")
    said = "".join(capsys.readouterr())
    assert not [value for value in keys.values() if value in said]


def test_comments_stay_where_they_are(live: Live, folder: Path) -> None:
    """Only values have changed: without them, the file is what it was."""
    live()
    init(folder, "--mode", "live", "--overwrite")
    before, after = SHIPPED.splitlines(), (folder / "config.yaml").read_text().splitlines()
    assert len(before) == len(after)
    comments = [[line.partition("#")[2] for line in lines] for lines in (before, after)]
    assert comments[0] == comments[1]


def test_what_is_there_is_not_touched_without_a_word(live: Live, folder: Path) -> None:
    """Neither file is overwritten unless told to; keys that are there can be kept, and are tried."""
    live()
    (folder / ".env").write_text("KUCOIN_API_KEY=mine\n")
    before = left(folder)
    assert init(folder, "--mode", "live") == 4
    assert left(folder) == before
    assert init(folder, "--mode", "live", "--overwrite") == 0
    assert secrets_in(folder / ".env").key != "mine"
    before = left(folder)
    assert init(folder, "--mode", "live", "--keep-keys", "--max-open", "1") == 4   # config.yaml would change
    assert left(folder) == before


def test_keys_stay_while_settings_change(live: Live, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two questions has its own flag, and a script can say yes to both."""
    live()
    assert init(folder, "--mode", "live", "--overwrite") == 0
    text = (folder / ".env").read_text()
    for name in ("KUCOIN_API_KEY", "KUCOIN_API_SECRET", "KUCOIN_API_PASSPHRASE"):
        monkeypatch.delenv(name)
    assert init(folder, "--mode", "live", "--keep-keys", "--overwrite", "--max-open", "1") == 0
    assert (folder / ".env").read_text() == text
    assert yaml.safe_load((folder / "config.yaml").read_text())["positions"]["max_open"] == 1


def test_new_keys_take_the_place_of_the_old_and_of_nothing_else(live: Live, folder: Path) -> None:
    """Where messages go stands in the same file: a key that is renewed must not silence RAD."""
    keys = live()
    others = "# to my phone\nNOTIFY_URL_PHONE=ntfy://topic\n\nexport TELEGRAM_TOKEN='1:a\nb'\n"
    (folder / ".env").write_text(f"KUCOIN_API_KEY=old\n{others}KUCOIN_API_SECRET=old\n")
    for _ in range(2):
        assert init(folder, "--mode", "live", "--overwrite") == 0
        text = (folder / ".env").read_text()
        assert text.endswith(others)
        assert text.count(init_module.HEADING) == 1
        assert secrets_in(folder / ".env").key == keys["key"]
        assert "old" not in text


def test_a_file_without_keys_is_added_to(live: Live, folder: Path) -> None:
    """There is nothing in it to be kept or overwritten."""
    live()
    (folder / ".env").write_text("NOTIFY_URL=ntfy://topic\n")
    (folder / "config.yaml").unlink()
    assert init(folder, "--mode", "live") == 0
    assert "NOTIFY_URL=ntfy://topic\n" in (folder / ".env").read_text()
    assert secrets_in(folder / ".env").is_complete


@pytest.mark.parametrize(("wish", "code", "words"), [
    ({"permissions": ["General", "Futures", "Transfer"]}, 4, KEY_OVERRIDE),
    ({"permissions": ["General"]}, 4, "lacks the permission Futures"),
    ({"ip_whitelist": "10.0.0.7"}, 4, "bound to other addresses"),
])
def test_a_key_that_should_not_trade_is_not_written(
    live: Live, folder: Path, capsys: pytest.CaptureFixture[str], wish: dict[str, Any], code: int, words: str
) -> None:
    """It is tried before anything is written; nothing is, and the reason is said."""
    live(**wish)
    before = left(folder)
    assert init(folder, "--mode", "live", "--overwrite") == code
    assert left(folder) == before
    assert words in capsys.readouterr().err


def test_the_override_is_understood(live: Live, folder: Path) -> None:
    live(permissions=["General", "Futures", "Transfer"])
    assert init(folder, "--mode", "live", "--overwrite", KEY_OVERRIDE) == 0


def test_nobody_answers(live: Live, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be tried is not written, exit code 5; `--untested` writes it all the same."""
    live()
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:1")
    assert init(folder, "--mode", "live", "--overwrite") == 5
    assert not (folder / ".env").exists()
    assert init(folder, "--mode", "live", "--overwrite", "--untested") == 0
    assert (folder / ".env").exists()


def test_the_kind_of_key_is_found_out(live: Live, folder: Path, exchange: RunningSandbox) -> None:
    """KuCoin takes no version 2 any more: version 3 is tried, and written down."""
    live()
    exchange.control("settings", {"least_key_version": 3})
    try:
        assert init(folder, "--mode", "live", "--overwrite") == 0
    finally:
        exchange.control("settings", {"least_key_version": 2})
    assert load_settings(folder / "config.yaml", environ={}).exchange.key_version == 3


@pytest.mark.parametrize("flags", [
    ("--max-open", "many"), ("--leverage", "0"), ("--risk-per-trade", "half"), ("--max-notional", "-5"),
])
def test_a_wrong_answer_writes_nothing(live: Live, folder: Path, flags: tuple[str, str]) -> None:
    """Each is checked as the settings are; exit code 4."""
    live()
    before = left(folder)
    assert init(folder, "--mode", "sandbox", "--overwrite", *flags) == 4
    assert left(folder) == before


@pytest.mark.parametrize("passphrase", ["it's", 'say "x"', "back\\slash", "a # b", "$HOME ${X}", " in  two ", "é"])
def test_any_passphrase_comes_back_as_it_is(tmp_path: Path, passphrase: str) -> None:
    """Quotes, dollars, hashes: .env says exactly what was typed."""
    file = tmp_path / ".env"
    file.write_text(init_module._env_text(Secrets(key="k", secret="s", passphrase=passphrase)), encoding="utf-8")
    assert secrets_in(file).passphrase == passphrase.strip()


def test_secret_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with a careless umask, and before anything is in it, no other user can open the new file."""
    seen: list[int] = []
    real = os.open

    def watched(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        descriptor = real(path, flags, mode, **more)
        if flags & os.O_CREAT:
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(writing.os, "open", watched)
    before = os.umask(0)
    try:
        writing.write_all([writing.Draft(path=tmp_path / ".env", text="x", mode=writing.SECRET)])
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_full_disk_leaves_both_files_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second cannot be written: the first is not put in place either, and no scrap is left."""
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", fsync)
    drafts = [writing.Draft(path=first, text="new"), writing.Draft(path=second, text="new")]
    with pytest.raises(Exception, match="No space left"):
        writing.write_all(drafts)
    assert left(tmp_path) == {"one": "old"}


def test_ctrl_c_between_the_two_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever interrupts while the files are put in place finds both there."""
    real = Path.replace

    def interrupted(self: Path, target: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)            # held back until both are in place
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    drafts = [writing.Draft(path=tmp_path / name, text="new") for name in ("one", "two")]
    with pytest.raises(KeyboardInterrupt):
        writing.write_all(drafts)
    assert left(tmp_path) == {"one": "new", "two": "new"}


# ---- at a keyboard ------------------------------------------------------------------------------


class Terminal:
    """`init` at a terminal of its own, with somebody who reads and types."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        places = ["--config", str(folder / "config.yaml"), "--env-file", str(folder / ".env")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console", "init", *places], cwd=PROJECT, stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True, preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0),
            env={name: value for name, value in os.environ.items() if not name.startswith("KUCOIN_")},
        )
        os.close(slave)
        self.text = ""

    def until(self, words: str, timeout_s: float = 60.0) -> None:
        """Read until *words* are there."""
        deadline = time.monotonic() + timeout_s
        while words not in self.text:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {words!r} in:\n{self.text}"
            self.text += os.read(self.master, 4096).decode()

    def type(self, words: str) -> None:
        self.text = ""
        os.write(self.master, f"{words}\n".encode())

    def end(self, timeout_s: float = 60.0) -> int:
        """Read to the end and return the exit code."""
        try:
            while piece := os.read(self.master, 4096):
                self.text += piece.decode()
        except OSError:
            pass                                       # a terminal whose other side is closed says so this way
        os.close(self.master)
        return self.process.wait(timeout_s)


def test_a_person_answers(live: Live, folder: Path) -> None:
    """Each field is explained, secrets are typed unseen, a wrong key may be typed again, and yes writes it."""
    keys = live()
    at = Terminal(folder)
    at.until("Mode: sandbox")
    at.type("life")
    at.until("is not one of sandbox, paper or live")
    at.type("live")
    at.until("never Transfer or Withdrawal")
    for passphrase in ("wrong", keys["passphrase"]):
        # By the ends of the prompts: what is typed before one of them is thrown away unseen.
        for prompt, value in (("24 letters and digits):", keys["key"]), ("-5b6a-…):", keys["secret"])):
            at.until(prompt)
            at.type(value)
        at.until("log-in or trading password):")
        at.type(passphrase)
        at.until("passphrase or secret is wrong" if passphrase == "wrong" else "The key works")
        assert keys["secret"] not in at.text
    at.until("cautious numbers")
    at.type("n")
    for question in ("How many positions", "Leverage", "one trade lose", "Largest value", "Where is RAD to write"):
        at.until(question)
        at.type("")
    at.until("Change this in")
    at.type("y")
    assert at.end() == 0
    assert secrets_in(folder / ".env").passphrase == keys["passphrase"]
    assert load_settings(folder / "config.yaml", environ={}).mode == "live"


def test_ctrl_c_leaves_everything_as_it_was(live: Live, folder: Path) -> None:
    """In the middle of the questions: exit code 130, and not a file more."""
    live()
    before = left(folder)
    at = Terminal(folder)
    at.until("Mode: sandbox")
    at.type("live")
    at.until("24 letters and digits):")
    os.write(at.master, b"\x03")
    assert at.end() == 130
    assert left(folder) == before


# ---- changing a settings file -------------------------------------------------------------------


def test_values_are_put_where_they_belong() -> None:
    """In their line, in their column; a key the file lacks goes into its section, a section to the end."""
    text = "mode: sandbox   # who answers\npositions:\n  max_open: 8       # live: 3\n"
    changed = with_values(text, {"mode": "live", "positions.max_open": "12", "positions.leverage": "2",
                                 "limits.drawdown": "8%"})
    assert changed == (
        "mode: live      # who answers\npositions:\n  leverage: 2\n  max_open: 12      # live: 3\n\n"
        "limits:\n  drawdown: 8%\n"
    )


def test_every_number_for_real_money_is_a_setting() -> None:
    """What config.yaml's comments name can be written, all together."""
    numbers = live_numbers(SHIPPED)
    assert len(numbers) >= 12
    assert numbers["limits.max_slippage"] == "0.2%"
    settings = load_settings(None, numbers, environ={})
    assert (settings.positions.max_open, settings.scanner.timeframe) == (3, "15m")
    assert yaml.safe_load(with_values(SHIPPED, numbers))["exits"]["trailing"]["distance"] == "1%"
