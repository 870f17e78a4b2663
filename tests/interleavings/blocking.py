"""What blocks: the rate budget, the prices, the pools, deadlines, names and the lease, in every order."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from unittest.mock import patch

from runtime import deadline
from runtime.budget import RateBudget
from runtime.deadline import Call, Deadlines
from runtime.lease import Lease
from runtime.pool import UrgentPool
from runtime.prices import PriceBook
from runtime.resolving import Resolver
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import VirtualClock, edge, watch
from tests.runtime.test_lease import Row
from trading.errors import ExchangeUnavailable, RateLimited
from trading.facts import Price, Priority

D = Decimal
SYMBOL = "BTC/USDT:USDT"


# ---- rate budget ----------------------------------------------------------------------------------


def a_budget() -> RateBudget:
    """A pool of ten, so that one request of six fits into a window."""
    budget = RateBudget({"public": 10}, VirtualClock())
    watch(budget, "budget", budget._lock)
    with budget._lock:
        pools = dict(budget._pools)
    for name, pool in pools.items():
        watch(pool, f"pool {name}", budget._lock)
    return budget


def takes(budget: RateBudget, priority: Priority = Priority.NORMAL) -> float | None:
    """Take six; return when it was given, None if it was not."""
    try:
        budget.take("public", 6, priority)
    except RateLimited:
        return None
    return budget._clock.monotonic()


def two_takers() -> Scene:
    """Of two requests that do not fit into one window, the second waits for the next."""
    budget = a_budget()

    def check(results: Mapping[str, object]) -> None:
        assert sorted(results.values()) == [0.0, 30.0]            # type: ignore[type-var]

    return Scene(threads={"one": lambda: takes(budget), "other": lambda: takes(budget)}, check=check)


def taker_and_correction() -> Scene:
    """The exchange's own count, told while somebody takes, is not lost: six and six do not fit into ten."""
    budget = a_budget()
    takes(budget)

    def correct() -> None:
        budget.correct("public", limit=10, remaining=4, resets_in_s=20.0, asked_at=0.0)

    def check(results: Mapping[str, object]) -> None:
        assert results["taker"] == 20.0, "nobody told who waits that the window ends sooner"
        (use,) = budget.usage()
        assert use.waiting == 0

    return Scene(threads={"taker": lambda: takes(budget), "correction": correct}, check=check)


def two_takers_and_the_end() -> Scene:
    """When RAD ends nobody but exits is kept waiting, and no one goes without that had his turn."""
    budget = a_budget()

    def check(results: Mapping[str, object]) -> None:
        assert results["exit"] == 0.0
        assert results["scan"] in (0.0, None)
        (use,) = budget.usage()
        assert use.waiting == 0
        assert use.used == 6 * sum(results[name] is not None for name in ("exit", "scan"))

    return Scene(check=check, threads={
        "scan": lambda: takes(budget), "exit": lambda: takes(budget, Priority.CRITICAL), "ending": budget.stop,
    })


# ---- prices ---------------------------------------------------------------------------------------


def a_price(last: int, ts_ms: int = 0) -> Price:
    return Price(
        symbol=SYMBOL, bid=D(last), ask=D(last), last=D(last), mark=D(last), ts_ms=ts_ms, received=0.0
    )


def a_book() -> PriceBook:
    """A book of prices in which somebody follows one symbol."""
    prices = PriceBook(VirtualClock())
    prices.follow([SYMBOL])
    prices.publish(a_price(1))
    return watch(prices, "prices", prices._prices_lock)     # type: ignore[no-any-return]


def publisher_and_waiter() -> Scene:
    """A tick wakes the monitor, whether it comes before, while or after it goes to sleep."""
    prices = a_book()

    def wait() -> tuple[int, float, Decimal]:
        ticks = prices.wait_for_tick(1, 60)
        price = prices.get(SYMBOL)
        assert price is not None
        return ticks, prices._clock.monotonic(), price.last

    def check(results: Mapping[str, object]) -> None:
        assert results["monitor"] == (2, 0.0, D(2))

    return Scene(threads={"stream": lambda: prices.publish(a_price(2)), "monitor": wait}, check=check)


