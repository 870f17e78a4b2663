"""What happened, kept in the journal for those who ask when no daemon runs."""

from __future__ import annotations

from runtime.events import EventFeed
from trading.events import Kind
from trading.ports import Journal

# In the journal already: as trades, as positions, or by an event of whoever did it.
ELSEWHERE = frozenset({
    Kind.ENTRY, Kind.PART_CLOSED, Kind.EXIT, Kind.REBUILT, Kind.UNPROTECTED, Kind.EXIT_STUCK,
})


class Remembrance:
    """Writes the feed's events down; one thread."""

    def __init__(self, feed: EventFeed, journal: Journal) -> None:
        self._feed = feed
        self._journal = journal
        self._kept = feed.latest

    def keep(self) -> None:
        """Note what was told since the last time; does not wait for the disk."""
        for event in self._feed.after(self._kept):
            self._kept = event.number
            if event.kind not in ELSEWHERE:
                kind = f"{event.kind.value}_over" if event.over else event.kind.value
                self._journal.record_event(kind, event.text.removeprefix(f"{event.symbol} "), event.symbol)
