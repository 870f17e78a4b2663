"""What the alert unit runs when systemd has given rad.service up: say so wherever somebody may see it."""

from __future__ import annotations

import os
import sys
from typing import Any

from console.where import Place
from control.steering import OK
from trading.errors import RadError

# systemd reads the priority from the start of a line; 2 is "critical".
CRITICAL = "<2>"


def tell_everybody(place: Place) -> int:
    """Write how it ended and what is open to the journal, and send it to every outlet; return the exit code."""
    unit = os.environ.get("MONITOR_UNIT", "rad.service")
    result = os.environ.get("MONITOR_SERVICE_RESULT", "unknown")
    code = f"{os.environ.get('MONITOR_EXIT_CODE', '')} {os.environ.get('MONITOR_EXIT_STATUS', '')}".strip()
    lines = [
        f"{unit} is down and is not started any more: {result}{f' ({code})' if code else ''}",
        _held(place),
        f"journalctl -u {unit} says why; then: systemctl reset-failed {unit} && systemctl start {unit}",
    ]
    for line in lines:
        _say(line)
    for failure in _send("\n".join(lines)):
        _say(failure)
    return OK


def _say(line: str) -> None:
    print(f"{CRITICAL}RAD: {line}", file=sys.stderr, flush=True)


def _send(text: str) -> list[str]:
    """Send *text* to every outlet; return who could not be told, and why."""
    from console.notify_test import send_to_outlets
    from runtime.notifier import Message
    from trading.events import Level

    try:
        results = send_to_outlets(Message(title="RAD is down", body=text, level=Level.CRITICAL))
    except RadError as error:
        return [f"no message sent: {error}"]
    return [f"no message sent through {name}: {reason}" for name, reason in results.items() if reason]


def _held(place: Place) -> str:
    """Return what is open according to the journal, and what protects it."""
    from console.aftermath import read

    try:
        positions = read("positions", place)
    except RadError as error:
        return f"what is open is not known: {error}"
    return f"{len(positions)} open: {', '.join(map(_guarded, positions))}" if positions else "nothing is open"


def _guarded(position: dict[str, Any]) -> str:
    stop = f"stop at {position['exchange_stop_price']}" if position.get("protected") else "NO STOP"
    return f"{position['symbol']} ({stop})"
