"""Each kind of news is seen to be told, by what really causes it; one without a cause here fails.

The parts are the daemon's own: a house built as it builds one, its main thread's duties, supervisor, watch
and feed. The exchange is in memory, and time stands still until a test moves it on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bot
from console.daemon import Daemon
from control.server import ControlServer
from control.telegram import Telegram
from control.telegram_api import TelegramApi
from daemon import building, house
from daemon.state import Account, Status
from daemon.watch import CALM_S, PATIENCE_S, Watch
from performance_monitor import PerformanceMonitor
from runtime import journal as journal_module
from runtime.events import EventFeed
from runtime.journal import SqlJournal
from runtime.notifier import Notifier, NotifyRules, Outlet
from runtime.options import RunOptions
from runtime.prices import PriceBook
from runtime.supervisor import Supervisor
from runtime.worker import Worker
from tests.builders import a_position, a_price
from tests.crowd import PATIENCE_S as TEST_PATIENCE_S
from tests.fake_exchange import FakeJournal
from tests.manual_clock import ManualClock
from tests.notify.fake_telegram import TOKEN
from tests.runtime.test_journal_fail_closed import locked
from tests.test_exiting import on_exits, refusing
from tests.test_position_manager import opened, price_moves_to
from tests.test_protection import on_stops
from tests.trading_house import SYMBOL, TradingHouse, a_manager, an_account, an_entry_request, exit_rules
from trading.errors import ConfigError, ExchangeUnavailable, JournalError, OrderRejected
from trading.events import WORDS, Event, Kind
from trading.facts import Balance, ExitReason, OrderSide
from trading.settlement import trade_of

D = Decimal
ROOT = Path(__file__).parents[2]
DAY_S = 86_400


class Stage:
    """The daemon's parts, each fresh, and what is told of them."""

    def __init__(self, built: house.House, main: bot.Bot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        self.clock.flows = True
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.main = main
        self.built = built
        self.feed = EventFeed(self.clock)
        self.journal = FakeJournal()
        self.trading = self.manager()
        built.events, built.status, built.manager = self.feed, Status(), self.trading.manager
        built.clock = self.clock
        built.notifier = built.telegram = built.lease = None
        built.account = Account(
            built.journal, PerformanceMonitor(self.clock, exit_budget_s=1), self.clock
        )
        self.watch = Watch(built)

    def manager(self, **overrides: Any) -> TradingHouse:
        """A manager on the fake exchange that tells the feed."""
        exits = exit_rules(take_profit=())
        return a_manager(**({"clock": self.clock, "exits": exits, "events": self.feed} | overrides))

    def worth(self, equity: int) -> None:
        """The exchange says what the account is worth."""
        self.built.account.update(Balance(
            currency="USDT", equity=D(equity), available=D(equity), unrealised_pnl=D(0)
        ))

    def compare(self) -> None:
        """Compare book and exchange, as the main thread does."""
        result = self.trading.reconciler.run()
        self.built.status.reconciled(result, self.clock.now_ms())

    def stand(self, kind: Kind) -> None:
        """Let a trouble stand as long as it must before it is told, and look."""
        self.watch.look()
        self.clock.advance(max(PATIENCE_S.get(kind, 0.0), self.built.settings.protect.deadline_s))
        self.watch.look()

    def calm(self) -> None:
        """Let it be gone as long as it must before it is over, and look."""
        self.watch.look()
        self.clock.advance(CALM_S + 1)
        self.watch.look()

    def told(self, kind: Kind, *, over: bool = False) -> list[Event]:
        return [event for event in self.feed.after(0) if event.kind is kind and event.over is over]


# Each brings about what its kind tells of and yields; what lasts is brought to its end after that.
Cause = Callable[[Stage], Iterator[None]]


def started(stage: Stage) -> Iterator[None]:
    stage.built.status.started()
    stage.watch.look()
    yield


def stopping(stage: Stage) -> Iterator[None]:
    stage.built.status.stopping()
    stage.watch.look()
    yield


def paused(stage: Stage) -> Iterator[None]:
    stage.main._desk.pause()
    stage.watch.look()
    yield
    stage.main._desk.resume()
    stage.clock.advance(1)
    stage.watch.look()


def halted(stage: Stage) -> Iterator[None]:
    stage.worth(10_000)
    stage.watch.look()
    stage.worth(9_000)           # ten percent lost today; five may be
    stage.watch.look()
    yield
    stage.worth(10_000)
    stage.calm()


def daily(stage: Stage) -> Iterator[None]:
    position = a_position(symbol=SYMBOL, opened_ms=stage.clock.now_ms())
    trade = trade_of(position, stage.clock.now_ms(), ExitReason.MANUAL)
    stage.built.journal.save_position(position, wait=True)
    stage.built.journal.record_execution("rad-x", (), position, trade)
    stage.clock.advance(DAY_S)
    stage.watch.look()
    yield
    (event,) = stage.told(Kind.DAILY)
    assert event.fields["trades"] == 1
    assert event.fields["day"] == "2023-11-14"


def entry(stage: Stage) -> Iterator[None]:
    opened(stage.trading, now_ms=stage.clock.now_ms())
    yield


def exit_(stage: Stage) -> Iterator[None]:
    opened(stage.trading, now_ms=stage.clock.now_ms())
    price_moves_to(stage.trading, "48900")
    yield
    (event,) = stage.told(Kind.EXIT)
    told = r"closed long \(stop loss\): -\d+\.\d\d USDT before funding, -1\.\d\d R; 50000 to 48900"
    assert re.search(told, event.text)


def part_closed(stage: Stage) -> Iterator[None]:
    stage.trading = stage.manager(exits=exit_rules())
    opened(stage.trading, now_ms=stage.clock.now_ms())
    price_moves_to(stage.trading, "52500")
    yield


def rebuilt(stage: Stage) -> Iterator[None]:
    opened(stage.trading, now_ms=stage.clock.now_ms())
    again = stage.manager(exchange=stage.trading.exchange)
    again.reconciler.run()
    yield


def adopted(stage: Stage) -> Iterator[None]:
    stage.trading = stage.manager(adopt=True)
    stage.trading.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(7))
    stage.trading.reconciler.run()
    yield


