"""What a lock guards is touched under it alone: containers and single fields, of every class that has a lock."""

from __future__ import annotations

import ast
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.state import Account, Status
from kucoin_client import KuCoinClient
from market_scanner import MarketScanner, ScanRules, _Scan
from performance_monitor import PerformanceMonitor
from runtime import locks
from runtime.budget import RateBudget
from runtime.journal import SqlJournal
from runtime.locks import LockBreach, guard, named_lock
from runtime.pool import UrgentPool
from runtime.prices import PriceBook
from runtime.resolving import Resolver
from tests.fakes import CloseIsScore, FakeMarketData
from tests.manual_clock import ManualClock
from tests.test_architecture import ROOMS, ROOT, sources, tree_of
from tests.trading_house import SilentMonitor, a_manager
from trading.universe import UniverseRules


class Shelf:
    """One of everything a lock may guard."""

    def __init__(self) -> None:
        self.lock = named_lock("shelf")
        self.table: dict[str, int] = {"a": 1}
        self.ordered: OrderedDict[str, int] = OrderedDict(a=1)
        self.queue: deque[int] = deque([1, 2], maxlen=3)
        self.list = [1, 2]
        self.set = {1, 2}
        self.number = 0
        self.free = 0
        guard(self, self.lock, "table", "ordered", "queue", "list", "set", "number")


CONTAINERS = ["table", "ordered", "queue", "list", "set"]
LOOKS: list[Callable[[Any], object]] = [
    len, list, bool, repr, sorted, lambda it: 1 in it, lambda it: it == it, lambda it: [*it], lambda it: it.copy(),
    lambda it: it.clear(),
]


@pytest.mark.parametrize("name", [*CONTAINERS, "number"])
def test_a_field_is_read_and_written_under_its_lock_alone(name: str) -> None:
    """Reading counts as touching: an unlocked read is a race as well."""
    shelf = Shelf()
    with shelf.lock:
        value = getattr(shelf, name)
        setattr(shelf, name, value)
    with pytest.raises(LockBreach, match=f"{name} touched without lock 'shelf'"):
        getattr(shelf, name)
    with pytest.raises(LockBreach, match=f"{name} touched without lock 'shelf'"):
        setattr(shelf, name, value)
    shelf.free += 1


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("look", LOOKS)
def test_a_container_handed_out_is_still_guarded(name: str, look: Callable[[Any], object]) -> None:
    """Whoever keeps the live container and reads it after the lock is noticed; under the lock it is as ever."""
    shelf = Shelf()
    with shelf.lock:
        container = getattr(shelf, name)
        look(container)
    with pytest.raises(LockBreach, match=f"{name} touched without lock"):
        look(container)


def test_a_container_that_takes_another_s_place_is_guarded_too() -> None:
    """Replacing the whole, as a publish does, keeps the check; so does the bound of a deque."""
    shelf = Shelf()
    with shelf.lock:
        shelf.table = fresh = {"b": 2}
        shelf.queue = deque([1, 2, 3, 4], maxlen=2)
        placed, queue = shelf.table, shelf.queue
        assert (dict(placed), list(queue), queue.maxlen) == ({"b": 2}, [3, 4], 2)
    assert fresh["b"] == 2                 # its maker's own, bare
    for look in (lambda: placed["b"], lambda: queue[0]):
        with pytest.raises(LockBreach):
            look()


def test_in_production_there_is_no_check_and_no_cost() -> None:
    """Without strict checks the object is what it was, down to the class of each container."""
    locks.make_strict(False)
    try:
        shelf = Shelf()
    finally:
        locks.make_strict(True)
    assert type(shelf) is Shelf
    assert [type(vars(shelf)[name]) for name in CONTAINERS] == [dict, OrderedDict, deque, list, set]
    shelf.number += len(shelf.table)


def test_a_checked_object_is_what_it_was_by_any_other_measure() -> None:
    """Its class keeps its name, and two of one class share one."""
    one, other = Shelf(), Shelf()
    assert isinstance(one, Shelf)
    assert type(one) is type(other)
    assert (type(one).__name__, type(one).__module__) == ("Shelf", __name__)


# ---- RAD's own ----------------------------------------------------------------------------------


def a_scanner() -> Any:
    clock = ManualClock()
    monitor: Any = SilentMonitor()
    market = FakeMarketData(clock, ["A"])
    return MarketScanner(market, CloseIsScore(), UniverseRules(), monitor, clock, ScanRules())


def a_client() -> Any:
    budget = RateBudget({"public": 1}, ManualClock())
    return KuCoinClient(futures_url="http://127.0.0.1:1", spot_url="http://127.0.0.1:1", budget=budget,
                        clock=ManualClock())


