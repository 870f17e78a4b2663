"""An exchange without a wire, with one account, and orders in one line: for the engine's own tests."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from typing import Any

from sandbox.accounts import Account, ApiKey
from sandbox.clock import ExchangeClock
from sandbox.exchange import Exchange
from sandbox.orders import Fill, Order
from sandbox.positions import Position
from sandbox.settings import ExchangeRules
from tests.sandbox.fake_market import FakeMarket

D = Decimal
XBT = "XBTUSDTM"


class Desk:
    """One trader at one exchange; every order is matched at once."""

    def __init__(self, balance: str = "10000", *, market: FakeMarket | None = None, **rules: Any) -> None:
        self.market = market or FakeMarket()
        self.clock = ExchangeClock()
        self.clock.freeze(1_700_000_000_000)
        self.struck: set[str] = set()          # mischief to come, each once
        self.exchange = Exchange(
            self.market, clock=self.clock, rules=ExchangeRules(**rules), mischief=self._mischief
        )
        asyncio.run(self.exchange.start())
        key = ApiKey(key="k", secret="s", passphrase="p", user_id="u")
        self.account: Account = self.exchange.add_user(key, D(balance))
        self._numbers = itertools.count(1)

    def place(self, side: str, size: int, /, **wish: Any) -> Order:
        """Accept one order without matching it; a market order unless a price is given."""
        body: dict[str, Any] = {
            "clientOid": f"oid-{next(self._numbers)}", "symbol": XBT, "side": side, "size": size,
            "leverage": 10, "type": "limit" if "price" in wish else "market",
        }
        return self.exchange.place(self.account, body | wish)

    def trade(self, side: str, size: int, /, **wish: Any) -> Order:
        order = self.place(side, size, **wish)
        self.exchange.run_pending()
        return order

    def move(self, *prices: str, symbol: str = XBT) -> None:
        """Let the market pass through *prices* in one step."""
        for price in prices:
            self.market.set_price(symbol, D(price))
        self.exchange.step()

    def position(self, symbol: str = XBT) -> Position:
        return self.account.positions[symbol]

    def fills(self) -> list[Fill]:
        return list(self.account.fills)

    def _mischief(self, kind: str, symbol: str) -> bool:
        if kind in self.struck:
            self.struck.discard(kind)
            return True
        return False