def unprotected(stage: Stage) -> Iterator[None]:
    def refuse(_request: object) -> None:
        raise OrderRejected("suspended", code="300002")

    on_stops(stage.trading, refuse)
    opened(stage.trading, now_ms=stage.clock.now_ms())
    yield
    assert stage.told(Kind.EXIT)                    # and it was closed


def naked(stage: Stage) -> Iterator[None]:
    position = opened(stage.trading, now_ms=stage.clock.now_ms())
    stage.trading.manager.stop_lost(SYMBOL, position.position_id)
    stage.stand(Kind.NAKED)
    yield
    stage.trading.manager.protect(SYMBOL)
    stage.calm()


def exit_stuck(stage: Stage) -> Iterator[None]:
    opened(stage.trading, now_ms=stage.clock.now_ms())
    on_exits(stage.trading, refusing(OrderRejected("suspended", code="300002"), []))
    price_moves_to(stage.trading, "48000")
    for _ in range(3):
        stage.clock.advance(2.0)
        stage.trading.manager.update_positions()
    stage.watch.look()
    yield
    del stage.trading.exchange.before["place_order"]
    stage.clock.advance(2.0)
    stage.trading.manager.update_positions()
    stage.calm()


def uncertain(stage: Stage) -> Iterator[None]:
    def blind(_what: object) -> None:
        raise ExchangeUnavailable("no answer")

    stage.trading.exchange.lose_answer = lambda request: "-e" in request.client_oid
    stage.trading.exchange.before["find_order"] = blind
    stage.trading.manager.open_position(an_entry_request(now_ms=stage.clock.now_ms()), an_account())
    stage.stand(Kind.UNCERTAIN)
    yield
    del stage.trading.exchange.before["find_order"]
    stage.trading.reconciler.run()
    stage.calm()


def difference(stage: Stage) -> Iterator[None]:
    opened(stage.trading, now_ms=stage.clock.now_ms())
    net = stage.trading.exchange.net[SYMBOL]
    stage.trading.exchange.net[SYMBOL] = D(0)       # gone, and no fill says how
    stage.compare()
    stage.watch.look()
    yield
    stage.trading.exchange.net[SYMBOL] = net
    stage.compare()
    stage.calm()


