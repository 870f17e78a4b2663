"""The exchange itself: accounts, one market, accept-then-match, and the passing of time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal

from sandbox import admission, refusals
from sandbox.accounts import Account, ApiKey
from sandbox.admission import Body
from sandbox.clock import ExchangeClock
from sandbox.depth import Depth
from sandbox.events import Deaf, Listener
from sandbox.history import History
from sandbox.ledger import Ledger
from sandbox.level2 import Level2
from sandbox.market.source import MarketSource
from sandbox.marketview import MarketView
from sandbox.matching import Matcher, Mischief
from sandbox.orders import Numbers, Order
from sandbox.positions import Position
from sandbox.settings import ExchangeRules
from sandbox.wire import text


class Exchange:
    """Everything that trades, without a wire: one event loop (or one test) is its only caller.

    `place` and `cancel` answer on acceptance; what they started waits in a queue until
    `run_pending`, so that a client sees the same gap as on KuCoin.
    """

    def __init__(
        self, source: MarketSource, *, clock: ExchangeClock | None = None,
        rules: ExchangeRules | None = None, mischief: Mischief = lambda kind, symbol: False,
    ) -> None:
        self.clock = clock or ExchangeClock()
        self.rules = rules or ExchangeRules()
        self.source = source
        self.market = MarketView(source)
        self.history = History()
        self.numbers = Numbers()
        self.ledger = Ledger(self.market, self.clock, self.rules, self.numbers, self.history)
        self.depth = Depth(self.rules.depth_levels)
        self.level2 = Level2(self.depth)
        self.mischief = mischief
        self.matcher = Matcher(self.ledger, self.depth, mischief)
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, ApiKey] = {}
        self.wake: Callable[[], None] = lambda: None      # told once for each item of the queue
        self._pending: deque[tuple[str, Account, Order]] = deque()
        self.listen(Deaf())

    def listen(self, listener: Listener) -> None:
        self.ledger.listener = self.matcher.listener = self.listener = listener

    async def start(self) -> None:
        await self.source.start()
        self.market.reload()
        self.source.advance(self.clock.now_ms())

    def add_user(self, key: ApiKey, balance: Decimal) -> Account:
        """Register *key*; its user gets an account with *balance* unless there is one already."""
        self.keys[key.key] = key
        if key.user_id not in self.accounts:
            uid = self.numbers.following("uid", 165_111_215)
            self.accounts[key.user_id] = Account(user_id=key.user_id, uid=uid)
            self.ledger.set_balance(self.accounts[key.user_id], balance)
        return self.accounts[key.user_id]

    def place(self, account: Account, body: Body, *, received_ns: int = 0) -> Order:
        """Accept an order, or refuse it; matching comes later.

        Raises:
            Refusal: with KuCoin's code; the order does not exist.
        """
        try:
            if body.get("stop") and self.mischief("refuse_stop", str(body.get("symbol"))):
                raise refusals.too_many_stops(1, 1)
            order = admission.admit(body, account, self.ledger)
        except refusals.Refusal as refusal:
            self.history.append(
                "order_refused", self.clock.now_ms(), user_id=account.user_id, code=refusal.code,
                client_oid=body.get("clientOid"), symbol=body.get("symbol"), received_ns=received_ns,
            )
            raise
        order.visible_at = time.monotonic() + self.rules.visibility_delay_ms / 1000
        account.remember(order)
        self._note_acceptance(account, order, received_ns)
        if order.is_waiting_stop:
            self.listener.stop_changed(account, order, "open")
        self._enqueue("order", account, order)
        return order

    def cancel(self, account: Account, order: Order | None) -> Order:
        """Accept a cancel; a fill may still come first.

        Raises:
            Refusal: 100004, there is no such live order.
        """
        if self.rules.service_status == "close":
            raise refusals.suspended()
        if order is None or not order.active:
            raise refusals.not_cancelable()
        self.history.append(
            "cancel_accepted", self.clock.now_ms(), user_id=account.user_id, order_id=order.id,
            client_oid=order.client_oid, symbol=order.symbol,
        )
        self._enqueue("cancel", account, order)
        return order

    def run_pending(self, limit: int | None = None) -> None:
        """Carry out what was accepted, oldest first; *limit* items of it when given."""
        count = len(self._pending) if limit is None else min(limit, len(self._pending))
        for _ in range(count):
            kind, account, order = self._pending.popleft()
            if kind == "cancel":
                self._carry_out_cancel(account, order)
            elif not order.is_waiting_stop:
                self.matcher.take_in(account, order)
            elif self.mischief("stop_dies", order.symbol):
                self.matcher.cancel(account, order)
            else:
                now = self.market.stop_price_now(order.symbol, order.stop_price_type)
                self._try_stop(account, order, (now, now))

    def step(self) -> tuple[str, ...]:
        """Move the market to now and let it meet orders, stops and positions.

        Returns:
            The symbols whose quote has changed.
        """
        changed = self.source.advance(self.clock.now_ms())
        self.depth.refill()
        self.touch(changed)
        self._settle_due_funding()
        return changed

    def touch(self, symbols: Iterable[str]) -> None:
        """Let orders, stops and positions meet the present prices of *symbols*."""
        moved = set(symbols)
        for account in self.accounts.values():
            for order in [o for o in account.active.values() if o.resting]:
                # Liquidity came back with this step, so an unchanged quote may fill more as well.
                self.matcher.rematch(account, order)
            if not moved:
                continue
            for order in [o for o in account.stops.values() if o.symbol in moved]:
                self._try_stop(account, order, self.market.stop_range(order.symbol, order.stop_price_type))
            for position in [p for p in account.open_positions() if p.symbol in moved]:
                self._check_liquidation(account, position)

    def liquidate(self, account: Account, position: Position) -> None:
        """Take *position* over now, whatever its price."""
        for order in list(account.active.values()):
            if order.symbol == position.symbol:
                self.matcher.cancel(account, order)
        order = self._liquidation_order(account, position)
        self.history.append(
            "liquidation", self.clock.now_ms(), user_id=account.user_id, symbol=position.symbol,
            qty=position.qty, margin_mode=position.margin_mode,
        )
        if position.margin_mode == "CROSS":
            self.matcher.fill_whole(account, order)
        else:
            lots = order.size
            fill = self.ledger.liquidate(account, position, order)
            assert fill.size == lots
            self.listener.order_changed(account, order, "match", fill)
            order.active = False
            order.end_ms = order.updated_ms
            account.retire(order)
            self.listener.order_changed(account, order, "filled")
        self.listener.position_changed(account, position, "liquidation")
        self.listener.wallet_changed(account)

    def settle_funding_now(self, symbol: str | None = None) -> None:
        """Settle one extra funding moment at once, of one contract when given."""
        for account in self.accounts.values():
            for position in list(account.open_positions()):
                if symbol in (None, position.symbol):
                    self.ledger.settle_funding(
                        account, position, position.funding_period, self.clock.now_ms()
                    )

    def resume(self) -> None:
        """Go on after the books were loaded: what was accepted but not matched is matched now."""
        for account in self.accounts.values():
            self._forget_delisted(account)
            for order in list(account.active.values()):
                if not order.resting:
                    self._enqueue("order", account, order)

    def _forget_delisted(self, account: Account) -> None:
        """Drop what is about contracts this market does not have: another market, the same books."""
        for symbol in [s for s in account.positions if not self.market.knows(s)]:
            qty = account.positions.pop(symbol).qty
            self.history.append(
                "delisted", self.clock.now_ms(), user_id=account.user_id, symbol=symbol, qty=qty
            )
        for order in [o for o in account.orders.values() if not self.market.knows(o.symbol)]:
            account.retire(order)
            del account.orders[order.id]

    def _enqueue(self, kind: str, account: Account, order: Order) -> None:
        self._pending.append((kind, account, order))
        self.wake()

    def _carry_out_cancel(self, account: Account, order: Order) -> None:
        if order.active and not order.is_waiting_stop and self.mischief("cancel_loses", order.symbol):
            self.matcher.fill_whole(account, order)
        self.matcher.cancel(account, order)

    def _try_stop(self, account: Account, order: Order, passed: tuple[Decimal, Decimal]) -> None:
        """Trigger *order* when its price lies in the range *passed* through."""
        if not order.active or order.stop_price is None or order.id not in account.stops:
            return
        low, high = passed
        if (high >= order.stop_price) if order.stop == "up" else (low <= order.stop_price):
            self.matcher.trigger(account, order)

    def _check_liquidation(self, account: Account, position: Position) -> None:
        if not position.qty:
            return
        contract = self.market.contract(position.symbol)
        if position.margin_mode == "CROSS":
            if self._cross_is_exhausted(account):
                for other in [p for p in account.open_positions() if p.margin_mode == "CROSS"]:
                    self.liquidate(account, other)
                self.ledger.cover_shortfall(account)
            return
        low, high = self.source.traded_range(position.symbol)
        mark = self.market.mark(position.symbol)
        worst = min(low, mark) if position.qty > 0 else max(high, mark)
        if position.must_be_liquidated(contract, worst):
            self.liquidate(account, position)

    def _cross_is_exhausted(self, account: Account) -> bool:
        """Whether what backs all cross positions together is below their maintenance margin."""
        needed = sum(
            (
                p.maintenance(self.market.contract(p.symbol))
                for p in account.open_positions() if p.margin_mode == "CROSS"
            ),
            start=Decimal(0),
        )
        backing = (
            account.wallet - self.ledger.position_margin(account, "ISOLATED")
            - account.order_margin("ISOLATED") + self.ledger.unrealised(account, "CROSS")
        )
        return backing <= needed

    def _liquidation_order(self, account: Account, position: Position) -> Order:
        now_ms = self.clock.now_ms()
        number = self.numbers.order_id(now_ms)
        order = Order(
            id=number, user_id=account.user_id, client_oid=f"liquidation-{number}",
            symbol=position.symbol, type="market", side="sell" if position.qty > 0 else "buy",
            price=Decimal(0), size=abs(position.qty), leverage=position.leverage,
            margin_mode=position.margin_mode, reduce_only=True, close_order=True, trade_type="liquid",
            created_ms=now_ms, updated_ms=now_ms, order_ns=self.clock.now_ns(),
        )
        account.remember(order)
        return order

    def _settle_due_funding(self) -> None:
        for account in self.accounts.values():
            for position in list(account.open_positions()):
                contract = self.market.contract(position.symbol)
                period = self.ledger.funding_period(contract)
                if period > position.funding_period:
                    moment = period * self.ledger.funding_period_ms(contract)
                    self.ledger.settle_funding(account, position, period, moment)

    def _note_acceptance(self, account: Account, order: Order, received_ns: int) -> None:
        self.history.append(
            "stop_placed" if order.stop else "order_accepted", self.clock.now_ms(),
            user_id=account.user_id, order_id=order.id, client_oid=order.client_oid,
            symbol=order.symbol, side=order.side, type=order.type, size=order.size,
            price=text(order.price), stop=order.stop,
            stop_price=text(order.stop_price) if order.stop_price else None,
            reduce_only=order.reduce_only, close_order=order.close_order,
            time_in_force=order.time_in_force, margin_mode=order.margin_mode, leverage=text(order.leverage),
            received_ns=received_ns,
        )
