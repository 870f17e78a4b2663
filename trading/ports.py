"""What the modules know of each other: Protocols, so that neighbours do not import neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from trading.candles import Candles
from trading.facts import (
    Balance,
    ClosedTrade,
    EntryPlan,
    ExchangePosition,
    Fill,
    Funding,
    Instrument,
    Order,
    OrderRequest,
    Position,
    Price,
    Priority,
    Ticker,
)
from trading.lifecycle import IntentState

if TYPE_CHECKING:
    import threading  # for the types of Clock alone: the rules themselves wait for nothing


class Clock(Protocol):
    """Time, handed in: everything that waits, waits here."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def wait_for(
        self, condition: threading.Condition, predicate: Callable[[], bool], timeout_s: float | None
    ) -> bool:
        """Wait on *condition*, held by the caller, until *predicate*; False when the time is up."""

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Pause for *timeout_s* or until *stop* is set; True when it is set."""


class MarketData(Protocol):
    """What the scanner asks of the exchange. All calls raise ExchangeUnavailable when unanswered."""

    def instruments(self) -> Mapping[str, Instrument]:
        """Return every instrument by symbol, from memory."""

    def fetch_tickers(self, priority: Priority = Priority.SCAN) -> dict[str, Ticker]:
        """Return the ticker of every instrument, from one call."""

    def fetch_candles(self, symbol: str, timeframe: str, limit: int) -> Candles:
        """Return up to *limit* closed candles, oldest first, gaps filled with the previous close."""


class Exchange(Protocol):
    """What trading asks of the exchange.

    Queries raise ExchangeUnavailable when unanswered: the caller has learnt nothing.
    Orders and cancels raise OutcomeUnknown when unanswered: they may have happened.
    """

    def instrument(self, symbol: str) -> Instrument:
        """Return one instrument from memory. Raises UnknownInstrument."""

    def place_order(self, request: OrderRequest, priority: Priority) -> str:
        """Send once and return the order id; accepted is not filled.

        Raises:
            OrderRejected: a plain no: it certainly did not happen.
            OutcomeUnknown: it may have happened: look it up by its client id.
        """

    def cancel_order(self, order_id: str, priority: Priority) -> None:
        """Ask for a cancel. Returning means asked, not cancelled: a fill may win.

        Raises:
            OrderNotFound: not there, or done already.
            OutcomeUnknown: it may have happened.
        """

    def find_order(self, client_oid: str, priority: Priority = Priority.HIGH) -> Order | None:
        """Return the order (a stop order too) with this client id; None only if plainly told so."""

    def fetch_order(self, order_id: str, priority: Priority = Priority.HIGH) -> Order:
        """Return one order. Raises OrderNotFound when plainly told so."""

    def fetch_open_orders(self, priority: Priority = Priority.NORMAL) -> tuple[Order, ...]:
        """Return every active order that is not an untriggered stop."""

    def fetch_stop_orders(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL
    ) -> tuple[Order, ...]:
        """Return every untriggered stop order."""

    def fetch_recent_fills(
        self, symbol: str | None = None, priority: Priority = Priority.NORMAL, *, since_ms: int = 0
    ) -> tuple[Fill, ...]:
        """Return fills of the last 24 hours, oldest first; of those before *since_ms* not necessarily all."""

    def fetch_older_fills(self, symbol: str, since_ms: int) -> tuple[Fill, ...]:
        """Return fills of before those 24 hours, oldest first; of the latest too, if that is simpler."""

    def fetch_order_fills(self, order_id: str, priority: Priority = Priority.HIGH) -> tuple[Fill, ...]:
        """Return the fills of one order; KuCoin may list them a moment after the order says so."""

    def fetch_positions(self, priority: Priority = Priority.NORMAL) -> tuple[ExchangePosition, ...]:
        """Return every open position; empty means the exchange answered "none"."""

    def fetch_balance(self, priority: Priority = Priority.NORMAL) -> Balance:
        """Return the margin account."""

    def set_margin_mode(self, symbol: str, margin_mode: str, leverage: Decimal) -> None:
        """Make *symbol* isolated, or cross at *leverage*; does nothing if it is so already (remembered).

        An isolated position's leverage is that of each order.
        """

    def fetch_funding(self, symbol: str, since_ms: int, until_ms: int) -> tuple[Funding, ...]:
        """Return the funding of *symbol* in that time, both ends included; listed a while after its moment."""

    def fetch_tickers(self, priority: Priority = Priority.SCAN) -> dict[str, Ticker]:
        """Return the ticker of every instrument, from one call."""

    def clock_offset_ms(self) -> int:
        """Return milliseconds by which our clock is ahead of the exchange's, which times all it tells."""


