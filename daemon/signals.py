"""What ends the daemon, and what has it read its settings again."""

from __future__ import annotations

import os
import signal
import sys
import threading


def end_on_signals(stop: threading.Event) -> None:
    """Have SIGINT and SIGTERM end it in good order; the second of them at once."""
    def end(_signal: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(130)        # asked twice: the person means it
        stop.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


def reload_on_hangup(hung_up: threading.Event, stop: threading.Event) -> None:
    """Set *hung_up* on SIGHUP; on a terminal it means that the terminal is gone, and ends RAD in good order."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:       # under nohup it means nothing
        event = stop if sys.stdout.isatty() else hung_up
        signal.signal(signal.SIGHUP, lambda _signal, _frame: event.set())


def end_after(stop: threading.Event, seconds: float | None) -> threading.Timer | None:
    """Have it end by itself after so long; None: not at all."""
    if seconds is None:
        return None
    timer = threading.Timer(seconds, stop.set)
    timer.name = "Timer"
    timer.daemon = True
    timer.start()
    return timer
