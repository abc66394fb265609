from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from celljury.errors import UnknownTermError
from celljury.ontology.describe import describe_lca, show_term
from celljury.ontology.general import too_general_policy
from celljury.ontology.load import ontology_from_edges

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology


def test_card_of_a_term_reads_as_prose(toy: CellOntology) -> None:
    policy = too_general_policy(toy, terms=("T:0",))
    assert show_term(toy, "t-cell", policy=policy).lines() == [
        "T:2 T cell",
        "  depth 2, 1.17 bits, 3 descendants",
        "  not on the too-general list: may be called",
        "  synonyms: T lymphocyte; T-cell",
        "  lineage: cell > blood cell > T cell",
        "  parents: 1",
        "    T:1 blood cell",
        "  children: 2",
        "    T:3 CD4-positive T cell",
        "    T:4 memory T cell",
        "  Cell Ontology toy, CC BY 4.0",
    ]
    card = show_term(toy, "T:90", policy=policy)
    assert "  found through an alternative or obsolete id" in card.lines()
    assert (
        "  lineage: cell > blood cell > T cell > CD4-positive T cell > CD4-positive memory T cell"
        + (" (and 1 more above it by other parents)")
        in show_term(toy, "T:5", policy=policy).lines()
    )
    root = show_term(toy, "cell", policy=policy).lines()
    assert "  too general to be a label: is on the list that was given" in root
    assert "  parents: none" in root


def test_lineage_avoids_too_general_parents(toy: CellOntology, cl: CellOntology) -> None:
    policy = too_general_policy(toy, terms=("T:7",))
    assert [term.id for term in show_term(toy, "T:8", policy=policy).lineage] == ["T:0", "T:1", "T:8"]
    lineage = [term.label for term in show_term(cl, "CL:0000625").lineage]
    assert lineage[:3] == ["cell", "hematopoietic cell", "leukocyte"]


def test_long_lists_are_cut(cl: CellOntology) -> None:
    lines = show_term(cl, "cell").lines()
    assert len(lines) < 30
    assert any(line.startswith("    ... and ") for line in lines)
    assert "too general to be a label: says nothing beyond being a cell" in lines[2]


def test_common_ancestor_of_cd4_and_cd8_leads_with_it(cl: CellOntology) -> None:
    assert describe_lca(cl, ["CL:0000624", "CL:0000625"]).lines() == [
        "CL:0000791 mature alpha-beta T cell",
        "  depth 7, 5.22 bits, 88 descendants",
        "  not on the too-general list: may be called",
        "  names what both of these are:",
        "    CL:0000624 CD4-positive, alpha-beta T cell (depth 8, 6.48 bits, 36 descendants)",
        "    CL:0000625 CD8-positive, alpha-beta T cell (depth 8, 6.84 bits, 28 descendants)",
        "  Cell Ontology 2026-03-26, CC BY 4.0",
    ]


def test_common_ancestor_too_general_says_why(cl: CellOntology) -> None:
    lines = describe_lca(cl, ["neuron", "fibroblast"]).lines()
    assert lines[0] == "CL:0000255 eukaryotic cell"
    assert lines[2].startswith("  too general to be a label: says only")
    assert "  names what all of these are:" in describe_lca(cl, ["neuron", "fibroblast", "T cell"]).lines()


def test_other_lowest_common_ancestors_are_listed(cl: CellOntology) -> None:
    answer = describe_lca(cl, ["monocyte", "macrophage"])
    assert answer.lca is not None
    assert answer.lca.label == "myeloid leukocyte"
    assert [term.label for term in answer.others] == ["mononuclear phagocyte"]
    assert "  they also meet, less specifically, at:" in answer.lines()


def test_terms_without_a_common_ancestor() -> None:
    two = ontology_from_edges({"A:1": "a", "A:2": "b"}, {})
    answer = describe_lca(two, ["a", "b"])
    assert answer.lca is None
    assert answer.lines()[0] == "no common ancestor"
    assert answer.as_dict()["lca"] is None


def test_dictionaries_are_json(cl: CellOntology) -> None:
    card = json.loads(json.dumps(show_term(cl, "Treg").as_dict()))
    assert card["term"]["id"] == "CL:0000815"
    assert card["found_by"] == "synonym"
    answer = json.loads(json.dumps(describe_lca(cl, ["B cell", "T cell"]).as_dict()))
    assert answer["lca"]["label"] == "lymphocyte"
    assert [term["label"] for term in answer["inputs"]] == ["B cell", "T cell"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("CD14 mono", "'CD14-positive monocyte'", id="label_gets_suggestions"),
        pytest.param("CL:0000213", "is obsolete in CL 2026-03-26", id="obsolete_id"),
        pytest.param("CL:000625", "Nearest: CL:", id="id_gets_near_ids"),
    ],
)
def test_unknown_terms_are_refused_with_the_nearest(text: str, said: str, cl: CellOntology) -> None:
    with pytest.raises(UnknownTermError) as caught:
        show_term(cl, text)
    assert said in str(caught.value)
    with pytest.raises(UnknownTermError):
        describe_lca(cl, ["T cell", text])
