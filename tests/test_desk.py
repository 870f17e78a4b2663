"""What the daemon answers to its control API: what the API's document promises, from real facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from control.metrics import render
from control.shapes import SHAPES, list_of, reference
from control.steering import NotFound
from daemon import steering
from daemon.house import House
from daemon.opening import Opener
from daemon.steering import Desk
from execution.book import NotOpened
from tests.builders import a_price, a_ticker, an_instrument, candles_from
from tests.built_house import a_built_house
from tests.crowd import PATIENCE_S, crowd
from tests.runtime.journal_facts import SYMBOL, a_fill, a_position, a_trade
from trading.errors import RadError
from trading.events import Kind
from trading.facts import Balance, Opportunity, Priority, ScanResult, Side
from trading.reading import Reading
from trading.risk import EntryRequest

D = Decimal
OTHER = "ETH/USDT:USDT"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Every part of a daemon whose exchange does not answer; it knows any symbol."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RAD_SCANNER__EXCLUDE", "DOGE*")
    with a_built_house() as built:
        monkeypatch.setattr(built.client, "instrument", an_instrument)
        yield built


@pytest.fixture
def desk(house: House) -> Desk:
    """It holds one position and has closed another."""
    house.manager.restore(a_position())
    house.prices.follow([SYMBOL])
    house.prices.publish(a_price(63_000, symbol=SYMBOL, mark=D(63_010), received=house.clock.monotonic() - 2))
    house.journal.record_execution("rad-p0-x1", [a_fill()], a_position("p0"), a_trade("p0"), wait=True)
    house.account.update(Balance(currency="USDT", equity=D("10012.5"), available=D(9_000), unrealised_pnl=D(0)))
    house.monitor.record_exit_latency({"decided": 0.001, "sent": 0.002})
    house.monitor.record_api_call("tickers", 0.05, "ok")
    house.monitor.record_api_call("tickers", 0.05, "RateLimited")
    house.budget.take("futures", 12, Priority.CRITICAL)
    house.events.publish(Kind.PAUSED)
    return Desk(house, Opener(house, guard=False))


def an_opportunity(symbol: str) -> Opportunity:
    """Something worth entering."""
    return Opportunity(
        symbol=symbol, side=Side.LONG, score=0.7, price=D(100), atr=D(2), spread=D("0.0001"), volume_24h=D(10**6),
        candle_ms=1_700_000_000_000, strategy="trend", reasons=("because",),
    )


def found(house: House, *symbols: str) -> ScanResult:
    """The scanner's latest result, in which these are worth entering."""
    result = ScanResult(
        sequence=1, started_ms=1, finished_ms=2, opportunities=tuple(an_opportunity(symbol) for symbol in symbols)
    )
    with house.scanner._scan_lock:
        house.scanner._latest_opportunities = result
    return result


def check(answer: Any, shape: str, *, is_list: bool = False) -> None:
    """Assert that *answer* is what the document promises."""
    promised = list_of(reference(shape)) if is_list else reference(shape)
    Draft202012Validator({**promised, "components": {"schemas": SHAPES}}).validate(answer)


def test_answers_are_what_the_document_promises(house: House, desk: Desk) -> None:
    """From facts as they are, not from a fake that was written to fit."""
    found(house, OTHER)
    check(desk.status(), "Status")
    check(desk.positions(), "Position", is_list=True)
    check(desk.opportunities(), "Opportunity", is_list=True)
    check(desk.trades(10), "Trade", is_list=True)
    check(desk.threads(), "Threads")
    check(desk.rate(), "Rate")
    check(desk.latency(), "Latency")
    check(desk.equity(0, 10), "Equity")
    check(desk.chart(SYMBOL), "Chart")
    check(desk.events(0, 10), "Event", is_list=True)
    check(desk.blacklist(), "Blacklist")
    check(desk.pause(), "Paused")
    check(desk.resume(), "Paused")
    assert len(desk.positions()) == len(desk.trades(10)) == len(desk.events(0, 10)) == 1
    assert desk.positions()[0]["price_age_s"] >= 2


