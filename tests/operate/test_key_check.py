"""A key that can carry money away trades only when somebody has said so in full."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.key_check import RETRY_S, KeyCheck
from runtime.options import KEY_OVERRIDE, parse_run_options
from sandbox.embedded import RunningSandbox
from tests.daemon_process import Daemon, rad
from tests.manual_clock import ManualClock
from trading.errors import AuthenticationFailed, ConfigError, ExchangeUnavailable


class Key:
    """What the exchange says of it; an error is raised once, then the rest is answered."""

    def __init__(self, *permissions: str, errors: tuple[Exception, ...] = ()) -> None:
        self.permissions = frozenset(permissions)
        self.errors = list(errors)
        self.asked = 0

    def fetch(self) -> Key:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return self


def a_check(key: Key, clock: ManualClock, *, needed: bool = True, overridden: bool = False) -> KeyCheck:
    return KeyCheck(key.fetch, clock, needed=needed, overridden=overridden)


def test_nothing_is_entered_until_it_is_known(clock: ManualClock) -> None:
    """An answer that does not come is neither yes nor no: it is asked again, and until then blocks entries."""
    key = Key("General", "Futures", errors=(ExchangeUnavailable("no answer"),))
    check = a_check(key, clock)
    assert check.trouble
    check.look_if_due()
    assert check.trouble
    check.look_if_due()
    assert key.asked == 1                              # not in every turn of the main loop
    clock.advance(RETRY_S)
    check.look_if_due()
    assert (check.trouble, key.asked) == ("", 2)
    clock.advance(RETRY_S)
    check.look_if_due()
    assert key.asked == 2                              # once is enough


def test_a_key_that_moves_money_is_refused(clock: ManualClock) -> None:
    """The refusal names what it can do and how to allow it, and entries stay blocked."""
    check = a_check(Key("General", "Futures", "Transfer"), clock)
    with pytest.raises(ConfigError, match=f"Transfer.*{KEY_OVERRIDE}"):
        check.look_if_due()
    assert check.trouble


def test_allowed_in_full_it_trades_and_is_noted(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    key = Key("General", "Futures", "Transfer", errors=(ExchangeUnavailable("no answer"),))
    check = a_check(key, clock, overridden=True)
    check.look_if_due()
    assert check.trouble == ""                         # whatever it may do is allowed already
    clock.advance(RETRY_S)
    with caplog.at_level(logging.WARNING):
        check.look_if_due()
    assert check.trouble == ""
    assert KEY_OVERRIDE in caplog.text


def test_a_refused_key_ends_it(clock: ManualClock) -> None:
    """That is an answer, unlike silence."""
    with pytest.raises(AuthenticationFailed):
        a_check(Key(errors=(AuthenticationFailed("no", code="400003"),)), clock).look_if_due()


def test_play_money_asks_nothing(clock: ManualClock) -> None:
    key = Key()
    check = a_check(key, clock, needed=False)
    check.look_if_due()
    assert (check.trouble, key.asked) == ("", 0)


def test_the_word_has_to_be_said_in_full() -> None:
    """No abbreviation allows it."""
    assert parse_run_options([KEY_OVERRIDE]).any_key
    assert not parse_run_options([]).any_key
    with pytest.raises(ConfigError):
        parse_run_options([KEY_OVERRIDE[:-4]])


@pytest.mark.process
def test_run_live_refuses_it(
    live: Callable[..., dict[str, str]], exchange: RunningSandbox, tmp_path: Path
) -> None:
    """The daemon ends with exit code 4 and the reason, and has sent no order."""
    keys = live(permissions=["General", "Futures", "Transfer"])
    settings = {
        "EXCHANGE__FUTURES_URL": exchange.futures_url, "EXCHANGE__SPOT_URL": exchange.spot_url,
        **{f"KUCOIN_API_{name.upper()}": value for name, value in keys.items()},
    }
    with Daemon(tmp_path, "--mode", "live", "--live", **settings) as daemon:
        assert daemon.await_end() == 4
        assert "can move money out of the account (Transfer)" in daemon.text()
        assert KEY_OVERRIDE in daemon.text()
    assert not exchange.history("order_accepted")
    assert json.loads(rad(tmp_path, "positions", "--json", **settings).stdout) == []
