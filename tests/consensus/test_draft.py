"""Drafting a label map: what names a term is mapped, the rest waits with suggestions, and nobody's work is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from celljury.draft import draft_map
from celljury.errors import InputError, MissingColumnError, OutputError, UnreadableFileError
from celljury.ontology.mapping import read_sssom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

LABELS = ["B cell", "B cell", "Tregs", "T cell", "unknown", ""]


def lines(folder: Path) -> tuple[Path, None]:
    path = folder / "labels.txt"
    path.write_text("\ufeff" + "\r\n".join(LABELS), encoding="utf-8")
    return path, None


def table(folder: Path, name: str, separator: str) -> tuple[Path, str]:
    frame = pd.DataFrame({"cell_id": [f"c{i}" for i in range(6)], "tool": LABELS})
    frame.to_csv(folder / name, sep=separator, index=False)
    return folder / name, "tool"


def h5ad(folder: Path, adata: Any) -> tuple[Path, str]:
    adata = adata[:6].copy()
    adata.obs["tool"] = LABELS
    adata.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad", "tool"


@pytest.mark.parametrize(
    "source_of",
    [
        pytest.param(lambda f, a: lines(f), id="a_label_a_line"),
        pytest.param(lambda f, a: table(f, "labels.tsv", "\t"), id="column_of_a_tsv"),
        pytest.param(lambda f, a: table(f, "labels.csv", ","), id="column_of_a_csv"),
        pytest.param(h5ad, id="column_of_an_h5ad"),
    ],
)
def test_names_are_mapped_and_the_rest_waits(
    source_of: Callable[..., Any], toy_adata: Any, cl: CellOntology, tmp_path: Path
) -> None:
    source, column = source_of(tmp_path, toy_adata())
    before = source.read_bytes()
    out = tmp_path / "map.sssom.tsv"
    n_mapped, waiting = draft_map(source, cl, labels=column, out=out, overwrite=False)
    assert n_mapped == 2
    ((label, near),) = waiting
    assert label == "Tregs"
    assert ("CL:0000815", "regulatory T cell") in near
    drafted = read_sssom(out, cl)
    assert dict(drafted.terms) == {"B cell": (("CL:0000236",), "exact"), "T cell": (("CL:0000084",), "exact")}
    assert drafted.unmapped == {"Tregs"}
    assert "2 cells; by label" in out.read_text(encoding="utf-8")
    assert "regulatory T cell" in out.read_text(encoding="utf-8")
    assert source.read_bytes() == before


def test_a_curator_s_map_is_replaced_on_request_only(cl: CellOntology, tmp_path: Path) -> None:
    source, _ = lines(tmp_path)
    out = tmp_path / "map.sssom.tsv"
    out.write_text("a curator's work", encoding="utf-8")
    with pytest.raises(OutputError, match="may hold a curator's work; --overwrite"):
        draft_map(source, cl, labels=None, out=out, overwrite=False)
    assert out.read_text(encoding="utf-8") == "a curator's work"
    draft_map(source, cl, labels=None, out=out, overwrite=True)
    assert "CL:0000236" in out.read_text(encoding="utf-8")


def test_a_file_of_cells_needs_a_column_and_names_those_it_has(
    toy_query: Path, cl: CellOntology, tmp_path: Path
) -> None:
    out = tmp_path / "map.sssom.tsv"
    with pytest.raises(InputError, match=r"has several columns: cell_type, sample\. Say which .*--labels"):
        draft_map(toy_query, cl, labels=None, out=out, overwrite=False)
    with pytest.raises(MissingColumnError, match=r"no column 'tool'\. It has: cell_type, sample\..*--labels"):
        draft_map(toy_query, cl, labels="tool", out=out, overwrite=False)
    assert not out.exists()


def test_a_table_is_not_taken_for_lines_of_labels(cl: CellOntology, tmp_path: Path) -> None:
    source, _ = table(tmp_path, "labels.tsv", "\t")
    with pytest.raises(InputError, match=r"is a table: expected one label a line\. Say which column .*--labels"):
        draft_map(source, cl, labels=None, out=tmp_path / "map.sssom.tsv", overwrite=False)


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        pytest.param(lambda f: f / "nowhere.txt", UnreadableFileError, "cannot be read as text", id="missing"),
        pytest.param(lambda f: f, UnreadableFileError, "cannot be read as text", id="directory"),
        pytest.param(lambda f: f / "empty.txt", InputError, "holds no labels", id="empty"),
        pytest.param(lambda f: f / "none.txt", InputError, "holds no labels", id="only_what_says_that_there_is_none"),
        pytest.param(lambda f: f / "bytes.txt", UnreadableFileError, "cannot be read as text", id="binary"),
    ],
)
def test_a_source_without_labels(
    make: Callable[[Path], Path], kind: type[Exception], said: str, cl: CellOntology, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "none.txt").write_text("unknown\nNA\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    out = tmp_path / "map.sssom.tsv"
    with pytest.raises(kind, match=said):
        draft_map(make(tmp_path), cl, labels=None, out=out, overwrite=False)
    assert not out.exists()


def test_a_place_that_cannot_be_written_leaves_nothing(cl: CellOntology, tmp_path: Path) -> None:
    source, _ = lines(tmp_path)
    with pytest.raises(OutputError, match=r"cannot write to .*--out"):
        draft_map(source, cl, labels=None, out=source / "map.sssom.tsv", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]
