"""What a scan knows of one pair, and for how long that is the newest there is."""

from __future__ import annotations

from dataclasses import dataclass

from trading.candles import Candles
from trading.errors import RadError
from trading.strategies import Signal, Strategy, signal_at

SETTLE_MS = 1_500          # KuCoin writes a candle a moment after it has closed ...
LATE_MS = 10_000           # ... and one without volume may be one it had not written: look again till then


class StrategyFailed(RadError):
    """The strategy raised on a pair's candles: that is not "no signal"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A pair's candles and what the strategy says of the last one; worked out once, when fetched."""

    candles: Candles
    signal: Signal | None
    asked_ms: int              # when the candles were asked for, our clock
    fault: str = ""            # why the strategy has nothing to say: it failed

    def opinion(self) -> Signal | None:
        """Return the signal, None for none. Raises StrategyFailed."""
        if self.fault:
            raise StrategyFailed(self.fault)
        return self.signal

    def is_newest(self, now_ms: int) -> bool:
        """Whether no candle can have closed since; a last one without volume is doubted for a while."""
        candles = self.candles
        if now_ms >= candles.next_close_ms + SETTLE_MS:
            return False
        closed_ms = candles.next_close_ms - candles.interval_ms
        return bool(candles.volume[-1]) or self.asked_ms >= closed_ms + LATE_MS

    def missing(self, now_ms: int) -> int:
        """Return how many candles have closed since the last one here."""
        return max(0, (now_ms - self.candles.next_close_ms) // self.candles.interval_ms + 1)


def read(strategy: Strategy, candles: Candles, asked_ms: int) -> Reading:
    """Return the reading of *candles*; a strategy that raises is noted in it."""
    try:
        return Reading(candles=candles, signal=signal_at(strategy, candles), asked_ms=asked_ms)
    except Exception as error:  # noqa: BLE001 - a person's own code may raise anything
        return Reading(
            candles=candles, signal=None, asked_ms=asked_ms, fault=f"{type(error).__name__}: {error}"
        )
