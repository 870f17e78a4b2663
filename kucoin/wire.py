"""ccxt's KuCoin with our border: exact numbers, deadlines, and errors by code, never by class.

ccxt names the endpoints, builds the addresses and signs. Sending and reading are ours (`fetch`): its
own way costs a third more of the processor for each order, follows redirects with the key in hand,
and takes half an answer for a whole one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import ccxt
import certifi
import orjson
import urllib3

from kucoin.endpoints import Effect, Endpoint
from kucoin.exact_json import exactly
from kucoin.refusals import SUCCESS, error_of, unreadable
from runtime.deadline import deadline_pools
from runtime.locks import assert_no_lock_held
from trading.errors import AuthenticationFailed, BadResponse, ExchangeError, ExchangeUnavailable, OutcomeUnknown
from trading.ports import Clock

# At DEBUG ccxt logs headers with key and passphrase.
logging.getLogger("ccxt").setLevel(logging.WARNING)

CONNECTIONS = 32
KEY_VERSIONS = ("2", "3")
NO_PARTNER = {"id": None, "key": None, "secret": None}
COMMON_HEADERS = {"User-Agent": "rad", "Accept-Encoding": "gzip", "Connection": "keep-alive"}


class SendRule(Protocol):
    """Says whether this process may still change something at the exchange; any thread."""

    def require(self, stamp_ms: int) -> None:
        """Let a request pass that is about to be signed with *stamp_ms* of our clock, taken just before.

        Raises:
            ExchangeUnavailable: it must not be sent.
        """

    def clock_measured(self) -> None:
        """The exchange's time has just been compared with our clock."""


class _Asking(threading.local):
    """What the calling thread asks for, and when and with what headers it was answered."""

    effect = Effect.NONE
    exact = True
    fields: frozenset[str] | None = None
    sent_ms = 0
    answered_ms = 0
    headers: Mapping[str, str] = {}