def test_figures_are_those_of_the_daemon(house: House, desk: Desk) -> None:
    """As Prometheus reads them."""
    figures = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(render(desk.figures()).decode()) for sample in family.samples
    }
    assert figures[("rad_equity",)] == 10_012.5
    assert figures[("rad_positions",)] == figures[("rad_positions_protected",)] == 1
    assert figures[("rad_unrealised_pnl",)] == pytest.approx(990.1)     # (64000.10 − 63010) × 1000 × 0.001, short
    assert figures[("rad_prices_stale",)] == 1                          # two seconds old
    assert figures[("rad_price_age_seconds", SYMBOL)] >= 2
    assert figures[("rad_rate_pool_used", "futures")] == 12
    assert figures[("rad_rate_pool_quota", "public")] == 2000
    assert figures[("rad_exit_latency_seconds", "0.99", "sent")] == 0.002
    assert figures[("rad_exit_latency_seconds_count", "decided")] == 1
    assert figures[("rad_api_calls_total", "RateLimited", "tickers")] == 1
    assert figures[("rad_api_call_seconds_sum", "tickers")] == pytest.approx(0.1)
    assert figures[("rad_state", "starting")] == 1
    assert figures[("rad_thread_alive", "Journal")] == 1
    assert figures[("rad_thread_heartbeat_seconds", "Journal")] >= 0
    assert figures[("rad_lock_acquisitions_total", "positions")] > 0
    assert figures[("rad_journal_healthy",)] == 1


def test_a_chart_shows_candles_position_and_trades(house: House, desk: Desk) -> None:
    """Of the candles in memory, and of trades those since the first of them."""
    assert desk.chart(OTHER) == {
        "symbol": OTHER, "timeframe": "1m", "at": [], "open": [], "high": [], "low": [], "close": [], "volume": [],
        "position": None, "trades": [],
    }
    candles = candles_from([1.0, 2.0, 3.0])
    house.scanner._keep(SYMBOL, Reading(candles=candles, asked_ms=0, signal=None))
    shown = desk.chart(SYMBOL)
    assert shown["close"] == [1.0, 2.0, 3.0]
    assert len(shown["at"]) == len(shown["volume"]) == 3
    assert shown["position"]["exchange_stop_price"] == "63910"
    assert [trade["position_id"] for trade in shown["trades"]] == ["p0"]
    later = candles_from([1.0, 2.0, 3.0], until_ms=a_trade().closed_ms + 10 * 60_000)
    house.scanner._keep(SYMBOL, Reading(candles=later, asked_ms=0, signal=None))
    assert desk.chart(SYMBOL)["trades"] == []


def excluded(house: House) -> tuple[str, ...]:
    with house.scanner._scan_lock:
        return house.scanner._universe.exclude