def price_and_mark() -> Scene:
    """A mark and a price at once: the price stays."""
    prices = a_book()

    def check(_: object) -> None:
        price = prices.get(SYMBOL)
        assert price is not None
        assert price.last == D(2)

    return Scene(check=check, threads={
        "price": lambda: prices.publish(a_price(2)), "mark": lambda: prices.publish_mark(SYMBOL, D(3)),
    })


def two_publishers_and_waiter() -> Scene:
    """An older price that is overtaken does not come back, and the monitor sees the newer one."""
    prices = a_book()

    def wait() -> int:
        return prices.wait_for_tick(1, 60)

    def check(results: Mapping[str, object]) -> None:
        price = prices.get(SYMBOL)
        assert price is not None
        assert price.last == D(3)
        assert results["monitor"] in (2, 3)
        assert prices._clock.monotonic() == 0.0

    return Scene(check=check, threads={
        "older": lambda: prices.publish(a_price(2, ts_ms=1)), "newer": lambda: prices.publish(a_price(3, ts_ms=2)),
        "monitor": wait,
    })


# ---- exit workers ---------------------------------------------------------------------------------


def a_pool(workers: int) -> UrgentPool:
    """A pool on the scheduler's time, its threads running."""
    pool = UrgentPool("exit", workers)
    fields = ("_queues", "_running", "_later", "_serial", "_ended", "_stopping")
    watch(pool, "pool", pool._lock, fields)
    pool.start()
    return pool


def submitter_and_the_end() -> Scene:
    """A task handed over at any point of the end is carried out, once."""
    pool, done = a_pool(1), list[str]()

    def check(results: Mapping[str, object]) -> None:
        assert done == ["exit"]
        assert results["ending"] is True
        assert VirtualClock().monotonic() == 0.0, "a worker was not woken"

    return Scene(check=check, threads={
        "monitor": lambda: pool.submit(lambda: done.append("exit"), Priority.CRITICAL),
        "ending": lambda: pool.stop(60),
    })


def two_submitters() -> Scene:
    """Two tasks handed over at once are both carried out, once each, by two workers that were asleep."""
    pool, done = a_pool(2), list[str]()

    def check(_: object) -> None:
        assert sorted(done) == ["exit", "settling"]
        assert pool._running == dict.fromkeys(pool._running, 0)
        assert VirtualClock().monotonic() == 0.0, "a worker was not woken"

    return Scene(check=check, ending=lambda: pool.stop(60), threads={
        "monitor": lambda: pool.submit(lambda: done.append("exit"), Priority.CRITICAL),
        "settler": lambda: pool.submit(lambda: done.append("settling"), Priority.HIGH),
    })


# ---- deadlines and connections --------------------------------------------------------------------


def call_and_its_deadline() -> Scene:
    """A call that gets no answer is cut when its time is up, also one that is to be cut before another."""
    deadlines = Deadlines()
    watch(deadlines, "deadlines", deadlines._lock, ("_calls", "_stopped", "_latest"))

    def calling(seconds: float) -> Callable[[], bool]:
        def call() -> bool:
            with deadlines.limit(seconds) as under_way:
                watch(under_way, f"call of {seconds:g} s", deadline._owners, ("expired",))
                time.sleep(seconds + 0.01)       # cut on time, not at some later look
                return under_way.expired

        return call

    def check(results: Mapping[str, object]) -> None:
        assert results == {"long": True, "short": True}

    return Scene(check=check, threads={"long": calling(2.7), "short": calling(1.3)}, ending=deadlines.stop)


def call_and_the_end() -> Scene:
    """RAD ends while a call is under way or about to begin: whatever was under way is cut at once."""
    deadlines, begun = Deadlines(), threading.Event()
    watch(deadlines, "deadlines", deadlines._lock, ("_calls", "_stopped", "_latest"))

    def call() -> bool:
        with deadlines.limit(60.0) as under_way:
            watch(under_way, "call", deadline._owners, ("expired",))
            begun.set()
            time.sleep(1.0)
            return under_way.expired

    def end() -> None:
        begun.wait()
        deadlines.stop()

    def check(results: Mapping[str, object]) -> None:
        assert results["call"] is True

    return Scene(check=check, threads={"call": call, "ending": end})


