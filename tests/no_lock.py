"""What a mutant has in place of a lock."""

from __future__ import annotations


class NoLock:
    """A lock, or a Condition on one, that locks nothing and says that whoever asks holds it."""

    name = "none"

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None: ...

    def is_mine(self) -> bool:
        return True

    def notify_all(self) -> None: ...
