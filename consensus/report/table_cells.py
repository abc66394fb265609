"""What readers see of a table: every value as text, and the rows in blocks; LaTeX and HTML are written from it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from celljury.markup import NOTHING

if TYPE_CHECKING:
    from celljury.report.table import Table, TableColumn

NUMERIC = frozenset({"count", "share", "number"})
"""Kinds whose values are right-aligned."""

_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that stand together.

    Attributes
    ----------
    name
        What heads them; None in a table without blocks.
    rows
        Texts, a list a row, in the order of the columns that are shown.
    last
        Rows at the end that are set apart, such as a total.
    """

    name: str | None
    rows: tuple[tuple[str, ...], ...]
    last: tuple[tuple[str, ...], ...]


def shown_columns(table: Table) -> tuple[TableColumn, ...]:
    """Return the columns that a page shows: all but the one whose values head the blocks."""
    return tuple(column for column in table.columns if column.name != table.block)


def head(column: TableColumn) -> str:
    """Return a column's head as readers see it, with the unit of shares."""
    return (
        f"{one_line(column.head)} (%)" if column.kind == "share" and "%" not in column.head else one_line(column.head)
    )


def block_head(table: Table, name: str) -> str:
    """Return what stands above a block: the name of what it is, and its value."""
    what = next((one_line(column.head) for column in table.columns if column.name == table.block), table.block)
    return f"{what}: {name}"


def meanings(table: Table) -> str:
    """Return what the columns mean, in a sentence; empty where their heads say it."""
    known = [f"{head(column)}: {one_line(column.meaning)}" for column in table.columns if column.meaning]
    return f"{'; '.join(known)}." if known else ""


def shown(value: Any, column: TableColumn) -> str:
    """Return a value as readers see it: 12,345 of a count, 12.3 of the share 0.123; missing is "-"."""
    if is_missing(value):
        return NOTHING
    if column.kind not in NUMERIC:
        return one_line(str(value))
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if column.kind == "count":
        return f"{round(number):,}"
    said = f"{100 * number if column.kind == 'share' else number:,.{column.digits}f}"
    # What rounds to nothing has no sign.
    return said.removeprefix("-") if float(said.replace(",", "")) == 0 else said


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN or NA."""
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, Real) and math.isnan(value))


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters; these stand in TSV files only."""
    return _GAPS.sub(" ", text).strip()


def blocks(table: Table) -> tuple[Block, ...]:
    """Return the rows as texts, in blocks as they follow each other; one block without a name where there are none."""
    columns = shown_columns(table)
    texts = [[shown(value, column) for value in table.rows[column.name].tolist()] for column in columns]
    rows = list(zip(*texts, strict=True)) if texts else []
    return tuple(
        Block(name, tuple(rows[start : stop - n_last]), tuple(rows[stop - n_last : stop]))
        for name, start, stop, n_last in spans(table)
    )


def spans(table: Table) -> tuple[tuple[str | None, int, int, int], ...]:
    """Return name, first row, end and number of rows set apart of each block."""
    n_rows = len(table.rows)
    if table.block is None:
        return ((None, 0, n_rows, min(table.n_last, n_rows)),)
    values = [NOTHING if is_missing(value) else one_line(str(value)) for value in table.rows[table.block].tolist()]
    starts = [i for i, value in enumerate(values) if i == 0 or value != values[i - 1]]
    ends = [*starts[1:], n_rows] if starts else []
    return tuple(
        (values[start], start, stop, min(table.n_last, stop - start)) for start, stop in zip(starts, ends, strict=True)
    )
