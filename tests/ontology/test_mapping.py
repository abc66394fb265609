"""Label maps in and out, and the order in which labels find their terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celljury.errors import InputError, OutputError, UnknownTermError, UnreadableFileError
from celljury.ontology.mapping import LabelMap, Mapped, MapRow, map_labels, read_sssom, write_sssom

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

HEADER = "subject_label\tpredicate_id\tobject_id\tobject_label\tmapping_justification\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "map.sssom.tsv"


def write(path: Path, rows: str, *, header: str = HEADER) -> Path:
    path.write_text("#mapping_set_id: x\n#license: y\n" + header + rows, encoding="utf-8")
    return path


def test_rows_become_terms_with_their_predicate(table: Path, toy: CellOntology) -> None:
    rows = (
        "Mono\tskos:exactMatch\tT:8\tmonocyte\tsemapv:ManualMappingCuration\n"
        "\n"
        "odd  T\tskos:broadMatch\tT:90\t\t\n"
        "some T\tskos:narrowMatch\tT:5\n"
        "near B\tskos:closeMatch\tT:6\n"
        "later\tskos:exactMatch\t\t\t\n"
        "dirt\tsssom:NoTermFound\t\n"
        "dust\tskos:exactMatch\tsssom:NoTermFound\n"
        "debris\tno match\t\n"
        "Mono\tskos:exactMatch\tT:8\tmonocyte\tagain\n"
    )
    found = read_sssom(write(table, rows), toy)
    assert found.terms == {
        "Mono": (("T:8",), "exact"),
        "odd T": (("T:2",), "broad"),
        "some T": (("T:5",), "narrow"),
        "near B": (("T:6",), "close"),
    }
    assert found.replaced == {"odd T"}
    assert found.unmapped == {"later", "dirt", "dust", "debris"}


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        pytest.param("a\tskos:exact\tT:1\n", InputError, "line 4: predicate_id: expected one of", id="predicate"),
        pytest.param(
            "a\tskos:exactMatch\tT:77\n", UnknownTermError, "line 4: object_id of 'a': 'T:77'", id="no_such_id"
        ),
        pytest.param("a\tskos:exactMatch\tT:92\n", UnknownTermError, "is obsolete in CL toy", id="obsolete_id"),
        pytest.param("\tskos:exactMatch\tT:1\n", InputError, "line 4: subject_label is empty", id="no_label"),
        pytest.param(
            "a\tskos:exactMatch\tT:1\nb\tskos:exactMatch\tT:1\na\tskos:exactMatch\tT:2\n",
            InputError,
            "line 6: 'a' is mapped to T:2 (skos:exactMatch), but line 4 maps it to T:1 (exact match)",
            id="two_terms",
        ),
        pytest.param(
            "a\tskos:exactMatch\tT:1\na\tskos:broadMatch\tT:1\n",
            InputError,
            "line 5: 'a' is mapped",
            id="two_predicates",
        ),
        pytest.param(
            "a\tsssom:NoTermFound\tT:1\n", InputError, "says that 'a' has no term, but object_id is T:1", id="says_both"
        ),
    ],
)
def test_rows_at_fault_are_named(table: Path, toy: CellOntology, rows: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        read_sssom(write(table, rows), toy)
    assert said in str(caught.value)
    assert str(table) in str(caught.value)


def test_missing_columns_and_files_are_named(table: Path, toy: CellOntology) -> None:
    with pytest.raises(UnreadableFileError, match=r"cannot read the label map .*as celljury map writes"):
        read_sssom(table, toy)
    with pytest.raises(InputError, match=r"no column predicate_id, object_id.*got: subject_label, x"):
        read_sssom(write(table, "", header="subject_label\tx\n"), toy)
    table.write_bytes(b"")
    with pytest.raises(InputError, match="got: an empty file"):
        read_sssom(table, toy)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFileError):
        read_sssom(table, toy)


def test_what_is_written_is_read_again(table: Path, toy: CellOntology) -> None:
    rows = [
        MapRow("CD4\tT\ncells", "T:3", mapping_justification="semapv:ManualMappingCuration", confidence=0.9),
        MapRow('the "B" cells', "T:90", "skos:broadMatch", comment="nearest: a; b"),
        MapRow("unclear", comment="nearest: T:2 T cell"),
    ]
    write_sssom(table, rows, toy)
    text = table.read_text(encoding="utf-8")
    assert text.startswith('#mapping_set_id: "https://w3id.org/sssom/mappings/celljury/map.sssom.tsv"\n')
    assert '#object_source_version: "toy"\n' in text
    assert "creativecommons.org/licenses/by/4.0" in text
    assert "CD4 T cells\tskos:exactMatch\tT:3\tCD4-positive T cell\tsemapv:ManualMappingCuration\t0.90\t\n" in text
    again = read_sssom(table, toy)
    assert again.terms == {"CD4 T cells": (("T:3",), "exact"), 'the "B" cells': (("T:2",), "broad")}
    assert again.unmapped == {"unclear"}
    assert [path.name for path in table.parent.iterdir() if path.suffix != ""] == [table.name]


def test_a_map_is_not_written_with_an_unknown_term(table: Path, toy: CellOntology) -> None:
    with pytest.raises(UnknownTermError):
        write_sssom(table, [MapRow("a", "T:77")], toy)
    assert not table.exists()


def test_a_folder_that_is_missing_is_an_output_error(table: Path, toy: CellOntology) -> None:
    with pytest.raises(OutputError, match=r"cannot write to .*No such file"):
        write_sssom(table.parent / "nowhere" / "m.tsv", [], toy)


def test_the_users_map_goes_before_names(toy: CellOntology) -> None:
    label_map = LabelMap({"T cell": (("T:6",), "close"), "mine": (("T:8",), "broad")}, unmapped=frozenset({"B cell"}))
    labels = ["T cell", " mine ", "B cell", "T:2", "T:90", "monocyte", "T-lymphocyte", "T cells", "T cell"]
    at = toy.index
    assert map_labels(labels, toy, label_map=label_map) == [
        Mapped(at("T:6"), "map", "close"),
        Mapped(at("T:8"), "map", "broad"),
        None,
        Mapped(at("T:2"), "id", "exact"),
        Mapped(at("T:2"), "replaced_id", "exact"),
        Mapped(at("T:8"), "label", "exact"),
        Mapped(at("T:2"), "synonym", "exact"),
        None,
        Mapped(at("T:6"), "map", "close"),
    ]
    assert map_labels(["T cell"], toy) == [Mapped(at("T:2"), "label", "exact")]


def test_nothing_is_mapped_by_similarity(cl: CellOntology) -> None:
    near_misses = ["T cels", "CD14 mono", "B cells", "CD4 T", "monocite", "naturel killer cell"]
    assert map_labels(near_misses, cl) == [None] * len(near_misses)