class Journal(Protocol):
    """What must survive. Calls return when it is on disk unless they say otherwise.

    Raises JournalError when it cannot be written.
    """

    def record_intent(
        self, position_id: str, request: OrderRequest, purpose: str, *, plan: EntryPlan | None = None, wait: bool
    ) -> None:
        """Write down an order; entries with their plan before they are sent, exits and stops after."""

    def settle_intent(
        self, client_oid: str, state: IntentState, order_id: str = "", *, wait: bool = False
    ) -> None:
        """Note what became of it."""

    def record_fills(self, client_oid: str, fills: Iterable[Fill], *, wait: bool = False) -> None:
        """Book fills; each trade id of a symbol is booked once, whatever is said twice."""

    def is_booked(self, symbol: str, trade_id: str) -> bool:
        """Whether that fill is in the journal."""

    def is_closed(self, position_id: str) -> bool:
        """Whether that position has come to its end."""

    def client_oids(self, order_ids: Iterable[str], *, settled: bool = False) -> Mapping[str, str]:
        """Return the client ids of those of *order_ids* that RAD knows it sent, or has *settled*, by order id."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything noted so far is on disk; False if it is not by then."""

    def last_attempt(self, position_id: str, purpose: str) -> int:
        """Return the highest number of a position's orders of that purpose; 0 if none was written down."""

    def save_position(self, position: Position, *, wait: bool = False) -> None:
        """Insert or replace one position."""

    def record_execution(
        self, client_oid: str, fills: Iterable[Fill], position: Position | None,
        trade: ClosedTrade | None = None, *, wait: bool = True,
    ) -> None:
        """Write what one order did, in one transaction: its fills, that it is done, what became of the position.

        With *trade* nothing is left of it: it moves to the closed trades.
        """

    def record_found(self, order: Order) -> None:
        """Write down an order of RAD's that the exchange knows, unless it is written down; does not wait."""

    def trades_without_funding(self, closed_ms: int, limit: int) -> tuple[ClosedTrade, ...]:
        """Return trades closed until then whose funding is not known, oldest first."""

    def settle_funding(self, trade: ClosedTrade) -> None:
        """Correct a trade by its funding, which is known by now: the first word counts; does not wait."""

    def record_event(self, kind: str, message: str, symbol: str = "") -> None:
        """Note something a person may want to read later; does not wait."""

    def record_equity(self, equity: Decimal, available: Decimal) -> None:
        """Note a point of the equity curve; does not wait."""


class Monitor(Protocol):
    """What the others tell PerformanceMonitor; cheap, never blocks, never raises."""

    def record_scan_time(self, duration_s: float, scanned: int, failed: int) -> None: ...

    def record_api_call(self, endpoint: str, duration_s: float, outcome: str) -> None: ...

    def record_trade_execution(self, symbol: str, purpose: str, duration_s: float, outcome: str) -> None: ...

    def record_position_update(self, duration_s: float, positions: int) -> None: ...

    def record_exit_latency(self, stages: Mapping[str, float]) -> None:
        """*stages*: seconds from price receipt to `decided`, `claimed`, `sent`, `acknowledged`."""

    def record_protection_gap(self, seconds: float) -> None:
        """*seconds*: how long a position had no stop on the exchange before one rested (again)."""

    def record_trade(self, trade: ClosedTrade) -> None: ...

    def record_funding(self, trade: ClosedTrade) -> None:
        """*trade*: one recorded before its funding was known, now with it; said twice it counts once."""

    def record_equity(self, equity: Decimal, at_ms: int) -> None: ...


class Prices(Protocol):
    """The latest price of each followed symbol, with its receive time."""

    def get(self, symbol: str) -> Price | None:
        """Return the latest, however old; None if there never was one."""

    def follow(self, symbols: Iterable[str]) -> None:
        """Replace the set of symbols whose prices are wanted."""
