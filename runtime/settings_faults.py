"""What is wrong with settings, in words: the key, what was said, what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, PlainSerializer
from pydantic.fields import FieldInfo

from runtime.settings_fields import is_on_this_machine
from runtime.settings_sources import DEFAULT, Layers
from runtime.units import show_distance, show_ratio, size_of
from trading.exits import Distance

if TYPE_CHECKING:
    from runtime.settings import ControlSettings, Settings

def contradictions(settings: Settings) -> list[tuple[str, str]]:
    """Return what is wrong with values that are right each for itself."""
    faults = []
    shares = sum((step.share for step in settings.exits.take_profit), Decimal(0))
    if shares > 1:
        faults.append(("exits.take_profit", f"the shares add up to {show_ratio(shares)}; they may reach 100%"))
    steps = settings.exits.take_profit
    for earlier, later in zip(steps, steps[1:], strict=False):
        if _same_kind(earlier.at, later.at) and size_of(later.at) <= size_of(earlier.at):
            faults.append((
                "exits.take_profit",
                f"{show_distance(later.at)} comes after {show_distance(earlier.at)}; write the nearest step first",
            ))
    if not settings.scanner.include:
        faults.append(("scanner.include", "lets no pair pass; write ['*'] for all"))
    if settings.monitor.stale_after_s <= settings.monitor.interval_s:
        faults.append(("monitor.stale_after", "must be longer than monitor.interval, or every price is stale"))
    if settings.sandbox.replay_start is not None and settings.sandbox.replay is None:
        faults.append(("sandbox.replay_start", "means nothing without sandbox.replay"))
    if settings.mode == "paper" and settings.sandbox.relay == "auto":
        faults.append(("sandbox.relay", "mode paper needs the address of an exchange, such as https://api-futures.kucoin.com"))
    faults += _unsafe_control(settings.control)
    if settings.mode == "live":
        faults += _unsafe_addresses(settings)
    return faults


def _unsafe_addresses(settings: Settings) -> list[tuple[str, str]]:
    return [
        (f"exchange.{name}", f"{url} is not encrypted; keys go to https:// addresses, or to this machine")
        for name, url in (("futures_url", settings.futures_url), ("spot_url", settings.spot_url))
        if url and urlsplit(url).scheme == "http" and not is_on_this_machine(urlsplit(url).hostname or "")
    ]


def _unsafe_control(control: ControlSettings) -> list[tuple[str, str]]:
    if (control.cert is None) != (control.key is None):
        missing = "key" if control.key is None else "cert"
        return [(f"control.{missing}", "is missing: a certificate and its key are of use together only")]
    if control.cert is None and not control.unencrypted and not is_on_this_machine(control.host):
        return [(
            "control.host",
            f'"{control.host}" reaches beyond this machine without encryption; set control.cert and control.key, '
            "or keep 127.0.0.1 and come through `ssh -L`, or say control.unencrypted: true",
        )]
    return []


def _same_kind(one: Distance, other: Distance) -> bool:
    return (one.fraction is None) == (other.fraction is None)


_EXPECTED = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "decimal_parsing": "is not a number",
    "decimal_type": "is not a number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not a text",
    "string_too_short": "must not be empty",
    "path_type": "is not a path",
    "tuple_type": "is not a list; write [one, two]",
    "dict_type": "must be keys with values",
    "model_type": "must be keys with values",
    "missing": "is missing",
    "extra_forbidden": "no such setting",
}
_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def worded(model: type[BaseModel], fault: Any, layers: Layers) -> tuple[str, str, str]:
    """Return key, what is wrong and who said it, for one of pydantic's errors about *model*."""
    key = ".".join(part for part in fault["loc"] if isinstance(part, str))
    place = "".join(f" step {part + 1}" for part in fault["loc"] if isinstance(part, int))
    said = layers.find(key)
    return key + place, _what(_field(model, key), fault), DEFAULT if said is None else said.where


def _what(field: FieldInfo | None, fault: Any) -> str:
    kind, context, given = fault["type"], fault.get("ctx", {}), _quoted(fault.get("input"))
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        limit = _written(field, next(iter(context.values())))
        given = fault["input"] if isinstance(fault["input"], str) else _written(field, fault["input"])
        return f"{given} is out of bounds: it must be {_BOUNDS[kind]} {limit}"
    if kind == "literal_error":
        return f"{given} is not one of {context['expected'].replace(chr(39), '')}"
    if kind == "string_pattern_mismatch":
        example = "" if field is None else f"; write something like {field.default}"
        return f"{given} is not a name of this kind{example}"
    if kind in {"missing", "extra_forbidden", "string_too_short"}:
        return _EXPECTED[kind]
    return f"{given} {_EXPECTED.get(kind, fault['msg'])}"


def section_in(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section a field holds (perhaps none of it), or None if it holds a value."""
    kind = field.annotation
    return _model_among(get_args(kind) if isinstance(kind, UnionType) else (kind,))


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    name, _, rest = key.partition(".")
    field = next((f for n, f in model.model_fields.items() if name == (f.alias or n)), None)
    if field is None or not rest:
        return field
    inner = section_in(field) or _model_among(get_args(field.annotation))   # a ladder holds steps
    return field if inner is None else _field(inner, rest)


def _model_among(kinds: Iterable[Any]) -> type[BaseModel] | None:
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _written(field: FieldInfo | None, value: Any) -> Any:
    """Return *value* as one writes it in this field's unit."""
    for serializer in field.metadata if field is not None else ():
        if isinstance(serializer, PlainSerializer):
            show: Any = serializer.func
            return show(value)
    return value


def _quoted(given: Any) -> str:
    return f'"{given}"' if isinstance(given, str) else str(given)
