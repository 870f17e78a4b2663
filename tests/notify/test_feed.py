"""The feed of events: numbered, bounded, told by any thread without waiting."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest

from control.event_views import event_view
from runtime.events import EventFeed
from tests.crowd import PATIENCE_S, all_at_once
from tests.manual_clock import ManualClock
from tests.no_lock import NoLock
from trading.events import WORDS, Kind, Level

D = Decimal


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_reader_gets_what_came_after_the_last_it_saw(clock: ManualClock) -> None:
    """By number, oldest first, and nothing twice."""
    feed = EventFeed(clock)
    start = feed.latest
    for name in ("one", "two", "three"):
        feed.publish(Kind.TROUBLE, what=name)
    first, second, third = feed.after(start)
    assert [first.number, second.number, third.number] == [start + 1, start + 2, start + 3]
    assert feed.after(first.number) == (second, third)
    assert feed.after(third.number) == ()
    assert feed.after(third.number + 10) == ()


def test_a_slow_reader_sees_from_the_numbers_what_it_missed(clock: ManualClock) -> None:
    """The oldest give way; whoever publishes waits for nobody."""
    feed = EventFeed(clock, kept=3)
    start = feed.latest
    for number in range(10):
        feed.publish(Kind.TROUBLE, what=str(number))
    assert [event.number - start for event in feed.after(start)] == [8, 9, 10]


def test_numbers_go_on_growing_over_a_restart(clock: ManualClock) -> None:
    """A page that was open before it does not wait for numbers that come no more."""
    before = EventFeed(clock)
    for _ in range(5):
        before.publish(Kind.PAUSED)
    clock.advance(1)
    assert EventFeed(clock).latest > before.latest


def test_a_waiting_reader_is_woken_by_the_next_event(clock: ManualClock) -> None:
    """At once, not when its time is up."""
    feed = EventFeed(clock)
    start, found = feed.latest, []
    reader = threading.Thread(target=lambda: found.extend(feed.wait_after(start, 60)), name="reader")
    reader.start()
    clock.await_sleepers(1)
    feed.publish(Kind.PAUSED)
    reader.join(PATIENCE_S)
    assert [event.kind for event in found] == [Kind.PAUSED]


@pytest.mark.parametrize("end", [lambda feed, clock: feed.close(), lambda feed, clock: clock.advance(60)])
def test_a_wait_ends_with_its_time_and_with_the_feed(clock: ManualClock, end: Any) -> None:
    """No reader waits for ever."""
    feed = EventFeed(clock)
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.append(feed.wait_after(feed.latest, 60)), name="reader")
    reader.start()
    clock.await_sleepers(1)
    end(feed, clock)
    reader.join(PATIENCE_S)
    assert found == [()]


def test_events_of_many_threads_are_numbered_without_gap_or_double(clock: ManualClock) -> None:
    """Each gets a number of its own."""
    feed = EventFeed(clock)
    start = feed.latest

    def tell() -> None:
        for _ in range(50):
            feed.publish(Kind.PAUSED)

    all_at_once(*[tell] * 8)
    assert [event.number - start for event in feed.after(start)] == list(range(1, 401))


ALONE_S = 0.5                    # under the lock nobody comes


class MeetingFeed(EventFeed):
    """Two that publish at once meet wherever one reads the number of the latest."""

    def __init__(self, clock: ManualClock) -> None:
        self._meeting = threading.Barrier(2)
        super().__init__(clock)

    @property  # type: ignore[misc]
    def _latest(self) -> int:
        found: int = self.__dict__["number"]
        try:
            self._meeting.wait(ALONE_S)
        except threading.BrokenBarrierError:
            self._meeting.reset()
        return found

    @_latest.setter
    def _latest(self, number: int) -> None:
        self.__dict__["number"] = number


def numbers_of_two_at_once(feed: Any) -> list[int]:
    """Let two threads publish and return the numbers of what they did."""
    all_at_once(*[lambda: feed.publish(Kind.PAUSED)] * 2)
    return sorted(event.number for event in feed._events)


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that each field is touched under its lock would speak before the numbers do."""
    monkeypatch.setattr("runtime.events.guard", lambda *_: None)


def test_two_that_publish_at_once_get_two_numbers(clock: ManualClock, unguarded: None) -> None:
    """The lock is held from the number's being read until the event stands in its place."""
    first, second = numbers_of_two_at_once(MeetingFeed(clock))
    assert second == first + 1


def test_two_that_publish_without_the_lock_get_one(clock: ManualClock, unguarded: None) -> None:
    """The mutant: with the lock taken away the test above would fail."""
    mutant: Any = MeetingFeed(clock)
    mutant._lock = mutant._news = NoLock()
    first, second = numbers_of_two_at_once(mutant)
    assert first == second


def test_the_sentence_is_made_by_the_reader(clock: ManualClock) -> None:
    """Whoever publishes hands over facts; nothing of them is worded on an exit's way."""
    class Unready:
        def __format__(self, _spec: str) -> str:
            raise AssertionError("worded by the publisher")

    feed = EventFeed(clock)
    feed.publish(Kind.TROUBLE, what=Unready())
    assert "Unready" in feed.after(0)[-1].text       # and a bad one costs nothing but its own words


def test_a_level_may_be_another_than_rads_own(clock: ManualClock) -> None:
    """As config.yaml says; the end of a trouble is never grave."""
    feed = EventFeed(clock, levels={Kind.EXIT: Level.CRITICAL})
    feed.publish(Kind.EXIT)
    feed.publish(Kind.NAKED)
    feed.publish(Kind.NAKED, over=True)
    assert [event.level for event in feed.after(0)] == [Level.CRITICAL, Level.CRITICAL, Level.INFO]


def test_an_exit_as_sentence_and_as_json(clock: ManualClock) -> None:
    """Profit in the quote currency and in R, with the reason."""
    feed = EventFeed(clock)
    feed.publish(
        Kind.EXIT, "BTC/USDT:USDT", side="long", reason="trailing_stop", quantity=D(3), entry=D("50000"),
        price=D("50500.512345678"), pnl=D("1.2345"), fee=D("0.1"), r=D("0.5"), held_s=61.4,
    )
    view = event_view(feed.after(0)[0])
    assert view["text"] == (
        "BTC/USDT:USDT closed long (trailing stop): +1.23 USDT before funding, +0.50 R; 50000 to 50500.5123,"
        " held 61 s"
    )
    assert (view["kind"], view["level"], view["over"]) == ("exit", "info", False)
    assert view["fields"]["pnl"] == "1.2345"
    assert view["at"] == "2023-11-14T22:13:20.000Z"


def test_every_kind_has_words() -> None:
    """None can be published that nobody could read."""
    assert set(WORDS) == set(Kind)
