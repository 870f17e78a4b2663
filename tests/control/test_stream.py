"""Server-sent events: one look for all who watch, and nobody who watches can hold anything up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control import stream
from control.server import ControlServer
from tests.control.fake_steering import EVENT, POSITION, STATUS, FakeSteering
from tests.control.visitor import PATIENCE_S, Stream, browser, nobody, program, serving


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look every 20 ms instead of every second, and no longer than 0.1 s."""
    monkeypatch.setattr(stream, "INTERVAL_S", 0.02)
    monkeypatch.setattr(stream, "LOOK_S", 0.1)


@pytest.fixture
def watching(server: ControlServer) -> Iterator[Stream]:
    """A program that watches."""
    watcher = Stream(program(server))
    yield watcher
    watcher.close()


def events(first: int, last: int, text: str = "") -> list[dict[str, Any]]:
    """Events of these numbers."""
    return [EVENT | {"number": number, "text": text} for number in range(first, last + 1)]


def test_a_watcher_is_told_all_there_is(watching: Stream) -> None:
    """First how things stand and what has happened, then how they stand again and again."""
    assert watching.answer.getheader("Content-Type") == "text/event-stream"
    assert watching.answer.getheader("Content-Security-Policy")
    first, second, third = (watching.next() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert [first["event"], second["event"], third["event"]] == ["status", "positions", "event"]
    assert third["id"] == "7"
    assert watching.until("status") == STATUS


def test_only_what_has_changed_is_told_again(watching: Stream, steering: FakeSteering) -> None:
    """Positions and events come once; when there are others, those come."""
    for _ in range(3):
        watching.until("status")
    steering.feed = events(7, 8)
    steering.on["positions"] = lambda: [POSITION | {"price": "51000"}]
    kinds: list[str] = []
    while len(told := [kind for kind in kinds if kind != "status"]) < 2:
        found = watching.next()
        assert found is not None
        kinds.append(found["event"])
    assert sorted(told) == ["event", "positions"]
    assert kinds[0] == "status"


def test_one_who_comes_again_is_told_what_was_missed(server: ControlServer, steering: FakeSteering) -> None:
    """By the number it has seen last; who comes for the first time is told of the latest few."""
    steering.feed = events(1, 100)
    again, new, confused = (
        Stream(program(server), **more) for more in ({"Last_Event_ID": "97"}, {}, {"Last_Event_ID": "²; x"})
    )
    assert [again.until("event")["number"] for _ in range(3)] == [98, 99, 100]
    for first in (new, confused):
        numbers = [first.until("event")["number"] for _ in range(stream.PAST_EVENTS)]
        assert numbers == list(range(101 - stream.PAST_EVENTS, 101))
    for each in (again, new, confused):
        each.close()


def test_all_who_watch_share_one_look(server: ControlServer, steering: FakeSteering) -> None:
    """However many they are, the daemon is asked once at a time, and by no more than one thread."""
    together, most = [0], [0]

    def status() -> dict[str, Any]:
        together[0] += 1
        most[0] = max(most[0], together[0])
        together[0] -= 1
        return STATUS

    steering.on["status"] = status
    watchers = [Stream(program(server)) for _ in range(8)]
    for watcher in watchers:
        for _ in range(5):
            watcher.until("status")
    looks = sum(asked == ("status",) for asked in steering.asked)
    for watcher in watchers:
        watcher.close()
    assert most == [1]
    assert looks < 8 * 5


def test_too_many_are_turned_away(server: ControlServer) -> None:
    """A bounded number may watch; when one goes there is room again."""
    watchers = [Stream(program(server)) for _ in range(stream.MOST_WATCHING)]
    for watcher in watchers:
        watcher.until("status")
    refused = program(server).get("/api/events", Accept="text/event-stream")
    assert refused.status == 503
    assert program(server).get("/api/events").json == [EVENT]       # as a list it is there for all
    watchers.pop().close()
    while (again := Stream(program(server))).answer.status != 200:
        again.close()
    for watcher in (*watchers, again):
        watcher.close()


def test_one_who_does_not_read_is_cut_off(
    server: ControlServer, steering: FakeSteering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are told as before, what waits for the slow one is bounded, and its place is free before it reads."""
    monkeypatch.setattr(stream, "QUEUED", 4)
    monkeypatch.setattr(stream, "MOST_WATCHING", 2)
    slow, quick = Stream(program(server)), Stream(program(server))
    steering.on["positions"] = lambda: [POSITION | {"price": str(len(steering.asked)), "reasons": ["x" * 10**6]}]
    for _ in range(20):                    # of a megabyte each, which the sockets do not hold
        quick.until("positions")
    third = Stream(program(server))
    assert third.answer.status == 200
    heard = 0
    while slow.next() is not None:         # what the sockets held, and then the end
        heard += 1
    assert heard < 20
    assert quick.until("status")
    for watcher in (slow, quick, third):
        watcher.close()


def test_a_look_that_hangs_is_said_and_not_repeated(server: ControlServer, steering: FakeSteering) -> None:
    """The watchers hear that nothing is known; not one more thread is spent on it until it comes back."""
    watcher = Stream(program(server))
    watcher.until("status")
    steering.on["status"] = steering.hang
    assert "answer" in watcher.until("silence")["error"]
    asked = sum(each == ("status",) for each in steering.asked)
    for _ in range(5):
        watcher.until("silence")
    assert sum(each == ("status",) for each in steering.asked) == asked
    del steering.on["status"]
    steering.released.set()
    assert watcher.until("status")
    watcher.close()


def test_an_error_of_ours_tells_no_more_than_its_kind(server: ControlServer, steering: FakeSteering) -> None:
    """And the watcher stays, for the next look."""

    def fail() -> None:
        raise KeyError("secret-key")

    steering.on["status"] = fail
    watcher = Stream(program(server))
    said = watcher.until("silence")["error"]
    assert "KeyError" in said
    assert "secret-key" not in said
    del steering.on["status"]
    assert watcher.until("status") == STATUS
    watcher.close()


def test_who_logs_out_hears_no_more(server: ControlServer) -> None:
    """An open stream ends with its session."""
    page = browser(server)
    watcher = Stream(page)
    watcher.until("status")
    assert page.post("/api/logout").status == 200
    while watcher.next() is not None:
        pass
    watcher.close()


def test_watching_needs_the_token(server: ControlServer, steering: FakeSteering) -> None:
    """Nobody watches without."""
    assert nobody(server).get("/api/events", Accept="text/event-stream").status == 401
    assert steering.asked == []


def test_the_end_of_the_server_ends_the_streams(steering: FakeSteering, tmp_path: Path) -> None:
    """At once, and not when somebody next has something to tell."""
    ended = threading.Event()
    with serving(steering, tmp_path) as server:
        watcher = Stream(program(server))
        watcher.until("status")

        def listen() -> None:
            while watcher.next() is not None:
                pass
            ended.set()

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
    assert ended.wait(PATIENCE_S)
    listening.join(PATIENCE_S)
    watcher.close()
