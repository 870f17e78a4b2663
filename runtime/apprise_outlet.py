"""One address of apprise as a way to send: Telegram, Discord, e-mail, ntfy, a webhook and a hundred more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.locks import assert_no_lock_held
from runtime.notifier import Message, Send
from trading.errors import ConfigError
from trading.events import Level

_TYPES = {Level.INFO: "info", Level.WARNING: "warning", Level.CRITICAL: "failure"}


class _Heard(logging.Handler):
    """Keeps what apprise says in this thread: it answers only yes or no itself."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.said.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    heard, logger = _Heard(), logging.getLogger("apprise")
    logger.addHandler(heard)
    try:
        yield heard.said
    finally:
        logger.removeHandler(heard)


def apprise_send(name: str, url: str) -> Send:
    """Return a way to send to *url*.

    Messages are plain text. Some services (Telegram, e-mail) read HTML, and one that cannot make sense of a "<"
    refuses the message for good: for these the text is escaped.

    Importing apprise takes a second and loads every service it knows: only with an address to send to.

    Raises:
        ConfigError: apprise does not understand the address, which the text does not show.
    """
    import apprise
    from apprise.conversion import convert_between

    asset = apprise.AppriseAsset(app_id="RAD", app_desc="RAD", async_mode=False)
    with _heard():                 # it would say the address aloud where nothing else listens
        service: Any = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        scheme = url.partition("://")[0] if "://" in url else ""
        shown = f" ({scheme}://…)" if scheme.isalnum() else ""
        raise ConfigError(
            f"the address of outlet {name}{shown} is none that apprise understands; "
            "docs/NOTIFICATIONS.md has examples"
        )

    plain = apprise.NotifyFormat.TEXT

    def send(message: Message) -> str:
        assert_no_lock_held("send a message")
        with _heard() as said:
            body = convert_between(  # type: ignore[no-untyped-call]
                plain, service.notify_format, content=message.body
            )
            taken = service.notify(
                body=body, title=message.title,
                notify_type=apprise.NotifyType(_TYPES[message.level]), body_format=plain,
            )
        return "" if taken else "; ".join(said) or "not taken, and no reason given"

    return send
