"""Funding of closed trades: never waited for, never taken for none, made good once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from execution.funding import AT_A_TIME, LISTED_AFTER_MS, FundingLookUp
from performance_monitor import PerformanceMonitor
from runtime.journal import SqlJournal
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import a_position, a_trade, url_in
from tests.test_position_manager import opened, price_moves_to
from tests.trading_house import SYMBOL, TradingHouse, a_manager, exit_rules
from trading.errors import (
    BadResponse,
    ExchangeError,
    ExchangeUnavailable,
    JournalError,
    RateLimited,
    UnknownInstrument,
)
from trading.facts import ClosedTrade, Funding

D = Decimal
OTHER = "ETH/USDT:USDT"
LISTED_AFTER_S = LISTED_AFTER_MS / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A position manager on the exchange's clock, and who looks its funding up."""

    house: TradingHouse
    clock: ManualClock
    asked: list[object]
    busy: list[str]
    look_up: Callable[[], None]

    def close(self) -> ClosedTrade:
        """Open a position, hold it for a minute and close it at a loss of 50 a unit."""
        opened(self.house, now_ms=self.clock.now_ms())
        self.clock.advance(60)
        self.house.exchange.prices[SYMBOL] = D(49_950)
        trade = self.house.manager.close_position(SYMBOL)
        self.house.exchange.prices[SYMBOL] = D(50_000)
        assert trade is not None
        return trade

    def pay(self, at_ms: int, amount: str, symbol: str = SYMBOL) -> None:
        self.house.exchange.funding.setdefault(symbol, []).append(Funding(at_ms=at_ms, amount=D(amount)))

    def trade(self) -> ClosedTrade:
        """Return the only closed trade of the journal."""
        (trade,) = self.house.journal.trades
        return trade


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    house = a_manager(symbols=(SYMBOL, OTHER), clock=clock, exits=exit_rules(take_profit=()))
    house.exchange.now_ms = clock.now_ms
    asked: list[object] = []
    house.exchange.before["fetch_funding"] = asked.append
    busy: list[str] = []
    looking = FundingLookUp(house.exchange, house.journal, house.monitor, clock, lambda: bool(busy))
    return Bench(house=house, clock=clock, asked=asked, busy=busy, look_up=looking.look_up)


def failing(error: ExchangeError) -> Callable[[object], None]:
    def fail(_symbol: object) -> None:
        raise error

    return fail


# ---- a close waits for nothing ---------------------------------------------------------------------

def test_a_close_asks_for_no_funding_and_says_so(bench: Bench) -> None:
    """Booked at once, its funding not known; looked up later, it is in the trade's profit once."""
    trade = bench.close()
    assert bench.asked == []
    assert (trade.funding, trade.funding_known) == (0, False)
    before = trade.realised_pnl
    bench.pay(trade.opened_ms + 1, "-0.50")
    bench.clock.advance(LISTED_AFTER_S)
    bench.look_up()
    bench.look_up()
    assert bench.asked == [SYMBOL]
    known = bench.trade()
    assert (known.funding, known.realised_pnl, known.funding_known) == (D("-0.50"), before - D("0.50"), True)
    assert bench.house.monitor.funded == [known]


@pytest.mark.parametrize("error", [ExchangeUnavailable("no answer"), RateLimited("429"), BadResponse("html")])
def test_funding_that_cannot_be_read_is_not_none(bench: Bench, error: ExchangeError) -> None:
    """Whatever the exchange answers instead, the trade goes on missing it, and is asked for again."""
    trade = bench.close()
    bench.pay(trade.closed_ms, "0.25")
    bench.clock.advance(LISTED_AFTER_S)
    bench.house.exchange.before["fetch_funding"] = failing(error)
    bench.look_up()
    assert bench.house.journal.trades == [trade]
    del bench.house.exchange.before["fetch_funding"]
    bench.look_up()
    assert bench.trade().funding == D("0.25")


