"""What each key does in `top`: from what is on the screen to what is next, and what the daemon is told. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

MAIN, THREADS, LOCKS, LOG, HELP = "main", "threads", "locks", "log", "help"
CLOSE, FLATTEN = "close", "flatten"
ENTER, ESCAPE, BACKSPACE, UP, DOWN = "enter", "escape", "backspace", "up", "down"
LONGEST_WORD = 20
PAGES = {"t": (THREADS,), "l": (LOCKS, LOG), "?": (HELP,)}   # each key goes through its pages, then back

_NAMES = {"\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\b": BACKSPACE, "\x1b": ESCAPE,
          "\x1b[A": UP, "\x1b[B": DOWN, "\x1bOA": UP, "\x1bOB": DOWN}
_KEY = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|\x1b|.", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the daemon is to be told."""

    name: str
    body: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is on the screen beside the facts."""

    page: str = MAIN
    asks: str = ""             # CLOSE: which one; FLATTEN: the word
    typed: str = ""
    chosen: str = ""           # a symbol: rows may come and go under it
    note: str = ""
    quits: bool = False

    def without_note(self) -> Look:
        return replace(self, note="")


def keys_in(text: str) -> list[str]:
    """Return the keys that *text*, as the terminal sent it, stands for; unknown sequences are none."""
    found = (_NAMES.get(each, each) for each in _KEY.findall(text))
    return [key for key in found if not key.startswith("\x1b")]


def pressed(look: Look, key: str, symbols: Sequence[str]) -> tuple[Look, Order | None]:
    """Return what comes of *key* while *symbols* are open: the next look, and an order if it is one."""
    if look.asks == CLOSE:
        return _choosing(look, key, symbols)
    if look.asks == FLATTEN:
        return _typing(look, key)
    look = replace(look, note="")
    if key in PAGES:
        return replace(look, page=_next_page(look.page, PAGES[key])), None
    if key == "q":
        return replace(look, quits=True), None
    if key == ESCAPE:
        return replace(look, page=MAIN), None
    if key == "p":
        return replace(look, note="pausing …"), Order(name="pause")
    if key == "r":
        return replace(look, note="resuming …"), Order(name="resume")
    if key == "c":
        if not symbols:
            return replace(look, note="nothing is open that could be closed"), None
        return replace(look, page=MAIN, asks=CLOSE, chosen=symbols[0]), None
    if key in ("C", "f"):
        return replace(look, page=MAIN, asks=FLATTEN, typed=""), None
    return look, None


def _next_page(now: str, pages: tuple[str, ...]) -> str:
    if now not in pages:
        return pages[0]
    after = pages.index(now) + 1
    return pages[after] if after < len(pages) else MAIN


def _choosing(look: Look, key: str, symbols: Sequence[str]) -> tuple[Look, Order | None]:
    if key in (ESCAPE, "q", "c"):
        return replace(look, asks="", note="nothing closed"), None
    if look.chosen not in symbols:
        return replace(look, asks="", note=f"{look.chosen} is not open any more; nothing closed"), None
    at = symbols.index(look.chosen)
    if key == ENTER:
        note = f"closing {look.chosen} …"
        return replace(look, asks="", note=note), Order(name="close", body={"symbol": look.chosen})
    if key in (UP, "k"):
        at -= 1
    elif key in (DOWN, "j"):
        at += 1
    elif key.isdecimal() and 0 < int(key) <= len(symbols):
        at = int(key) - 1
    return replace(look, chosen=symbols[at % len(symbols)]), None


def _typing(look: Look, key: str) -> tuple[Look, Order | None]:
    if key == ESCAPE:
        return replace(look, asks="", typed="", note="nothing flattened"), None
    if key == ENTER:
        if look.typed == FLATTEN:
            return replace(look, asks="", typed="", note="flattening …"), Order(name="flatten")
        return replace(look, asks="", typed="", note=f"{look.typed!r} is not {FLATTEN!r}: nothing flattened"), None
    if key == BACKSPACE:
        return replace(look, typed=look.typed[:-1]), None
    if len(key) == 1 and key.isprintable():
        return replace(look, typed=(look.typed + key)[:LONGEST_WORD]), None
    return look, None
