"""The settings of messages and of commands by Telegram; where they go is secret and stands elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from runtime.settings_fields import Url, lower
from runtime.units import NONE, is_off
from trading.events import Kind, Level, NotifyRules

TELEGRAM_URL = "https://api.telegram.org"
LEVELS = tuple(level.word for level in Level)


def parse_levels(said: Any) -> Any:
    """Return a level for each name; none means silence."""
    if is_off(said):
        return {}
    if not isinstance(said, Mapping):
        return said
    levels = {
        str(name).strip().lower(): NONE if is_off(level) else str(level).strip().lower()
        for name, level in said.items()
    }
    wrong = sorted(set(levels.values()) - {*LEVELS, NONE})
    if wrong:
        raise ValueError(f'"{wrong[0]}" is no level; write {", ".join(LEVELS)} or {NONE}')
    return levels


def parse_kinds(said: Any) -> Any:
    levels = parse_levels(said)
    unknown = sorted(set(levels) - set(Kind)) if isinstance(levels, Mapping) else []
    if unknown:
        raise ValueError(f'"{unknown[0]}" is nothing that is told; there are {" ".join(sorted(Kind))}')
    return levels


def parse_chats(said: Any) -> Any:
    if is_off(said):
        return ()
    names = said.split(",") if isinstance(said, str) else said if isinstance(said, list | tuple) else [said]
    try:
        return tuple(int(str(name).strip()) for name in names)
    except ValueError:
        raise ValueError(f"{said} are no chats; write their numbers: [123456789]") from None


class NotifySettings(BaseModel):
    """What messages are sent, and how grave each kind is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Annotated[Literal["info", "warning", "critical"], BeforeValidator(lower)] = "info"
    levels: Annotated[dict[str, str], BeforeValidator(parse_kinds)] = Field(default_factory=dict)
    outlets: Annotated[dict[str, str], BeforeValidator(parse_levels)] = Field(default_factory=dict)

    def gravities(self) -> dict[Kind, Level]:
        """Return the kinds that are to be graver or lighter than RAD thinks."""
        return {Kind(kind): Level[level.upper()] for kind, level in self.levels.items() if level != NONE}

    def rules(self) -> NotifyRules:
        """Return who is told what."""
        return NotifyRules(
            level=Level[self.level.upper()],
            muted=frozenset(Kind(kind) for kind, level in self.levels.items() if level == NONE),
            outlets={name: Level[level.upper()] for name, level in self.outlets.items() if level != NONE},
            silent=frozenset(name for name, level in self.outlets.items() if level == NONE),
        )


class TelegramSettings(BaseModel):
    """Whose commands are obeyed; the bot's token is TELEGRAM_TOKEN."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chats: Annotated[tuple[int, ...], BeforeValidator(parse_chats)] = ()
    url: Url = TELEGRAM_URL
