"""Prices set by hand over another market."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.market import make_market
from sandbox.market.scripted import ScriptedMarket
from sandbox.market.source import Candle

D = Decimal
START_MS = 1_790_000_012_345
OPENED_MS = START_MS - START_MS % 60_000
XBT = "XBTUSDTM"


def a_market(volatility: float = 8.0) -> ScriptedMarket:
    return make_market("synthetic", seed=7, pairs=5, volatility=volatility, start_ms=START_MS)


def candles(market: ScriptedMarket, minutes: int = 1, from_ms: int = OPENED_MS) -> tuple[Candle, ...]:
    return asyncio.run(market.candles(XBT, minutes, from_ms, START_MS * 2))


def test_a_set_price_is_everybodys_price_from_the_next_step_on() -> None:
    """Bid, last, mark and index are the price, the ask one tick above, and the way there was passed."""
    market = a_market()
    before = market.quote(XBT)
    market.set_price(XBT, D("60000.04"))
    changed = market.advance(START_MS + 100)
    q = market.quote(XBT)
    assert XBT in changed
    assert (q.bid, q.ask, q.last, q.mark, q.index) == (
        D("60000.0"), D("60000.1"), D("60000.0"), D("60000.0"), D("60000.0")
    )
    assert market.traded_range(XBT) == (D("60000.0"), before.mark)
    assert q.low_24h <= D("60000.0")
    assert q.sequence > before.sequence


def test_a_set_price_works_while_the_clock_stands() -> None:
    """A second step at the same exchange time takes the wish over."""
    market = a_market()
    market.advance(START_MS + 100)
    market.set_price(XBT, D(61_000))
    assert market.advance(START_MS + 100) == (XBT,)
    assert market.quote(XBT).last == D(61_000)


def test_a_held_price_stays_while_others_move() -> None:
    """The symbol is not reported again; the others are."""
    market = a_market()
    market.set_price(XBT, D(60_000))
    market.advance(START_MS + 100)
    reported: set[str] = set()
    for ms in range(200, 5000, 100):
        reported.update(market.advance(START_MS + ms))
        assert market.traded_range(XBT) == (D(60_000), D(60_000))
    assert XBT not in reported
    assert "ETHUSDTM" in reported


def test_a_script_goes_in_straight_lines_and_holds_the_last() -> None:
    """From 60 000 in one second to 61 000, in another back to 60 500: half way each time, then held."""
    market = a_market()
    market.set_price(XBT, D(60_000))
    market.advance(START_MS)
    market.script(XBT, [(1000, D(61_000)), (2000, D(60_500))])
    market.advance(START_MS)
    seen = {}
    for ms in (500, 1500, 2000, 9000):
        market.advance(START_MS + ms)
        seen[ms] = market.quote(XBT).mark, market.traded_range(XBT)
    assert seen[500] == (D("60500.0"), (D(60_000), D(60_500)))
    assert seen[1500] == (D("60750.0"), (D(60_500), D(61_000)))      # the peak lay between the steps
    assert seen[2000][0] == seen[9000][0] == D("60500.0")


def test_a_release_goes_back_to_the_market() -> None:
    """The quote is the market's again, the sequence still grows, and the way back was passed."""
    market = a_market()
    market.set_price(XBT, D(50_000))
    market.advance(START_MS + 100)
    held = market.quote(XBT)
    market.release(XBT)
    assert XBT in market.advance(START_MS + 200)
    q, own = market.quote(XBT), market.source.quote(XBT)
    assert (q.bid, q.ask, q.last) == (own.bid, own.ask, own.last)
    assert q.sequence > held.sequence
    assert market.traded_range(XBT) == (D(50_000), own.mark)


def test_nothing_moves_while_frozen() -> None:
    """Frozen, neither the market nor a script moves; afterwards the script goes on where it stood."""
    market = a_market()
    market.set_price(XBT, D(60_000))
    market.advance(START_MS)
    market.script(XBT, [(1000, D(61_000))])
    market.advance(START_MS)
    market.freeze(True)
    before = market.quote("ETHUSDTM")
    assert market.advance(START_MS + 800) == ()
    assert market.quote("ETHUSDTM") == before
    assert market.quote(XBT).mark == D(60_000)
    market.set_price("ETHUSDTM", D(3000))
    assert market.advance(START_MS + 900) == ("ETHUSDTM",)
    market.freeze(False)
    market.advance(START_MS + 1400)
    assert market.quote(XBT).mark == D(60_500)


