"""Terms of one release in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celljury.compare.carry import How, carry, same_ontology, term_changes

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology


@pytest.mark.parametrize(
    ("term", "became", "how"),
    [
        pytest.param("T:3", "T:3", How.SAME, id="same_id_stays"),
        pytest.param("T:8", "T:8", How.SAME, id="other_label_is_the_same_term"),
        pytest.param("T:6", "T:60", How.REPLACED, id="replaced_id_is_followed"),
        pytest.param("T:5", "T:3", How.OBSOLETE, id="obsolete_term_becomes_its_nearest_living_ancestor"),
    ],
)
def test_terms_are_carried(toy: CellOntology, later: CellOntology, term: str, became: str, how: How) -> None:
    found = carry(toy, later)
    i = toy.index(term)
    assert later.ids[found.to[i]] == became
    assert found.how[i] == how
    assert found.exact[i] == (how <= How.REPLACED)


def test_no_term_stays_no_term(toy: CellOntology, later: CellOntology) -> None:
    found = carry(toy, later)
    assert found.to[-1] == -1
    assert found.exact[-1]


def test_older_release_lacks_a_new_term(toy: CellOntology, later: CellOntology) -> None:
    found = carry(later, toy)
    i = later.index("T:61")
    assert How(found.how[i]) == How.LACKING
    assert toy.ids[found.to[i]] == "T:1"  # T:60, its parent, is new as well


def test_term_without_any_living_ancestor_is_nowhere(toy: CellOntology) -> None:
    from celljury.ontology.load import ontology_from_edges

    found = carry(toy, ontology_from_edges({"T:9": "rock"}, {}))
    assert set(found.to.tolist()) == {-1}
    assert How(found.how[0]) == How.NOWHERE


def test_same_ontology_wherever_it_came_from(toy: CellOntology, later: CellOntology) -> None:
    assert same_ontology(toy, toy)
    assert not same_ontology(toy, later)


def test_changes_of_used_terms_are_told_in_words(toy: CellOntology, later: CellOntology) -> None:
    used = ["T:2", "T:3", "T:4", "T:5", "T:6", "T:8", "T:61"]
    found = term_changes(used, toy, later, carry(toy, later))
    assert {row.term: row.sentence("first", "second") for row in found} == {
        "T:4": "no longer under T:2",
        "T:5": "second made it obsolete without naming a successor: T:3 stands for it",
        "T:6": "second replaced its id: T:60 stands for it",
        "T:61": "not a live term in first",
        "T:8": "label was 'monocyte'; no longer under T:7",
    }
    assert {row.term for row in found if row.moved} == {"T:4", "T:8"}


def test_real_releases_differ_in_terms_of_blood(cl_old: CellOntology, cl_new: CellOntology) -> None:
    """As the release files say: relabelled, moved, new, replaced, obsolete without a successor."""
    carried = carry(cl_old, cl_new)
    used = ["CL:0000796", "CL:0000940", "CL:0000961", "CL:0020001", "CL:4023083", "CL:0000473", "CL:0000236"]
    found = {row.term: row for row in term_changes(used, cl_old, cl_new, carried)}
    assert (found["CL:0000940"].old_label, found["CL:0000940"].new_label) == (
        "mucosal invariant T cell", "mucosal-associated invariant T cell",
    )  # fmt: skip
    assert found["CL:0000961"].moved
    assert found["CL:0000961"].lost == ("CL:0002056",)  # Bm1 B cell is no fraction F mature B cell of the mouse
    assert not found["CL:0020001"].old_label  # V1delta gamma-delta T cell
    assert (found["CL:4023083"].how, found["CL:4023083"].became) == (How.REPLACED, "CL:4023036")
    assert found["CL:0000473"].how == How.OBSOLETE  # defensive cell
    assert found["CL:0000473"].became == "CL:0000000"
    # A new term in between is no move.
    assert found["CL:0000796"].gained == ("CL:0020035",)
    assert not found["CL:0000796"].moved
    assert "CL:0000236" not in found  # B cell
