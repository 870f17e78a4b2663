"""`./rad logs`: the log's files, whether the daemon runs or not."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from console.failure import Failure
from console.where import not_allowed
from control.steering import BAD_CONFIG, ERROR, NOT_FOUND, OK
from runtime.log_files import Entry, LogFiles, Wanted
from runtime.settings import load_settings

LOOK_S = 0.25
_COLOURS = {"WARN": "\x1b[33m", "ERROR": "\x1b[31m", "FATAL": "\x1b[1;31m", "DEBUG": "\x1b[2m"}


def logs(config: Path | None, *, wanted: Wanted, count: int, follow: bool, as_json: bool) -> int:
    """Print the latest *count* records that are wanted, and with *follow* those to come."""
    path = load_settings(config).log_path
    if path is None:
        raise Failure("log.file is none: the log goes to the terminal only", BAD_CONFIG)
    try:
        if not follow and not path.exists():
            raise Failure(f"there is no log yet: {path}", NOT_FOUND)
        _show(LogFiles(path), wanted=wanted, count=count, follow=follow, as_json=as_json)
    except PermissionError:
        raise Failure(not_allowed(path), ERROR) from None
    return OK


def _show(files: LogFiles, *, wanted: Wanted, count: int, follow: bool, as_json: bool) -> None:
    following = files.follow() if follow else None      # first: what comes meanwhile is not missed
    _print(files.latest(wanted, count), as_json=as_json)
    while following is not None:
        _print(filter(wanted, following.read()), as_json=as_json)
        time.sleep(LOOK_S)


def _print(found: Iterable[Entry], *, as_json: bool) -> None:
    is_coloured = sys.stdout.isatty() and not as_json
    for entry in found:
        text = json.dumps(entry.facts(), ensure_ascii=False) if as_json else entry.line()
        colour = _COLOURS.get(entry.level) if is_coloured else None
        print(f"{colour}{text}\x1b[0m" if colour else text)
    sys.stdout.flush()
