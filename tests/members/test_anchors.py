"""What `seurat_transfer` computes without R: votes of anchors, and places of cells in a reference's components."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from celljury.members.anchors import Anchors
from celljury.members.seurat_projection import DEPTHS, LogProjection, SctProjection, expected_total, projection_from

# Four query cells on a line with five anchors; the cell at 1 has two.
LINE = Anchors(
    np.array([[0.0], [1.0], [2.0], [4.0]]),
    np.array([0, 1, 1, 2, 3], np.int32),
    np.array([0, 1, 2, 0, 1], np.int32),
    np.array([1.0, 0.5, 1.0, 1.0, 1.0]),
)


def weight(closeness: float, score: float, sd: float = 1.0) -> float:
    return 1 - np.exp(-closeness * score / (2 / sd) ** 2)


# Votes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sd", [1.0, 2.0])
def test_vote_worked_by_hand(sd) -> None:
    # At 0 the four cells lie 0, 1, 2 and 4 away: closeness 1, 3/4, 1/2 and 0. All 4 nearest anchors lie within the first
    # three cells.
    found = LINE.vote(np.array([[0.0]]), n_terms=3, k=4, sd=sd)[0]
    worked = np.array([weight(1, 1, sd) + weight(0.5, 1, sd), weight(0.75, 0.5, sd), weight(0.75, 1, sd)])
    assert_allclose(found, worked / worked.sum(), rtol=1e-6)


def test_no_more_than_k_anchors_count_however_many_a_cell_has() -> None:
    # The two nearest cells of the one at 0 have three anchors; the third, of term 2, is left out. Closeness 1 and 0.
    assert_array_equal(LINE.vote(np.array([[0.0]]), n_terms=3, k=2, sd=1.0), [[1, 0, 0]])
    # At 1.2 the nearest is the cell at 1 (closeness 3/4), whose two anchors are all that counts.
    worked = np.array([weight(0.75, 0.5), weight(0.75, 1)])
    found = LINE.vote(np.array([[1.2]]), n_terms=3, k=2, sd=1.0)[0]
    assert_allclose(found, [0, *(worked / worked.sum())], rtol=1e-6)


def test_anchors_of_weight_zero_count_alike() -> None:
    assert_array_equal(LINE.vote(np.array([[0.1]]), n_terms=3, k=1, sd=1.0), [[1, 0, 0]])
    poor = Anchors(LINE.points, LINE.cell, LINE.term, np.zeros(5))
    assert_allclose(poor.vote(np.array([[0.0]]), n_terms=3, k=4, sd=1.0), [[0.5, 0.25, 0.25]])
    same = Anchors.of_reference(np.zeros((3, 2)), np.array([0, 1, 1], np.int32))
    assert_allclose(same.vote(np.zeros((1, 2)), n_terms=2, k=3, sd=1.0), [[1 / 3, 2 / 3]])


def test_cells_of_no_term_make_abstain_or_are_left_out() -> None:
    some = Anchors(LINE.points, LINE.cell, np.array([-1, 1, 1, 0, 0], np.int32), LINE.score)
    assert not some.vote(np.array([[0.0]]), n_terms=2, k=1, sd=1.0).any()
    found = some.vote(np.array([[1.5]]), n_terms=2, k=4, sd=1.0)
    assert_allclose(found.sum(), 1)
    assert found[0, 1] > 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 15))
def test_votes_sum_to_one_and_depend_on_a_cell_alone(seed, n_anchored, k) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n_anchored, 3))
    cell = np.concatenate([np.arange(n_anchored), rng.integers(0, n_anchored, 6)]).astype(np.int32)
    anchors = Anchors(points, cell, rng.integers(0, 4, cell.size).astype(np.int32), rng.random(cell.size))
    query = rng.normal(size=(7, 3))
    mass = anchors.vote(query, n_terms=4, k=k, sd=1.0)
    assert_allclose(mass.sum(axis=1), 1, rtol=1e-6)
    order = rng.permutation(7)
    assert_allclose(anchors.vote(query[order], n_terms=4, k=k, sd=1.0), mass[order], atol=1e-6)
    again = Anchors.from_arrays(anchors.arrays())
    assert_array_equal(again.vote(query, n_terms=4, k=k, sd=1.0), mass)


# Places in the components -----------------------------------------------------------------------------------------


def test_log_projection_worked_by_hand() -> None:
    # z = (3 - 1) / 0.5 = 4 and 40, cut to 10; the third gene is not present and the fourth not used.
    reference = LogProjection(
        np.array([1.0, 0, 0, 0]), np.array([0.5, 0.1, 1, 1]), np.array([[1.0, 2], [0, 1], [5, 5], [0, 0]])
    )
    values = csr_matrix(np.array([[3.0, 4.0, 0.0, 9.0]]))
    found = reference.points(values, values, present=np.array([True, True, False, True]))
    assert_allclose(found, [[4, 18]])
    assert_allclose(projection_from(reference.arrays()).points(values, values, present=np.ones(4, bool)), [[4, 18]])


def sct(n_genes: int, seed: int) -> SctProjection:
    rng = np.random.default_rng(seed)
    intercept, slope = rng.normal(-8, 1, n_genes), np.full(n_genes, np.log(10))
    theta, offset = rng.uniform(1, 20, n_genes), rng.normal(0, 0.1, n_genes)
    whole = expected_total(intercept, slope)
    return SctProjection(intercept, slope, theta, offset, whole, np.array([-5.0, 5.0]), rng.normal(size=(n_genes, 2)))


def test_pearson_residual_worked_by_hand() -> None:
    # Expected count exp(-log 10 + log 10 x 2) = 10, variance 10 + 100 / 5 = 30; 40 is cut at 5.
    model = SctProjection(
        np.array([-np.log(10)]), np.array([np.log(10)]), np.array([5.0]), np.array([0.5]), np.ones(DEPTHS.size),
        np.array([-5.0, 5.0]), np.ones((1, 1)),
    )  # fmt: skip
    found = model.residuals(np.array([[13.0], [40.0]]), np.array([2.0, 2.0]), np.array([0]))
    assert_allclose(found, [[3 / np.sqrt(30) - 0.5], [30 / np.sqrt(30) - 0.5]])
    assert_allclose(model.residuals(np.array([[99.0]]), np.array([2.0]), np.array([0])), [[5.0]])


@pytest.mark.parametrize("n_seen", [400, 40])
def test_depth_is_found_from_part_of_the_genes(n_seen) -> None:
    model = sct(400, seed=0)
    depth = np.array([3.0, 3.5, 4.0])
    rate = np.exp(model.intercept + depth[:, None] * model.slope)
    rate *= 10 ** depth[:, None] / rate.sum(
        axis=1, keepdims=True
    )  # counts that sum to the depth, in the model's shares
    counts = np.random.default_rng(1).poisson(rate)
    seen = np.arange(n_seen)
    found = model.depth(csr_matrix(counts[:, seen]), seen)
    assert_allclose(found, depth, atol=1.3 / np.sqrt(counts[:, seen].sum(axis=1).min()))


def test_genes_outside_the_model_or_the_query_do_not_count() -> None:
    model = sct(30, seed=2)
    counts = csr_matrix(np.random.default_rng(3).poisson(3.0, (5, 30)).astype(np.float32))
    without = np.ones(30, bool)
    without[20:] = False
    intercept = np.where(without, model.intercept, np.nan)
    less = SctProjection(
        intercept, *(getattr(model, n) for n in ("slope", "theta", "offset", "whole", "clip", "loadings"))
    )
    expected = model.points(counts, counts, present=without)
    assert_allclose(less.points(counts, counts, present=np.ones(30, bool)), expected)
    assert not np.allclose(model.points(counts, counts, present=np.ones(30, bool)), expected)
    assert_allclose(projection_from(less.arrays()).points(counts, counts, present=without), expected)
