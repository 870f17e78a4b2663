"""The exchange's books in a file, so that positions and orders outlive the process."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from sandbox.accounts import Account
from sandbox.exchange import Exchange
from sandbox.orders import Fill, Order
from sandbox.positions import Position
from sandbox.wire import text

VERSION = 1
_KEPT_DONE_ORDERS = 2_000
_KEPT_FILLS = 5_000
_ROWS = ("funding_history", "closed_positions", "ledger")
T = TypeVar("T", Order, Fill, Position)


class UnreadableBooks(Exception):
    """The state file is there but cannot be used; it is left untouched."""


class Books:
    """Saves one exchange to one file, atomically, whenever something has happened."""

    def __init__(
        self, exchange: Exchange, path: Path, *, market: str = "", anchor_ms: int | None = None
    ) -> None:
        self._exchange = exchange
        self._path = path
        self._market = market
        self._anchor_ms = exchange.clock.now_ms() if anchor_ms is None else anchor_ms
        self._saved_at_event = -1
        self._documents = 0                   # made so far, in the loop's thread
        self._file_lock = threading.Lock()    # the last save may meet one under way in a thread
        self._written = 0                     # guarded by _file_lock: the number of the document in the file
        self._frozen: dict[str, str] = {}      # done orders and fills never change: serialised once

    def load(self) -> bool:
        """Fill the exchange from the file; False when there is none.

        Raises:
            UnreadableBooks: the file is damaged or of another version.
        """
        if not self._path.exists():
            return False
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"), object_hook=_revive)
            if state["version"] != VERSION:
                raise UnreadableBooks(f"{self._path}: version {state['version']}, expected {VERSION}")
            self._exchange.numbers.last = state["numbers"]["last"]
            self._exchange.numbers.counters = state["numbers"]["counters"]
            for row in state["accounts"]:
                account = _account_from(row)
                self._exchange.accounts[account.user_id] = account
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableBooks(f"{self._path}: {error!r}") from error
        self._exchange.resume()
        return True

    async def save_if_changed(self) -> None:
        """Write the books when anything happened since the last time; the disk work is in a thread."""
        if self._exchange.history.last != self._saved_at_event:
            document, number = self._document(), self._documents
            await asyncio.to_thread(self._write, document, number)

    def save(self) -> None:
        """Write the books now."""
        document = self._document()
        self._write(document, self._documents)

    def _write(self, document: str, number: int) -> None:
        with self._file_lock:
            if number < self._written:
                return                        # a newer one was quicker
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._path.with_name(self._path.name + ".new")
            with scratch.open("w", encoding="utf-8") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
            self._written = number

    def _document(self) -> str:
        exchange = self._exchange
        self._saved_at_event = exchange.history.last
        self._documents += 1
        prices = {c.symbol: exchange.market.quote(c.symbol).last for c in exchange.market.contracts()}
        head = {
            "version": VERSION, "saved_ms": exchange.clock.now_ms(), "prices": prices,
            "market": self._market, "anchor_ms": self._anchor_ms,
            "numbers": {"last": exchange.numbers.last, "counters": exchange.numbers.counters},
        }
        accounts = ",".join(self._account(account) for account in exchange.accounts.values())
        return f'{_dump(head)[:-1]},"accounts":[{accounts}]}}'

    def _account(self, account: Account) -> str:
        head = {
            "user_id": account.user_id, "uid": account.uid, "currency": account.currency,
            "wallet": account.wallet, "margin_modes": account.margin_modes,
            "cross_leverage": account.cross_leverage,
            "positions": [_plain(position) for position in account.positions.values()],
            **{name: list(getattr(account, name))[-1000:] for name in _ROWS},
        }
        live = [order for order in account.orders.values() if order.active]
        done = [order for order in account.orders.values() if not order.active][-_KEPT_DONE_ORDERS:]
        orders = [*(self._once(f"o{o.id}", o) for o in done), *(_dump(_plain(o)) for o in live)]
        fills = [self._once(f"f{f.trade_id}", f) for f in list(account.fills)[-_KEPT_FILLS:]]
        return f'{_dump(head)[:-1]},"orders":[{",".join(orders)}],"fills":[{",".join(fills)}]}}'

    def _once(self, name: str, fact: Order | Fill) -> str:
        if name not in self._frozen:
            if len(self._frozen) > 4 * (_KEPT_DONE_ORDERS + _KEPT_FILLS):
                self._frozen.clear()
            self._frozen[name] = _dump(_plain(fact))
        return self._frozen[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedMarket:
    """What a state file knows of the market its books belong to."""

    identity: str
    anchor_ms: int
    prices: dict[str, Decimal]


def saved_market(path: Path) -> SavedMarket | None:
    """Return the market of a state file, to go on with; None without one that can be read."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"), object_hook=_revive)
        return SavedMarket(
            identity=state["market"], anchor_ms=int(state["anchor_ms"]), prices=state["prices"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _account_from(row: dict[str, Any]) -> Account:
    account = Account(
        user_id=row["user_id"], uid=row["uid"], currency=row["currency"], wallet=row["wallet"],
        margin_modes=row["margin_modes"], cross_leverage=row["cross_leverage"],
    )
    for position in _each(Position, row["positions"]):
        account.positions[position.symbol] = position
    for order in sorted(_each(Order, row["orders"]), key=lambda o: int(o.id)):
        account.remember(order)
        if not order.active:
            account.retire(order)
    account.fills.extend(_each(Fill, row["fills"]))
    for name in _ROWS:
        kept: deque[dict[str, Any]] = getattr(account, name)
        kept.extend(row[name])
    return account


def _each(kind: type[T], rows: Iterable[dict[str, Any]]) -> list[T]:
    """Rebuild facts; a field that has gone since is dropped, a new one takes its default."""
    names = {f.name for f in fields(kind)}
    return [kind(**{name: value for name, value in row.items() if name in names}) for row in rows]


def _plain(fact: Order | Fill | Position) -> dict[str, Any]:
    return {f.name: getattr(fact, f.name) for f in fields(fact) if f.name != "visible_at"}


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), default=_exact)


def _exact(value: object) -> dict[str, str]:
    if isinstance(value, Decimal):
        return {"$": text(value)}
    raise TypeError(f"{type(value).__name__} cannot be saved")


def _revive(found: dict[str, Any]) -> Any:
    return Decimal(found["$"]) if len(found) == 1 and "$" in found else found
