"""What must not be read by anybody, taken out of text: known secrets in every form, and what looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runtime.locks import guard, named_lock

HIDDEN = "***"

_HEADERS = r"kc-api-(?:key|sign|passphrase)"
_NAMES = rf"{_HEADERS}|api[_-]?key|api[_-]?secret|secret|passphrase|password|signature|token"
# Whoever's they are: headers, and what stands in an address. Values end where the next thing begins.
_LOOKS_LIKE_ONE = (
    re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)\b([\"']?\s*[:=,]\s*[\"']?)[^\"'\r\n}]+"),
    re.compile(rf"(?i)\b({_HEADERS})\b([\"']\s*,\s*[\"'])[^\"']+"),
    re.compile(rf"(?i)\b({_NAMES})\b([\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;)}}\]]+"),
    re.compile(r"(?i)\b([a-z][a-z0-9+.-]*)(://)[^\s/@\"']+(?=@)"),
)


class Redactor:
    """Takes secrets out of text; more may become known while it works."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = named_lock("redactions")
        self._known: frozenset[str] = frozenset()       # guarded by _lock
        self._pattern: re.Pattern[str] | None = None    # replaced whole under _lock, read without
        guard(self, self._lock, "_known")
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Take these out too, from now on."""
        with self._lock:
            self._known |= {text for text in secrets if text}
            longest_first = sorted(self._known, key=lambda text: (-len(text), text))
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return *text* without secrets."""
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(HIDDEN, text)
        for looks_like_one in _LOOKS_LIKE_ONE:
            text = looks_like_one.sub(rf"\1\2{HIDDEN}", text)
        return text
