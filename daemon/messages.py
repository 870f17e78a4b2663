"""The outlets that are configured, made."""

from __future__ import annotations

from collections.abc import Callable

from runtime.apprise_outlet import apprise_send
from runtime.events import EventFeed
from runtime.notifier import Notifier, Outlet
from runtime.outlets import Outlets
from runtime.settings import Settings
from trading.errors import ConfigError
from trading.ports import Clock


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
