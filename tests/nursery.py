"""A process that has imported RAD and forks another whenever it is told to: `python -m MODULE` without the wait.

    python -m tests.nursery          then one JSON object a line on its stdin

    {"module": ..., "arguments": [...], "folder": ..., "environment": {...}, "in": FILE, "out": FILE, "err": FILE}
        -> {"pid": n}         a process like any other, in a session of its own
    {"reap": pid}
        -> {"code": n}        its exit code, negative for a signal, once it has ended

Importing takes far longer than starting, a campaign starts RAD a thousand times and the tests a hundred.
Forking is sound because there is one thread and no socket at that moment: it is checked before every fork.
The child runs the module from its first line and ends as Python does, with its threads joined. What `console`
remembers of its caller as it is imported is why the console itself is left to the child.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
from typing import Any

from runtime.memory import loading

with loading():
    import bot as _bot  # noqa: F401 - imported to be there, as the next one
    from tests.campaign import mutants as _mutants  # noqa: F401

Wish = dict[str, Any]
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def main() -> None:
    """Serve until stdin ends; in a child, be what was wished for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # whoever interrupts the tests ends it by its stdin
    gc.freeze()
    _answer({"ready": os.getpid()})
    for line in sys.stdin:
        wish = json.loads(line)
        if "reap" in wish:
            _answer({"code": _reap(wish["reap"])})
        elif pid := _fork(wish):
            _answer({"pid": pid})
        else:
            runpy.run_module(wish["module"], run_name="__main__", alter_sys=True)
            return


def _answer(facts: Wish) -> None:
    print(json.dumps(facts), flush=True)


def _fork(wish: Wish) -> int:
    """Return the child's id, and in the child 0."""
    threads = os.listdir("/proc/self/task")
    if len(threads) != 1:
        raise RuntimeError(f"{len(threads)} threads: a fork would copy their locks without them")
    # Opened here: they may be pipes of whoever asks, who lets go of them once he has the answer.
    files = [os.open(wish["in"], os.O_RDONLY), os.open(wish["out"], NEW_FILE), os.open(wish["err"], NEW_FILE)]
    pid = os.fork()
    if pid == 0:
        _settle_in(wish, files)
    for file in files:
        os.close(file)
    return pid


def _settle_in(wish: Wish, files: list[int]) -> None:
    """Leave the nursery: what remains is what a new process has."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [wish["module"], *wish["arguments"]]


def _reap(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
