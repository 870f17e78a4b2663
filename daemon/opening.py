"""The way in: each scan result is consumed once, and its best opportunities are opened if allowed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from decimal import Decimal

from daemon.house import House
from execution.book import NotOpened
from runtime.heartbeat import IDLE, IDLE_LIMIT_S, doing, gets_on
from trading.errors import UnknownInstrument
from trading.exits import initial_stop
from trading.facts import Instrument, Opportunity, Position, Priority, ScanResult, Side, Ticker
from trading.risk import EntryRequest, halt_reason

log = logging.getLogger("entry")

WAIT_S = 1.0
OLDEST_ACCOUNT_S = 60.0        # limits on losses need to know them


class Opener:
    """Opens positions: from scan results on the main thread, by hand on any."""

    def __init__(self, house: House, *, guard: bool) -> None:
        self._house = house
        self._guard = guard
        self._consumed = 0
        self._refusal_said = ""
        self._block_said = ""

    def step(self) -> None:
        """Wait a second for a scan result; open its best opportunities unless entries are blocked."""
        with doing(IDLE, "a scan", WAIT_S + IDLE_LIMIT_S):
            result = self._house.scanner.wait_for_result(self._consumed, WAIT_S)
        if result is None:
            return
        self._consumed = result.sequence
        blocked = self.blocked_by()
        self._say_blocked(blocked)
        if not blocked:
            self._open_best(result)

    def blocked_by(self) -> str:
        """Return why nothing may be entered from scanning now; empty when it may."""
        house = self._house
        if self._guard:
            return "guard mode"
        if house.status.paused:
            return "paused"
        if not house.journal.healthy:
            return "the journal cannot be written"
        return self.unsafe() or halt_reason(house.account.state(), house.rules.risk) or ""

    def unsafe(self) -> str:
        """Return what makes every entry unsafe, by hand too; empty when nothing does."""
        house = self._house
        if house.stop.is_set():
            return "stopping"
        if house.status.phase != "running":
            return house.status.phase
        if house.key_check.trouble:
            return house.key_check.trouble
        if house.account.age_s() > OLDEST_ACCOUNT_S:
            return "what the account is worth has not been read for a while"
        if house.lease is not None and house.lease.trouble():
            return house.lease.trouble()
        if house.status.unexplained:
            return "book and exchange differ, unexplained"
        if house.status.stuck:
            return f"thread stuck: {', '.join(house.status.stuck)}"
        if house.supervisor.trouble():
            return f"thread stuck: {house.supervisor.trouble()}"
        return ""

    def open_by_hand(self, symbol: str, side: Side, notional: Decimal | None) -> Position | NotOpened:
        """Open a position somebody asked for; the risk limits hold, the strategy is not asked."""
        house = self._house
        instrument = house.client.instrument(symbol)
        blocked = self.unsafe()
        if blocked:
            return NotOpened(reason=blocked)
        ticker = house.client.fetch_tickers(Priority.HIGH).get(instrument.symbol)
        if ticker is None:
            raise UnknownInstrument(f"{symbol} has no price")
        # Without a scan there is no ATR at hand: one percent stands in for it.
        atr = house.scanner.atr_of(instrument.symbol) or ticker.last / 100
        return self._open(
            instrument, side, ticker, atr, notional=notional, strategy="manual", reasons=("by hand",),
            forbidden=self.unsafe,
        )

    def _open_best(self, result: ScanResult) -> None:
        house = self._house
        held = {position.symbol for position in house.manager.snapshot()}
        kept_out = held | house.blacklist.symbols()
        wanted = [opportunity for opportunity in result.opportunities if opportunity.symbol not in kept_out]
        room = house.settings.positions.max_open - len(held)
        if not wanted or room <= 0:
            return
        tickers = house.client.fetch_tickers(Priority.HIGH)      # what the scan saw may be seconds old
        opened, refusal = 0, ""
        for opportunity in wanted:
            gets_on()
            ticker = tickers.get(opportunity.symbol)
            if opened >= room or self.blocked_by():
                break
            if ticker is not None:
                reason = self._open_one(opportunity, ticker)
                opened += not reason
                refusal = refusal or reason
            if house.manager.has_uncertain():
                break      # what became of an order, and whether a stop rests, comes before the next entry
        # Most scans find nothing new to open: that is not news, and why is said once, below.
        log.log(logging.INFO if opened else logging.DEBUG, "scan consumed sequence=%d wanted=%d opened=%d",
                result.sequence, len(wanted), opened)
        self._say_refusal("" if opened else refusal)

    def _say_blocked(self, reason: str) -> None:
        """Log what blocks entries when it begins, when it is another, and that it is over."""
        kind = re.sub(r"[\d.]+", "", reason)
        if kind != self._block_said:
            log.info("entries blocked reason=%s" if reason else "entries are no longer blocked%s", reason)
        self._block_said = kind

    def _say_refusal(self, reason: str) -> None:
        """Log why nothing could be opened, once until the reason is another; numbers in it may change."""
        kind = re.sub(r"[\d.]+", "", reason)
        if reason and kind != self._refusal_said:
            log.info("nothing opened first_reason=%s", reason)
        self._refusal_said = kind

    def _open_one(self, opportunity: Opportunity, ticker: Ticker) -> str:
        """Open it; return why not, empty when it was."""
        def forbidden() -> str:
            # A list of many takes a while: somebody may have put it there since.
            is_kept_out = opportunity.symbol in self._house.blacklist.symbols()
            return f"{opportunity.symbol} is on the black list" if is_kept_out else self.blocked_by()

        result = self._open(
            self._house.client.instrument(opportunity.symbol),
            opportunity.side,
            ticker,
            opportunity.atr,
            notional=None,
            strategy=opportunity.strategy,
            reasons=(f"score {opportunity.score:.2f}", *opportunity.reasons),
            forbidden=forbidden,
        )
        if isinstance(result, NotOpened):
            log.debug("%s not opened score=%.2f reason=%s", opportunity.symbol, opportunity.score, result.reason)
            return result.reason
        return ""

    def _open(
        self,
        instrument: Instrument,
        side: Side,
        ticker: Ticker,
        atr: Decimal,
        *,
        notional: Decimal | None,
        strategy: str,
        reasons: tuple[str, ...],
        forbidden: Callable[[], str],
    ) -> Position | NotOpened:
        house = self._house
        price = ticker.ask if side is Side.LONG else ticker.bid
        request = EntryRequest(
            instrument=instrument,
            side=side,
            price=ticker,
            atr=atr,
            stop_price=initial_stop(side, price, atr, house.rules.exits, instrument),
            notional=notional,
            strategy=strategy,
            reasons=reasons,
        )
        return house.manager.open_position(request, house.account.state(), forbidden)
