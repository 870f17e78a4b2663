"""The day's fills as the comparison reads them, and those of RAD's own orders that were listed late.

A day may have many thousands. What one comparison has read and seen through, the next does not ask for again.
"""

from __future__ import annotations

import logging

from trading.errors import JournalError
from trading.facts import Fill
from trading.ports import Exchange, Journal

log = logging.getLogger("recon")

LISTED_WITHIN_MS = 120_000     # after a fill of that time all older ones are taken to be listed


class LateFills:
    """Reads and books; the reconciling thread alone."""

    def __init__(self, exchange: Exchange, journal: Journal) -> None:
        self._exchange = exchange
        self._journal = journal
        self._since_ms = 0         # nothing is to be learnt from older ones; 0: ask for the whole day's
        self._read_to_ms = 0       # the same, once the comparison is seen through that has read them
        self._booked: set[tuple[str, str]] = set()      # of the last fills: symbol, trade id

    def read(self) -> tuple[Fill, ...]:
        """Return the day's fills, oldest first, but not surely what has been seen through; book late ones.

        Raises:
            ExchangeError: they are not known; nothing was booked.
        """
        self._read_to_ms = self._since_ms
        fills = self._exchange.fetch_recent_fills(since_ms=self._since_ms)
        try:
            self._book(fills)
        except JournalError as error:      # exits are seen through without it
            log.warning("late fills not booked, the journal cannot be read error=%s", error)
        else:
            if fills:
                self._read_to_ms = max(self._since_ms, fills[-1].ts_ms - LISTED_WITHIN_MS)
        return fills

    def seen_through(self) -> None:
        """Take what was read last as done with."""
        self._since_ms = self._read_to_ms

    def begin_anew(self) -> None:
        """Read the whole day next time: there is something that may have begun at any time of it."""
        self._since_ms = 0

    def _book(self, fills: tuple[Fill, ...]) -> None:
        news = [fill for fill in fills if (fill.symbol, fill.trade_id) not in self._booked]
        ours = self._journal.client_oids((fill.order_id for fill in news), settled=True)
        found = {(fill.symbol, fill.trade_id) for fill in fills} & self._booked
        for fill in (fill for fill in news if fill.order_id in ours):
            if self._journal.is_booked(fill.symbol, fill.trade_id):
                found.add((fill.symbol, fill.trade_id))
            else:
                self._journal.record_fills(ours[fill.order_id], [fill])
        self._booked = found