def foreign(stage: Stage) -> Iterator[None]:
    stage.trading.exchange.trade_elsewhere(SYMBOL, OrderSide.BUY, D(5))
    stage.compare()
    stage.watch.look()
    yield
    stage.trading.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, D(5))
    stage.compare()
    stage.calm()


@contextmanager
def a_worker(stage: Stage, step: Callable[[], None], **more: Any) -> Iterator[tuple[Supervisor, Worker]]:
    """A supervised thread of the daemon that runs; *step* waits for nothing longer than the test."""
    stop = threading.Event()
    worker = Worker("Mortal", step, stop=stop, clock=stage.clock, **more)
    supervisor = Supervisor(
        stage.folder / "stacks.log", stage.clock, stop, tell=stage.built.status.set_stuck,
        watched=lambda: (worker.heart,),
    )
    worker.start()
    yield supervisor, worker
    stop.set()
    assert worker.join(TEST_PATIENCE_S)


def thread_stuck(stage: Stage) -> Iterator[None]:
    entered, leave, moves, over = (threading.Event() for _ in range(4))

    def hang() -> None:
        if entered.is_set():
            moves.set()
            over.wait(0.01)
        entered.set()
        leave.wait(TEST_PATIENCE_S)

    with a_worker(stage, hang, stuck_after_s=5) as (supervisor, _worker):
        assert entered.wait(TEST_PATIENCE_S)
        for _ in range(7):
            stage.clock.advance(1)
            supervisor.look()
        stage.watch.look()
        yield
        leave.set()
        moves.wait(TEST_PATIENCE_S)
        supervisor.look()
        stage.calm()


def thread_replaced(stage: Stage) -> Iterator[None]:
    lives: list[int] = []
    alive = threading.Event()

    def die() -> None:
        lives.append(1)
        if len(lives) == 1:
            raise SystemExit("gone")
        alive.wait(TEST_PATIENCE_S)

    with a_worker(stage, die) as (supervisor, worker):
        assert worker.join(TEST_PATIENCE_S)
        supervisor.look()
        stage.watch.look()
        alive.set()
        yield


def thread_failed(stage: Stage) -> Iterator[None]:
    steps: list[int] = []
    failed, leave = threading.Event(), threading.Event()

    def fail_once() -> None:
        steps.append(1)
        if len(steps) == 1:
            raise ValueError("bad luck")
        failed.set()
        leave.wait(TEST_PATIENCE_S)

    with a_worker(stage, fail_once):
        assert failed.wait(TEST_PATIENCE_S)
        stage.watch.look()
        leave.set()
        yield


def exchange(stage: Stage) -> Iterator[None]:
    for _ in range(2):                              # nobody listens there
        stage.main._guarded("connection", stage.main._measure_clock)
        stage.stand(Kind.EXCHANGE)
    yield
    stage.main._guarded("connection", lambda: None)
    stage.calm()


def prices(stage: Stage) -> Iterator[None]:
    built = stage.built
    stage.monkeypatch.setattr(built, "prices", PriceBook(stage.clock))
    built.prices.follow([SYMBOL])
    built.prices.publish(a_price(50_000, symbol=SYMBOL, received=stage.clock.monotonic()))
    stage.clock.advance(10)
    built.ask_for_stale_prices()
    stage.stand(Kind.PRICES)
    yield
    built._stale_asking.clear()                     # its call has come back
    stage.clock.advance(10)
    built.prices.publish(a_price(50_000, symbol=SYMBOL, received=stage.clock.monotonic()))
    built.ask_for_stale_prices()
    stage.calm()


def journal(stage: Stage) -> Iterator[None]:
    stage.monkeypatch.setattr("runtime.journal_engine.BUSY_TIMEOUT_MS", 20)
    stage.monkeypatch.setattr(journal_module, "RETRY_S", 0.02)
    broken = SqlJournal(f"sqlite:///{stage.folder / 'broken.sqlite'}", ManualClock(), label="test")
    stage.monkeypatch.setattr(stage.built, "journal", broken)
    with locked(broken):
        with pytest.raises(JournalError):
            broken.save_position(a_position(symbol=SYMBOL), wait=True)
        stage.watch.look()
        yield
    broken.record_event("mended", "")
    assert broken.flush(TEST_PATIENCE_S)
    stage.calm()
    broken.close()


