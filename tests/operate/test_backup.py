"""A backup is whole whatever goes on beside it, and a restore leaves something whole wherever it is cut off."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from console.__main__ import main
from daemon.doctor_machine import look
from daemon.findings import Verdict
from runtime.clock import SystemClock
from runtime.instance import Instance
from runtime.journal import SqlJournal
from runtime.journal_copies import COPIES_KEPT, keep_before_migration
from runtime.journal_version import SCHEMA_VERSION
from runtime.settings import load_settings
from tests.crowd import PATIENCE_S, crowd
from tests.operate.killed_at import KILLED, Executioner
from tests.runtime.journal_facts import a_fill, a_plan, a_position, a_request, a_trade
from trading.errors import JournalError

V1 = (Path(__file__).parents[1] / "runtime" / "journal_v1.sql").read_text()
LABEL = "sandbox futures"
Console = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a RAD that is not running, with settings of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("RAD_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("mode: sandbox\n")
    return file


@pytest.fixture
def rad(data_dir: Path, settings: Path, capsys: pytest.CaptureFixture[str]) -> Console:
    def run(*argv: object) -> tuple[int, str, str]:
        code = main([*(str(each) for each in argv), "--config", str(settings)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def journal(data_dir: Path) -> Iterator[SqlJournal]:
    opened = a_journal(data_dir)
    yield opened
    opened.close()


def a_journal(folder: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{folder / 'journal-sandbox.sqlite'}", SystemClock(), label=LABEL)


def trades_in(file: Path) -> list[str]:
    """Return the trades of a journal by their positions, having read all of it."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [name for (name,) in connection.execute("SELECT position_id FROM trade ORDER BY position_id")]


def write_trade(journal: SqlJournal, name: str) -> None:
    journal.record_execution(
        f"rad-{name}-x1", [a_fill(f"t{name}")], a_position(name), a_trade(name), wait=True
    )


def write_days(data_dir: Path, *names: str) -> None:
    journal = a_journal(data_dir)
    for name in names:
        write_trade(journal, name)
    journal.close()


def unpacked(backup: Path, folder: Path) -> Path:
    folder.mkdir()
    with tarfile.open(backup) as archive:
        archive.extractall(folder, filter="data")
    return folder


def repacked(backup: Path, **changes: bytes) -> Path:
    """Return a copy of *backup* with some members' bytes replaced (manifest: manifest_json)."""
    changed = backup.with_name("changed.tar.gz")
    with tarfile.open(backup) as source, tarfile.open(changed, "w:gz") as target:
        for entry in source.getmembers():
            content = source.extractfile(entry)
            assert content is not None
            body = changes.get(entry.name.replace(".", "_").replace("-", "_"), content.read())
            entry.size = len(body)
            target.addfile(entry, io.BytesIO(body))
    return changed


# ---- backup --------------------------------------------------------------------------------------


def test_a_backup_beside_a_writing_daemon_is_of_one_moment(
    rad: Console, journal: SqlJournal, tmp_path: Path
) -> None:
    """Every trade of the copy has its fill and its closed position: none is cut in half."""
    over = threading.Event()
    started = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            write_trade(journal, f"p{number:05}")
            started.set()

    def save() -> None:
        try:
            assert started.wait(PATIENCE_S)
            for number in range(5):
                assert rad("backup", tmp_path / f"b{number}.tar.gz")[0] == 0
        finally:
            over.set()

    with crowd(write, save):
        pass
    counts = []
    for number in range(5):
        copy = unpacked(tmp_path / f"b{number}.tar.gz", tmp_path / f"b{number}") / "journal-sandbox.sqlite"
        names = trades_in(copy)
        with closing(sqlite3.connect(copy)) as connection:
            closed = connection.execute("SELECT count(*) FROM position WHERE state = 'closed'").fetchone()[0]
            fills = connection.execute("SELECT count(*) FROM fill").fetchone()[0]
        assert closed == fills == len(names)
        assert names == [f"p{each:05}" for each in range(1, len(names) + 1)]      # the first ones, none left out
        counts.append(len(names))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]          # it was written while it was copied


