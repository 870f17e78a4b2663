"""What the pages of `top` are made of: lines and tables that keep to the room they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import RenderableType
from rich.layout import Layout
from rich.table import Table
from rich.text import Text

from console.tables import Column, fill, fitting

JsonObject = dict[str, Any]


def part(
    title: str, columns: Sequence[Column], rows: Sequence[JsonObject] | None, width: int, height: int, *,
    keep: int = 0,
) -> RenderableType:
    """Return a table of at most *height* lines with its title as the first column's; row *keep* is among them.

    *rows*: None where there was no answer, which is not the same as none.
    """
    if height < 1:
        return Text("")
    if not rows:
        said = Text("no answer", style="red") if rows is None else Text("none", style="dim")
        return lines_of([heading(title), said])
    room = height - 1
    fits = len(rows) <= room
    most = room if fits or room < 2 else room - 1      # the last line says how many more there are
    first = 0 if fits else min(max(0, keep - most + 1), len(rows) - most)
    shown = rows[first:first + most]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=False)
    told = [replace(columns[0], title=title), *columns[1:]]
    fill(table, fitting(told, shown, width + len(told)), shown, within=width)
    if fits or room < 2:
        return table
    layout = Layout()
    layout.split_column(Layout(table, size=len(shown) + 1),
                        Layout(Text(f"… {len(rows) - len(shown)} more", style="dim")))
    return layout


def heading(title: str) -> Text:
    return Text(title, style="bold")


def pair(key: str, meaning: str) -> Text:
    line = Text(f"{key:<8}", style="bold")
    line.append(meaning)
    return line


def cut(line: Text, width: int) -> Text:
    line = line.copy()
    line.truncate(max(0, width), overflow="ellipsis")
    line.no_wrap = True
    return line


def lines_of(lines: Sequence[Text]) -> Text:
    joined = Text("\n").join(lines)
    joined.no_wrap, joined.overflow = True, "ellipsis"
    return joined

