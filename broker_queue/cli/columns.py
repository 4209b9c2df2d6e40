"""A table that fits: the least important columns go first when the terminal is narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

GAP = 2
MIN_WIDTH, COMFORTABLE_WIDTH = 6, 16
"""Of a flexible column: a cut name that says something, and one that other columns give way to."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Importance 0 always stays; a higher number goes earlier."""

    title: str
    cells: Sequence[Text | str]
    importance: int = 0
    justify: Literal["left", "right"] = "left"
    flexible: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no cell says anything; such a column is not shown."""
        return not any(self.cells)

    @property
    def width(self) -> int:
        """Cells that the longest entry takes."""
        return max(cell_len(str(text)) for text in (self.title, *self.cells))

    @property
    def least_width(self) -> int:
        """Cells that it should have, or else another column goes."""
        return min(self.width, COMFORTABLE_WIDTH) if self.flexible else self.width


def fitting(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit into `width`, and those that say something but do not fit."""
    shown = [column for column in columns if not column.is_empty]
    dropped: list[Column] = []
    while _total([column.least_width for column in shown]) > width:
        least = max(shown, key=lambda column: column.importance)
        if least.importance == 0:
            break
        shown.remove(least)
        dropped.append(least)
    return shown, [column for column in columns if column in dropped]


def table(columns: Sequence[Column], width: int) -> Table:
    """Return a table of columns that fit into `width`; flexible ones shrink to that."""
    found = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bright_black")
    for column, size in zip(columns, _sizes(columns, width), strict=True):
        found.add_column(
            column.title.upper(),
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
            width=size,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        found.add_row(*row)
    return found


def _sizes(columns: Sequence[Column], width: int) -> list[int]:
    """Return a width for each column; what is too much is taken from the widest flexible ones."""
    sizes = [column.width for column in columns]
    while _total(sizes) > width:
        flexible = [
            (size, index)
            for index, size in enumerate(sizes)
            if columns[index].flexible and size > MIN_WIDTH
        ]
        if not flexible:
            break
        sizes[max(flexible)[1]] -= 1
    return sizes


def _total(sizes: Sequence[int]) -> int:
    return sum(sizes) + GAP * (len(sizes) - 1)