class AConnection:
    """A kept-alive connection, as far as a call knows it."""

    def __init__(self) -> None:
        self.serves: Call | None = None


class ASocket:
    """What a cut shuts, in a step of its own."""

    def __init__(self) -> None:
        self.is_shut = False
        edge(self, "socket", lambda: self.is_shut, ("shut", "looks_shut"))

    def shut(self, _how: int) -> None:
        self.is_shut = True

    def looks_shut(self) -> bool:
        return self.is_shut


def late_cut_and_next_user() -> Scene:
    """A cut that comes late spares the next call on the same connection."""
    connection, its_socket = watch(AConnection(), "connection", deadline._owners), ASocket()
    first, second = Call(5.0), Call(60.0)
    first.runs_over(connection, its_socket)                         # type: ignore[arg-type]

    def cut() -> None:
        with patch.object(socket.socket, "shutdown", lambda one, how: one.shut(how)):
            first.cut()

    def take_over() -> bool:
        second.runs_over(connection, its_socket)                    # type: ignore[arg-type]
        return its_socket.looks_shut()

    def check(results: Mapping[str, object]) -> None:
        assert results["next"] is its_socket.is_shut, "shut after it had gone to the next"

    return Scene(check=check, threads={"cutter": cut, "next": take_over})


# ---- names ----------------------------------------------------------------------------------------


def two_that_ask_for_a_name() -> Scene:
    """Two connections to one host: both get its address, and the system is asked by one thread at a time."""
    asking, most = list[str](), list[int]()

    class Asked:
        def begins(self) -> None:
            asking.append("")
            most.append(len(asking))

        def ends(self) -> None:
            asking.pop()

    system = edge(Asked(), "system", lambda: (len(asking), max(most, default=0)), ("begins", "ends"))

    def ask(*_: object, **__: object) -> list[object]:
        system.begins()
        system.ends()
        return [(2, 1, 6, "", ("10.0.0.1", 443))]

    resolver = Resolver(ask)
    watch(resolver, "resolver", resolver._lock, ("_known", "_asking", "_failures"))

    def check(results: Mapping[str, object]) -> None:
        assert list(results.values()) == [[(2, "10.0.0.1")]] * 2
        assert max(most) == 1

    return Scene(check=check, threads={
        name: lambda: resolver.resolve("api.example", 443, 5.0) for name in ("one", "other")
    })


# ---- the lease ------------------------------------------------------------------------------------


def a_lease() -> tuple[Lease, Row]:
    """A lease that is held, on a row in memory."""
    row = Row()
    clock = VirtualClock()
    lease = Lease(row, clock, boottime=clock.monotonic)
    assert lease.acquire()
    edge(row, "row", lambda: (row.owner, row.epoch, row.expires_ms), ("look", "take", "keep", "give_back"))
    return watch(lease, "lease", lease._lock, ("_standing", "_last_request")), row


def renewal_and_the_end() -> Scene:
    """The lease is given back while it is renewed: the renewal does not undo that."""
    lease, row = a_lease()

    def check(_: object) -> None:
        assert not lease.held
        assert not row.owner

    return Scene(check=check, threads={"renewal": lease.renew, "ending": lease.release})


def renewal_and_order() -> Scene:
    """An order is let through or refused while the lease is renewed; none is let through once it is given back."""
    lease, row = a_lease()
    let_through_after: list[bool] = []

    def order() -> None:
        was_given_back = not row.owner
        try:
            lease.require(VirtualClock.START_MS)
        except ExchangeUnavailable:
            return
        let_through_after.append(was_given_back)

    def check(_: object) -> None:
        assert let_through_after in ([], [False])

    return Scene(check=check, threads={"renewal": lease.renew, "order": order, "ending": lease.release})
