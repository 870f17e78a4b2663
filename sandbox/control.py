"""The control API: prices, time, faults, accounts and the exchange's own record, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox import shapes
from sandbox.accounts import Account, ApiKey
from sandbox.faults import UnknownFault
from sandbox.wire import dumps, loads, text

if TYPE_CHECKING:
    from sandbox.serving import Sandbox

Json = dict[str, Any]


class BadWish(ValueError):
    """The control API was asked for something it cannot do."""


class Control:
    """One method for each path under /control; every answer is a JSON object."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.exchange = sandbox.exchange
        self._actions: dict[tuple[str, str], Callable[[Json], Awaitable[Any]]] = {
            ("GET", "state"): self.state, ("GET", "history"): self.history,
            ("GET", "faults"): self.list_faults, ("POST", "faults"): self.add_fault,
            ("DELETE", "faults"): self.clear_faults, ("GET", "rates"): self.show_rates,
            ("POST", "rates"): self.change_rates, ("GET", "settings"): self.show_settings,
            ("POST", "settings"): self.change_settings, ("GET", "clock"): self.show_clock,
            ("POST", "clock"): self.change_clock, ("POST", "price"): self.set_price,
            ("POST", "prices"): self.set_prices,
            ("POST", "release"): self.release_price, ("POST", "script"): self.script_prices,
            ("POST", "freeze"): self.freeze_prices, ("POST", "account"): self.change_account,
            ("POST", "keys"): self.add_key, ("POST", "liquidate"): self.liquidate,
            ("POST", "funding"): self.settle_funding, ("POST", "step"): self.step,
            ("POST", "save"): self.save, ("POST", "shutdown"): self.shutdown,
        }

    async def answer(self, request: web.Request, path: str) -> web.Response:
        """Carry out one request; errors come back as HTTP 400 or 404 with a sentence."""
        name = path.removeprefix("/control").strip("/")
        try:
            if request.method == "DELETE" and name.startswith("faults/"):
                return _reply({"removed": self.sandbox.faults.remove(int(name.removeprefix("faults/")))})
            action = self._actions.get((request.method, name))
            if action is None:
                return _reply({"error": f"no {request.method} /control/{name}", "paths": self.paths()}, 404)
            raw = await request.read()
            wish = loads(raw) if raw else dict(request.query)
            if not isinstance(wish, dict):
                raise BadWish("the body must be a JSON object")
            return _reply(await action(wish))
        except KeyError as error:
            return _reply({"error": f"missing or unknown: {error}"}, 400)
        except (BadWish, UnknownFault, ValueError, TypeError, InvalidOperation) as error:
            return _reply({"error": str(error) or type(error).__name__}, 400)

    def paths(self) -> list[str]:
        return sorted(f"{method} /control/{name}" for method, name in self._actions)

    # --- looking

    async def state(self, wish: Json) -> Any:
        """Everything at once: accounts with positions and live orders, counts, time."""
        hub = self.sandbox.hub
        return {
            "now_ms": self.exchange.clock.now_ms(), "mono_ns": time.monotonic_ns(),
            "accounts": [self._account(account) for account in self.exchange.accounts.values()],
            "requests": self.sandbox.rest.requests, "refused_by_rate": self.sandbox.rates.refused,
            "sessions": len(hub.sessions), "pushes": hub.pushes, "topics": sorted(hub.by_topic),
            "last_event": self.exchange.history.last,
        }

    async def history(self, wish: Json) -> Any:
        """Every event above `since`, of one kind when `event` is given."""
        return {"events": self.exchange.history.since(int(wish.get("since", 0)), wish.get("event"))}

    # --- the market

    async def set_price(self, wish: Json) -> Any:
        """Hold `symbol` at `price` until released; orders and listeners meet it before the answer."""
        self._overlay("set_price")(self._symbol(wish), _decimal(wish["price"]))
        return self._step_now()

    async def set_prices(self, wish: Json) -> Any:
        """Hold several symbols at once: `prices` {symbol: price}; all move in one step, or none does."""
        wishes = dict(wish["prices"])
        prices = {self._symbol({"symbol": symbol}): _price(price) for symbol, price in wishes.items()}
        hold = self._overlay("set_price")
        for symbol, price in prices.items():
            hold(symbol, price)
        return self._step_now()

    async def release_price(self, wish: Json) -> Any:
        self._overlay("release")(self._symbol(wish))
        return self._step_now()

    async def script_prices(self, wish: Json) -> Any:
        """Let `symbol` walk through `points`: [[ms from now, price], …]."""
        points = [(int(ms), _decimal(price)) for ms, price in wish["points"]]
        self._overlay("script")(self._symbol(wish), points)
        return self._step_now()

    async def freeze_prices(self, wish: Json) -> Any:
        self._overlay("freeze")(bool(wish.get("frozen", True)))
        return {"frozen": bool(wish.get("frozen", True))}

    async def step(self, wish: Json) -> Any:
        """Move the market to now at once, instead of at the next tick."""
        return self._step_now()

    # --- time

    async def show_clock(self, wish: Json) -> Any:
        clock = self.exchange.clock
        return {"now_ms": clock.now_ms(), "offset_ms": clock.offset_ms, "frozen": clock.frozen}

    async def change_clock(self, wish: Json) -> Any:
        """Any of offset_ms, frozen, at_ms (with frozen), advance_ms."""
        clock = self.exchange.clock
        if "frozen" in wish:
            clock.freeze(wish.get("at_ms")) if wish["frozen"] else clock.thaw()
        if "offset_ms" in wish:
            clock.shift(int(wish["offset_ms"]))
        if "advance_ms" in wish:
            clock.advance(int(wish["advance_ms"]))
            self._step_now()
        return await self.show_clock(wish)

    # --- faults, rates, rules

    async def list_faults(self, wish: Json) -> Any:
        return {"faults": [rule.to_json() for rule in self.sandbox.faults.rules]}

    async def add_fault(self, wish: Json) -> Any:
        """Add a rule; ws_cut and ws_silence act at once and leave none."""
        kind = wish.get("kind")
        hub = self.sandbox.hub
        if kind == "ws_cut":
            return {"cut": hub.cut_all(wish.get("path", "*"), wish.get("private"))}
        if kind == "ws_silence":
            until = time.monotonic() + float(wish.get("delay_ms", 1e12)) / 1000
            hub.silent_until = until
            hub.deaf_until = 0.0 if wish.get("pong", True) else until
            return {"silent_ms": wish.get("delay_ms")}
        return self.sandbox.faults.add(_floats(wish)).to_json()

    async def clear_faults(self, wish: Json) -> Any:
        self.sandbox.faults.clear()
        self.sandbox.hub.silent_until = self.sandbox.hub.deaf_until = 0.0
        return {"faults": []}

    async def show_rates(self, wish: Json) -> Any:
        rates = self.sandbox.rates
        return {
            "quotas": rates.quotas, "window_ms": rates.window_ms, "charged": rates.charged,
            "refused": rates.refused,
        }

    async def change_rates(self, wish: Json) -> Any:
        """Set `quotas` {pool: weight} and `window_ms`; `exhaust` a pool; `reset` all windows."""
        rates = self.sandbox.rates
        for pool, quota in wish.get("quotas", {}).items():
            if pool not in rates.quotas:
                raise BadWish(f"no pool {pool!r}; there are {sorted(rates.quotas)}")
            rates.quotas[pool] = int(quota)
        rates.window_ms = int(wish.get("window_ms", rates.window_ms))
        if wish.get("reset"):
            rates.forget()
        if wish.get("exhaust"):
            rates.exhaust(wish["exhaust"])
        return await self.show_rates(wish)

    async def show_settings(self, wish: Json) -> Any:
        rules = self.exchange.rules
        return {f.name: getattr(rules, f.name) for f in fields(rules)}

    async def change_settings(self, wish: Json) -> Any:
        """Change any field of the exchange's rules."""
        rules = self.exchange.rules
        known = {f.name: type(getattr(rules, f.name)) for f in fields(rules)}
        for name, value in wish.items():
            if name not in known:
                raise BadWish(f"no setting {name!r}; there are {sorted(known)}")
            setattr(rules, name, _as(known[name], value))
        return await self.show_settings(wish)

    # --- accounts

    async def change_account(self, wish: Json) -> Any:
        """Set the `balance` of the account of `key` (the first one when none is named)."""
        account = self._chosen(wish)
        if "balance" in wish:
            self.exchange.ledger.set_balance(account, _decimal(wish["balance"]))
        return self._account(account)

    async def add_key(self, wish: Json) -> Any:
        """Add an API key: key, secret, passphrase, user_id, permissions, ip_whitelist, sub_name, balance."""
        first = next(iter(self.exchange.keys.values()))
        key = replace(
            first, key=wish["key"], secret=wish.get("secret", first.secret),
            passphrase=wish.get("passphrase", first.passphrase),
            user_id=wish.get("user_id", f"user-of-{wish['key']}"),
            permissions=tuple(wish.get("permissions", first.permissions)),
            ip_whitelist=wish.get("ip_whitelist"), sub_name=str(wish.get("sub_name", "")),
        )
        account = self.exchange.add_user(key, _decimal(wish.get("balance", 10_000)))
        return {"key": key.key, "user_id": account.user_id, "permissions": list(key.permissions)}

    async def liquidate(self, wish: Json) -> Any:
        account = self._chosen(wish)
        position = account.positions.get(self._symbol(wish))
        if position is None or not position.qty:
            raise BadWish("no such position")
        self.exchange.liquidate(account, position)
        return self._account(account)

    async def settle_funding(self, wish: Json) -> Any:
        """Settle one funding moment now, of `symbol` when given."""
        self.exchange.settle_funding_now(wish.get("symbol"))
        return await self.state(wish)

    async def save(self, wish: Json) -> Any:
        self.sandbox.save_books()
        return {"saved": self.sandbox.options.state is not None}

    async def shutdown(self, wish: Json) -> Any:
        self.sandbox.stop()
        return {"stopping": True}

    def _step_now(self) -> Json:
        changed = self.sandbox.step()
        return {"changed": list(changed), "mono_ns": time.monotonic_ns()}

    def _overlay(self, name: str) -> Callable[..., None]:
        method = getattr(self.exchange.source, name, None)
        if method is None:
            raise BadWish(f"this market source has no {name}")
        overlay: Callable[..., None] = method
        return overlay

    def _symbol(self, wish: Json) -> str:
        symbol: str = wish["symbol"]
        if not self.exchange.market.knows(symbol):
            raise BadWish(f"unknown symbol {symbol}")
        return symbol

    def _chosen(self, wish: Json) -> Account:
        key: ApiKey = self.exchange.keys[wish["key"]] if "key" in wish else next(
            iter(self.exchange.keys.values())
        )
        return self.exchange.accounts[key.user_id]

    def _account(self, account: Account) -> Json:
        ledger = self.exchange.ledger
        live = list(account.live_orders())
        return {
            "user_id": account.user_id, "wallet": text(account.wallet),
            "equity": text(ledger.equity(account)), "available": text(ledger.available(account)),
            "positions": [shapes.position_json(account, p, ledger) for p in account.open_positions()],
            "orders": [
                shapes.order_json(o, ledger.market.contract(o.symbol)) for o in live if not o.is_waiting_stop
            ],
            "stops": [
                shapes.order_json(o, ledger.market.contract(o.symbol)) for o in live if o.is_waiting_stop
            ],
            "orders_ever": len(account.orders), "fills_ever": len(account.fills),
        }


def _reply(document: Json, status: int = 200) -> web.Response:
    return web.Response(text=dumps(document), status=status, content_type="application/json")


def _price(value: Any) -> Decimal:
    price = _decimal(value)
    if not (price.is_finite() and price > 0):
        raise BadWish("a price must be above 0")
    return price


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def _floats(wish: Json) -> Json:
    """Return *wish* with JSON's decimals as floats: fault rules hold no money."""
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in wish.items()}


def _as(kind: type, value: Any) -> Any:
    if kind is bool:
        return value in (True, "true", "1")
    return Decimal(str(value)) if kind is Decimal else kind(value)
