"""Taking up the work after any kind of end: the journal tells, the exchange confirms."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from daemon.house import House
from execution.funding import MOST_WAITING
from kucoin_client import KuCoinClient
from runtime.journal_reader import JournalReader
from trading.client_ids import Purpose
from trading.errors import JournalError
from trading.facts import Position
from trading.lifecycle import IntentState

FILLS_LISTED_MS = 86_400_000   # how far back KuCoin lists fills

log = logging.getLogger("recover")


def know_held(client: KuCoinClient, positions: Iterable[Position]) -> None:
    """Know the contracts of what is open.

    KuCoin may have taken one off its list since: then what it did to the position is to be read all the same.
    """
    for held in positions:
        client.know_again(held)


def know_traded(client: KuCoinClient, journal: JournalReader, now_ms: int) -> None:
    """Know the contracts of what was closed while its fills are still listed, or misses funding.

    They may be many that KuCoin lists no more, each of which is asked about: no exit waits for that, and a
    journal that cannot be read just then ends nobody who trades already.
    """
    listed = client.instruments()
    try:
        waiting = journal.trades_without_funding(now_ms, MOST_WAITING)
        for trade in journal.trades_since(now_ms - FILLS_LISTED_MS) + waiting:
            closed = None if trade.symbol in listed else journal.position(trade.position_id)
            if closed is not None:
                client.know_again(closed)
    except JournalError as error:
        log.warning("contracts of closed trades not looked for, the journal cannot be read error=%s", error)


def recover(house: House) -> int:
    """Fill the book from the journal; whatever was under way is left to reconciliation.

    Returns how many positions were taken up. Sends nothing, and asks the exchange about nothing but
    contracts it does not list any more.
    """
    positions = house.journal.open_positions()
    know_held(house.client, positions)
    for position in positions:
        if not house.manager.restore(position):
            # Two open in one symbol cannot be; whichever is real, the exchange tells, and entries stop till then.
            log.critical("%s stands in the journal twice, keeping %s", position.symbol, position.position_id)
            house.journal.record_event("twice", position.position_id, position.symbol)
            continue
        log.info(
            "%s taken up again side=%s quantity=%s entry=%s stop=%s best=%s state=%s",
            position.symbol, position.side.value, position.quantity, position.entry_price,
            position.stop_price, position.best_price, position.state.value,
        )
    held = {position.position_id for position in positions}
    for intent in house.journal.unsettled_intents():
        is_entry = intent.purpose == Purpose.ENTRY.value
        if is_entry and intent.position_id in held:
            # Killed between the position and its fills: those are booked when the exchange lists them.
            house.journal.settle_intent(intent.client_oid, IntentState.DONE)
        elif is_entry and intent.plan is not None:
            log.warning("%s an entry was under way, looking it up client_oid=%s", intent.symbol, intent.client_oid)
            if intent.state is IntentState.INTENDED:
                house.journal.settle_intent(intent.client_oid, IntentState.UNKNOWN)
            last_stop = house.journal.last_attempt(intent.position_id, Purpose.STOP.value)
            house.manager.restore_entry(intent.plan, last_stop)
    if house.journal.was_paused():
        # Whoever flattened and paused does not want a crash, or a standby, to begin anew.
        house.status.pause(True)
        log.warning("paused before RAD ended, and still: no entries from scanning until ./rad resume")
    trades = house.journal.trades(1000)
    house.monitor.restore(trades, house.journal.peak_equity())
    ahead_ms = house.client.clock_offset_ms()          # the book goes by our clock, trades by the exchange's
    house.manager.restore_exits({trade.symbol: trade.closed_ms + ahead_ms for trade in reversed(trades)})
    house.manager.follow_prices()
    return len(positions)
