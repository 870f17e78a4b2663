"""The exchange whose market is relayed, over HTTP."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import aiohttp

_DEADLINE_S = 8.0
_AT_ONCE = 4


class RelayUnavailable(OSError):
    """The relayed exchange gave no usable answer; nothing is known but that."""


class Upstream:
    """Public KuCoin futures REST at *base_url*, which may carry a path; a few requests at a time."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.requests = 0

    async def fetch(self, path: str, **query: str | int) -> Any:
        """Return the `data` of a GET.

        Raises:
            RelayUnavailable: no answer, or not the envelope of a success.
        """
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_DEADLINE_S)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        try:
            async with self._turns:
                self.requests += 1
                async with self._session.get(self.base_url + path, params=query) as answer:
                    status, raw = answer.status, await answer.text()
            document = json.loads(raw, parse_float=Decimal)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RelayUnavailable(f"{self.base_url}{path}: {error or type(error).__name__}") from error
        if not isinstance(document, dict) or document.get("code") != "200000" or document.get("data") is None:
            raise RelayUnavailable(f"{self.base_url}{path}: HTTP {status}, {raw[:200]}")
        return document["data"]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
