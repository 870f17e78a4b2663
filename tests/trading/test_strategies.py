"""The built-in strategies, the loading of others, and the page that shows how to write one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import candles_from, first
from tests.trading.markets import noise, ranging, trending
from trading import strategies
from trading.candles import Candles
from trading.errors import ConfigError
from trading.facts import Side
from trading.reading import read
from trading.strategies import load, names, signal_at

PAGE = Path(__file__).parents[2] / "docs" / "STRATEGIES.md"
BUILT_IN = ("breakout", "mean_reversion", "trend")
EACH = pytest.mark.parametrize("name", BUILT_IN)
SEEDS = range(60)
THRESHOLD = 0.5
LOADED = {name: load(name) for name in BUILT_IN}

Dropper = Callable[[str, str], str]

OPINIONATED = '''
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True, kw_only=True)
class Strategy:
    size: float = 0.5

    @property
    def min_candles(self):
        return 30

    def score(self, candles):
        return {score}

    def reasons(self, candles, index):
        return {reasons}
'''


def a_file(score: str = "np.full(len(candles), self.size)", reasons: str = "('always',)") -> str:
    """The text of a strategy with that score and those reasons."""
    return OPINIONATED.replace("{score}", score).replace("{reasons}", reasons)


@st.composite
def wild_markets(draw: st.DrawFn) -> Candles:
    """120 candles that leap, crawl, stand still and stop trading, at any height of price."""
    steps = st.lists(st.sampled_from([-0.5, -0.01, -0.001, 0.0, 0.0, 0.001, 0.01, 0.9]), min_size=8, max_size=120)
    lots = st.lists(st.sampled_from([0.0, 1.0, 50.0, 1e9]), min_size=3, max_size=120)
    height = draw(st.sampled_from([1e-9, 0.01, 1.0, 60_000.0]))
    returns, volume = np.resize(draw(steps), 120), np.resize(draw(lots), 120)
    log_price = np.clip(np.cumsum(np.log1p(returns)), -12, 12)      # a factor of 160,000 either way
    return candles_from(height * np.exp(log_price), volume=volume, wick=draw(st.sampled_from([0.0, 0.001])))


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dropper]:
    """Put a file beside the built-in strategies; returns its name."""
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    dropped: list[str] = []

    def put(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        dropped.append(name)
        return name

    yield put
    for name in dropped:
        sys.modules.pop(f"trading.strategies.{name}", None)
        vars(strategies).pop(name, None)


def share_signalling(name: str, markets: list[Candles], side: Side | None = None) -> float:
    """Which part of *markets* has a strong signal (of *side*) in one of its last twenty candles."""
    strategy, wanted = load(name), 0
    for candles in markets:
        scores = strategy.score(candles)[-20:]
        if side is not None:
            scores = scores * side.sign
        else:
            scores = np.abs(scores)
        wanted += bool((scores >= THRESHOLD).any())
    return wanted / len(markets)


@EACH
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_score_never_knows_the_future(name: str, seed: int) -> None:
    """Cutting off what came later leaves every earlier score as it was."""
    strategy, candles = load(name), noise(seed, 300)
    whole = strategy.score(candles)
    for count in range(40, 300, 37):
        np.testing.assert_allclose(strategy.score(first(candles, count)), whole[:count], rtol=0, atol=1e-9)


@EACH
def test_scores_are_one_per_candle_within_one(name: str) -> None:
    """And zero, not NaN, where there is not enough past; no candles are no scores."""
    strategy = load(name)
    scores = strategy.score(noise(4, 500))
    assert scores.shape == (500,)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() <= 1
    assert not scores[:15].any()
    assert strategy.score(first(noise(4), 0)).shape == (0,)
    assert not strategy.score(first(noise(4), 5)).any()


@EACH
@settings(max_examples=40)
@given(market=wild_markets(), cut=st.integers(60, 119))
def test_whatever_a_market_does_a_score_is_a_score(name: str, market: Candles, cut: int) -> None:
    """Leaps, standstills, no volume at all: finite, within one, blind to the future, with reasons in words."""
    strategy = LOADED[name]
    scores = strategy.score(market)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(strategy.score(first(market, cut)), scores[:cut], rtol=0, atol=1e-9)
    for index in (-1, cut):
        for reason in strategy.reasons(market, index):
            assert reason
            assert not re.search(r"\b(nan|inf)\b", reason)


@EACH
def test_a_market_turned_over_is_scored_the_other_way(name: str) -> None:
    """Long and short are judged alike: the mirrored path has the opposite score."""
    candles = noise(5, 400)
    upside_down = candles_from(200 - candles.close, volume=candles.volume, wick=0)
    upright = candles_from(candles.close, volume=candles.volume, wick=0)
    strategy = load(name)
    np.testing.assert_allclose(strategy.score(upright), -strategy.score(upside_down), atol=1e-9)


@EACH
@pytest.mark.parametrize("power", [-34, 20])
def test_a_score_does_not_depend_on_the_unit_of_price(name: str, power: int) -> None:
    """A coin at 0.000000006 is scored like one at 100 or 100 million."""
    candles = noise(6)
    scaled = candles_from(candles.close * 2.0**power, volume=candles.volume)
    np.testing.assert_allclose(load(name).score(scaled), load(name).score(candles), atol=1e-9)


@EACH
@pytest.mark.parametrize("volume", [0.0, 100.0])
def test_a_market_that_stands_still_has_no_signal(name: str, volume: float) -> None:
    """Neither one without a move nor one without a trade."""
    still = candles_from([100.0] * 200, volume=volume, wick=0)
    assert not load(name).score(still).any()
    assert signal_at(load(name), still) is None


@pytest.mark.parametrize(("direction", "side"), [(1, Side.LONG), (-1, Side.SHORT)])
def test_trend_acts_in_a_trend_and_on_its_side(direction: int, side: Side) -> None:
    """Most trending pairs give a strong signal with the trend within minutes, few one against it."""
    markets = [trending(seed, direction) for seed in SEEDS]
    against = Side.SHORT if side is Side.LONG else Side.LONG
    assert share_signalling("trend", markets, side) > 0.6
    assert share_signalling("trend", markets, against) < 0.2


def test_breakout_acts_where_a_trend_begins() -> None:
    """A rising pair breaks out upwards again and again."""
    markets = [trending(seed, 1) for seed in SEEDS]
    assert share_signalling("breakout", markets, Side.LONG) > 0.6
    assert share_signalling("breakout", markets, Side.SHORT) < 0.2


def test_mean_reversion_acts_in_a_range_and_keeps_out_of_trends() -> None:
    """It has more to say of a range than of a trend."""
    assert share_signalling("mean_reversion", [ranging(seed) for seed in SEEDS]) > 0.6
    assert share_signalling("mean_reversion", [trending(seed, 1) for seed in SEEDS], Side.SHORT) < 0.35


def test_mean_reversion_bets_on_the_way_back() -> None:
    """In a range the price has mostly come back towards its mean ten minutes after a strong score."""
    strategy, came_back = load("mean_reversion"), []
    for seed in SEEDS:
        candles = ranging(seed, 400)
        scores, close = strategy.score(candles), candles.close
        for n in np.flatnonzero(np.abs(scores[:-10]) >= THRESHOLD):
            came_back.append((close[n + 10] - close[n]) * scores[n] > 0)
    assert len(came_back) > 100
    assert np.mean(came_back) > 0.7


def test_trend_says_why() -> None:
    """Its reasons are the numbers a person would look at."""
    signals = [signal_at(load("trend"), trending(seed, 1)) for seed in SEEDS]
    signal = max((signal for signal in signals if signal), key=lambda signal: signal.score)
    assert signal.side is Side.LONG
    assert signal.atr > 0
    above, momentum, rsi, volume = signal.reasons
    assert re.fullmatch(r"EMA 9 above EMA 21 by \d\.\d\d%", above)
    assert momentum == "MACD above its signal"
    assert re.fullmatch(r"RSI [67]\d", rsi)
    assert re.fullmatch(r"volume \d\.\d times its average", volume)


def test_trend_does_not_run_after_what_has_run_already() -> None:
    """A straight rise has an RSI of 100: too late."""
    straight = candles_from(100 * 1.002 ** np.arange(120))
    assert not load("trend").score(straight)[60:].any()
    assert load("trend", {"overbought": 101.0}).score(straight)[60:80].max() > 0.3


def test_breakout_says_where_it_broke_out() -> None:
    """Up, down or not at all."""
    flat = [100.0] * 50
    up, down = candles_from([*flat, 103.0], wick=0), candles_from([*flat, 97.0], wick=0)
    assert load("breakout").reasons(up, -1)[0] == "close 3.00% above the high of 20 candles"
    assert load("breakout").reasons(down, -1)[0] == "close 3.00% below the low of 20 candles"
    assert load("breakout").reasons(candles_from(flat, wick=0), -1)[0] == "close within the range of 20 candles"
    assert load("breakout").score(up)[-1] > THRESHOLD
    assert load("breakout").score(down)[-1] < -THRESHOLD


def test_breakout_wants_volume() -> None:
    """The same breakout on half the usual volume is none."""
    thin = candles_from([100.0] * 50 + [103.0], volume=[100.0] * 50 + [50.0])
    assert not load("breakout").score(thin).any()


def test_mean_reversion_says_why() -> None:
    """Bands, RSI and the absence of a trend."""
    strategy = load("mean_reversion")
    candles = ranging(7, 400)
    index = int(np.argmax(strategy.score(candles)))
    reasons = strategy.reasons(candles, index)
    assert re.fullmatch(r"\d+% of the way to the lower Bollinger band", reasons[0])
    assert re.fullmatch(r"no strong trend, ADX [12]?\d", reasons[2])


@EACH
def test_a_signal_needs_enough_candles(name: str) -> None:
    """One candle short of what the strategy asks for is no opinion."""
    strategy = load(name)
    enough = max(strategy.min_candles, 15)
    candles = next(c for seed in range(200) if strategy.score(c := noise(seed, enough))[-1])
    assert signal_at(strategy, candles) is not None
    assert signal_at(strategy, first(candles, enough - 1)) is None


# ---- a person's own ---------------------------------------------------------------------------------


def test_the_example_of_the_page_runs_as_it_stands(drop: Dropper) -> None:
    """Copied from docs/STRATEGIES.md into a file, named, it scores and gives reasons."""
    page = PAGE.read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(code) == 1
    settings = re.search(r"strategy: (\w+)\n  params: {(\w+): (\d+)}", page)
    assert settings is not None
    strategy = load(drop(settings[1], code[0]), {settings[2]: int(settings[3])}, candles=200)
    readings = [read(strategy, noise(seed), 0) for seed in range(200)]
    signals = [reading.opinion() for reading in readings]
    assert {signal.side for signal in signals if signal} == {Side.LONG, Side.SHORT}
    reasons = next(signal.reasons for signal in signals if signal)
    assert re.fullmatch(r"close [+-]\d\.\d\d% from EMA 100", reasons[0])


def test_every_strategy_named_on_the_page_exists() -> None:
    """The table lists the built-in ones, and nothing else is built in."""
    assert tuple(sorted(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M))) == BUILT_IN == names()


def test_a_dropped_file_is_found_by_its_name(drop: Dropper) -> None:
    """Its parameters are its own; files with an underscore are not strategies."""
    drop("_shared", "x = 1")
    assert names() == BUILT_IN
    name = drop("always", a_file())
    assert name in names()
    assert load(name).score(noise(1))[0] == 0.5
    assert load(name, {"size": -1}).score(noise(1))[0] == -1


@pytest.mark.parametrize(("name", "params", "said"), [
    ("trnd", {}, "scanner.strategy: there is no strategy trnd; there are breakout, mean_reversion, trend"),
    ("../trend", {}, "there is no strategy"),
    ("trend", {"quick": 1}, "scanner.params: trend has no quick; it has atr_period, fast"),
    ("trend", {"fast": "nine"}, "scanner.params: trend wants fast to be int, not 'nine'"),
    ("trend", {"fast": 9.5}, "scanner.params: trend wants fast to be int, not 9.5"),
    ("trend", {"fast": True}, "scanner.params: trend wants fast to be int, not True"),
    ("trend", {"fast": 30}, "scanner.params: trend does not work: fast must be above 1 and below slow"),
    ("trend", {"rsi_period": 0}, "scanner.params: trend does not work: "),
    ("breakout", {"period": 10**9}, "scanner.candles: breakout needs 1000000002 of them, not 200"),
])
def test_a_wrong_name_or_parameter_says_what_would_be_right(
    name: str, params: dict[str, object], said: str
) -> None:
    """One line, with the key of config.yaml it is about."""
    with pytest.raises(ConfigError, match="^scanner") as caught:
        load(name, params, candles=200)
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [
    ("def :", "cannot be read: SyntaxError"),
    ("import no_such_module_of_ours", "cannot be read: ModuleNotFoundError"),
    ("Strategy = 3", "defines no dataclass named Strategy"),
    ("class Strategy: pass", "defines no dataclass named Strategy"),
    (a_file("1 / 0"), "does not work: division by zero"),
    (a_file("np.zeros(3)"), "is not an array of 240 floats"),
    (a_file("[0.0] * len(candles)"), "is not an array of 240 floats"),
    (a_file("candles.close"), "leaves the range from -1 to 1"),
    (a_file("candles.close / candles.close.max()"), "it knows the future"),
    (a_file("np.sign(np.append(np.diff(candles.close), 0.0))"), "it knows the future"),
    (a_file(reasons="'because'"), "reasons are not a tuple of texts"),
])
def test_a_faulty_file_is_refused_before_it_trades(drop: Dropper, text: str, said: str) -> None:
    """Whatever is wrong with it, in one line that names the file."""
    with pytest.raises(ConfigError, match=f"^scanner.strategy: faulty.*{re.escape(said)}"):
        load(drop("faulty", text))
