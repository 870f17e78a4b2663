"""What closed trades and the account's equity come to, one after the other; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from trading.facts import ZERO, ClosedTrade

DAY_MS = 86_400_000
MOST_IN_A_ROW = 1_000          # losses that are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What trading earned, in quote currency; replaced whole, never edited."""

    equity: Decimal | None = None
    equity_ms: int = 0                     # when that was seen
    peak_equity: Decimal | None = None
    trades: int = 0
    wins: int = 0
    losses: int = 0                        # a trade that comes out even is neither
    latest: tuple[tuple[str, Decimal], ...] = ()       # results by position id, since the last win that is certain
    realised_pnl: Decimal = ZERO           # after fees and funding
    fees: Decimal = ZERO
    gains: Decimal = ZERO
    lost: Decimal = ZERO                   # positive
    r_sum: Decimal = ZERO
    day: int = 0                           # of the last trade, days since 1970 UTC
    day_pnl: Decimal = ZERO                # on that day
    awaiting_funding: frozenset[str] = frozenset()     # trades by position id, counted without it

    @property
    def losses_in_a_row(self) -> int:
        """How many have lost since the last win; what came out even is neither."""
        decided = [pnl for _, pnl in self.latest if pnl]
        return next((count for count, pnl in enumerate(reversed(decided)) if pnl > 0), len(decided))

    def with_trade(self, trade: ClosedTrade) -> Money:
        """Return it with one more closed trade."""
        pnl, day = trade.realised_pnl, trade.closed_ms // DAY_MS
        if day > self.day:
            day_pnl = pnl
        else:
            day_pnl = self.day_pnl + (pnl if day == self.day else ZERO)
        return replace(
            self,
            trades=self.trades + 1,
            wins=self.wins + (pnl > 0),
            losses=self.losses + (pnl < 0),
            latest=() if pnl > 0 and trade.funding_known
            else (*self.latest[1 - MOST_IN_A_ROW:], (trade.position_id, pnl)),
            realised_pnl=self.realised_pnl + pnl,
            fees=self.fees + trade.fee,
            gains=self.gains + max(pnl, ZERO),
            lost=self.lost + max(-pnl, ZERO),
            r_sum=self.r_sum + trade.r_multiple,
            day=max(day, self.day),
            day_pnl=day_pnl,
            awaiting_funding=self.awaiting_funding | (set() if trade.funding_known else {trade.position_id}),
        )

    def with_funding(self, trade: ClosedTrade) -> Money:
        """Return it with a trade corrected that was counted without its funding; unchanged by any other."""
        if trade.position_id not in self.awaiting_funding:
            return self
        pnl, before = trade.realised_pnl, trade.realised_pnl - trade.funding
        return replace(
            self,
            wins=self.wins + (pnl > 0) - (before > 0),
            losses=self.losses + (pnl < 0) - (before < 0),
            latest=self._latest_with(trade),
            realised_pnl=self.realised_pnl + trade.funding,
            gains=self.gains + max(pnl, ZERO) - max(before, ZERO),
            lost=self.lost + max(-pnl, ZERO) - max(-before, ZERO),
            day_pnl=self.day_pnl + (trade.funding if trade.closed_ms // DAY_MS == self.day else ZERO),
            awaiting_funding=self.awaiting_funding - {trade.position_id},
        )

    def _latest_with(self, trade: ClosedTrade) -> tuple[tuple[str, Decimal], ...]:
        at = next((at for at, (name, _) in enumerate(self.latest) if name == trade.position_id), None)
        if at is None:
            return self.latest
        before, after = self.latest[:at], self.latest[at + 1:]
        return after if trade.realised_pnl > 0 else (*before, (trade.position_id, trade.realised_pnl), *after)

    def with_equity(self, equity: Decimal, at_ms: int) -> Money:
        """Return it with a newer equity."""
        peak = equity if self.peak_equity is None else max(self.peak_equity, equity)
        return replace(self, equity=equity, equity_ms=at_ms, peak_equity=peak)

    @property
    def drawdown(self) -> Decimal:
        """Fraction below the peak; 0 while either is unknown."""
        if self.equity is None or not self.peak_equity:
            return ZERO
        return max(1 - self.equity / self.peak_equity, ZERO)
