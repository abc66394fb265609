"""Tables as one workbook: numbers are numbers, totals are formulas, and no text is ever run as one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celljury.errors import MissingLibraryError
from celljury.report.table_cells import NUMERIC, is_missing, spans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celljury.report.table import Table, TableColumn

READ_ME = "read me"
MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS, LONGEST_SHEET = 1_048_575, 16_384, 32_767, 31
"""Limits of the format; rows are those below the head."""

# The same tables give the same bytes.
MADE = datetime(2000, 1, 1)
# Shares are written with six digits, so a sum of n of them is known to n times half of the last one.
ROUNDED = 5e-7
FORMULA_SIGNS = ("=", "+", "-", "@")


def require_xlsxwriter() -> None:
    """Raise MissingLibraryError where xlsxwriter is not installed."""
    try:
        import xlsxwriter  # noqa: F401
    except ImportError as error:
        what, instead = "tables.xlsx", "or leave xlsx out with --format"
        raise MissingLibraryError.for_output(what, missing="xlsxwriter", extra="report", instead=instead) from error


def write_workbook(tables: Sequence[Table], path: Path, *, caption: Sequence[str]) -> None:
    """Write a workbook: "read me" (caption, sheets, what every column means), then a sheet a table.

    A table beyond the format's limits has no sheet, and "read me" says so.

    Raises
    ------
    MissingLibraryError
        If xlsxwriter is not installed.
    """
    require_xlsxwriter()
    import xlsxwriter

    options = {"strings_to_formulas": False, "strings_to_numbers": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(path, options) as book:
        book.set_properties({"title": "Tables of a celljury run", "created": MADE})
        look = _Look(book)
        names = sheet_names([table.name for table in tables])
        _write_read_me(book.add_worksheet(READ_ME), look, tables, names, caption)
        for table, name in zip(tables, names, strict=True):
            if fits(table):
                _write_sheet(book.add_worksheet(name), look, table)


def fits(table: Table) -> bool:
    """Return whether a sheet has room for a table."""
    return len(table.rows) <= MOST_ROWS and len(table.columns) <= MOST_COLUMNS


def sheet_names(names: Sequence[str]) -> list[str]:
    """Return names of sheets: at most 31 characters, none twice in any case, none of the signs that the format refuses."""
    taken, made = {READ_ME, "history"}, []
    for name in names:
        wanted = "".join("_" if sign in "[]:*?/\\" or not sign.isprintable() else sign for sign in name).strip("' ")
        wanted = wanted[:LONGEST_SHEET].rstrip("' ") or "table"
        found, n = wanted, 1
        while found.casefold() in taken:
            n += 1
            found = f"{wanted[: LONGEST_SHEET - len(str(n)) - 1]}~{n}"
        taken.add(found.casefold())
        made.append(found)
    return made


class _Look:
    """Formats of a workbook, each made once."""

    def __init__(self, book: Any) -> None:
        self._book, self._made = book, dict[tuple[str, int, bool, bool], Any]()
        self.head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom"})
        self.number_head = book.add_format(
            {"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom", "align": "right"}
        )
        self.title = book.add_format({"bold": True, "font_size": 14, "font_color": "#0b6e99"})
        self.bold = book.add_format({"bold": True})
        self.wrap = book.add_format({"text_wrap": True, "valign": "top"})
        self.quoted_wrap = book.add_format({"text_wrap": True, "valign": "top", "quote_prefix": True})

    def cell(self, column: TableColumn, *, last: bool, text: str | None = None) -> Any:
        """Return the format of a cell; a text that begins like a formula is marked as text also for who edits it."""
        quoted = text is not None and text.startswith(FORMULA_SIGNS)
        key = (column.kind, column.digits, last, quoted)
        if key not in self._made:
            digits = f".{'0' * column.digits}" if column.digits else ""
            shape = {"count": "#,##0", "share": f"0{digits}%", "number": f"#,##0{digits}"}.get(column.kind, "@")
            rest = {"bold": True, "top": 1} if last else {}
            self._made[key] = self._book.add_format({"num_format": shape, "quote_prefix": quoted, **rest})
        return self._made[key]


# Sheets -----------------------------------------------------------------------------------------------------------------


def _write_sheet(sheet: Any, look: _Look, table: Table) -> None:
    parts = spans(table)
    last = frozenset(row for _, _, stop, n_last in parts for row in range(stop - n_last, stop))
    for j, column in enumerate(table.columns):
        sheet.write_string(0, j, _cut(column.head), look.number_head if column.kind in NUMERIC else look.head)
        values = table.rows[column.name].tolist()
        sums = _sums(values, column, parts)
        for i, value in enumerate(values):
            _write_cell(sheet, i + 1, j, value, column, look, last=i in last, total=sums.get(i))
        sheet.set_column(j, j, _width(column, values))
    first_number = next((j for j, column in enumerate(table.columns) if column.kind in NUMERIC), 0)
    sheet.freeze_panes(1, min(first_number, 2))
    sheet.repeat_rows(0)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)


def _write_cell(
    sheet: Any, row: int, j: int, value: Any, column: TableColumn, look: _Look, *, last: bool, total: _Sum | None
) -> None:
    if is_missing(value):
        sheet.write_blank(row, j, None, look.cell(column, last=last))
    elif column.kind not in NUMERIC:
        text = _cut(str(value))
        sheet.write_string(row, j, text, look.cell(column, last=last, text=text))
    elif abs(float(value)) == float("inf"):
        sheet.write_string(row, j, str(float(value)), look.cell(column, last=last))
    elif total is not None:
        from xlsxwriter.utility import xl_range

        cells = xl_range(total.start + 1, j, total.stop, j)
        sheet.write_formula(row, j, f"=SUM({cells})", look.cell(column, last=last), total.value)
    else:
        number = round(value) if column.kind == "count" else float(value)
        sheet.write_number(row, j, number, look.cell(column, last=last))


@dataclass(frozen=True, slots=True)
class _Sum:
    """The rows that a total adds up, ``start`` to ``stop``, and their sum."""

    start: int
    stop: int
    value: float


def _sums(
    values: Sequence[Any], column: TableColumn, parts: Sequence[tuple[str | None, int, int, int]]
) -> dict[int, _Sum]:
    """Return which rows that are set apart are the sum of the rows above them in their block.

    Only counts and shares can be; a share in the last row may also be a mean, so shares count as added up only if they
    are in every block, and one block shows that it is no coincidence: two of its rows have more than nothing.
    """
    if column.kind not in ("count", "share"):
        return {}
    found: dict[int, _Sum] = {}
    telling, n_last_rows = column.kind == "count", 0
    for _, start, stop, n_last in parts:
        body = [0.0 if is_missing(value) else float(value) for value in values[start : stop - n_last]]
        added: float = sum(body) if column.kind == "share" else sum(round(value) for value in body)
        slack = 0.0 if column.kind == "count" else ROUNDED * (len(body) + 1)
        telling = telling or sum(value > 0 for value in body) > 1
        for row in range(stop - n_last, stop):
            n_last_rows += 1
            if body and not is_missing(values[row]) and abs(float(values[row]) - added) <= slack:
                found[row] = _Sum(start, stop - n_last, added)
    if column.kind == "share" and not (telling and len(found) == n_last_rows):
        return {}
    return found


def _width(column: TableColumn, values: Sequence[Any]) -> float:
    """Return a width in characters; long heads and texts wrap or are cut by the next cell."""
    if column.kind in NUMERIC:
        return max(11, min(len(column.head) + 1, 18))
    longest = max((len(str(value)) for value in values[:2000] if not is_missing(value)), default=0)
    return max(8, min(max(longest, len(column.head)) + 1, 60))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


# The first sheet --------------------------------------------------------------------------------------------------------


def _write_read_me(
    sheet: Any, look: _Look, tables: Sequence[Table], names: Sequence[str], caption: Sequence[str]
) -> None:
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 34)
    sheet.set_column(2, 2, 90)
    row = 0

    def line(*texts: str, look_of: Any = None) -> None:
        nonlocal row
        for j, text in enumerate(texts):
            quoted = text.startswith(FORMULA_SIGNS)
            sheet.write_string(row, j, _cut(text), look_of or (look.quoted_wrap if quoted else look.wrap))
        row += 1

    line("Tables of a celljury run", look_of=look.title)
    for sentence in caption:
        sheet.merge_range(row, 0, row, 2, "", look.wrap)
        sheet.set_row(row, 15 * (1 + len(sentence) // 150))
        line(sentence)
    row += 1
    line("sheet", "table", "what a row is, what is counted", look_of=look.head)
    for table, name in zip(tables, names, strict=True):
        room = (
            "" if fits(table) else f" No sheet: {len(table.rows):,} rows are more than one holds; see {table.name}.tsv."
        )
        line(name, table.title, " ".join([table.about, *table.notes]) + room)
    row += 1
    line("sheet", "column", "meaning", look_of=look.head)
    for table, name in zip(tables, names, strict=True):
        for column in table.columns:
            line(name, column.head, column.meaning or column.head)
    sheet.freeze_panes(1, 0)
