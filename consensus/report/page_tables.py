"""A table for readers as markup: captions with every column's meaning, numbers with their values, few enough rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from celljury.markup import NOTHING, Html, el, figure, folded, joined

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    import pandas as pd

    from celljury.report.table import Table, TableColumn

MOST_ROWS: Final = 200
"""Rows of one table in a page; a page is read, a file is searched."""


def table_block(table: Table, *, files: str = "", fold: bool = False, most: int = MOST_ROWS) -> Html:
    """Return a table whose columns can be sorted where the page's script runs.

    Parameters
    ----------
    files
        Where the whole of it is, in words; empty = it is in no file.
    fold
        Whether it opens only when it is asked for.
    most
        Rows that are shown, totals not counted.
    """
    columns = _merged(table)
    widths = {column.name: _width(table, column) for column, _ in columns}
    bodies, n_shown, n_rows = _bodies(table, columns, widths, most)
    known = joined((joined((el("b", c.head), f": {c.meaning}")) for c in table.columns if c.meaning), "; ")
    where = f" The whole table is in {files}." if files else ""
    cut = f"The first {n_shown:,} of {n_rows:,} rows are shown." if n_shown < n_rows else ""
    notes = [*table.notes, *((cut + where,) if cut else ())]
    heads = (el("th", column.head, scope="col", class_=widths[column.name]) for column, _ in columns)
    made = el(
        "table",
        el("caption", table.title, el("span", table.about)),
        el("thead", el("tr", *heads)),
        *bodies,
        class_="sortable",
    )
    # A table that is wider than the screen scrolls alone, also by keys.
    block = el("div", made, class_="scroll", tabindex=0, role="region", aria_label=table.title)
    after = [
        *((el("p", known, ".", class_="note"),) if known else ()),
        *(el("p", note, class_="note") for note in notes),
    ]
    if files and not cut:
        after.append(el("p", f"As files: {files}.", class_="note file"))
    if fold:
        rows = "1 row" if n_rows == 1 else f"{n_rows:,} rows"
        return folded(f"{table.title} (table, {rows})", block, *after)
    return el("div", block, *after, class_="table")


def _merged(table: Table) -> list[tuple[TableColumn, TableColumn | None]]:
    """Return the columns that are shown; an id that stands beside its label is read with it, in one column."""
    at = {column.name: column for column in table.columns}
    shown: list[tuple[TableColumn, TableColumn | None]] = []
    gone = {table.block}
    for column in table.columns:
        other = _id_beside(column.name, at)
        if other is not None:
            gone.add(other.name)
            shown.append((column, other))
        else:
            shown.append((column, None))
    return [(column, other) for column, other in shown if column.name not in gone]


def _id_beside(name: str, at: Mapping[str, TableColumn]) -> TableColumn | None:
    """Return the column of ids that belongs to a column of labels, such as ``call_term`` to ``call_label``."""
    other = at.get(name.replace("label", "term")) if "label" in name else None
    return other if other is not None and other.kind == "id" else None


def _right(column: TableColumn) -> bool:
    return column.kind in ("count", "share", "number")


def _width(table: Table, column: TableColumn) -> str:
    """Return the class of a column: numbers stand at the right, and sentences have room."""
    if _right(column):
        return "n"
    longest = table.rows[column.name].head(MOST_ROWS).astype(str).str.len().max() if len(table.rows) else 0
    return "sentence" if longest > 60 else "words" if longest > 18 else "short"


def _bodies(
    table: Table, columns: list[tuple[TableColumn, TableColumn | None]], widths: Mapping[str, str], most: int
) -> tuple[list[Html], int, int]:
    """Return the bodies, how many rows they show, and how many there are; totals not counted."""
    bodies, n_shown, n_rows = [], 0, 0
    for name, rows in _blocks(table):
        n_own = len(rows) - table.n_last
        n_rows += n_own
        n_here = min(n_own, most - n_shown)
        if n_here <= 0 < n_own:
            continue
        n_shown += n_here
        head = [] if name is None else [_block_head(table, rows, len(columns))]
        values = rows.iloc[[*range(n_here), *range(n_own, len(rows))]]
        lines = [
            _row(line, columns, widths, class_="total" if i >= n_here else None)
            for i, line in enumerate(values.to_dict("records"))
        ]
        bodies.append(el("tbody", *head, *lines))
    return bodies or [el("tbody")], n_shown, n_rows


def _blocks(table: Table) -> Iterator[tuple[Hashable, pd.DataFrame]]:
    if table.block is None:
        yield None, table.rows
    else:
        yield from table.rows.groupby(table.block, sort=False, dropna=False)


def _block_head(table: Table, rows: pd.DataFrame, n: int) -> Html:
    assert table.block is not None
    at, first = {column.name: column for column in table.columns}, rows.iloc[0]
    of = at[table.block].head if table.block in at else table.block
    beside = _id_beside(table.block, at)
    said = [el("span", f"{of} ", class_="id"), first[table.block]]
    if beside is not None and not _missing(first[beside.name]) and first[beside.name] != "":
        said.append(el("span", f" {first[beside.name]}", class_="id"))
    return el("tr", el("th", *said, colspan=n, scope="rowgroup"), class_="block")


def _row(
    values: dict[Hashable, Any],
    columns: list[tuple[TableColumn, TableColumn | None]],
    widths: Mapping[str, str],
    *,
    class_: str | None,
) -> Html:
    cells = []
    for at, (column, beside) in enumerate(columns):
        said = shown(values[column.name], column)
        if beside is not None and not _missing(values[beside.name]) and values[beside.name] != "":
            said = joined((said, el("span", values[beside.name], class_="id")), " ")
        if at == 0:
            cells.append(el("th", said, scope="row"))
        elif column.kind == "share" and not _missing(values[column.name]):
            width = min(max(float(values[column.name]), 0), 1)
            cells.append(el("td", said, class_="n bar", style=f"--share:{100 * width:.1f}%"))
        else:
            cells.append(el("td", said, class_=widths[column.name]))
    return el("tr", *cells, class_=class_)


def shown(value: Any, column: TableColumn) -> Html:
    """Return a value as it is read; numbers keep their exact value beside it."""
    if _missing(value):
        return Html(NOTHING)
    if column.kind == "count":
        return figure(int(value), f"{int(value):,}")
    if column.kind == "share":
        return figure(float(value), f"{100 * float(value):.{column.digits}f} %")
    if column.kind == "number":
        return figure(float(value), f"{float(value):,.{column.digits}f}")
    if column.kind == "id":
        return el("span", value, class_="id")
    return joined((value if value != "" else NOTHING,))


def _missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
