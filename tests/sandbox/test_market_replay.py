"""Recorded candles served again: the right ones, at the right time, with a path between."""

from __future__ import annotations

import asyncio
import gzip
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.market.recording import HEADER
from sandbox.market.replay import ReplayMarket
from sandbox.market.source import Candle

D = Decimal
T0 = 1_621_382_400_000               # 2021-05-19T00:00Z
FIVE_MIN = 300_000
ANCHOR_MS = 1_790_000_012_345        # 32.345 s into a minute
OPENED_MS = ANCHOR_MS - ANCHOR_MS % 60_000

# Rising, falling, not traded, not recorded, rising.
ROWS = [
    (0, "10000", "11000", "9500", "10500", "2"),
    (1, "10500", "10600", "9000", "9200", "3"),
    (2, "9200", "9200", "9200", "9200", "0"),
    (4, "9300", "9900", "9250", "9800", "4"),
]


def write(folder: Path, name: str = "BTC-USDT_5m.csv", rows: list[tuple[object, ...]] | None = None) -> Path:
    lines = [",".join(map(str, (T0 + int(str(n)) * FIVE_MIN, *values))) for n, *values in rows or ROWS]
    text = "\n".join([HEADER, *lines]) + "\n"
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def a_replay(folder: Path, start: str | int | None = T0 + FIVE_MIN, granularity_min: int = 1) -> ReplayMarket:
    return ReplayMarket(folder, start=start, granularity_min=granularity_min, anchor_ms=ANCHOR_MS)


def candles(market: ReplayMarket, minutes: int = 1) -> tuple[Candle, ...]:
    return asyncio.run(market.candles("XBTUSDTM", minutes, 0, ANCHOR_MS * 2))


def test_recorded_candles_become_minutes(tmp_path: Path) -> None:
    """Five-minute candles are served as minutes: the one before the start as history, gaps as gaps."""
    write(tmp_path)
    market = a_replay(tmp_path)
    market.advance(OPENED_MS + 5 * 60_000)          # past the end of the recording
    assert [(c.open_ms, c.open, c.high, c.low, c.close, c.volume) for c in candles(market)] == [
        (OPENED_MS - 60_000, D("10000.0"), D("11000.0"), D("9500.0"), D("10500.0"), 2000),   # 2 BTC are 2000 lots
        (OPENED_MS, D("10500.0"), D("10600.0"), D("9000.0"), D("9200.0"), 3000),
        (OPENED_MS + 3 * 60_000, D("9300.0"), D("9900.0"), D("9250.0"), D("9800.0"), 4000),
    ]


def test_a_falling_candle_goes_up_first(tmp_path: Path) -> None:
    """From 10 500 to 10 600, down to 9000, and to 9200: the extremes are met in that order."""
    write(tmp_path)
    market = a_replay(tmp_path)
    path = []
    for ms in range(0, 60_000, 50):
        market.advance(OPENED_MS + ms)
        path.append(market.quote("XBTUSDTM").mark)
    assert path[0] == D("10500.0")
    assert path.index(max(path)) < path.index(min(path))
    assert max(path) >= D("10590")
    assert min(path) <= D("9010")
    assert abs(path[-1] - D("9200")) <= D(10)


def test_one_long_step_passes_through_the_extremes(tmp_path: Path) -> None:
    """A step over the whole candle has its high and low in the range, though no quote showed them."""
    write(tmp_path)
    market = a_replay(tmp_path)
    market.advance(OPENED_MS)
    market.advance(OPENED_MS + 59_999)
    assert market.traded_range("XBTUSDTM") == (D("9000"), D("10600"))
    market.advance(OPENED_MS + 4 * 60_000 + 1)
    assert market.traded_range("XBTUSDTM") == (D("9200"), D("9900"))


def test_the_open_candle_grows_to_the_recorded_one(tmp_path: Path) -> None:
    """At its beginning it is its open; at its end it is what was recorded."""
    write(tmp_path)
    market = a_replay(tmp_path)
    market.advance(OPENED_MS)
    (_, young) = candles(market)
    assert (young.open, young.high, young.low, young.close) == (D("10500"),) * 4
    market.advance(OPENED_MS + 59_999)
    (_, old) = candles(market)
    assert (old.high, old.low, old.close, old.volume) == (D("10600"), D("9000"), D("9200"), 3000)


def test_the_price_is_held_in_gaps_and_at_the_end(tmp_path: Path) -> None:
    """In untraded and unrecorded candles, and after the last one, nothing moves."""
    write(tmp_path)
    market = a_replay(tmp_path)
    for minute, price in ((1, D(9200)), (2, D(9200)), (4, D(9800)), (400, D(9800))):
        market.advance(OPENED_MS + minute * 60_000 + 30_000)
        assert market.quote("XBTUSDTM").mark == price
        assert market.advance(OPENED_MS + minute * 60_000 + 40_000) == ()


def test_multiples_are_folded_and_lower_granularities_refused(tmp_path: Path) -> None:
    """A replay in five-minute candles has fifteen-minute ones, and none of one minute."""
    write(tmp_path)
    market = a_replay(tmp_path, granularity_min=5)
    market.advance(ANCHOR_MS + 3600_000)
    assert candles(market, 1) == ()
    fives, fifteens = candles(market, 5), candles(market, 15)
    assert len(fives) == 3
    assert sum(c.volume for c in fifteens) == 9000
    assert max(c.high for c in fifteens) == D(11000)


