"""The stop that rests on the exchange: placed, read back, moved and swept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from execution.orders import Accepted, NotSent, OrderSender, Rejected, Unresolved
from trading.client_ids import ClientOid, Purpose, parse
from trading.errors import ExchangeError, OrderNotFound
from trading.facts import Instrument, Order, OrderRequest, Position, Priority, ProtectiveStop, Side
from trading.ports import Clock, Exchange

log = logging.getLogger("stop")

READ_BACKS_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectRules:
    """How the stop on the exchange follows RAD's own."""

    enabled: bool = True
    deadline_s: float = 5.0               # a position without a confirmed stop for longer is flattened
    buffer: Decimal = Decimal("0.001")    # how far behind RAD's own stop it rests, fraction of the price
    min_step: Decimal = Decimal("0.001")  # least move worth a request, fraction of the price
    min_interval_s: float = 2.0           # least time between two moves of one position's stop


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPlaced:
    """No confirmed stop came of it."""

    error: ExchangeError | None = None    # why it was refused; None when it was not, but is not listed either
    has_left: bool = True                 # False: it certainly never got there, its client id is unused


class Protection:
    """Keeps one `closeOrder` stop (mark price) on the exchange for each position."""

    def __init__(
        self,
        exchange: Exchange,
        sender: OrderSender,
        rules: ProtectRules,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self.rules = rules
        self._exchange = exchange
        self._sender = sender
        self._clock = clock
        self._stop = stop

    def resting_price(self, position: Position, instrument: Instrument) -> Decimal:
        """Return where the exchange's stop for *position* belongs: behind RAD's own by the buffer."""
        behind = position.stop_price * (1 - self.rules.buffer * position.side.sign)
        rounded = instrument.stop_towards_price(position.side, behind)
        return max(rounded, instrument.tick_size)

    def own_stop(self, resting: Decimal, side: Side, instrument: Instrument) -> Decimal:
        """Return where RAD's own stop must have been for the exchange's to rest at *resting*."""
        exact = resting / (1 - self.rules.buffer * side.sign)
        own = instrument.price_down(exact) if side is Side.LONG else instrument.price_up(exact)
        return own.quantize(instrument.tick_size)

    def is_worth_moving(self, position: Position, instrument: Instrument) -> bool:
        """Whether the resting stop lags far enough behind to be replaced now."""
        resting = position.protective_stop
        if resting is None:
            return True
        gain = (self.resting_price(position, instrument) - resting.stop_price) * position.side.sign
        # Either way: a clock that was set back must not keep it where it is.
        since_s = abs(self._clock.now_ms() - resting.confirmed_ms) / 1000
        return gain >= resting.stop_price * self.rules.min_step and since_s >= self.rules.min_interval_s

    def place(
        self, position: Position, instrument: Instrument, stop_price: Decimal | None = None
    ) -> ProtectiveStop | NotPlaced:
        """Place a stop for *position* where it belongs, or at *stop_price*, and read it back.

        The position's `stop_attempt` numbers the client id: the caller counts it up beforehand.
        """
        stop_price = stop_price or self.resting_price(position, instrument)
        client_oid = str(ClientOid(
            position_id=position.position_id, purpose=Purpose.STOP, attempt=position.stop_attempt
        ))
        request = OrderRequest(
            client_oid=client_oid,
            symbol=position.symbol,
            side=position.side.exit,
            reduce_only=True,
            close_order=True,
            stop_price=stop_price,
            stop_is_below=position.side is Side.LONG,
            margin_mode=position.margin_mode,
        )
        error: ExchangeError | None = None
        match self._sender.send_protection(request, position.position_id):
            case Accepted(order_id=order_id):
                return self._read_back(position.symbol, client_oid, order_id) or NotPlaced()
            case Rejected(reason=reason) as refused:
                error = refused.error
                log.warning("%s stop refused stop_price=%s reason=%s", position.symbol, stop_price, reason)
            case NotSent(reason=reason):
                log.warning("%s stop not sent stop_price=%s reason=%s", position.symbol, stop_price, reason)
                return NotPlaced(has_left=False)
            case Unresolved(reason=reason):
                log.warning("%s stop uncertain stop_price=%s reason=%s", position.symbol, stop_price, reason)
        return NotPlaced(error=error)

    def pause(self, seconds: float) -> bool:
        """Wait before the next try; True, and at once, when there is to be none: the daemon is over."""
        return self._clock.wait(self._stop, seconds)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is waited for: the daemon is over."""
        return self._stop.is_set()

    def resting(self, symbol: str) -> tuple[Order, ...] | None:
        """Return RAD's own stops of *symbol* as the exchange lists them; None if it does not say."""
        try:
            stops = self._exchange.fetch_stop_orders(symbol, Priority.CRITICAL)
        except ExchangeError as error:
            log.warning("%s stops not readable error=%s", symbol, error)
            return None
        return tuple(stop for stop in stops if is_ours(stop) and stop.is_active)

    def clear(self, symbol: str) -> bool:
        """Cancel every stop of RAD's on *symbol* and wait until none is listed; False if that is not certain."""
        if not self.sweep(symbol):
            return False
        for pause_s in READ_BACKS_S:      # a cancel that was asked for is not a cancel yet
            if self.resting(symbol) == ():
                return True
            if self._clock.wait(self._stop, pause_s):
                break
        return False

    def sweep(self, symbol: str, keep: Iterable[str] = (), *, up_to: str = "") -> bool:
        """Cancel every stop of RAD's on *symbol* but *keep*; False if that is not certain.

        *up_to*: a position's id; stops of positions that began later stay.
        """
        keep = set(keep)
        try:
            stops = self._exchange.fetch_stop_orders(symbol, Priority.CRITICAL)
        except ExchangeError as error:
            log.warning("%s stops not readable, sweep put off error=%s", symbol, error)
            return False
        left = [stop for stop in stops if stop.client_oid not in keep and _began_by(stop, up_to)]
        cancelled = [self._cancel(stop) for stop in left]
        return all(cancelled)

    def _cancel(self, stop: Order) -> bool:
        try:
            self._exchange.cancel_order(stop.order_id, Priority.CRITICAL)
        except OrderNotFound:
            pass   # gone already: triggered, or cancelled by someone
        except ExchangeError as error:
            log.warning("%s stop not cancelled order_id=%s error=%s", stop.symbol, stop.order_id, error)
            return False
        return True

    def _read_back(self, symbol: str, client_oid: str, order_id: str) -> ProtectiveStop | None:
        """Return the stop as the exchange's own list shows it; None if it does not in time, or is over."""
        deadline = self._clock.monotonic() + self.rules.deadline_s
        for pause_s in READ_BACKS_S:
            try:
                stops = self._exchange.fetch_stop_orders(symbol, Priority.CRITICAL)
            except ExchangeError as error:
                log.warning("%s stop not readable client_oid=%s error=%s", symbol, client_oid, error)
            else:
                found = next((stop for stop in stops if stop.client_oid == client_oid), None)
                if found is not None:
                    return confirmed(found, self._clock.now_ms())
                if self._is_over(symbol, order_id):
                    return None
            if self._clock.monotonic() + pause_s > deadline or self._clock.wait(self._stop, pause_s):
                break
        return None

    def _is_over(self, symbol: str, order_id: str) -> bool:
        """Whether a stop that is not listed has come to an end: it will not be, and another is needed now."""
        try:
            is_over = not self._exchange.fetch_order(order_id, Priority.CRITICAL).is_active
        except ExchangeError:          # not to be seen yet either
            return False
        if is_over:
            log.warning("%s stop was over as soon as it was taken order_id=%s", symbol, order_id)
        return is_over


def is_ours(order: Order) -> bool:
    """Whether RAD placed it, judged by its client id."""
    return parse(order.client_oid) is not None


def _began_by(stop: Order, position_id: str) -> bool:
    """Whether *stop* is of a position of RAD's that began no later than that one: ids begin with the time."""
    client_oid = parse(stop.client_oid)
    return client_oid is not None and (not position_id or client_oid.position_id <= position_id)


def confirmed(order: Order, now_ms: int) -> ProtectiveStop | None:
    """Return *order* as a protective stop, if it is one that still waits for its trigger."""
    if order.stop_price is None or not order.is_stop or not order.is_active:
        return None
    return ProtectiveStop(
        client_oid=order.client_oid,
        order_id=order.order_id,
        stop_price=order.stop_price,
        confirmed_ms=now_ms,
    )
