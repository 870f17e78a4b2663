"""What blocks: the rate budget, the prices, the pools, deadlines, names and the lease, in every order."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from runtime.budget import RateBudget
from runtime.prices import PriceBook
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import VirtualClock, watch
from trading.errors import RateLimited
from trading.facts import Price, Priority

D = Decimal
SYMBOL = "BTC/USDT:USDT"


# ---- rate budget ----------------------------------------------------------------------------------


def a_budget() -> RateBudget:
    """A pool of ten, so that one request of six fits into a window."""
    budget = RateBudget({"public": 10}, VirtualClock())
    watch(budget, "budget", budget._lock)
    for name, pool in budget._pools.items():
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
        assert results["taker"] in (20.0, 30.0)
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
