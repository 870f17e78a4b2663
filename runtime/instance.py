"""One RAD per data folder: a lock the kernel gives back however the process ends."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from runtime.locks import assert_no_lock_held
from trading.errors import ConfigError

if TYPE_CHECKING:
    from trading.ports import Clock

FILE_NAME = "rad.lock"


class AlreadyRuns(ConfigError):
    """Another RAD works in the data folder."""

    def __init__(self, data_dir: Path, holder: str) -> None:
        super().__init__(
            f"another RAD{holder} already works in {data_dir}; stop it, or give this one a data_dir of its own"
        )
        self.holder = holder                   # " (process 123, since 2026-11-24T02:42:20Z)", or empty


class Instance:
    """This process's claim on a data folder; `claim` makes one, `release` or the end of the process ends it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def claim(cls, data_dir: Path, clock: Clock) -> Instance:
        """Make the folder if need be (for its owner alone) and claim it.

        Raises:
            AlreadyRuns: another RAD holds it; the text says which.
            ConfigError: it cannot be written.
        """
        assert_no_lock_held("claiming the data folder")
        make_data_dir(data_dir)
        file = data_dir / FILE_NAME
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"data_dir {data_dir} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRuns(data_dir, _holder(file)) from None
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(f"data_dir {data_dir} lies where files cannot be locked: {error.strerror}") from None
        _write(descriptor, f"{os.getpid()} {_iso(clock.now_ms())}\n")
        return cls(descriptor)

    def release(self) -> None:
        """Give the folder back."""
        assert_no_lock_held("giving the data folder back")
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _write(descriptor, "")
            os.close(descriptor)

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def make_data_dir(data_dir: Path) -> None:
    """Make the folder for its owner alone, unless it is there.

    Raises:
        ConfigError: it cannot be made, or is not a folder.
    """
    assert_no_lock_held("making the data folder")
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"data_dir {data_dir} is a file, not a folder") from None
    except OSError as error:
        raise ConfigError(f"data_dir {data_dir} cannot be made: {error.strerror}") from None


def _holder(file: Path) -> str:
    """Return " (process 123, since 2026-11-24T02:42:20Z)" as the holder wrote it, or ""."""
    try:
        pid, since = file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return ""
    return f" (process {pid}, since {since})"


def _write(descriptor: int, text: str) -> None:
    # The lock is what counts; a full disk must not keep it from being taken or given back.
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode("ascii"), 0)
    except OSError:
        pass


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
