"""The workbook: numbers are numbers, totals are live and right, and no text runs."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import made_tables as made
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.errors import MissingLibraryError
from celljury.report.table import Table, TableColumn
from celljury.report.table_xlsx import FORMULA_SIGNS, READ_ME, sheet_names, write_workbook

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, *, values: bool = False) -> Any:
    return openpyxl.load_workbook(path, data_only=values)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("xlsx") / "tables.xlsx"
    write_workbook([*made.everything(), made.large()], to, caption=made.CAPTION)
    return to


def test_the_first_sheet_says_what_all_is(path: Path) -> None:
    sheet = read(path)[READ_ME]
    lines = [[cell for cell in row if cell is not None] for row in sheet.iter_rows(values_only=True)]
    assert lines[0] == ["Tables of a celljury run"]
    assert [line[0] for line in lines[1:5]] == list(made.CAPTION)
    assert ["cells_by_donor", "Cells per type and donor", "A row a donor and term."] in lines
    about = "A row a term. Every cell is counted once. Unseen cells are not cells of the node that they are new under."
    assert ["cells_cell_class", "Cells per type", about] in lines
    assert ["cells_cell_class", "Of all cells", "share of the cells counted"] in lines
    n_columns = sum(len(table.columns) for table in [*made.everything(), made.large()])
    assert sum(len(line) == 3 for line in lines) == n_columns + len(made.everything()) + 1 + 2


def test_counts_and_totals_of_a_sheet(path: Path) -> None:
    sheet, seen = read(path)["cells_cell_class"], read(path, values=True)["cells_cell_class"]
    assert [cell.value for cell in sheet[1]] == [
        "CL id",
        "Cell type",
        "Cells",
        "Of all cells",
        "Mean depth",
        "Need review",
    ]
    assert [cell.value for cell in sheet["C"]] == ["Cells", 1200, 300, 0, "=SUM(C2:C4)"]
    assert [cell.value for cell in seen["C"]] == ["Cells", 1200, 300, 0, 1500]
    assert sheet["D5"].value == "=SUM(D2:D4)"
    assert seen["D5"].value == pytest.approx(1)
    # A mean is no sum, nor is a share of a share.
    assert (sheet["E5"].value, sheet["F5"].value) == (5.85, 0.15)
    assert sheet["E4"].value is None
    assert (sheet["D2"].number_format, sheet["C2"].number_format) == ("0.0%", "#,##0")
    assert sheet.freeze_panes == "C2"


def test_totals_of_blocks_add_up_their_own_rows(path: Path) -> None:
    sheet, seen = read(path)["cells_by_donor"], read(path, values=True)["cells_by_donor"]
    assert sheet["D9"].value == "=SUM(D6:D8)"
    assert [seen[f"D{4 * i + 5}"].value for i in range(12)] == [1500 * (i + 1) for i in range(12)]


@pytest.mark.parametrize("name", ["cells_cell_class", "cells_by_donor", "fractions", "fractions_wide"])
def test_every_formula_shows_the_sum_of_the_cells_it_names(path: Path, name: str) -> None:
    sheet, seen = read(path)[name], read(path, values=True)[name]
    formulas = [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    assert formulas
    for cell in formulas:
        named = seen[cell.value.removeprefix("=SUM(").removesuffix(")")]
        assert seen[cell.coordinate].value == pytest.approx(sum(one.value or 0 for (one,) in named))


def test_a_total_that_is_no_sum_stays_a_number(tmp_path: Path) -> None:
    columns = (TableColumn("n", "n", kind="count"), TableColumn("s", "s", kind="share"))
    frame = pd.DataFrame({"n": [1, 2, 4], "s": [0.5, 0.0, 0.5]})  # a mean could equal the one row that has something
    write_workbook([Table("t", "t", "", columns, frame, n_last=1)], tmp_path / "a.xlsx", caption=())
    sheet = read(tmp_path / "a.xlsx")["t"]
    assert [cell.value for cell in sheet[4]] == [4, 0.5]


def test_texts_that_look_like_formulas_are_texts(path: Path) -> None:
    sheet = read(path)["hostile"]
    cells = [cell for row in sheet.iter_rows(max_col=2) for cell in row if isinstance(cell.value, str)]
    assert {cell.data_type for cell in cells} == {"s"}
    signed = [cell for cell in cells if cell.row > 1 and cell.value.startswith(FORMULA_SIGNS)]
    assert len(signed) == 10
    assert all(cell.quotePrefix for cell in signed), "who edits the cell would make it a formula"
    assert [sheet.cell(2 + i, 1).value for i in (0, 3, 9)] == [made.HOSTILE[0], made.HOSTILE[3], made.HOSTILE[9]]
    assert not sheet._hyperlinks


def test_infinities_are_said_and_missing_values_are_blank(path: Path) -> None:
    sheet = read(path)["hostile"]
    assert [sheet.cell(2 + i, 4).value for i in range(3)] == ["inf", "-inf", -0.001]
    assert [sheet.cell(2 + len(made.HOSTILE), j + 1).value for j in range(4)] == [None] * 4


def test_a_text_beyond_the_format_is_cut_aloud(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": ["a" * 40_000]})
    write_workbook([Table("t", "t", "", (TableColumn("t", "t"),), frame)], tmp_path / "a.xlsx", caption=())
    text = read(tmp_path / "a.xlsx")["t"]["A2"].value
    assert (len(text), text[-1]) == (32_767, "\u2026")


def test_a_table_beyond_a_sheet_is_named_in_read_me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celljury.report.table_xlsx.MOST_ROWS", 3)
    write_workbook([made.flat(), made.empty()], tmp_path / "a.xlsx", caption=())
    book = read(tmp_path / "a.xlsx")
    assert book.sheetnames == [READ_ME, "empty"]
    texts = [str(cell) for row in book[READ_ME].iter_rows(values_only=True) for cell in row]
    assert any("No sheet: 4 rows are more than one holds; see cells_cell_class.tsv." in text for text in texts)


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        write_workbook([made.flat(), made.blocked()], tmp_path / name, caption=made.CAPTION)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()


def test_names_of_sheets() -> None:
    names = ["cells_a_very_long_level_name_by_sample", "cells_a_very_long_level_name_by_SAMPLE", "a[b]:c*d?e/f\\g", "'q'", "",
             "History", "read me"]  # fmt: skip
    assert sheet_names(names) == [
        "cells_a_very_long_level_name_by", "cells_a_very_long_level_name_~2", "a_b__c_d_e_f_g", "q", "table", "History~2",
        "read me~2",
    ]  # fmt: skip


@given(st.lists(st.text(max_size=40), max_size=30))
def test_any_names_become_names_of_sheets(names: list[str]) -> None:
    found = sheet_names(names)
    assert len({name.casefold() for name in found} | {READ_ME}) == len(names) + 1
    assert all(0 < len(name) <= 31 and not set(name) & set("[]:*?/\\") for name in found)
    assert all(name[0] != "'" and name[-1] != "'" for name in found)


def test_without_xlsxwriter_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "xlsxwriter":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingLibraryError, match=r"needs xlsxwriter. Install: pip install 'celljury\[report\]'"):
        write_workbook([made.flat()], tmp_path / "a.xlsx", caption=())
    assert list(tmp_path.iterdir()) == []
