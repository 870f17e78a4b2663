"""Taking in a changed settings file while trading goes on: all that may change, or nothing.

What is swapped is one frozen object for another, so that a thread in the middle of something sees the old
rules or the new, never half of each.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from runtime.locks import guard, named_lock
from runtime.settings import Settings, load_settings
from runtime.settings_faults import contradictions
from trading.errors import ConfigError, RadError
from trading.strategies import load as load_strategy

if TYPE_CHECKING:
    from daemon.house import House

log = logging.getLogger("reload")

ALL = frozenset({"*"})
# Section -> the keys that may change while RAD runs. Whatever is not here needs a restart: addresses and keys,
# where things lie, which exchange answers, how many threads there are, and how stops on the exchange are kept.
MAY_CHANGE: dict[str, frozenset[str]] = {
    "scanner": frozenset({
        "interval", "min_volume_24h", "max_spread", "max_pairs", "include", "exclude", "min_age", "threshold",
    }),
    "positions": frozenset({"max_open", "leverage", "risk_per_trade", "max_notional", "max_exposure"}),
    "exits": ALL,
    "limits": ALL,
    "monitor": frozenset({"interval"}),
    "reconcile": frozenset({"interval"}),
    "log": frozenset({"level"}),
}


def may_change(key: str) -> bool:
    """Whether *key* (dotted, as in the file) is taken in without a restart."""
    section, _, name = key.partition(".")
    keys = MAY_CHANGE.get(section, frozenset())
    return keys == ALL or name in keys


class Reloader:
    """Reads the settings again and gives them to those who go by them; any thread, one at a time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = named_lock("reload")
        self._is_reloading = False             # guarded by _lock
        guard(self, self._lock, "_is_reloading")

    def reload(self) -> dict[str, Any]:
        """Take in what may change; return `changed` (key, from, to) and `needs_restart` (keys).

        Raises:
            ConfigError: something in the settings is wrong: nothing has changed.
            RadError: a reload is under way already.
        """
        with self._lock:
            if self._is_reloading:
                raise RadError("the settings are being reloaded already")
            self._is_reloading = True
        try:
            return self._reload()
        finally:
            with self._lock:
                self._is_reloading = False

    def _reload(self) -> dict[str, Any]:
        old, new = self._house.settings, self._read()
        differing = _differences(old, new)
        changed = [row for row in differing if may_change(row["key"])]
        left = [row["key"] for row in differing if not may_change(row["key"])]
        if changed:
            self._take_in(mixed(old, new))
        for row in changed:
            log.warning("setting changed key=%s from=%s to=%s", row["key"], row["from"], row["to"])
        if left:
            log.warning("settings that need a restart are left as they were keys=%s", ",".join(left))
        if not differing:
            log.info("settings reloaded, nothing has changed")
        # Values of what is not taken in stay unsaid: an address may hold a password.
        return {"changed": changed, "needs_restart": left}

    def _read(self) -> Settings:
        """Return the settings as they are written now, all of them checked."""
        options = self._house.options
        mode = {"mode": options.mode} if options.mode else {}
        new = load_settings(options.config, mode)
        load_strategy(new.scanner.strategy, new.scanner.params, candles=new.scanner.candles)
        return new

    def _take_in(self, settings: Settings) -> None:
        house = self._house
        house.settings = settings
        house.rules = house.rules_of(settings)
        house.manager.go_by(house.rules)
        house.rebuilder.go_by(house.rules.exits)
        house.choose_pairs()
        logging.getLogger().setLevel(settings.log.level.upper())


def mixed(old: Settings, new: Settings) -> Settings:
    """Return *old* with what may change taken from *new*.

    Raises:
        ConfigError: together they make no sense.
    """
    sections: dict[str, BaseModel] = {}
    for section, keys in MAY_CHANGE.items():
        was, now = getattr(old, section), getattr(new, section)
        named = {name: field.alias or name for name, field in type(was).model_fields.items()}
        taken = {name: getattr(now, name) for name, key in named.items() if keys == ALL or key in keys}
        sections[section] = was.model_copy(update=taken)
    found = old.model_copy(update=sections)
    faults = contradictions(found)
    if faults:
        said = "; ".join(f"{key}: {text}" for key, text in faults)
        raise ConfigError(f"with what needs a restart left as it is, the settings contradict each other: {said}")
    return found


def _differences(old: Settings, new: Settings) -> list[dict[str, str]]:
    """Return each setting that differs, as it is written; a key that one of them lacks is `-` there."""
    was = {key: value for key, value, _ in old.as_rows()}
    now = {key: value for key, value, _ in new.as_rows()}
    return [
        {"key": key, "from": was.get(key, "-"), "to": now.get(key, "-")}
        for key in dict.fromkeys([*was, *now])
        if was.get(key) != now.get(key)
    ]
