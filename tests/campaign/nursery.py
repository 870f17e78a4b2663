"""A process that has imported RAD and forks a daemon whenever it is told to.

    python -m tests.campaign.nursery          then one JSON object a line on its stdin

    {"spawn": wish of tests.campaign.child, "arguments": [...], "folder": ..., "environment": {...}, "log": FILE}
        -> {"pid": n}         the child is a daemon like any other, in a session of its own
    {"reap": pid}
        -> {"code": n}        its exit code, negative for a signal, once it has ended

Importing takes far longer than starting, and a campaign starts RAD a thousand times. Forking is sound
because there is one thread and no socket at that moment: it is checked before every fork.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from typing import Any

from tests.campaign import child

Wish = dict[str, Any]


def main() -> int:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # whoever interrupts the campaign ends it by its stdin
    gc.freeze()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        answer = {"code": _reap(wish["reap"])} if "reap" in wish else {"pid": _fork(wish)}
        print(json.dumps(answer), flush=True)
    return 0


def _fork(wish: Wish) -> int:
    threads = os.listdir("/proc/self/task")
    if len(threads) != 1:
        raise RuntimeError(f"{len(threads)} threads: a fork would copy their locks without them")
    pid = os.fork()
    if pid == 0:
        _become(wish)
    return pid


def _become(wish: Wish) -> None:
    """Be the daemon, to the end."""
    code = 1
    try:
        os.setsid()
        log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, max(log, nothing) + 1)
        os.chdir(wish["folder"])
        os.environ.clear()
        os.environ.update(wish["environment"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = child.main([json.dumps(wish["spawn"]), *wish["arguments"]])
    except BaseException:  # noqa: BLE001 - never back into the nursery's own loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