class Wire(ccxt.kucoin):  # type: ignore[misc]
    """One set of connections to KuCoin, safe for any thread; waits for no limit, decides no priority."""

    def __init__(
        self, *, futures_url: str, spot_url: str, key: str, secret: str, passphrase: str, key_version: str,
        timeout_s: float, clock: Clock, send_rule: SendRule | None = None,
    ) -> None:
        if key_version not in KEY_VERSIONS:
            raise ValueError(f"key version {key_version!r}: there are {' and '.join(KEY_VERSIONS)}")
        self._asking = _Asking()
        self._clock = clock
        self._send_rule = send_rule
        self._key_version = key_version
        self._timeout_s = timeout_s
        self._pools = deadline_pools(CONNECTIONS, ca_certs=certifi.where())
        super().__init__({
            "apiKey": key,
            "secret": secret,
            "password": passphrase,
            "enableRateLimit": False,
            "urls": {"api": addresses(futures_url, spot_url)},
            "options": {
                "hf": True,
                "uta": False,
                "partner": {"spot": NO_PARTNER, "future": NO_PARTNER, **NO_PARTNER},
                "fetchMarkets": {"types": ["swap"]},
                "maxRetriesOnFailure": 0,
                "timeDifference": 0,
            },
        })
        # Nothing of RAD's reads currencies, and their list is the longest answer KuCoin has.
        self.has["fetchCurrencies"] = False

    def ask(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Any:
        """Make one call of ccxt's implicit API and return its `data`.

        Raises:
            ExchangeError: the kind that KuCoin's code means; OutcomeUnknown for an unanswered order or cancel.
        """
        asking, method = self._asking, getattr(self, endpoint.method)
        asking.effect, asking.exact, asking.fields = endpoint.effect, endpoint.exact, endpoint.fields
        asking.headers = {}
        try:
            answer = method(params)
        except BadResponse as error:
            if endpoint.effect is Effect.NONE:
                raise
            raise OutcomeUnknown(str(error)) from error
        except ExchangeError:
            raise
        except ccxt.AuthenticationError as error:
            raise AuthenticationFailed("no key, secret and passphrase given") from error
        except Exception as error:  # noqa: BLE001 - whatever broke in ccxt, the order may have left
            raise self._unanswered(f"no readable answer ({type(error).__name__})") from error
        finally:
            asking.effect, asking.exact, asking.fields = Effect.NONE, True, None
        return answer["data"]

    def answer_headers(self) -> Mapping[str, str]:
        """Return the headers of the calling thread's last answer; empty if there was none."""
        return self._asking.headers

    def clock_ahead_ms(self, server_ms: int) -> int:
        """Return how far our clock was ahead of *server_ms*, said in this thread's last answer."""
        return (self._asking.sent_ms + self._asking.answered_ms) // 2 - server_ms

    def close_connections(self) -> None:
        """Close what is idle; what is in use closes when its call ends."""
        assert_no_lock_held("closing connections")
        self._pools.clear()
        self.session.close()

    # ---- ccxt's hooks ---------------------------------------------------------------------------

    def futuresPublicGetContractsActive(self, params: Any = None) -> Any:  # ccxt's name
        """Return the list of contracts, a paused perpetual looking like one.

        Without a next funding time ccxt takes it for a dated contract, misses the date and raises:
        one paused contract would keep every market from being loaded.
        """
        answer = super().futuresPublicGetContractsActive(params or {})
        for row in answer["data"] if isinstance(answer["data"], list) else ():
            if isinstance(row, dict) and row.get("expireDate") is None and row.get("nextFundingRateTime") is None:
                row["nextFundingRateTime"] = 0
        return answer

    def publicGetMyIp(self, params: Any = None) -> Any:  # as ccxt would name it, if it knew it
        """Return the address this request comes from, as KuCoin sees it."""
        return self.request("my-ip", ["public"], "GET", params or {})

    def milliseconds(self) -> int:
        """Return our time, from which `nonce` subtracts `timeDifference`."""
        return self._clock.now_ms()

    def nonce(self) -> int:
        """Return the time this thread's request is signed with, if it may still be sent.

        First the time, then the rule: whoever is frozen in between wakes with a signature that is void.

        Raises:
            ExchangeUnavailable: the send rule says no; nothing was sent.
        """
        now_ms = self.milliseconds()
        if self._send_rule is not None and self._asking.effect is not Effect.NONE:
            self._send_rule.require(now_ms)
        return now_ms - int(self.options["timeDifference"])

    def fetch(self, url: str, method: str = "GET", headers: Any = None, body: str | None = None) -> Any:
        """Send one request, once, and return KuCoin's envelope if it says yes."""
        assert_no_lock_held("a request")
        asking = self._asking
        sent = {**COMMON_HEADERS, **(headers or {})}
        if "KC-API-KEY-VERSION" in sent:
            sent["KC-API-KEY-VERSION"] = self._key_version      # no part of what is signed
        asking.sent_ms = self._clock.now_ms()
        try:
            answer = self._pools.request(
                method, url, body=body.encode() if body else None, headers=sent,
                redirect=False, retries=False, timeout=self._timeout_s,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if was_never_sent(error):
                raise ExchangeUnavailable("no connection to the exchange: nothing was sent") from error
            raise self._unanswered(f"no answer from the exchange ({type(error).__name__})") from error
        asking.answered_ms = self._clock.now_ms()
        asking.headers = answer.headers
        return self._read(answer.status, answer.headers, answer.data)

    def _read(self, status: int, headers: Mapping[str, str], body: bytes) -> Any:
        """The one border where codes are read."""
        envelope = parsed(body, exact=self._asking.exact, fields=self._asking.fields)
        if not isinstance(envelope, Mapping) or "code" not in envelope:
            raise unreadable(body.decode("utf-8", "replace"), status)
        code = str(envelope["code"])
        if code != SUCCESS:
            text = str(envelope.get("msg") or "")
            raise error_of(code=code, text=text, status=status, headers=headers, effect=self._asking.effect)
        if "data" not in envelope:
            raise BadResponse("KuCoin's yes without data")
        return envelope

    def _unanswered(self, text: str) -> ExchangeError:
        return (ExchangeUnavailable if self._asking.effect is Effect.NONE else OutcomeUnknown)(text)


def parsed(body: bytes, *, exact: bool, fields: frozenset[str] | None = None) -> Any:
    """Return an answer's JSON, its fractions as Decimal if *exact*; None if it is not JSON."""
    try:
        return exactly(body, fields) if exact else orjson.loads(body)
    except (ValueError, RecursionError):
        return None


def addresses(futures_url: str, spot_url: str) -> dict[str, str]:
    """Return ccxt's table of addresses, all of them on the two given."""
    spot = ("public", "private", "webExchange", "broker", "earn", "uta", "utaV2", "utaPrivate")
    table = dict.fromkeys(spot, spot_url.rstrip("/"))
    table["futuresPublic"] = table["futuresPrivate"] = futures_url.rstrip("/")
    return table


def was_never_sent(error: BaseException) -> bool:
    """Whether no connection came about, so that no byte of the request left."""
    return isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
