"""Where settings come from: a YAML file, RAD_ variables and flags, laid over each other key by key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.locks import assert_no_lock_held
from runtime.units import is_off
from trading.errors import ConfigError

PREFIX = "RAD_"
NOT_SETTINGS = frozenset({"RAD_LOCK_CHECK", "RAD_CALLER_DIR"})
DEEPEST = 20
DEFAULT, ENVIRONMENT, FLAG = "default", "environment", "flag"

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)   # every scalar stays the text it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One value and who said it."""

    value: Any
    source: str                # default / the file's name / environment / flag
    where: str                 # for a person: "config.yaml line 12", "RAD_SCANNER__WORKERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which keys there are, dotted: sections hold keys, leaves hold values, free ones hold any key."""

    sections: frozenset[str]
    leaves: frozenset[str]
    free: frozenset[str] = frozenset()

    def has_leaf(self, key: str) -> bool:
        """Whether *key* may be given a value."""
        return key in self.leaves or any(key.startswith(f"{name}.") for name in self.free)

    def suggestion(self, key: str) -> str:
        """Return "; did you mean …?" or "", for a key that does not exist."""
        here = key.rpartition(".")[0]
        known = sorted(self.leaves | self.sections)
        siblings = [name for name in known if name.rpartition(".")[0] == here]
        # A key in the wrong section is found by its last part.
        homonyms = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        close = difflib.get_close_matches(key, siblings, 1) or homonyms or difflib.get_close_matches(key, known, 1)
        return f"; did you mean {close[0]}?" if close else ""


@dataclass(slots=True)
class Layers:
    """Values laid over each other, the later over the earlier, and what was wrong with any."""

    shape: Shape
    said: dict[str, Said] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def put(self, key: str, said: Said) -> None:
        """Lay one value over what was said before of this key, what is in it and what it is in."""
        for other in [name for name in self.said if _is_within(name, key) or _is_within(key, name)]:
            del self.said[other]
        self.said[key] = said

    def offer(self, key: str, value: Any, source: str, where: str) -> None:
        """Take a value for a leaf or a whole section, or note why not."""
        if isinstance(value, Mapping) and (key in self.shape.sections or key in self.shape.free):
            for name, inner in value.items():
                self.offer(f"{key}.{name}", inner, source, where)
        elif self.shape.has_leaf(key) or (key in self.shape.sections and is_off(value)):
            self.put(key, Said(value=value, source=source, where=where))
        elif key in self.shape.sections:
            self.fault(key, "is a section; give its keys", where)
        else:
            self.fault(key, f"no such setting{self.shape.suggestion(key)}", where)

    def fault(self, key: str, text: str, where: str) -> None:
        """Note something wrong for the one message that names all of it."""
        self.faults.append(f"{key}: {text} ({where})")

    def find(self, key: str) -> Said | None:
        """Return what was said of *key* or of what it lies in."""
        while key:
            if key in self.said:
                return self.said[key]
            key = key.rpartition(".")[0]
        return None

    def tree(self) -> dict[str, Any]:
        """Return all of it as nested mappings."""
        root: dict[str, Any] = {}
        for key, said in self.said.items():
            *path, last = key.split(".")
            branch = root
            for part in path:
                branch = branch.setdefault(part, {})
            branch[last] = said.value
        return root


def lay_file(layers: Layers, path: Path) -> None:
    """Lay the file's values over what is there.

    Raises:
        ConfigError: it cannot be read at all; the text names line and column where YAML ends.
    """
    assert_no_lock_held("reading settings")
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not readable as YAML{_place(error)}") from None
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: settings are written as `key: value`, one a line")
    if entangled := _entangled(root):
        raise ConfigError(f"{path} {entangled}")
    for key, node in _leaves(layers, path.name, "", root):
        where = _line(path.name, node)
        value = _plain(node)
        is_empty = node.start_mark.index == node.end_mark.index
        if is_empty and (key in layers.shape.sections or key in layers.shape.free):
            continue           # every key of the section is commented out
        if is_empty:
            layers.fault(key, "has no value; write one, or none where the rule may be off", where)
            continue
        layers.offer(key, value, path.name, where)


def lay_environment(layers: Layers, environ: Mapping[str, str]) -> None:
    """Lay RAD_<SECTION>__<KEY> over what is there; an empty variable says nothing."""
    for name in sorted(environ):
        text = environ[name].strip()
        if not name.startswith(PREFIX) or name in NOT_SETTINGS or not text:
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        try:
            node = yaml.compose(text, Loader=_Loader) if text[0] in "[{" else None
        except yaml.YAMLError:
            layers.fault(key, f"{text} is not readable as YAML", name)
            continue
        if node is not None and (entangled := _entangled(node)):
            layers.fault(key, entangled, name)
            continue
        layers.offer(key, text if node is None else _plain(node), ENVIRONMENT, name)


def lay_flags(layers: Layers, flags: Mapping[str, Any]) -> None:
    """Lay what the command line said over what is there; None says nothing."""
    for key, value in flags.items():
        if value is not None:
            layers.offer(key, value, FLAG, "flag")


def _leaves(layers: Layers, file: str, path: str, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
    seen: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = f"{path}.{_plain(key_node)}" if path else str(_plain(key_node))
        if key in seen:
            layers.fault(key, f"is written twice, first in line {seen[key].start_mark.line + 1}",
                         _line(file, key_node))
            continue
        seen[key] = key_node
        is_known_section = key in layers.shape.sections or key in layers.shape.free
        if isinstance(value, yaml.MappingNode) and is_known_section:
            yield from _leaves(layers, file, key, value)
        else:
            yield key, value


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {_plain(key): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return node.value


def _entangled(root: yaml.Node) -> str:
    """Return what keeps *root* from being read out, with its line; empty if nothing does.

    With names for parts (&a, *a) a file may have no end, or one that no memory holds.
    """
    seen: set[int] = set()
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        line = f"line {node.start_mark.line + 1}"
        if id(node) in seen:
            return f"{line}: &names and *names are not understood; write the value where it belongs"
        if depth > DEEPEST:
            return f"{line}: is nested too deeply"
        seen.add(id(node))
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        waiting += [(part, depth + 1) for each in parts for part in (each if isinstance(each, tuple) else (each,))]
    return ""


def _line(file: str, node: yaml.Node) -> str:
    return f"{file} line {node.start_mark.line + 1}"


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if mark is None:
        return f": {problem}"
    return f", line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _is_within(key: str, outer: str) -> bool:
    return key == outer or key.startswith(f"{outer}.")


def raise_faults(faults: Iterable[str]) -> None:
    """Raise ConfigError naming all of *faults*, if there are any."""
    lines = list(dict.fromkeys(faults))
    if lines:
        heading = "1 setting is wrong:" if len(lines) == 1 else f"{len(lines)} settings are wrong:"
        raise ConfigError("\n  ".join([heading, *lines]))
