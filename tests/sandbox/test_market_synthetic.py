"""The made-up market: repeatable, lively, and candles that agree with each other and with live prices."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.market.bars import GRANULARITIES, MINUTE_MS, Bars
from sandbox.market.contracts import contract_for, fitting_tick, listings
from sandbox.market.paths import Paths, Waves
from sandbox.market.source import Candle, Quote
from sandbox.market.synthetic import SyntheticMarket

D = Decimal
START_MS = 1_790_000_012_345          # 32.345 s into a minute
LIVELY = 8.0


def a_market(*, seed: int = 7, pairs: int = 12, volatility: float = LIVELY, **more: object) -> SyntheticMarket:
    return SyntheticMarket(seed=seed, pairs=pairs, volatility=volatility, start_ms=START_MS, **more)


@cache
def a_lived_market() -> SyntheticMarket:
    """A market of 12 after ten lively minutes at ten moves a second."""
    market = a_market()
    live(market, 0, 600_000)
    return market


def live(market: SyntheticMarket, from_ms: int, to_ms: int, step_ms: int = 100) -> None:
    for ms in range(from_ms + step_ms, to_ms + 1, step_ms):
        market.advance(START_MS + ms)


def candles(
    market: SyntheticMarket, symbol: str, minutes: int, from_ms: int, to_ms: int
) -> tuple[Candle, ...]:
    return asyncio.run(market.candles(symbol, minutes, from_ms, to_ms))


def folded(parts: list[Candle], opened: int) -> Candle:
    return Candle(
        open_ms=opened, open=parts[0].open, high=max(c.high for c in parts), low=min(c.low for c in parts),
        close=parts[-1].close, volume=sum(c.volume for c in parts),
        turnover=sum((c.turnover for c in parts), start=D(0)),
    )


def quotes(market: SyntheticMarket) -> list[Quote]:
    return [market.quote(contract.symbol) for contract in market.contracts()]


# --- the contracts


def test_the_first_contracts_have_kucoins_names_and_multipliers() -> None:
    """XBTUSDTM is 0.001 XBT, ETHUSDTM 0.01 ETH; more than 64 are named, prices of four to six digits."""
    found = listings(79)
    assert [(x.contract.symbol, x.contract.multiplier, x.contract.max_leverage) for x in found[:2]] == [
        ("XBTUSDTM", D("0.001"), 125), ("ETHUSDTM", D("0.01"), 100)
    ]
    for listing in found:
        assert 1000 <= listing.price / listing.contract.tick_size < 1_000_000, listing
        assert listing.price % listing.contract.tick_size == 0, listing


def test_a_thousand_contracts_are_distinct_and_the_same_every_time() -> None:
    """Made-up contracts follow the named ones and do not depend on how many are asked for."""
    many = listings(1000)
    assert len({listing.contract.symbol for listing in many}) == 1000
    assert listings(500) == many[:500]


@given(st.decimals(min_value="0.00000001", max_value="90000", places=10))
def test_a_fitting_tick_leaves_five_digits(price: Decimal) -> None:
    """Price over tick lies between 10 000 and 100 000."""
    assert 10_000 <= price / fitting_tick(price) < 100_000


def test_a_recorded_price_far_from_the_tables_gets_its_own_tick() -> None:
    """SOL at 162 has ticks of 0.01; at 0.5 they would be two percent of it, so it gets 0.00001."""
    assert contract_for("SOL", D("35.20")).tick_size == D("0.01")
    assert contract_for("SOL", D("0.50")).tick_size == D("0.00001")
    assert contract_for("BTC", D("40000")).symbol == "XBTUSDTM"


# --- paths


def test_one_symbol_computed_alone_lies_on_the_path_of_all() -> None:
    """A moment asked for alone is the moment all symbols were moved to."""
    paths = Paths(3, ("A", "B"), np.array([0.001, 0.002]), LIVELY)
    together = [paths.all_at(t)[1] for t in (0.0, 17.3, 4000.0)]
    alone = [paths.one_at(1, t, 1.0, 1, 0.0)[0] for t in (0.0, 17.3, 4000.0)]
    assert together == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("volatility", [0.5, 1.0, 8.0, 10.0])
def test_volatility_is_a_multiple_of_an_ordinary_minute(volatility: float) -> None:
    """The standard deviation of minute returns is sigma times volatility."""
    paths = Paths(11, tuple(f"S{n}" for n in range(24)), np.full(24, 0.001), volatility)
    minutes = np.array([paths.one_at(n, 0.0, 60.0, 2000, 0.0) for n in range(24)])
    assert np.diff(minutes).std() == pytest.approx(0.001 * volatility, rel=0.2)


def test_trends_are_short_where_volatility_is_high() -> None:
    """At 1 the waves of the trend are half an hour and longer, at 8 they begin below a minute."""
    def shortest(volatility: float) -> float:
        waves = Waves.of(volatility)
        return float(waves.periods_s[: len(waves.trending)][waves.trending > 0].min())

    assert 1200 < shortest(1.0) < 1800
    assert shortest(8.0) < 60


def test_symbols_move_together_but_not_alike() -> None:
    """Half of the variance is common: returns correlate by about a half."""
    paths = Paths(5, tuple(f"S{n}" for n in range(12)), np.full(12, 0.001), 1.0)
    returns = np.diff([paths.one_at(n, 0.0, 60.0, 2000, 0.0) for n in range(12)])
    correlations = np.corrcoef(returns)[np.triu_indices(12, 1)]
    assert 0.3 < correlations.mean() < 0.7


# --- quotes


def test_the_same_seed_and_times_give_the_same_quotes() -> None:
    """Two markets of one seed agree in every field; another seed does not."""
    one, two, other = a_market(), a_market(), a_market(seed=8)
    for market in (one, two, other):
        live(market, 0, 20_000)
    assert quotes(one) == quotes(two)
    assert quotes(one) != quotes(other)


def test_prices_do_not_depend_on_how_often_one_looks() -> None:
    """Ten looks a second and one a second arrive at the same index price."""
    often, seldom = a_market(), a_market()
    live(often, 0, 30_000, 100)
    live(seldom, 0, 30_000, 1000)
    assert often.quote("XBTUSDTM").index == seldom.quote("XBTUSDTM").index


def test_quotes_are_sound_at_every_moment() -> None:
    """Bid < ask, all prices on the tick, last at the book's edge, the day's range around last."""
    market = a_market(pairs=40)
    ticks = {contract.symbol: contract.tick_size for contract in market.contracts()}
    for ms in range(0, 60_000, 1700):
        market.advance(START_MS + ms)
        for q in quotes(market):
            assert 0 < q.bid < q.ask
            assert q.bid_size > 0
            assert q.ask_size > 0
            prices = (q.bid, q.ask, q.last, q.mark, q.index, q.high_24h, q.low_24h)
            assert all(price % ticks[q.symbol] == 0 for price in prices)
            assert q.low_24h <= q.last <= q.high_24h
            assert abs(q.mark / q.index - 1) < D("0.05")
            assert (q.ask - q.bid) / q.bid < D("0.005")


def test_only_changed_quotes_are_reported_and_their_sequence_grows() -> None:
    """What `advance` does not name is the same quote as before; what it names has a higher sequence."""
    market = a_market(pairs=40, volatility=1.0)
    for ms in range(100, 3000, 100):
        before = {q.symbol: q for q in quotes(market)}
        changed = market.advance(START_MS + ms)
        for q in quotes(market):
            if q.symbol in changed:
                assert q.sequence > before[q.symbol].sequence
                assert q.ts_ms == START_MS + ms
            else:
                assert (q.bid, q.ask, q.mark, q.sequence) == (
                    before[q.symbol].bid, before[q.symbol].ask, before[q.symbol].mark,
                    before[q.symbol].sequence,
                )


def test_the_traded_range_joins_one_mark_to_the_next() -> None:
    """The range holds the mark before and the mark after, after a long pause too."""
    market = a_market()
    for ms in (100, 200, 5_000, 100_000, 4_000_000):
        before = market.quote("SOLUSDTM").mark
        market.advance(START_MS + ms)
        low, high = market.traded_range("SOLUSDTM")
        assert low <= min(before, market.quote("SOLUSDTM").mark)
        assert high >= max(before, market.quote("SOLUSDTM").mark)


def test_it_goes_on_from_given_prices() -> None:
    """With start prices the market begins there, others where the table says."""
    market = a_market(start_prices={"XBTUSDTM": D("31415.9")})
    assert market.quote("XBTUSDTM").index == D("31415.9")
    assert abs(market.quote("ETHUSDTM").index / D("3420") - 1) < D("0.0001")


def test_unknown_symbols_are_key_errors() -> None:
    """Neither quotes, ranges nor candles invent a symbol."""
    market = a_market()
    for ask in (market.quote, market.traded_range, lambda s: candles(market, s, 1, 0, START_MS)):
        with pytest.raises(KeyError):
            ask("NOPEUSDTM")


def test_time_set_back_does_no_harm() -> None:
    """A clock that jumps back moves prices to where they were then, and on again."""
    market = a_market()
    index = market.quote("XBTUSDTM").index
    live(market, 0, 90_000, 1000)
    market.advance(START_MS)
    assert market.quote("XBTUSDTM").index == index
    live(market, 0, 90_000, 1000)
    assert candles(market, "XBTUSDTM", 1, START_MS, START_MS + 90_000)


def test_five_hundred_symbols_cost_little() -> None:
    """One move of 500 symbols takes under 5 ms of CPU: 5 % of a core at ten a second, with all margin."""
    market = a_market(pairs=500)
    began = time.process_time()
    live(market, 0, 5000)
    assert (time.process_time() - began) / 50 < 0.005


# --- candles


@pytest.mark.parametrize("minutes", [1, 5, 30, 60, 720, 1440, 10080])
def test_every_granularity_has_a_thousand_candles(minutes: int) -> None:
    """A liquid pair has a candle for each of the last 1000 intervals before the start, and sound ones."""
    market = a_market(pairs=1, volatility=1.0)
    step_ms = minutes * MINUTE_MS
    opened = START_MS // step_ms * step_ms
    found = candles(market, "XBTUSDTM", minutes, opened - 1000 * step_ms, START_MS)
    assert [c.open_ms for c in found] == [opened - n * step_ms for n in range(1000, -1, -1)]
    for c in found:
        assert c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high
        assert c.volume > 0
        assert c.turnover > 0


def test_other_granularities_have_none() -> None:
    """KuCoin futures have no 3-minute candles."""
    assert candles(a_market(), "XBTUSDTM", 3, 0, START_MS) == ()


@settings(max_examples=12, deadline=None)
@given(
    place=st.sampled_from([(5, 1), (15, 5), (60, 1), (240, 60), (1440, 60), (10080, 1440)]),
    back=st.integers(0, 20), column=st.integers(0, 11),
)
def test_long_candles_are_folded_from_short_ones(place: tuple[int, int], back: int, column: int) -> None:
    """Open, high, low, close, volume and turnover of a candle are those of the shorter ones in it."""
    minutes, shorter = place
    market = a_lived_market()
    symbol = market.contracts()[column].symbol
    step_ms = minutes * MINUTE_MS
    opened = ((START_MS + 600_000) // step_ms - back) * step_ms
    whole = candles(market, symbol, minutes, opened, opened)
    parts = candles(market, symbol, shorter, opened, opened + step_ms - 1)
    assert whole == ((folded(list(parts), opened),) if parts else ())


def test_the_open_candle_ends_at_the_last_price() -> None:
    """For every granularity the last candle's close is the last traded price."""
    market = a_lived_market()
    for minutes in GRANULARITIES:
        found = candles(market, "XBTUSDTM", minutes, START_MS - minutes * MINUTE_MS * 3, START_MS + 10**6)
        assert found[-1].close == market.quote("XBTUSDTM").last


