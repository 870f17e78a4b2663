"""What is told, hidden, listed and taken in while RAD runs, in every order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from console.top_feed import Feed
from daemon.blacklist import Blacklist
from daemon.reload import Reloader
from runtime.events import EventFeed
from runtime.redaction import HIDDEN, Redactor
from tests.interleavings.explorer import Scene
from tests.interleavings.watching import VirtualClock, edge, watch
from trading.errors import RadError
from trading.events import Kind


def two_that_tell_and_a_reader() -> Scene:
    """Two events told at once have a number each, and a reader who waits hears of them at once."""
    feed = EventFeed(VirtualClock())
    watch(feed, "feed", feed._lock, ("_latest", "_events", "_closed"))
    before = feed.latest

    def read() -> float:
        assert feed.wait_after(before, 60)
        return feed._clock.monotonic()

    def check(results: Mapping[str, object]) -> None:
        assert [event.number - before for event in feed.after(before)] == [1, 2]
        assert results["reader"] == 0.0

    return Scene(check=check, threads={
        "one": lambda: feed.publish(Kind.PAUSED), "other": lambda: feed.publish(Kind.HALTED), "reader": read,
    })


def reader_and_the_end() -> Scene:
    """A reader waits for events while the feed is closed: he is let go at once."""
    feed = EventFeed(VirtualClock())
    watch(feed, "feed", feed._lock, ("_latest", "_events", "_closed"))
    before = feed.latest

    def read() -> tuple[object, float]:
        return feed.wait_after(before, 60), feed._clock.monotonic()

    def check(results: Mapping[str, object]) -> None:
        assert results["reader"] == ((), 0.0)

    return Scene(threads={"reader": read, "ending": feed.close}, check=check)


def two_that_hide() -> Scene:
    """Two secrets become known at once: neither is to be read afterwards."""
    redact = Redactor()
    watch(redact, "redactor", redact._lock, ("_known", "_pattern"))

    def check(_: object) -> None:
        assert redact("first second") == f"{HIDDEN} {HIDDEN}"

    return Scene(check=check, threads={
        "one": lambda: redact.hide(["first"]), "other": lambda: redact.hide(["second"]),
    })


class Listed(Blacklist):
    """A black list whose disk is a variable."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"), VirtualClock())
        self.written: frozenset[str] = frozenset()
        edge(self, "disk", lambda: self.written, ("_write",))

    def _write(self, symbols: frozenset[str]) -> None:
        self.written = symbols


def two_that_list() -> Scene:
    """Two symbols are put on the black list at once: both are on it, on disk as in memory, and nobody was late."""
    listed = Listed()
    watch(listed, "list", listed._lock, ("_symbols", "_is_changing"))

    def adding(symbol: str) -> Callable[[], bool]:
        return lambda: listed.add(symbol) and listed._clock.monotonic() == 0.0

    def check(results: Mapping[str, object]) -> None:
        assert listed.written == listed.symbols() == frozenset({"AAA", "BBB"})
        assert list(results.values()) == [True, True]

    return Scene(threads={"one": adding("AAA"), "other": adding("BBB")}, check=check)


class Reading(Reloader):
    """One that takes in nothing, in two steps."""

    def __init__(self) -> None:
        house: Any = None
        super().__init__(house)
        self.at_it, self.most = 0, 0
        edge(self, "settings", lambda: (self.at_it, self.most), ("begin", "end"))

    def _reload(self) -> dict[str, Any]:
        self.begin()
        self.end()
        return {}

    def begin(self) -> None:
        self.at_it += 1
        self.most = max(self.most, self.at_it)

    def end(self) -> None:
        self.at_it -= 1


def two_that_reload() -> Scene:
    """Two persons have the settings reloaded at once: one at a time, and the other is told."""
    reloader = Reading()
    watch(reloader, "reloader", reloader._lock, ("_is_reloading",))

    def reload() -> str:
        try:
            reloader.reload()
        except RadError as error:
            return str(error)
        return "done"

    def check(results: Mapping[str, object]) -> None:
        assert reloader.most == 1
        assert "done" in results.values()
        assert not reloader._is_reloading

    return Scene(threads={"one": reload, "other": reload}, check=check)


def two_that_answer() -> Scene:
    """The terminal's two threads come with news at once: neither puts the other's out."""
    feed = Feed(None, None, lambda: None)         # type: ignore[arg-type]  # nobody is asked
    watch(feed, "top", feed._lock, ("_facts",))

    def check(_: object) -> None:
        facts = feed.facts()
        assert (facts.trouble, facts.note) == ("does not answer", ("closed", True))

    return Scene(check=check, threads={
        "asks": lambda: feed._change(trouble="does not answer"),
        "tells": lambda: feed._change(note=("closed", True)),
    })
