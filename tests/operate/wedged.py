"""RAD that can be made to fail as a service would: hang on SIGUSR1, or die at once while a file says so.

Run as `python -m tests.operate.wedged run …` in place of `python -m console run …`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import bot
from console.__main__ import main
from daemon import service

DIES_WHILE = Path("/run/rad-dies")


def hang(_signal: int, _frame: object) -> None:
    """Block the main thread: signal handlers run in it."""
    threading.Event().wait()


if __name__ == "__main__":
    if DIES_WHILE.exists():
        os._exit(70)
    bot.DUTY_LIMIT_S, service.GRACE_S = 1.0, 1.0        # or the test would wait two minutes
    signal.signal(signal.SIGUSR1, hang)
    sys.exit(main(sys.argv[1:]))
