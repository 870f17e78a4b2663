"""Taking up the work after any kind of end: the journal tells, the exchange confirms."""

from __future__ import annotations

import logging

from daemon.house import House
from trading.client_ids import Purpose
from trading.lifecycle import IntentState, PositionState

log = logging.getLogger("recover")


def recover(house: House) -> int:
    """Fill the book from the journal; whatever was under way is left to reconciliation.

    Returns how many positions were taken up. Sends nothing and asks the exchange nothing.
    """
    positions = house.journal.open_positions()
    for position in positions:
        house.manager.admit(position)
        if position.state is PositionState.CLOSING:
            house.manager.mark_uncertain(position.position_id)
        log.info(
            "%s taken up again side=%s quantity=%s entry=%s stop=%s best=%s state=%s",
            position.symbol, position.side.value, position.quantity, position.entry_price,
            position.stop_price, position.best_price, position.state.value,
        )
    held = {position.position_id for position in positions}
    for intent in house.journal.unsettled_intents():
        under_way = intent.purpose == Purpose.ENTRY.value and intent.position_id not in held
        if under_way and intent.plan is not None:
            log.warning("%s an entry was under way, looking it up client_oid=%s", intent.symbol, intent.client_oid)
            if intent.state is IntentState.INTENDED:
                house.journal.settle_intent(intent.client_oid, IntentState.UNKNOWN)
            house.manager.restore_entry(intent.plan)
    trades = house.journal.trades(1000)
    house.monitor.restore(trades, house.journal.peak_equity())
    house.manager.restore_exits({trade.symbol: trade.closed_ms for trade in reversed(trades)})
    house.manager.follow_prices()
    return len(positions)
