"""Changing single values of a settings file, and leaving every comment where it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import yaml

from trading.errors import ConfigError

_LIVE = re.compile(r"#.*\blive: *([^;,#]+)")


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return the settings file *text* with each dotted key at its new value; a key it lacks is added.

    Raises:
        ConfigError: it cannot be read, or the value there takes several lines.
    """
    for key, value in values.items():
        place = dict(_leaves(text)).get(key)
        text = _added(text, key, value) if place is None else _replaced(text, *place, value)
    return text


def live_numbers(text: str) -> dict[str, str]:
    """Return what the comments of *text* name to begin with when the money is real, by dotted key."""
    found = {}
    for key, (start, end) in _leaves(text):
        if "\n" in text[start:end]:
            continue                       # a list, which ends where something else begins
        said = _LIVE.search(text[end:].partition("\n")[0])
        if said and "." in key:         # what mode live is, its own line explains
            found[key] = said[1].partition(" or ")[0].strip()
    return found


def value_of(text: str, key: str) -> str | None:
    """Return how *key* stands in *text*; None where it does not."""
    place = dict(_leaves(text)).get(key)
    return None if place is None else text[slice(*place)]


def _leaves(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each dotted key and where its value stands in *text*."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"the settings file is not readable as YAML: {error}") from None
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("settings are written as `key: value`, one a line")
    yield from _walk("", root)


def _walk(prefix: str, node: yaml.MappingNode) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, value in node.value:
        key = f"{prefix}{name.value}"
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _walk(f"{key}.", value)
        else:
            yield key, (value.start_mark.index, value.end_mark.index)


def _replaced(text: str, start: int, end: int, value: str) -> str:
    old, rest = text[start:end], text[end:]
    if "\n" in old:
        raise ConfigError(f"{old.splitlines()[0]} … takes several lines: change it by hand")
    comment = re.match(r"( +)(?=#)", rest)
    if comment:                        # it stays in its column where there is room
        room = max(1, len(comment[1]) + len(old) - len(value))
        rest = " " * room + rest[comment.end():]
    return text[:start] + value + rest


def _added(text: str, key: str, value: str) -> str:
    section, _, name = key.rpartition(".")
    if not section:
        return f"{name}: {value}\n{text}"
    if "." in section:
        raise ConfigError(f"the settings file has no {key}: write it there by hand, with {value}")
    heading = re.search(rf"^{re.escape(section)}:[ \t]*(#.*)?$", text, re.MULTILINE)
    if heading is None:
        return f"{text.rstrip()}\n\n{section}:\n  {name}: {value}\n"
    return f"{text[:heading.end()]}\n  {name}: {value}{text[heading.end():]}"
