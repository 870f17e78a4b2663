"""A key that can carry money away does not trade real money, unless somebody has said so in full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from runtime.options import KEY_OVERRIDE
from trading.errors import AuthenticationFailed, ClockSkew, ConfigError, ExchangeError
from trading.permissions import KeyRights, judge
from trading.ports import Clock

log = logging.getLogger("key")

RETRY_S = 15.0

# What to do about each of KuCoin's refusals of a key. Source: its error codes.
ADVICE = {
    "400001": "key, secret and passphrase are all needed; ./rad init asks for them",
    "400003": "KuCoin does not know this key: look whether it was copied whole, or has been deleted there",
    "400004": "passphrase or secret is wrong (the one goes signed with the other): both are those of this "
              "key, the passphrase chosen when it was made and not that of the account",
    "400005": "the secret does not belong to this key: it was shown once, when the key was made",
    "400006": "the key is bound to other addresses: add this machine's to it at KuCoin, under API management",
    "400007": "the key lacks a permission: at KuCoin, give it General and Futures",
    "400008": "KuCoin wants the newer kind of key here: set exchange.key_version to 3, or make a new key",
    "400009": "exchange.key_version does not fit this key: it is 2 or 3",
    "411100": "KuCoin has frozen this account: its support knows why",
}


class TellsOfKey(Protocol):
    """What KuCoin says of a key."""

    @property
    def permissions(self) -> frozenset[str]: ...


def advice_on(error: ExchangeError) -> str:
    """Return what a person can do about a refused key."""
    return ADVICE.get(error.code, "./rad init asks for another key and tries it")


def refusal_of(permissions: Iterable[str]) -> str:
    """Return why a key with these *permissions* must not trade; empty if it may."""
    rights = judge(permissions)
    if not rights.may_move_money:
        return ""
    return (
        f"this API key can move money out of the account ({', '.join(rights.moving)}): whoever steals it takes "
        f"everything. Make one with General and Futures alone, or say {KEY_OVERRIDE} to trade with it all the same"
    )


class KeyCheck:
    """Asks once what the key may do; until it is answered nothing is entered, but exits go on.

    Called by the main thread alone; `trouble` may be read by any.
    """

    def __init__(
        self, fetch: Callable[[], TellsOfKey], clock: Clock, *, needed: bool, overridden: bool
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._overridden = overridden
        self._next_look = 0.0
        self._is_open = needed             # the question
        self.trouble = "what the API key may do is not known yet" if needed and not overridden else ""

    def look_if_due(self) -> None:
        """Ask, unless it is answered or was asked a moment ago.

        Raises:
            ConfigError: the key must not trade.
            AuthenticationFailed: the exchange refuses it.
        """
        if not self._is_open or self._clock.monotonic() < self._next_look:
            return
        self._next_look = self._clock.monotonic() + RETRY_S
        try:
            permissions = self._fetch().permissions
        except ExchangeError as error:
            if isinstance(error, AuthenticationFailed) and not isinstance(error, ClockSkew):
                raise
            log.warning("what the key may do is not known yet%s error=%s",
                        ", nothing is entered" if self.trouble else "", error)
            return
        self._judge(permissions)

    def _judge(self, permissions: frozenset[str]) -> None:
        refusal = refusal_of(permissions)
        if refusal and not self._overridden:
            raise ConfigError(refusal)
        if refusal:
            log.warning("this key can move money out of the account, as allowed by %s", KEY_OVERRIDE)
        _note_the_rest(judge(permissions))
        self.trouble, self._is_open = "", False


def _note_the_rest(rights: KeyRights) -> None:
    if rights.unknown:
        log.warning("RAD does not know what these permissions of the key allow names=%s", ",".join(rights.unknown))
