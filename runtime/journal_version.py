"""Which version of the journal's tables this RAD knows. Imports little: the console asks it too."""

from __future__ import annotations

from collections.abc import Mapping

from trading.errors import JournalError

SCHEMA_VERSION = 4


class OlderJournal(JournalError):
    """A journal whose tables an older RAD made: to be brought up to date by the next start."""


def check_readable(found: Mapping[str, str]) -> None:
    """Raise JournalError unless a reader knows the tables of a journal whose meta table says *found*."""
    version = version_of(found)
    if version < SCHEMA_VERSION:
        raise OlderJournal(
            f"has schema {version}, but this RAD reads {SCHEMA_VERSION}; start it once and it brings it up to date"
        )


def version_of(found: Mapping[str, str]) -> int:
    """Return the schema's version by the meta table. Raises JournalError if this RAD cannot know it."""
    said = found.get("schema", "")
    if not said.isdecimal():
        raise JournalError("is not a journal of RAD's")
    version = int(said)
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"has schema {version}, but this RAD knows {SCHEMA_VERSION}; use the RAD that wrote it"
        )
    return version
