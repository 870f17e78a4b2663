"""The rate budget: no pool is overspent, the urgent go first, and the exchange's own count is believed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

import pytest

from runtime.budget import ADDRESS, PoolUse, RateBudget
from runtime.clock import SystemClock
from tests.crowd import PATIENCE_S, all_at_once, crowd, frequent_switches
from tests.manual_clock import ManualClock
from trading.errors import RateLimited
from trading.facts import Priority

SCAN, NORMAL, HIGH, CRITICAL = Priority.SCAN, Priority.NORMAL, Priority.HIGH, Priority.CRITICAL


def a_budget(clock: ManualClock, quota: int = 2000) -> RateBudget:
    return RateBudget({"public": quota, "futures": quota}, clock)


def use(budget: RateBudget, pool: str = "public") -> PoolUse:
    return next(found for found in budget.usage() if found.pool == pool)


def spend(budget: RateBudget, priority: Priority, weight: int = 1, longest_s: float = 0.0) -> int:
    """Take until there is no more without waiting; return how much that was."""
    spent = 0
    while True:
        try:
            budget.take("public", weight, priority, longest_s)
        except RateLimited:
            return spent
        spent += weight


def told(budget: RateBudget, clock: ManualClock, used: int, resets_in_s: float, **overrides: float) -> None:
    """Let the exchange say how much of 2000 is used, in an answer asked for just now."""
    asked_at = overrides.get("asked_at", clock.monotonic())
    budget.correct("public", limit=2000, remaining=2000 - used, resets_in_s=resets_in_s, asked_at=asked_at)


def test_twenty_workers_never_overspend_the_pool(clock: ManualClock) -> None:
    """Twenty threads take candles until all are parked: 1700 of 2000, and again after the window."""
    budget, wanted, went = a_budget(clock), SimpleQueue[int](), SimpleQueue[int]()
    for candle in range(1000):                    # 3000 weight
        wanted.put(candle)

    def worker() -> None:
        while True:
            try:
                candle = wanted.get_nowait()
            except Empty:
                return
            budget.take("public", 3, SCAN)
            went.put(candle)

    with frequent_switches(), crowd(*[worker] * 20):
        for _ in range(566):                      # 85 % of 2000 is 1700: 566 candles fit
            went.get(timeout=PATIENCE_S)
        clock.await_sleepers(20)
        assert went.empty()
        assert use(budget).used == 1698
        clock.advance(30)
    assert went.qsize() == 434                    # the rest went in the next window
    assert use(budget).used == 434 * 3


def test_each_priority_leaves_a_reserve_to_the_more_urgent(clock: ManualClock) -> None:
    """Scans stop at 85 %, then NORMAL at 92 %, HIGH at 97 %; what is left is for exits."""
    budget = a_budget(clock)
    assert [spend(budget, priority) for priority in (SCAN, NORMAL, HIGH)] == [1700, 140, 100]


def test_a_scan_keeps_less_back_as_the_window_ends(clock: ManualClock) -> None:
    """15 % of 30 s, then ever less, 3 % at the end; HIGH can still send its 5 a second to the end."""
    budget = a_budget(clock)
    budget.take("public", 3, SCAN)
    told(budget, clock, used=3, resets_in_s=30)
    assert spend(budget, SCAN) == 1697            # 1700: 15 % kept back
    clock.advance(15)
    assert spend(budget, SCAN) == 120             # 1820: 3 % + 12 % × 15/30 = 9 % kept back
    for _ in range(15):
        budget.take("public", 5, HIGH, 0)         # 1895
        clock.advance(0.99)
        spend(budget, SCAN)
    assert use(budget).used >= 1900               # 95 %


def test_a_scan_keeps_it_all_while_nobody_has_said_when_the_window_ends(clock: ManualClock) -> None:
    """Our own guess at the end may be early, and what is sent then falls into the window before."""
    budget = a_budget(clock)
    spend(budget, SCAN)
    clock.advance(29.9)
    assert spend(budget, SCAN) == 0
    assert use(budget).used == 1700


def test_parked_scans_go_one_by_one_as_the_reserve_comes_free(clock: ManualClock) -> None:
    """With 1700 of 2000 spent, 8 a second come free: a scan of 40 goes every 5 s, not all at the window's end."""
    budget, went = a_budget(clock), SimpleQueue[None]()
    budget.take("public", 3, SCAN)
    told(budget, clock, used=1700, resets_in_s=30)

    def scan() -> None:
        budget.take("public", 40, SCAN)
        went.put(None)

    with crowd(scan, scan, scan):
        for parked in (3, 2, 1):
            clock.await_sleepers(parked)
            clock.advance(4.9)
            assert went.empty()
            clock.advance(0.2)
            went.get(timeout=PATIENCE_S)


