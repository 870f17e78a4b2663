"""How each made-up contract behaves, from its rank by turnover: liquid and calm first, thin and wild last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.market.contracts import Listing
from sandbox.market.noise import Floats, Integers, scramble

_FIRST_TURNOVER = 1.0e9                         # quote currency a day, of the most traded
_LEAST_TURNOVER = 4.0e5
# Share of minutes without a trade by rank (0 first, 1 last): a recorded month of 53 KuCoin pairs.
_SILENT_AT, _SILENT_SHARE = (0, 0.25, 0.5, 0.75, 0.9, 1.0), (0, 0.0, 0.076, 0.21, 0.28, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Characters:
    """One number per contract, in the order of the listings."""

    tick: Floats
    price: Floats              # where it begins
    lot: Floats                # base currency per lot
    sigma: Floats              # standard deviation of an ordinary minute's log return
    spread: Floats             # a fraction of the price
    slot_ms: Integers          # its quote changes at most this often
    lots_per_minute: Floats
    lots_at_best: Floats
    silent: Floats             # share of minutes in which nothing trades


def characters(listings: tuple[Listing, ...], volatility: float) -> Characters:
    """Return what *listings* are like in a market of *volatility*."""
    count = len(listings)
    rank = np.arange(count)
    luck = np.array([scramble(1, n) for n in range(count)], dtype=np.uint64).astype(float) / 2.0**64
    price = np.array([float(listing.price) for listing in listings])
    lot = np.array([float(listing.contract.multiplier) for listing in listings])
    turnover = np.maximum(_FIRST_TURNOVER * (rank + 1.0) ** -1.3, _LEAST_TURNOVER)
    # A ranking of five says little about who is thin: then the scale is that of sixty.
    place = rank / max(count - 1, 59)
    lots_per_minute = turnover / 1440 / (price * lot)
    return Characters(
        tick=np.array([float(listing.contract.tick_size) for listing in listings]),
        price=price, lot=lot,
        sigma=np.where(rank < 2, 0.0007 + 0.0002 * rank, 0.0010 + 0.0005 * luck + 0.0003 * place),
        spread=(0.5 + 5.5 * place + luck) * 1e-4 * max(1.0, np.sqrt(volatility) * 0.6),
        slot_ms=np.rint(100 + 700 * place**2 / max(1.0, np.sqrt(volatility))).astype(np.int64),
        lots_per_minute=lots_per_minute,
        lots_at_best=np.maximum(0.3 * lots_per_minute, 1000 / (price * lot)),
        silent=np.interp(place, _SILENT_AT, _SILENT_SHARE),
    )
