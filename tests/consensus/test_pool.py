"""Pooled mass is the plain mean over who voted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.pool import member_weights, pool_mass
from celljury.votes import Votes

if TYPE_CHECKING:
    from random import Random

N_TERMS = 4


def votes_with(mass: np.ndarray) -> Votes:
    """Return votes from mass (n_members, n_cells, n_terms); an empty row abstained."""
    terms = np.where(mass.sum(axis=2) > 0, mass.argmax(axis=2), -1).T.astype(np.int32)
    members = tuple(f"m{j}" for j in range(len(mass)))
    cells = np.array([f"c{i}" for i in range(mass.shape[1])])
    return Votes(cells, members, terms, tuple(csr_matrix(m, dtype=np.float32) for m in mass),
                 np.full(terms.shape, np.nan, np.float32))  # fmt: skip


@st.composite
def masses(draw: st.DrawFn) -> np.ndarray:
    """Draw mass of 1 to 4 members on 1 to 4 cells; a quarter of the rows or so is empty."""
    n_members, n_cells = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 9), min_size=N_TERMS, max_size=N_TERMS) | st.just([0] * N_TERMS)
    cell = st.lists(row, min_size=n_cells, max_size=n_cells)
    parts = np.array(draw(st.lists(cell, min_size=n_members, max_size=n_members)), float)
    return np.asarray(parts / np.maximum(parts.sum(axis=2, keepdims=True), 1))


@settings(max_examples=100, deadline=None)
@given(masses())
def test_pool_is_the_mean_over_who_voted(mass: np.ndarray) -> None:
    pooled = pool_mass(votes_with(mass)).toarray()
    for cell in range(mass.shape[1]):
        cast = [row for row in mass[:, cell] if row.sum() > 0]
        expected = np.mean(cast, axis=0) if cast else np.zeros(N_TERMS)
        np.testing.assert_allclose(pooled[cell], expected, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(masses(), st.randoms(use_true_random=False))
def test_order_of_members_changes_nothing(mass: np.ndarray, random: Random) -> None:
    order = list(range(len(mass)))
    random.shuffle(order)
    np.testing.assert_allclose(
        pool_mass(votes_with(mass[order])).toarray(), pool_mass(votes_with(mass)).toarray(), atol=1e-7
    )


@settings(max_examples=100, deadline=None)
@given(masses(), st.data())
def test_whole_weights_are_repeated_members(mass: np.ndarray, data: st.DataObject) -> None:
    k = len(mass)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=k, max_size=k).filter(any))
    repeated = np.repeat(mass, weights, axis=0)
    np.testing.assert_allclose(
        pool_mass(votes_with(mass), np.array(weights, float)).toarray(),
        pool_mass(votes_with(repeated)).toarray(),
        atol=1e-6,
    )


def test_hand_worked_pool() -> None:
    mass = np.zeros((3, 2, N_TERMS))
    mass[0, 0, 0], mass[1, 0, 0], mass[1, 0, 1] = 1, 0.5, 0.5  # the third member abstains on the first cell
    mass[2, 1, 3] = 1  # and alone votes on the second
    assert pool_mass(votes_with(mass)).toarray().tolist() == [[0.75, 0.25, 0, 0], [0, 0, 0, 1]]


def test_weights_of_a_cell_are_shared_among_who_voted() -> None:
    mass = np.zeros((3, 3, N_TERMS))
    mass[:, 0, 0] = 1
    mass[:2, 1, 0] = 1
    shares = member_weights(votes_with(mass), np.array([1.0, 3.0, 4.0]))
    assert shares.tolist() == [[0.125, 0.375, 0.5], [0.25, 0.75, 0], [0, 0, 0]]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights: expected 2 numbers, none below zero and not all zero"):
        pool_mass(votes_with(np.ones((2, 1, N_TERMS)) / N_TERMS), np.array(weights))


def test_labels_alone_cannot_be_pooled() -> None:
    votes = Votes(np.array(["c"]), ("a",), np.zeros((1, 1), np.int32), None, np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="top terms only"):
        pool_mass(votes)


def test_no_cells_pool_to_no_rows() -> None:
    assert pool_mass(votes_with(np.zeros((2, 0, N_TERMS)))).shape == (0, N_TERMS)
