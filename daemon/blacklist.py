"""Markets a person does not want entered from scanning: kept in a file, changed while running."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from runtime.locks import assert_no_lock_held, condition_on, guard, named_lock
from trading.errors import ConfigError, RadError
from trading.ports import Clock

FILE_NAME = "blacklist.json"
MOST = 1000
PATIENCE_S = 5.0             # for another's change, which the disk holds up

Symbols = frozenset[str]


class Blacklist:
    """Symbols in a file of *data_dir*; any thread.

    Raises:
        ConfigError: the file is there and cannot be read: what is on it must not be entered by mistake.
    """

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._path = data_dir / FILE_NAME
        self._clock = clock
        self._lock = named_lock("black list")
        self._saved = condition_on(self._lock)
        # Guarded by _lock.
        self._symbols = _read(self._path)
        self._is_changing = False
        guard(self, self._lock, "_symbols", "_is_changing")

    def symbols(self) -> Symbols:
        """Return what is on it."""
        with self._lock:
            return self._symbols

    def add(self, symbol: str) -> bool:
        """Put a symbol on it; False if it was on it. On disk when this returns."""
        return self._change(lambda symbols: symbols | {symbol})

    def remove(self, symbol: str) -> bool:
        """Take a symbol off it; False if it was not on it."""
        return self._change(lambda symbols: symbols - {symbol})

    def _change(self, change: Callable[[Symbols], Symbols]) -> bool:
        """Claim the change, write it without the lock, settle it: what is not on disk is not so.

        Raises:
            RadError: it is full, or cannot be written; nothing has changed.
        """
        before = after = self._claim()
        try:
            after = change(before)
            if after != before:
                self._write(after)
        except BaseException:
            after = before
            raise
        finally:
            with self._lock:
                self._symbols = after
                self._is_changing = False
                self._saved.notify_all()
        return after != before

    def _claim(self) -> Symbols:
        with self._lock:
            if not self._clock.wait_for(self._saved, lambda: not self._is_changing, PATIENCE_S):
                raise RadError("the black list is being written by somebody else; nothing was changed")
            self._is_changing = True
            return self._symbols

    def _write(self, symbols: Symbols) -> None:
        assert_no_lock_held("black list write")
        if len(symbols) > MOST:
            raise RadError(f"the black list is full: {MOST} symbols")
        fresh = self._path.with_name(f"{FILE_NAME}.new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(sorted(symbols), file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise RadError(f"the black list cannot be written ({error.strerror}); nothing was changed") from None


def _read(path: Path) -> Symbols:
    assert_no_lock_held("reading a file")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError):
        said = None
    if not isinstance(said, list) or not all(isinstance(symbol, str) for symbol in said):
        raise ConfigError(f"{path} is not a list of symbols: mend it, or delete it to begin with an empty one")
    return frozenset(said)
