"""A line in the log for every command: who gave it, what it was, what came of it. Never a token."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("audit")


def record(who: str, what: str, said: Mapping[str, Any], result: str, *, refused: bool = False) -> None:
    """Write down one command.

    *who*: cli, page, telegram, api (another holder of the token), or nobody (somebody without it).
    *result*: ok, or what was answered instead.
    """
    words = "".join(f" {name}={value}" for name, value in said.items() if value is not None)
    level = logging.WARNING if refused else logging.INFO
    log.log(level, "command who=%s what=%s%s result=%s", who, what, words, result)
