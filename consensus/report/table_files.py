"""Tables into a folder, in every format that is asked for; what an earlier call wrote and no table needs is removed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from celljury.errors import ConfigError, OutputError
from celljury.progress import silent
from celljury.provenance import write_text, written_beside
from celljury.report.table import Table, TableColumn
from celljury.report.table_html import html_page, require_great_tables
from celljury.report.table_latex import document, latex_text
from celljury.report.table_tsv import tsv_text
from celljury.report.table_xlsx import fits, require_xlsxwriter, write_workbook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celljury.progress import Progress

FORMATS = ("tsv", "xlsx", "tex", "html")
MOST_PRINTED = 2_000
"""Rows of a table that is written for reading (LaTeX, HTML); larger ones are TSV and a sheet."""

INDEX, WORKBOOK, ARTICLE = "index.tsv", "tables.xlsx", "tables.tex"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INDEX_COLUMNS = (
    TableColumn("table", "table"), TableColumn("title", "title"), TableColumn("rows", "rows", kind="count"),
    TableColumn("files", "files"), TableColumn("left_out", "left out"),
)  # fmt: skip


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Return formats, each once; for a call before any work.

    Raises
    ------
    ConfigError
        If one is unknown, or there is none.
    MissingLibraryError
        If the library that one needs is not installed.
    """
    wanted = tuple(dict.fromkeys(formats))
    if unknown := [one for one in wanted if one not in FORMATS]:
        message = f"--format: there is no format {', '.join(map(repr, unknown))}. Expected some of {','.join(FORMATS)}."
        raise ConfigError(message)
    if not wanted:
        message = f"--format: expected at least one of {','.join(FORMATS)}, got none."
        raise ConfigError(message)
    if "xlsx" in wanted:
        require_xlsxwriter()
    if "html" in wanted:
        require_great_tables()
    return wanted


def left_out(table: Table, formats: Sequence[str] = FORMATS) -> str:
    """Return in which formats a table is not written, and why; empty if it is in all."""
    n_rows = len(table.rows)
    said = []
    if n_rows > MOST_PRINTED and (printed := [one for one in ("tex", "html") if one in formats]):
        said.append(f"{', '.join(printed)}: {n_rows:,} rows are more than {MOST_PRINTED:,}")
    if "xlsx" in formats and not fits(table):
        said.append(f"xlsx: {n_rows:,} rows and {len(table.columns):,} columns are more than a sheet holds")
    return "; ".join(said)


def write_tables(
    tables: Sequence[Table],
    folder: Path,
    *,
    formats: Sequence[str] = FORMATS,
    caption: Sequence[str],
    progress: Progress = silent,
) -> list[Path]:
    """Write tables and return the files, in the order of the tables; then the workbook, the article and the index.

    ``NAME.tsv``, ``NAME.tex`` and ``NAME.html`` a table, ``tables.xlsx`` with all of them, ``tables.tex``, which inputs
    all ``NAME.tex``, and ``index.tsv``: a row a table with its files, and in which formats it is left out and why. No
    file is removed: what an earlier report left is `celljury.report.report_files.remove_earlier`'s.

    Parameters
    ----------
    caption
        Sentences on the run, as of `celljury.report.caption.caption_lines`.

    Raises
    ------
    ConfigError, MissingLibraryError
        As `check_formats`, before anything is written.
    OutputError
        If a file cannot be written.
    ValueError
        If a table's name is no stem of a file, or is there twice.
    """
    wanted = check_formats(formats)
    _check_names([table.name for table in tables])
    written: dict[str, list[str]] = {}
    n_steps = len(tables) + 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, table in enumerate(tables):
            written[table.name] = _write_one(table, folder, wanted, caption)
            progress("write tables", i + 1, n_steps)
        whole = []
        if "xlsx" in wanted:
            with written_beside(folder / WORKBOOK) as partial:
                write_workbook(tables, partial, caption=caption)
            whole.append(WORKBOOK)
        if "tex" in wanted:
            write_text(folder / ARTICLE, _article(tables, wanted, written))
            whole.append(ARTICLE)
        write_text(folder / INDEX, tsv_text(_index(tables, wanted, written, whole)))
        names = [*(name for files in written.values() for name in files), *whole, INDEX]
        progress("write tables", n_steps, n_steps)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError.for_path(folder, error.strerror or str(error)) from error
    return [folder / name for name in names]


def _write_one(table: Table, folder: Path, formats: Sequence[str], caption: Sequence[str]) -> list[str]:
    printed = len(table.rows) <= MOST_PRINTED
    made = []
    for name in formats:
        if name == "xlsx" or (name in ("tex", "html") and not printed):
            continue
        if name == "tsv":
            text = tsv_text(table)
        else:
            text = latex_text(table, caption=caption) if name == "tex" else html_page(table, caption=caption)
        write_text(folder / f"{table.name}.{name}", text)
        made.append(f"{table.name}.{name}")
    return made


def _article(tables: Sequence[Table], formats: Sequence[str], written: dict[str, list[str]]) -> str:
    names = [table.name for table in tables if f"{table.name}.tex" in written[table.name]]
    missing = [
        f"{table.title} is not printed here ({said}); its file is {table.name}.tsv."
        for table in tables
        if (said := left_out(table, [one for one in formats if one == "tex"]))
    ]
    return document(names, title="Tables of a celljury run", left_out=missing)


def _index(
    tables: Sequence[Table], formats: Sequence[str], written: dict[str, list[str]], whole: Sequence[str]
) -> Table:
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"table": table.name, "title": table.title, "rows": len(table.rows), "files": ";".join(written[table.name]),
         "left_out": left_out(table, formats)}
        for table in tables
    ]  # fmt: skip
    if whole:
        rows.append({"table": "", "title": "all tables", "rows": None, "files": ";".join(whole), "left_out": ""})
    frame = pd.DataFrame(rows, columns=[column.name for column in _INDEX_COLUMNS])
    return Table("index", "Tables", "A row a table.", _INDEX_COLUMNS, frame)


def _check_names(names: Sequence[str]) -> None:
    seen = {"index", "tables"}
    for name in names:
        if not _NAME.fullmatch(name) or name.casefold() in seen:
            message = (
                f"table {name!r}: expected a stem of a file (letters, digits, . _ -), not index or tables, and once"
            )
            raise ValueError(message)
        seen.add(name.casefold())
