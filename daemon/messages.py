"""The way out to a person and the way in from one, made as configured."""

from __future__ import annotations

import logging
from collections.abc import Callable

from control.steering import Steering
from control.telegram import Telegram
from control.telegram_api import TelegramApi
from runtime.apprise_outlet import apprise_send
from runtime.events import EventFeed
from runtime.notifier import Notifier, Outlet
from runtime.outlets import Outlets
from runtime.settings import Settings
from trading.errors import ConfigError
from trading.ports import Clock

log = logging.getLogger("notify")


def telegram_for(
    settings: Settings, outlets: Outlets, steering: Steering, clock: Clock, redact: Callable[[str], str]
) -> Telegram | None:
    """Return what listens to commands; None without a token."""
    said = settings.telegram
    if not outlets.telegram_token:
        return None
    if not said.chats:
        log.warning("nobody may command by Telegram: telegram.chats is empty; write to the bot, and see the log")
    api = TelegramApi(said.url, outlets.telegram_token)
    return Telegram(steering, api, clock, chats=said.chats, title=settings.title, redact=redact)


def notifier_for(
    settings: Settings, outlets: Outlets, feed: EventFeed, clock: Clock, redact: Callable[[str], str]
) -> Notifier | None:
    """Return what brings the feed's events to each of *outlets*; None when there is none.

    Raises:
        ConfigError: an address is not understood, or the settings speak of an outlet without one.
    """
    unknown = sorted(set(settings.notify.outlets) - set(outlets.urls))
    if unknown:
        raise ConfigError(
            f"notify.outlets: {unknown[0]} has no address; set NOTIFY_URL_{unknown[0].upper()}, or take it out"
        )
    if not outlets.urls:
        return None
    rules = settings.notify.rules()
    return Notifier([
        Outlet(name, apprise_send(name, url), feed, clock, rules=rules, title=settings.title, redact=redact)
        for name, url in outlets.urls.items()
    ], clock)
