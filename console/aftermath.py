"""What the last daemon left behind, for the questions asked when none runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.journal_file import JournalFile, JournalServer, LeftBehind, OpenOrder
from console.where import Place, can_look_into, not_allowed
from control.views import amount, moment, position_view, status_view, trade_view
from runtime.version import VERSION
from trading.client_ids import Purpose
from trading.errors import JournalError

JsonObject = dict[str, Any]

ANSWERS = ("status", "positions", "trades", "orders")
SQLITE = "sqlite:///"


def read(question: str, place: Place, *, limit: int = 100) -> Any:
    """Answer one of ANSWERS from the journal of *place*: of its mode, else of the one that ran last.

    Raises:
        JournalError: there is one, but it cannot be read.
    """
    journal, mode = _find_journal(place)
    if question == "status":
        return _status(journal, mode)
    if question == "positions":
        return [position_view(position, None) for position in journal.open_positions()]
    if question == "trades":
        return [trade_view(trade) for trade in journal.trades(limit)]
    return [_order_view(order) for order in journal.open_orders()]


def journal_of(place: Place) -> tuple[str, str]:
    """Return the address of the journal and its mode, for the full reader.

    Raises:
        JournalError: no RAD has run here yet.
    """
    if place.journal_url is not None:
        return place.journal_url, place.mode or _find_journal(place)[1]
    file, mode = _find_file(place)
    if file is None:
        raise JournalError(f"there is no journal in {place.data_dir} yet; it is made when RAD first runs")
    return f"{SQLITE}{file}", mode


def _find_journal(place: Place) -> tuple[LeftBehind, str]:
    url, mode = place.journal_url, place.mode
    if url is not None:
        journal: LeftBehind = (
            JournalFile(Path(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else JournalServer(url)
        )
        return journal, mode or journal.mode() or "sandbox"
    file, mode = _find_file(place)
    return JournalFile(file), mode


def _find_file(place: Place) -> tuple[Path | None, str]:
    """Return the journal of that mode, or of the one that ran last, in the data folder."""
    if not can_look_into(place.data_dir):
        raise JournalError(not_allowed(place.data_dir))
    if place.mode is not None:
        return place.data_dir / f"journal-{place.mode}.sqlite", place.mode
    latest = max(place.data_dir.glob("journal-*.sqlite"), key=_written_at, default=None)
    return latest, "sandbox" if latest is None else latest.stem.removeprefix("journal-")


def _written_at(file: Path) -> float:
    """Return when the journal was last written; what is new may still be in its log beside it."""
    beside = file.with_name(f"{file.name}-wal")
    return max(each.stat().st_mtime for each in (file, beside) if each.exists())


def _status(journal: LeftBehind, mode: str) -> JsonObject:
    positions = journal.open_positions()
    equity = journal.last_equity()
    protected = sum(position.protective_stop is not None for position in positions)
    problems = []
    if positions:
        problems.append(
            f"the daemon does not run and left positions open: {len(positions)}, "
            f"{protected} of them with a stop on the exchange when last seen"
        )
    return status_view(
        state="down", mode=mode, market="futures", version=VERSION,
        equity=equity[1] if equity else None, positions=len(positions), protected=protected,
        problems=problems, last_seen_at=moment(equity[0]) if equity else None,
    )


def _order_view(order: OpenOrder) -> JsonObject:
    return {
        "symbol": order.symbol, "side": order.side, "purpose": Purpose(order.purpose).name.lower(),
        "state": order.state,
        "quantity": amount(order.quantity), "filled_quantity": None, "average_price": None,
        "stop_price": amount(order.stop_price), "active": None, "close_order": order.close_order,
        "client_oid": order.client_oid, "order_id": order.order_id, "created_at": moment(order.created_ms),
    }
