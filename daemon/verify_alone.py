"""Verify while no daemon runs: the journal opened for reading alone, and an exchange to hold it against."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from daemon.building import exchange_of
from daemon.recovery import know_held, know_traded
from daemon.verify import Parties, unreadable, verify
from kucoin_client import KuCoinClient
from runtime.budget import RateBudget
from runtime.clock import SystemClock
from runtime.instance import Instance
from runtime.journal_reader import JournalReader
from runtime.options import RunOptions
from runtime.secrets import load_secrets
from runtime.settings import Settings, load_settings
from trading.errors import ExchangeError, JournalError


def verify_alone(options: RunOptions) -> dict[str, Any]:
    """Compare the journal with the exchange; the journal is not written, nothing is sent.

    The instance lock is held while an embedded exchange of ours runs, because that one writes its books. A
    real exchange is only asked: there the lock is tried before and after, so that a daemon which systemd
    starts meanwhile is not turned away, and its doings are not mistaken for differences.

    Raises:
        ConfigError: a setting or a key is wrong, or a daemon runs.
        RadError: journal or exchange cannot be read: nothing is said about agreement.
    """
    settings = load_settings(options.config, {"mode": options.mode} if options.mode else {})
    secrets = load_secrets([Path.cwd(), Path(__file__).resolve().parents[1]])
    clock = SystemClock()
    is_embedded = settings.futures_url is None
    with ExitStack() as stack:
        journal = _open_journal(settings)
        stack.callback(journal.close)
        lock = Instance.claim(settings.data_dir, clock)
        if is_embedded:
            stack.callback(lock.release)
        else:
            lock.release()
        address, process = exchange_of(settings, secrets, frozen=True)
        if process is not None:
            stack.callback(process.stop)
        budget = RateBudget(settings.quotas, clock, settings.exchange.quota_address)
        stack.callback(budget.stop)
        client = KuCoinClient(
            futures_url=address.futures_url, spot_url=address.spot_url,
            key=address.key, secret=address.secret, passphrase=address.passphrase,
            key_version=str(settings.exchange.key_version), budget=budget, clock=clock,
            deadline_s=settings.exchange.deadline_s,
        )
        stack.callback(client.close)
        try:
            client.measure_clock_offset()
            client.load()
            know_held(client, journal.open_positions())
            know_traded(client, journal, clock.now_ms())
        except ExchangeError as error:
            raise unreadable(error) from error
        answer = verify(Parties(
            client=client, journal=journal, clock=clock, protect=settings.protect.enabled,
            protect_deadline_s=settings.protect.deadline_s,
        ))
        if not is_embedded:
            Instance.claim(settings.data_dir, clock).release()
        return answer


def _open_journal(settings: Settings) -> JournalReader:
    """Return a reader of the mode's own journal; one of another mode would differ in everything."""
    journal = JournalReader.open(settings.journal_url)
    label, ours = journal.meta().get("label"), f"{settings.mode} {settings.market}"
    if label not in (None, ours):
        journal.close()
        raise JournalError(f"the journal {settings.journal_url} belongs to {label}, not to {ours}")
    return journal
