"""Tables and figures inside a page: every value is there in full, ids stand by their labels, and text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.report.figure_style import DrawnFigure
from celljury.report.page_figures import LIGHT_SVG, figure_block
from celljury.report.page_frame import page_of, policy
from celljury.report.page_script import SORT
from celljury.report.page_tables import MOST_ROWS, table_block
from celljury.report.table import Table, TableColumn

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\"'&" + "x" * 300


class Rows(HTMLParser):
    """Rows of a table as (class, cells); a cell is its text and the exact values in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[tuple[str, list[tuple[str, list[str]]]]] = []
        self.attributes: list[tuple[str, dict[str, Any]]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.attributes.append((tag, found))
        if tag == "tr":
            self.rows.append((found.get("class") or "", []))
        elif tag in ("td", "th"):
            self.rows[-1][1].append(("", []))
            self._in_cell = True
        elif tag == "data":
            self.rows[-1][1][-1][1].append(str(found["value"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            text, values = self.rows[-1][1][-1]
            self.rows[-1][1][-1] = (text + data, values)

    def texts(self) -> list[list[str]]:
        return [[text for text, _ in cells] for _, cells in self.rows]


COLUMNS = (
    TableColumn("term", "term", "id in the ontology", "id"),
    TableColumn("label", "label"),
    TableColumn("n_cells", "cells", "of the group", "count"),
    TableColumn("fraction", "of all", "", "share"),
    TableColumn("mean_support", "support", "0 to 1", "number", 2),
)


def made(rows: list[tuple[Any, ...]], **more: Any) -> Table:
    frame = pd.DataFrame(rows, columns=[column.name for column in more.get("columns", COLUMNS)])
    return Table(name="cells", title="Cells", about="A row is a term.", rows=frame, **{"columns": COLUMNS, **more})


def test_values_are_rounded_to_read_and_exact_for_programs() -> None:
    found = Rows(table_block(made([("CL:0000236", "B cell", 1234, 0.12345, 0.98765)])))
    assert found.texts() == [
        ["label", "cells", "of all", "support"], ["B cell CL:0000236", "1,234", "12.3 %", "0.99"],
    ]  # fmt: skip
    assert [values for _, values in found.rows[1][1]] == [[], ["1234"], ["0.12345"], ["0.98765"]]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_value_is_a_dash_without_a_number(missing: Any) -> None:
    found = Rows(table_block(made([("", "unseen", 3, missing, missing)])))
    assert found.texts()[1] == ["unseen", "3", "-", "-"]
    assert found.rows[1][1][2][1] == []


def test_meaning_of_every_column_is_said() -> None:
    text = table_block(made([]))
    assert "A row is a term." in text
    assert "<b>cells</b>: of the group; <b>support</b>: 0 to 1." in text


def test_total_is_marked_to_stay_last_in_every_block() -> None:
    columns = (TableColumn("donor", "donor"), TableColumn("n_cells", "cells", "", "count"))
    table = made(
        [("d1", 2), ("d1", 2), ("d2", 5), ("d2", 5)], columns=(*columns,), block="donor", n_last=1,
    )  # fmt: skip
    found = Rows(table_block(table))
    assert [kind for kind, _ in found.rows] == ["", "block", "", "total", "block", "", "total"]
    assert found.texts()[1] == ["donor d1"]
    assert [cells[0] for cells in found.texts()[2:4]] == ["2", "2"]


def test_block_of_labels_names_the_term_once() -> None:
    found = Rows(
        table_block(made([("CL:0000236", "B cell", 1, 0.1, 0.1), ("CL:0000236", "B cell", 2, 0.1, 0.1)], block="label"))
    )
    assert found.texts()[0] == ["cells", "of all", "support"]
    assert found.texts()[1] == ["label B cell CL:0000236"]


def test_long_table_shows_its_first_rows_and_its_total_and_says_where_the_whole_is() -> None:
    rows = [("", f"type {i}", i, 0.0, 0.0) for i in range(MOST_ROWS + 41)] + [("", "all", 9, 1.0, 0.0)]
    text = table_block(made(rows, n_last=1), files="tables/cells (tsv)")
    found = Rows(text)
    assert len(found.rows) == 1 + MOST_ROWS + 1
    assert found.texts()[-1][0] == "all"
    assert (
        f"The first {MOST_ROWS} of {MOST_ROWS + 41} rows are shown. The whole table is in tables/cells (tsv)." in text
    )


def test_short_table_says_nothing_of_left_out_rows() -> None:
    assert "rows are shown" not in table_block(made([("", "a", 1, 1.0, 1.0)]), files="tables/cells (tsv)")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(1, 12))
def test_no_row_is_lost_or_shown_twice_whatever_the_blocks(sizes: list[int], most: int) -> None:
    columns = (TableColumn("block", "block"), TableColumn("i", "i", "", "count"))
    rows = [(f"b{k}", i) for k, i in ((k, sum(sizes[:k]) + j) for k, n in enumerate(sizes) for j in range(n))]
    found = Rows(table_block(made(rows, columns=columns, block="block"), most=most))
    shown = [texts[0] for (kind, _), texts in zip(found.rows, found.texts(), strict=True) if kind == ""][1:]
    assert shown == [str(i) for _, i in rows[:most]]


def test_text_of_others_stays_text() -> None:
    table = made([(HOSTILE, HOSTILE, 1, 0.5, 0.5)], notes=(HOSTILE,))
    text = table_block(table, files=HOSTILE)
    assert "<script" not in text
    assert HOSTILE in Rows(text).texts()[1][0]


@pytest.mark.parametrize(("share", "width"), [(0.5, "50.0"), (1.7, "100.0"), (-0.2, "0.0")])
def test_bar_never_leaves_its_cell(share: float, width: str) -> None:
    assert f"--share:{width}%" in table_block(made([("", "a", 1, share, 0.5)]))


# Figures ----------------------------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (1440).to_bytes(4, "big") + (100).to_bytes(4, "big")


def drawn(folder: Path, *, svg: bytes | None) -> DrawnFigure:
    paths = {".png": folder / "f.png"}
    paths[".png"].write_bytes(PNG)
    if svg is not None:
        paths[".svg"] = folder / "f.svg"
        paths[".svg"].write_bytes(svg)
    return DrawnFigure("f", "Title <b>", "How to read it.", "Main numbers.", paths)


def test_figure_is_inside_the_page_with_words_for_who_cannot_see_it(tmp_path: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="360pt" height="10pt"></svg>'
    found = dict(Rows(figure_block(drawn(tmp_path, svg=svg))).attributes)
    image = found["img"]
    assert base64.b64decode(str(image["src"]).removeprefix("data:image/svg+xml;base64,")) == svg
    assert image["alt"] == "Title <b>. Main numbers."
    assert image["width"] == "624"  # 5 inches at 96 px, 1.3 times


def test_figure_of_many_points_is_shown_as_png(tmp_path: Path) -> None:
    text = figure_block(drawn(tmp_path, svg=b"<svg>" + b"." * LIGHT_SVG))
    assert "data:image/png;base64," in text
    assert "data:image/svg" not in text
    assert f"As files: {tmp_path.name}/f (png, svg)." in text


# The frame --------------------------------------------------------------------------------------------------------------


def test_browser_may_run_the_one_script_and_nothing_else() -> None:
    page = page_of(
        kind="a", subject="b", title="c", about="d", places={}, blocks={}, footer="e", script=SORT, images=True
    )
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    said = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert script
    assert said
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    parts = said[1].replace("&#x27;", "'").split("; ")
    assert parts == [
        "default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", "base-uri 'none'", "form-action 'none'",
        f"script-src 'sha256-{digest}'",
    ]  # fmt: skip


def test_page_without_script_and_images_may_load_and_run_nothing() -> None:
    assert policy() == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def test_script_writes_no_markup_and_asks_for_nothing() -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch|XMLHttp|import|https?:|</", SORT
    )
