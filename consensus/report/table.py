"""A table for readers: rows, what each column means, and what is counted; every file format is made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "id", "count", "share", "number"]
"""What a column holds: words; ids; whole numbers; shares 0 to 1, read as per cent; other numbers."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column.

    Attributes
    ----------
    name
        As in ``rows`` and in TSV files: lower case, underscores.
    head
        As readers see it.
    meaning
        What its values mean, in a phrase with unit and range; empty = the head says it.
    kind
        What it holds; missing values are NaN or None, and are shown as "-".
    digits
        Digits after the point, of per cents and of numbers.
    """

    name: str
    head: str
    meaning: str = ""
    kind: Kind = "text"
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes
    ----------
    name
        Stem of its files, e.g. ``cells_cell_class_by_donor``.
    title
        A line without a full stop.
    about
        What a row is and what is counted, in whole sentences.
    columns
        What is shown, in this order.
    rows
        The values, a column each, named as in ``columns``.
    block
        Name of a column whose values head blocks of rows (such as the donor); rows of a block stand together. None = no
        blocks.
    n_last
        So many rows at the end are set apart, such as a total; with blocks, at the end of each block.
    notes
        Whole sentences below the table.
    """

    name: str
    title: str
    about: str
    columns: tuple[TableColumn, ...]
    rows: pd.DataFrame
    block: str | None = None
    n_last: int = 0
    notes: tuple[str, ...] = field(default=())

    def column(self, name: str) -> TableColumn:
        """Return a column by its name; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