def test_what_is_listed_a_moment_after_the_close_is_in_it(bench: Bench) -> None:
    """Closed right at a funding moment: nobody asks before the exchange has had time to write it down."""
    trade = bench.close()
    bench.clock.advance(LISTED_AFTER_S - 0.001)
    bench.look_up()
    assert bench.asked == []
    bench.pay(trade.closed_ms, "-0.10")                 # only now, and dated when it fell due
    bench.clock.advance(0.001)
    bench.look_up()
    assert bench.trade().funding == D("-0.10")


def test_the_funding_of_another_position_is_not_counted(bench: Bench) -> None:
    """Two positions of one symbol, a moment of funding before, in, between and after them."""
    bench.pay(bench.clock.now_ms() - 1, "1")
    first = bench.close()
    bench.clock.advance(60)
    bench.pay(first.closed_ms + 30_000, "10")           # somebody else's
    second = bench.close()
    bench.pay(first.closed_ms, "-0.1")
    bench.pay(second.opened_ms, "-0.2")
    bench.pay(second.closed_ms + 1, "100")
    bench.clock.advance(LISTED_AFTER_S)
    bench.look_up()
    assert [trade.funding for trade in bench.house.journal.trades] == [D("-0.1"), D("-0.2")]


def test_exits_go_first(bench: Bench) -> None:
    """While what became of an exit is uncertain the thread that finds out asks for no funding."""
    bench.close()
    bench.clock.advance(LISTED_AFTER_S)
    bench.busy.append("an exit")
    bench.look_up()
    assert bench.asked == []
    bench.busy.clear()
    bench.look_up()
    assert bench.trade().funding_known


def test_a_few_are_asked_for_at_a_time_and_one_that_fails_holds_up_no_other(bench: Bench) -> None:
    """A contract that is no longer listed is tried again once all others have been."""
    now_ms = bench.clock.now_ms()
    gone = a_trade("p0", symbol="GONE/USDT:USDT", funding_known=False, closed_ms=1)
    due = [a_trade(f"p{number}", funding_known=False, closed_ms=number) for number in range(1, AT_A_TIME + 3)]
    bench.house.journal.trades = [gone, *due]

    def ask(symbol: object) -> None:
        bench.asked.append(symbol)
        if symbol == gone.symbol:
            raise UnknownInstrument(str(symbol))

    bench.house.exchange.before["fetch_funding"] = ask
    counts = []
    for _ in range(4):
        bench.look_up()
        counts.append(len(bench.asked))
    assert counts == [1, 1 + AT_A_TIME, 3 + AT_A_TIME, 4 + AT_A_TIME]
    assert [trade.position_id for trade in bench.house.journal.trades_without_funding(now_ms, 99)] == ["p0"]
    assert bench.asked[-1] == gone.symbol


def test_a_contract_that_has_gone_is_told_of_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Its trades are asked for with every comparison, for ever; the log says it once of each."""
    bench.house.journal.trades = [
        a_trade(f"p{number}", symbol=f"GONE{number}/USDT:USDT", funding_known=False, closed_ms=1)
        for number in range(2)
    ]

    def ask(symbol: object) -> None:
        bench.asked.append(symbol)
        raise UnknownInstrument(str(symbol))

    bench.house.exchange.before["fetch_funding"] = ask
    for _ in range(10):
        bench.look_up()
    assert len(bench.asked) == 10
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["WARNING"] * 2


def test_a_journal_that_cannot_be_read_is_asked_again(bench: Bench) -> None:
    """Its failure is no reason to stop, and nothing is lost by it."""
    bench.close()
    bench.clock.advance(LISTED_AFTER_S)
    bench.house.journal.fail = JournalError("disk full")
    bench.look_up()
    bench.house.journal.fail = None
    bench.look_up()
    assert bench.trade().funding_known


def test_a_trade_is_summed_up_before_anybody_can_correct_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up the moment it is in the journal: what is corrected has been counted."""
    monkeypatch.setattr("execution.funding.LISTED_AFTER_MS", 0)
    record, counted = bench.house.journal.record_execution, list[int]()

    def record_and_look(*what: Any, **more: Any) -> None:
        record(*what, **more)
        bench.look_up()

    monkeypatch.setattr(bench.house.journal, "record_execution", record_and_look)
    monkeypatch.setattr(
        bench.house.monitor, "record_funding", lambda _: counted.append(len(bench.house.monitor.trades))
    )
    bench.close()
    assert counted == [1]


