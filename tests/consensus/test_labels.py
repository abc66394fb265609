"""Labels to terms: what names a term, what is flagged, what is no label, and what stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.errors import CellsError, InputError, UnknownLabelError
from celljury.labels import MAX_UNMAPPED, check_enough_types, map_column, nearest_terms
from celljury.ontology.mapping import read_sssom

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology


def mapped(values: Any, ontology: CellOntology, **options: Any) -> Any:
    return map_column(pd.Series(values, name="cell_type"), ontology, where="ref.h5ad", **options)


def ids(values: Any, ontology: CellOntology, **options: Any) -> list[str | None]:
    found = mapped(values, ontology, **options)
    assert found.i_term.dtype == np.int32
    return [ontology.ids[i] if i >= 0 else None for i in found.i_term.tolist()]


@pytest.mark.parametrize(
    ("label", "term", "how"),
    [
        pytest.param("CL:0000236", "CL:0000236", "id", id="id"),
        pytest.param("CL_0000236", "CL:0000236", "id", id="id_with_an_underscore"),
        pytest.param("B cell", "CL:0000236", "label", id="label"),
        pytest.param("  b  cell ", "CL:0000236", "label", id="label_in_other_case_and_spacing"),
        pytest.param("B lymphocyte", "CL:0000236", "synonym", id="synonym"),
        pytest.param("CL:0002202", "CL:0002632", "replaced_id", id="replaced_id"),
    ],
)
def test_a_label_reaches_its_term(label: str, term: str, how: str, cl: CellOntology) -> None:
    if how == "replaced_id":
        # Whichever id this release has replaced: the test holds for every release.
        label, term = next(item for item in cl.replaced.items() if item[1] in cl.ids)
    found = mapped([label, label], cl)
    assert [cl.ids[i] for i in found.i_term] == [term, term]
    (row,) = found.rows
    assert (row.n_cells, row.how, row.predicate) == (2, how, "exact")


def test_only_an_obsolete_or_alternative_id_is_flagged_obsolete(cl: CellOntology) -> None:
    old, new = next(item for item in cl.replaced.items() if item[1] in cl.ids)
    found = mapped([old, new, None, "B cell"], cl)
    assert found.obsolete.tolist() == [True, False, False, False]
    assert found.i_term[0] == found.i_term[1] == cl.index(new)
    assert not found.broad.any()


@pytest.mark.parametrize(
    "value", ["", " ", "unknown", "Unknown", "NA", "n/a", "nan", "None", "unassigned", "Unlabeled", None, np.nan, pd.NA]
)
def test_what_says_that_there_is_no_label_is_unlabelled(value: Any, cl: CellOntology) -> None:
    found = mapped(pd.array(["B cell", value, value], dtype=object), cl)
    assert found.i_term.tolist() == [cl.index("CL:0000236"), -1, -1]
    assert found.n_unlabelled == 2
    assert [row.label for row in found.rows] == ["B cell"]


def test_a_categorical_column_with_unused_categories(cl: CellOntology) -> None:
    column = pd.Categorical(["T cell", None, "B cell"], categories=["B cell", "no such thing", "T cell"])
    assert ids(column, cl) == ["CL:0000084", None, "CL:0000236"]


def test_a_column_without_any_label(cl: CellOntology) -> None:
    found = mapped([np.nan, np.nan], cl)
    assert found.i_term.tolist() == [-1, -1]
    assert found.n_unlabelled == 2
    assert found.rows == ()


def test_all_unmapped_labels_are_named_with_their_nearest_terms(cl: CellOntology) -> None:
    with pytest.raises(UnknownLabelError) as caught:
        mapped(["B cel", "B cel", "Tregs of mine", "B cell"], cl)
    message = str(caught.value)
    assert message.startswith("2 label(s) in column 'cell_type' of ref.h5ad match no Cell Ontology term:")
    assert "'B cel' (2 cells); nearest: CL:0000236 'B cell'" in message
    assert "'Tregs of mine' (1 cells); nearest: CL:" in message
    assert "celljury map ref.h5ad --labels cell_type --out map.sssom.tsv" in message
    assert "--on-unmapped abstain" in message


def test_unmapped_labels_abstain_on_request_and_stay_on_record(cl: CellOntology) -> None:
    found = mapped(["B cell", "my cells", "my cells"], cl, on_unmapped="abstain")
    assert found.i_term.tolist() == [cl.index("CL:0000236"), -1, -1]
    assert found.n_unlabelled == 0  # they have a label: it is not known
    assert {row.label: row.how for row in found.rows} == {"B cell": "label", "my cells": "unmapped"}


def write_map(folder: Path, *rows: tuple[str, str, str]) -> Path:
    path = folder / "map.sssom.tsv"
    header = ("subject_label", "predicate_id", "object_id")
    path.write_text("\n".join("\t".join(row) for row in (header, *rows)) + "\n", encoding="utf-8")
    return path


def test_a_map_comes_first_and_broad_matches_are_flagged(cl: CellOntology, tmp_path: Path) -> None:
    old, new = next(item for item in cl.replaced.items() if item[1] in cl.ids)
    path = write_map(
        tmp_path,
        ("cluster 7", "skos:broadMatch", "CL:0000084"),
        ("cluster 8", "skos:exactMatch", old),
        ("B cell", "skos:narrowMatch", "CL:0000788"),
    )
    found = mapped(["cluster 7", "cluster  8", "B cell", "T cell"], cl, label_map=read_sssom(path, cl))
    assert [cl.ids[i] for i in found.i_term] == ["CL:0000084", new, "CL:0000788", "CL:0000084"]
    assert found.broad.tolist() == [True, False, False, False]
    assert found.obsolete.tolist() == [False, True, False, False]
    assert [row.predicate for row in found.rows] == ["broad", "exact", "narrow", "exact"]


def test_a_label_that_the_map_leaves_open_stops_although_a_term_has_its_name(cl: CellOntology, tmp_path: Path) -> None:
    label_map = read_sssom(write_map(tmp_path, ("B cell", "", "")), cl)
    with pytest.raises(UnknownLabelError, match="'B cell'"):
        mapped(["B cell"], cl, label_map=label_map)


def test_measurements_are_no_labels(cl: CellOntology) -> None:
    with pytest.raises(InputError, match=r"column 'cell_type' holds 3 different values .*'0\.1', '0\.5', '2\.0'"):
        mapped([0.1, 0.5, 2.0], cl)


def test_cluster_numbers_are_labels_that_map_to_nothing(cl: CellOntology) -> None:
    with pytest.raises(UnknownLabelError, match=r"'0' \(1 cells\)(.|\n)*'1' \(2 cells\)"):
        mapped([0, 1, 1], cl)


def test_thousands_of_unmapped_values_are_not_searched_one_by_one(cl: CellOntology) -> None:
    values = [f"barcode-{i}" for i in range(MAX_UNMAPPED + 1)]
    with pytest.raises(InputError, match=r"holds 1,001 different values that name no cell type.*celljury map"):
        mapped(values, cl)
    assert len(mapped(values, cl, on_unmapped="abstain").rows) == MAX_UNMAPPED + 1


def test_nearest_terms_are_suggested_by_abbreviation_too(cl: CellOntology) -> None:
    assert ("CL:0000815", "regulatory T cell") in nearest_terms("Treg", cl)
    assert len(nearest_terms("T cell", cl, limit=5)) == 5


def test_one_type_is_too_few_to_learn_from() -> None:
    check_enough_types(("CL:1", "CL:2"), column="cell_type", where="ref.h5ad")
    with pytest.raises(CellsError, match=r"ref\.h5ad: column 'cell_type' holds 1 cell type\(s\) \(CL:1\).*--labels"):
        check_enough_types(("CL:1",), column="cell_type", where="ref.h5ad")
