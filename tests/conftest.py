"""What every test shares: strict locks, and the data folder where there is one."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import locks
from runtime.lock_rules import LOCKS, forget_breaches
from tests.manual_clock import ManualClock
from tests.postgres import postgres

__all__ = ["postgres"]      # a fixture that is known to every test by being here

SHARED = Path(__file__).resolve().parents[2] / "shared"


FIRST = "tests/test_standby.py"       # its scenarios begin all at once: two workers would have them twice

gc.disable()            # a fifth of the time it takes to load all modules, and thousands of tests


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what must not be shared out: of the tests that wait, a worker gives away the last."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def pytest_collection_finish() -> None:
    """Let the collector pass over what is loaded by now, and begin."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _strict_locks() -> Iterator[None]:
    """A broken lock rule raises in every test."""
    locks.make_strict()
    locks.watch_io(locks.assert_no_lock_held)
    make_record = logging.getLogRecordFactory()

    def checked(name: str, *facts: Any, **more: Any) -> logging.LogRecord:
        if name != LOCKS:
            locks.assert_no_lock_held("a log line")
        return make_record(name, *facts, **more)

    logging.setLogRecordFactory(checked)
    yield
    logging.setLogRecordFactory(make_record)
    locks.make_strict(False)


@pytest.fixture(autouse=True)
def _no_log_left_running() -> Iterator[None]:
    """What a test leaves to catch its lines, and its threads' exceptions, would catch those of the next."""
    root, hook = logging.getLogger(), threading.excepthook
    before = set(root.handlers)
    yield
    assert set(root.handlers) <= before
    assert threading.excepthook is hook


@pytest.fixture(autouse=True)
def _no_breach_of_another_test() -> Iterator[None]:
    """What one test breaks on purpose is no trouble of the next one's daemon."""
    yield
    forget_breaches()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with recorded candles and KuCoin's own specification, beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: recorded candles and KuCoin's schemas are not here")
    return SHARED
