"""An exchange, and RAD's settings pointed at it with a key."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.embedded import RunningSandbox, run_sandbox
from tests.sandbox.fake_market import FakeMarket

NUMBERS = itertools.count()        # no two tests share an account


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningSandbox]:
    """A sandbox that stands still; what a test changes it puts back."""
    with run_sandbox(FakeMarket(), match_delay_ms=0.0, visibility_delay_ms=0.0) as running:
        yield running


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting and no key from outside, and a data folder of the test's own."""
    for name in os.environ:
        if name.startswith(("RAD_", "KUCOIN_")) and name != "RAD_LOCK_CHECK":
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()


@pytest.fixture
def live(
    clean: None, exchange: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, str]]:
    """Point mode live at the exchange with a key of one's own; returns key, secret and passphrase."""
    def point(**wish: Any) -> dict[str, str]:
        keys = {
            "key": f"65f0c0ffee01234567{next(NUMBERS):06d}", "secret": "1f2e3d4c-5b6a-7988-9a0b-0c1d2e3f4a5b",
            "passphrase": "correct horse",
        }
        exchange.control("keys", {**keys, **wish})
        monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", exchange.futures_url)
        monkeypatch.setenv("RAD_EXCHANGE__SPOT_URL", exchange.spot_url)
        monkeypatch.setenv("RAD_EXCHANGE__DEADLINE", "2s")
        monkeypatch.setenv("RAD_SCANNER__MIN_VOLUME_24H", "none")
        for name, value in keys.items():
            monkeypatch.setenv(f"KUCOIN_API_{name.upper()}", value)
        return keys

    return point
