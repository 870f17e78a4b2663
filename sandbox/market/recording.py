"""Recorded candles from a folder of CSV files, on one grid of time for all symbols."""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from sandbox.market.contracts import contract_for
from sandbox.market.noise import Floats, Integers
from sandbox.market.source import Contract

HEADER = "timestamp_ms,open,high,low,close,volume"
NEEDED_HISTORY = 300
_KEPT_HISTORY = 1500
_KEPT_AHEAD = 4320             # three days of minutes
_BUSY_CANDLES = 12
_TELLERS = 4                   # so many files are enough to find the place that moves most


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Prices in ticks, one row per interval, one column per contract; rows from `begins_ms` on.

    An interval without a trade has volume 0 and the price before it.
    """

    contracts: tuple[Contract, ...]
    interval_ms: int
    begins_ms: int
    start_row: int             # where the replay starts; the rows before are history
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers           # lots


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One CSV file, not parsed yet: parsing all of a long recording takes seconds and 100 MB."""

    path: Path
    body: str                  # the lines after the header, each with its end

    def time_at(self, place: int) -> int:
        """Return the opening time of the line that holds the character at *place*, in ms."""
        begin = self.body.rfind("\n", 0, place) + 1
        try:
            return int(self.body[begin:self.body.index(",", begin)])
        except ValueError as error:
            raise ValueError(f"{self.path}: near character {begin}: {error}") from error

    def begins_ms(self) -> int:
        return self.time_at(0)

    def ends_ms(self) -> int:
        return self.time_at(len(self.body) - 1)

    def interval_ms(self) -> int:
        """Return the least distance between lines near the beginning."""
        times = [int(line.partition(",")[0]) for line in self.body[:20_000].split("\n")[:-1]]
        return min(after - before for before, after in zip(times, times[1:], strict=False))

    def rows(self, from_ms: int, to_ms: int) -> Floats:
        """Return the parsed lines of from_ms <= t < to_ms, and one before them where there is one."""
        places = range(len(self.body))
        begin = self._line_at(bisect_left(places, from_ms, key=self.time_at))
        begin = self._line_at(max(0, begin - 1))
        end = self._line_at(bisect_left(places, to_ms, key=self.time_at))
        text = self.body[begin:end].rstrip("\n").replace("\n", ",")
        try:
            rows = np.array([float(number) for number in text.split(",")]).reshape(-1, 6)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        if not (np.diff(rows[:, 0]) > 0).all() or not (rows[:, 1:5] > 0).all():
            raise ValueError(f"{self.path}: times must ascend and prices lie above 0")
        return rows

    def _line_at(self, place: int) -> int:
        return self.body.rfind("\n", 0, place) + 1


def read_recording(folder: Path, start: str | int | None) -> Recording:
    """Return the recording in *folder*, from a while before *start* to its end.

    *start* is ISO time (UTC unless it says otherwise) or ms; None looks for the place that moves
    most. Of files with different intervals the most frequent interval is taken.

    Raises:
        ValueError: there is nothing there, it cannot be read, or *start* lies outside.
    """
    files, interval_ms = _of_one_interval(_open_files(folder))
    first_ms = min(file.begins_ms() for file in files.values())
    ends_ms = max(file.ends_ms() for file in files.values()) + interval_ms
    start_ms = _busiest_ms(files, first_ms, ends_ms, interval_ms) if start is None else _to_ms(start)
    if not first_ms <= start_ms < ends_ms:
        raise ValueError(f"start {start} lies outside the recording, {_span(first_ms, ends_ms)}")
    row = (start_ms - first_ms) // interval_ms
    cut = max(0, row - _KEPT_HISTORY)
    begins_ms = first_ms + cut * interval_ms
    ends_ms = min(ends_ms, first_ms + (row + _KEPT_AHEAD) * interval_ms)
    grid = _grid(files.values(), begins_ms, ends_ms, interval_ms)
    return _to_ticks(tuple(files), grid, interval_ms, begins_ms, row - cut)


def _grid(files: Iterable[_File], begins_ms: int, ends_ms: int, interval_ms: int) -> Floats:
    """Return (open, high, low, close, volume) by interval and file."""
    count = (ends_ms - begins_ms) // interval_ms
    tables = (_on_grid(f.rows(begins_ms, ends_ms), begins_ms, interval_ms, count) for f in files)
    return np.stack(list(tables), axis=1)


