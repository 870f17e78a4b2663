"""Real threads that meet, and are joined with a deadline."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 20.0


@contextmanager
def crowd(*tasks: Callable[[], object]) -> Iterator[list[object]]:
    """Start one thread per task, all at once; on leaving, join them and pass on the first failure."""
    start = threading.Barrier(len(tasks))
    results: list[object] = [None] * len(tasks)
    failures: list[BaseException] = []

    def run(index: int, task: Callable[[], object]) -> None:
        try:
            start.wait(PATIENCE_S)
            results[index] = task()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(index, task), name=f"crowd-{index}", daemon=True)
        for index, task in enumerate(tasks)
    ]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        for thread in threads:
            thread.join(PATIENCE_S)
    stuck = [thread.name for thread in threads if thread.is_alive()]
    if stuck:
        raise AssertionError(f"deadlock or hang: {stuck}")
    if failures:
        raise failures[0]


def all_at_once(*tasks: Callable[[], object]) -> list[object]:
    """Run the tasks side by side and return what each returned."""
    with crowd(*tasks) as results:
        pass
    return results


@contextmanager
def frequent_switches() -> Iterator[None]:
    """Let the interpreter change threads as often as it can: a window missed before is hit now."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
