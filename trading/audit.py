"""What RAD's trades cost and earned: the journal's word beside what the exchange's fills come to.

Pure, and exact but for what the exchange itself rounds, which is allowed for. KuCoin tells no profit per
order, and its positions and closed positions count whatever anybody traded in a symbol. Fills belong to
an order and so to one position of RAD's: they are what a trade can be held against.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading import settlement
from trading.facts import ZERO, ClosedTrade, Fill, Funding, Position, Side

FINEST = Decimal("1e-12")          # below it lies nothing but arithmetic with 28 digits
FEE_STEP = Decimal("1e-8")         # a fee is rounded fill by fill; one that was estimated is not
AVERAGE_STEP = Decimal("1e-10")    # an order's average price is rounded; its fills are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One position from its entry to its end, or to now, as the journal tells it."""

    position_id: str
    symbol: str
    side: Side
    entry_price: Decimal
    opened_ms: int
    fee: Decimal
    gross_pnl: Decimal             # realised, before fees and funding


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One sum of money over the trades of one symbol, told twice."""

    symbol: str
    trades: int
    journal: Decimal
    exchange: Decimal
    allowance: Decimal             # what the exchange's rounding may make of it

    @property
    def agrees(self) -> bool:
        """Whether both are the same but for rounding."""
        return abs(self.journal - self.exchange) <= self.allowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Fees and profit of every life, funding of the closed ones it is known of, by symbol."""

    fees: tuple[Figure, ...]
    realised_pnl: tuple[Figure, ...]
    funding: tuple[Figure, ...] = ()


def lives_of(trades: Iterable[ClosedTrade], positions: Iterable[Position]) -> tuple[Life, ...]:
    """Return closed trades and open positions alike as lives, oldest first."""
    closed = [
        Life(
            position_id=trade.position_id, symbol=trade.symbol, side=trade.side, entry_price=trade.entry_price,
            opened_ms=trade.opened_ms, fee=trade.fee, gross_pnl=trade.realised_pnl + trade.fee - trade.funding,
        )
        for trade in trades
    ]
    still_open = [
        Life(
            position_id=position.position_id, symbol=position.symbol, side=position.side,
            entry_price=position.entry_price, opened_ms=position.opened_ms, fee=position.fee,
            gross_pnl=position.realised_pnl,
        )
        for position in positions
    ]
    return tuple(sorted(closed + still_open, key=lambda life: life.opened_ms))


def fills_by_life(
    lives: Sequence[Life], fills: Iterable[Fill], owners: Mapping[str, str], booked: Collection[tuple[str, str]]
) -> dict[str, tuple[Fill, ...]]:
    """Return the fills of each life, by position id.

    *lives*: oldest first, timed as the exchange times its fills; *owners*: position id by order id.
    A fill of somebody else's order that RAD has *booked* closed the position its symbol had at the time.
    """
    found: defaultdict[str, list[Fill]] = defaultdict(list)
    for fill in fills:
        owner = owners.get(fill.order_id)
        if owner is None and (fill.symbol, fill.trade_id) in booked:
            owner = next((
                life.position_id for life in reversed(lives)
                if life.symbol == fill.symbol and life.opened_ms <= fill.ts_ms
            ), None)
        if owner is not None:
            found[owner].append(fill)
    return {position_id: tuple(those) for position_id, those in found.items()}


def audit(
    lives: Iterable[Life], fills: Mapping[str, Sequence[Fill]], multipliers: Mapping[str, Decimal]
) -> Audit:
    """Return what the journal says each symbol's *lives* cost and earned beside what their *fills* come to."""
    by_symbol: defaultdict[str, list[Life]] = defaultdict(list)
    for life in lives:
        by_symbol[life.symbol].append(life)
    fees, earned = [], []
    for symbol in sorted(by_symbol):
        those, multiplier = by_symbol[symbol], multipliers[symbol]
        traded = [tuple(fills.get(life.position_id, ())) for life in those]
        everything = [fill for each in traded for fill in each]
        fees.append(Figure(
            symbol=symbol, trades=len(those),
            journal=_sum(life.fee for life in those),
            exchange=_sum(fill.fee for fill in everything),
            allowance=FINEST + FEE_STEP * len(everything),
        ))
        earned.append(Figure(
            symbol=symbol, trades=len(those),
            journal=_sum(life.gross_pnl for life in those),
            exchange=_sum(gross_pnl(life, each, multiplier) for life, each in zip(those, traded, strict=True)),
            allowance=FINEST + _lost_in_averages(everything, multiplier),
        ))
    return Audit(fees=tuple(fees), realised_pnl=tuple(earned))


def funding_by_trade(
    trades: Iterable[ClosedTrade], paid: Mapping[str, Sequence[Funding]]
) -> tuple[tuple[ClosedTrade, Decimal], ...]:
    """Return each trade whose funding is known, with what was *paid* in its symbol while it lasted."""
    return tuple(
        (trade, settlement.funding_of(trade, paid[trade.symbol]))
        for trade in trades if trade.funding_known and trade.symbol in paid
    )


def funding_figures(compared: Iterable[tuple[ClosedTrade, Decimal]]) -> tuple[Figure, ...]:
    """Return what `funding_by_trade` found, by symbol: for the eye, as two wrong ones may sum up right."""
    by_symbol: defaultdict[str, list[tuple[ClosedTrade, Decimal]]] = defaultdict(list)
    for trade, theirs in compared:
        by_symbol[trade.symbol].append((trade, theirs))
    return tuple(
        Figure(
            symbol=symbol, trades=len(pairs), journal=_sum(trade.funding for trade, _ in pairs),
            exchange=_sum(theirs for _, theirs in pairs), allowance=FINEST,
        )
        for symbol, pairs in sorted(by_symbol.items())
    )


def gross_pnl(life: Life, fills: Iterable[Fill], multiplier: Decimal) -> Decimal:
    """Return what the exits among *fills* brought over their share of the entry, before fees and funding.

    What RAD adopted has no entry of RAD's: there the exchange's own average at the time stands for it.
    """
    fills = tuple(fills)
    entries = [fill for fill in fills if fill.side is life.side.entry]
    exits = [fill for fill in fills if fill.side is life.side.exit]
    left, brought = quantity_of(exits), value_of(exits, multiplier)
    if entries:
        cost = value_of(entries, multiplier) * left / quantity_of(entries)
    else:
        cost = life.entry_price * left * multiplier
    return (brought - cost) * life.side.sign


def quantity_of(fills: Iterable[Fill]) -> Decimal:
    """Return how many lots traded, bought and sold alike."""
    return _sum(fill.quantity for fill in fills)


def value_of(fills: Iterable[Fill], multiplier: Decimal) -> Decimal:
    """Return what traded in quote currency, bought and sold alike."""
    return _sum(fill.price * fill.quantity * multiplier for fill in fills)


def _lost_in_averages(fills: Iterable[Fill], multiplier: Decimal) -> Decimal:
    """Return what the rounding of average prices may amount to: nothing where an order met one price."""
    orders: defaultdict[str, list[Fill]] = defaultdict(list)
    for fill in fills:
        orders[fill.order_id].append(fill)
    return _sum(
        quantity_of(each) * multiplier * AVERAGE_STEP
        for each in orders.values() if len({fill.price for fill in each}) > 1
    )


def _sum(numbers: Iterable[Decimal]) -> Decimal:
    return sum(numbers, ZERO)
