"""HTML from facts: whatever is not `Html` already is text, and is written as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_EMPTY_ELEMENTS = {"meta"}


class Html(str):
    """Text that is HTML, made by `tag` or known to be harmless."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: str | None) -> Html:
    """Return an element; an attribute's trailing underscore is dropped and its others become hyphens."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY_ELEMENTS:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{''.join(written(child) for child in children)}</{name}>")


def written(child: object) -> str:
    """Return *child* as it stands in the document."""
    if isinstance(child, Html):
        return child
    return escape(str(child))


@dataclass(frozen=True, slots=True)
class Cells:
    """One column: its title, how a row reads in it, and what colours it: good, bad or nothing."""

    title: str
    text: Callable[[Any], str]
    number: bool = True
    tone: Callable[[Any], str] | None = None


def table(columns: Sequence[Cells], rows: Iterable[Any], empty: str) -> Html:
    """Return *rows* as a table, or the sentence *empty*."""
    body = [
        tag("tr", *(
            tag("td", column.text(row), class_="num" if column.number else None,
                data_tone=column.tone(row) if column.tone else None)
            for column in columns
        ))
        for row in rows
    ]
    if not body:
        return tag("p", empty, class_="quiet")
    heads = (tag("th", column.title, scope="col", class_="num" if column.number else None) for column in columns)
    return tag("div", tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body)), class_="scroll")


def figures(pairs: Iterable[tuple[str, str, str]]) -> Html:
    """Return label, text and tone of each figure, side by side."""
    return tag("dl", *(
        tag("div", tag("dt", label), tag("dd", text, data_tone=tone or None)) for label, text, tone in pairs
    ), class_="figures")
