"""Votes to terms on a toy ontology whose answers are seen by eye, and on the Cell Ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from celljury.ontology.general import too_general
from celljury.ontology.load import ontology_from_edges
from celljury.reduce import Reduced, Status, reduce_mass, reduce_votes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

LABELS = {
    "T:0": "cell",
    "T:1": "blood cell",
    "T:2": "T cell",
    "T:3": "CD4-positive T cell",
    "T:4": "memory T cell",
    "T:5": "CD4-positive memory T cell",
    "T:6": "B cell",
    "T:7": "motile cell",
    "T:8": "monocyte",
    "T:9": "granulocyte",
    "T:10": "CD8-positive T cell",
    "T:11": "sperm",
    "T:12": "CD8-positive memory T cell",
    "X:0": "stone",
    "X:1": "sand",
}
PARENTS = {
    "T:1": ["T:0"],
    "T:7": ["T:0"],
    "T:2": ["T:1"],
    "T:6": ["T:1"],
    "T:8": ["T:1", "T:7"],
    "T:9": ["T:1", "T:7"],
    "T:3": ["T:2"],
    "T:4": ["T:2"],
    "T:10": ["T:2"],
    "T:5": ["T:3", "T:4"],
    "T:11": ["T:7"],
    "T:12": ["T:10", "T:4"],
}
# Names for the cases below: small numbers read better than ids.
CELL, BLOOD, T, CD4, MEMORY, CD4_MEMORY, B, MOTILE, MONO, GRANULO, CD8, SPERM, CD8_MEMORY = (
    f"T:{i}" for i in range(13)
)
STONE, SAND, NONE = "X:0", "X:1", ""


@pytest.fixture(scope="module")
def toy() -> CellOntology:
    r"""Thirteen terms with diamonds, and two roots beside them.

    ::

                     cell T:0                     stone X:0   sand X:1
                   /          \
            blood T:1         motile T:7
           /    |   \         /    |
       T T:2  B T:6  mono T:8      sperm T:11
     /   |   \       granulocyte T:9
  CD4  memory  CD8   (both under blood and motile)
  T:3   T:4   T:10
     \  /  \  /
     T:5    T:12
    (CD4 and CD8 memory)
    """
    return ontology_from_edges(LABELS, PARENTS, release="toy")


def indices(ontology: CellOntology, ids: list[str]) -> NDArray[np.int32]:
    return np.array([ontology.index(term_id) if term_id else -1 for term_id in ids], np.int32)


def reduce_one(
    ontology: CellOntology, ids: list[str], *, threshold: float = 1.0, general: tuple[str, ...] = (), **options: Any
) -> dict[str, Any]:
    """Reduce one row of ids and return its fields, terms as ids."""
    mask = np.zeros(len(ontology), bool)
    mask[indices(ontology, list(general))] = True
    reduced = reduce_votes(indices(ontology, ids)[None, :], ontology, threshold=threshold, too_general=mask, **options)
    return said(reduced, ontology)


def said(reduced: Reduced, ontology: CellOntology, row: int = 0) -> dict[str, Any]:
    found = {name: getattr(reduced, name)[row].item() for name in Reduced.__slots__}
    for name in ("term", "end", "top_term", "runner_up", "camp_a", "camp_b"):
        found[name] = ontology.ids[found[name]] if found[name] >= 0 else NONE
    return found | {"status": Status(found["status"]).name.lower()}


def test_order_of_the_toy_is_as_drawn(toy: CellOntology) -> None:
    """The cases below lean on it: fewest descendants, then deepest, then the smaller id."""
    assert " ".join(toy.ids) == "T:12 T:5 T:11 T:6 T:8 T:9 X:0 X:1 T:10 T:3 T:4 T:7 T:2 T:1 T:0"


@pytest.mark.parametrize(
    ("votes", "term", "status", "top_term"),
    [
        pytest.param([T, T, T], T, "resolved", T, id="unanimous_vote_stands"),
        pytest.param([CELL, CELL], CELL, "resolved", CELL, id="unanimous_vote_for_the_root_stands"),
        pytest.param([STONE, STONE], STONE, "resolved", STONE, id="unanimous_vote_outside_cell_stands"),
        pytest.param([CD4, CD8], T, "backed_off", CD8, id="siblings_meet_at_their_parent"),
        pytest.param([CD4, CD8, CD8], T, "backed_off", CD8, id="majority_does_not_outvote_a_sibling"),
        pytest.param([CD4, MEMORY], T, "backed_off", CD4, id="two_axes_meet_above_and_not_at_their_common_child"),
        pytest.param([CD4_MEMORY, T], T, "backed_off", CD4_MEMORY, id="coarser_vote_wins_under_lca"),
        pytest.param([T, T, CD4_MEMORY], T, "resolved", T, id="call_on_the_top_term_is_resolved"),
        pytest.param([MONO, GRANULO], MOTILE, "backed_off", MONO, id="of_two_lowest_ancestors_the_more_informative"),
        pytest.param([MONO, GRANULO, B], BLOOD, "backed_off", B, id="three_at_once_not_folded_over_the_second_diamond"),
        pytest.param([MONO, T, GRANULO], BLOOD, "backed_off", MONO, id="order_of_votes_does_not_fold_either"),
        pytest.param([SPERM, B], CELL, "backed_off", SPERM, id="distant_votes_meet_at_the_root"),
        pytest.param([T, NONE, NONE], T, "resolved", T, id="abstention_is_no_vote"),
        pytest.param([NONE, NONE], NONE, "unresolved", NONE, id="nobody_voted"),
        pytest.param([B, STONE], NONE, "unresolved", B, id="no_common_ancestor"),
    ],
)
def test_lca(toy: CellOntology, votes: list[str], term: str, status: str, top_term: str) -> None:
    found = reduce_one(toy, votes)
    assert (found["term"], found["status"], found["top_term"]) == (term, status, top_term)
    assert found["end"] == term
    assert found["support"] == (1.0 if term else 0.0)
    assert found["agreement"] == (1.0 if term else 0.0)
    assert found["n_votes"] == sum(vote != NONE for vote in votes)


@pytest.mark.parametrize(
    ("votes", "quorum", "term", "status", "agreement", "coarser", "conflict"),
    [
        pytest.param([T, T, B], 0.6, T, "resolved", 2 / 3, 0, 1 / 3, id="two_of_three_pass_six_tenths"),
        pytest.param([T, T, B], 0.7, BLOOD, "backed_off", 1, 0, 0, id="two_of_three_fail_seven_tenths"),
        pytest.param([T, T, B], 2 / 3, T, "resolved", 2 / 3, 0, 1 / 3, id="a_share_equal_to_the_quorum_passes"),
        pytest.param([CD4] * 7 + [B] * 3, 0.7, CD4, "resolved", 0.7, 0, 0.3, id="seven_tenths_pass_in_float32"),
        pytest.param([CD4_MEMORY, CD4, T], 0.6, CD4, "backed_off", 2 / 3, 1 / 3, 0, id="votes_below_count_upwards"),
        pytest.param([T, T, CD4, CD4_MEMORY], 0.5, CD4, "resolved", 0.5, 0.5, 0, id="ancestor_on_top_is_no_conflict"),
        pytest.param([CD4, CD4, MEMORY], 0.6, CD4, "resolved", 2 / 3, 0, 0, id="other_axis_is_neither_coarser_nor_conflict"),
        pytest.param([B, B, CD4, CD8, MEMORY], 0.5, T, "backed_off", 0.6, 0, 0.4, id="branch_beside_the_top_term_wins"),
        pytest.param([B, T], 0.5, BLOOD, "backed_off", 1, 0, 0, id="tie_at_one_half_goes_to_neither"),
        pytest.param([B, B, CD4, CD8], 0.5, BLOOD, "backed_off", 1, 0, 0, id="term_and_branch_tie_too"),
        pytest.param([CD4, CD4, MEMORY, MEMORY], 0.5, T, "backed_off", 1, 0, 0, id="two_axes_tie_at_one_half"),
        pytest.param([B, STONE], 0.5, NONE, "unresolved", 0, 0, 0.5, id="tie_without_common_ancestor"),
        pytest.param([T, T, B, MONO], 0.5, T, "resolved", 0.5, 0, 0.5, id="half_against_a_divided_half_stands"),
        pytest.param([CD4_MEMORY, CD4_MEMORY, B, MONO], 0.5, CD4_MEMORY, "resolved", 0.5, 0, 0.5,
                     id="own_ancestors_are_no_tie"),
        pytest.param([MONO, GRANULO, STONE, SAND], 0.5, MOTILE, "backed_off", 0.5, 0, 0.5,
                     id="two_parents_of_the_same_half_are_no_tie"),
        pytest.param([MONO, B, SPERM, STONE], 0.5, CELL, "backed_off", 0.75, 0, 0.25,
                     id="branches_that_share_some_votes_still_tie"),
        pytest.param([T, NONE, NONE, B, T], 0.6, T, "resolved", 2 / 3, 0, 1 / 3, id="abstentions_leave_the_denominator"),
        pytest.param([B, STONE, T], 0.6, BLOOD, "backed_off", 2 / 3, 0, 1 / 3, id="vote_from_another_root_is_outvoted"),
    ],
)  # fmt: skip
def test_quorum(
    toy: CellOntology,
    votes: list[str],
    quorum: float,
    term: str,
    status: str,
    agreement: float,
    coarser: float,
    conflict: float,
) -> None:
    found = reduce_one(toy, votes, threshold=quorum)
    assert (found["term"], found["status"]) == (term, status)
    shares = [found[name] for name in ("support", "agreement", "coarser", "conflict")]
    assert shares == pytest.approx([agreement, agreement, coarser, conflict], abs=1e-6)


@pytest.mark.parametrize(
    ("votes", "general", "end", "conflict"),
    [
        pytest.param([B, T, T], (BLOOD,), BLOOD, 1 / 3, id="votes_that_meet_too_high_are_unresolved"),
        pytest.param([BLOOD, BLOOD], (BLOOD,), BLOOD, 0, id="unanimous_vote_for_a_too_general_term_is_no_label"),
        pytest.param([B, STONE], (CELL,), NONE, 0.5, id="no_meeting_point_at_all"),
        pytest.param([NONE], (CELL,), NONE, 0, id="nobody_voted"),
    ],
)
def test_unresolved_rows_have_no_shares(
    toy: CellOntology, votes: list[str], general: tuple[str, ...], end: str, conflict: float
) -> None:
    found = reduce_one(toy, votes, general=general)
    assert (found["status"], found["term"], found["end"]) == ("unresolved", NONE, end)
    assert [found[name] for name in ("support", "agreement", "coarser")] == [0, 0, 0]
    assert found["conflict"] == pytest.approx(conflict, abs=1e-6)


def test_too_general_term_below_the_call_does_not_stop_the_walk(toy: CellOntology) -> None:
    assert reduce_one(toy, [T, CD4], general=(CD4, BLOOD))["term"] == T


@pytest.mark.parametrize(
    ("votes", "a", "b", "size_a", "size_b", "crossed", "mixed"),
    [
        pytest.param([T, T], T, NONE, 1, 0, False, False, id="one_camp"),
        pytest.param([], NONE, NONE, 0, 0, False, False, id="no_member_no_camp"),
        pytest.param([NONE, NONE], NONE, NONE, 0, 0, False, False, id="no_vote_no_camp"),
        pytest.param([CD4_MEMORY, T], T, NONE, 1, 0, False, True, id="a_line_is_one_camp_named_by_its_top"),
        pytest.param([T, T, B], T, B, 2 / 3, 1 / 3, False, False, id="largest_camp_first"),
        pytest.param([B, T], B, T, 0.5, 0.5, False, False, id="of_equals_the_more_informative_first"),
        pytest.param([CD4_MEMORY, CD4, B], CD4, B, 2 / 3, 1 / 3, False, True, id="camp_counts_the_votes_above_it"),
        pytest.param([CD4, CD8, T], CD8, CD4, 1 / 3, 1 / 3, False, True, id="vote_above_both_belongs_to_neither"),
        pytest.param([CD4, MEMORY], CD4, MEMORY, 0.5, 0.5, True, False, id="axes_of_one_type_cross"),
        pytest.param([T, MOTILE], MOTILE, T, 0.5, 0.5, False, False, id="no_common_descendant_no_crossing"),
        pytest.param([BLOOD, MOTILE], MOTILE, BLOOD, 0.5, 0.5, True, False, id="crossing_by_a_term_nobody_voted"),
        pytest.param([CD4, CD4, MEMORY, MEMORY, B], CD4, B, 0.4, 0.2, False, False, id="rival_is_named_before_a_larger_axis"),
        pytest.param([MEMORY, MEMORY, CD4, CD8], CD8, CD4, 0.25, 0.25, False, False,
                     id="rivals_are_named_before_an_axis_that_crosses_both"),
        pytest.param([B, B, MONO, GRANULO], B, MONO, 0.5, 0.25, False, False, id="third_camp_is_left_out"),
        pytest.param([STONE, B, B], B, STONE, 2 / 3, 1 / 3, False, False, id="another_root_is_a_camp"),
    ],
)  # fmt: skip
def test_camps(
    toy: CellOntology, votes: list[str], a: str, b: str, size_a: float, size_b: float, *, crossed: bool, mixed: bool
) -> None:
    found = reduce_one(toy, votes)
    assert (found["camp_a"], found["camp_b"]) == (a, b)
    assert [found["size_a"], found["size_b"]] == pytest.approx([size_a, size_b], abs=1e-6)
    assert (found["crossed"], found["mixed"]) == (crossed, mixed)


@pytest.mark.parametrize(
    ("weights", "term", "agreement"),
    [
        pytest.param([1, 1, 1], T, 2 / 3, id="equal_weights_count_heads"),
        pytest.param([5, 5, 5], T, 2 / 3, id="only_ratios_matter"),
        pytest.param([1, 1, 3], B, 0.6, id="a_heavy_member_outvotes_two"),
        pytest.param([1, 0, 2], B, 2 / 3, id="weight_zero_is_no_vote"),
    ],
)
def test_weights(toy: CellOntology, weights: list[float], term: str, agreement: float) -> None:
    found = reduce_one(toy, [T, T, B], threshold=0.6, weights=np.array(weights, float))
    assert found["term"] == term
    assert found["agreement"] == pytest.approx(agreement, abs=1e-6)


def test_member_of_weight_zero_leaves_no_trace(toy: CellOntology) -> None:
    with_it = reduce_one(toy, [T, CD4, B], weights=np.array([1.0, 1.0, 0.0]))
    assert with_it == reduce_one(toy, [T, CD4, NONE])
    assert (with_it["n_votes"], with_it["camp_b"], with_it["mixed"]) == (2, NONE, True)


def test_weights_are_rescaled_over_who_voted(toy: CellOntology) -> None:
    assert reduce_one(toy, [T, NONE, B], weights=np.array([3.0, 5.0, 1.0]), threshold=0.75)["agreement"] == 0.75


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param([1.0, 1.0], id="too_few"),
        pytest.param([1.0, 1.0, -1.0], id="below_zero"),
        pytest.param([0.0, 0.0, 0.0], id="all_zero"),
        pytest.param([1.0, np.nan, 1.0], id="not_a_number"),
    ],
)
def test_bad_weights_are_refused(toy: CellOntology, weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights: expected 3 numbers, none below zero and not all zero"):
        reduce_one(toy, [T, T, B], weights=np.array(weights))


# Pooled mass ------------------------------------------------------------------------------------------------------


def mass_of(ontology: CellOntology, rows: list[dict[str, float]]) -> csr_matrix:
    dense = np.zeros((len(rows), len(ontology)), np.float32)
    for row, shares in zip(dense, rows, strict=True):
        for term_id, share in shares.items():
            row[ontology.index(term_id)] = share
    return csr_matrix(dense)


@pytest.mark.parametrize(
    ("mass", "quorum", "term", "top_term", "runner_up", "support"),
    [
        pytest.param({CD4: 0.5, CD8: 0.4, B: 0.1}, 0.5, CD4, CD4, CD8, 0.5, id="half_of_the_mass_is_enough"),
        pytest.param({CD4: 0.5, CD8: 0.4, B: 0.1}, 0.9, T, CD4, CD8, 0.9, id="mass_of_siblings_adds_up"),
        pytest.param({CD4: 0.5, CD8: 0.4, B: 0.1}, 1.0, BLOOD, CD4, CD8, 1.0, id="one_needs_all_mass"),
        pytest.param({CD4_MEMORY: 0.35, CD4: 0.3, MEMORY: 0.25, T: 0.1}, 0.6, CD4, CD4_MEMORY, CD4, 0.65,
                     id="mass_below_counts_on_either_axis"),
        pytest.param({T: 1.0}, 1.0, T, T, NONE, 1.0, id="all_mass_on_one_term_has_no_runner_up"),
    ],
)  # fmt: skip
def test_mass(
    toy: CellOntology,
    mass: dict[str, float],
    quorum: float,
    term: str,
    top_term: str,
    runner_up: str,
    support: float,
) -> None:
    votes = indices(toy, [CD4, CD4, B])[None, :]
    reduced = reduce_mass(mass_of(toy, [mass]), votes, toy, threshold=quorum, too_general=np.zeros(len(toy), bool))
    found = said(reduced, toy)
    assert [found[name] for name in ("term", "top_term", "runner_up")] == [term, top_term, runner_up]
    assert found["support"] == pytest.approx(support, abs=1e-5)


def test_shares_of_a_call_on_mass_still_count_votes(toy: CellOntology) -> None:
    votes = indices(toy, [CD4, T, B])[None, :]
    pooled = mass_of(toy, [{CD4: 0.7, T: 0.2, B: 0.1}])
    found = said(reduce_mass(pooled, votes, toy, threshold=0.6, too_general=np.zeros(len(toy), bool)), toy)
    assert found["term"] == CD4
    shares = [found[name] for name in ("support", "agreement", "coarser", "conflict")]
    assert shares == pytest.approx([0.7, 1 / 3, 1 / 3, 1 / 3], abs=1e-6)


def test_mass_without_any_vote_is_unresolved(toy: CellOntology) -> None:
    reduced = reduce_mass(
        mass_of(toy, [{}, {}]),
        np.full((2, 3), -1, np.int32),
        toy,
        threshold=1.0,
        too_general=np.zeros(len(toy), bool),
    )
    assert reduced.term.tolist() == [-1, -1]
    assert reduced.status.tolist() == [Status.UNRESOLVED, Status.UNRESOLVED]


def test_a_cell_without_votes_beside_one_with(toy: CellOntology) -> None:
    votes = np.stack([indices(toy, [T, T]), indices(toy, [NONE, NONE])])
    reduced = reduce_mass(mass_of(toy, [{T: 1.0}, {}]), votes, toy, threshold=1.0, too_general=np.zeros(len(toy), bool))
    assert reduced.term.tolist() == [toy.index(T), -1]
    assert reduced.top_term.tolist() == [toy.index(T), -1]


# Shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [pytest.param((0, 3), id="no_cells"), pytest.param((4, 0), id="no_members"), pytest.param((4, 2), id="no_votes")],
)
def test_empty_tables(toy: CellOntology, shape: tuple[int, int]) -> None:
    terms = np.full(shape, -1, np.int32)
    reduced = reduce_votes(terms, toy, threshold=1.0, too_general=np.zeros(len(toy), bool))
    assert {len(getattr(reduced, name)) for name in Reduced.__slots__} == {shape[0]}
    assert (reduced.term == -1).all()
    assert (reduced.status == Status.UNRESOLVED).all()
    assert (reduced.n_votes == 0).all()


def test_fields_have_the_documented_types(toy: CellOntology) -> None:
    types = dict.fromkeys(("term", "end", "top_term", "runner_up", "camp_a", "camp_b"), "int32")
    types |= dict.fromkeys(("support", "agreement", "coarser", "conflict", "size_a", "size_b"), "float32")
    types |= {"status": "int8", "n_votes": "int16", "crossed": "bool", "mixed": "bool"}
    some = reduce_votes(indices(toy, [T, B])[None, :], toy, threshold=1.0, too_general=np.zeros(len(toy), bool))
    none = reduce_votes(np.full((1, 2), -1, np.int32), toy, threshold=1.0, too_general=np.zeros(len(toy), bool))
    for reduced in (some, none):
        assert {name: str(getattr(reduced, name).dtype) for name in Reduced.__slots__} == types


def test_take_returns_rows_in_the_order_asked(toy: CellOntology) -> None:
    votes = np.stack([indices(toy, [term, term]) for term in (T, B, MONO)])
    reduced = reduce_votes(votes, toy, threshold=1.0, too_general=np.zeros(len(toy), bool))
    assert reduced.take(np.array([2, 0, 0])).term.tolist() == toy.indices([MONO, T, T]).tolist()


@pytest.mark.parametrize("n_members", [3, 6, 7, 12, 19])
def test_unanimity_is_exactly_one(toy: CellOntology, n_members: int) -> None:
    """Not 0.99999994, which sums of float32 thirds and twelfths give: people filter on agreement == 1."""
    found = reduce_one(toy, [T] * n_members)
    assert (found["support"], found["agreement"], found["size_a"]) == (1.0, 1.0, 1.0)


# The Cell Ontology ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "quorum", "term", "status"),
    [
        pytest.param(["CL:0000624", "CL:0000625"], 1.0, "CL:0000791", "backed_off", id="CD4_and_CD8_meet_at_mature_ab_T"),
        pytest.param(["CL:0000233"] * 8, 1.0, "CL:0000233", "resolved", id="unanimous_platelet_stays_platelet"),
        pytest.param(["CL:0000236", "CL:0000598"], 1.0, "", "unresolved", id="B_cell_and_pyramidal_neuron_meet_too_high"),
        pytest.param(["CL:0000236", "CL:0000236", "CL:0000598"], 0.6, "CL:0000236", "resolved",
                     id="quorum_outvotes_the_neuron"),
        pytest.param(["CL:0000084", "CL:0000897"], 1.0, "CL:0000084", "backed_off", id="T_and_CD4_memory_is_T"),
        pytest.param(["CL:0000000"] * 3, 1.0, "", "unresolved", id="unanimous_cell_says_nothing"),
    ],
)  # fmt: skip
def test_cell_ontology(cl: CellOntology, votes: list[str], quorum: float, term: str, status: str) -> None:
    reduced = reduce_votes(cl.indices(votes)[None, :], cl, threshold=quorum, too_general=too_general(cl))
    found = said(reduced, cl)
    assert (found["term"], found["status"]) == (term, status)


def test_memory_and_CD4_cross_in_the_cell_ontology(cl: CellOntology) -> None:
    votes = cl.indices(["CL:0000813", "CL:0000624"])[None, :]
    found = said(reduce_votes(votes, cl, threshold=1.0, too_general=too_general(cl)), cl)
    assert found["crossed"]
    assert {found["camp_a"], found["camp_b"]} == {"CL:0000813", "CL:0000624"}
