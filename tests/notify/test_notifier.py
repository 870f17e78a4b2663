"""Messages: brought by a thread of each outlet's own, folded, bounded, tried again, and never in the way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.events import EventFeed
from runtime.notifier import FOLD_S, MOST_LINES, MOST_WAITING, RETRY_S, Message, Notifier, Outlet
from tests.crowd import PATIENCE_S
from tests.manual_clock import ManualClock
from trading.events import Event, Kind, Level, NotifyRules

THEN = "14 Nov 22:13:20"          # when the clock of these tests begins


class Service:
    """Takes messages, or gives the reason in *refusal*, or hangs until *answering*."""

    def __init__(self) -> None:
        self.took: queue.Queue[Message] = queue.Queue()
        self.asked: queue.Queue[Message] = queue.Queue()
        self.refusal = ""
        self.raises: Exception | None = None
        self.answering = threading.Event()
        self.answering.set()

    def __call__(self, message: Message) -> str:
        self.asked.put(message)
        assert self.answering.wait(PATIENCE_S)
        if self.raises is not None:
            raise self.raises
        if not self.refusal:
            self.took.put(message)
        return self.refusal

    def next(self) -> str:
        return self.took.get(timeout=PATIENCE_S).body


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class WatchedFeed(EventFeed):
    """A feed that can be waited for until its one reader has read everything and acted on it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._asked = threading.Condition()
        self._asked_after = -1
        self._manual = clock

    def wait_after(self, number: int, timeout_s: float) -> tuple[Event, ...]:
        with self._asked:
            self._asked_after = number
            self._asked.notify_all()
        return super().wait_after(number, timeout_s)

    def settle(self) -> None:
        """Block until there is nothing left to do before news comes or time passes."""
        latest = self.latest
        with self._asked:
            assert self._asked.wait_for(lambda: self._asked_after == latest, PATIENCE_S)
        self._manual.await_sleepers(1)


@pytest.fixture
def feed(clock: ManualClock) -> WatchedFeed:
    return WatchedFeed(clock)


Start = Callable[..., Outlet]


@pytest.fixture
def start(clock: ManualClock, feed: WatchedFeed) -> Iterator[Start]:
    """Start an outlet; it is ended at the end."""
    running: list[Outlet] = []

    def starter(service: Service, *, name: str = "phone", rules: NotifyRules | None = None) -> Outlet:
        outlet = Outlet(
            name, service, feed, clock, rules=rules or NotifyRules(), title="RAD test",
            redact=lambda text: text.replace("hunter2", "***"),
        )
        outlet.start()
        running.append(outlet)
        return outlet

    yield starter
    assert Notifier(running, clock).stop(feed, PATIENCE_S)


def test_an_event_becomes_a_message(clock: ManualClock, feed: WatchedFeed, start: Start) -> None:
    """The title says whose money it is, and how grave it is when it is."""
    service = Service()
    start(service)
    feed.publish(Kind.NAKED, "BTC/USDT:USDT")
    message = service.took.get(timeout=PATIENCE_S)
    assert message == Message(
        title="RAD test critical", body="BTC/USDT:USDT has no stop on the exchange", level=Level.CRITICAL
    )


def test_repeats_are_counted_and_said_once(clock: ManualClock, feed: WatchedFeed, start: Start) -> None:
    """The first at once, the others together when the window ends; numbers in the words may differ."""
    service = Service()
    start(service)
    for number in range(15):
        feed.publish(Kind.EXCHANGE, what=f"no answer for {number} s")
    assert service.next() == "the exchange does not answer: no answer for 0 s"
    feed.settle()
    clock.advance(FOLD_S)
    assert service.next() == f"{THEN} the exchange does not answer: no answer for 14 s (… 14 times more)"
    feed.settle()
    clock.advance(FOLD_S)
    assert service.took.empty()                       # nothing more came of it


def test_the_last_word_of_what_comes_and_goes_is_how_it_stands(
    clock: ManualClock, feed: WatchedFeed, start: Start
) -> None:
    """Folding must not leave the reader with "over" while it is not."""
    service = Service()
    start(service)
    for _ in range(3):
        feed.publish(Kind.EXCHANGE, what="x")
        feed.publish(Kind.EXCHANGE, over=True, what="x")
    feed.publish(Kind.EXCHANGE, what="x")
    said = [*service.next().splitlines()]
    feed.settle()
    while not service.took.empty():
        said += service.next().splitlines()
    assert said == ["the exchange does not answer: x", "the exchange answers again"]
    clock.advance(FOLD_S)
    assert service.next().splitlines() == [
        f"{THEN} the exchange answers again (… 2 times more)",
        f"{THEN} the exchange does not answer: x (… 3 times more)",
    ]


def test_exits_are_never_folded(clock: ManualClock, feed: WatchedFeed, start: Start) -> None:
    """Each is news; many at once share a message."""
    service = Service()
    service.answering.clear()
    start(service)
    feed.publish(Kind.PAUSED)
    service.asked.get(timeout=PATIENCE_S)
    for _ in range(30):
        feed.publish(Kind.STOPPING, positions=1, protected=1)
    service.answering.set()
    assert service.next() == "paused: nothing is entered"
    assert len(service.next().splitlines()) == MOST_LINES
    assert len(service.next().splitlines()) == 30 - MOST_LINES