def test_the_first_advance_is_the_anchor(tmp_path: Path) -> None:
    """Without an anchor the replay begins when it is first moved."""
    write(tmp_path)
    market = ReplayMarket(tmp_path, start=T0 + FIVE_MIN)
    market.advance(ANCHOR_MS)
    assert [c.open_ms for c in candles(market)] == [OPENED_MS - 60_000, OPENED_MS]


@pytest.mark.parametrize("start", ["2021-05-19T00:05:00Z", "2021-05-19 00:05", str(T0 + FIVE_MIN)])
def test_the_start_is_read_as_people_write_it(tmp_path: Path, start: str) -> None:
    """ISO time with or without a zone, and ms, name the same candle."""
    write(tmp_path)
    market = a_replay(tmp_path, start)
    market.advance(OPENED_MS)
    assert market.quote("XBTUSDTM").mark == D("10500")


def test_symbols_of_several_files_share_the_grid(tmp_path: Path) -> None:
    """Files of the same interval are served together, gzipped or not; another interval is left out."""
    write(tmp_path)
    write(tmp_path, "ETH-USDT_5m.csv.gz", [(n, "2000", "2010", "1990", "2005", "7") for n in range(1, 6)])
    minute_rows = "\n".join(f"{T0 + n * 60_000},1,1,1,1,1" for n in range(5))
    (tmp_path / "XRP-USDT-PERP_1m.csv").write_text(f"{HEADER}\n{minute_rows}\n")
    market = a_replay(tmp_path)
    assert [c.symbol for c in market.contracts()] == ["XBTUSDTM", "ETHUSDTM"]
    market.advance(OPENED_MS)
    assert market.quote("ETHUSDTM").mark == D("2000.00")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("time,o,h,l,c,v\n1,1,1,1,1,1\n2,1,1,1,1,1\n", "first line"),
        (f"{HEADER}\n{T0},1,1,1,1,1\n", "two candles"),
        (f"{HEADER}\n{T0},1,1,1,1,1\n{T0 + FIVE_MIN},1,1,x,1,1\n", "BTC-USDT_5m"),
        (f"{HEADER}\n{T0},1,1,1,1,1\n{T0 + FIVE_MIN},1,1,0,1,1\n", "above 0"),
        (f"{HEADER}\n{T0},1,1,1,1\n{T0 + FIVE_MIN},1,1,1,1\n", "BTC-USDT_5m"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    """What cannot be read is a ValueError that says which file and what about it."""
    (tmp_path / "BTC-USDT_5m.csv").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        a_replay(tmp_path, None)


def test_an_empty_folder_and_a_start_outside_are_named(tmp_path: Path) -> None:
    """There must be files, and the start must lie within them."""
    with pytest.raises(ValueError, match="no .csv"):
        a_replay(tmp_path)
    write(tmp_path)
    with pytest.raises(ValueError, match="outside the recording"):
        a_replay(tmp_path, "2022-01-01")


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.integers(1, 90_000), min_size=1, max_size=12))
def test_quotes_stay_within_what_was_passed(steps: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However time jumps: bid < ask, and every mark lies in the range of its step."""
    folder = tmp_path_factory.mktemp("tape")
    write(folder)
    market = a_replay(folder)
    now_ms = OPENED_MS
    market.advance(now_ms)
    for step in steps:
        before, now_ms = market.quote("XBTUSDTM").mark, now_ms + step
        market.advance(now_ms)
        q = market.quote("XBTUSDTM")
        low, high = market.traded_range("XBTUSDTM")
        assert q.bid < q.ask
        assert q.bid <= q.last <= q.ask
        assert low <= min(before, q.mark) <= max(before, q.mark) <= high


def test_the_crash_of_may_2021_is_found(shared_dir: Path) -> None:
    """Without a start the replay begins in the worst hour of 19 May, with history, quickly loaded."""
    began = time.process_time()
    market = ReplayMarket(shared_dir / "data/ohlcv/binance_spot_5m", anchor_ms=ANCHOR_MS)
    assert time.process_time() - began < 3          # 1.2 s where it was measured
    assert len(market.contracts()) == 40
    market.advance(ANCHOR_MS)
    before = market.quote("XBTUSDTM").mark
    assert D(30_000) < before < D(40_000)
    history = candles(market)
    assert len([c for c in history if c.open_ms < OPENED_MS]) >= 300
    market.advance(ANCHOR_MS + 3 * 60_000)
    low, high = market.traded_range("XBTUSDTM")
    assert high / low > D("1.1")                    # ten percent in three candles


def test_recorded_minutes_keep_their_gaps(shared_dir: Path, tmp_path: Path) -> None:
    """A real recording with 717 missing minutes is served with exactly the minutes it has."""
    source = shared_dir / "data/ohlcv/spot_1m/UNITTEST-BTC_1m.csv.gz"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    lines = gzip.decompress(source.read_bytes()).decode().split()[1:1001]
    first, last = (int(line.split(",")[0]) for line in (lines[0], lines[-1]))
    market = ReplayMarket(tmp_path, start=first, anchor_ms=OPENED_MS)
    market.advance(OPENED_MS + last - first + 59_999)
    found = asyncio.run(market.candles("UNITTESTUSDTM", 1, 0, ANCHOR_MS * 2))
    traded = [line.split(",") for line in lines if float(line.split(",")[5]) > 0]
    assert [c.open_ms - OPENED_MS for c in found] == [int(row[0]) - first for row in traded]
