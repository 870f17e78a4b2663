"""Tables: drawn on a terminal, plain aligned text where the output is piped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

JsonObject = dict[str, Any]

GAP = 2                  # spaces between two columns
NARROWEST_TEXT = 24      # what a column that wraps needs at least


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how a row's cell reads and, on a terminal, its colour."""

    title: str
    cell: Callable[[JsonObject], str]
    right: bool = False
    style: Callable[[JsonObject], str] | None = None
    grows: bool = False        # may wrap; the others keep their width
    spare: int = 0             # on a narrow terminal the highest goes first; 0 never goes


def show_table(columns: Sequence[Column], rows: Sequence[JsonObject], *, title: str, empty: str) -> None:
    """Print *rows*, or the sentence *empty* when there are none."""
    if not rows:
        print(empty)
    elif sys.stdout.isatty():
        _draw(columns, rows, title)
    else:
        _align(columns, rows)


def show_facts(facts: Sequence[tuple[str, str, str]], *, title: str) -> None:
    """Print label, text and colour of each fact, one a line."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for label, text, style in facts:
            table.add_row(label, Text(text, style=style))
        Console().print(table)
        return
    width = max(len(label) for label, _, _ in facts)
    for label, text, _ in facts:
        print(f"{label:<{width}}  {text}".rstrip())


def show_note(heading: str, paragraphs: Sequence[str], style: str = "") -> None:
    """Print *heading*, in colour on a terminal, and its *paragraphs* below it, indented."""
    if not sys.stdout.isatty():
        for line in (heading, *(f"    {paragraph}" for paragraph in paragraphs)):
            print(line)
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    console.print(Text(heading, style=style))
    for paragraph in paragraphs:
        console.print(Padding(Text(paragraph), (0, 0, 0, 4)))


def _draw(columns: Sequence[Column], rows: Sequence[JsonObject], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    columns = fitting(columns, rows, console.width)
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False,
                  padding=(0, 1, 0, 0), header_style="dim")
    fill(table, columns, rows)
    console.print(table)


def fill(
    table: Table, columns: Sequence[Column], rows: Sequence[JsonObject], *, within: int | None = None
) -> None:
    """Add *columns* and *rows* to a table of rich's, whose columns stand one apart.

    What grows takes what the others leave of *within* and is cut there; without that it goes on below.
    """
    from rich.text import Text

    fixed = sum(_longest(column, rows) + 1 for column in columns if not column.grows)
    left = None if within is None else max(1, within - fixed)
    for column in columns:
        folds = column.grows and within is None
        table.add_column(column.title, justify="right" if column.right else "left",
                         no_wrap=not folds, overflow="fold" if folds else "ellipsis",
                         max_width=left if column.grows else None)
    for row in rows:
        table.add_row(
            *(Text(column.cell(row), style=column.style(row) if column.style else "") for column in columns)
        )


def fitting(columns: Sequence[Column], rows: Sequence[JsonObject], width: int) -> list[Column]:
    """Return the columns that find room in *width*, having left out the sparest."""
    kept = list(columns)
    while _width(kept, rows) > width and any(column.spare for column in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    return kept


def _width(columns: Sequence[Column], rows: Sequence[JsonObject]) -> int:
    lengths = ((column, _longest(column, rows)) for column in columns)
    needed = (min(length, NARROWEST_TEXT) if column.grows else length for column, length in lengths)
    return sum(needed) + GAP * (len(columns) - 1) + 2   # the box keeps a space at either end


def _longest(column: Column, rows: Sequence[JsonObject]) -> int:
    return max((len(column.title), *(len(column.cell(row)) for row in rows)))


def _align(columns: Sequence[Column], rows: Sequence[JsonObject]) -> None:
    lines = [[column.title for column in columns]]
    lines += [[column.cell(row) for column in columns] for row in rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        cells = (
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        )
        print("  ".join(cells).rstrip())
