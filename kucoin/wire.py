"""ccxt's KuCoin with our border: exact numbers, deadlines, and errors by code, never by class."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import ccxt
import requests

from kucoin.refusals import SUCCESS, error_of, unreadable
from runtime.deadline import DeadlineAdapter
from trading.errors import BadResponse, ExchangeError, ExchangeUnavailable, OutcomeUnknown

# At DEBUG ccxt logs headers with key and passphrase.
logging.getLogger("ccxt").setLevel(logging.WARNING)

CONNECTIONS = 32
NO_PARTNER = {"id": None, "key": None, "secret": None}


class _Asked(threading.local):
    """What the calling thread is asking for, and the headers of its answer."""

    changes = False
    headers: Mapping[str, str] = {}


class Wire(ccxt.kucoin):  # type: ignore[misc]
    """One HTTP session to KuCoin; signing and addresses are ccxt's, the reading of answers is ours.

    Any thread may `ask`. Nothing here waits for a rate limit or decides a priority.
    """

    def __init__(
        self, *, futures_url: str, spot_url: str, key: str, secret: str, passphrase: str, timeout_s: float
    ) -> None:
        self._asked = _Asked()
        super().__init__({
            "apiKey": key,
            "secret": secret,
            "password": passphrase,
            "enableRateLimit": False,
            "timeout": int(timeout_s * 1000),
            "urls": {"api": addresses(futures_url, spot_url)},
            "options": {
                "hf": True,
                "uta": False,
                "partner": {"spot": NO_PARTNER, "future": NO_PARTNER, **NO_PARTNER},
                "maxRetriesOnFailure": 0,
                "timeDifference": 0,
            },
        })
        self.enableLastHttpResponse = False
        self.enableLastJsonResponse = False
        self.enableLastResponseHeaders = False
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, DeadlineAdapter(CONNECTIONS))

    def ask(self, method: str, params: Mapping[str, Any] | list[Any], *, changes: bool) -> Any:
        """Make one call of ccxt's implicit API and return its `data`.

        Raises:
            ExchangeError: the kind that KuCoin's code means; OutcomeUnknown for an unanswered change.
        """
        self._asked.changes = changes
        self._asked.headers = {}
        try:
            answer = getattr(self, method)(params)
        except ExchangeError as error:
            if changes and isinstance(error, BadResponse):
                raise OutcomeUnknown(str(error), code=error.code) from error
            raise
        except (ccxt.BaseError, requests.RequestException, OSError, ValueError, AttributeError) as error:
            raise self._unanswered(error, changes=changes) from error
        if not isinstance(answer, Mapping) or "data" not in answer:
            error_type = OutcomeUnknown if changes else BadResponse
            raise error_type(f"answer without data to {method}")
        return answer["data"]

    def end(self) -> None:
        """Close its connections."""
        self.session.close()

    def answer_headers(self) -> Mapping[str, str]:
        """Return the headers of the calling thread's last answer; empty if there was none."""
        return self._asked.headers

    def _unanswered(self, error: BaseException, *, changes: bool) -> ExchangeError:
        if was_never_sent(error):
            return ExchangeUnavailable("no connection to the exchange: nothing was sent")
        text = f"no answer from the exchange ({type(error).__name__})"
        return OutcomeUnknown(text) if changes else ExchangeUnavailable(text)

    # ---- ccxt's hooks ---------------------------------------------------------------------------

    def parse_json(self, http_response: str) -> Any:
        """Read an answer with exact numbers; None if it is not JSON."""
        try:
            return json.loads(http_response, parse_float=Decimal)
        except ValueError:
            return None

    def handle_errors(
        self, code: int, _reason: str, _url: str, _method: str, headers: Any, body: str, response: Any,
        _request_headers: Any, _request_body: Any,
    ) -> None:
        """Raise what an answer means, unless it is KuCoin's yes. The one border where codes are read."""
        self._asked.headers = headers
        if not isinstance(response, Mapping) or "code" not in response:
            raise unreadable(body, code)
        said = str(response["code"])
        if said != SUCCESS:
            raise error_of(
                code=said, text=str(response.get("msg") or ""), status=code, headers=headers,
                changes=self._asked.changes,
            )
        if "data" not in response:
            raise BadResponse("KuCoin's yes without data")


def addresses(futures_url: str, spot_url: str) -> dict[str, str]:
    """Return ccxt's table of addresses, all of them on the two given."""
    spot = ("public", "private", "webExchange", "broker", "earn", "uta", "utaV2", "utaPrivate")
    table = dict.fromkeys(spot, spot_url.rstrip("/"))
    table["futuresPublic"] = table["futuresPrivate"] = futures_url.rstrip("/")
    return table


def was_never_sent(error: BaseException | None) -> bool:
    """Whether the connection was refused outright, so that no byte of the request left."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        reason = getattr(error, "reason", None) or next(
            (arg for arg in getattr(error, "args", ()) if isinstance(arg, BaseException)), None
        )
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return False
