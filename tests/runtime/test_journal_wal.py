"""A journal whose last frames are torn: what was committed before them is there, and no half of anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.journal import SqlJournal
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import a_position, a_trade, url_in

HEADER, FRAME_HEADER, PAGE = 32, 24, 4096
COMMITS = 4
EVERY = 131                # bytes between two cuts within a page, where one is as good as the next


@dataclass(frozen=True, slots=True)
class Torn:
    """A journal as it lay on disk when the power failed, and how long its log was after each commit."""

    main: bytes
    log: bytes
    ends: tuple[int, ...]

    def committed_by(self, size: int) -> int:
        """Return how many commits are whole in the first *size* bytes of the log."""
        return sum(end <= size for end in self.ends)


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Torn:
    """Close one position after the other, each a transaction on two tables, and look at the log in between."""
    folder = tmp_path_factory.mktemp("torn")
    SqlJournal(url_in(folder), ManualClock(), label="test").close()       # the tables go into the file itself
    journal = SqlJournal(url_in(folder), ManualClock(), label="test")
    file, log = folder / "journal.sqlite", folder / "journal.sqlite-wal"
    ends = []
    for number in range(COMMITS):
        journal.record_execution("", (), a_position(f"p{number}"), a_trade(f"p{number}"))
        ends.append(log.stat().st_size)
    found = Torn(file.read_bytes(), log.read_bytes(), tuple(ends))
    journal.close()
    return found


def lay(torn: Torn, log: bytes, folder: Path) -> Path:
    """Put the journal down as a power cut may leave it."""
    file = folder / "journal.sqlite"
    for end in ("-shm", "-wal"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    file.write_bytes(torn.main)
    file.with_name(file.name + "-wal").write_bytes(log)
    return file


def content(file: Path) -> tuple[str, int, int]:
    """Return whether the file is whole, and how many positions and trades are in it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous = OFF")     # of the looking only, which takes long enough
        (check,) = connection.execute("PRAGMA quick_check").fetchone()
        (counts,) = connection.execute("SELECT (SELECT count(*) FROM position), (SELECT count(*) FROM trade)")
    return check, *counts


def frames(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Return where the header and the page of each frame between two sizes of the log begin."""
    assert (begin - HEADER) % (FRAME_HEADER + PAGE) == 0
    for header in range(begin, end, FRAME_HEADER + PAGE):
        yield header, header + FRAME_HEADER


def test_a_log_cut_anywhere_in_its_last_commits_keeps_those_before(torn: Torn, tmp_path: Path) -> None:
    """At every byte of the frames' headers and all along their pages: whole commits, never half of one."""
    begin, end = torn.ends[-3], torn.ends[-1]
    cuts = {end}
    for header, page in frames(begin, end):
        cuts |= {*range(header, page + 2), *range(page, page + PAGE, EVERY), page + PAGE - 1}
    counts = set()
    for cut in sorted(cuts):
        whole = torn.committed_by(cut)
        assert content(lay(torn, torn.log[:cut], tmp_path)) == ("ok", whole, whole), f"cut at byte {cut}"
        counts.add(whole)
    assert counts == {COMMITS - 2, COMMITS - 1, COMMITS}


def test_a_byte_gone_wrong_in_the_last_commit_costs_that_one_alone(torn: Torn, tmp_path: Path) -> None:
    """A page half written as garbage is known by its checksum."""
    for header, page in frames(torn.ends[-2], torn.ends[-1]):
        for place in (header, header + 8, header + 16, page, page + 100, page + PAGE - 1):
            log = bytearray(torn.log)
            log[place] ^= 0xFF
            whole = COMMITS - 1
            assert content(lay(torn, bytes(log), tmp_path)) == ("ok", whole, whole), f"byte {place}"


@pytest.mark.parametrize("lost", [0, 1, PAGE, 2 * PAGE])
def test_a_torn_journal_is_opened_and_written_on(
    torn: Torn, tmp_path: Path, clock: ManualClock, lost: int
) -> None:
    """The writer begins after the last whole commit; what was lost is written again and there once."""
    size = len(torn.log) - lost
    lay(torn, torn.log[:size], tmp_path)
    journal = SqlJournal(url_in(tmp_path), clock, label="test")
    names = [f"p{number}" for number in range(COMMITS)]
    assert [trade.position_id for trade in journal.trades()] == names[:torn.committed_by(size)][::-1]
    journal.record_execution("", (), a_position(names[-1]), a_trade(names[-1]))
    journal.close()
    again = SqlJournal(url_in(tmp_path), clock, label="test")
    assert [trade.position_id for trade in again.trades()] == names[::-1]
    again.close()
