"""`./rad notify-test`: one message to each outlet, and what came of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from console.failure import Failure
from console.where import PROJECT
from control.steering import BAD_CONFIG, ERROR, OK
from runtime.apprise_outlet import apprise_send
from runtime.notifier import Message, Send
from runtime.outlets import load_outlets
from runtime.redaction import Redactor
from runtime.settings import load_settings
from trading.errors import ConfigError
from trading.events import Level

PATIENCE_S = 20.0


def notify_test(config: Path | None, *, as_json: bool) -> int:
    """Send, say what came of it, and return 0 only if every outlet took its message."""
    settings = load_settings(config)
    message = Message(title=f"{settings.title} test", body="This is a test. Messages get here.", level=Level.INFO)
    results = send_to_outlets(message)
    if not results:
        raise Failure(
            "no outlet has an address; write NOTIFY_URL_PHONE=… into .env (docs/NOTIFICATIONS.md)", BAD_CONFIG
        )
    if as_json:
        print(json.dumps([{"outlet": name, "error": error or None} for name, error in results.items()], indent=2))
    else:
        for name, error in results.items():
            print(f"{'✗' if error else '✓'} {name}: {error or 'taken'}")
    return ERROR if any(results.values()) else OK


def send_to_outlets(message: Message) -> dict[str, str]:
    """Send to every outlet that is set; return for each why not, empty if taken.

    Raises:
        ConfigError: where the addresses should be cannot be read.
    """
    outlets = load_outlets([Path.cwd(), PROJECT])      # as the daemon finds them
    redact = Redactor(outlets.redactions())
    return send_all({name: _sender(name, url) for name, url in outlets.urls.items()}, message, redact)


def send_all(
    senders: Mapping[str, Send], message: Message, redact: Callable[[str], str], patience_s: float = PATIENCE_S
) -> dict[str, str]:
    """Send to all at once; return for each why not, empty if taken. No service is waited for longer than that."""
    results = dict.fromkeys(senders, f"no answer within {patience_s:g} s")

    def send(name: str) -> None:
        try:
            results[name] = redact(senders[name](message))
        except Exception as error:  # noqa: BLE001 - a service's library may raise anything
            results[name] = redact(f"{type(error).__name__}: {error}")

    threads = [
        threading.Thread(target=send, args=(name,), name=f"notify-test-{name}", daemon=True) for name in senders
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(results)


def _sender(name: str, url: str) -> Send:
    try:
        return apprise_send(name, url)
    except ConfigError as error:
        reason = str(error)
        return lambda _message: reason