def test_a_hanging_service_holds_up_nobody(clock: ManualClock, feed: WatchedFeed, start: Start) -> None:
    """Publishing goes on, the other outlet brings its messages, and `status` says which one hangs."""
    dead, well = Service(), Service()
    dead.answering.clear()
    hanging, other = start(dead, name="dead"), start(well, name="well")
    feed.publish(Kind.PAUSED)
    dead.asked.get(timeout=PATIENCE_S)
    assert well.next() == "paused: nothing is entered"
    for _ in range(2_000):
        feed.publish(Kind.TROUBLE, what="x")
    clock.advance(31)
    assert hanging.trouble() == "dead has not answered for 31 s"
    assert other.trouble() == ""
    dead.answering.set()
    assert dead.next() == "paused: nothing is entered"
    assert dead.next().startswith("… 1000 older messages were lost")     # the feed keeps a thousand


def test_what_is_not_taken_is_tried_again_and_told_late(
    clock: ManualClock, feed: WatchedFeed, start: Start
) -> None:
    """With longer and longer pauses; nothing is lost, and late news says when it happened."""
    service = Service()
    service.refusal = "401 for hunter2"
    outlet = start(service)
    feed.publish(Kind.PAUSED)
    for pause_s in RETRY_S:
        service.asked.get(timeout=PATIENCE_S)
        feed.settle()
        assert outlet.trouble().startswith("phone has taken nothing for ")
        assert outlet.trouble().endswith("(401 for ***)")
        assert service.asked.empty()
        clock.advance(pause_s)
    service.asked.get(timeout=PATIENCE_S)
    feed.settle()
    service.refusal = ""
    clock.advance(RETRY_S[-1])
    assert service.next() == f"{THEN} paused: nothing is entered"
    feed.settle()
    assert outlet.trouble() == ""


def test_a_service_that_raises_is_one_that_takes_nothing(
    clock: ManualClock, feed: WatchedFeed, start: Start
) -> None:
    """Whatever its library does, the thread goes on."""
    service = Service()
    service.raises = RuntimeError("token hunter2")
    outlet = start(service)
    feed.publish(Kind.PAUSED)
    service.asked.get(timeout=PATIENCE_S)
    feed.settle()
    assert outlet.trouble() == "phone has taken nothing for 0 s (RuntimeError: token ***)"
    service.raises = None
    clock.advance(RETRY_S[0])
    assert service.next() == "paused: nothing is entered"


def test_too_much_waiting_loses_the_least_grave_and_says_so(
    clock: ManualClock, feed: WatchedFeed, start: Start
) -> None:
    """However long an outlet is away, what waits for it is bounded, and the alarm among it is kept."""
    service = Service()
    service.refusal = "away"
    start(service)
    feed.publish(Kind.UNPROTECTED, "BTC/USDT:USDT", deadline_s=5)
    service.asked.get(timeout=PATIENCE_S)
    for _ in range(MOST_WAITING + 20):
        feed.publish(Kind.STOPPING, positions=0, protected=0)
    feed.settle()
    service.refusal = ""
    clock.advance(RETRY_S[0])
    first = service.next().splitlines()
    assert first[0] == "… 21 older messages were lost"       # 121 came, 100 wait
    assert first[1].startswith("BTC/USDT:USDT no stop confirmed")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"level": Level.WARNING}, ["halted", "no longer halted"]),
        ({"muted": frozenset({Kind.HALTED})}, ["paused"]),
        ({"level": Level.CRITICAL, "outlets": {"phone": Level.INFO}}, ["paused", "halted", "no longer halted"]),
        ({"silent": frozenset({"phone"})}, []),
    ],
)
def test_levels_say_who_is_told_what(
    clock: ManualClock, feed: WatchedFeed, start: Start, rules: dict[str, Any], told: list[str]
) -> None:
    """By kind, by outlet; the end of what was told is told, light as it is."""
    service = Service()
    start(service, rules=NotifyRules(**rules))
    feed.publish(Kind.PAUSED)
    feed.publish(Kind.HALTED, what="too much lost")
    feed.publish(Kind.HALTED, over=True, what="too much lost")
    feed.settle()
    said = []
    while not service.took.empty():
        said += service.next().splitlines()
    assert [line.split(",")[0].split(":")[0] for line in said] == told


def test_the_end_brings_what_there_is(clock: ManualClock, feed: WatchedFeed) -> None:
    """What was published before the end gets out, with what was counted."""
    service = Service()
    outlet = Outlet(
        "phone", service, feed, clock, rules=NotifyRules(), title="RAD", redact=lambda text: text
    )
    outlet.start()
    for _ in range(3):
        feed.publish(Kind.TROUBLE, what="x")
    feed.publish(Kind.STOPPING, positions=0, protected=0)
    assert Notifier([outlet], clock).stop(feed, PATIENCE_S)
    said = []
    while not service.took.empty():
        said += service.next().splitlines()
    assert said == ["x", "RAD stops; 0 stay open, 0 with a stop on the exchange", "x (… 2 times more)"]


def test_the_end_does_not_wait_for_a_service_that_hangs(clock: ManualClock, feed: WatchedFeed) -> None:
    """Its thread is left to itself, and whoever ends is told."""
    service = Service()
    service.answering.clear()
    outlet = Outlet("phone", service, feed, clock, rules=NotifyRules(), title="RAD", redact=lambda text: text)
    outlet.start()
    feed.publish(Kind.PAUSED)
    service.asked.get(timeout=PATIENCE_S)
    assert not Notifier([outlet], clock).stop(feed, 0.05)
    service.answering.set()
    assert outlet.join(PATIENCE_S)
