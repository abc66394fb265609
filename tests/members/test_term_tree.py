"""Trees cut from an ontology: worked by hand on a toy with a diamond, and laws on the Cell Ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from celljury.members.term_tree import TOP, TermTree, term_tree
from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology, ontology_from_edges

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology


@pytest.fixture(scope="module")
def toy() -> CellOntology:
    r"""Nine terms with a diamond.

    ::

                 cell T:0
                /        \
         blood T:1      motile T:7
        /   |    \       /
     T T:2  B T:6  mono T:8
     /    \
    CD4 T:3  memory T:4
     \    /
    CD4 memory T:5
    """
    parents = {
        "T:1": ["T:0"], "T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:3", "T:4"], "T:6": ["T:1"],
        "T:7": ["T:0"], "T:8": ["T:1", "T:7"],
    }  # fmt: skip
    labels = ("cell", "blood", "T", "CD4", "memory", "CD4 memory", "B", "motile", "mono")
    return ontology_from_edges({f"T:{i}": label for i, label in enumerate(labels)}, parents, release="toy")


@pytest.fixture(scope="module")
def cl() -> CellOntology:
    return load_ontology(release="2026-03-26", cache=False)


def drawn(tree: TermTree) -> dict[str, str]:
    """Return the parent of each term but the root."""
    return {term: tree.terms[above] for term, above in zip(tree.terms[1:], tree.parents[1:], strict=True)}


@pytest.mark.parametrize(
    ("terms", "root", "expected"),
    [
        pytest.param(
            ("T:3", "T:4", "T:6", "T:8"), TOP, {"T:2": TOP, "T:3": "T:2", "T:4": "T:2", "T:6": TOP, "T:8": TOP},
            id="terms_that_part_nothing_are_left_out",  # blood and cell are above all four, motile above one
        ),
        pytest.param(
            ("T:3", "T:4", "T:5"), TOP, {"T:3": TOP, "T:4": TOP, "T:5": "T:3"},
            id="of_two_parents_the_first_in_the_reducer's_order",  # equally informative: the smaller id
        ),
        pytest.param(("T:2", "T:3", "T:4"), "T:2", {"T:3": "T:2", "T:4": "T:2"}, id="a_term_above_all_is_the_root"),
        pytest.param(("T:2", "T:5"), "T:2", {"T:5": "T:2"}, id="a_term_keeps_its_only_child"),
        pytest.param(("T:1", "T:3", "T:4"), "T:1", {"T:2": "T:1", "T:3": "T:2", "T:4": "T:2"}, id="an_inner_node_between"),
        pytest.param(("T:6", "LAB:1", "T:8"), TOP, {"T:1": TOP, "T:6": "T:1", "T:8": "T:1", "LAB:1": TOP},
            id="an_unknown_term_hangs_on_top"),
        pytest.param(("T:5", "T:8"), TOP, {"T:5": TOP, "T:8": TOP}, id="two_types_are_sisters"),
    ],
)  # fmt: skip
def test_tree_by_hand(toy, terms, root, expected) -> None:
    for given in (terms, terms[::-1]):
        tree = term_tree(given, toy)
        assert (tree.terms[0], tree.parents[0]) == (root, -1)
        assert drawn(tree) == expected


def test_blood_cells(cl) -> None:
    # Stem cell, B, dendritic, megakaryocyte, NK, CD4 T, CD8 T, non-classical and CD14 monocyte.
    terms = ("CL:0000037", "CL:0000236", "CL:0000451", "CL:0000556", "CL:0000623", "CL:0000624", "CL:0000625",
             "CL:0000875", "CL:0001054")  # fmt: skip
    tree = term_tree(terms, cl)
    assert drawn(tree) == {
        "CL:0000842": TOP,  # mononuclear leukocyte
        "CL:0000542": "CL:0000842",  # lymphocyte
        "CL:0000236": "CL:0000542",
        "CL:0000791": "CL:0000542",  # mature alpha-beta T cell
        "CL:0000624": "CL:0000791",
        "CL:0000625": "CL:0000791",
        "CL:0000623": "CL:0000542",
        "CL:0000113": "CL:0000842",  # mononuclear phagocyte
        "CL:0000451": "CL:0000113",
        "CL:0000576": "CL:0000113",  # monocyte
        "CL:0000875": "CL:0000576",
        "CL:0001054": "CL:0000576",
        "CL:0000556": TOP,
        "CL:0000037": TOP,
    }
    assert set(tree.beside(terms)) == {"CL:0000842", "CL:0000542", "CL:0000791", "CL:0000113", "CL:0000576"}


@pytest.mark.parametrize("seed", range(5))
def test_laws_on_any_terms(cl, seed) -> None:
    rng = np.random.default_rng(seed)
    terms = tuple(sorted(cl.ids[i] for i in rng.choice(len(cl), size=60, replace=False)))
    tree = term_tree(terms, cl)
    assert tree == term_tree(tuple(rng.permutation(terms).tolist()), cl)
    assert set(terms) <= set(tree.terms)
    assert len(set(tree.terms)) == len(tree.terms)
    general = too_general(cl)
    for node, (term, above) in enumerate(zip(tree.terms, tree.parents, strict=True)):
        assert above < node
        children = tree.parents.count(node)
        if term not in terms:
            assert children >= 2
            assert term == TOP or not general[cl.index(term)]
        if node and tree.terms[above] != TOP:
            assert cl.is_ancestor(cl.index(tree.terms[above]), cl.index(term))
