"""How the daemon's parts are put together, or why not."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import bot
from daemon import building
from daemon.house import PRICED_BY_NOBODY, PRICED_BY_REST, House
from daemon.recovery import know_traded, recover
from runtime.options import RunOptions
from runtime.prices import PriceBook
from tests.built_house import a_built_house
from tests.crowd import PATIENCE_S, crowd
from tests.manual_clock import ManualClock
from tests.runtime.journal_facts import a_position, a_trade
from trading.errors import ConfigError, ExchangeUnavailable, JournalError


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that is not there yet."""
    folder = tmp_path / "data"
    monkeypatch.setenv("RAD_DATA_DIR", str(folder))
    return folder


@pytest.mark.parametrize(
    ("variable", "value"), [("STRATEGY", "nope"), ("PARAMS", "{fasst: 9}"), ("CANDLES", "30")]
)
def test_a_strategy_that_does_not_work_starts_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """No exchange is started for it, no log begun, and nothing written."""
    monkeypatch.setenv(f"RAD_SCANNER__{variable}", value)
    started: list[object] = []
    monkeypatch.setattr(building.ExchangeProcess, "start", started.append)
    with pytest.raises(ConfigError, match=r"^scanner\."):
        building.build(RunOptions())
    assert not started
    assert not data_dir.exists()


@pytest.mark.parametrize("version", ["2", "3"])
def test_the_settings_key_version_is_signed_with(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """A newer kind of key is a setting away."""
    monkeypatch.setenv("RAD_EXCHANGE__KEY_VERSION", version)
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    with a_built_house() as built:
        assert built.client.stream_config()["options"]["keyVersion"] == version


def test_no_secret_gets_into_the_journal(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that quotes the key, which `./rad report` would print."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KUCOIN_API_KEY", "planted-key-4711")
    with a_built_house() as built:
        built.journal.record_event("exit_refused", "the key planted-key-4711 may not trade", "BTC/USDT:USDT")
        (event,) = built.journal.events()
    assert event.message == "the key *** may not trade"


def test_threads_hand_over_quickly(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon sets the interpreter's switch interval before it does anything else."""
    before = sys.getswitchinterval()
    monkeypatch.setenv("RAD_SCANNER__STRATEGY", "nope")
    try:
        assert bot.run(RunOptions()) == bot.BAD_CONFIG
        assert sys.getswitchinterval() == pytest.approx(0.001)
    finally:
        sys.setswitchinterval(before)


def test_the_end_waits_for_a_flatten_under_way(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal and wire are not taken from under closes that somebody has asked for."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    closing, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    in_time: list[bool] = []

    def close(_symbol: str, _reason: object) -> None:
        closing.set()
        go_on.wait(PATIENCE_S)
        closed.set()

    with a_built_house() as built:
        monkeypatch.setattr(built.manager, "close_position", close)
        built.start_pools()
        with crowd(lambda: built.close_all(["BTC/USDT:USDT"])):
            assert closing.wait(PATIENCE_S)
            assert not built.finish_exits(0.01)
            with crowd(lambda: in_time.append(built.finish_exits(PATIENCE_S) and closed.is_set())):
                go_on.set()
        assert in_time == [True]


def followed(built: House, monkeypatch: pytest.MonkeyPatch, symbol: str) -> tuple[PriceBook, ManualClock]:
    """Have *built* hold *symbol*, on a clock of ours; who is asked for prices over REST has none."""
    clock = ManualClock()
    prices = PriceBook(clock)
    monkeypatch.setattr(built, "clock", clock)
    monkeypatch.setattr(built, "prices", prices)
    monkeypatch.setattr(built.price_pool, "submit", lambda *_: built._stale_asking.clear())
    prices.follow([symbol])
    return prices, clock


def test_what_is_newly_held_does_not_keep_an_old_silence_alive(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is well again once it pushes about what is held, whoever is taken up meanwhile; and no market
    in which nothing moves is an alarm."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    with a_built_house() as built:
        prices, clock = followed(built, monkeypatch, "OLD")
        clock.advance(6)
        built.ask_for_stale_prices()
        assert "prices" in {trouble.what for trouble in built.status.troubles()}
        for number in range(6):
            prices.publish_mark("OLD", Decimal(1))
            prices.follow(["OLD", f"NEW{number}"])
            clock.advance(1)
            built.ask_for_stale_prices()
        assert set(prices.stale(2)) == {"OLD", "NEW5"}
        assert not built.status.troubles()


def test_who_wants_fresh_prices_is_not_told_of_silence_each_second(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon a price counts as old: between two pushes of what a quiet market is valued at lies a second."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RAD_MONITOR__STALE_AFTER", "500ms")
    with a_built_house() as built:
        prices, clock = followed(built, monkeypatch, "QUIET")
        for _ in range(6):
            clock.advance(1)
            built.ask_for_stale_prices()
            prices.publish_mark("QUIET", Decimal(1))
        assert not built.status.troubles()


def test_prices_that_nobody_has_are_not_said_to_come_by_rest(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the exchange is away altogether the sentence says what is left: the stops that rest there."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    with a_built_house() as built:
        prices, clock = followed(built, monkeypatch, "HELD")
        monkeypatch.setattr(built.price_pool, "submit", lambda call, _: call())

        def said_after(answer: Callable[..., dict[str, Any]]) -> list[str]:
            monkeypatch.setattr(built.client, "fetch_tickers", answer)
            clock.advance(5)
            built.ask_for_stale_prices()               # the call that this makes is known of at the next look
            clock.advance(2)
            built.ask_for_stale_prices()
            return built.problems()

        def away(_: object) -> dict[str, Any]:
            raise ExchangeUnavailable("no answer")

        assert said_after(away) == [f"prices: {PRICED_BY_NOBODY}"]
        assert f"prices: {PRICED_BY_REST}" in said_after(lambda _: {})


def test_funding_is_not_asked_for_while_a_stop_has_filled(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exchange has just closed is booked first, however many trades miss their funding."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    asked: list[str] = []
    with a_built_house() as built:
        monkeypatch.setattr(built.journal, "trades_without_funding", lambda *_: (a_trade(funding_known=False),))
        monkeypatch.setattr(built.client, "fetch_funding", lambda symbol, *_: asked.append(symbol) or ())
        built.look_soon.set()
        built.funding.look_up()
        assert not asked
        built.look_soon.clear()
        built.funding.look_up()
        assert len(asked) == 1


def test_no_exit_waits_for_contracts_of_what_is_closed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start asks about what is held before it watches it, and about what it has closed only then."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    asked: list[str] = []
    with a_built_house() as built:
        monkeypatch.setattr(built.client, "know_again", lambda held: asked.append(held.position_id))
        built.journal.save_position(a_position("open"))
        built.journal.record_execution("", (), a_position("closed"), a_trade("closed", funding_known=False))
        assert recover(built) == 1
        assert asked == ["open"]
        know_traded(built.client, built.journal, built.clock.now_ms())
        assert asked == ["open", "closed"]


def test_a_journal_that_goes_away_at_the_start_ends_nobody(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is open is watched by then: contracts of what is closed are not worth leaving it for."""
    def unreadable(*_: object) -> None:
        raise JournalError("the server has gone")

    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    with a_built_house() as built:
        monkeypatch.setattr(built.journal, "trades_without_funding", unreadable)
        know_traded(built.client, built.journal, built.clock.now_ms())
    assert "the journal cannot be read error=the server has gone" in caplog.text
