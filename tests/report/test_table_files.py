"""Tables in a folder: every format, an index, nothing half written, and nothing of others removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import made_tables as made
import pandas as pd
import pytest

from celljury.errors import ConfigError, MissingLibraryError, OutputError
from celljury.report.table import Table
from celljury.report.table_files import MOST_PRINTED, check_formats, left_out, write_tables

if TYPE_CHECKING:
    from pathlib import Path


def named(name: str) -> Table:
    table = made.flat()
    return Table(name, table.title, table.about, table.columns, table.rows, n_last=1)


def test_every_format_of_every_table_and_the_wholes(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    written = write_tables(
        [made.flat(), made.blocked()], tmp_path / "new" / "tables", caption=made.CAPTION,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert [path.name for path in written] == [
        "cells_cell_class.tsv", "cells_cell_class.tex", "cells_cell_class.html",
        "cells_by_donor.tsv", "cells_by_donor.tex", "cells_by_donor.html", "tables.xlsx", "tables.tex", "index.tsv",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "new" / "tables").iterdir()) == sorted(p.name for p in written)
    assert steps == [("write tables", i + 1, 3) for i in range(3)]


def test_the_index_says_what_is_where_and_what_is_left_out(tmp_path: Path) -> None:
    write_tables([made.flat(), made.large()], tmp_path, caption=())
    index = pd.read_csv(tmp_path / "index.tsv", sep="\t", keep_default_na=False, dtype=str)
    assert index.to_dict("records") == [
        {"table": "cells_cell_class", "title": "Cells per type", "rows": "4", "left_out": "",
         "files": "cells_cell_class.tsv;cells_cell_class.tex;cells_cell_class.html"},
        {"table": "large", "title": "Many rows", "rows": "5000", "files": "large.tsv",
         "left_out": "tex, html: 5,000 rows are more than 2,000"},
        {"table": "", "title": "all tables", "rows": "", "files": "tables.xlsx;tables.tex", "left_out": ""},
    ]  # fmt: skip
    assert (
        r"Many rows is not printed here (tex: 5,000 rows are more than 2,000)" in (tmp_path / "tables.tex").read_text()
    )


def test_a_table_of_as_many_rows_as_allowed_is_printed(tmp_path: Path) -> None:
    assert left_out(made.large(MOST_PRINTED)) == ""
    assert left_out(made.large(MOST_PRINTED + 1), ("tsv", "html")) == "html: 2,001 rows are more than 2,000"
    assert left_out(made.large(MOST_PRINTED + 1), ("tsv", "xlsx")) == ""


def test_files_of_others_stay_whatever_an_index_there_says(tmp_path: Path) -> None:
    for name in ("supplement.tsv", "mine.html"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    (tmp_path / "index.tsv").write_text("table\tfiles\nx\tsupplement.tsv;mine.html;../../etc\n", encoding="utf-8")
    write_tables([named("a")], tmp_path, formats=("tsv",), caption=())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv", "index.tsv", "mine.html", "supplement.tsv"]
    assert all((tmp_path / name).read_text(encoding="utf-8") == "mine" for name in ("supplement.tsv", "mine.html"))


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tables(made.everything(), tmp_path / name, caption=made.CAPTION)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_failure_leaves_the_earlier_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables([named("a")], tmp_path, caption=())
    before = (tmp_path / "tables.xlsx").read_bytes()

    def broken(tables: object, path: Path, *, caption: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("celljury.report.table_files.write_workbook", broken)
    with pytest.raises(OutputError, match="No space left on device"):
        write_tables([named("a")], tmp_path, caption=())
    assert (tmp_path / "tables.xlsx").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write to"):
        write_tables([named("a")], tmp_path / "tables", formats=("tsv",), caption=())


@pytest.mark.parametrize("name", ["a/b", "..", "", "index", "Tables", "a b", "-x"])
def test_a_name_that_is_no_stem_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected a stem of a file"):
        write_tables([named("a"), named(name)], tmp_path, caption=())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and once"):
        write_tables([named("a"), named("A")], tmp_path, caption=())


def test_unknown_and_no_formats_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no format 'pdf'\. Expected some of tsv,xlsx,tex,html"):
        check_formats(["tsv", "pdf"])
    with pytest.raises(ConfigError, match="at least one"):
        check_formats([])
    assert check_formats(["tex", "tsv", "tex"]) == ("tex", "tsv")


def test_a_missing_library_is_known_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xlsxwriter", None)
    with pytest.raises(MissingLibraryError, match="leave xlsx out"):
        write_tables([named("a")], tmp_path, caption=())
    assert list(tmp_path.iterdir()) == []
    assert len(write_tables([named("a")], tmp_path, formats=("tsv", "tex"), caption=())) == 4