def test_what_is_not_yet_worked_into_the_file_is_in_the_backup(
    rad: Console, journal: SqlJournal, data_dir: Path, tmp_path: Path
) -> None:
    """The latest commits stand in the log beside the file; a copy of the file alone would lose them."""
    write_trade(journal, "p1")
    assert (data_dir / "journal-sandbox.sqlite-wal").stat().st_size > 0
    rad("backup", tmp_path / "b.tar.gz")
    assert trades_in(unpacked(tmp_path / "b.tar.gz", tmp_path / "b") / "journal-sandbox.sqlite") == ["p1"]


def test_a_backup_is_its_owners_alone_and_holds_no_secret(
    rad: Console, journal: SqlJournal, data_dir: Path, settings: Path, tmp_path: Path
) -> None:
    """Not the daemon's token, not `.env`, not the password in an address of the settings."""
    settings.write_text("log:\n  file: none\n# postgresql://rad:hunter2@db/rad, https://me:s3cret@ntfy.example/x\n")
    (data_dir / "control.json").write_text('{"token": "t0ken"}')
    (data_dir / ".env").write_text("KUCOIN_API_SECRET=s3cret")
    code, out, _ = rad("backup", tmp_path / "b.tar.gz")
    assert code == 0
    assert "passwords in config.yaml's addresses were left out" in out
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    content = unpacked(tmp_path / "b.tar.gz", tmp_path / "b")
    assert sorted(file.name for file in content.iterdir()) == [
        "config.yaml", "journal-sandbox.sqlite", "manifest.json"
    ]
    everything = b"".join(file.read_bytes() for file in content.iterdir())
    for secret in (b"hunter2", b"s3cret", b"t0ken"):
        assert secret not in everything


def test_a_file_that_is_there_is_not_written_over(rad: Console, journal: SqlJournal, tmp_path: Path) -> None:
    """Yesterday's backup is worth more than a slip of the hand."""
    kept = tmp_path / "b.tar.gz"
    kept.write_text("yesterday's")
    code, _, err = rad("backup", kept)
    assert (code, err) == (1, f"rad: {kept} is there already; name another file\n")
    assert kept.read_text() == "yesterday's"


