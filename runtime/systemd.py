"""systemd's side of a service: what we tell it over its socket, and how often it wants to hear."""

from __future__ import annotations

import os
import socket

from runtime.locks import assert_no_lock_held

USEC = 1_000_000


def notify(*lines: str) -> bool:
    """Tell systemd each of *lines* (READY=1, STATUS=…) in one message; False where nobody listens.

    Never waits and never raises: a service manager that is busy is no reason to stop trading.
    """
    assert_no_lock_held("telling systemd")
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]                   # Linux's abstract names
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def is_listening() -> bool:
    """Whether a service manager has given us a socket to talk to."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_s() -> float | None:
    """Return how long systemd waits for a sign of life; None if it does not watch this process."""
    try:
        whose = int(os.environ.get("WATCHDOG_PID", os.getpid()))
        limit_s = int(os.environ["WATCHDOG_USEC"]) / USEC
    except (KeyError, ValueError):
        return None
    return limit_s if whose == os.getpid() and limit_s > 0 else None
