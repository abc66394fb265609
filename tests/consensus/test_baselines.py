"""Simple rules on hand-made votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury import baselines
from celljury.baselines import ancestor_vote, baseline_calls, majority, shortest_depth, top_mean
from celljury.ontology.load import ontology_from_edges
from celljury.votes import Votes

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology

QUICK = settings(max_examples=100, deadline=None)
PLATELET = "CL:0000233"

# 0 > 1 > 2 > (3, 4) > 5; 1 > 6; 0 > 7; 8 below 1 and 7. 5 has a shortcut to 0, so its shortest path is 1.
TOY = ontology_from_edges(
    {name: f"term {name}" for name in "012345678"},
    {"1": ["0"], "2": ["1"], "3": ["2"], "4": ["2"], "5": ["3", "4", "0"], "6": ["1"], "7": ["0"], "8": ["1", "7"]},
)


def rows(*votes: str) -> np.ndarray:
    """Votes of one cell a text, one character a member, ``-`` = abstained."""
    return np.array([[-1 if name == "-" else TOY.index(name) for name in row] for row in votes], np.int32)


def names(called: np.ndarray) -> str:
    return "".join("-" if term < 0 else TOY.ids[term] for term in called)


@pytest.mark.parametrize(
    ("votes", "called"),
    [
        pytest.param("333", "3", id="unanimous"),
        pytest.param("366", "6", id="most_votes"),
        pytest.param("36", "6", id="tie_goes_to_more_informative"),
        pytest.param("34", "3", id="tie_of_equal_bits_goes_to_smaller_id"),
        pytest.param("3--", "3", id="abstentions_do_not_win"),
        pytest.param("---", "-", id="nobody_voted"),
    ],
)
def test_majority(votes, called):
    assert names(majority(rows(votes))) == called


@pytest.mark.parametrize(
    ("votes", "tolerated", "called"),
    [
        pytest.param("333", 0, "3", id="unanimous"),
        pytest.param("344", 0, "2", id="common_ancestor_of_all"),
        pytest.param("3336", 0, "1", id="one_dissenter_decides"),
        pytest.param("3336", 1, "3", id="one_dissenter_forgiven"),
        pytest.param("36", 2, "3", id="a_node_needs_a_vote_and_the_farthest_wins"),
        pytest.param("555", 0, "3", id="shortcut_demotes_a_unanimous_vote"),
        pytest.param("3-", 0, "3", id="abstention_is_no_vote"),
        pytest.param("--", 1, "-", id="nobody_voted"),
    ],
)
def test_ancestor_vote(votes, tolerated, called):
    assert names(ancestor_vote(rows(votes), TOY, tolerated=tolerated)) == called


def test_shortest_depth_takes_the_shortcut():
    depth = dict(zip(TOY.ids, shortest_depth(TOY).tolist(), strict=True))
    assert depth == {"0": 0, "1": 1, "2": 2, "3": 3, "4": 3, "5": 1, "6": 2, "7": 1, "8": 2}


def test_ancestor_vote_demotes_a_unanimous_platelet(cl: CellOntology):
    platelet = cl.index(PLATELET)
    (called,) = ancestor_vote(np.full((1, 8), platelet, np.int32), cl)
    assert cl.labels[called] == "serotonin secreting cell"
    assert majority(np.full((1, 8), platelet, np.int32)).tolist() == [platelet]


@QUICK
@given(st.lists(st.lists(st.integers(-1, 8), min_size=4, max_size=4), min_size=1, max_size=6), st.integers(0, 2))
def test_ancestor_vote_against_sets(votes, tolerated):
    table = np.array(votes, np.int32)
    far = shortest_depth(TOY)
    for row, called in zip(votes, ancestor_vote(table, TOY, tolerated=tolerated).tolist(), strict=True):
        count = [sum(v >= 0 and node in TOY.ancestors(v).tolist() for v in row) for node in range(len(TOY))]
        passing = [node for node in range(len(TOY)) if count[node] >= max(max(count) - tolerated, 1)]
        assert called == (min(passing, key=lambda node: (-far[node], node)) if max(count) else -1)


@QUICK
@given(
    st.lists(st.lists(st.integers(-1, 8), min_size=4, max_size=4), min_size=1, max_size=6), st.permutations(range(4))
)
def test_order_of_members_changes_nothing(votes, order):
    table = np.array(votes, np.int32)
    np.testing.assert_array_equal(majority(table), majority(table[:, order]))
    np.testing.assert_array_equal(ancestor_vote(table, TOY), ancestor_vote(table[:, order], TOY))


def make_votes(mass: list[list[dict[str, float]]]) -> Votes:
    """Votes of members on cells: per member and cell, term -> probability; empty = abstained."""
    matrices = []
    for member in mass:
        dense = np.zeros((len(member), len(TOY)), np.float32)
        for i, cell in enumerate(member):
            for name, p in cell.items():
                dense[i, TOY.index(name)] = p
        matrices.append(csr_matrix(dense))
    terms = np.stack([np.where(m.toarray().any(axis=1), m.toarray().argmax(axis=1), -1) for m in matrices], axis=1)
    n, k = terms.shape
    ids = np.array([f"c{i}" for i in range(n)])
    return Votes(ids, tuple("abc"[:k]), terms.astype(np.int32), tuple(matrices), np.full((n, k), np.nan, np.float32))


def test_top_mean_is_over_the_members_that_voted():
    votes = make_votes([[{"3": 0.9, "6": 0.1}, {"3": 1.0}, {}], [{"6": 0.6, "3": 0.4}, {}, {}]])
    term, probability = top_mean(votes)
    assert names(term) == "33-"
    np.testing.assert_allclose(probability, [0.65, 1, 0], atol=1e-6)


def test_thresholds_abstain_below():
    votes = make_votes([[{"3": 0.9, "6": 0.1}, {"6": 0.5, "3": 0.5}], [{"6": 0.6, "3": 0.4}, {"6": 0.5, "3": 0.5}]])
    found = baseline_calls(votes, TOY)
    assert {name: names(call) for name, call in found.items()} == {
        "member:a": "36", "member:b": "66", "majority": "66", "popv_ancestor": "16", "popv_ancestor_2": "36", "lca": "16",
        "top_p_0.5": "36", "top_p_0.7": "--", "top_p_0.9": "--",
    }  # fmt: skip


def test_votes_without_probabilities_have_no_thresholds():
    votes = Votes(np.array(["c"]), ("a",), rows("3"), None, np.full((1, 1), np.nan, np.float32))
    assert list(baseline_calls(votes, TOY)) == ["member:a", "majority", "popv_ancestor", "popv_ancestor_2", "lca"]
    with pytest.raises(ValueError, match="top terms only"):
        top_mean(votes)


def test_chunks_change_nothing(monkeypatch):
    votes = make_votes([[{"3": 0.9, "6": 0.1}, {"6": 1.0}, {"8": 1.0}], [{"6": 1.0}, {"5": 1.0}, {"8": 1.0}]])
    whole = baseline_calls(votes, TOY)
    monkeypatch.setattr(baselines, "CHUNK_BYTES", 1)
    for name, call in baseline_calls(votes, TOY).items():
        np.testing.assert_array_equal(call, whole[name], err_msg=name)
