"""What is known of the contracts stays whole, whoever learns of new ones at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kucoin.endpoints import Endpoint
from kucoin.known import KnownInstruments
from runtime import locks
from runtime.clock import SystemClock
from tests.builders import an_instrument
from tests.crowd import all_at_once, frequent_switches
from tests.no_lock import NoLock
from trading.facts import Instrument, Priority

NAMES = ("AAA/USDT:USDT", "BBB/USDT:USDT")


class Known(KnownInstruments):
    """Learns from its caller instead of the exchange."""

    def __init__(self) -> None:
        super().__init__(None, SystemClock())  # type: ignore[arg-type]  # no wire

    def _call(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> Any:
        raise AssertionError("nobody is asked")

    def learn(self, *symbols: str, complete: bool = False) -> None:
        self._learn({s: (an_instrument(s), {}) for s in symbols}, complete=complete)


class MeetingCache(dict[str, Instrument]):
    """What is known so far; two that copy it meet before either puts its own in its place."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier = threading.Barrier(2)

    def items(self) -> Any:
        try:
            self._barrier.wait(1.0)      # alone under the lock nobody comes
        except threading.BrokenBarrierError:
            pass
        return super().items()


@pytest.fixture
def mutant() -> Iterator[Any]:
    """One whose lock locks nothing."""
    locks.make_strict(False)
    known: Any = Known()
    known._metadata_lock = NoLock()
    yield known
    locks.make_strict(True)


def known_after_both(known: Any) -> int:
    """Let two threads learn of a contract each; return how many are known then."""
    known._symbol_metadata_cache = MeetingCache()
    all_at_once(*[lambda name=name: known.learn(name) for name in NAMES])
    return len(known.instruments())


def test_two_that_learn_at_once_are_both_kept() -> None:
    """Each adds to what is known: neither puts the other's contract out."""
    locks.make_strict(False)             # the meeting cache is no guarded one
    try:
        assert known_after_both(Known()) == 2
    finally:
        locks.make_strict(True)


def test_two_that_learn_without_the_lock_lose_one(mutant: Any) -> None:
    """The mutant: with the metadata lock taken away the test above would know one contract."""
    assert known_after_both(mutant) == 1


def test_readers_see_one_list_or_the_next() -> None:
    """A list that is replaced while it is read is never half of two."""
    known = Known()
    known.learn(*NAMES)
    lists = [{"AAA/USDT:USDT": True, "BBB/USDT:USDT": True}, {"AAA/USDT:USDT": True, "BBB/USDT:USDT": False}]

    def replace() -> None:
        for turn in range(200):
            known.learn(*NAMES[:1 + turn % 2], complete=True)

    def read() -> None:
        for _ in range(200):
            assert {name: found.tradable for name, found in known.instruments().items()} in lists

    with frequent_switches():
        all_at_once(replace, read, read)
