"""Waiting for the lease, ready to start, and keeping it from then on; without a lease nothing is waited for."""

from __future__ import annotations

import logging

from daemon.house import House
from runtime.heartbeat import Heart
from runtime.lease import POLL_S, RENEW_S, Lease
from runtime.worker import Worker
from trading.errors import ExchangeError, JournalError

log = logging.getLogger("bot")


class Standby:
    """One daemon's way to its lease; the main thread's, by whose *heart* it waits."""

    def __init__(self, house: House, heart: Heart) -> None:
        self._house = house
        self._heart = heart

    def wait(self) -> bool:
        """Wait until the lease is ours, if one is needed; False if stopped first."""
        lease, warm = self._house.lease, False
        if lease is None:
            return True
        while not self._house.stop.is_set():
            self._heart.begin("standing by")
            try:
                if lease.held or lease.acquire():
                    self._keep(lease)
                    return True
                if not warm:
                    log.info("%s", lease.trouble())
                    self._house.connect()
                    warm = True
            except (JournalError, ExchangeError) as error:
                log.debug("standing by error=%s", error)
            self._house.clock.wait(self._house.stop, POLL_S)
        return False

    def is_overtaken(self) -> bool:
        """Whether another RAD trades in this one's place."""
        return self._house.lease is not None and self._house.lease.lost

    def _keep(self, lease: Lease) -> None:
        """Have the lease renewed in a thread of its own, from now on and until it is given back."""
        def renew() -> None:
            pause_s = RENEW_S
            try:
                if not lease.renew():
                    self._give_way()
            except JournalError:
                pause_s = POLL_S                   # it is logged, and said in `status`
            self._house.clock.wait(lease.ended, pause_s)

        clock = self._house.clock
        Worker("Lease", renew, stop=lease.ended, clock=clock, longest_backoff_s=RENEW_S).start()

    def _give_way(self) -> None:
        """Another RAD has the lease: nothing is sent or written any more; end."""
        if not self._house.stop.is_set():
            log.critical("another RAD has taken over the lease: ending")
        self._house.stop.set()
        self._house.abandon.set()
