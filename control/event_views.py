"""An event as the JSON the outside sees."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from control.views import JsonObject, amount, moment
from trading.events import Event


def event_view(event: Event) -> JsonObject:
    """Return one event: its sentence and the facts it is made of, money as decimal strings."""
    return {
        "number": event.number,
        "at": moment(event.at_ms),
        "kind": event.kind.value,
        "level": event.level.word,
        "symbol": event.symbol or None,
        "over": event.over,
        "text": event.text,
        "fields": {name: _plain(value) for name, value in event.fields.items()},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return amount(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
