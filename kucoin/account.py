"""What KuCoin says of the key, the account, our address and its own service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from kucoin import endpoints, parse
from kucoin.endpoints import Endpoint
from trading.errors import BadResponse
from trading.facts import Priority


class AccountFacts(ABC):
    """The part of KuCoinClient that asks about the account as a whole; any thread."""

    @abstractmethod
    def _call(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> Any:
        """Pass the gate and the budget, and return the answer's `data`."""

    def fetch_api_key(self) -> parse.ApiKey:
        """Return what the key may do. Source: GET /api/v1/user/api-key, at the spot address."""
        return parse.api_key_of(self._call(endpoints.API_KEY, {}, Priority.NORMAL))

    def fetch_vip_level(self) -> int:
        """Return the account's VIP level, which its rate limits follow. Source: GET /api/v2/user-info."""
        return int(parse.number(_fields(self._call(endpoints.USER, {}, Priority.NORMAL)), "level"))

    def fetch_account_mode(self) -> str:
        """Return `classic` or `unified`. Source: GET /api/ua/v1/account/mode."""
        data = self._call(endpoints.ACCOUNT_MODE, {}, Priority.NORMAL)
        return parse.text(_fields(data), "selfAccountMode").lower()

    def fetch_margin_mode(self, exchange_id: str) -> str:
        """Return `isolated` or `cross`. Source: GET /api/v2/position/getMarginMode."""
        data = self._call(endpoints.MARGIN_MODE, {"symbol": exchange_id}, Priority.NORMAL)
        return parse.text(_fields(data), "marginMode").lower()

    def fetch_our_address(self) -> str:
        """Return the address our requests come from, as KuCoin sees it. Source: GET /api/v1/my-ip."""
        data = self._call(endpoints.OUR_ADDRESS, {}, Priority.NORMAL)
        if not isinstance(data, str):
            raise BadResponse("our address was expected and something else came")
        return data

    def fetch_service_status(self) -> str:
        """Return `open`, `cancelonly` or `close`. Source: GET /api/v1/status, at the futures address."""
        return parse.text(_fields(self._call(endpoints.STATUS, {}, Priority.NORMAL)), "status").lower()

    def fetch_spot_time(self) -> int:
        """Return the spot address's time, in ms: whether it answers. Source: GET /api/v1/timestamp."""
        try:
            return int(self._call(endpoints.SPOT_TIME, {}, Priority.NORMAL))
        except (TypeError, ValueError) as error:
            raise BadResponse("the exchange's time cannot be read") from error

    def fetch_socket_url(self, *, private: bool) -> str:
        """Return where a WebSocket may be opened, token and all: a secret. Source: POST bullet-public/private."""
        endpoint = endpoints.PRIVATE_TOKEN if private else endpoints.PUBLIC_TOKEN
        data = _fields(self._call(endpoint, {}, Priority.NORMAL))
        server = _fields(next(iter(parse.rows(data.get("instanceServers"))), None))
        token = urlencode({"token": parse.text(data, "token"), "connectId": "rad"})
        return f"{parse.text(server, 'endpoint')}?{token}"


def _fields(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise BadResponse("an answer without fields")
    return data
