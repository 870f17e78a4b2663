"""An exchange in memory at the edge of the position manager: fills at once, and fails on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from runtime.locks import assert_no_lock_held
from trading.client_ids import parse
from trading.errors import (
    NothingToClose,
    OrderNotFound,
    OutcomeUnknown,
    TooLarge,
    TooManyStops,
    UnknownInstrument,
)
from trading.facts import (
    ZERO,
    Balance,
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    Fill,
    Funding,
    Instrument,
    Order,
    OrderRequest,
    OrderSide,
    Position,
    Price,
    Priority,
    Side,
    Ticker,
)
from trading.lifecycle import IntentState, check
from trading.ports import Clock

FEE_RATE = Decimal("0.0006")


class FakeExchange:
    """`trading.ports.Exchange`: one net position per symbol, market orders fill at `prices`.

    `before` hooks run inside each call named there, with the request: to park a thread at a
    meeting point, to raise instead of acting, or to lose the answer after acting (`lose_answer`).
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._lock = threading.Lock()
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self.prices: dict[str, Decimal] = {}
        self.net: dict[str, Decimal] = {}                  # signed lots
        self.entry_prices: dict[str, Decimal] = {}
        self.orders: dict[str, Order] = {}                 # by order id
        self.fills: list[Fill] = []
        self.received: list[OrderRequest] = []             # every order request that arrived
        self.before: dict[str, Callable[[object], None]] = {}
        self.lose_answer: Callable[[OrderRequest], bool] = lambda _request: False
        self.lose_request: Callable[[OrderRequest], bool] = lambda _request: False
        self.fillable: Decimal | None = None               # lots a market order finds, None: all
        self.margin_modes: dict[str, str] = {}             # isolated where nobody said otherwise
        self.most_lots: Decimal | None = None              # of one order that is taken
        self.one_stop = False                              # refuse a second closeOrder stop of a symbol
        self.lazy_cancels: list[str] | None = None         # cancels accepted and not carried out yet
        self.resting: set[str] = set()                     # client ids of orders that stay active
        self.funding: dict[str, list[Funding]] = {}        # by symbol
        self.opened_ms: dict[str, int] = {}                # when each position was opened
        self.now_ms: Callable[[], int] = lambda: 2_000_000_000_000
        self.offset_ms = 0                                 # by which RAD's clock is ahead, as it has measured

    # ---- what the bot calls ---------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        try:
            return self._instruments[symbol]
        except KeyError:
            raise UnknownInstrument(f"no such symbol {symbol}") from None

    def place_order(self, request: OrderRequest, priority: Priority) -> str:
        self._enter("place_order", request)
        if self.lose_request(request):
            raise OutcomeUnknown("the request was lost")
        with self._lock:
            order_id = self._accept(request)
        if self.lose_answer(request):
            raise OutcomeUnknown("the answer was lost")
        return order_id

    def cancel_order(self, order_id: str, priority: Priority) -> None:
        self._enter("cancel_order", order_id)
        with self._lock:
            order = self.orders.get(order_id)
            if order is None or not order.is_active:
                raise OrderNotFound("order not exist")
            if self.lazy_cancels is not None:
                self.lazy_cancels.append(order_id)
                return
            self.orders[order_id] = replace(order, is_active=False, is_cancelled=True)

    def find_order(self, client_oid: str, priority: Priority = Priority.HIGH) -> Order | None:
        self._enter("find_order", client_oid)
        with self._lock:
            return next((o for o in self.orders.values() if o.client_oid == client_oid), None)

    def fetch_order(self, order_id: str, priority: Priority = Priority.HIGH) -> Order:
        self._enter("fetch_order", order_id)
        with self._lock:
            if order_id not in self.orders:
                raise OrderNotFound("order not exist")
            return self.orders[order_id]

    def fetch_open_orders(self, priority: Priority = Priority.NORMAL) -> tuple[Order, ...]:
        self._enter("fetch_open_orders", None)
        with self._lock:
            return tuple(o for o in self.orders.values() if o.is_active and not o.is_stop)

    def fetch_stop_orders(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL
    ) -> tuple[Order, ...]:
        self._enter("fetch_stop_orders", symbol)
        with self._lock:
            return tuple(
                o for o in self.orders.values() if o.is_active and o.is_stop and symbol in (None, o.symbol)
            )

    def fetch_recent_fills(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL, *, since_ms: int = 0
    ) -> tuple[Fill, ...]:
        self._enter("fetch_recent_fills", symbol)
        with self._lock:
            return tuple(fill for fill in self.fills if symbol in (None, fill.symbol) and fill.ts_ms >= since_ms)

    def fetch_older_fills(self, symbol: str, since_ms: int) -> tuple[Fill, ...]:
        self._enter("fetch_older_fills", symbol)
        return ()

    def fetch_order_fills(self, order_id: str, priority: Priority = Priority.HIGH) -> tuple[Fill, ...]:
        self._enter("fetch_order_fills", order_id)
        with self._lock:
            return tuple(fill for fill in self.fills if fill.order_id == order_id)

    def fetch_positions(self, priority: Priority = Priority.NORMAL) -> tuple[ExchangePosition, ...]:
        self._enter("fetch_positions", None)
        with self._lock:
            return tuple(self._position(symbol, net) for symbol, net in self.net.items() if net)

    def fetch_balance(self, priority: Priority = Priority.NORMAL) -> Balance:
        self._enter("fetch_balance", None)
        return Balance(
            currency="USDT", equity=Decimal(10_000), available=Decimal(10_000), unrealised_pnl=ZERO
        )

    def set_margin_mode(self, symbol: str, margin_mode: str, leverage: Decimal) -> None:
        self._enter("set_margin_mode", symbol)
        with self._lock:
            self.margin_modes[symbol] = margin_mode

    def fetch_funding(self, symbol: str, since_ms: int, until_ms: int) -> tuple[Funding, ...]:
        self._enter("fetch_funding", symbol)
        return tuple(paid for paid in self.funding.get(symbol, ()) if since_ms <= paid.at_ms <= until_ms)

    def fetch_tickers(self, priority: Priority = Priority.SCAN) -> dict[str, Ticker]:
        self._enter("fetch_tickers", None)
        return {}

    def clock_offset_ms(self) -> int:
        return self.offset_ms

    # ---- what a test does -----------------------------------------------------------------------

    def trigger_stop(self, symbol: str) -> Order:
        """Let the resting stop of *symbol* fire and close whatever is there."""
        with self._lock:
            stop = next(o for o in self.orders.values() if o.symbol == symbol and o.is_active and o.is_stop)
            return self._fill(replace(stop, stop_triggered=True), abs(self.net[symbol]))

    def trade_elsewhere(self, symbol: str, side: OrderSide, quantity: Decimal, kind: str = "trade") -> None:
        """Let somebody else trade on the same account, or the exchange itself: *kind* liquid or adl."""
        with self._lock:
            order = _order_of(f"foreign-{len(self.orders)}", OrderRequest(
                client_oid=f"web_{len(self.orders)}", symbol=symbol, side=side, quantity=quantity
            ))
            self._fill(order, quantity, kind)

    def order_elsewhere(self, order_id: str, **fields: Any) -> Order:
        """Let an order rest that somebody else has placed, or that is nobody's any more."""
        request = OrderRequest(client_oid="web-resting", symbol=next(iter(self._instruments)), side=OrderSide.SELL)
        with self._lock:
            order = self.orders[order_id] = replace(_order_of(order_id, request), **fields)
            return order

    def fill_resting(self, client_oid: str, quantity: Decimal) -> None:
        """Let an order that stayed active fill, wholly or in part, and end."""
        with self._lock:
            order = next(o for o in self.orders.values() if o.client_oid == client_oid and o.is_active)
            self._fill(order, quantity)

    def entries(self) -> list[OrderRequest]:
        """Return the entry orders that arrived."""
        return [request for request in self.received if "-e" in request.client_oid]

    def exits(self) -> list[OrderRequest]:
        """Return the exit orders that arrived, stops left out."""
        return [request for request in self.received if "-x" in request.client_oid]

    # ---- inside ---------------------------------------------------------------------------------

    def _enter(self, name: str, what: object) -> None:
        assert_no_lock_held(f"exchange call {name}")
        hook = self.before.get(name)
        if hook is not None:
            hook(what)

    def _accept(self, request: OrderRequest) -> str:
        self.received.append(request)
        net = self.net.get(request.symbol, ZERO)
        if (request.reduce_only or request.close_order) and (
            not net or (not request.close_order and (net > 0) == (request.side is OrderSide.BUY))
        ):
            raise NothingToClose("no open positions to close", code="300009")
        if self.most_lots is not None and request.quantity is not None and request.quantity > self.most_lots:
            raise TooLarge(f"Order size cannot exceed {self.most_lots}", code="300000")
        if request.stop_price is not None and self.one_stop and any(
            other.is_active and other.is_stop and other.symbol == request.symbol for other in self.orders.values()
        ):
            raise TooManyStops("Stop order quantity limit exceeded (limit: 1, current: 1)", code="300004")
        order = _order_of(f"order-{len(self.orders)}", request)
        if request.close_order and request.stop_price is None:
            order = replace(order, quantity=abs(net))
        order = replace(order, created_ms=self.now_ms())
        self.orders[order.order_id] = order
        if request.stop_price is not None or request.client_oid in self.resting:
            return order.order_id
        quantity = order.quantity
        if request.reduce_only:
            quantity = min(quantity, abs(net))
        if self.fillable is not None:
            quantity = min(quantity, self.fillable)
        self._fill(order, quantity)
        return order.order_id

    def _fill(self, order: Order, quantity: Decimal, kind: str = "trade") -> Order:
        price = self.prices[order.symbol]
        multiplier = self._instruments[order.symbol].multiplier
        signed = quantity if order.side is OrderSide.BUY else -quantity
        net = self.net.get(order.symbol, ZERO)
        if not net or (net > 0) == (signed > 0):
            self.entry_prices[order.symbol] = price
        if not net or (net > 0) != (net + signed > 0):
            self.opened_ms[order.symbol] = self.now_ms()
        self.net[order.symbol] = net + signed
        value = quantity * multiplier * price
        done = replace(
            order,
            filled_quantity=quantity,
            filled_value=value,
            average_price=price if quantity else None,
            is_active=False,
            is_cancelled=quantity < order.quantity,
        )
        self.orders[order.order_id] = done
        if quantity:
            self.fills.append(Fill(
                trade_id=f"trade-{len(self.fills)}", order_id=order.order_id, symbol=order.symbol,
                side=order.side, quantity=quantity, price=price, fee=value * FEE_RATE, ts_ms=self.now_ms(),
                kind=kind,
            ))
        return done

    def _position(self, symbol: str, net: Decimal) -> ExchangePosition:
        return ExchangePosition(
            symbol=symbol,
            side=Side.LONG if net > 0 else Side.SHORT,
            quantity=abs(net),
            entry_price=self.entry_prices[symbol],
            mark_price=self.prices[symbol],
            leverage=Decimal(1),
            margin_mode=self.margin_modes.get(symbol, "isolated"),
            unrealised_pnl=ZERO,
            liquidation_price=None,
            opened_ms=self.opened_ms.get(symbol, 0),
        )


