"""How long an exit took, as the journal keeps it: stage and milliseconds, in words that can be read back."""

from __future__ import annotations

from collections.abc import Mapping

KIND = "price_to_wire"                 # of the journal's event


def worded(stages: Mapping[str, float]) -> str:
    """Return *stages*, in seconds since the price was received, as `sent=0.93 acknowledged=4.10`, in ms."""
    return " ".join(f"{stage}={seconds * 1000:.2f}" for stage, seconds in stages.items())


def read(text: str) -> dict[str, float]:
    """Return milliseconds by stage of what `worded` wrote; what cannot be read is left out."""
    found = {}
    for part in text.split():
        stage, _, figure = part.partition("=")
        try:
            found[stage] = float(figure)
        except ValueError:
            continue
    return found
