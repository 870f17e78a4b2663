"""A position manager with everything it needs, on a fake exchange; builders with overrides."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from execution.orders import OrderSender
from execution.protection import Protection, ProtectRules
from execution.rebuild import Rebuilder
from execution.reconcile import Reconciler
from position_manager import PositionManager, PositionRules
from runtime.clock import SystemClock
from tests.builders import an_account as an_account
from tests.builders import an_instrument
from tests.fake_exchange import DirectWorkers, FakeExchange, FakeJournal, FakePrices
from trading.exits import Distance, ExitRules, TakeProfit, Trailing
from trading.facts import Instrument, Side, Ticker
from trading.ports import Clock
from trading.risk import EntryRequest, RiskRules

D = Decimal
SYMBOL = "BTC/USDT:USDT"
PRICE = D(50_000)


class SilentMonitor:
    """`trading.ports.Monitor` that keeps what it is told for asserts."""

    def __init__(self) -> None:
        self.latencies: list[Mapping[str, float]] = []
        self.trades: list[Any] = []
        self.funded: list[Any] = []
        self.gaps_s: list[float] = []

    def record_scan_time(self, duration_s: float, scanned: int, failed: int) -> None: ...

    def record_api_call(self, endpoint: str, duration_s: float, outcome: str) -> None: ...

    def record_trade_execution(self, symbol: str, purpose: str, duration_s: float, outcome: str) -> None: ...

    def record_position_update(self, duration_s: float, positions: int) -> None: ...

    def record_exit_latency(self, stages: Mapping[str, float]) -> None:
        self.latencies.append(dict(stages))

    def record_protection_gap(self, seconds: float) -> None:
        self.gaps_s.append(seconds)

    def record_trade(self, trade: Any) -> None:
        self.trades.append(trade)

    def record_funding(self, trade: Any) -> None:
        self.funded.append(trade)

    def record_equity(self, equity: Decimal, at_ms: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingHouse:
    """A manager and the fakes around it."""

    manager: PositionManager
    exchange: FakeExchange
    journal: FakeJournal
    prices: FakePrices
    monitor: SilentMonitor
    reconciler: Reconciler
    sender: OrderSender


def a_contract(symbol: str = SYMBOL, **overrides: Any) -> Instrument:
    """A contract of 0.001 base a lot with a tick of 0.1."""
    return an_instrument(symbol, **{"multiplier": D("0.001"), **overrides})


def exit_rules(**overrides: Any) -> ExitRules:
    """A stop at 2 %, half out at 4 %, break-even at 1.5 %, trailing by 1 % from 2 % on."""
    rules = ExitRules(
        stop_loss=Distance(fraction=D("0.02")),
        take_profit=(TakeProfit(at=Distance(fraction=D("0.04")), share=D("0.5")),),
        break_even=Distance(fraction=D("0.015")),
        trailing=Trailing(activate=Distance(fraction=D("0.02")), distance=Distance(fraction=D("0.01"))),
        max_age_ms=None,
    )
    return replace(rules, **overrides)


def risk_rules(**overrides: Any) -> RiskRules:
    """1 % of equity at risk, five positions, 2,000 USDT each."""
    rules = RiskRules(
        risk_per_trade=D("0.01"), leverage=D(5), max_open=50, max_notional=D(2_000), orders_per_minute=1_000
    )
    return replace(rules, **overrides)


def an_entry_request(
    symbol: str = SYMBOL, side: Side = Side.LONG, price: Decimal = PRICE, now_ms: int | None = None,
    **overrides: Any,
) -> EntryRequest:
    """A wish to open at *price* with a stop 2 % away."""
    ticker = Ticker(
        symbol=symbol, bid=price, ask=price, last=price, mark=price, volume_24h=D(1_000_000),
        ts_ms=SystemClock().now_ms() if now_ms is None else now_ms,
    )
    request = EntryRequest(
        instrument=a_contract(symbol), side=side, price=ticker, atr=price / 100,
        stop_price=price - price / 50 * side.sign, strategy="test", reasons=("because",),
    )
    return replace(request, **overrides)


def a_manager(
    symbols: Sequence[str] = (SYMBOL,), *, clock: Clock | None = None, exits: ExitRules | None = None,
    risk: RiskRules | None = None, protect: ProtectRules | None = None, margin_mode: str = "isolated",
    exchange: FakeExchange | None = None, journal: Any = None, adopt: bool = False, events: Any = None,
    abandon: threading.Event | None = None,
) -> TradingHouse:
    """A position manager on a fake exchange where everything costs 50,000, both fresh unless given."""
    clock = clock or SystemClock()
    stop = abandon or threading.Event()
    if exchange is None:
        exchange = FakeExchange([a_contract(symbol) for symbol in symbols])
        exchange.prices = {symbol: D(50_000) for symbol in symbols}
    journal, prices, monitor = journal or FakeJournal(), FakePrices(), SilentMonitor()
    sender = OrderSender(exchange, journal, clock, stop)
    protection = Protection(exchange, sender, protect or ProtectRules(), clock, stop)
    manager = PositionManager(
        exchange, journal, prices, monitor, clock,
        rules=PositionRules(
            exits=exits or exit_rules(), risk=risk or risk_rules(), margin_mode=margin_mode, stale_after_s=1e12
        ),
        sender=sender, protection=protection, exit_workers=DirectWorkers(clock), events=events,
    )
    rebuilder = Rebuilder(exchange, journal, protection, exits or exit_rules(), clock)
    reconciler = Reconciler(exchange, manager, sender, journal, protect=True, rebuilder=rebuilder, adopt=adopt)
    return TradingHouse(
        manager=manager, exchange=exchange, journal=journal, prices=prices, monitor=monitor,
        reconciler=reconciler, sender=sender,
    )


def restarted(house: TradingHouse, **overrides: Any) -> TradingHouse:
    """The next process on the same exchange and journal: what recovery does before the first reconciliation."""
    journal = house.journal
    # Which of two versions is the later one, a process knows of its own alone.
    journal.positions = {name: replace(position, version=0) for name, position in journal.positions.items()}
    following = a_manager(exchange=house.exchange, journal=journal, **overrides)
    for position in house.journal.positions.values():
        following.manager.restore(position)
    following.reconciler.catch_up()
    return following
