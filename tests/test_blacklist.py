"""The black list: on disk before it is so, and never half of two changes."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from daemon import blacklist
from daemon.blacklist import FILE_NAME, MOST, Blacklist
from runtime.clock import SystemClock
from tests.crowd import PATIENCE_S, all_at_once, crowd
from trading.errors import ConfigError, RadError


@pytest.fixture
def listed(tmp_path: Path) -> Blacklist:
    """Nothing is on it."""
    return Blacklist(tmp_path, SystemClock())


def on_disk(folder: Path) -> set[str]:
    """What a restart would find."""
    return set(Blacklist(folder, SystemClock()).symbols())


def test_what_is_on_it_survives_a_restart(listed: Blacklist, tmp_path: Path) -> None:
    """As soon as the call returns; saying it twice is no news."""
    assert listed.add("B")
    assert listed.add("A")
    assert not listed.add("A")
    assert on_disk(tmp_path) == {"A", "B"}
    assert listed.remove("B")
    assert not listed.remove("B")
    assert on_disk(tmp_path) == listed.symbols() == {"A"}


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '"A"', "\x00"])
def test_one_that_cannot_be_read_stops_the_start(tmp_path: Path, text: str) -> None:
    """Else a market that somebody wanted left alone would be entered."""
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ConfigError, match="mend it, or delete it"):
        Blacklist(tmp_path, SystemClock())


def test_what_cannot_be_written_is_not_so(listed: Blacklist, tmp_path: Path) -> None:
    """A full disk or a full list: a clear error, nothing changed, and the next change is made again."""
    listed.add("A")
    (tmp_path / f"{FILE_NAME}.new").mkdir()
    with pytest.raises(RadError, match="cannot be written"):
        listed.add("B")
    assert on_disk(tmp_path) == listed.symbols() == {"A"}
    (tmp_path / f"{FILE_NAME}.new").rmdir()
    (tmp_path / FILE_NAME).write_text(json.dumps([f"S{n}" for n in range(MOST)]))
    full = Blacklist(tmp_path, SystemClock())
    with pytest.raises(RadError, match="is full"):
        full.add("B")
    assert len(full.symbols()) == MOST
    assert full.remove("S1")


def meet_in_the_write(monkeypatch: pytest.MonkeyPatch, listed: Blacklist, writers: int) -> None:
    """Let each write wait, a moment, for as many to be in it as there are writers: only a lost claim lets them."""
    inside = threading.Barrier(writers)
    write = listed._write

    def slowly(symbols: Any) -> None:
        try:
            inside.wait(0.1)
        except threading.BrokenBarrierError:
            inside.reset()
        write(symbols)

    monkeypatch.setattr(listed, "_write", slowly)


def test_two_changes_at_once_are_both_made(
    listed: Blacklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins where the first has ended, in memory and on disk."""
    meet_in_the_write(monkeypatch, listed, 2)
    assert all_at_once(lambda: listed.add("A"), lambda: listed.add("B")) == [True, True]
    assert on_disk(tmp_path) == listed.symbols() == {"A", "B"}


def test_two_changes_without_a_claim_lose_one(
    listed: Blacklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test before notices what the claim is for."""
    meet_in_the_write(monkeypatch, listed, 2)
    monkeypatch.setattr(listed, "_claim", listed.symbols)
    with suppress(RadError):               # one may take the other's file away
        all_at_once(lambda: listed.add("A"), lambda: listed.add("B"))
    assert len(on_disk(tmp_path)) == 1


def test_a_disk_that_hangs_holds_up_readers_not_at_all(
    listed: Blacklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens positions looks at the list; who wants to change it gives up after a while."""
    monkeypatch.setattr(blacklist, "PATIENCE_S", 0.05)
    writing, go_on = threading.Event(), threading.Event()

    def hang(_symbols: Any) -> None:
        writing.set()
        go_on.wait(PATIENCE_S)

    monkeypatch.setattr(listed, "_write", hang)
    with crowd(lambda: listed.add("A")):
        assert writing.wait(PATIENCE_S)
        assert listed.symbols() == frozenset()
        with pytest.raises(RadError, match="nothing was changed"):
            listed.add("B")
        go_on.set()
    assert listed.symbols() == {"A"}