def test_whoever_is_next_wakes_by_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real clock, which wakes nobody early: four a sixth of a second, in a window of ten seconds."""
    monkeypatch.setattr("runtime.budget.WINDOW_S", 10.0)
    clock, went = SystemClock(), SimpleQueue[None]()
    budget = RateBudget({"public": 2000}, clock)
    budget.take("public", 3, SCAN)
    budget.correct("public", limit=2000, remaining=300, resets_in_s=10, asked_at=clock.monotonic())

    def scan() -> None:
        budget.take("public", 4, SCAN)
        went.put(None)

    with crowd(scan, scan, scan):
        for _ in range(3):
            went.get(timeout=PATIENCE_S)
        assert use(budget).resets_in_s > 0        # the window they have been waiting in
        assert use(budget).used == 1712


def test_an_exit_is_not_stopped_by_our_own_count(clock: ManualClock) -> None:
    """With the quota spent by our count, exits still go; when the exchange says it is empty, they wait."""
    budget = a_budget(clock)
    spend(budget, HIGH)
    for _ in range(200):
        budget.take("public", 1, CRITICAL, 0)
    assert use(budget).used == 2140
    told(budget, clock, used=2000, resets_in_s=12)
    with pytest.raises(RateLimited):
        budget.take("public", 1, CRITICAL, 0)
    clock.advance(12)
    budget.take("public", 1, CRITICAL, 0)


def waiter(budget: RateBudget, priority: Priority, went: SimpleQueue[Priority]) -> Callable[[], None]:
    def wait() -> None:
        budget.take("public", 400, priority)
        went.put(priority)

    return wait


def test_the_urgent_go_first_and_the_rest_in_order_of_arrival(clock: ManualClock) -> None:
    """Parked scans, then a look-up, then an exit: when the hold ends they go the other way round."""
    budget, went = a_budget(clock), SimpleQueue[Priority]()
    budget.hold("public", 4)
    with crowd(*[waiter(budget, priority, went) for priority in (SCAN, SCAN, NORMAL, HIGH, CRITICAL)]):
        clock.await_sleepers(5)
        clock.advance(4)
        assert [went.get(timeout=PATIENCE_S) for _ in range(4)] == [CRITICAL, HIGH, NORMAL, SCAN]
        clock.await_sleepers(1)                   # 1600 spent: the second scan does not fit below 1700
        clock.advance(30)
        assert went.get(timeout=PATIENCE_S) is SCAN


def test_first_come_first_served_within_a_priority(clock: ManualClock) -> None:
    """Two scans that wait go in the order they came."""
    budget, went = a_budget(clock), SimpleQueue[str]()
    budget.hold("public", 4)

    def scan(name: str) -> Callable[[], None]:
        def wait() -> None:
            budget.take("public", 1700, SCAN)     # a whole window's share: one at a time
            went.put(name)

        return wait

    with crowd(scan("first")):
        clock.await_sleepers(1)
        with crowd(scan("second")):
            clock.await_sleepers(2)
            clock.advance(4)
            assert went.get(timeout=PATIENCE_S) == "first"
            clock.await_sleepers(1)
            clock.advance(30)
            assert went.get(timeout=PATIENCE_S) == "second"


def test_pools_do_not_share(clock: ManualClock) -> None:
    """An exhausted public pool does not concern the futures pool."""
    budget = a_budget(clock)
    spend(budget, SCAN)
    budget.take("futures", 2, SCAN, 0)
    assert use(budget, "futures").used == 2


def test_the_window_opens_at_the_first_request_and_resets_whole(clock: ManualClock) -> None:
    """Nothing runs while nothing is asked; 30 s after the first request all of it is back."""
    budget = a_budget(clock)
    clock.advance(100)
    assert use(budget).resets_in_s == 0
    budget.take("public", 10, SCAN)
    clock.advance(29.9)
    budget.take("public", 10, SCAN)
    assert use(budget).used == 20
    clock.advance(0.1)
    assert (use(budget).used, use(budget).resets_in_s) == (0, 0)


def test_somebody_else_spends_from_our_pool(clock: ManualClock) -> None:
    """The exchange counts more than we do, and its window ends sooner: believed on both."""
    budget = a_budget(clock)
    budget.take("public", 3, SCAN)
    told(budget, clock, used=1800, resets_in_s=5)
    assert (use(budget).used, use(budget).resets_in_s) == (1800, 5)
    assert spend(budget, SCAN) == 100             # 5 s before the end 95 % are a scan's
    clock.advance(5)
    assert spend(budget, SCAN) == 1700


def test_answers_that_overtake_each_other(clock: ManualClock) -> None:
    """Within a window only a higher use counts; an answer from the window before empties no fresh one."""
    budget = a_budget(clock)
    budget.take("public", 3, SCAN)
    told(budget, clock, used=900, resets_in_s=30)
    told(budget, clock, used=600, resets_in_s=30)
    assert use(budget).used == 900
    asked_at = clock.monotonic()
    clock.advance(30)
    budget.take("public", 3, SCAN)
    told(budget, clock, used=1999, resets_in_s=0.01, asked_at=asked_at)
    assert (use(budget).used, use(budget).resets_in_s) == (3, 30)


def test_the_latest_word_on_the_end_of_a_window(clock: ManualClock) -> None:
    """Told of an end in 30 s, then of a window that is empty and ends in 2: believed, later and sooner."""
    budget = a_budget(clock)
    budget.take("public", 3, SCAN)
    told(budget, clock, used=3, resets_in_s=30)
    told(budget, clock, used=2000, resets_in_s=2)
    assert use(budget).resets_in_s == 2
    told(budget, clock, used=2000, resets_in_s=9)
    assert use(budget).resets_in_s == 9
    clock.advance(4)
    told(budget, clock, used=2000, resets_in_s=6, asked_at=0)      # slow: the end lies between 6 and 10
    assert use(budget).resets_in_s == 5


def test_another_quota_is_learnt(clock: ManualClock) -> None:
    """A VIP's quota comes with the first answer; a quota of zero is nonsense."""
    budget = a_budget(clock)
    budget.take("public", 3, SCAN)
    budget.correct("public", limit=4000, remaining=3997, resets_in_s=30, asked_at=clock.monotonic())
    budget.correct("public", limit=0, remaining=0, resets_in_s=30, asked_at=clock.monotonic())
    assert use(budget).quota == 4000


