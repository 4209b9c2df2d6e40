"""A table that fits: the least important columns go first when the terminal is narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

GAP = 2


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


def table(columns: Sequence[Column], width: int) -> Table:
    """Return a table of those columns that fit into `width`; flexible ones shrink after that."""
    shown = _fitting([column for column in columns if not column.is_empty], width)
    found = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bright_black")
    for column in shown:
        found.add_column(
            column.title.upper(),
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if column.flexible else column.width,
        )
    for row in zip(*(column.cells for column in shown), strict=True):
        found.add_row(*row)
    return found


def _fitting(columns: list[Column], width: int) -> list[Column]:
    shown = list(columns)
    while sum(column.width + GAP for column in shown) - GAP > width:
        least = max(shown, key=lambda column: column.importance)
        if least.importance == 0:
            break
        shown.remove(least)
    return shown