def lease(stage: Stage) -> Iterator[None]:
    said = ["lease: not renewed for 7 s, no order leaves until it is"]
    stage.monkeypatch.setattr(stage.built, "lease", SimpleNamespace(trouble=lambda: said[0]))
    stage.watch.look()
    yield
    said[0] = ""
    stage.calm()


def no_pairs(stage: Stage) -> Iterator[None]:
    stage.main._note_universe(0)
    stage.watch.look()
    yield
    stage.main._note_universe(5)
    stage.calm()


def entries(stage: Stage) -> Iterator[None]:
    def refuse() -> None:
        raise JournalError("the intent could not be written")

    stage.main._guarded("entries", refuse)
    stage.watch.look()
    yield
    stage.main._guarded("entries", lambda: None)
    stage.calm()


def notifier(stage: Stage) -> Iterator[None]:
    asked = threading.Semaphore(0)
    refusal = ["401"]

    def send(_message: object) -> str:
        asked.release()
        return refusal[0]

    clock = ManualClock()                           # its own: the feed's stands still
    feed = EventFeed(clock)
    outlet = Outlet("phone", send, feed, clock, rules=NotifyRules(), title="RAD", redact=str)
    stage.built.notifier = Notifier([outlet], clock)
    outlet.start()
    feed.publish(Kind.PAUSED)
    assert asked.acquire(timeout=TEST_PATIENCE_S)
    clock.await_sleepers(1)
    stage.watch.look()
    yield
    refusal[0] = ""
    clock.advance(5)
    assert asked.acquire(timeout=TEST_PATIENCE_S)
    clock.await_sleepers(1)
    stage.calm()
    assert stage.built.notifier.stop(feed, TEST_PATIENCE_S)


def trouble(stage: Stage) -> Iterator[None]:
    clock = ManualClock()
    telegram = Telegram(
        stage.main._desk, TelegramApi("http://127.0.0.1:9", TOKEN), clock, chats=(1,), title="RAD", redact=str
    )
    stage.built.telegram = telegram
    telegram.start()
    clock.await_sleepers(1)
    clock.advance(61)                               # a minute without it
    stage.watch.look()
    yield
    stage.built.telegram = None
    stage.calm()
    assert telegram.stop(TEST_PATIENCE_S)