def test_a_hold_is_bounded_whatever_the_header_says(clock: ManualClock) -> None:
    """A reset a year away holds the pool for a minute."""
    budget = a_budget(clock)
    budget.hold("public", 1e9)
    assert use(budget).held_s == 60


def test_stopping_lets_everybody_but_exits_go_without(clock: ManualClock) -> None:
    """Parked scans are told no at once; an exit may still take."""
    budget = a_budget(clock)
    budget.hold("public", 3)
    refused = threading.Semaphore(0)

    def scan() -> None:
        with pytest.raises(RateLimited):
            budget.take("public", 1, SCAN)
        refused.release()

    with crowd(scan, scan, lambda: budget.take("public", 1, CRITICAL)):
        clock.await_sleepers(3)
        budget.stop()
        assert refused.acquire(timeout=PATIENCE_S)
        assert refused.acquire(timeout=PATIENCE_S)
        clock.advance(3)
    assert use(budget).used == 1


def test_near_the_end_nobody_but_exits_waits_long(clock: ManualClock) -> None:
    """Told to end: who waits already, and who comes then, goes without after the time that is left."""
    budget = a_budget(clock)
    budget.take("public", 2000, CRITICAL)
    told(budget, clock, used=2000, resets_in_s=20)
    refused = threading.Semaphore(0)

    def look() -> None:
        with pytest.raises(RateLimited):
            budget.take("public", 1, NORMAL)
        refused.release()

    with crowd(look, lambda: budget.take("public", 1, CRITICAL, 30)):
        clock.await_sleepers(2)
        budget.end_by(clock.monotonic() + 2)
        clock.advance(2)
        assert refused.acquire(timeout=PATIENCE_S)
        look()
        clock.advance(18)
    assert use(budget).used == 1


