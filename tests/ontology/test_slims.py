from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.errors import OntologyError, UnknownTermError, UnreadableFileError
from celljury.ontology import slims as slims_module
from celljury.ontology.general import too_general
from celljury.ontology.graph import ROOT, CellOntology
from celljury.ontology.slims import CURATED, Slim, load_slim, make_slim

if TYPE_CHECKING:
    from pathlib import Path


def table(ontology: CellOntology, slim: Slim) -> dict[str, str]:
    assert slim.rollup.dtype == slim.terms.dtype == np.int32
    assert slim.rollup.shape == (len(ontology),)
    return {ontology.ids[i]: ontology.ids[to] if to >= 0 else "other" for i, to in enumerate(slim.rollup.tolist())}


def test_rollup_by_hand(toy: CellOntology) -> None:
    assert table(toy, make_slim(toy, ["T:1", "T:90", "T:7"], name="mine")) == {
        "T:0": "other",
        "T:1": "T:1",
        "T:2": "T:2",
        "T:3": "T:2",
        "T:4": "T:2",
        "T:5": "T:2",
        "T:6": "T:1",
        "T:7": "T:7",
        "T:8": "T:7",  # blood and motile: motile has fewer descendants
    }


def test_last_choice_gives_way_but_keeps_itself(toy: CellOntology) -> None:
    late = np.zeros(len(toy), bool)
    late[toy.index("T:7")] = True
    rolled = table(toy, make_slim(toy, ["T:1", "T:7"], name="mine", last_choice=late))
    assert (rolled["T:8"], rolled["T:7"]) == ("T:1", "T:7")


def test_diamond_goes_to_one_parent_always_the_same(toy: CellOntology) -> None:
    assert table(toy, make_slim(toy, ["T:4", "T:3"], name="mine"))["T:5"] == "T:3"


@given(st.sets(st.integers(0, 3323), min_size=1, max_size=30))
def test_rollup_is_the_first_slim_ancestor(cl: CellOntology, chosen: set[int]) -> None:
    slim = make_slim(cl, [cl.ids[i] for i in chosen], name="random")
    for i_term in range(0, len(cl), 53):
        above = [a for a in cl.ancestors(i_term).tolist() if a in chosen]
        assert slim.rollup[i_term] == (above[0] if above else -1)


@pytest.mark.parametrize("name", CURATED)
def test_curated_lists_count_lineages_before_properties(name: str, cl: CellOntology) -> None:
    slim = load_slim(cl, name)
    assert slim.name == name
    assert (slim.rollup[slim.terms] == slim.terms).all()
    assert slim.rollup[cl.index(ROOT)] == -1
    expected = {"cell_class": "hematopoietic cell", "cell_subclass": "T cell"}[name]
    assert cl.labels[slim.rollup[cl.index("CL:0000084")]] == expected
    assert 0.05 < (slim.rollup < 0).mean() < 0.12


def test_curated_list_that_is_damaged_is_named(
    cl: CellOntology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slims_module, "guide_folder", lambda: tmp_path)
    with pytest.raises(UnreadableFileError, match=r"cannot read the curated list .*cell_class_list.json"):
        load_slim(cl, "cell_class")


def test_depth_slims_leave_too_general_terms_out(cl: CellOntology) -> None:
    slim = load_slim(cl, "depth:3")
    assert cl.depth[slim.terms].max() == 3
    assert not too_general(cl)[slim.terms].any()
    shallow = (cl.depth <= 3) & ~too_general(cl)
    assert (slim.rollup[shallow] == np.flatnonzero(shallow)).all()


def test_subset_slims_come_from_tags(toy: CellOntology, cl_obo: CellOntology) -> None:
    assert table(toy, load_slim(toy, "subset:upper"))["T:5"] == "T:1"
    slim = load_slim(cl_obo, "subset:blood_and_immune_upper_slim")
    assert cl_obo.labels[slim.rollup[cl_obo.index("CL:0000624")]] == "alpha-beta T cell"


@pytest.mark.parametrize(
    "text", ["T:1\nT:7\n", "term_id\tlabel\nT:1\tx\nT:7\ty\n", "# mine\n\nid,label\nT:7,b\nT:1,a\n"]
)
def test_slim_files(text: str, toy: CellOntology, tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(text, encoding="utf-8")
    slim = load_slim(toy, path)
    assert [toy.ids[i] for i in slim.terms] == ["T:7", "T:1"]
    assert slim.name == "mine.tsv"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("subset:none", OntologyError, r"no term of CL toy has the subset tag 'none'. Tags: upper"),
        ("depth:x", OntologyError, "expected depth:N with a whole number"),
        ("cellclass", UnreadableFileError, "no slim 'cellclass': neither cell_class, cell_subclass, subset:NAME"),
        ("cell_class", OntologyError, "slim 'cell_class' names no term of CL toy"),
    ],
)
def test_unknown_slims_are_refused(name: str, error: type[Exception], said: str, toy: CellOntology) -> None:
    with pytest.raises(error, match=said):
        load_slim(toy, name)


def test_unknown_ids_and_missing_tags_are_named(toy: CellOntology, cl: CellOntology, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("T:1\nT:77\n", encoding="utf-8")
    with pytest.raises(UnknownTermError, match="'T:77'"):
        load_slim(toy, path)
    with pytest.raises(OntologyError, match="load an OBO file for them"):
        load_slim(cl, "subset:blood_and_immune_upper_slim")
