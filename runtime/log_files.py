"""The log's files, read: lines of either form back to facts, over rotations, and on as they grow."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from runtime.locks import assert_no_lock_held
from runtime.log_lines import SYMBOL

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL")           # as the log writes them
WORDS = dict(zip(("debug", "info", "warning", "error", "fatal"), LEVELS, strict=True))     # as people do
_LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\dT\S+Z) (?P<level>\w{4,5}) {1,2}(?P<thread>\S+) +(?P<tag>\S+)(?: +(?P<text>.*))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of the log."""

    at: str
    level: str
    thread: str
    tag: str
    text: str
    symbol: str = ""
    more: str = ""             # a traceback, several lines

    def line(self) -> str:
        """Return it as the log writes it for people."""
        more = self.more.replace("\n", "\n    ")
        text = f"{self.text}\n    {more}" if more else self.text
        return f"{self.at} {self.level:<5} {self.thread:<17} {self.tag:<6} {text}"

    def facts(self) -> dict[str, Any]:
        """Return it as the log writes it in JSON."""
        return {name: value for name, value in asdict(self).items() if value or name == "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records are asked for."""

    level: str = "DEBUG"       # and graver ones
    symbol: str = ""           # BTC, BTC/USDT or the whole of it; empty: whatever it is about

    def __call__(self, entry: Entry) -> bool:
        """Whether *entry* is one of them."""
        if entry.level in LEVELS and LEVELS.index(entry.level) < LEVELS.index(self.level):
            return False
        wanted = self.symbol.upper()
        if not wanted:
            return True
        # One line may be about several: `symbols=BTC/USDT:USDT,ETH/USDT:USDT`.
        found = re.findall(r"[A-Z0-9]+/[A-Z0-9]+(?::[A-Z0-9]+)?", entry.text)
        return any(wanted in (each, each.partition(":")[0], each.partition("/")[0]) for each in found)


class LogFiles:
    """The file being written and the older ones beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def latest(self, wanted: Wanted, count: int) -> list[Entry]:
        """Return the latest *count* records that are wanted, oldest first."""
        assert_no_lock_held("read the log")
        found: list[Entry] = []
        for path in self._files():
            try:
                with path.open(encoding="utf-8", errors="replace") as file:
                    here = deque(filter(wanted, entries(file)), maxlen=count - len(found))
            except FileNotFoundError:
                continue                       # rotated away this moment
            found = [*here, *found]
            if len(found) >= count:
                break
        return found

    def follow(self) -> Follower:
        """Return what reads on from the end of the file being written."""
        return Follower(self)

    def _files(self) -> list[Path]:
        """Return all there are, the newest first."""
        older = [
            file for file in self.path.parent.glob(f"{self.path.name}.*") if file.suffix[1:].isdecimal()
        ]
        return [self.path, *sorted(older, key=lambda file: int(file.suffix[1:]))]

    def newer_than(self, inode: int) -> list[Path]:
        """Return the files begun since the one of *inode* was, oldest first; only the newest if it is gone."""
        newer: list[Path] = []
        for file in self._files():
            try:
                if file.stat().st_ino == inode:
                    return newer[::-1]
            except FileNotFoundError:
                continue
            newer.append(file)
        return newer[:1]


class Follower:
    """Reads what is written from now on, whatever becomes of the file."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files
        self._file: TextIO | None = None
        self._rest = ""                # of a line that is not whole yet
        self._last: list[str] = []     # the lines of a record that may have more of them
        self._open(files.path, at_the_end=True)

    def read(self) -> list[Entry]:
        """Return the records written since the last call; the latest once nothing has followed it."""
        new = self._read_lines()
        lines = self._last + new
        starts = [number for number, line in enumerate(lines) if _entry(line) is not None]
        cut = starts[-1] if new and starts else len(lines)
        self._last = lines[cut:]
        return list(entries(lines[:cut]))

    def _read_lines(self) -> list[str]:
        lines = self._read_on()
        if self._file is None:
            self._open(self._files.path)
            return lines + self._read_on()
        for path in self._files.newer_than(os.fstat(self._file.fileno()).st_ino):
            # Once more: what was written between reading to the end and the rotation.
            lines += self._read_on()
            self._open(path)
            lines += self._read_on()
        return lines

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, path: Path, *, at_the_end: bool = False) -> None:
        self.close()
        try:
            self._file = path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        if at_the_end:
            self._file.seek(0, os.SEEK_END)

    def _read_on(self) -> list[str]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        return lines


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Return the records that *lines* are, in either form; what is neither belongs to the one before."""
    before: Entry | None = None
    for line in lines:
        line = line.rstrip("\n")
        entry = _entry(line)
        if entry is not None:
            if before is not None:
                yield before
            before = entry
        elif before is not None:
            before = replace(before, more=f"{before.more}\n{line.removeprefix('    ')}".lstrip("\n"))
    if before is not None:
        yield before


def _entry(line: str) -> Entry | None:
    return _from_json(line) if line.startswith("{") else _from_text(line)


def _from_text(line: str) -> Entry | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    text = match["text"] or ""
    symbol = SYMBOL.match(text)
    return Entry(
        at=match["at"], level=match["level"], thread=match["thread"], tag=match["tag"], text=text,
        symbol=symbol[1] if symbol else "",
    )


def _from_json(line: str) -> Entry | None:
    try:
        facts = json.loads(line)
        return Entry(**facts)
    except (ValueError, TypeError):
        return None
