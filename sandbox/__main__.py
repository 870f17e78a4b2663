"""`python -m sandbox`: the exchange alone, for any KuCoin client; its last line of greeting is JSON."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import threading

from sandbox.arguments import parse
from sandbox.books import UnreadableBooks
from sandbox.serving import Sandbox
from sandbox.settings import POOLS, SandboxOptions
from sandbox.sources import BadSource, build_source, freeze

_PARENT_LOOK_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT, the end of the parent, or the control API says so."""
    wishes = parse(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(threadName)s %(name)s %(message)s",
    )
    options = _options(wishes)
    try:
        return asyncio.run(_serve(options, wishes))
    except (BadSource, UnreadableBooks, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1


async def _serve(options: SandboxOptions, wishes: argparse.Namespace) -> int:
    source = build_source(options)
    if wishes.frozen:
        freeze(source)
    sandbox = Sandbox(source, options)
    loop = asyncio.get_running_loop()
    addresses = await sandbox.start()
    gc.freeze()                # the market's past stays; looking through it would hold up orders by 0.1 s
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sandbox.stop)
    if wishes.exit_with_stdin:
        threading.Thread(target=_await_end_of_stdin, args=(loop, sandbox), name="stdin", daemon=True).start()
    watch = asyncio.create_task(_watch_parent(wishes.parent_pid, sandbox)) if wishes.parent_pid else None
    print(f"KuCoin sandbox: {len(sandbox.exchange.market.contracts())} contracts, play money")
    print(f"  futures    {addresses.futures_url}   (also {addresses.futures_url}/futures and /spot)")
    print(f"  spot       {addresses.spot_url}")
    print(f"  control    {addresses.control_url}")
    print(f"  key        {addresses.key}")
    print(f"  secret     {addresses.secret}")
    print(f"  passphrase {addresses.passphrase}")
    print(addresses.to_json(), flush=True)
    await sandbox.run()
    if watch is not None:
        watch.cancel()
    return 0


async def _watch_parent(pid: int, sandbox: Sandbox) -> None:
    """Stop when process *pid* is gone; a child notices at once, whoever inherits the number."""
    is_child = os.getppid() == pid
    while os.getppid() == pid if is_child else _is_alive(pid):
        await asyncio.sleep(_PARENT_LOOK_S)
    sandbox.stop()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, sandbox: Sandbox) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(sandbox.stop)


def _options(wishes: argparse.Namespace) -> SandboxOptions:
    quotas = {pool: getattr(wishes, f"quota_{pool}") for pool in POOLS}
    options = SandboxOptions(
        port=wishes.port, spot_port=wishes.spot_port, source=wishes.source, replay=wishes.replay,
        replay_start=wishes.replay_start, granularity=wishes.granularity, relay=wishes.relay,
        pairs=wishes.pairs, seed=wishes.seed, volatility=wishes.volatility, balance=wishes.balance,
        tick_ms=wishes.tick_ms, key=wishes.key, secret=wishes.secret, passphrase=wishes.passphrase,
        quotas={pool: quota for pool, quota in quotas.items() if quota is not None}, state=wishes.state,
    )
    options.rules.match_delay_ms = wishes.match_delay_ms
    options.rules.visibility_delay_ms = wishes.visibility_delay_ms
    options.rules.funding_period_ms = wishes.funding_period_ms
    return options


if __name__ == "__main__":
    sys.exit(main())
