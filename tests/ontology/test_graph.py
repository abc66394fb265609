"""The integer index: order, closure, common ancestors; by hand on the toy, by networkx on random graphs."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise, product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.errors import OntologyError, UnknownTermError
from celljury.ontology.extra import ExtraTerm
from celljury.ontology.graph import ROOT, CellOntology
from celljury.ontology.load import ontology_from_edges


def test_index_order_is_bits_then_longest_path_then_id(toy: CellOntology) -> None:
    assert toy.ids == ("T:5", "T:6", "T:8", "T:3", "T:4", "T:7", "T:2", "T:1", "T:0")
    assert toy.n_descendants.tolist() == [0, 0, 0, 1, 1, 1, 3, 6, 8]
    assert toy.depth.tolist() == [4, 2, 2, 3, 3, 1, 2, 1, 0]
    expected = np.log2(9 / np.array([1, 1, 1, 2, 2, 2, 4, 7, 9]))
    np.testing.assert_allclose(toy.ic, expected)
    assert toy.ic[-1] == 0


def test_parents_children_ancestors_descendants_by_hand(toy: CellOntology) -> None:
    def ids(indices: np.ndarray) -> list[str]:
        assert indices.dtype == np.int32
        return [toy.ids[i] for i in indices]

    at = toy.index
    assert ids(toy.parents(at("T:5"))) == ["T:3", "T:4"]
    assert ids(toy.parents(at("T:0"))) == []
    assert ids(toy.children(at("T:1"))) == ["T:6", "T:8", "T:2"]
    assert ids(toy.ancestors(at("T:5"))) == ["T:5", "T:3", "T:4", "T:2", "T:1", "T:0"]
    assert ids(toy.ancestors(at("T:8"), include_self=False)) == ["T:7", "T:1", "T:0"]
    assert ids(toy.descendants(at("T:2"))) == ["T:5", "T:3", "T:4", "T:2"]
    assert ids(toy.descendants(at("T:2"), include_self=False)) == ["T:5", "T:3", "T:4"]
    assert ids(toy.roots) == ["T:0"]


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        pytest.param(["T:5"], "T:5", id="one_term_is_its_own_ancestor"),
        pytest.param(["T:5", "T:5"], "T:5", id="unanimous_votes_stay"),
        pytest.param(["T:3", "T:4"], "T:2", id="siblings_meet_at_their_parent"),
        pytest.param(["T:3", "T:5"], "T:3", id="an_ancestor_beside_its_descendant_is_the_answer"),
        pytest.param(["T:5", "T:6"], "T:1", id="cousins_meet_at_blood"),
        pytest.param(["T:8", "T:7"], "T:7", id="second_parent_counts"),
        pytest.param(["T:8", "T:6"], "T:1", id="first_parent_counts"),
        pytest.param(["T:7", "T:6"], "T:0", id="branches_meet_at_the_root"),
    ],
)
def test_lca_by_hand(toy: CellOntology, terms: list[str], expected: str) -> None:
    indices = toy.indices(terms)
    assert toy.ids[toy.lca(indices)] == expected
    assert toy.lca_rows(indices[None, :]).tolist() == [toy.index(expected)]


def test_lca_rows_leaves_missing_votes_out(toy: CellOntology) -> None:
    cd4, memory, b = toy.indices(["T:3", "T:4", "T:6"]).tolist()
    rows = np.array([[cd4, -1, memory], [-1, -1, -1], [-1, b, -1], [cd4, memory, b]], np.int32)
    assert toy.lca_rows(rows).tolist() == [toy.index("T:2"), -1, b, toy.index("T:1")]
    assert toy.lca([cd4, -1, memory]) == toy.index("T:2")
    assert toy.lca([]) == toy.lca([-1]) == -1


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_lca_rows_of_empty_tables(toy: CellOntology, shape: tuple[int, int]) -> None:
    assert toy.lca_rows(np.empty(shape, np.int32)).tolist() == [-1] * shape[0]
    assert toy.lca_rows(np.full((2, 2), -1, np.int32)).tolist() == [-1, -1]


def test_terms_of_two_roots_have_no_common_ancestor() -> None:
    two = ontology_from_edges({"T:1": "a", "T:2": "b", "T:3": "c"}, {"T:2": ["T:1"]})
    assert [two.ids[i] for i in two.roots] == ["T:1", "T:3"]
    assert two.lca(two.indices(["T:2", "T:3"])) == -1
    assert two.lca_rows(two.indices(["T:2", "T:3"])[None, :]).tolist() == [-1]
    assert two.ic.min() == 0


def test_folding_pairs_would_miss_what_all_votes_share() -> None:
    # a and b meet at p and at q alike, c lies under q only: folding takes p for a and b, then falls to the root.
    graph = ontology_from_edges(
        {"T:0": "root", "T:1": "p", "T:2": "q", "T:3": "a", "T:4": "b", "T:5": "c"},
        {"T:1": ["T:0"], "T:2": ["T:0"], "T:3": ["T:1", "T:2"], "T:4": ["T:1", "T:2"], "T:5": ["T:2"]},
    )
    a, b, c = graph.indices(["T:3", "T:4", "T:5"]).tolist()
    assert graph.ids[graph.lca([graph.lca([a, b]), c])] == "T:0"
    assert graph.ids[graph.lca([a, b, c])] == "T:2"


def test_is_ancestor_broadcasts_and_missing_is_false(toy: CellOntology) -> None:
    cell, t, b = toy.indices(["T:0", "T:2", "T:6"]).tolist()
    table = toy.is_ancestor(np.array([[cell], [t], [-1]]), np.array([t, b, -1]))
    assert table.tolist() == [[True, True, False], [True, False, False], [False, False, False]]
    assert toy.is_ancestor(t, t)


def test_ancestor_rows_keep_order_and_repeats(toy: CellOntology) -> None:
    rows = toy.ancestor_rows(toy.indices(["T:6", "T:0", "T:6"]))
    assert rows.dtype == np.bool_
    b = ["T:6", "T:1", "T:0"]
    assert [[toy.ids[i] for i in np.flatnonzero(row)] for row in rows] == [b, ["T:0"], b]
    assert toy.ancestor_rows([]).shape == (0, len(toy))


def test_replaced_ids_are_followed_and_dead_ends_are_not(toy: CellOntology) -> None:
    assert toy.resolve("T:2") == (toy.index("T:2"), False)
    assert toy.resolve("T:90") == (toy.index("T:2"), True)
    assert dict(toy.replaced) == {"T:90": "T:2", "T:91": "T:2"}
    assert "T:90" in toy
    assert "T:93" not in toy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("T:92", "'pollen cell') is obsolete in CL toy and no live", id="obsolete_without_successor"),
        pytest.param("T:22", "Nearest: T:2 'T cell'", id="near_id"),
        pytest.param("B cel", "Nearest: T:6 'B cell'", id="near_label"),
        pytest.param("xyzzy?", "Look it up with: celljury ontology search", id="nothing_near"),
    ],
)
def test_unknown_terms_say_what_is_near(toy: CellOntology, text: str, said: str) -> None:
    with pytest.raises(UnknownTermError) as caught:
        toy.index(text)
    assert said in str(caught.value)
    assert isinstance(caught.value, KeyError)


def test_ontology_is_frozen_and_survives_pickling(toy: CellOntology) -> None:
    with pytest.raises(AttributeError):
        toy.ids = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        toy.depth[0] = 7
    again = pickle.loads(pickle.dumps(toy))
    assert again.ids == toy.ids
    assert again.lca(again.indices(["T:3", "T:4"])) == toy.index("T:2")
    assert copy.copy(toy).term(0) == toy.term(0)
    assert repr(toy) == "<CellOntology toy, 9 live terms, from edges in memory>"
    assert (toy.term(0).id, toy.term(0).depth, toy.term(0).n_descendants) == ("T:5", 4, 0)


def test_networkx_edges_go_from_child_to_parent(toy: CellOntology) -> None:
    graph = toy.to_networkx()
    assert set(graph.successors("T:5")) == {"T:3", "T:4"}
    assert graph.nodes["T:6"] == {"label": "B cell"}
    assert graph.number_of_edges() == 10


def test_extra_terms_are_merged_into_a_new_ontology(toy: CellOntology) -> None:
    more = toy.with_terms(
        [
            ExtraTerm("LAB:2", "my naive CD4 T cell", ("LAB:1",)),
            ExtraTerm("LAB:1", "my CD4 T cell", ("T:3", "T:90"), ("mine",)),
        ]
    )
    assert len(more) == len(toy) + 2
    assert more.is_ancestor(more.index("T:1"), more.index("LAB:2"))
    assert more.synonyms[more.index("LAB:1")] == ("mine",)
    assert more.depth[more.index("LAB:2")] == 5
    assert more.resolve("T:90") == (more.index("T:2"), True)
    assert more.source.extra_terms == 2
    assert more.source.extra_sha256 != toy.source.extra_sha256 == ""
    assert toy.with_terms([]).source == toy.source
    assert "LAB:1" not in toy
    twice = more.with_terms([ExtraTerm("LAB:3", "third", ("T:0",))])
    assert twice.source.extra_terms == 3
    assert twice.source.extra_sha256 not in {"", more.source.extra_sha256}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        pytest.param(
            ExtraTerm("T:2", "new", ("T:0",)), "extra term T:2 'new': the id is taken by 'T cell'", id="live_id"
        ),
        pytest.param(ExtraTerm("T:90", "new", ("T:0",)), "the id is taken by 'T:2 T cell'", id="replaced_id"),
        pytest.param(ExtraTerm("T:92", "new", ("T:0",)), "taken by 'obsolete pollen cell'", id="obsolete_id"),
        pytest.param(
            ExtraTerm("L:1", "b Cell", ("T:0",)), "name 'b cell' is taken by T:6 'B cell'", id="label_any_case"
        ),
        pytest.param(ExtraTerm("L:1", "x", ("T:0",), ("T-cell",)), "name 't-cell' is taken by T:2", id="synonym"),
        pytest.param(ExtraTerm("L:1", "x", ("T:77",)), "not in the ontology: L:1 is_a T:77", id="unknown_parent"),
        pytest.param(ExtraTerm("L:1", "x", ("L:1",)), "cycle: L:1 is_a L:1", id="own_parent"),
        pytest.param(ExtraTerm("L:1", "x", ()), "has no parent; name at least one", id="no_parent"),
        pytest.param(ExtraTerm("L 1", "x", ("T:0",)), "expected an id such as LAB:0000001, got 'L 1'", id="no_curie"),
        pytest.param(ExtraTerm("L:1", "", ("T:0",)), "L:1 has no label", id="no_label"),
    ],
)
def test_extra_terms_that_do_not_fit_are_refused(toy: CellOntology, extra: ExtraTerm, said: str) -> None:
    with pytest.raises(OntologyError) as caught:
        toy.with_terms([extra])
    assert said in str(caught.value)


def test_extra_terms_may_not_form_a_cycle_or_repeat_an_id(toy: CellOntology) -> None:
    loop = [ExtraTerm("L:1", "x", ("L:2",)), ExtraTerm("L:2", "y", ("L:1",))]
    with pytest.raises(OntologyError, match="cycle: L:"):
        toy.with_terms(loop)
    with pytest.raises(OntologyError, match="the id is taken by 'x'"):
        toy.with_terms([ExtraTerm("L:1", "x", ("T:0",)), ExtraTerm("L:1", "y", ("T:0",))])


# Laws on random graphs, with networkx as the oracle ------------------------------------------------------------------


@st.composite
def ontologies(draw: st.DrawFn) -> CellOntology:
    n_terms = draw(st.integers(1, 12))
    number = draw(st.permutations(range(n_terms)))
    parents = {
        f"T:{number[i]}": [f"T:{number[p]}" for p in sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))]
        for i in range(1, n_terms)
    }
    return ontology_from_edges({f"T:{i}": f"term {i}" for i in range(n_terms)}, parents)


@given(ontologies())
def test_closure_depth_and_sizes_match_networkx(graph: CellOntology) -> None:
    oracle = graph.to_networkx()
    for i, term_id in enumerate(graph.ids):
        above = nx.descendants(oracle, term_id)  # edges go upwards
        assert {graph.ids[a] for a in graph.ancestors(i, include_self=False)} == above
        assert {graph.ids[a] for a in graph.descendants(i, include_self=False)} == nx.ancestors(oracle, term_id)
        assert graph.n_descendants[i] == len(nx.ancestors(oracle, term_id))
        assert graph.depth[i] == nx.dag_longest_path_length(oracle.subgraph(above | {term_id}))
        assert set(graph.parents(i)) == {graph.index(p) for p in oracle.successors(term_id)}
        assert set(graph.children(i)) == {graph.index(c) for c in oracle.predecessors(term_id)}


@given(ontologies())
def test_index_order_is_a_linear_extension_with_falling_bits(graph: CellOntology) -> None:
    for child, parent in ((c, int(p)) for c in range(len(graph)) for p in graph.parents(c)):
        assert child < parent
        assert graph.ic[child] > graph.ic[parent]
    assert (np.diff(graph.ic) <= 1e-12).all()
    for a, b in pairwise(range(len(graph))):
        first = (-graph.ic[a], -graph.depth[a], graph.ids[a])
        assert first < (-graph.ic[b], -graph.depth[b], graph.ids[b])


@settings(max_examples=60)
@given(ontologies(), st.data())
def test_lca_is_a_minimal_common_ancestor_and_rows_agree(graph: CellOntology, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    row = st.lists(st.integers(-1, len(graph) - 1), min_size=width, max_size=width)
    rows = np.array(data.draw(st.lists(row, min_size=1, max_size=8)), np.int32)
    answers = graph.lca_rows(rows)
    oracle = graph.to_networkx()
    for terms, answer in zip(rows.tolist(), answers.tolist(), strict=True):
        cast = [t for t in terms if t >= 0]
        common = (
            set.intersection(*(nx.descendants(oracle, graph.ids[t]) | {graph.ids[t]} for t in cast)) if cast else set()
        )
        minimal = {c for c in common if not common & nx.ancestors(oracle, c)}
        assert answer == graph.lca(terms)
        assert (graph.ids[answer] in minimal) if minimal else answer == -1


@given(ontologies())
def test_is_ancestor_agrees_with_rows(graph: CellOntology) -> None:
    everything = np.arange(len(graph))
    rows = graph.ancestor_rows(everything)
    assert (graph.is_ancestor(everything[None, :], everything[:, None]) == rows).all()


# The real ontology ---------------------------------------


def test_a_unanimous_vote_is_a_fixed_point_for_every_term(cl: CellOntology) -> None:
    below_cell = cl.descendants(cl.index(ROOT))
    assert below_cell.size == 3314
    rows = np.repeat(below_cell[:, None], 8, axis=1)
    assert (cl.lca_rows(rows) == below_cell).all()
    rows[:, 2] = -1
    assert (cl.lca_rows(rows) == below_cell).all()


def test_an_ancestors_vote_does_not_move_the_call(cl: CellOntology) -> None:
    children = np.repeat(np.arange(len(cl)), np.diff(cl.parents_indptr))
    rows = np.stack([children, cl.parents_indices], axis=1).astype(np.int32)
    assert (cl.lca_rows(rows) == cl.parents_indices).all()
    assert (children < cl.parents_indices).all()


def test_lca_rows_do_not_depend_on_the_chunk(cl: CellOntology, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).integers(-1, len(cl), (300, 5)).astype(np.int32)
    whole = cl.lca_rows(rows)
    monkeypatch.setattr("celljury.ontology.graph.CHUNK_BYTES", 1)
    assert (cl.lca_rows(rows) == whole).all()
    assert whole.tolist() == [cl.lca(row) for row in rows]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (("CL:0000624", "CL:0000625"), "mature alpha-beta T cell"),
        (("CL:0000624", "CL:0000236"), "lymphocyte"),
        (("CL:0000233", "CL:0000233"), "platelet"),
        (("CL:0000576", "CL:0000235"), "myeloid leukocyte"),
    ],
)
def test_lca_of_known_pairs(cl: CellOntology, votes: tuple[str, str], expected: str) -> None:
    assert cl.labels[cl.lca(cl.indices(votes))] == expected


def test_shortest_paths_would_not_be_monotone_but_bits_are(cl: CellOntology) -> None:
    near = nx.single_source_shortest_path_length(cl.to_networkx().reverse(), ROOT)
    child_of = np.repeat(np.arange(len(cl)), np.diff(cl.parents_indptr)).tolist()
    edges = [(cl.ids[c], cl.ids[p]) for c, p in zip(child_of, cl.parents_indices.tolist(), strict=True)]
    assert sum(near[parent] > near[child] for child, parent in edges) == 462
    assert max(near.values()) == 12


def test_all_pairs_of_a_few_terms_match_the_brute_force(cl: CellOntology) -> None:
    some = cl.indices(["CL:0000236", "CL:0000451", "CL:0000233", "CL:0000066", "CL:4052024", "CL:0000897"]).tolist()
    pairs = np.array(list(product(some, repeat=2)), np.int32)
    for (a, b), answer in zip(pairs.tolist(), cl.lca_rows(pairs).tolist(), strict=True):
        common = np.intersect1d(cl.ancestors(a), cl.ancestors(b))
        assert answer == (common.min() if common.size else -1)
