"""Building the house: settings, secrets, folder, journal, lease, exchange; or nothing of it is left behind."""

from __future__ import annotations

from pathlib import Path

from daemon.exchange_process import ExchangeAddress, ExchangeProcess
from daemon.house import House
from daemon.messages import notifier_for
from runtime.clock import SystemClock
from runtime.instance import Instance
from runtime.journal import SqlJournal
from runtime.lease import LEASE_S, POLL_S, Lease, account_name, lease_of
from runtime.lease_row import on_server
from runtime.logs import start_logging
from runtime.options import RunOptions, refuse_unspoken_live
from runtime.outlets import load_outlets
from runtime.secrets import Secrets, load_secrets
from runtime.settings import Settings, load_settings
from trading.errors import ConfigError
from trading.ports import Clock
from trading.strategies import load as load_strategy

EMBEDDED = "embedded"         # stands for the key of the exchange RAD brings itself


def build(options: RunOptions) -> House:
    """Return a house for *options*, its exchange started if it is an embedded one.

    Raises:
        ConfigError: a setting, the strategy, a key or the data folder is wrong, or another instance runs.
        JournalError: the journal cannot be opened.
    """
    settings = load_settings(options.config, {"mode": options.mode} if options.mode else {})
    refuse_unspoken_live(settings.mode, live=options.live)
    scanner = settings.scanner
    strategy = load_strategy(scanner.strategy, scanner.params, candles=scanner.candles)
    folders = [Path.cwd(), Path(__file__).resolve().parents[1]]
    secrets = load_secrets(folders)
    clock = SystemClock()
    guard = Instance.claim(settings.data_dir, clock)
    outlets = load_outlets(folders)
    hidden = secrets.redactions() + outlets.redactions()
    logs = start_logging(
        settings.log.level, settings.log_path, hidden, as_json=settings.log.format == "json"
    )
    process: ExchangeProcess | None = None
    journal: SqlJournal | None = None
    lease: Lease | None = None
    try:
        if settings.mode == "live":
            secrets.require()
        lease = _lease(settings, secrets.key, clock)
        journal = SqlJournal(
            settings.journal_url, clock, label=f"{settings.mode} {settings.market}",
            fence=None if lease is None else lease.fence, redact=logs.redact,
        )
        if settings.futures_url is None and lease is not None:
            _take_alone(lease, clock)
        address, process = exchange_of(settings, secrets)
        adopt = settings.positions.adopt or options.guard
        house = House(
            settings, address, clock, strategy, journal=journal, lease=lease, logs=logs, adopt=adopt,
            any_key=options.any_key,
        )
        house.outlets = outlets
        house.notifier = notifier_for(settings, outlets, house.events, clock, logs.redact)
    except BaseException:
        if process is not None:
            process.stop()
        if journal is not None:
            journal.close()
        if lease is not None:
            lease.release()
        guard.release()
        logs.stop()
        raise
    house.exchange_process, house.guard, house.options = process, guard, options
    return house


def exchange_of(
    settings: Settings, secrets: Secrets, *, frozen: bool = False
) -> tuple[ExchangeAddress, ExchangeProcess | None]:
    """Return where the exchange answers; the process too if it is an embedded one, started here.

    *frozen*: its market stands still.

    Raises:
        ConfigError: a key is missing, or the embedded exchange did not start.
    """
    if settings.futures_url is None:
        process = ExchangeProcess(settings, frozen=frozen)
        try:
            return process.start(), process
        except BaseException:
            process.stop()
            raise
    if settings.mode == "live":
        secrets.require()
    return ExchangeAddress(
        futures_url=settings.futures_url, spot_url=settings.spot_url or settings.futures_url,
        key=secrets.key, secret=secrets.secret, passphrase=secrets.passphrase,
    ), None


def _lease(settings: Settings, key: str, clock: Clock) -> Lease | None:
    """Return the lease of the account; None with a file for a journal: the folder's lock excludes others."""
    if not on_server(settings.journal_url):
        return None
    whose = EMBEDDED if settings.futures_url is None else key
    return lease_of(settings.journal_url, account_name(settings.mode, settings.market, whose), clock)


def _take_alone(lease: Lease, clock: Clock) -> None:
    """Take the lease before an embedded exchange starts: two of those would share one journal.

    Raises:
        ConfigError: another RAD keeps it.
    """
    deadline = clock.monotonic() + LEASE_S + 2 * POLL_S     # of one that was killed it expires by then
    while not lease.acquire():
        if clock.monotonic() >= deadline:
            raise ConfigError(
                f"{lease.trouble()} of this journal, and the embedded exchange cannot be shared; "
                "a standby needs exchange.futures_url"
            )
        clock.wait(lease.ended, POLL_S)
