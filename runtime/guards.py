"""Fields that may be touched only under their lock: checked when strict, plain attributes otherwise.

    self._lock = named_lock("prices")
    self._prices: dict[str, Price] = {}
    self._ticks = 0
    guard(self, self._lock, "_prices", "_ticks")

When strict, an object whose fields are guarded becomes one of a subclass in which each is a property,
and a dict, deque, list or set in such a field is a checked one: it may have been handed out under
the lock and be read after. Otherwise `guard` does nothing, and so costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

from runtime.lock_rules import breach, is_strict


class Guarding(Protocol):
    """A lock, as far as it guards something."""

    @property
    def name(self) -> str: ...

    def is_mine(self) -> bool: ...


_LOCKS = "_locks_of_guarded"       # on a guarded object: which lock guards which field
_classes: dict[tuple[type, tuple[str, ...]], type] = {}


def guard(owner: Any, lock: Guarding, *names: str) -> None:
    """Let *names*, attributes that *owner* has by now, be touched under *lock* alone."""
    if not is_strict():
        return
    fields = vars(owner)
    attribute = next(key for key, value in fields.items() if value is lock)
    current = _LockOf(fields, attribute)
    fields.setdefault(_LOCKS, {}).update(dict.fromkeys(names, current))
    for name in names:
        fields[name] = guarded(current, name, fields[name])
    kind = type(owner)
    checked = _classes.get((kind, names))
    if checked is None:
        checked = _classes.setdefault((kind, names), _checked_class(kind, names))
    owner.__class__ = checked


class _LockOf:
    """The lock an object has now: a test may have given it one that locks nothing."""

    __slots__ = ("_attribute", "_fields")

    def __init__(self, fields: dict[str, Any], attribute: str) -> None:
        self._fields = fields
        self._attribute = attribute

    @property
    def name(self) -> str:
        return str(self._fields[self._attribute].name)

    def is_mine(self) -> bool:
        return bool(self._fields[self._attribute].is_mine())


def guarded(lock: Guarding, what: str, value: Any) -> Any:
    """Return a container's checked twin when strict; *value* itself otherwise, or if it is none."""
    twin = _TWINS.get(type(value)) if is_strict() else None
    if twin is None:
        return value
    found = twin(value, value.maxlen) if isinstance(value, deque) else twin(value)
    found._guard, found._what = lock, what
    return found


def check(lock: Guarding, what: str) -> None:
    """A breach unless the calling thread holds *lock*."""
    if not lock.is_mine():
        breach(f"{what.lstrip('_')} touched without lock {lock.name!r}")


def _checked_class(kind: type, names: tuple[str, ...]) -> type:
    """Return *kind* with a property in place of each of *names*; by any other measure it is *kind*."""
    return type(kind.__name__, (kind,), {
        "__slots__": (), "__doc__": kind.__doc__, "__module__": kind.__module__, "__qualname__": kind.__qualname__,
        **{name: _checked_field(name) for name in names},
    })


def _checked_field(name: str) -> property:
    def get(owner: Any) -> Any:
        fields = vars(owner)
        check(fields[_LOCKS][name], name)
        return fields[name]

    def put(owner: Any, value: Any) -> None:
        fields = vars(owner)
        lock = fields[_LOCKS][name]
        check(lock, name)
        fields[name] = guarded(lock, name, value)

    return property(get, put)


# ---- containers ---------------------------------------------------------------------------------

# Of what a container can do, what does not touch its content.
_HARMLESS = {
    "__class__", "__class_getitem__", "__delattr__", "__dir__", "__doc__", "__format__", "__getattribute__",
    "__getstate__", "__hash__", "__init__", "__init_subclass__", "__new__", "__reduce__", "__reduce_ex__",
    "__setattr__", "__sizeof__", "__str__", "__subclasshook__", "fromkeys", "maxlen",
}


def _twin_of(kind: type) -> Any:
    """Return a subclass of *kind* whose every operation is a breach without the lock."""
    def checked(name: str) -> Callable[..., Any]:
        plain = getattr(kind, name)

        def operation(self: Any, *args: Any, **kwargs: Any) -> Any:
            lock = getattr(self, "_guard", None)       # none yet: it is being filled
            if lock is not None:
                check(lock, self._what)
            return plain(self, *args, **kwargs)

        return operation

    names = [name for name in dir(kind) if name not in _HARMLESS and callable(getattr(kind, name))]
    operations = {name: checked(name) for name in names}
    return type(f"Guarded{kind.__name__.capitalize()}", (kind,), operations)


_TWINS: dict[type, Any] = {kind: _twin_of(kind) for kind in (dict, OrderedDict, list, set, deque)}
