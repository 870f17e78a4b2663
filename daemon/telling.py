"""Who tells a person what happens and listens to what he says: the watch, the outlets, Telegram."""

from __future__ import annotations

import logging
import threading

from control.steering import Steering
from daemon.house import House
from daemon.messages import telegram_for
from daemon.remembering import Remembrance
from daemon.watch import Watch
from runtime.worker import Worker

log = logging.getLogger("notify")

INTERVAL_S = 1.0
STUCK_AFTER_S = 60.0           # it may wait for the journal at midnight
GRACE_S = 0.3                  # at the end, for a look under way and a command under way
LAST_MESSAGES_S = 1.0


class Telling:
    """From the very beginning, a start that does not come off included, to the very end."""

    def __init__(self, house: House, steering: Steering) -> None:
        self._house = house
        self._watch = Watch(house)
        self._remembrance = Remembrance(house.events, house.journal)
        self._ended = threading.Event()
        self.watcher = Worker(
            "Watch", self._look, stop=self._ended, clock=house.clock, stuck_after_s=STUCK_AFTER_S,
            longest_backoff_s=INTERVAL_S,
        )
        house.telegram = telegram_for(house.settings, house.outlets, steering, house.clock, house.redact)

    def start(self) -> None:
        """Start the threads."""
        self.watcher.start()
        if self._house.notifier is not None:
            self._house.notifier.start()
        if self._house.telegram is not None:
            self._house.telegram.start()

    def stop(self) -> None:
        """Tell what there is to tell and have it brought; what comes now is the end, and no trouble."""
        house = self._house
        self._ended.set()
        if self.watcher.join(GRACE_S):
            self._look_and_remember()
        if house.telegram is not None:
            house.telegram.stop(GRACE_S)
        if house.notifier is None:
            house.events.close()
        elif not house.notifier.stop(house.events, LAST_MESSAGES_S):
            log.warning("last messages not taken in time")

    def _look(self) -> None:
        self._look_and_remember()
        self._house.clock.wait(self._ended, INTERVAL_S)

    def _look_and_remember(self) -> None:
        self._watch.look()
        lease = self._house.lease
        if lease is None or lease.held:        # of a standby the journal, which is another's, takes nothing
            self._remembrance.keep()
