"""Open, close, update and adopt at once, on the real PositionManager, in every order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from decimal import Decimal

from tests.interleavings.explorer import Scene
from tests.interleavings.houses import SYMBOL, a_house, must_agree
from tests.trading_house import TradingHouse, an_account, an_entry_request
from trading.facts import ClosedTrade, OrderSide, Position

D = Decimal


def opening(house: TradingHouse) -> Callable[[], object]:
    """What a thread does that opens a position by hand or by a scan."""
    request = an_entry_request(now_ms=house.manager._clock.now_ms())
    return lambda: house.manager.open_position(request, an_account())


def closing(house: TradingHouse) -> Callable[[], object]:
    """What a thread does that closes it by hand."""
    return lambda: house.manager.close_position(SYMBOL)


def an_open_house(price: Decimal | None = None) -> TradingHouse:
    """A house with one position, whose symbol stands at *price* by now."""
    house = a_house()
    opening(house)()
    if price is not None:
        house.prices.set(SYMBOL, price)
        house.exchange.prices[SYMBOL] = price
    return house


def one(kind: type, results: Mapping[str, object]) -> bool:
    """Whether of all results exactly one is of *kind*."""
    return sum(isinstance(result, kind) for result in results.values()) == 1


def openers(count: int) -> Scene:
    house = a_house()

    def check(results: Mapping[str, object]) -> None:
        assert len(house.exchange.entries()) == 1
        assert one(Position, results)
        must_agree(house)

    return Scene(threads={f"opener {number}": opening(house) for number in range(count)}, check=check)


def two_openers() -> Scene:
    """Of two that open one symbol, one sends an order."""
    return openers(2)


def three_openers() -> Scene:
    """Of three that open one symbol, one sends an order."""
    return openers(3)


def closers(count: int) -> Scene:
    house = an_open_house()

    def check(results: Mapping[str, object]) -> None:
        assert len(house.exchange.exits()) == 1
        assert one(ClosedTrade, results)
        must_agree(house)

    return Scene(threads={f"closer {number}": closing(house) for number in range(count)}, check=check)


def two_closers() -> Scene:
    """Of two that close one position, one sends an exit."""
    return closers(2)


def three_closers() -> Scene:
    """Of three that close one position, one sends an exit."""
    return closers(3)


def opener_and_closer() -> Scene:
    """A position is closed while it is being opened: it was not there yet, or it is closed, once."""
    house = a_house()

    def check(results: Mapping[str, object]) -> None:
        assert len(house.exchange.entries()) == 1
        assert len(house.exchange.exits()) == len(house.journal.trades) == one(ClosedTrade, results)
        must_agree(house)

    return Scene(threads={"opener": opening(house), "closer": closing(house)}, check=check)


def two_monitors() -> Scene:
    """Two threads update positions, one of which is beyond its stop: one exit (the seed's Pattern 2, by RAD)."""
    house = an_open_house(D(40_000))

    def check(_: object) -> None:
        assert len(house.exchange.exits()) == len(house.journal.trades) == 1
        must_agree(house)

    update = house.manager.update_positions
    return Scene(threads={"one": update, "other": update}, check=check)


def monitor_and_closer() -> Scene:
    """A stop is hit while somebody closes by hand: one exit, one trade."""
    house = an_open_house(D(40_000))

    def check(_: object) -> None:
        assert len(house.exchange.exits()) == len(house.journal.trades) == 1
        must_agree(house)

    return Scene(threads={"monitor": house.manager.update_positions, "closer": closing(house)}, check=check)


def profit_taker_and_closer() -> Scene:
    """The monitor takes half of the profit while somebody closes all: nothing is sold that is not there."""
    house = an_open_house(D(52_100))

    def check(_: object) -> None:
        assert house.exchange.net[SYMBOL] in (D(0), D(19))         # half of 39 lots, rounded up, has gone
        assert len(house.exchange.exits()) <= 2
        must_agree(house)

    return Scene(threads={"monitor": house.manager.update_positions, "closer": closing(house)}, check=check)


def profit_taker_and_comparison() -> Scene:
    """Others have sold a part, and the monitor takes some profit while book and exchange are compared.

    What the monitor sold is in the book a moment before it is in the journal, and explains nothing any more.
    """
    house = an_open_house(D(52_100))
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(10))

    def look_again() -> None:
        house.manager.update_positions()
        house.reconciler.run()

    def check(_: object) -> None:
        assert house.exchange.net[SYMBOL] == D(9)             # 39 less 10 less 20, half of 39 rounded up
        must_agree(house)

    return Scene(check=check, ending=look_again, threads={
        "monitor": house.manager.update_positions, "comparison": house.reconciler.run,
    })


