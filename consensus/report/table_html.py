"""A table as a page of its own (great-tables): it loads nothing, runs nothing, and says what its columns mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from celljury.errors import MissingLibraryError
from celljury.markup import Html, el, joined
from celljury.report.table_cells import NUMERIC, block_head, blocks, head, one_line, shown_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.report.table import Table, TableColumn

INK, MUTED, CALL, LINE, SHADE = "#1d2733", "#566270", "#0b6e99", "#c9d1d9", "#f3f6f8"
FONTS = ["system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif"]
STYLE = f"""
body {{ margin: 0 auto; max-width: 75rem; padding: 1.5rem; color: {INK}; background: #fff; font: 16px/1.5 system-ui, "Segoe UI",
  "Helvetica Neue", Arial, sans-serif; }}
h1 {{ font-size: 1.4rem; margin: 0 0 .3rem; }}
p, li {{ max-width: 60rem; margin: .3rem 0; }}
section {{ font-size: .88rem; color: {MUTED}; margin-top: 1rem; }}
h2 {{ font-size: 1rem; color: {INK}; margin: 1rem 0 .2rem; }}
dl {{ margin: 0; }} dt {{ font-weight: 600; color: {INK}; float: left; clear: left; margin-right: .5rem; }}
dd {{ margin: 0 0 .2rem; }}
.scroll {{ overflow-x: auto; }} .scroll:focus-visible {{ outline: 3px solid {CALL}; outline-offset: 2px; }}
#celljury-table .gt_left {{ max-width: 34rem; overflow-wrap: anywhere; }}
@media print {{ body {{ max-width: none; padding: 0; }} .scroll {{ overflow: visible; }}
  thead {{ display: table-header-group; }} }}
"""


def require_great_tables() -> None:
    """Raise MissingLibraryError where great-tables is not installed."""
    try:
        import great_tables  # noqa: F401
    except ImportError as error:
        what, instead = "a table as HTML", "or leave html out with --format"
        raise MissingLibraryError.for_output(what, missing="great-tables", extra="report", instead=instead) from error


def html_page(table: Table, *, caption: Sequence[str]) -> str:
    """Return a table as a whole page: title, what it counts, the table, meanings, notes and the caption of the run.

    Raises
    ------
    MissingLibraryError
        If great-tables is not installed.
    """
    title = one_line(table.title)
    known = [column for column in table.columns if column.meaning]
    meant = el("dl", *(part for c in known for part in (el("dt", head(c)), el("dd", one_line(c.meaning)))))
    body = [
        el("h1", title),
        el("p", one_line(table.about)),
        el("div", html_table(table), class_="scroll", tabindex=0, role="region", aria_label=title),
        el(
            "section",
            *((el("h2", "Columns"), meant) if known else ()),
            *((el("h2", "Notes"), *(el("p", one_line(note)) for note in table.notes)) if table.notes else ()),
            *((el("h2", "The run"), *(el("p", one_line(line)) for line in caption)) if caption else ()),
        ),
    ]
    frame = el(
        "html",
        el(
            "head",
            Html('<meta charset="utf-8"/>'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1"/>'),
            # No icon is asked for, and nothing could be loaded.
            Html('<link rel="icon" href="data:,"/>'),
            el("title", title),
            el("style", Html(STYLE)),
        ),
        el("body", el("main", joined(body))),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{frame}\n"


def html_table(table: Table) -> Html:
    """Return the table itself, themed, to stand in a page; its title is its caption.

    Raises
    ------
    MissingLibraryError
        If great-tables is not installed.
    """
    require_great_tables()
    import great_tables as gt
    import pandas as pd

    columns, parts = shown_columns(table), blocks(table)
    rows = [(k, row) for k, part in enumerate(parts) for row in (*part.rows, *part.last)]
    # Names of columns and blocks become ids of elements: plain ones, whatever the texts are.
    frame = pd.DataFrame([row for _, row in rows], columns=[f"c{j}" for j in range(len(columns))], dtype=str)
    grouped = table.block is not None and bool(rows)
    if grouped:
        frame["block"] = [f"b{k}" for k, _ in rows]
    made: Any = gt.GT(frame, groupname_col="block" if grouped else None, id="celljury-table")
    made = made.cols_label(**{f"c{j}": head(column) for j, column in enumerate(columns)})
    made = made.cols_align("left", columns=_named(columns, numeric=False))
    made = made.cols_align("right", columns=_named(columns, numeric=True))
    apart, at = [], 0
    for part in parts:
        at += len(part.rows) + len(part.last)
        apart += list(range(at - len(part.last), at))
    if apart:
        made = made.tab_style(
            [gt.style.text(weight="bold"), gt.style.borders(sides="top", color=INK, weight="1px")],
            gt.loc.body(rows=apart),
        )
    made = made.tab_options(
        table_font_names=FONTS, table_font_size="14px", table_font_color=INK, table_margin_left="0",
        table_margin_right="auto", table_border_top_color=INK, table_border_bottom_color=INK,
        column_labels_font_weight="600", column_labels_border_top_style="none", column_labels_border_bottom_color=INK,
        column_labels_border_bottom_width="1px", table_body_hlines_color=LINE, table_body_border_bottom_color=INK,
        table_body_border_top_color=INK, row_group_font_weight="600", row_group_background_color=SHADE,
        row_group_border_top_color=LINE,
        row_group_padding="4px", row_group_padding_horizontal="9px", row_group_border_bottom_color=LINE, data_row_padding="4px",
        data_row_padding_horizontal="9px", column_labels_padding_horizontal="9px", container_overflow_x="visible",
        container_overflow_y="visible",
    )  # fmt: skip
    text = str(made.as_raw_html())
    if grouped:
        text = _with_block_heads(text, [block_head(table, part.name or "") for part in parts])
    # A caption names the table for readers of the page by ear; the heading above shows it.
    named = el("caption", one_line(table.title), style="position:absolute;width:1px;height:1px;overflow:hidden")
    return Html(re.sub(r"(<table class=\"gt_table\"[^>]*>)", lambda found: found.group(1) + named, text, count=1))


def _named(columns: Sequence[TableColumn], *, numeric: bool) -> list[str]:
    return [f"c{j}" for j, column in enumerate(columns) if (column.kind in NUMERIC) is numeric]


def _with_block_heads(text: str, heads: Sequence[str]) -> str:
    """Put the blocks' heads in the place of their numbers."""
    return re.sub(r">b(\d+)</th>", lambda found: f">{el('span', heads[int(found.group(1))])}</th>", text)
