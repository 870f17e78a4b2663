"""Browsers' sessions and guesses at the token: bounded in number, in time and in memory."""

from __future__ import annotations

import pytest

from control.sessions import (
    IDLE_S,
    LONGEST_S,
    MOST_ADDRESSES,
    MOST_SESSIONS,
    TRIES,
    TRY_EVERY_S,
    Sessions,
    TooManyTries,
    WrongToken,
)
from tests.manual_clock import ManualClock

TOKEN = "the-token-of-this-daemon-and-no-other"
HOME = "192.0.2.1"


@pytest.fixture
def sessions(clock: ManualClock) -> Sessions:
    """Nobody is logged in yet."""
    return Sessions(TOKEN, clock.monotonic)


def guess_wrongly(sessions: Sessions, times: int, address: str = HOME) -> None:
    """Try so many wrong tokens, each of which is looked at."""
    for _ in range(times):
        with pytest.raises(WrongToken):
            sessions.log_in("wrong", address)


def test_the_token_opens_a_session_and_log_out_ends_it(sessions: Sessions) -> None:
    """Cookie and CSRF word are each session's own."""
    cookie, session = sessions.log_in(TOKEN, HOME)
    other, second = sessions.log_in(TOKEN, HOME)
    assert sessions.find(cookie) is session
    assert len({cookie, other, session.csrf, second.csrf, TOKEN}) == 5
    sessions.log_out(cookie)
    assert sessions.find(cookie) is None
    assert sessions.find(other) is second


@pytest.mark.parametrize("said", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\udcff", "é" * 40])
def test_nothing_else_opens_one(sessions: Sessions, said: str) -> None:
    """Whatever bytes come in, they are not the token, and no error of ours."""
    with pytest.raises(WrongToken):
        sessions.log_in(said, HOME)
    assert not sessions.knows(said)
    assert sessions.find(said) is None


def test_a_session_ends_when_it_is_not_used(sessions: Sessions, clock: ManualClock) -> None:
    """Each use gives it its whole time again."""
    cookie, _ = sessions.log_in(TOKEN, HOME)
    clock.advance(IDLE_S - 1)
    assert sessions.find(cookie)
    clock.advance(IDLE_S - 1)
    assert sessions.find(cookie)
    clock.advance(IDLE_S)
    assert sessions.find(cookie) is None


def test_a_session_ends_however_much_it_is_used(sessions: Sessions, clock: ManualClock) -> None:
    """A page left open for a week asks for the token again."""
    cookie, session = sessions.log_in(TOKEN, HOME)
    while clock.monotonic() + IDLE_S / 2 < LONGEST_S:
        clock.advance(IDLE_S / 2)
        assert sessions.find(cookie)
    assert sessions.seconds_left(session) == pytest.approx(LONGEST_S - clock.monotonic())
    clock.advance(IDLE_S / 2)
    assert sessions.find(cookie) is None


def test_of_too_many_sessions_the_one_unused_for_longest_goes(sessions: Sessions) -> None:
    """Memory is bounded, and who is there stays."""
    first, second = (sessions.log_in(TOKEN, HOME)[0] for _ in range(2))
    for _ in range(MOST_SESSIONS - 1):
        assert sessions.find(first)
        sessions.log_in(TOKEN, HOME)
    assert sessions.find(first)
    assert sessions.find(second) is None
    assert len(sessions._open) == MOST_SESSIONS


def test_too_many_guesses_have_to_wait(sessions: Sessions, clock: ManualClock) -> None:
    """After a few wrong tokens not even the right one is looked at, until time has passed."""
    guess_wrongly(sessions, TRIES)
    with pytest.raises(TooManyTries) as refused:
        sessions.log_in(TOKEN, HOME)
    assert 0 < refused.value.retry_after_s <= TRY_EVERY_S
    clock.advance(refused.value.retry_after_s)
    guess_wrongly(sessions, 1)
    with pytest.raises(TooManyTries):
        sessions.log_in("wrong", HOME)
    clock.advance(TRY_EVERY_S)
    assert sessions.log_in(TOKEN, HOME)
    guess_wrongly(sessions, TRIES)               # the right one gave all of them back


def test_guesses_are_counted_by_household(sessions: Sessions) -> None:
    """A network of one's own has as many IPv6 addresses as one likes; everybody else is let in meanwhile."""
    guess_wrongly(sessions, TRIES - 1, "2001:db8:1:1::1")
    guess_wrongly(sessions, 1, "2001:db8:1:1:ffff::9")
    with pytest.raises(TooManyTries):
        sessions.log_in(TOKEN, "2001:db8:1:1::2")
    assert sessions.log_in(TOKEN, "2001:db8:1:2::1")
    assert sessions.log_in(TOKEN, HOME)


def test_the_memory_of_guesses_is_bounded(sessions: Sessions) -> None:
    """However many addresses guess, a bounded number is remembered."""
    for number in range(MOST_ADDRESSES + 50):
        guess_wrongly(sessions, 1, f"10.0.{number // 256}.{number % 256}")
    assert len(sessions._tries._until) == MOST_ADDRESSES
