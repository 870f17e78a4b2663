"""Thread safety, with real threads: each test fails when its lock is taken away.

Run by pytest with the rest. Alone (python tests/test_thread_safety.py) it proves every guarantee of
docs/THREAD_SAFETY.md, here and elsewhere, and prints what it proved; a guarantee's key proves that one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from execution.book import NotOpened
from kucoin.endpoints import CANDLES, PLACE, Endpoint
from kucoin_client import KuCoinClient
from market_scanner import MarketScanner, ScanRules
from performance_monitor import PerformanceMonitor
from runtime import locks
from runtime.budget import RateBudget
from runtime.clock import SystemClock
from runtime.prices import PriceBook
from tests.crowd import PATIENCE_S, all_at_once, crowd, frequent_switches
from tests.fakes import CloseIsScore, FakeMarketData
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from tests.trading_house import a_manager, an_account, an_entry_request
from trading.facts import ClosedTrade, ExitReason, Position, Priority
from trading.universe import UniverseRules

D = Decimal
SYMBOL = "BTC/USDT:USDT"


class NotHeld(NoLock):
    """One that admits it."""

    name = "cache"

    def is_mine(self) -> bool:
        return False


class MeetingDict(dict[str, Any]):
    """A dict in which two threads that look for a key meet, so that both look before either acts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._meeting = threading.Barrier(2)

    def _meet(self) -> None:
        try:
            self._meeting.wait(0.3)      # alone under the lock nobody comes: go on without company
        except threading.BrokenBarrierError:
            pass

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self._meet()
        return found

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        self._meet()
        return found


def without_lock(manager: Any) -> Any:
    """Return *manager* with its positions lock replaced by nothing."""
    manager._positions_lock = NoLock()
    manager._entry_settled = threading.Condition(threading.RLock())
    manager._entry_settled.acquire()          # one who needs no lock needs not hold one
    manager._entry_settled.notify_all = lambda: None
    return manager


def race_to_open(manager: Any) -> list[object]:
    """Two threads open the same symbol at once; both look before either claims, if the lock lets them."""
    with manager._positions_lock:
        manager._opening = MeetingDict()
    return all_at_once(*[lambda: manager.open_position(an_entry_request(), an_account())] * 2)


def race_to_close(manager: Any) -> list[object]:
    """Two threads close the same position at once."""
    manager.open_position(an_entry_request(), an_account())
    with manager._positions_lock:
        manager.positions = MeetingDict(manager.positions)
    return all_at_once(*[lambda: manager.close_position(SYMBOL)] * 2)


# ---- concurrent position updates ----------------------------------------------------------------


def test_two_openers_of_one_symbol_buy_once() -> None:
    """Of two threads that open the same symbol at the same moment, one sends an order."""
    house = a_manager()
    results = race_to_open(house.manager)
    assert len(house.exchange.entries()) == 1
    assert sorted(type(result).__name__ for result in results) == ["NotOpened", "Position"]


def test_two_openers_without_the_lock_buy_twice() -> None:
    """The mutant: with the positions lock taken away the test above would see two orders."""
    locks.make_strict(False)
    try:
        house = a_manager()
        race_to_open(without_lock(house.manager))
    finally:
        locks.make_strict(True)
    assert len(house.exchange.entries()) == 2


def test_two_closers_of_one_position_sell_once() -> None:
    """Of two threads that close the same position at the same moment, one sends an exit."""
    house = a_manager()
    results = race_to_close(house.manager)
    assert len(house.exchange.exits()) == 1
    assert sum(isinstance(result, ClosedTrade) for result in results) == 1
    assert house.exchange.net[SYMBOL] == 0


def test_two_closers_without_the_lock_sell_twice() -> None:
    """The mutant: with the positions lock taken away both threads claim the position."""
    locks.make_strict(False)
    try:
        house = a_manager()
        manager = without_lock(house.manager)
        manager.open_position(an_entry_request(), an_account())
        manager.positions = MeetingDict(manager.positions)
        claims = all_at_once(*[lambda: manager.claim_closing(SYMBOL, ExitReason.MANUAL)] * 2)
    finally:
        locks.make_strict(True)
    assert sum(claim is not None for claim in claims) == 2


