"""Browsers that have logged in: a cookie each, bounded in number and in time, and few guesses at the token."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from control.codes import Codes
from trading.errors import RadError

MOST_SESSIONS = 32           # the one not used for longest goes first
IDLE_S = 12 * 3600.0         # unused for so long, it is over
LONGEST_S = 7 * 86_400.0     # and so it is after this, however much it is used

TRIES = 5                    # wrong tokens in a row from one address
TRY_EVERY_S = 12.0           # beyond them one in so long
MOST_ADDRESSES = 256         # remembered at once
SHARED_BITS = 64             # of an IPv6 address that one household has to itself


class WrongToken(RadError):
    """That is not the token."""


class TooManyTries(RadError):
    """Wrong too often: not looked at before *retry_after_s* are over."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many wrong tokens from this address; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


@dataclass(slots=True, kw_only=True)
class Session:
    """One browser; *csrf* is what its page has to say with each command, and no other site can know."""

    csrf: str
    began: float
    used: float

    def ends(self) -> float:
        """When it is over unless it is used, on the clock of `Sessions`."""
        return min(self.used + IDLE_S, self.began + LONGEST_S)


class Sessions:
    """Who is logged in; used in the event loop's thread only, so it needs no lock."""

    def __init__(self, token: str, now: Callable[[], float] = time.monotonic) -> None:
        self._token = token.encode()
        self._now = now
        self._open: OrderedDict[bytes, Session] = OrderedDict()     # by the cookie's digest
        self._tries = _Tries(now)
        self.codes = Codes(now)

    def knows(self, token: str) -> bool:
        """Whether that is the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def log_in(self, token: str, address: str) -> tuple[str, Session]:
        """Return a new cookie and its session, for the token or a code given out in its place.

        Raises:
            WrongToken: it is neither.
            TooManyTries: this address has said so too often; the token was not looked at.
        """
        self._tries.admit(address)
        if not (self.knows(token) or self.codes.take(token)):
            self._tries.count(address)
            raise WrongToken("that is neither the token nor a code that is still good; ./rad page makes a new one")
        self._tries.forget(address)
        cookie, now = secrets.token_urlsafe(32), self._now()
        session = Session(csrf=secrets.token_urlsafe(32), began=now, used=now)
        self._open[_digest(cookie)] = session
        while len(self._open) > MOST_SESSIONS:
            self._open.popitem(last=False)
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie, used once more; None when it has none, or it is over."""
        digest = _digest(cookie)
        session = self._open.get(digest)
        if session is None:
            return None
        now = self._now()
        if now >= session.ends():
            del self._open[digest]
            return None
        session.used = now
        self._open.move_to_end(digest)
        return session

    def log_out(self, cookie: str) -> None:
        """End the session of a cookie, if it has one."""
        self._open.pop(_digest(cookie), None)

    def seconds_left(self, session: Session) -> float:
        """Return in how long it is over unless it is used."""
        return session.ends() - self._now()


class _Tries:
    """Wrong tokens by address: a few are free and come back one by one. The longest unseen are forgotten."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: OrderedDict[str, float] = OrderedDict()   # when an address has all its tries again

    def admit(self, address: str) -> None:
        spent_s = self._until.get(_household(address), 0.0) - self._now()
        over_s = spent_s - (TRIES - 1) * TRY_EVERY_S
        if over_s > 0:
            raise TooManyTries(over_s)

    def count(self, address: str) -> None:
        key = _household(address)
        self._until[key] = max(self._until.pop(key, 0.0), self._now()) + TRY_EVERY_S
        if len(self._until) > MOST_ADDRESSES:
            self._until.popitem(last=False)

    def forget(self, address: str) -> None:
        self._until.pop(_household(address), None)


def _household(address: str) -> str:
    """Return what stands for everybody who can have *address* for the asking."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(int(ip) >> (128 - SHARED_BITS)) if isinstance(ip, IPv6Address) else address


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