def test_of_those_it_names_itself_the_latest_are_kept(
    rad: Console, journal: SqlJournal, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup every night fills no disk; what a person named stays."""
    monkeypatch.setattr("console.backup.KEPT", 2)
    folder = data_dir / "backups"
    folder.mkdir()
    for name in ("rad-backup-20200101T000000Z.tar.gz", "rad-backup-20200102T000000Z.tar.gz", "mine.tar.gz"):
        (folder / name).write_text("")
    made = json.loads(rad("backup", "--json")[1])
    assert sorted(file.name for file in folder.iterdir()) == [
        "mine.tar.gz", "rad-backup-20200102T000000Z.tar.gz", Path(made["file"]).name
    ]


def test_a_damaged_journal_makes_no_backup(rad: Console, data_dir: Path, tmp_path: Path) -> None:
    """A copy that cannot be read is worse than none: one believes to have it."""
    write_days(data_dir, *(f"p{number}" for number in range(40)))
    file = data_dir / "journal-sandbox.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as content:
        content.seek(4096 * 3)
        content.write(b"\xff" * 4096 * 6)
    code, _, err = rad("backup", tmp_path / "b.tar.gz")
    assert code == 1
    assert "damaged" in err or "malformed" in err
    assert not list(tmp_path.glob("*.tar.gz"))


def test_a_journal_on_a_server_is_left_to_the_server(rad: Console, data_dir: Path, settings: Path) -> None:
    """It says what to use instead, and does not repeat the address: there may be a password in it."""
    settings.write_text("journal: {url: 'postgresql://rad:hunter2@db/rad'}\n")
    for command in (("backup",), ("restore", settings)):
        code, out, err = rad(*command)
        assert code == 1
        if command == ("backup",):
            assert "pg_dump" in err
        assert "hunter2" not in out + err


# ---- restore -------------------------------------------------------------------------------------


def test_what_was_backed_up_is_back_and_what_was_there_is_kept(
    rad: Console, data_dir: Path, tmp_path: Path
) -> None:
    """Afterwards RAD opens the journal of then, and the one of just now lies beside."""
    (data_dir / "sandbox-exchange.json").write_text('{"then": 1}')
    (data_dir / "blacklist.json").write_text('["DOGE/USDT:USDT"]')
    write_days(data_dir, "p1")
    rad("backup", tmp_path / "b.tar.gz")
    write_days(data_dir, "p2")
    (data_dir / "sandbox-exchange.json").write_text('{"now": 1}')
    (data_dir / "blacklist.json").unlink()
    code, out, _ = rad("restore", tmp_path / "b.tar.gz")
    assert code == 0
    assert trades_in(data_dir / "journal-sandbox.sqlite") == ["p1"]
    assert (data_dir / "sandbox-exchange.json").read_text() == '{"then": 1}'
    assert (data_dir / "blacklist.json").read_text() == '["DOGE/USDT:USDT"]'
    (kept,) = data_dir.glob("replaced-*")
    assert str(kept) in out
    assert trades_in(kept / "journal-sandbox.sqlite") == ["p1", "p2"]
    assert (kept / "sandbox-exchange.json").read_text() == '{"now": 1}'
    write_days(data_dir, "p3")             # RAD itself takes it up
    assert trades_in(data_dir / "journal-sandbox.sqlite") == ["p1", "p3"]


def test_a_log_left_by_a_killed_daemon_does_not_meet_the_restored_journal(
    rad: Console, data_dir: Path, tmp_path: Path
) -> None:
    """SQLite would work the old log into the new file; and its commits are part of what is kept."""
    write_days(data_dir, "p1")
    rad("backup", tmp_path / "b.tar.gz")
    killed = tmp_path / "killed"
    killed.mkdir()
    journal = a_journal(data_dir)
    write_trade(journal, "p2")
    for file in data_dir.glob("journal-*"):        # as kill -9 would leave them at this moment
        shutil.copy(file, killed)
    journal.close()
    for file in killed.iterdir():
        shutil.copy(file, data_dir)
    assert (data_dir / "journal-sandbox.sqlite-wal").stat().st_size > 0
    assert rad("restore", tmp_path / "b.tar.gz")[0] == 0
    assert trades_in(data_dir / "journal-sandbox.sqlite") == ["p1"]
    (kept,) = data_dir.glob("replaced-*")
    assert trades_in(kept / "journal-sandbox.sqlite") == ["p1", "p2"]


def test_nothing_is_restored_under_a_running_daemon(rad: Console, data_dir: Path, tmp_path: Path) -> None:
    """The daemon's journal is not taken from under it."""
    write_days(data_dir, "p1")
    rad("backup", tmp_path / "b.tar.gz")
    write_days(data_dir, "p2")
    with Instance.claim(data_dir, SystemClock()):
        code, _, err = rad("restore", tmp_path / "b.tar.gz")
    assert code == 1
    assert f"RAD (process {os.getpid()}, since " in err
    assert "systemctl stop rad or Ctrl-C where it runs" in err
    assert "data_dir of its own" not in err
    assert trades_in(data_dir / "journal-sandbox.sqlite") == ["p1", "p2"]
    assert not list(data_dir.glob("replaced-*"))


def _newer(manifest: dict[str, object]) -> None:
    manifest["format"] = 99


def _elsewhere(manifest: dict[str, object]) -> None:
    members = manifest["members"]
    assert isinstance(members, list)
    members[0]["name"] = "../journal-sandbox.sqlite"


@pytest.mark.parametrize("fault", ["missing", "no archive", "cut short", "a byte changed", _newer, _elsewhere])
def test_a_backup_that_is_no_good_changes_nothing(
    rad: Console, data_dir: Path, tmp_path: Path, fault: str | Callable[[dict[str, object]], None]
) -> None:
    """It is read through before anything is touched."""
    write_days(data_dir, "p1")
    backup = tmp_path / "b.tar.gz"
    rad("backup", backup)
    write_days(data_dir, "p2")
    if fault == "missing":
        backup.unlink()
    elif fault == "no archive":
        backup.write_text("hello")
    elif fault == "cut short":
        os.truncate(backup, backup.stat().st_size // 2)
    elif fault == "a byte changed":
        journal = unpacked(backup, tmp_path / "b") / "journal-sandbox.sqlite"
        backup = repacked(backup, journal_sandbox_sqlite=journal.read_bytes()[:-1] + b"!")
    elif callable(fault):
        manifest = json.loads((unpacked(backup, tmp_path / "b") / "manifest.json").read_text())
        fault(manifest)
        backup = repacked(backup, manifest_json=json.dumps(manifest).encode())
    before = sorted(file.name for file in data_dir.iterdir())
    code, _, err = rad("restore", backup)
    assert code == (2 if fault == "missing" else 1)
    assert str(backup) in err
    assert trades_in(data_dir / "journal-sandbox.sqlite") == ["p1", "p2"]
    assert set(before) >= {file.name for file in data_dir.iterdir()} - {"rad.lock"}


def test_a_journal_of_a_newer_rad_is_not_restored(rad: Console, data_dir: Path, tmp_path: Path) -> None:
    """This RAD could not read it; the one that is there stays."""
    write_days(data_dir, "p1")
    with closing(sqlite3.connect(data_dir / "journal-sandbox.sqlite")) as connection:
        connection.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
        connection.commit()
    rad("backup", tmp_path / "b.tar.gz")
    content = unpacked(tmp_path / "b.tar.gz", tmp_path / "b")
    with closing(sqlite3.connect(content / "journal-sandbox.sqlite")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
        connection.commit()
    manifest = json.loads((content / "manifest.json").read_text())
    newer = (content / "journal-sandbox.sqlite").read_bytes()
    manifest["members"][0]["sha256"] = hashlib.sha256(newer).hexdigest()
    changed = repacked(
        tmp_path / "b.tar.gz", journal_sandbox_sqlite=newer, manifest_json=json.dumps(manifest).encode()
    )
    code, _, err = rad("restore", changed)
    assert code == 1
    assert "has schema 99" in err
    assert trades_in(data_dir / "journal-sandbox.sqlite") == ["p1"]


def test_settings_are_not_replaced_but_laid_beside(
    rad: Console, data_dir: Path, settings: Path, tmp_path: Path
) -> None:
    """Whose settings are right is for a person to say; where there are none, the backup's are taken."""
    write_days(data_dir, "p1")
    rad("backup", tmp_path / "b.tar.gz")
    settings.write_text("mode: paper\n")
    rad("restore", tmp_path / "b.tar.gz")
    assert settings.read_text() == "mode: paper\n"
    assert (data_dir / "config.restored.yaml").read_text() == "mode: sandbox\n"
    settings.write_text("mode: sandbox\n")
    (data_dir / "config.restored.yaml").unlink()
    assert json.loads(rad("restore", tmp_path / "b.tar.gz", "--json")[1])["settings"] is None


# ---- cut off anywhere ----------------------------------------------------------------------------


@pytest.fixture
def executioner(data_dir: Path) -> Iterator[Executioner]:
    with Executioner() as ready:
        yield ready


def test_a_backup_killed_anywhere_is_not_there_or_whole(
    executioner: Executioner, data_dir: Path, settings: Path, tmp_path: Path
) -> None:
    """No half a backup ever carries the name; what a killed one left is cleared away by the next."""
    write_days(data_dir, "p1")
    nth, code = 0, KILLED
    while code == KILLED:
        nth += 1
        target = tmp_path / f"b{nth}.tar.gz"
        code = executioner.run(nth, "backup", target, "--config", settings)
        if target.exists():
            assert trades_in(unpacked(target, tmp_path / f"b{nth}") / "journal-sandbox.sqlite") == ["p1"]
    assert code == 0
    assert nth > 8                         # it was cut off at more than a few points
    assert target.exists()
    assert not list(tmp_path.glob(".rad-backup-*"))


def test_a_restore_killed_anywhere_leaves_the_old_or_the_new(
    executioner: Executioner, rad: Console, data_dir: Path, settings: Path, tmp_path: Path
) -> None:
    """Under the journal's name there is always a whole one, nothing is lost, and saying it again finishes it."""
    write_days(data_dir, "p1")
    rad("backup", tmp_path / "b.tar.gz")
    write_days(data_dir, "p2")
    later = tmp_path / "later.sqlite"
    shutil.copy(data_dir / "journal-sandbox.sqlite", later)
    nth, code, found = 0, KILLED, set()
    while code == KILLED:
        nth += 1
        shutil.copy(later, data_dir / "journal-sandbox.sqlite")
        for kept in data_dir.glob("replaced-*"):
            shutil.rmtree(kept)
        code = executioner.run(nth, "restore", tmp_path / "b.tar.gz", "--config", settings)
        now = trades_in(data_dir / "journal-sandbox.sqlite")
        assert now in (["p1", "p2"], ["p1"])
        found.add(now == ["p1"])
        if now == ["p1"]:                  # then what was there is kept
            (kept,) = data_dir.glob("replaced-*/journal-sandbox.sqlite")
            assert trades_in(kept) == ["p1", "p2"]
    assert code == 0
    assert nth > 5
    assert found == {True, False}
    assert now == ["p1"]


# ---- before a migration --------------------------------------------------------------------------


def test_copies_before_migrations_are_bounded(data_dir: Path) -> None:
    """One for each version, and of those the latest few."""
    write_days(data_dir, "p1")
    journal = data_dir / "journal-sandbox.sqlite"
    for version in range(1, 13):
        keep_before_migration(journal, version)
    kept = sorted(file.name for file in data_dir.glob("journal-sandbox.sqlite.schema-*"))
    assert kept == [f"journal-sandbox.sqlite.schema-{version}" for version in (10, 11, 12)]
    assert len(kept) == COPIES_KEPT
    assert trades_in(data_dir / kept[0]) == ["p1"]


@pytest.fixture
def old_journal(data_dir: Path) -> Path:
    """A journal as the first RAD wrote it."""
    file = data_dir / "journal-sandbox.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(V1.replace("SERIAL", "INTEGER"))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'label'", (LABEL,))
        connection.commit()
    return file


def schema_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()[0])


def test_a_journal_is_kept_as_it_was_before_its_migration(old_journal: Path) -> None:
    """The way back to the RAD before: the copy is of the old version and holds everything."""
    before = trades_in(old_journal)
    a_journal(old_journal.parent).close()
    kept = old_journal.with_name(f"{old_journal.name}.schema-1")
    assert (schema_of(kept), schema_of(old_journal)) == ("1", str(SCHEMA_VERSION))
    assert trades_in(kept) == trades_in(old_journal) == before
    assert before
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    a_journal(old_journal.parent).close()           # nothing more to migrate, nothing more to keep
    assert sorted(file.name for file in old_journal.parent.glob("*.schema-*")) == [kept.name]


def test_without_room_for_the_copy_nothing_is_migrated(
    old_journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAD does not start, says why, and the journal is as it was."""
    def full(file: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("runtime.journal_copies.make_private", full)
    with pytest.raises(JournalError, match="cannot be copied .*No space left"):
        a_journal(old_journal.parent)
    assert schema_of(old_journal) == "1"
    assert not list(old_journal.parent.glob("*.schema-*"))


def test_orders_under_way_come_back_with_a_backup(rad: Console, data_dir: Path, tmp_path: Path) -> None:
    """An entry written down before it was sent is looked up after a restore as after a crash."""
    journal = a_journal(data_dir)
    journal.record_intent("p9", a_request("rad-p9-e0"), "e", plan=a_plan("p9"), wait=True)
    journal.close()
    rad("backup", tmp_path / "b.tar.gz")
    (data_dir / "journal-sandbox.sqlite").unlink()
    rad("restore", tmp_path / "b.tar.gz")
    journal = a_journal(data_dir)
    assert [intent.client_oid for intent in journal.unsettled_intents()] == ["rad-p9-e0"]
    journal.close()


# ---- of an older RAD -----------------------------------------------------------------------------


def test_a_backup_of_an_older_rad_is_brought_up_to_date_as_it_is_restored(
    rad: Console, data_dir: Path, old_journal: Path, tmp_path: Path
) -> None:
    """On another machine the newer RAD may come first: `verify` reads it before anything has started on it."""
    before = trades_in(old_journal)
    rad("backup", tmp_path / "b.tar.gz")
    old_journal.unlink()
    assert rad("restore", tmp_path / "b.tar.gz")[0] == 0
    assert schema_of(old_journal) == str(SCHEMA_VERSION)
    assert trades_in(old_journal) == before
    assert sorted(file.name for file in data_dir.iterdir()) == [old_journal.name, "rad.lock"]
    code, out, _ = rad("trades", "--json")
    assert (code, len(json.loads(out))) == (0, len(before))


def test_doctor_lets_an_older_journal_pass(data_dir: Path, old_journal: Path) -> None:
    """It is asked between a new RAD's arrival and its first start, which brings the journal up to date."""
    settings = load_settings(None, {"mode": "sandbox"})
    (found,) = [finding for finding in look(settings) if finding.check == "journal"]
    assert found.verdict is Verdict.OK
    assert "start it once" in found.said
