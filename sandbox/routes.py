"""Which request goes where: one table of routes per market, so that spot is a second table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox import refusals
from sandbox.accounts import Account, ApiKey
from sandbox.exchange import Exchange

if TYPE_CHECKING:
    from sandbox.tokens import Tokens


@dataclass(slots=True, kw_only=True)
class Call:
    """One admitted request: who calls, with what."""

    exchange: Exchange
    market: str                        # futures / spot
    query: dict[str, str]
    path_values: dict[str, str]
    body: Any = None
    key: ApiKey | None = None
    received_ns: int = 0
    base_url: str = ""                 # scheme, host and prefix the client used
    remote: str = ""                   # the client's address
    tokens: Tokens

    @property
    def account(self) -> Account:
        """The signer's account; only routes with a permission may ask."""
        assert self.key is not None, "a public route has no account"
        return self.exchange.accounts[self.key.user_id]

    def symbol(self) -> str:
        """Return the required `symbol` of the query, known to the exchange."""
        return self.exchange.market.contract(self.required("symbol")).symbol

    def required(self, name: str) -> str:
        value = self.query.get(name)
        if not value:
            raise refusals.parameter(f"{name} is required")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self.query.get(name)
        if value is None or value == "":
            return default
        try:
            return int(value)
        except ValueError:
            raise refusals.parameter(f"{name} is not a number") from None


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint: its price in weight, its pool, and the permission it asks for."""

    method: str
    path: str
    handler: Handler
    weight: int
    pool: str
    permission: str | None = None      # None: public, unsigned


@dataclass(slots=True)
class RouteTable:
    """The endpoints of one market."""

    routes: list[Route] = field(default_factory=list)
    _exact: dict[tuple[str, str], Route] = field(default_factory=dict)
    _patterns: list[tuple[str, re.Pattern[str], Route]] = field(default_factory=list)

    def add(
        self, method: str, path: str, handler: Handler, weight: int, pool: str,
        permission: str | None = None,
    ) -> None:
        route = Route(
            method=method, path=path, handler=handler, weight=weight, pool=pool, permission=permission
        )
        self.routes.append(route)
        if "{" in path:
            pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
            self._patterns.append((method, pattern, route))
        else:
            self._exact[method, path] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route and the values in its path.

        Raises:
            Refusal: 404000, nothing lives there.
        """
        route = self._exact.get((method, path))
        if route is not None:
            return route, {}
        for verb, pattern, candidate in self._patterns:
            if verb == method and (match := pattern.fullmatch(path)):
                return candidate, match.groupdict()
        raise refusals.url_unknown()


def page(items: list[Any], call: Call, *, default_size: int = 50, largest: int = 1000) -> dict[str, Any]:
    """Return one page of *items* in KuCoin's old paging, currentPage counting from 1."""
    size = call.integer("pageSize", default_size)
    number = max(1, call.integer("currentPage", 1))
    if not 1 <= size <= largest:
        raise refusals.parameter(f"pageSize should not greater than {largest}")
    start = (number - 1) * size
    return {
        "currentPage": number, "pageSize": size, "totalNum": len(items),
        "totalPage": -(-len(items) // size), "items": items[start:start + size],
    }
