"""The last words of a run: what is open, what protects it, what was made or lost."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from daemon.house import House
from trading.facts import ZERO, ClosedTrade, Position, Price


def closing_block(house: House) -> list[str]:
    """Return the block printed when the daemon ends."""
    trades = [trade for trade in house.journal.trades(1000) if trade.closed_ms >= house.started_ms]
    positions = house.manager.snapshot()
    lines = ["", "-- RAD has ended " + "-" * 61]
    lines += _results(trades, house)
    lines += _open_positions(positions, {p.symbol: house.prices.get(p.symbol) for p in positions})
    under_way = house.manager.entries_under_way()
    if under_way:
        symbols = ", ".join(plan.symbol for plan in under_way)
        lines.append(f"   uncertain   entries still to be looked up at the next start: {symbols}")
    return [*lines, "-" * 78]


def _results(trades: Iterable[ClosedTrade], house: House) -> list[str]:
    trades = list(trades)
    made = sum((trade.realised_pnl for trade in trades), ZERO)
    fees = sum((trade.fee for trade in trades), ZERO)
    wins = sum(trade.realised_pnl > 0 for trade in trades)
    missing = " and before funding" if any(not trade.funding_known for trade in trades) else ""
    lines = [
        f"   this run    {len(trades)} trades closed, {wins} won, {made:+.2f} USDT after {fees:.2f} USDT of fees"
        + missing
    ]
    equity = house.account.equity()
    if equity is not None:
        lines.append(f"   equity      {equity:.2f} USDT")
    return lines


def _open_positions(positions: Iterable[Position], prices: dict[str, Price | None]) -> list[str]:
    positions = list(positions)
    if not positions:
        return ["   open        nothing"]
    lines = [f"   open        {len(positions)} position{'s' if len(positions) > 1 else ''}"]
    for position in positions:
        price = prices.get(position.symbol)
        lines.append(f"     {_line(position, price.mark if price else None)}")
    return lines


def _line(position: Position, mark: Decimal | None) -> str:
    stop = position.protective_stop
    worth = f"{position.unrealised_pnl(mark):+.2f} USDT" if mark is not None else "price unknown"
    guard = f"stop on the exchange at {stop.stop_price}" if stop else "NO STOP ON THE EXCHANGE"
    return (
        f"{position.symbol:<22} {position.side.value:<5} {position.quantity} lots from {position.entry_price}, "
        f"{worth}, {guard}"
    )
