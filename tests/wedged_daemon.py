"""The daemon with a monitor that hangs at a word: `python -m tests.wedged_daemon [bot.py arguments]`.

A file `hang` in its folder: the monitor hangs, holding nothing, until `hanging` is taken away again.
A file `lock`: it takes the lock of the positions and keeps it. Its limits are short, to get on.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import bot
from position_manager import PositionManager

look = PositionManager.update_positions


def look_or_hang(manager: PositionManager) -> int:
    """Look at the positions unless told otherwise."""
    if Path("hang").exists():
        Path("hang").rename("hanging")
        while Path("hanging").exists():
            threading.Event().wait(0.01)
    if Path("lock").exists():
        with manager._positions_lock:
            threading.Event().wait(60)
    return look(manager)


if __name__ == "__main__":
    PositionManager.update_positions = look_or_hang          # type: ignore[method-assign]
    bot.MONITOR_LIMIT_S, bot.MONITOR_STUCK_S = 2.0, 1.0
    sys.exit(bot.main(sys.argv[1:]))