def test_monitor_and_person_close_once() -> None:
    """A stop that is hit while somebody closes by hand: one exit, one closed trade."""
    house = a_manager()
    house.manager.open_position(an_entry_request(), an_account())
    house.prices.set(SYMBOL, D(1))
    house.exchange.prices[SYMBOL] = D(1)
    with frequent_switches():
        all_at_once(house.manager.update_positions, lambda: house.manager.close_position(SYMBOL))
    assert len(house.exchange.exits()) == 1
    assert len(house.journal.trades) == 1
    assert house.manager.snapshot() == ()


def test_an_opener_saves_nothing_of_what_another_is_closing() -> None:
    """Closed while its opener reads the stop back: a crash then must not find a position of no lots.

    Its exit would be booked a second time, and its fee with it.
    """
    house = a_manager()
    read_back, booked, go_on = threading.Event(), threading.Event(), threading.Event()

    def read(_symbol: object) -> None:
        if threading.current_thread().name == "opener":
            read_back.set()
            assert booked.wait(PATIENCE_S)

    record = house.journal.record_execution

    def book(*what: Any, **more: Any) -> None:
        if threading.current_thread().name == "closer":
            booked.set()
            assert go_on.wait(PATIENCE_S)
        record(*what, **more)

    house.exchange.before["fetch_stop_orders"] = read
    house.journal.record_execution = book       # type: ignore[method-assign]
    opener = threading.Thread(
        target=lambda: house.manager.open_position(an_entry_request(), an_account()), name="opener"
    )
    opener.start()
    assert read_back.wait(PATIENCE_S)
    closer = threading.Thread(target=lambda: house.manager.close_position(SYMBOL), name="closer")
    closer.start()
    opener.join(PATIENCE_S)
    (saved,) = house.journal.positions.values()
    go_on.set()
    closer.join(PATIENCE_S)
    assert saved.quantity == D(39)
    assert len(house.journal.trades) == 1


