"""What a market is to the exchange: contracts, quotes and candles, moved on by `advance`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The rules of one instrument, in KuCoin's words; prices in quote currency, sizes in lots."""

    symbol: str                    # KuCoin's id: XBTUSDTM
    base: str                      # KuCoin's name: XBT
    quote: str = "USDT"
    settle: str = "USDT"
    multiplier: Decimal            # base currency per lot
    lot_size: int = 1
    tick_size: Decimal
    max_order_qty: int = 1_000_000
    max_price: Decimal = Decimal(1_000_000)
    max_leverage: int = 75
    initial_margin: Decimal = Decimal("0.014")
    maintain_margin: Decimal = Decimal("0.007")
    maker_fee_rate: Decimal = Decimal("0.0002")
    taker_fee_rate: Decimal = Decimal("0.0006")
    price_limit_rate: Decimal = Decimal("0.05")     # buyLimit / sellLimit distance from mark
    funding_granularity_ms: int = 28_800_000
    first_open_ms: int = 1_585_555_200_000
    status: str = "Open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One instrument's prices at one moment; bid < ask, both on the tick; sizes in lots."""

    symbol: str
    bid: Decimal
    bid_size: int
    ask: Decimal
    ask_size: int
    last: Decimal
    last_size: int
    last_side: str                 # of the taker: buy / sell
    mark: Decimal
    index: Decimal
    high_24h: Decimal
    low_24h: Decimal
    change_24h: Decimal            # last minus the price 24 h ago
    change_rate_24h: Decimal       # a fraction
    volume_24h: Decimal            # base currency
    turnover_24h: Decimal          # quote currency
    funding_rate: Decimal
    sequence: int                  # grows with every change of this instrument
    ts_ms: int                     # exchange time of the last change


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One interval in which something traded; intervals without a trade have none."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int                    # lots
    turnover: Decimal              # quote currency


class MarketSource(Protocol):
    """Where prices come from: synthetic, replayed, relayed, or scripted on top of those.

    Single-threaded: the exchange's event loop is its only caller.
    """

    async def start(self) -> None:
        """Get ready; a relay makes its first fetch here."""

    async def close(self) -> None:
        """Stop whatever `start` began."""

    def contracts(self) -> tuple[Contract, ...]:
        """Return every instrument, in a stable order."""

    def quote(self, symbol: str) -> Quote:
        """Return the prices as of the last `advance`; KeyError for an unknown symbol."""

    def advance(self, now_ms: int) -> tuple[str, ...]:
        """Move to exchange time *now_ms* and return the symbols whose quote has changed."""

    def traded_range(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Return (low, high) of mark prices passed through by the last `advance`.

        Stops trigger on the range, so a spike between two calls is not missed.
        """

    async def candles(
        self, symbol: str, granularity_min: int, from_ms: int, to_ms: int
    ) -> tuple[Candle, ...]:
        """Return candles opened in from_ms <= t <= to_ms, oldest first, the open one last."""
