"""The wiring: every part of the daemon, made and handed to those who need it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from control.telegram import Telegram
from control.views import in_ms
from daemon.blacklist import Blacklist
from daemon.exchange_process import ExchangeAddress, ExchangeProcess
from daemon.key_check import KeyCheck
from daemon.scan import scan_rules, scanner_for
from daemon.state import Account, Status, Trouble
from execution.funding import FundingLookUp
from execution.orders import OrderSender
from execution.protection import Protection, ProtectRules
from execution.rebuild import Rebuilder
from execution.reconcile import Reconciler
from kucoin_client import KuCoinClient
from performance_monitor import PerformanceMonitor, Stats
from position_manager import PositionManager, PositionRules
from runtime.budget import RateBudget
from runtime.events import EventFeed
from runtime.heartbeat import ThreadState, hearts
from runtime.instance import Instance
from runtime.journal import SqlJournal
from runtime.lease import Lease
from runtime.locks import assert_no_lock_held, breach_sentence
from runtime.logs import LogRuntime
from runtime.notifier import Notifier
from runtime.options import RunOptions
from runtime.outlets import Outlets
from runtime.pool import UrgentPool
from runtime.prices import PriceBook
from runtime.settings import Settings
from runtime.stream import MarketStream
from runtime.supervisor import Supervisor
from trading.errors import ExchangeError, RadError
from trading.facts import ClosedTrade, ExitReason, Price, Priority
from trading.ports import Clock
from trading.strategies import Strategy

log = logging.getLogger("house")

EXIT_WORKERS = 8
NO_EXIT_WORKER_S = 60.0        # how long RAD may go on with one that is stuck and cannot be replaced
LAST_LINES_S = 1.0             # for the log, when RAD is ended at once
FLATTEN_WORKERS = 16           # most positions closed at the same moment
STALE_PAUSE_S = 1.0            # between two REST calls for stale prices
STALE_LOST_S = 90.0            # longer than any such call may take: its worker is stuck, another is there
LEAST_SILENCE_S = 2.0          # of what is pushed each second, before it is one
PRICED_BY_REST = "the stream is silent, held symbols are priced by REST"
PRICED_BY_NOBODY = "neither stream nor REST answers: nothing but the stops on the exchange watches what is held"
STREAM_TRUSTED_AFTER_S = 5.0   # of pushes about all that is held, before the stream counts as alive again


@dataclass(slots=True, kw_only=True)
class Closing:
    """What came of closing several positions."""

    trades: list[ClosedTrade] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class House:
    """Every part of one daemon; a context manager that gives back what it took."""

    def __init__(
        self, settings: Settings, address: ExchangeAddress, clock: Clock, strategy: Strategy, *,
        journal: SqlJournal, lease: Lease | None, logs: LogRuntime | None, adopt: bool, any_key: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.journal = journal
        self.lease = lease                     # None: the data folder's lock is enough
        self.logs = logs
        self.options = RunOptions()            # what was said on the command line
        self.started_ms = clock.now_ms()
        self.stop = threading.Event()          # everything but exits ends
        self.abandon = threading.Event()       # exits end too
        self.exits_may_leave = threading.Event()       # what left before the start is known
        self.status = Status()
        self.events = EventFeed(clock, levels=settings.notify.gravities())
        self.notifier: Notifier | None = None
        self.telegram: Telegram | None = None
        self.outlets = Outlets()
        self.supervisor = Supervisor(
            settings.data_dir / "stacks.log", clock, self.stop, tell=self.status.set_stuck,
            flush=lambda: logs is None or logs.flush(LAST_LINES_S),
        )
        self.exchange_process: ExchangeProcess | None = None
        self.guard: Instance | None = None
        self.look_soon = threading.Event()     # something calls for a reconciliation
        self.blacklist = Blacklist(settings.data_dir, clock)

        self.monitor = PerformanceMonitor(clock, exit_budget_s=settings.monitor.exit_budget_s)
        self.budget = RateBudget(settings.quotas, clock, settings.exchange.quota_address)
        self.client = KuCoinClient(
            futures_url=address.futures_url, spot_url=address.spot_url,
            key=address.key, secret=address.secret, passphrase=address.passphrase,
            key_version=str(settings.exchange.key_version), budget=self.budget, clock=clock, monitor=self.monitor,
            deadline_s=settings.exchange.deadline_s, send_rule=lease,
        )
        self.key_check = KeyCheck(
            self.client.fetch_api_key, clock, needed=settings.mode == "live", overridden=any_key
        )
        self.prices = PriceBook(clock)
        self.account = Account(self.journal, self.monitor, clock)
        self.exit_pool = UrgentPool("exit", EXIT_WORKERS, vital_s=NO_EXIT_WORKER_S)
        self._flattening = UrgentPool("flatten", FLATTEN_WORKERS)
        self.price_pool = UrgentPool("price", 1)     # its own: look-ups may hold the exit workers for a while
        self.stream = MarketStream(
            self.prices, clock,
            config=self.client.stream_config,
            markets=self.client.markets,
            symbol_of=lambda exchange_id: self.client.instrument(exchange_id).symbol,
            is_listed=self.client.is_listed,
            spend=lambda private: self.budget.take("futures" if private else "public", 10, Priority.HIGH),
            on_stop_filled=self.look_soon.set,
        )
        self.rules = self.rules_of(settings)
        self._build_trading(strategy, adopt=adopt)
        # The monitor's; should two ask at once, the worst is one more call, in a queue of its own.
        self._stale_asked_at = self._silent_at = 0.0
        self._stale_asking = threading.Event()
        self._rest_is_out = False              # when it was asked last; written by who asks, in the price pool

    @staticmethod
    def rules_of(settings: Settings) -> PositionRules:
        """Return what the position manager goes by."""
        return PositionRules(
            exits=settings.exit_rules(), risk=settings.risk_rules(),
            margin_mode=settings.positions.margin_mode, stale_after_s=settings.monitor.stale_after_s,
        )

    def _build_trading(self, strategy: Strategy, *, adopt: bool) -> None:
        settings = self.settings
        protect = settings.protect
        sender = OrderSender(self.client, self.journal, self.clock, self.abandon)
        protection = Protection(
            self.client, sender,
            ProtectRules(
                enabled=protect.enabled, deadline_s=protect.deadline_s, buffer=protect.buffer,
                min_step=protect.min_step, min_interval_s=protect.min_interval_s,
            ),
            self.clock, self.abandon,
        )
        self.manager = PositionManager(
            self.client, self.journal, _Followers(self.prices, self.stream), self.monitor, self.clock,
            rules=self.rules, sender=sender, protection=protection, exit_workers=self.exit_pool,
            events=self.events,
        )
        self.rebuilder = Rebuilder(self.client, self.journal, protection, self.rules.exits, self.clock)
        self.reconciler = Reconciler(
            self.client, self.manager, sender, self.journal, protect=protect.enabled, adopt=adopt,
            rebuilder=self.rebuilder,
        )
        self.funding = FundingLookUp(
            self.client, self.journal, self.monitor, self.clock,
            lambda: self.manager.has_uncertain() or self.look_soon.is_set(),
        )
        self.scanner = scanner_for(settings, strategy, self.client, self.monitor, self.clock)
        self.choose_pairs()

    # ---- what several rooms ask -----------------------------------------------------------------

    def choose_pairs(self) -> None:
        """Have the scanner go by the settings and the black list as they are now."""
        chosen: object = None
        while chosen != (now := (self.settings, self.blacklist.symbols())):    # another may change them meanwhile
            chosen = now
            rules = now[0].universe_rules()
            universe = replace(rules, exclude=rules.exclude + tuple(sorted(now[1])))
            self.scanner.go_by(universe, scan_rules(now[0]))

    def connect(self) -> None:
        """Learn the exchange's time, then its markets; raises ExchangeError."""
        self.client.measure_clock_offset()       # before anything signed: our clock may be off
        self.client.load()

    def ask_for_stale_prices(self) -> None:
        """Have one REST call made for held symbols without a fresh price; never in the caller's thread."""
        now = self.clock.monotonic()
        asked_s = now - self._stale_asked_at
        if asked_s < STALE_PAUSE_S or (self._stale_asking.is_set() and asked_s < STALE_LOST_S):
            return
        stale_after_s = self.settings.monitor.stale_after_s
        silent = self.prices.silent(max(stale_after_s, LEAST_SILENCE_S))
        if silent:
            self._silent_at = now
            if self.status.problem("prices", PRICED_BY_NOBODY if self._rest_is_out else PRICED_BY_REST):
                instead = "REST does not answer either" if self._rest_is_out else "prices by REST"
                log.warning("stream silent, %s symbols=%s", instead, ",".join(silent))
        elif now - self._silent_at > STREAM_TRUSTED_AFTER_S and self.status.clear("prices"):
            log.info("stream prices held symbols again")
        if self.prices.stale(stale_after_s):
            self._stale_asked_at = now
            self._stale_asking.set()
            self.price_pool.submit(self._fetch_held_prices, Priority.HIGH)

    def _fetch_held_prices(self) -> None:
        try:
            asked_at = self.clock.monotonic()      # no price in the answer is older
            tickers = self.client.fetch_tickers(Priority.HIGH)
            self._rest_is_out = False
            followed = self.prices.followed()
            self._say_unpriced(followed - tickers.keys())
            held = [tickers[symbol] for symbol in followed if symbol in tickers]
            self.prices.publish_many(
                Price(
                    symbol=ticker.symbol, bid=ticker.bid, ask=ticker.ask, last=ticker.last,
                    mark=(ticker.bid + ticker.ask) / 2, ts_ms=ticker.ts_ms, received=asked_at,
                )
                for ticker in held
            )
        except ExchangeError as error:
            self._rest_is_out = True
            log.warning("held prices not readable error=%s", error)
        finally:
            self._stale_asking.clear()

    def _say_unpriced(self, symbols: frozenset[str]) -> None:
        """Report held symbols that have no price at all: nobody can watch them but their resting stops."""
        if not symbols:
            self.status.clear("unpriced")
        elif self.status.problem("unpriced", f"no price for {', '.join(sorted(symbols))}"):
            log.error("held symbols without any price symbols=%s", ",".join(sorted(symbols)))

    def close_all(self, symbols: Sequence[str], patience_s: float = 30.0) -> Closing:
        """Close several positions side by side and wait for the end.

        In threads of its own: the exit workers are for what the market asks for meanwhile.
        """
        assert_no_lock_held("closing positions")
        result = Closing()                     # this thread's alone: those that come too late add nothing to it
        outcomes: queue.SimpleQueue[ClosedTrade | str | None] = queue.SimpleQueue()

        def close(symbol: str) -> None:
            outcome: ClosedTrade | str | None = f"{symbol} was not closed"
            try:
                outcome = self.manager.close_position(symbol, ExitReason.FLATTEN)
                if outcome is None and self.manager.find(symbol) is not None:
                    outcome = f"{symbol} is being closed already"
            except RadError as error:
                outcome = f"{symbol}: {error}"
            finally:
                outcomes.put(outcome)

        for symbol in symbols:
            self._flattening.submit(lambda symbol=symbol: close(symbol), Priority.CRITICAL)  # type: ignore[misc]
        deadline = self.clock.monotonic() + patience_s
        for _ in symbols:
            try:
                outcome = outcomes.get(timeout=max(0.0, deadline - self.clock.monotonic()))
            except queue.Empty:
                result.failures.append("some positions are still being closed")
                break
            if isinstance(outcome, str):
                result.failures.append(outcome)
            elif outcome is not None:
                result.trades.append(outcome)
        return result

    def start_pools(self) -> None:
        """Let exits leave and held prices be asked for."""
        for pool in (self.exit_pool, self._flattening, self.price_pool):
            pool.start()
        self.exits_may_leave.set()

    def finish_exits(self, timeout_s: float) -> bool:
        """End the exit workers and whoever flattens, once they are done; False if some are not by then."""
        deadline = self.clock.monotonic() + timeout_s
        done = [pool.stop(deadline - self.clock.monotonic()) for pool in (self.exit_pool, self._flattening)]
        return all(done)

    def rate(self) -> dict[str, Any]:
        """Return the use of each pool, for `status`."""
        return {
            use.pool: {
                "used": use.used, "quota": use.quota, "waiting": use.waiting,
                "held_s": round(use.held_s, 1), "resets_in_s": round(use.resets_in_s, 1),
            }
            for use in self.budget.usage()
        }

    def exit_latency_ms(self, stats: Stats | None = None) -> dict[str, Any]:
        """Return p50, p95, p99 and max from price receipt to the wire, in milliseconds, and of each stage.

        `late`: how many left later than `monitor.exit_budget`.
        """
        stats = stats or self.monitor.get_stats(brief=True)
        stages = {
            name: in_ms(found.count, p50=found.p50, p95=found.p95, p99=found.p99, max=found.maximum)
            for name, found in stats.exit_stages.items()
        }
        sent = stages.get("sent", in_ms(0, p50=None, p95=None, p99=None, max=None))
        return {**sent, "late": stats.late_exits, "stages": stages}

    def troubles(self) -> list[Trouble]:
        """Return everything that is wrong."""
        found = self.status.troubles()
        # Each is asked once: what is over by the next word would be a trouble without words.
        if self.lease is not None and (text := self.lease.trouble()):
            found.append(Trouble(what="lease", text=text))
        if not self.journal.healthy:
            found.append(Trouble(what="journal", text=self.journal.failure or "its writer has ended"))
        if text := breach_sentence():
            found.append(Trouble(what="locks", text=text))
        if self.exchange_process is not None and not self.exchange_process.is_alive:
            found.append(Trouble(what="exchange", text="the embedded exchange has died"))
        if self.logs is not None and (text := self.logs.trouble):
            found.append(Trouble(what="log", text=text))
        if self.supervisor.heart.state().is_stuck:
            found.append(Trouble(what="thread", text="makes no progress", symbol="Supervisor"))
        found += [
            Trouble(what="stop", text="no stop on the exchange yet", symbol=symbol)
            for symbol in self.unprotected()
        ]
        if self.notifier is not None and (text := self.notifier.trouble()):
            found.append(Trouble(what="notifier", text=text))
        if self.telegram is not None and (text := self.telegram.trouble()):
            found.append(Trouble(what="telegram", text=text))
        found += [
            Trouble(what="exit", text=f"cannot be closed: refused {leaving.ladder.refusals} times, trying on",
                    symbol=position.symbol)
            for position, leaving in self.manager.exits_in_trouble()
        ]
        return found

    def redact(self, text: str) -> str:
        """Return *text* without secrets, as it may be read outside."""
        return text if self.logs is None else self.logs.redact(text)

    def problems(self) -> list[str]:
        """Return everything that is wrong, a sentence each."""
        return [trouble.sentence for trouble in self.troubles()]

    def unprotected(self) -> list[str]:
        """Return the symbols held without a confirmed stop on the exchange, where there should be one."""
        if not self.settings.protect.enabled:
            return []
        return [position.symbol for position in self.manager.snapshot() if position.protective_stop is None]

    def worker_states(self) -> list[ThreadState]:
        """Return what each supervised thread is doing."""
        return [heart.state() for heart in hearts()]

    # ---- end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every part in order: stream, budget, wire, journal, lease, exchange, lock."""
        self.stop.set()
        self.abandon.set()
        self.price_pool.stop(0.5)
        self.scanner.stop()
        self.stream.stop()
        self.budget.stop()
        self.client.close()
        self.journal.close()
        if self.lease is not None:
            self.lease.release()               # last: nothing is sent or written any more
        if self.exchange_process is not None:
            self.exchange_process.stop()
        if self.guard is not None:
            self.guard.release()

    def __enter__(self) -> House:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Followers:
    """The PriceBook as the position manager knows it: following wakes the stream as well."""

    def __init__(self, prices: PriceBook, stream: MarketStream) -> None:
        self._prices = prices
        self._stream = stream

    def get(self, symbol: str) -> Price | None:
        return self._prices.get(symbol)

    def follow(self, symbols: Any) -> None:
        if self._prices.follow(symbols):
            self._stream.wake()