def _to_ticks(
    names: tuple[str, ...], grid: Floats, interval_ms: int, begins_ms: int, start_row: int
) -> Recording:
    contracts = tuple(contract_for(name, _decimal(grid[start_row, n, 3])) for n, name in enumerate(names))
    tick_sizes = np.array([float(c.tick_size) for c in contracts])[:, None]
    lots = np.array([float(c.multiplier) for c in contracts])
    ticks = np.maximum(np.rint(grid[:, :, :4] / tick_sizes), 1).astype(np.int32)
    volume = grid[:, :, 4]
    return Recording(
        contracts=contracts, interval_ms=interval_ms, begins_ms=begins_ms, start_row=start_row,
        open=ticks[:, :, 0], high=ticks[:, :, 1], low=ticks[:, :, 2], close=ticks[:, :, 3],
        volume=np.where(volume > 0, np.clip(np.rint(volume / lots), 1, 2**31 - 1), 0).astype(np.int32),
    )


def _open_files(folder: Path) -> dict[str, _File]:
    """Return the files by base currency; of two with the same one the first by name."""
    files: dict[str, _File] = {}
    for path in sorted(folder.glob("*")):
        if path.name.endswith((".csv", ".csv.gz")):
            files.setdefault(path.name.split("_")[0].split("-")[0].upper(), _open(path))
    if not files:
        raise ValueError(f"{folder}: no .csv or .csv.gz with recorded candles")
    return files


def _of_one_interval(files: dict[str, _File]) -> tuple[dict[str, _File], int]:
    intervals = {name: file.interval_ms() for name, file in files.items()}
    found = list(intervals.values())
    chosen = max(set(found), key=lambda ms: (found.count(ms), -ms))
    return {name: file for name, file in files.items() if intervals[name] == chosen}, chosen


def _open(path: Path) -> _File:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("ascii").replace("\r", "")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error
    header, _, body = text.partition("\n")
    if header != HEADER:
        raise ValueError(f"{path}: the first line must be {HEADER}")
    body = body.strip("\n") + "\n"
    if body.count("\n") < 2:
        raise ValueError(f"{path}: needs two candles at least")
    return _File(path=path, body=body)


def _on_grid(table: Floats, begins_ms: int, interval_ms: int, count: int) -> Floats:
    """Return (open, high, low, close, volume) for each interval; where nothing traded the price is held."""
    traded = table[table[:, 5] > 0]
    if not len(traded):
        traded = table[:1]
    rows = ((traded[:, 0] - begins_ms) // interval_ms).astype(np.int64)
    held_from = traded[0, 1] if rows[0] >= 0 else traded[0, 4]
    traded, rows = traded[rows >= 0], rows[rows >= 0]
    source = np.full(count, -1)
    source[rows] = np.arange(len(rows))
    before = np.maximum.accumulate(source)
    held = np.full(count, held_from)
    held[before >= 0] = traded[before[before >= 0], 4]
    grid = np.empty((count, 5))
    grid[:, :4] = held[:, None]
    grid[:, 4] = 0
    grid[rows] = traded[:, 1:]
    return grid


def _busiest_ms(files: dict[str, _File], first_ms: int, ends_ms: int, interval_ms: int) -> int:
    """Return when the next dozen candles are the widest, with history before it."""
    tellers = list(files.values())[:: -(-len(files) // _TELLERS)]
    grid = _grid(tellers, first_ms, ends_ms, interval_ms)
    width = np.log(grid[:, :, 1] / grid[:, :, 2]).mean(axis=1)
    sums = np.convolve(width, np.ones(min(_BUSY_CANDLES, len(width))), "valid")
    begin = min(NEEDED_HISTORY, len(sums) - 1)
    return first_ms + (begin + int(sums[begin:].argmax())) * interval_ms


def _to_ms(start: str | int) -> int:
    if isinstance(start, int) or start.isdigit():
        return int(start)
    moment = datetime.fromisoformat(start)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _span(*ends_ms: int) -> str:
    return " … ".join(datetime.fromtimestamp(ms / 1000, UTC).isoformat() for ms in ends_ms)


def _decimal(price: float) -> Decimal:
    return Decimal(repr(float(price)))