def test_at_the_very_end_not_even_an_exit_waits(clock: ManualClock) -> None:
    """Held by the exchange and told that it is over: the exit that waits goes without."""
    budget = a_budget(clock)
    budget.hold("public", 4)

    def leave() -> None:
        with pytest.raises(RateLimited):
            budget.take("public", 1, CRITICAL)

    with crowd(leave):
        clock.await_sleepers(1)
        budget.end_by(clock.monotonic(), exits=True)


def test_a_weight_beyond_the_share_goes_alone(clock: ManualClock) -> None:
    """A request dearer than the whole share is not refused for ever: it goes in a fresh window."""
    budget = RateBudget({"public": 10}, clock)
    budget.take("public", 25, SCAN, 0)
    with pytest.raises(RateLimited):
        budget.take("public", 1, SCAN, 0)


def test_nothing_is_lost_between_threads(clock: ManualClock) -> None:
    """A thousand takes from eight threads add up."""
    budget = a_budget(clock, quota=1_000_000)

    def worker() -> None:
        for _ in range(125):
            budget.take("public", 1, NORMAL)

    with frequent_switches():
        all_at_once(*[worker] * 8)
    assert use(budget).used == 1000


def test_no_more_requests_leave_one_address_than_it_may_send(clock: ManualClock) -> None:
    """However cheap they are and whatever their pool: 500 in ten seconds, of which a scan leaves some."""
    budget = RateBudget({"public": 2000, "futures": 2000}, clock, address_quota=500)
    assert spend(budget, SCAN) == 425
    for _ in range(35):
        budget.take("futures", 1, NORMAL, 0)
    with pytest.raises(RateLimited):
        budget.take("futures", 1, NORMAL, 0)
    budget.take("futures", 1, CRITICAL, 0)
    clock.advance(10)
    assert spend(budget, SCAN) == 425
    assert (use(budget).used, use(budget, ADDRESS).quota) == (850, 500)


def test_a_scan_goes_on_when_the_address_may_send_again(clock: ManualClock) -> None:
    """It waits for the ten seconds' end, not for the pool's thirty."""
    budget = RateBudget({"public": 2000}, clock, address_quota=10)
    spend(budget, SCAN)
    passed = threading.Event()

    def wait() -> None:
        budget.take("public", 1, SCAN)
        passed.set()

    with crowd(wait):
        clock.await_sleepers(1)
        clock.advance(9.9)
        assert not passed.is_set()
        clock.await_sleepers(1)
        clock.advance(0.2)
        assert passed.wait(PATIENCE_S)


def test_a_blocked_address_sends_nothing(clock: ManualClock) -> None:
    """Cloudflare's answer holds every pool, exits too: they would only be turned away."""
    quotas = {"public": 10, "futures": 10}
    for budget in (RateBudget(quotas, clock, 500), RateBudget(quotas, clock)):
        budget.hold(ADDRESS, 30)
        for pool in ("public", "futures"):
            with pytest.raises(RateLimited):
                budget.take(pool, 1, CRITICAL, 0)
        clock.advance(30)
        budget.take("futures", 1, CRITICAL, 0)
