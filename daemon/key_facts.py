"""What the configured exchange says of a key that somebody is about to write down."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.exchange_process import ExchangeAddress
from daemon.key_check import advice_on, refusal_of
from daemon.lone_client import lone_client
from kucoin_client import KuCoinClient
from runtime.secrets import Secrets
from runtime.settings import LIVE_FUTURES_URL, LIVE_SPOT_URL, Settings
from trading.errors import AuthenticationFailed, ConfigError, ExchangeError
from trading.facts import Balance
from trading.permissions import judge

WRONG_VERSION = frozenset({"400008", "400009"})
VERSIONS = (2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """A key that may trade here."""

    version: int                       # what `exchange.key_version` has to be
    addresses: tuple[str, ...]         # it is bound to these; to none if empty
    our_address: str                   # where the exchange sees us; empty if it does not say
    whose: str
    balance: Balance
    refusal: str                       # why it should not trade all the same; empty if nothing speaks against it


def facts_of_key(settings: Settings, secrets: Secrets) -> KeyFacts:
    """Return what the exchange says of the key in *secrets*.

    Raises:
        ConfigError: the exchange refuses it, or it may not trade; the text says what to do.
        ExchangeError: no answer: nothing is known of the key.
    """
    address = ExchangeAddress(
        futures_url=settings.futures_url or LIVE_FUTURES_URL, spot_url=settings.spot_url or LIVE_SPOT_URL,
        key=secrets.key, secret=secrets.secret, passphrase=secrets.passphrase,
    )
    configured = settings.exchange.key_version
    try:
        for version in (configured, *(each for each in VERSIONS if each != configured)):
            with lone_client(settings, address, version) as (client, _):
                try:
                    return _facts(client, version)
                except AuthenticationFailed as error:
                    if error.code not in WRONG_VERSION or version == VERSIONS[-1]:
                        raise
    except AuthenticationFailed as error:
        raise ConfigError(f"the exchange refuses this key: {error}; {advice_on(error)}") from error
    raise ConfigError("the exchange refuses this key in every version RAD knows")


def _facts(client: KuCoinClient, version: int) -> KeyFacts:
    client.measure_clock_offset()
    key = client.fetch_api_key()
    missing = judge(key.permissions).missing
    if missing:
        raise ConfigError(f"this key lacks the permission {' and '.join(missing)}: give it General and Futures")
    try:
        ours = client.fetch_our_address()
    except ExchangeError:
        ours = ""
    return KeyFacts(
        version=version, addresses=key.addresses, our_address=ours,
        whose=f"sub-account {key.sub_account}" if key.sub_account else "the master account",
        balance=client.fetch_balance(), refusal=refusal_of(key.permissions),
    )