def trailing_and_closer() -> Scene:
    """The monitor moves the stop while somebody closes: no stop is left behind."""
    house = an_open_house(D(51_500))

    def check(_: object) -> None:
        assert len(house.exchange.exits()) == len(house.journal.trades) == 1
        must_agree(house)

    return Scene(threads={"monitor": house.manager.update_positions, "closer": closing(house)}, check=check)


def adopter_and_closer() -> Scene:
    """A position somebody else has opened is adopted while it is closed by hand."""
    house = a_house()
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(39))
    (theirs,) = house.exchange.fetch_positions()

    def check(_: object) -> None:
        assert len(house.exchange.exits()) == len(house.journal.trades)
        must_agree(house)

    return Scene(threads={"adopter": lambda: house.manager.adopt(theirs), "closer": closing(house)}, check=check)


def two_adopters() -> Scene:
    """Two comparisons find one foreign position: it is adopted once."""
    house = a_house()
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(39))
    (theirs,) = house.exchange.fetch_positions()

    def check(results: Mapping[str, object]) -> None:
        assert one(Position, results)
        must_agree(house)

    adopt = {name: lambda: house.manager.adopt(theirs) for name in ("one", "other")}
    return Scene(threads=adopt, check=check)


def ending_and_opener() -> Scene:
    """Once the door is shut and no entry is under way, none is sent any more."""
    house = a_house()
    sent_by_then: list[int] = []

    def end() -> None:
        house.manager.shut("RAD ends")
        assert house.manager.await_entries(60) == ()
        sent_by_then.append(len(house.exchange.entries()))

    def check(_: object) -> None:
        assert sent_by_then == [len(house.exchange.entries())]
        must_agree(house)

    return Scene(threads={"opener": opening(house), "ending": end}, check=check)


def restorer_and_monitor() -> Scene:
    """A position taken up may have been left in part just before: no part is sold until that would show."""
    house = an_open_house(D(52_100))
    (position,) = house.manager.snapshot()
    with house.manager._positions_lock:
        del house.manager.positions[SYMBOL]

    def check(_: object) -> None:
        assert house.exchange.exits() == []
        must_agree(house)

    return Scene(check=check, threads={
        "restorer": lambda: house.manager.restore(position), "monitor": house.manager.update_positions,
    })


def flattener_and_opener(*, asks_again: bool = True) -> Scene:
    """Paused to close everything: what a scan was about to open is there to be closed by then, or not opened."""
    house, paused = a_house(), threading.Event()
    there_by_then: list[int] = []
    request = an_entry_request(now_ms=house.manager._clock.now_ms())

    def is_forbidden() -> str:
        return "paused" if paused.is_set() else ""

    def open_best() -> object:
        asked = is_forbidden if asks_again else str
        return is_forbidden() or house.manager.open_position(request, an_account(), asked)

    def flatten() -> None:
        paused.set()
        assert house.manager.await_entries(60) == ()
        there_by_then.append(len(house.manager.snapshot()))

    def check(_: object) -> None:
        assert there_by_then == [len(house.manager.snapshot())]
        must_agree(house)

    return Scene(threads={"opener": open_best, "flattener": flatten}, check=check)


def flattener_and_early_asker() -> Scene:
    """The mutant: the opener asks before it claims the symbol, and not after."""
    return flattener_and_opener(asks_again=False)


def opener_and_profit_taker() -> Scene:
    """Part of the profit is taken while the opener sees to stop and fees: what is left is written down so."""
    house = a_house()

    def take() -> None:
        house.prices.set(SYMBOL, D(52_100))
        house.manager.update_positions()

    def look_again() -> None:
        time.sleep(house.manager._guard.rules.min_interval_s)     # for which a stop that was not placed is let be
        house.manager.update_positions()

    return Scene(
        threads={"opener": opening(house), "monitor": take}, ending=look_again, check=lambda _: must_agree(house),
    )