def test_candles_hold_every_price_that_was_traded() -> None:
    """High and low of a lived minute are the extremes of the last prices seen in it."""
    market = a_market(pairs=2)
    seen: dict[int, list[Decimal]] = {}
    for ms in range(100, 150_000, 100):
        market.advance(START_MS + ms)
        seen.setdefault((START_MS + ms) // MINUTE_MS, []).append(market.quote("ETHUSDTM").last)
    minute = sorted(seen)[1]
    (candle,) = candles(market, "ETHUSDTM", 1, minute * MINUTE_MS, minute * MINUTE_MS)
    assert (candle.high, candle.low) == (max(seen[minute]), min(seen[minute]))
    assert (candle.open, candle.close) == (seen[minute][0], seen[minute][-1])


def test_closed_candles_do_not_change() -> None:
    """What was answered for closed minutes is answered again later."""
    market = a_market(pairs=12)
    live(market, 0, 130_000)
    until = (START_MS + 130_000) // MINUTE_MS * MINUTE_MS - 1
    before = [candles(market, c.symbol, 1, START_MS - 10**7, until) for c in market.contracts()]
    live(market, 130_000, 200_000)
    assert [candles(market, c.symbol, 1, START_MS - 10**7, until) for c in market.contracts()] == before


def test_thin_pairs_have_minutes_without_a_candle() -> None:
    """The most traded pair lacks none, the last of 64 about half; in a silent minute the last price stands."""
    market = a_market(pairs=64, volatility=1.0)
    thin = market.contracts()[-1].symbol
    day = (START_MS - 86_400_000, START_MS - MINUTE_MS)
    assert len(candles(market, "XBTUSDTM", 1, *day)) == 1439
    assert 500 < len(candles(market, thin, 1, *day)) < 900
    last: dict[int, set[Decimal]] = {}
    for ms in range(500, 900_000, 500):
        market.advance(START_MS + ms)
        last.setdefault((START_MS + ms) // MINUTE_MS * MINUTE_MS, set()).add(market.quote(thin).last)
    told = {c.open_ms for c in candles(market, thin, 1, START_MS, START_MS + 900_000)}
    silent = [minute for minute in sorted(last)[1:-1] if minute not in told]
    assert silent
    assert all(len(last[minute]) == 1 for minute in silent)


@pytest.mark.parametrize("volatility", [1.0, LIVELY])
def test_made_up_minutes_range_as_far_as_lived_ones(volatility: float) -> None:
    """Stops measured in average ranges of the past fit the present: both agree within a quarter."""
    lived: list[float] = []
    made: list[float] = []
    for seed in (1,):
        market = a_market(seed=seed, pairs=20, volatility=volatility)
        live(market, 0, 1_200_000, 500)
        for column, contract in enumerate(market.contracts()):
            span = (START_MS + MINUTE_MS, START_MS + 1_100_000)
            bars = market._past.bars(column, 1, *span).to_candles(contract.tick_size)
            made += [float((c.high - c.low) / c.close) for c in bars]
            lived += [float((c.high - c.low) / c.close) for c in candles(market, contract.symbol, 1, *span)]
    assert float(np.mean(lived)) == pytest.approx(float(np.mean(made)), rel=0.25)


def test_a_lively_minute_is_enough_for_a_trailing_stop() -> None:
    """At volatility 8 most pairs move by more than 0.6 % within a minute and come back by 0.3 %."""
    market = a_market(pairs=30)
    path: dict[str, list[float]] = {c.symbol: [] for c in market.contracts()}
    for ms in range(200, 60_001, 200):
        market.advance(START_MS + ms)
        for symbol, seen in path.items():
            seen.append(float(market.quote(symbol).mark))
    lively = 0
    for seen in path.values():
        prices = np.array(seen)
        best = np.maximum.accumulate(prices)
        pulled_back = (best / prices[0] - 1 > 0.003) & (1 - prices / best > 0.003)
        lively += bool(pulled_back.any()) and np.ptp(prices) / prices[0] > 0.006
    assert lively >= 10


# --- folding


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.lists(st.integers(1, 10**6), min_size=4, max_size=4)), max_size=60
    )
)
def test_folding_twice_is_folding_once(rows: list[tuple[int, list[int]]]) -> None:
    """1 to 5 to 15 minutes gives what 1 to 15 minutes gives, gaps and all."""
    minutes = sorted(dict(rows).items())
    opens = np.array([minute * MINUTE_MS for minute, _ in minutes], dtype=np.int64)
    prices = np.array([p for _, p in minutes], dtype=np.int64).reshape(-1, 4)
    bars = Bars(
        open_ms=opens, open=prices[:, 0], high=prices.max(axis=1, initial=0),
        low=prices.min(axis=1, initial=10**7), close=prices[:, 3], volume=prices[:, 1], turnover=prices[:, 2],
    )
    assert bars.fold(5).fold(15).to_candles(D(1)) == bars.fold(15).to_candles(D(1))


def test_a_fold_worked_by_hand() -> None:
    """Minutes 3, 4 and 5 in candles of five: the first two make the one opened at 0."""
    bars = Bars(
        open_ms=np.array([3, 4, 5]) * MINUTE_MS, open=np.array([10, 12, 9]), high=np.array([13, 15, 11]),
        low=np.array([9, 11, 8]), close=np.array([12, 14, 10]), volume=np.array([1, 2, 4]),
        turnover=np.array([10_000, 20_000, 40_000]),
    )
    first, second = bars.fold(5).to_candles(D("0.5"))
    assert first == Candle(
        open_ms=0, open=D("5.0"), high=D("7.5"), low=D("4.5"), close=D("7.0"), volume=3, turnover=D("3")
    )
    assert (second.open_ms, second.open, second.volume) == (300_000, D("4.5"), 4)