def test_many_threads_leave_a_consistent_book() -> None:
    """Openers, closers, the monitor and readers at once: book, exchange and journal agree afterwards."""
    symbols = [f"C{number}/USDT:USDT" for number in range(8)]
    house = a_manager(symbols=symbols)
    manager = house.manager

    def open_and_close(offset: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(6):
                symbol = symbols[(offset + turn) % len(symbols)]
                manager.open_position(an_entry_request(symbol=symbol), an_account())
                if turn % 2:
                    manager.close_position(symbol)
        return run

    def watch() -> None:
        for _ in range(30):
            manager.update_positions()
            for position in manager.snapshot():
                assert position.quantity >= 0
                assert position.symbol in symbols

    with frequent_switches():
        all_at_once(*[open_and_close(offset) for offset in range(4)], watch, watch)
    book = {p.symbol: p.quantity * p.side.sign for p in manager.snapshot()}
    assert book == {symbol: net for symbol, net in house.exchange.net.items() if net}
    closed = sum((trade.quantity for trade in house.journal.trades), D(0))
    entries = [order for order in house.exchange.orders.values() if "-e" in order.client_oid]
    opened = sum((order.filled_quantity for order in entries), D(0))
    assert opened - closed == sum(abs(quantity) for quantity in book.values())
    assert len({request.client_oid for request in house.exchange.received}) == len(house.exchange.received)


def test_no_lock_is_held_while_an_order_is_on_the_wire() -> None:
    """While an entry's answer is withheld, another symbol is opened and closed."""
    other = "ETH/USDT:USDT"
    house = a_manager(symbols=[SYMBOL, other])
    on_the_wire, answer = threading.Event(), threading.Event()

    def withhold(request: Any) -> None:
        if request.symbol == SYMBOL:
            on_the_wire.set()
            assert answer.wait(PATIENCE_S)

    house.exchange.before["place_order"] = withhold
    with crowd(lambda: house.manager.open_position(an_entry_request(), an_account())) as results:
        assert on_the_wire.wait(PATIENCE_S)
        assert isinstance(house.manager.open_position(an_entry_request(symbol=other), an_account()), Position)
        assert isinstance(house.manager.close_position(other), ClosedTrade)
        assert isinstance(house.manager.open_position(an_entry_request(), an_account()), NotOpened)
        answer.set()
    assert isinstance(results[0], Position)


# ---- parallel cache access ----------------------------------------------------------------------


def a_scanner(symbols: list[str], market: FakeMarketData, clock: ManualClock) -> MarketScanner:
    """A scanner with its 20 workers on a market in memory."""
    return MarketScanner(
        market, CloseIsScore(), UniverseRules(), PerformanceMonitor(clock), clock,
        ScanRules(candles=30, threshold=0.5),
    )


def test_twenty_workers_and_readers_share_the_cache() -> None:
    """Scans fill the cache while others read it: each entry whole, each symbol its own candles."""
    clock = ManualClock()
    symbols = [f"C{number}/USDT:USDT" for number in range(60)]
    market = FakeMarketData(clock, symbols)
    market.closes = {symbol: number / 60 for number, symbol in enumerate(symbols)}
    scanner = a_scanner(symbols, market, clock)
    done = threading.Event()

    def scan() -> None:
        for _ in range(4):
            scanner.scan()
            clock.advance(61)          # a new candle has closed: everything is fetched again
        done.set()

    def read() -> None:
        while not done.is_set():
            for symbol in symbols:
                with scanner._cache_lock:
                    cached = scanner.cache.get((symbol, "1m"))
                if cached is not None:
                    assert cached[0].candles.symbol == symbol
                    assert cached[0].candles.close[-1] == market.closes[symbol]
            assert len(scanner.get_best_pairs(100)) <= len(symbols)

    with frequent_switches():
        all_at_once(scan, read, read)
    assert {symbol for symbol, _ in market.asked} == set(symbols)
    assert market.threads == {f"scan-{number}" for number in range(20)}
    assert scanner.stop(PATIENCE_S)


def test_the_cache_without_its_lock_is_noticed() -> None:
    """The mutant: whoever touches the cache without the lock is refused, in the scanner's own code too."""
    clock = ManualClock()
    scanner = a_scanner([SYMBOL], FakeMarketData(clock, [SYMBOL]), clock)
    scanner._cache_lock = NotHeld()                               # type: ignore[assignment]
    with pytest.raises(locks.LockBreach, match="without lock 'cache'"):
        scanner.scan()
    scanner.stop(PATIENCE_S)


# ---- API priority coordination ------------------------------------------------------------------


class Withholding:
    """What sends under a KuCoinClient: the call named `withheld` stays on the wire until `let_go`."""

    def __init__(self, withheld: str) -> None:
        self.withheld = withheld
        self.arrived = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.order: list[str] = []

    def ask(self, endpoint: Endpoint, _params: object, _priority: Priority) -> object:
        self.order.append(endpoint.method)
        self.arrived.release()
        if endpoint.method == self.withheld:
            assert self.let_go.wait(PATIENCE_S)
        return {"orderId": "1"} if endpoint is PLACE else []

    def close(self) -> None:
        self.let_go.set()


def a_client(wire: Withholding) -> KuCoinClient:
    """A client whose calls end in *wire*."""
    clock = SystemClock()
    quotas = {"public": 2000, "futures": 2000, "spot": 4000, "management": 2000}
    client = KuCoinClient(
        futures_url="http://127.0.0.1:9", spot_url="http://127.0.0.1:9", budget=RateBudget(quotas, clock),
        clock=clock, monitor=PerformanceMonitor(clock),
    )
    client._sessions.close()
    client._sessions = wire                                       # type: ignore[assignment]
    return client


def test_an_exit_passes_twenty_scans_that_never_come_back() -> None:
    """With every scan worker parked inside a call, a critical call goes straight through."""
    wire = Withholding(withheld=CANDLES.method)
    client = a_client(wire)
    scans = [lambda: client._call(CANDLES, {}, Priority.SCAN)] * 20
    with crowd(*scans):
        for _ in scans:
            assert wire.arrived.acquire(timeout=PATIENCE_S)
        assert client._call(PLACE, {}, Priority.CRITICAL) == {"orderId": "1"}
        assert wire.order[-1] == PLACE.method
        wire.let_go.set()
    client.close()


def pending_calls(client: KuCoinClient) -> int:
    with client._critical_call_lock:
        return client._pending_critical_calls


def test_scans_stand_aside_while_an_order_is_under_way() -> None:
    """A scan that comes during a critical call is sent after it, not beside it."""
    wire = Withholding(withheld=PLACE.method)
    client = a_client(wire)
    standing = threading.Event()
    wait_for = client._clock.wait_for

    def note(condition: Any, predicate: Any, timeout_s: Any) -> bool:
        if condition is client._critical_calls_done and not predicate():
            standing.set()
        return wait_for(condition, predicate, PATIENCE_S)

    client._clock.wait_for = note                                 # type: ignore[method-assign]
    with crowd(lambda: client._call(PLACE, {}, Priority.CRITICAL)):
        assert wire.arrived.acquire(timeout=PATIENCE_S)
        with crowd(lambda: client._call(CANDLES, {}, Priority.SCAN)):
            assert standing.wait(PATIENCE_S)
            assert wire.order == [PLACE.method]
            wire.let_go.set()
    assert wire.order == [PLACE.method, CANDLES.method]
    assert pending_calls(client) == 0
    client.close()


def test_a_critical_call_cannot_wait_for_itself() -> None:
    """The gate is passed once per request: a second passing inside the first raises."""
    client = a_client(Withholding(withheld=""))
    with client._gate(Priority.CRITICAL), pytest.raises(RuntimeError, match="wait for itself"):
        client._call(PLACE, {}, Priority.CRITICAL)
    assert pending_calls(client) == 0
    client.close()


def test_critical_calls_are_counted_exactly() -> None:
    """Many threads enter and leave the gate at once: the count ends at zero and is never negative."""
    client = a_client(Withholding(withheld=""))
    seen: list[int] = []

    def enter_and_leave() -> None:
        for _ in range(200):
            with client._gate(Priority.CRITICAL):
                seen.append(pending_calls(client))

    with frequent_switches():
        all_at_once(*[enter_and_leave] * 6)
    assert pending_calls(client) == 0
    assert min(seen) >= 1
    client.close()


# ---- no deadlock under load ---------------------------------------------------------------------


def test_no_deadlock_when_everything_happens_at_once() -> None:
    """Positions, cache, gate, budget, prices and figures under load together: every thread comes home.

    Lock checks are strict: a nested lock or I/O under one, anywhere on these paths, raises.
    """
    symbols = [f"C{number}/USDT:USDT" for number in range(6)]
    house = a_manager(symbols=symbols)
    clock = SystemClock()
    market = FakeMarketData(clock, symbols)
    scanner = MarketScanner(
        market, CloseIsScore(), UniverseRules(), house.manager._monitor, clock, ScanRules(candles=30)
    )
    client = a_client(Withholding(withheld=""))
    figures = PerformanceMonitor(clock)
    prices = PriceBook(clock)

    def trade() -> None:
        for turn in range(20):
            symbol = symbols[turn % len(symbols)]
            house.manager.open_position(an_entry_request(symbol=symbol), an_account())
            house.manager.close_position(symbol)
            house.manager.update_positions()

    def scan() -> None:
        for _ in range(5):
            scanner.scan()
            scanner.take_result(0)

    def call() -> None:
        for turn in range(60):
            client._call(PLACE if turn % 3 == 0 else CANDLES, {},
                         Priority.CRITICAL if turn % 3 == 0 else Priority.SCAN)

    def measure() -> None:
        for turn in range(100):
            figures.record_api_call("a", 0.001, "ok")
            figures.record_exit_latency({"sent": 0.001})
            if turn % 10 == 0:
                figures.get_stats()
                locks.lock_stats()

    def tick() -> None:
        for turn in range(200):
            prices.follow(symbols[: turn % len(symbols)])
            prices.wait_for_tick(-1, 0.01)
            prices.stale(1.0)

    with frequent_switches():
        all_at_once(trade, trade, scan, call, call, measure, measure, tick)
    assert pending_calls(client) == 0
    assert scanner.stop(PATIENCE_S)
    client.close()


if __name__ == "__main__":
    from tests.guarantees import prove

    sys.exit(prove(sys.argv[1:]))
