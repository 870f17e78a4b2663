"""What happens to an accepted order: it meets the book, rests, is filled, cut or canceled."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from sandbox import admission
from sandbox.accounts import Account
from sandbox.depth import Depth
from sandbox.events import Listener
from sandbox.ledger import Ledger
from sandbox.orders import ZERO, Order
from sandbox.refusals import Refusal
from sandbox.wire import text

Mischief = Callable[[str, str], bool]      # (kind, symbol) -> whether it strikes now


class Matcher:
    """Matches one order at a time against the quoted book; users never meet each other."""

    def __init__(self, ledger: Ledger, depth: Depth, mischief: Mischief) -> None:
        self.ledger = ledger
        self.depth = depth
        self.mischief = mischief
        self.listener: Listener

    def take_in(self, account: Account, order: Order) -> None:
        """Match a newly accepted (or just triggered) order; what may rest, rests."""
        if not order.active:
            return
        if self.mischief("order_dies", order.symbol):
            self.cancel(account, order)
            return
        self._fit_to_position(account, order)
        if not order.remaining:
            self._finish(account, order)
        elif order.post_only and self._would_take(order):
            self.cancel(account, order)
        else:
            self._sweep(account, order, "taker")
            self._rest_or_end(account, order)

    def _rest_or_end(self, account: Account, order: Order) -> None:
        if not order.active:
            return
        if order.type == "market" or order.time_in_force == "IOC":
            self.cancel(account, order)
        else:
            order.resting = True
            self.listener.order_changed(account, order, "open")

    def rematch(self, account: Account, order: Order) -> None:
        """Let a moved market come to a resting order; it trades at its own price, as maker."""
        if self._would_take(order):
            self._fit_to_position(account, order)
            if order.remaining:
                self._sweep(account, order, "maker")
            else:
                self._finish(account, order)

    def cancel(self, account: Account, order: Order) -> None:
        """Take what is left of *order* off the exchange."""
        if not order.active:
            return
        waiting = order.is_waiting_stop
        order.canceled_size += order.remaining
        order.cancel_exist = True
        self._end(account, order)
        if waiting:
            self.listener.stop_changed(account, order, "cancel")
        else:
            self.listener.order_changed(account, order, "canceled")
        self.listener.wallet_changed(account)

    def fill_whole(self, account: Account, order: Order) -> None:
        """Fill what is left at the order's own price: how a fill overtakes a cancel."""
        quote = self.ledger.market.quote(order.symbol)
        price = order.price or (quote.ask if order.side == "buy" else quote.bid)
        self._execute(account, order, order.remaining, price, "maker")

    def trigger(self, account: Account, order: Order) -> None:
        """Turn a stop whose price was passed into an ordinary order of the same id."""
        order.stop_triggered = True
        order.updated_ms = self.ledger.clock.now_ms()
        account.stops.pop(order.id, None)
        account.active[order.id] = order
        self._cancel_siblings(account, order)
        self.listener.stop_changed(account, order, "triggered")
        self._note("stop_triggered", account, order)
        try:
            if order.close_order:
                self._aim_at_position(account, order)
            admission.freeze(order, account, self.ledger)
        except Refusal:                    # no position any more, or no money: it dies here
            self.cancel(account, order)
        self.take_in(account, order)

    def _sweep(self, account: Account, order: Order, liquidity: str) -> None:
        """Trade against the book, level by level, within the order's and the exchange's limits."""
        market = self.ledger.market
        contract, quote = market.contract(order.symbol), market.quote(order.symbol)
        bound = order.price
        if order.type == "market":
            bound = (
                market.buy_limit(contract, quote.mark) if order.side == "buy"
                else market.sell_limit(contract, quote.mark)
            )
        for price, lots in list(self.depth.ladder(contract, quote, order.side)):
            if (price - bound) * order.sign > 0:
                return
            at = order.price if liquidity == "maker" else price
            taken = min(lots, order.remaining)
            if not self._can_afford(account, order, taken, at):
                self.cancel(account, order)
                return
            self.depth.take(order.symbol, order.side, taken)
            self._execute(account, order, taken, at, liquidity)
            if not order.remaining:
                return
            if order.reduces_only:
                self._fit_to_position(account, order)
                if not order.remaining:
                    self._finish(account, order)
                    return

    def _execute(self, account: Account, order: Order, lots: int, price: Decimal, liquidity: str) -> None:
        before = account.position_qty(order.symbol)
        fill = self.ledger.fill(account, order, lots=lots, price=price, liquidity=liquidity)
        self.listener.order_changed(account, order, "match", fill)
        if not order.remaining:
            self._finish(account, order)
        position = account.positions[order.symbol]
        self.listener.position_changed(account, position, "positionChange")
        self.listener.wallet_changed(account)
        if order.take_profit or order.stop_loss:
            self._attach_stops(account, order)
        if before and not position.qty:
            self._after_going_flat(account, order.symbol)

    def _finish(self, account: Account, order: Order) -> None:
        self._end(account, order)
        self.listener.order_changed(account, order, "filled" if order.filled_size else "canceled")

    def _end(self, account: Account, order: Order) -> None:
        order.active = order.resting = False
        order.hold = ZERO
        order.updated_ms = order.end_ms = self.ledger.clock.now_ms()
        account.retire(order)
        self._note("order_done", account, order)

    def _can_afford(self, account: Account, order: Order, lots: int, price: Decimal) -> bool:
        cost = self.ledger.opening_cost(account, order, lots, price)
        return not cost or cost <= self.ledger.available(account) + order.hold

    def _would_take(self, order: Order) -> bool:
        quote = self.ledger.market.quote(order.symbol)
        return order.price >= quote.ask if order.side == "buy" else order.price <= quote.bid

    def _fit_to_position(self, account: Account, order: Order) -> None:
        """Cut what a reducing order asks beyond the position."""
        if not order.reduces_only:
            return
        held = account.position_qty(order.symbol)
        closable = abs(held) if held * order.sign < 0 else 0
        excess = order.remaining - closable
        if excess > 0:
            order.canceled_size += excess
            order.cancel_exist = True

    def _aim_at_position(self, account: Account, order: Order) -> None:
        """Give a closeOrder the side and size of the position it is to close now."""
        held = account.position_qty(order.symbol)
        if held:
            order.side = "sell" if held > 0 else "buy"
            order.size = abs(held)

    def _after_going_flat(self, account: Account, symbol: str) -> None:
        """Reducing orders have nothing left to reduce; waiting stops stay unless told otherwise."""
        for order in list(account.active.values()):
            if order.symbol == symbol and order.reduces_only and order.resting and not order.force_hold:
                self.cancel(account, order)
        if self.ledger.rules.cancel_stops_when_flat:
            for order in list(account.stops.values()):
                if order.symbol == symbol and order.reduces_only:
                    self.cancel(account, order)

    def _attach_stops(self, account: Account, entry: Order) -> None:
        """Place the take-profit and stop-loss that came with an entry, once it has filled."""
        for stop, price in (("up", entry.take_profit), ("down", entry.stop_loss)):
            if price:
                now_ms = self.ledger.clock.now_ms()
                order = Order(
                    id=self.ledger.numbers.order_id(now_ms), user_id=account.user_id,
                    client_oid=f"tpsl-{stop}-{entry.id}", symbol=entry.symbol, type="market",
                    side="sell" if entry.side == "buy" else "buy", price=ZERO,
                    size=abs(account.position_qty(entry.symbol)), leverage=entry.leverage,
                    margin_mode=entry.margin_mode, reduce_only=True, close_order=True, stop=stop,
                    stop_price=price, stop_price_type=entry.stop_price_type or "TP",
                    sibling_of=entry.id, created_ms=now_ms, updated_ms=now_ms,
                    order_ns=self.ledger.clock.now_ns(),
                )
                account.remember(order)
                self._note("stop_placed", account, order)
                self.listener.stop_changed(account, order, "open")
        entry.take_profit = entry.stop_loss = None

    def _cancel_siblings(self, account: Account, order: Order) -> None:
        if order.sibling_of:
            for other in list(account.stops.values()):
                if other.sibling_of == order.sibling_of:
                    self.cancel(account, other)

    def _note(self, event: str, account: Account, order: Order) -> None:
        self.ledger.history.append(
            event, self.ledger.clock.now_ms(), user_id=account.user_id, order_id=order.id,
            client_oid=order.client_oid, symbol=order.symbol, side=order.side, type=order.type,
            size=order.size, filled_size=order.filled_size, canceled_size=order.canceled_size,
            cancel_exist=order.cancel_exist, stop=order.stop,
            stop_price=text(order.stop_price) if order.stop_price else None,
            price=text(order.price), close_order=order.close_order, reduce_only=order.reduce_only,
        )
