"""RAD itself: builds, wires, supervises. `python bot.py` runs the daemon, as `./rad run` does.

The main thread opens positions, keeps book and exchange in agreement, watches the risk limits and
looks after the other threads. Starting and recovering are the same code: a killed RAD starts again.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from control.listening import listen_of
from control.server import ControlServer
from control.views import opportunity_view
from daemon import scan
from daemon.building import build
from daemon.doctor import examine
from daemon.house import House
from daemon.key_facts import KeyFacts, facts_of_key
from daemon.opening import Opener
from daemon.recovery import know_traded, recover
from daemon.report import closing_block
from daemon.service import Service
from daemon.signals import act_on_signals, end_after
from daemon.standby import Standby
from daemon.steering import Desk
from daemon.telling import Telling
from daemon.verify_alone import verify_alone
from execution.reconcile import Reconciliation
from runtime.heartbeat import IDLE, IDLE_LIMIT_S, Heart, doing
from runtime.leaving import leave
from runtime.memory import keep_heap_together
from runtime.options import RunOptions, parse_run_options
from runtime.secrets import Secrets
from runtime.settings import Settings
from runtime.supervisor import STUCK
from runtime.worker import Worker, join_all
from trading.errors import AuthenticationFailed, ClockSkew, ConfigError, ExchangeError, JournalError, RadError

log = logging.getLogger("bot")

OK, ERROR, BAD_CONFIG = 0, 1, 4                # and STUCK, of the supervisor
OVERTAKEN = 75                   # another RAD has taken over: start again, as its standby

# How long a computing thread keeps the interpreter when another wants it. At Python's 5 ms the monitor
# woke half a second late beside twenty that compute, at 1 ms a fifth of that (bench/switch_interval.py).
SWITCH_INTERVAL_S = 0.001
MAIN_INTERVAL_S = 1.0
ACCOUNT_INTERVAL_S = 5.0
CONTACT_INTERVAL_S = 30.0        # idle connections get closed, and a clock drifts or is set
RECONCILE_SOON_S = 1.0           # after anything uncertain
SUMMARY_INTERVAL_S = 60.0
DUTY_LIMIT_S = 30.0              # of one of the main thread's duties, and three calls, without any getting on
DUTIES_LIMIT_S = 600.0           # of one duty, however often it gets on
MAIN_STUCK_S = 30.0              # how long exits go on beyond that, before RAD is ended
MONITOR_LIMIT_S = 5.0            # of one look at all positions, the wait for a tick included
MONITOR_STUCK_S = 5.0            # how much longer a lock may keep it
MONITOR_BACKOFF_S = 0.25         # whatever goes wrong in it, the monitor looks again at once
START_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
# Ten seconds are promised from the signal to the end; what follows adds up to less.
ENDING_CALLS_S = 2.0             # for calls under way, except exits and stops
ENDING_EXITS_S = 4.0             # for those too, whoever is at them: the main thread may be
THREADS_GRACE_S = 1.0
EXITS_GRACE_S = 3.0              # exits under way when asked to end
LAST_LOOK_S = 2.0


class Bot:
    """One daemon: owns the threads and decides what each failure means for trading."""

    def __init__(self, house: House, options: RunOptions) -> None:
        self._house = house
        self._options = options
        self._clock = house.clock
        self.stop = house.stop
        self.hung_up = threading.Event()       # SIGHUP: the settings are to be read again
        self._opener = Opener(house, guard=options.guard)
        self._desk = Desk(house, self._opener)
        self._telling = Telling(house, self._desk)
        self._heart = Heart(
            "MainThread", limit_s=DUTY_LIMIT_S + 3 * house.settings.exchange.deadline_s, vital_s=MAIN_STUCK_S,
            task_limit_s=DUTIES_LIMIT_S, monotonic=self._clock.monotonic,
        )
        self._standby = Standby(house, self._heart)
        self._monitor, self._workers = self._make_workers()
        self._service = Service(house, self._heart.state, self._monitor.state)
        self._control = self._make_control()
        self._next_contact = self._clock.monotonic() + CONTACT_INTERVAL_S
        self._next_account = 0.0
        self._next_reconcile = 0.0
        self._next_summary = self._clock.monotonic() + SUMMARY_INTERVAL_S
        self._started = False
        self._hurrying = Heart("Ending")
        self._seen_through = threading.Event()     # at the end: no exit is waited for any more
        self._tick = 0
        self._connections = 0

    def run(self) -> int:
        """Start, trade until told to stop, end with every position protected; return the exit code."""
        code = OK
        self._heart.adopt()
        self._house.supervisor.start()
        self._service.start()
        self._hurrying.start(self._hurry)
        try:
            self._start_control()
            self._telling.start()
            if self._start():
                code = self._loop()
        except (AuthenticationFailed, ConfigError, JournalError) as error:
            log.error("cannot go on error=%s", error)
            print(f"rad: {self._house.redact(str(error))}", file=sys.stderr)
            code = ERROR if isinstance(error, JournalError) else BAD_CONFIG
        finally:
            self._end()
            self._house.supervisor.finish()
            self._heart.leave()
        if self._standby.is_overtaken():
            return OVERTAKEN
        return STUCK if self._house.supervisor.given_up else code

    # ---- start ----------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Learn the market and the account, recover the book, start the threads; False if stopped first."""
        house = self._house
        log.info(
            "starting mode=%s market=%s exchange=%s data=%s",
            house.settings.mode, house.settings.market, house.client.futures_url, house.settings.data_dir,
        )
        if not self._standby.wait():
            return False
        if not self._until_it_answers(self._learn):
            return False
        _settle_memory()
        recovered = recover(house)
        if not self._until_it_answers(house.reconciler.catch_up):
            return False
        # What was recovered is watched from here on, however long book and exchange take to agree.
        house.start_pools()
        house.stream.start()
        for worker in self._workers:
            worker.start()
        self._started = True
        know_traded(house.client, house.journal, self._clock.now_ms())
        if not self._until_it_answers(self._reconcile):
            return False
        house.key_check.look_if_due()      # not before: what is open is looked after, whatever the key may do
        house.status.started()
        log.info("running positions=%s recovered=%s", len(house.manager.snapshot()), recovered)
        return True

    def _learn(self) -> None:
        self._house.connect()
        self._refresh_account()
        self._house.client.warm_up()

    def _until_it_answers(self, step: Callable[[], None]) -> bool:
        """Repeat *step* until the exchange answers; a daemon waits for its exchange as long as it takes."""
        turn = 0
        while not self.stop.is_set():
            self._heart.begin("waiting for the exchange")
            try:
                step()
                return True
            except ExchangeError as error:
                if isinstance(error, ClockSkew):
                    self._guarded("clock", self._measure_clock)
                elif isinstance(error, AuthenticationFailed):
                    raise
                pause_s = START_RETRY_S[min(turn, len(START_RETRY_S) - 1)]
                turn += 1
                self._house.status.problem("exchange", f"the exchange does not answer: {error}")
                log.warning("exchange not ready, again in %.0fs error=%s", pause_s, error)
                with doing(IDLE, "", pause_s + IDLE_LIMIT_S):
                    self._clock.wait(self.stop, pause_s)
        return False

    def _measure_clock(self) -> None:
        self._house.client.measure_clock_offset()

    def _make_workers(self) -> tuple[Worker, list[Worker]]:
        house = self._house
        # Two of it would do no harm: exits and stop moves are claimed.
        monitor = Worker(
            "PositionMonitor", self._monitor_step, stop=self.stop, clock=self._clock,
            stuck_after_s=MONITOR_LIMIT_S, longest_backoff_s=MONITOR_BACKOFF_S, can_be_doubled=True,
            vital_s=MONITOR_STUCK_S,
        )
        scanner = Worker(
            "BackgroundScanner", self._scan_step, stop=self.stop, clock=self._clock,
            stuck_after_s=house.settings.scanner.time_limit_s * 2 + 30,
        )
        return monitor, [monitor, scanner]

    def _make_control(self) -> ControlServer:
        house = self._house
        return ControlServer(
            self._desk, data_dir=house.settings.data_dir, listen=listen_of(house.settings), redact=house.redact
        )

    # ---- the three threads ----------------------------------------------------------------------

    def _monitor_step(self) -> None:
        """Wait for a tick of a held symbol, at most the monitor's interval, and look at every stop."""
        house = self._house
        with doing(IDLE, "tick", MONITOR_LIMIT_S):
            tick = house.prices.wait_for_tick(self._tick, house.settings.monitor.interval_s)
        if not self._monitor.is_current():
            return                   # woken up after another has taken over: this tick is for that one to see
        self._tick = tick
        house.manager.update_positions()
        house.ask_for_stale_prices()

    def _scan_step(self) -> None:
        house = self._house
        try:
            self._note_universe(house.scanner.scan().universe)
            house.status.clear("scan")
        except ExchangeError as error:         # the exchange's trouble: nothing is wrong with this thread
            if house.status.problem("scan", str(error)):
                log.warning("scan failed, trying again error=%s", error)
        house.scanner.wait_until_due(self.stop)

    def _note_universe(self, pairs: int) -> None:
        """Say it once when the filter lets no pair pass: nothing would ever be entered."""
        status = self._house.status
        if pairs:
            if status.clear("universe"):
                log.info("pairs pass the scanner's filter again pairs=%d", pairs)
        elif status.problem("universe", "no pair passes the filter in the scanner section of the settings"):
            log.warning("no pair passes the scanner's filter: nothing is scanned or entered")

    def _loop(self) -> int:
        while not self.stop.is_set():
            self._house.supervisor.ensure()
            self._guarded("control", self._keep_control)
            self._guarded("connection", self._stay_connected_if_due)
            self._reload_if_asked()
            self._guarded("key", self._house.key_check.look_if_due)
            self._guarded("account", self._refresh_account_if_due)
            self._guarded("reconcile", self._reconcile_if_due)
            self._guarded("entries", self._opener.step)
            self._summarise_if_due()
            self._heart.done()
        return OK

    def _keep_control(self) -> None:
        """Replace the control API if its thread has died; its address is a new one then."""
        if not self._control.alive:
            log.error("the control API has died, starting another")
            self._control.stop()
            self._control = self._make_control()
            try:
                self._start_control()
            except ConfigError as error:       # there may be positions to look after by now: no reason to end
                raise RadError(str(error)) from None

    def _start_control(self) -> None:
        """Listen; the token is a secret from then on."""
        address = self._control.start()
        if self._house.logs is not None:
            self._house.logs.hide(address.token)
        log.info("page and API listen url=%s (./rad page logs a browser in)", address.url)

    def _guarded(self, what: str, step: Callable[[], None]) -> None:
        """Run one of the main thread's duties; a failure is said in `status` and tried again next time."""
        self._heart.begin(what)
        try:
            step()
            self._house.status.clear(what)
        except ConfigError:
            raise                                    # nothing but a person can mend it
        except RadError as error:
            if self._house.status.problem(what, str(error)):
                log.warning("%s failed, trying again error=%s", what, error)
        except Exception as error:  # noqa: BLE001 - the main loop outlives its steps, and says so
            self._house.status.problem(what, f"{type(error).__name__}: {error}")
            log.exception("%s failed unexpectedly", what)
            self._clock.wait(self.stop, MAIN_INTERVAL_S)

    def _reload_if_asked(self) -> None:
        if self.hung_up.is_set():
            self.hung_up.clear()
            try:
                self._desk.reload()
            except RadError as error:
                log.error("settings not reloaded, nothing has changed error=%s", error)

    def _stay_connected_if_due(self) -> None:
        """Keep the exits' connections open and the exchange's time known, now and then."""
        now = self._clock.monotonic()
        if now >= self._next_contact or self._house.client.is_clock_off():
            self._next_contact = now + CONTACT_INTERVAL_S
            self._measure_clock()
            self._house.client.warm_up()

    def _refresh_account_if_due(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_account:
            self._next_account = now + ACCOUNT_INTERVAL_S
            self._refresh_account()

    def _refresh_account(self) -> None:
        house = self._house
        house.account.update(house.client.fetch_balance())

    def _reconcile_if_due(self) -> None:
        now = self._clock.monotonic()
        soon = self._house.manager.has_uncertain() and now >= self._next_reconcile - (
            self._house.settings.reconcile.interval_s - RECONCILE_SOON_S
        )
        asked = self._house.look_soon.is_set() or self._reconnected()
        if soon or asked or now >= self._next_reconcile:
            self._house.look_soon.clear()
            self._next_reconcile = now + RECONCILE_SOON_S        # unless this one succeeds
            self._reconcile()
            self._next_reconcile = now + self._house.settings.reconcile.interval_s
            self._house.funding.look_up()

    def _reconnected(self) -> bool:
        """Whether the stream has made a connection since last asked: pushes may have been missed."""
        before, self._connections = self._connections, self._house.stream.connections
        return before != self._connections

    def _reconcile(self) -> None:
        result: Reconciliation = self._house.reconciler.run()
        self._house.status.reconciled(result, self._clock.now_ms())

    def _summarise_if_due(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_summary:
            self._next_summary = now + SUMMARY_INTERVAL_S
            log.info("summary %s", self._desk.summary())

    # ---- end ------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Stop entries first, let exits finish, leave every position protected, say how things stand."""
        house = self._house
        self._service.stopping()
        house.status.stopping()
        house.manager.shut("stopping")
        self.stop.set()
        house.scanner.stop()
        house.prices.wake()
        if self._started:
            house.manager.await_entries(THREADS_GRACE_S)          # by hand, in other threads
            late = join_all(self._workers, THREADS_GRACE_S, self._clock)    # the lease is kept to the very end
            if late:
                log.warning("threads still busy at the end names=%s", ",".join(late))
            if not house.finish_exits(EXITS_GRACE_S):
                log.warning("exits still under way at the end: recovery looks them up")
            if not self._standby.is_overtaken():
                self._last_look()
            self._say_last_words()
        self._seen_through.set()
        self._telling.stop()
        house.close()
        self._control.stop()
        self._service.stop()

    def _hurry(self) -> None:
        """Once told to end, wait for nothing long: the main thread may be in the middle of a call, or of many."""
        house = self._house
        self._hurrying.idle(inf)
        self.stop.wait()
        house.client.hurry(ENDING_CALLS_S)
        if not self._clock.wait(self._seen_through, ENDING_EXITS_S):
            house.client.hurry_exits(0)
            house.abandon.set()

    def _say_last_words(self) -> None:
        try:
            for line in closing_block(self._house):
                print(line, flush=True)
        except JournalError as error:
            log.warning("no last words error=%s", error)

    def _last_look(self) -> None:
        """Compare book and exchange once more, so that the last words are true."""
        self._house.client.hurry(LAST_LOOK_S)
        self._house.client.hurry_exits(LAST_LOOK_S)
        if self._house.exchange_process is not None:
            self._house.exchange_process.freeze()
        try:
            self._reconcile()
        except RadError as error:
            log.warning("no last look at the exchange error=%s", error)


def run(options: RunOptions) -> int:
    """Run the daemon in the foreground; return its exit code."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    keep_heap_together()
    try:
        house = build(options)
    except RadError as error:
        print(f"rad: {error}", file=sys.stderr)
        return BAD_CONFIG if isinstance(error, ConfigError | AuthenticationFailed) else ERROR
    bot = Bot(house, options)
    act_on_signals(bot.stop, bot.hung_up)
    timer = end_after(bot.stop, options.for_seconds)
    try:
        return bot.run()
    finally:
        if timer is not None:
            timer.cancel()
        if house.logs is not None:
            house.logs.stop()


def scan_once(options: RunOptions, running: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Scan once, beside the daemon whose status is *running* if there is one; return what is found, best first."""
    result = scan.scan_once(options, running)
    if not result.universe:
        log.warning("no pair passes the scanner's filter")
    return [opportunity_view(opportunity) for opportunity in result.opportunities]


def verify(options: RunOptions) -> dict[str, Any]:
    """Compare the journal with the exchange while no daemon runs."""
    return verify_alone(options)


def _settle_memory() -> None:
    """Have the collector pass over what was loaded, which stays: the markets and every module.

    It stops all threads while it looks, and through all that it took 90 ms.
    """
    gc.collect()
    gc.freeze()


def doctor(options: RunOptions) -> dict[str, Any]:
    """Look at everything a person could have got wrong; sends no order and writes nothing."""
    return examine(options)


def try_key(settings: Settings, secrets: Secrets) -> KeyFacts:
    """Have the configured exchange say what a key may do; raises ExchangeError."""
    return facts_of_key(settings, secrets)


def main(argv: Sequence[str]) -> int:
    """Run the daemon with the arguments of `./rad run`."""
    try:
        options = parse_run_options(argv)
    except ConfigError as error:
        print(f"rad: {error}", file=sys.stderr)
        return BAD_CONFIG
    return run(options)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))


