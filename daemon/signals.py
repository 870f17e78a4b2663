"""What ends the daemon, and what has it read its settings again.

A handler of Python's waits for the main thread, between two of its steps: told in the moment before a call
that blocks, it would not hear until that call returns; told inside an Event, it could wait for itself. What
the system's own handler writes into a pipe arrives whatever the main thread is at.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from math import inf

from runtime.heartbeat import Heart

MOST_AT_ONCE = 64

Action = Callable[[], None]


def act_on_signals(stop: threading.Event, hung_up: threading.Event) -> None:
    """Have SIGINT and SIGTERM end it in good order, the second of them at once, and SIGHUP set *hung_up*.

    On a terminal SIGHUP means that the terminal is gone, and ends RAD too. Called by the main thread, once.
    """
    asked: list[int] = []        # the thread's that hears them

    def end() -> None:
        if asked:
            os._exit(130)        # asked twice: the person means it; that RAD ends by itself already is no asking
        asked.append(1)
        stop.set()

    actions: dict[int, Action] = {signal.SIGINT: end, signal.SIGTERM: end}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:       # under nohup it means nothing
        actions[signal.SIGHUP] = stop.set if sys.stdout.isatty() else hung_up.set
    listen(actions)


def listen(actions: Mapping[int, Action]) -> None:
    """Carry out the action of each signal that comes, in the thread `Signals`."""
    listening, telling = os.pipe()
    os.set_blocking(telling, False)
    signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    for number in actions:
        signal.signal(number, lambda _signal, _frame: None)      # what ends the process otherwise
    heart = Heart("Signals")

    def hear() -> None:
        while True:
            heart.idle(inf)
            for number in os.read(listening, MOST_AT_ONCE):
                if number in actions:
                    actions[number]()

    heart.revive = lambda: heart.start(hear)
    heart.start(hear)


def end_after(stop: threading.Event, seconds: float | None) -> threading.Timer | None:
    """Have it end by itself after so long; None: not at all."""
    if seconds is None:
        return None
    timer = threading.Timer(seconds, stop.set)
    timer.name = "Timer"
    timer.daemon = True
    timer.start()
    return timer
