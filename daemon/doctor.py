"""`./rad doctor`: everything a person could have got wrong, looked at one by one, each with what to do.

It sends no order and writes nothing. Without an exchange of its own to ask (modes sandbox and paper) it
starts the embedded one for as long as it takes.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from daemon import doctor_exchange, doctor_machine
from daemon.exchange_process import ExchangeAddress, ExchangeProcess
from daemon.findings import BAD_CONFIG, Finding, fault, good, report
from daemon.lone_client import lone_client
from runtime.options import RunOptions
from runtime.secrets import Secrets, load_secrets
from runtime.settings import Settings, load_settings
from trading.errors import ConfigError
from trading.strategies import load as load_strategy

PROJECT = Path(__file__).resolve().parents[1]


def examine(options: RunOptions) -> dict[str, Any]:
    """Return what is found: `ok`, `exit_code`, `mode`, `exchange` and `findings`."""
    try:
        settings = load_settings(options.config, {"mode": options.mode} if options.mode else {})
        scanner = settings.scanner
        load_strategy(scanner.strategy, scanner.params, candles=scanner.candles)
        secrets = load_secrets([Path.cwd(), PROJECT])
    except ConfigError as error:
        advice = "change what is named; ./rad config check tries again"
        wrong = fault("configuration", str(error), advice, BAD_CONFIG)
        return report([wrong], mode=options.mode, exchange=None)
    found = [good("configuration", f"mode {settings.mode}, market {settings.market}, data in {settings.data_dir}")]
    keys = doctor_machine.look_at_keys(settings, secrets)
    found += keys
    exchange = None
    if not any(finding.exit_code for finding in keys):
        with ExitStack() as ends:
            try:
                address = _address(settings, secrets, ends)
            except ConfigError as error:
                found.append(fault("exchange", str(error), "./rad sandbox starts it alone and says more"))
            else:
                exchange = address.futures_url
                found += _ask(settings, address, options, ends)
    found += doctor_machine.look(settings)
    return report(found, mode=settings.mode, exchange=exchange)


def _address(settings: Settings, secrets: Secrets, ends: ExitStack) -> ExchangeAddress:
    """Return where the exchange answers, having started it if it is RAD's own: without books, for nobody else."""
    if settings.futures_url is None:
        process = ExchangeProcess(settings, keeps_books=False)
        ends.callback(process.stop)
        return process.start()
    return ExchangeAddress(
        futures_url=settings.futures_url, spot_url=settings.spot_url or settings.futures_url,
        key=secrets.key, secret=secrets.secret, passphrase=secrets.passphrase,
    )


def _ask(
    settings: Settings, address: ExchangeAddress, options: RunOptions, ends: ExitStack
) -> list[Finding]:
    client, budget = ends.enter_context(lone_client(settings, address))
    return doctor_exchange.look(
        doctor_exchange.Patient(
            settings=settings, client=client, budget=budget, any_key=options.any_key,
            is_play_money=settings.futures_url is None,
        )
    )