# ---- a crash loses and doubles nothing ---------------------------------------------------------------

class Killed(BaseException):
    """kill -9 in the middle of a call."""


@pytest.mark.parametrize("point", ["asking", "before the journal", "before the monitor", "nowhere"])
def test_a_crash_loses_and_doubles_nothing(tmp_path: Path, clock: ManualClock, point: str) -> None:
    """Wherever the process ends, the next one makes it good once: in the journal and in what it sums up."""
    trade = a_trade("p1", funding=D(0), realised_pnl=D(10), funding_known=False, closed_ms=clock.now_ms())
    house = a_manager(clock=clock)
    house.exchange.funding[SYMBOL] = [Funding(at_ms=trade.closed_ms, amount=D("-3"))]
    clock.advance(LISTED_AFTER_S)
    for life in range(3):
        journal, monitor = SqlJournal(url_in(tmp_path), clock, label="test"), PerformanceMonitor(clock)
        if life == 0:
            journal.record_execution("", (), a_position("p1"), trade)
        monitor.restore(journal.trades(), None)
        dies = life == 0 and point != "nowhere"
        where = {"asking": (house.exchange, "fetch_funding"), "before the journal": (journal, "settle_funding"),
                 "before the monitor": (monitor, "record_funding")}

        def kill(*_what: object) -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patched:
            looking = FundingLookUp(house.exchange, journal, monitor, clock, lambda: False)
            if dies:
                patched.setattr(*where[point], kill)
                with pytest.raises(Killed):
                    looking.look_up()
            else:
                looking.look_up()
                looking.look_up()
                stats = monitor.get_stats()
                assert (stats.realised_pnl, stats.awaiting_funding) == (D(7), 0)
        journal.close()
    with_it = SqlJournal(url_in(tmp_path), clock, label="test")
    assert with_it.trades() == (replace(trade, funding=D("-3"), realised_pnl=D(7), funding_known=True),)
    with_it.close()


# ---- one clock ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("offset_ms", [-90_000, 0, 90_000])
def test_a_trade_ends_with_its_last_fill_by_the_exchanges_clock(bench: Bench, offset_ms: int) -> None:
    """Whatever our clock says, it lasted as long as the exchange says; the cooldown goes by our clock."""
    house, clock = bench.house, bench.clock
    house.exchange.offset_ms = offset_ms
    house.exchange.now_ms = lambda: clock.now_ms() - offset_ms
    position = opened(house, now_ms=house.exchange.now_ms())
    clock.advance(60)
    price_moves_to(house, "48900")
    trade = bench.trade()
    assert (trade.opened_ms, trade.closed_ms) == (position.opened_ms, position.opened_ms + 60_000)
    assert trade.closed_ms == max(fill.ts_ms for fill in house.exchange.fills)
    assert house.manager.left_lately(SYMBOL)
    clock.advance(LISTED_AFTER_S)
    bench.look_up()
    assert bench.trade().funding_known


def test_without_its_fills_a_trade_ends_now(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are listed late: the exchange's time at the booking stands for theirs."""
    house, clock = bench.house, bench.clock
    house.exchange.offset_ms = 90_000
    house.exchange.now_ms = lambda: clock.now_ms() - 90_000
    position = opened(house, now_ms=house.exchange.now_ms())
    clock.advance(60)
    monkeypatch.setattr(house.sender, "fills_of", lambda _execution: None)
    trade = house.manager.close_position(SYMBOL)
    assert trade is not None
    assert trade.closed_ms == clock.now_ms() - 90_000 == position.opened_ms + 60_000
