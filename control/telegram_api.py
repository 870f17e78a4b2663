"""The bot's side of Telegram's Bot API: one call at a time, under a deadline, and its token in no error."""

from __future__ import annotations

import json
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter

from runtime.deadline import Deadlines, deadline_pools
from runtime.locks import assert_no_lock_held
from trading.errors import RadError

GRACE_S = 10.0                 # beyond the time Telegram may wait for news itself
MOST_BYTES = 4_000_000


class TelegramFailed(RadError):
    """Telegram did not do what it was asked to."""

    def __init__(self, text: str, *, code: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.code = code                       # as HTTP has it; 0 when there was no answer
        self.retry_after_s = retry_after_s


class _Adapter(HTTPAdapter):
    """Connections whose calls can be cut."""

    def init_poolmanager(self, *_: Any, **__: Any) -> None:
        self.poolmanager = deadline_pools(4, ca_certs=certifi.where())


class TelegramApi:
    """Calls methods of one bot; any thread.

    Source: core.telegram.org/bots/api, "Making requests": an answer has `ok` and `result`, or
    `error_code`, `description` and, when asked too often, `parameters.retry_after`.
    """

    def __init__(self, url: str, token: str) -> None:
        self._base = f"{url}/bot{token}/"
        self._deadlines = Deadlines("Deadlines-telegram")
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())

    def call(self, method: str, *, wait_s: float = 0.0, **params: Any) -> Any:
        """Return the result of *method*; Telegram may take *wait_s* before it answers.

        Raises:
            TelegramFailed: no answer, a refusal, or nothing one can read.
        """
        assert_no_lock_held("call Telegram")
        limit_s = wait_s + GRACE_S
        try:
            with self._deadlines.limit(limit_s):
                answer = self._session.post(
                    self._base + method, json=params, timeout=limit_s, allow_redirects=False, stream=True
                )
                said = answer.raw.read(MOST_BYTES, decode_content=True)
                answer.close()
                return self._result(answer.status_code, said)
        except (requests.RequestException, OSError) as error:
            # Its text has the address in it, and that the token.
            raise TelegramFailed(f"no answer ({type(error).__name__})") from None

    def stop(self) -> None:
        """Cut what is under way: nobody waits for news any more."""
        self._deadlines.stop()
        self._session.close()

    @staticmethod
    def _result(status: int, said: bytes) -> Any:
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TelegramFailed(f"an answer nobody can read (status {status})", code=status)
        if answer.get("ok") is True:
            return answer.get("result")
        parameters = answer.get("parameters")
        pause = parameters.get("retry_after") if isinstance(parameters, dict) else 0
        raise TelegramFailed(
            f"{status}: {str(answer.get('description'))[:200]}", code=status,
            retry_after_s=float(pause) if isinstance(pause, int | float) else 0.0,
        )