def test_candles_tell_what_was_set() -> None:
    """The open minute keeps its open, reaches to the set prices, and closes at the last of them."""
    market = a_market()
    (own,) = candles(market)
    market.set_price(XBT, D(60_000))
    market.advance(START_MS + 1000)
    market.set_price(XBT, D(70_000))
    market.advance(START_MS + 2000)
    market.set_price(XBT, D(65_000))
    market.advance(START_MS + 3000)
    (told,) = candles(market)
    assert (told.open, told.high, told.low, told.close) == (own.open, D(70_000), D(60_000), D(65_000))
    market.advance(START_MS + 61_000)
    _, held = candles(market)
    assert (held.open, held.high, held.low, held.close) == (D(65_000),) * 4


def test_longer_candles_are_folded_from_the_told_minutes() -> None:
    """The five-minute candle is what its minutes are together, also after the release."""
    market = a_market()
    market.set_price(XBT, D(60_000))
    for ms in range(1000, 86_000, 1000):
        market.advance(START_MS + ms)
        if ms == 60_000:
            market.release(XBT)
    five = candles(market, 5, OPENED_MS - OPENED_MS % 300_000)[0]
    minutes = [c for c in candles(market, 1, five.open_ms) if c.open_ms < five.open_ms + 300_000]
    assert (five.open, five.close) == (minutes[0].open, minutes[-1].close)
    assert (five.high, five.low) == (max(c.high for c in minutes), min(c.low for c in minutes))
    assert five.low == D(60_000)
    assert minutes[-1].close == market.quote(XBT).last


def test_candles_of_untouched_symbols_are_the_markets() -> None:
    """Holding one symbol changes no other's candles."""
    market = a_market()
    market.set_price(XBT, D(60_000))
    market.advance(START_MS + 1000)
    asked = ("ETHUSDTM", 1, OPENED_MS - 10**6, START_MS)
    assert asyncio.run(market.candles(*asked)) == asyncio.run(market.source.candles(*asked))


@pytest.mark.parametrize(
    "wish",
    [
        lambda m: m.set_price("NOPEUSDTM", D(1)), lambda m: m.script("NOPEUSDTM", [(1, D(1))]),
        lambda m: m.release("NOPEUSDTM"), lambda m: m.quote("NOPEUSDTM"),
    ],
)
def test_unknown_symbols_are_key_errors(wish: Callable[[ScriptedMarket], object]) -> None:
    """No wish invents a symbol."""
    with pytest.raises(KeyError):
        wish(a_market())


@pytest.mark.parametrize("price", [D(0), D(-1), D("NaN"), D("Infinity")])
def test_impossible_prices_are_refused(price: Decimal) -> None:
    """A price is a number above 0."""
    with pytest.raises(ValueError, match="above 0"):
        a_market().set_price(XBT, price)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 40_000), st.none() | st.integers(1_000, 2_000_000).map(lambda n: D(n) / 10)
        ),
        min_size=1, max_size=10,
    )
)
def test_whatever_is_wished_quotes_and_candles_stay_sound(moves: list[tuple[int, Decimal | None]]) -> None:
    """Bid < ask, the sequence never falls, the range joins the marks, every candle holds its ends."""
    market = a_market()
    now_ms = START_MS
    for passed_ms, price in moves:
        before = market.quote(XBT)
        now_ms += passed_ms
        market.release(XBT) if price is None else market.set_price(XBT, price)
        market.advance(now_ms)
        q = market.quote(XBT)
        low, high = market.traded_range(XBT)
        assert q.bid < q.ask
        assert q.sequence >= before.sequence
        assert low <= min(before.mark, q.mark) <= max(before.mark, q.mark) <= high
    for minutes in (1, 5):
        for c in candles(market, minutes, OPENED_MS - 600_000):
            assert c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high
            assert c.volume > 0


def test_an_unknown_kind_is_named() -> None:
    """The factory says which markets there are."""
    with pytest.raises(ValueError, match="synthetic, replay, relay"):
        make_market("real")
