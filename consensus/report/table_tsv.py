"""A table as tab-separated values: raw, one head line, nothing else, the same bytes every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from celljury.report.table import Table, TableColumn

DIGITS = "%.6g"


def tsv_text(table: Table) -> str:
    """Return a table as TSV: names as in ``rows``, whole counts, shares 0 to 1, other numbers to six digits, missing empty.

    Texts with a tab, a line break or a quote are quoted, as every reader of the format undoes.
    """
    import pandas as pd

    columns = {column.name: _raw(table.rows[column.name], column) for column in table.columns}
    frame = pd.DataFrame(columns, index=table.rows.index)
    return str(frame.to_csv(sep="\t", index=False, lineterminator="\n", float_format=DIGITS, na_rep=""))


def _raw(values: pd.Series, column: TableColumn) -> pd.Series:
    if column.kind == "count":
        return values.astype("Float64").round().astype("Int64")
    if column.kind in ("share", "number"):
        return values.astype("float64")
    texts = values.astype(object)
    # A lone carriage return ends a line for some readers and is not quoted by others.
    return texts.where(texts.isna(), texts.astype(str).str.replace(r"\r\n?", "\n", regex=True))
