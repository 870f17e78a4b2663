"""RAD that can be made to fail as a service would: hang on SIGUSR1, or die at once while a file says so.

Run as `python -m tests.operate.wedged run …` in place of `python -m console run …`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

DIES_WHILE = Path("/run/rad-dies")


def hang(_signal: int, _frame: object) -> None:
    """Block the main thread: signal handlers run in it."""
    threading.Event().wait()


def main() -> int:
    """Run the command line, a hang in it found out within seconds instead of minutes."""
    import bot
    from console.__main__ import main as console
    from daemon import service

    bot.DUTY_LIMIT_S, service.GRACE_S = 1.0, 1.0
    signal.signal(signal.SIGUSR1, hang)
    return console(sys.argv[1:])


if __name__ == "__main__":
    if DIES_WHILE.exists():
        os._exit(70)                   # before anything is imported: this is to be quick
    sys.exit(main())