def test_what_is_on_the_black_list_is_not_entered(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not scanned, not shown, and not opened from what was found before it was put there."""
    asked: list[str] = []
    monkeypatch.setattr(house.client, "fetch_tickers", lambda priority: asked.append("tickers") or {})
    result = found(house, OTHER)
    assert desk.blacklist_add(OTHER) == {"symbols": [OTHER]}
    assert excluded(house) == ("DOGE*", OTHER)
    assert desk.opportunities() == []
    desk._opener._open_best(result)
    assert asked == []
    assert desk.blacklist_remove(OTHER) == {"symbols": []}
    assert excluded(house) == ("DOGE*",)
    desk._opener._open_best(result)
    assert asked == ["tickers"]
    with pytest.raises(NotFound, match="not on the black list"):
        desk.blacklist_remove(OTHER)


@pytest.mark.parametrize(("forbid", "why"), [
    (Desk.pause, "paused"), (lambda desk: desk.blacklist_add(OTHER), f"{OTHER} is on the black list"),
], ids=["paused", "listed"])
def test_what_is_forbidden_at_the_last_moment_is_not_opened(
    house: House, monkeypatch: pytest.MonkeyPatch, forbid: Callable[[Desk], object], why: str
) -> None:
    """Said after the opener has asked, before it has claimed the symbol: a flatten sees nothing under way."""
    house.account.update(Balance(currency="USDT", equity=D(10_000), available=D(9_000), unrealised_pnl=D(0)))
    house.status.started()
    desk = Desk(house, Opener(house, guard=False))
    claim = house.manager.claim_opening

    def claim_late(*asked: Any) -> object:
        forbid(desk)
        assert house.manager.entries_under_way() == ()
        return claim(*asked)

    sent: list[str] = []
    monkeypatch.setattr(house.manager, "claim_opening", claim_late)
    monkeypatch.setattr(house.client, "set_margin_mode", lambda *_: sent.append("margin mode"))
    fresh = a_ticker(symbol=OTHER, ts_ms=house.clock.now_ms())
    assert desk._opener._open_one(an_opportunity(OTHER), fresh) == why
    assert sent == []
    assert house.manager.entries_under_way() == ()


def test_nothing_is_closed_by_hand_before_it_is_known_what_left(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exit that left just before the end may have the next number: until that is known none leaves by hand."""
    closed: list[str] = []
    monkeypatch.setattr(house.manager, "close_position", lambda name, _reason: closed.append(name) or a_trade())
    monkeypatch.setattr(steering, "START_PATIENCE_S", 0.01)
    with pytest.raises(RadError, match="no exit leaves until it knows"):
        desk.close(SYMBOL)
    assert closed == []
    monkeypatch.setattr(steering, "START_PATIENCE_S", PATIENCE_S)
    with crowd(lambda: desk.close(SYMBOL)):
        house.start_pools()
    assert closed == [SYMBOL]
    assert house.finish_exits(PATIENCE_S)


def test_a_trouble_that_is_over_by_the_next_word_is_none_without_words(house: House) -> None:
    """Whoever is asked twice may have got well between: nobody is told of a lease that nothing is wrong with."""
    class Recovering:
        """Well again once it has been asked."""

        said = ["cannot be renewed"]
        held = True

        def trouble(self) -> str:
            return self.said.pop() if self.said else ""

        def release(self) -> None: ...

    for name in ("lease", "notifier", "telegram"):
        setattr(house, name, Recovering())
        Recovering.said = ["does not answer"]
        assert [trouble.text for trouble in house.troubles() if trouble.what == name] == ["does not answer"]
        setattr(house, name, None)


def test_of_two_who_pause_and_resume_at_once_the_journal_has_what_holds(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever spoke last in memory spoke last on disk: a restart must not enter where somebody has paused."""
    noted: list[bool] = []

    def note(paused: bool) -> None:
        if not noted:
            noted.append(paused)
            desk.resume()                # said, and noted, before the pause is
        noted.append(paused)

    monkeypatch.setattr(house.journal, "record_pause", note)
    desk.pause()
    assert noted[-1] is house.status.paused is False


def test_trades_are_found_by_any_name_of_their_market(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange's own id as well."""
    monkeypatch.setattr(house.client, "instrument", lambda symbol: an_instrument(SYMBOL))
    assert len(desk.trades(10, symbol="XBTUSDTM", side="short", reason="trailing_stop")) == 1
    assert desk.trades(10, side="long") == []


def test_nothing_is_entered_once_told_to_end(house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the best of a scan, and by hand: the signal comes, and the next is not opened."""
    house.status.started()
    tried: list[str] = []

    def open_position(request: EntryRequest, _account: object, _forbidden: object) -> NotOpened:
        tried.append(request.instrument.symbol)
        house.stop.set()
        return NotOpened(reason="told to end meanwhile")

    monkeypatch.setattr(house.manager, "open_position", open_position)
    symbols = ("ETH/USDT:USDT", "SOL/USDT:USDT")
    monkeypatch.setattr(house.client, "fetch_tickers", lambda _: {each: a_ticker(symbol=each) for each in symbols})
    found(house, *symbols)
    opener = Opener(house, guard=False)
    opener.step()
    assert tried == ["ETH/USDT:USDT"]
    opened = opener.open_by_hand("XRP/USDT:USDT", Side.LONG, None)
    assert isinstance(opened, NotOpened)
    assert opened.reason == "stopping"