def _order_of(order_id: str, request: OrderRequest) -> Order:
    return Order(
        order_id=order_id,
        client_oid=request.client_oid,
        symbol=request.symbol,
        side=request.side,
        quantity=request.quantity or ZERO,
        filled_quantity=ZERO,
        filled_value=ZERO,
        average_price=None,
        is_active=True,
        is_cancelled=False,
        reduce_only=request.reduce_only,
        close_order=request.close_order,
        stop_price=request.stop_price,
        stop_triggered=False,
        created_ms=0,
    )


class FakeJournal:
    """`trading.ports.Journal` in memory; refuses illegal transitions and double bookings as the real one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.intents: dict[str, IntentState] = {}
        self.order_ids: dict[str, str] = {}
        self.requests: dict[str, OrderRequest] = {}
        self.fills: dict[tuple[str, str], Fill] = {}
        self.positions: dict[str, Position] = {}
        self.trades: list[ClosedTrade] = []
        self.events: list[tuple[str, str, str]] = []
        self.fail: Exception | None = None

    def record_intent(
        self, position_id: str, request: OrderRequest, purpose: str, *,
        plan: EntryPlan | None = None, wait: bool,
    ) -> None:
        self._enter()
        with self._lock:
            assert request.client_oid not in self.intents, "one intent, one client id"
            self.intents[request.client_oid] = IntentState.INTENDED
            self.requests[request.client_oid] = request

    def settle_intent(
        self, client_oid: str, state: IntentState, order_id: str = "", *, wait: bool = False
    ) -> None:
        self._enter()
        with self._lock:
            if client_oid not in self.intents:      # never written down here, as after a loss
                return
            if order_id:
                self.order_ids[order_id] = client_oid
            if self.intents[client_oid] is not state:
                self.intents[client_oid] = check(self.intents[client_oid], state)

    def record_fills(self, client_oid: str, fills: Iterable[Fill], *, wait: bool = False) -> None:
        self._enter()
        with self._lock:
            for fill in fills:
                self.fills.setdefault((fill.symbol, fill.trade_id), fill)

    def client_oids(self, order_ids: Iterable[str], *, settled: bool = False) -> dict[str, str]:
        self._enter()
        wanted = set(order_ids)
        with self._lock:
            return {
                order_id: client_oid for order_id, client_oid in self.order_ids.items() if order_id in wanted
                if not settled or self.intents.get(client_oid) is IntentState.DONE
            }

    def last_attempt(self, position_id: str, purpose: str) -> int:
        self._enter()
        with self._lock:
            named = [client_oid for client_oid in map(parse, self.intents) if client_oid is not None]
        return max((
            client_oid.attempt for client_oid in named
            if (client_oid.position_id, client_oid.purpose.value) == (position_id, purpose)
        ), default=0)

    def is_closed(self, position_id: str) -> bool:
        self._enter()
        with self._lock:
            return any(trade.position_id == position_id for trade in self.trades)

    def flush(self, timeout_s: float) -> bool:
        return self.fail is None

    def is_booked(self, symbol: str, trade_id: str) -> bool:
        self._enter()
        with self._lock:
            return (symbol, trade_id) in self.fills

    def save_position(self, position: Position, *, wait: bool = False) -> None:
        self._enter()
        with self._lock:
            self._save(position)

    def record_execution(
        self, client_oid: str, fills: Iterable[Fill], position: Position | None,
        trade: ClosedTrade | None = None, *, wait: bool = True,
    ) -> None:
        self.record_fills(client_oid, fills)
        if client_oid in self.intents:
            self.settle_intent(client_oid, IntentState.DONE)
        with self._lock:
            if trade is not None and position is not None:
                self.positions.pop(position.position_id, None)
                self.trades.append(trade)
            elif position is not None:
                self._save(position)

    def _save(self, position: Position) -> None:
        """One that is closed stays so, and a later version too, whoever comes late."""
        is_closed = any(trade.position_id == position.position_id for trade in self.trades)
        there = self.positions.get(position.position_id, position)
        if not is_closed and there.version <= position.version:
            self.positions[position.position_id] = position

    def record_found(self, order: Order) -> None:
        self._enter()
        with self._lock:
            if parse(order.client_oid) is not None and order.client_oid not in self.intents:
                self.intents[order.client_oid] = IntentState.ACCEPTED
                self.order_ids[order.order_id] = order.client_oid

    def trades_without_funding(self, closed_ms: int, limit: int) -> tuple[ClosedTrade, ...]:
        self._enter()
        with self._lock:
            return tuple(t for t in self.trades if not t.funding_known and t.closed_ms <= closed_ms)[:limit]

    def settle_funding(self, trade: ClosedTrade) -> None:
        self._enter()
        with self._lock:
            self.trades = [
                trade if each.position_id == trade.position_id and not each.funding_known else each
                for each in self.trades
            ]

    def record_event(self, kind: str, message: str, symbol: str = "") -> None:
        with self._lock:
            self.events.append((kind, message, symbol))

    def record_equity(self, equity: Decimal, available: Decimal) -> None:
        self._enter()

    def _enter(self) -> None:
        assert_no_lock_held("journal call")
        if self.fail is not None:
            raise self.fail


class FakePrices:
    """`trading.ports.Prices` set by hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prices: dict[str, Price] = {}
        self.followed: tuple[str, ...] = ()

    def set(self, symbol: str, price: Decimal, received: float = 0.0) -> None:
        """Let *symbol* stand at *price*, without a spread."""
        with self._lock:
            self._prices[symbol] = Price(
                symbol=symbol, bid=price, ask=price, last=price, mark=price, ts_ms=0, received=received
            )

    def get(self, symbol: str) -> Price | None:
        with self._lock:
            return self._prices.get(symbol)

    def follow(self, symbols: Iterable[str]) -> None:
        with self._lock:
            self.followed = tuple(symbols)


class DirectWorkers:
    """Exit workers that carry out each task in the calling thread, at once or after a pause of the clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def submit(self, task: Callable[[], None], priority: Priority, after_s: float = 0.0) -> None:
        self._clock.wait(threading.Event(), after_s)
        task()