CAUSES: dict[Kind, Cause] = {
    Kind.STARTED: started, Kind.STOPPING: stopping, Kind.PAUSED: paused, Kind.HALTED: halted, Kind.DAILY: daily,
    Kind.ENTRY: entry, Kind.PART_CLOSED: part_closed, Kind.EXIT: exit_, Kind.REBUILT: rebuilt,
    Kind.ADOPTED: adopted, Kind.UNPROTECTED: unprotected, Kind.NAKED: naked, Kind.EXIT_STUCK: exit_stuck,
    Kind.UNCERTAIN: uncertain, Kind.DIFFERENCE: difference, Kind.FOREIGN: foreign,
    Kind.THREAD_STUCK: thread_stuck, Kind.THREAD_REPLACED: thread_replaced, Kind.THREAD_FAILED: thread_failed,
    Kind.EXCHANGE: exchange, Kind.PRICES: prices, Kind.JOURNAL: journal, Kind.LEASE: lease,
    Kind.NO_PAIRS: no_pairs, Kind.ENTRIES: entries, Kind.NOTIFIER: notifier, Kind.TROUBLE: trouble,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[house.House, bot.Bot]]:
    """A house as the daemon builds it, with nobody at the exchange's address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAD_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
        patch.setenv("RAD_LOG__FILE", "none")
        with building.build(RunOptions()) as built:
            main = bot.Bot(built, RunOptions())
            assert built.logs is not None
            built.logs.stop()
            yield built, main


@pytest.fixture
def stage(
    daemon: tuple[house.House, bot.Bot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stage:
    return Stage(*daemon, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", Kind)
def test_it_is_told_when_it_happens_and_when_it_is_over(stage: Stage, kind: Kind) -> None:
    """Once each, in words that fit, however often anybody looks; a kind nobody can cause is an error here."""
    assert kind in CAUSES, f"nothing here brings about {kind}: an alarm nobody has seen fire is no alarm"
    course = contextmanager(CAUSES[kind])(stage)
    with course:
        stage.watch.look()
        told = stage.told(kind)
        assert len(told) == 1
        assert told[0].level is WORDS[kind].level
        assert not stage.told(kind, over=True)
        assert "{" not in told[0].text
        for _ in range(3):
            stage.watch.look()
        assert len(stage.told(kind)) == 1
    over = stage.told(kind, over=True)
    assert len(over) == bool(WORDS[kind].over)
    assert all("{" not in event.text for event in over)


def test_nothing_is_told_of_a_daemon_that_is_well(stage: Stage) -> None:
    """However long it runs, until midnight."""
    stage.worth(10_000)
    opened(stage.trading, now_ms=stage.clock.now_ms())
    stage.compare()
    for _ in range(20):
        stage.watch.look()
        stage.clock.advance(60)
    assert [event.kind for event in stage.feed.after(0)] == [Kind.ENTRY]


def test_a_trouble_that_comes_and_goes_is_one_trouble(stage: Stage) -> None:
    """Many are looked for every few seconds only: gone for less than the calm is not gone."""
    for _ in range(5):
        stage.main._note_universe(0)
        stage.watch.look()
        stage.clock.advance(CALM_S - 1)
        stage.main._note_universe(5)
        stage.watch.look()
    assert len(stage.told(Kind.NO_PAIRS)) == 1
    assert stage.told(Kind.NO_PAIRS, over=True) == []


def test_a_scan_without_an_exchange_is_the_exchanges_trouble(stage: Stage) -> None:
    """Not a thread's, that nobody has to look after or start again; and when it answers, it is over."""
    def away() -> None:
        raise ExchangeUnavailable("no whole answer within 10 s")

    scanner = SimpleNamespace(scan=away, wait_until_due=lambda _stop: stage.clock.advance(5))
    stage.monkeypatch.setattr(stage.built, "scanner", scanner)
    for _ in range(30):
        stage.main._scan_step()
        stage.watch.look()
    assert "scan: no whole answer within 10 s" in stage.built.problems()
    assert [event.kind for event in stage.feed.after(0)] == [Kind.EXCHANGE]
    scanner.scan = lambda: SimpleNamespace(universe=64)
    stage.main._scan_step()
    stage.watch.look()
    stage.calm()
    assert [event.over for event in stage.told(Kind.EXCHANGE, over=True)] == [True]
    assert not stage.built.problems()


def test_what_the_first_retry_mends_is_not_told(stage: Stage) -> None:
    """One call to the exchange that fails is nothing a person has to know."""
    stage.built.status.problem("account", "no answer")
    stage.watch.look()
    stage.built.status.clear("account")
    for _ in range(20):
        stage.clock.advance(1)
        stage.watch.look()
    assert stage.feed.after(0) == ()


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_explained_in_the_run_book(kind: Kind) -> None:
    """What it means and what to do, in a row of its own, with the level it has."""
    book = (ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{kind}` \| (\w+) \| .+ \| .+ \|$", book, re.MULTILINE)
    assert row is not None
    assert row[1] == WORDS[kind].level.word


def test_what_the_page_says_of_them_is_without_secrets(daemon: tuple[house.House, bot.Bot]) -> None:
    """The daemon's API takes out of every text what its log would: here a problem that quotes one."""
    built, main = daemon
    assert built.logs is not None
    built.logs.hide("horse battery")
    built.status.problem("entries", "refused: horse battery")
    main._control.start()
    try:
        assert "entries: refused: ***" in Daemon(built.settings.data_dir).ask("status")["problems"]
    finally:
        main._control.stop()
        built.status.clear("entries")


def test_an_api_that_cannot_listen_again_is_said_and_ends_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread has died, and the address or the certificate is not to be had now: trading goes on without."""
    main = stage.main
    monkeypatch.setattr(main, "_control", main._make_control())        # one that is not alive
    with monkeypatch.context() as patch:
        patch.setattr(ControlServer, "start", lambda _: (_ for _ in ()).throw(ConfigError("control: no")))
        for _ in range(2):
            main._guarded("control", main._keep_control)
    assert "control: control: no" in stage.built.problems()
    main._guarded("control", main._keep_control)
    assert main._control.alive
    assert not [problem for problem in stage.built.problems() if problem.startswith("control")]
    main._control.stop()
