"""The funding of closed trades, looked up once the exchange has had time to list it.

A trade is booked without waiting for it and says so (`ClosedTrade.funding_known`). What still misses it
stands in the journal, so that a failure, a crash or a restart only puts it off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from trading import settlement
from trading.errors import ExchangeError, JournalError
from trading.ports import Clock, Exchange, Journal, Monitor

log = logging.getLogger("recon")

LISTED_AFTER_MS = 120_000      # what was paid up to a close is taken to be listed so long after it
AT_A_TIME = 20                 # trades asked for after one comparison
MOST_WAITING = 1_000           # of them looked at


class FundingLookUp:
    """Makes good what closed trades miss; the reconciling thread alone.

    *is_busy*: whether that thread has something to see to that cannot wait.
    """

    def __init__(
        self, exchange: Exchange, journal: Journal, monitor: Monitor, clock: Clock, is_busy: Callable[[], bool]
    ) -> None:
        self._exchange = exchange
        self._journal = journal
        self._monitor = monitor
        self._clock = clock
        self._is_busy = is_busy
        self._tried: set[str] = set()      # without success: the others come first
        self._told: set[str] = set()       # that they fail: one whose contract has gone does so each time

    def look_up(self) -> None:
        """Ask for the funding of some trades that miss it; the first failure puts off the rest."""
        listed_ms = self._clock.now_ms() - self._exchange.clock_offset_ms() - LISTED_AFTER_MS
        try:
            most = min(AT_A_TIME + len(self._tried), MOST_WAITING)       # those asked for and those passed over
            waiting = self._journal.trades_without_funding(listed_ms, most)
            untried = [trade for trade in waiting if trade.position_id not in self._tried]
            if not untried:
                self._tried.clear()
            for trade in (untried or waiting)[:AT_A_TIME]:
                if self._is_busy():
                    return
                self._tried.add(trade.position_id)
                paid = self._exchange.fetch_funding(trade.symbol, trade.opened_ms, trade.closed_ms)
                known = settlement.with_funding(trade, paid)
                self._journal.settle_funding(known)
                self._monitor.record_funding(known)
                self._tried.discard(trade.position_id)
                self._told.discard(trade.position_id)
                log.info("%s funding known position_id=%s funding=%s pnl=%+.4f", trade.symbol, trade.position_id,
                         known.funding, known.realised_pnl)
        except (ExchangeError, JournalError) as error:
            is_news = isinstance(error, JournalError) or not self._tried <= self._told
            self._told |= self._tried
            log.log(logging.WARNING if is_news else logging.DEBUG,
                    "funding of closed trades not known yet, asking again later error=%s", error)