GUARDED: dict[str, tuple[Callable[[], Any], str, str]] = {
    # What the rules name: positions, cache, the latest opportunities, the metadata, the calls under way.
    "positions": (lambda: a_manager().manager, "positions", "_positions_lock"),
    "entries": (lambda: a_manager().manager, "_opening", "_positions_lock"),
    "exits": (lambda: a_manager().manager, "_leaving", "_positions_lock"),
    "stop moves": (lambda: a_manager().manager, "_moving_stop", "_positions_lock"),
    "cache": (a_scanner, "cache", "_cache_lock"),
    "opportunities": (a_scanner, "_latest_opportunities", "_scan_lock"),
    "their time": (a_scanner, "_last_opportunity_update", "_scan_lock"),
    "scan": (a_scanner, "_being_fetched", "_pool_lock"),
    "critical calls": (a_client, "_pending_critical_calls", "_critical_call_lock"),
    "metadata": (a_client, "_symbol_metadata_cache", "_metadata_lock"),
    "margin modes": (a_client, "_margin_modes", "_metadata_lock"),
    "series": (lambda: PerformanceMonitor(ManualClock()), "_series", "_lock"),
    "money": (lambda: PerformanceMonitor(ManualClock()), "_money", "_lock"),
    # The rest.
    "prices": (lambda: PriceBook(ManualClock()), "_prices", "_prices_lock"),
    "rate pools": (lambda: RateBudget({"public": 1}, ManualClock()), "_pools", "_lock"),
    "tasks": (lambda: UrgentPool("some", 1), "_queues", "_lock"),
    "addresses": (Resolver, "_known", "_lock"),
    "problems": (Status, "_problems", "_lock"),
    "account": (lambda: Account(*[None] * 2, ManualClock()), "_state", "_lock"),     # type: ignore[arg-type]
}


@pytest.mark.parametrize(("make", "field", "lock"), GUARDED.values(), ids=GUARDED)
def test_shared_state_is_touched_under_its_lock_alone(make: Callable[[], Any], field: str, lock: str) -> None:
    """Every field that threads share refuses whoever comes without its lock."""
    owner = make()
    with pytest.raises(LockBreach, match=f"{field.lstrip('_')} touched without lock"):
        getattr(owner, field)
    with getattr(owner, lock):
        getattr(owner, field)
    if isinstance(owner, KuCoinClient):
        owner.close()


def test_notes_for_the_journal_are_guarded(tmp_path: Path) -> None:
    """So is what waits for the disk."""
    journal: Any = SqlJournal(f"sqlite:///{tmp_path / 'a.db'}", ManualClock())
    try:
        with pytest.raises(LockBreach, match="queue touched without lock 'journal'"):
            journal._queue.append(None)
    finally:
        journal.close()


def test_the_deques_of_the_figures_are_guarded() -> None:
    """A series handed out under the lock is not read after it."""
    monitor: Any = PerformanceMonitor(ManualClock())
    monitor.record_api_call("a", 0.1, "ok")
    with monitor._lock:
        (series,) = monitor._series.values()
        assert list(series.samples) == [0.1]
    with pytest.raises(LockBreach, match="samples touched without lock 'performance'"):
        series.samples.append(0.2)


def test_what_a_scan_shares_with_its_workers_is_guarded() -> None:
    """From the moment it is handed out."""
    scanner, scan = a_scanner(), _Scan(started=0.0, started_ms=0, universe=0)
    scan.settle("A", 0.1, None)                # nobody else knows of it yet
    scanner._hand_out(scan, [])
    with scanner._pool_lock:
        assert (list(scan.waiting), dict(scan.scores), list(scan.found)) == ([], {"A": 0.1}, [])
    for name in ("waiting", "scores", "found"):
        with pytest.raises(LockBreach, match=f"{name} touched without lock 'scan pool'"):
            len(getattr(scan, name))


def test_the_queue_of_a_rate_pool_is_guarded() -> None:
    """Who waits for it is nobody's to read without the budget's lock."""
    budget: Any = RateBudget({"public": 1}, ManualClock(), 10)
    with budget._lock:
        pools = list(budget._pools.values())
    assert len(pools) == 2
    for pool in pools:
        with pytest.raises(LockBreach, match="waiting touched without lock 'rate budget'"):
            len(pool.waiting)


def test_whoever_has_a_lock_says_what_it_guards() -> None:
    """Each lock an object makes is given fields by `guard`: one that is not guards by comment alone."""
    made, used = set(), set()
    for room in ROOMS:
        for path in sources(room) if room != "sandbox" else ():
            for node in ast.walk(tree_of(path)):
                if not isinstance(node, ast.Assign | ast.Expr) or not isinstance(node.value, ast.Call):
                    continue
                place, called = str(path.relative_to(ROOT)), node.value
                if isinstance(node, ast.Assign) and ast.unparse(called.func) == "named_lock":
                    made.add((place, ast.unparse(node.targets[0])))
                elif ast.unparse(called.func) == "guard":
                    used.add((place, ast.unparse(called.args[1])))
    assert len(made) > 15
    assert made - used == {("runtime/deadline.py", "_owners")}     # of calls and connections, not of its module
