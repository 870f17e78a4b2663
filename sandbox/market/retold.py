"""Candles of a symbol whose price was set by hand for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from sandbox.market.bars import MINUTE_MS
from sandbox.market.source import Candle, Contract

_KEPT_MINUTES = 3000


@dataclass(slots=True)
class _Minute:
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    began_within: bool         # the market's own open comes first


@dataclass(slots=True)
class Retold:
    """The minutes of one symbol that went otherwise than in the market underneath."""

    minutes: dict[int, _Minute] = field(default_factory=dict)      # by opening time in ms
    until_ms: int | None = None                                    # when it was let go; None: held

    def begin(self, now_ms: int, last: Decimal) -> None:
        """Listen from *now_ms* on; *last* is the price before."""
        self.until_ms = None
        opened = now_ms - now_ms % MINUTE_MS
        self.minutes.setdefault(opened, _Minute(last, last, last, last, began_within=True))

    def end(self, now_ms: int) -> None:
        """Stop listening when the minute of *now_ms* is over."""
        self.until_ms = now_ms

    def is_listening(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms // MINUTE_MS == self.until_ms // MINUTE_MS

    def trade(self, now_ms: int, prices: Sequence[Decimal]) -> None:
        """Note *prices*, oldest first, in the minute of *now_ms*."""
        opened = now_ms - now_ms % MINUTE_MS
        minute = self.minutes.get(opened)
        if minute is None:
            if len(self.minutes) >= _KEPT_MINUTES:
                del self.minutes[next(iter(self.minutes))]
            first = prices[0]
            minute = self.minutes[opened] = _Minute(first, first, first, first, began_within=False)
        minute.high = max(minute.high, *prices)
        minute.low = min(minute.low, *prices)
        minute.close = prices[-1]

    def began_within(self, opened: int, step_ms: int) -> bool:
        """Tell whether the market's own prices come first in the candle opened at *opened*."""
        touched = min(minute_ms for minute_ms in self.minutes if opened <= minute_ms < opened + step_ms)
        return self.minutes[touched].began_within

    def buckets(self, step_ms: int, from_ms: int, to_ms: int) -> list[int]:
        """Return the opening times of the candles of *step_ms* that are touched, oldest first."""
        touched = {opened - opened % step_ms for opened in self.minutes}
        return sorted(opened for opened in touched if from_ms <= opened <= to_ms)


def retell(
    candles: tuple[Candle, ...], minutes: tuple[Candle, ...], retold: Retold, step_ms: int,
    affected: list[int], contract: Contract,
) -> tuple[Candle, ...]:
    """Return *candles* with the *affected* ones folded anew.

    *minutes* are the market's own candles of one minute inside the affected ones, where it has any.
    """
    own = {candle.open_ms: candle for candle in candles}
    own_minutes = {candle.open_ms: candle for candle in (candles if step_ms == MINUTE_MS else minutes)}
    for opened in affected:
        parts: list[Candle] = []
        for minute_ms in range(opened, opened + step_ms, MINUTE_MS):
            part = own_minutes.get(minute_ms)
            if minute_ms in retold.minutes:
                part = _told(minute_ms, retold.minutes[minute_ms], part, contract)
            if part is not None:
                parts.append(part)
        whole = own.get(opened)
        if whole is not None and not own_minutes and retold.began_within(opened, step_ms):
            # The market knows no minutes: of what came before, its open is all there is.
            parts.insert(0, replace(whole, high=whole.open, low=whole.open, close=whole.open))
        own[opened] = _fold(opened, parts)
    return tuple(own[opened] for opened in sorted(own))


def _told(opened: int, minute: _Minute, own: Candle | None, contract: Contract) -> Candle:
    """Return a minute as it went; its volume is the market's."""
    first = own.open if minute.began_within and own is not None else minute.open
    volume = own.volume if own is not None else 1
    turnover = round(volume * contract.multiplier * minute.close, 4)
    return Candle(
        open_ms=opened, open=first, high=max(first, minute.high), low=min(first, minute.low),
        close=minute.close, volume=volume, turnover=turnover,
    )


def _fold(opened: int, parts: list[Candle]) -> Candle:
    return Candle(
        open_ms=opened, open=parts[0].open, high=max(p.high for p in parts), low=min(p.low for p in parts),
        close=parts[-1].close, volume=sum(p.volume for p in parts),
        turnover=sum((p.turnover for p in parts), start=Decimal(0)),
    )
