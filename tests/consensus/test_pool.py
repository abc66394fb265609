"""How members' probabilities are calibrated and pooled; without a calibration the pool is the mean over who voted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from celljury.ontology.load import ontology_from_edges
from celljury.pool import (
    DROP,
    FLOOR,
    MemberCalibration,
    as_terms,
    calibrate_member,
    confusion_counts,
    confusion_posterior,
    dense_mass,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    macro_f1,
    mass_below,
    member_weights,
    pool_mass,
    pooled,
    tempered,
    vote_columns,
)
from celljury.votes import Votes

if TYPE_CHECKING:
    from random import Random

    from celljury.ontology.graph import CellOntology

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


# One member's probabilities -----------------------------------------------------------------------------------------


def honest(n_cells: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n_cells, 4) and true terms that were drawn from them."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(N_TERMS, 2.0), n_cells)
    drawn = (chances.cumsum(axis=1) < rng.random((n_cells, 1))).sum(axis=1)
    return chances, drawn.clip(max=N_TERMS - 1).astype(np.int32)


def powered(chances: np.ndarray, power: float) -> np.ndarray:
    return chances**power / (chances**power).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "temperature",
    [
        pytest.param(0.5, id="member_was_too_modest"),
        pytest.param(1.0, id="member_was_honest"),
        pytest.param(2.0, id="member_was_too_sure"),
    ],
)
def test_fitted_temperature_is_the_one_that_the_probabilities_were_made_with(temperature: float) -> None:
    chances, truth = honest(20_000, seed=0)
    said = powered(chances, temperature)
    assert fit_temperature(said, truth) == pytest.approx(temperature, rel=0.05)
    made = calibrate_member(said, truth, method="temperature")
    np.testing.assert_allclose(made.apply(said), powered(said, 1 / made.temperature), atol=0.01)  # FLOOR
    assert made.log_loss <= made.log_loss_before + 1e-9
    assert made.log_loss == pytest.approx(log_loss(chances, truth), abs=2e-3)
    assert made.ece < 0.02


def test_temperature_is_1_without_cells() -> None:
    assert fit_temperature(np.zeros((0, N_TERMS)), np.zeros(0, np.int32)) == 1


@settings(max_examples=100, deadline=None)
@given(masses(), st.floats(0.05, 20))
def test_tempering_keeps_the_ranking(mass: np.ndarray, temperature: float) -> None:
    rows = mass.reshape(-1, N_TERMS)
    warm = tempered(rows, temperature)
    np.testing.assert_allclose(warm.sum(axis=1), 1)
    order = np.argsort(rows, axis=1)
    assert (np.diff(np.take_along_axis(warm, order, axis=1), axis=1) >= 0).all()
    apart = np.abs(rows[:, :, None] - rows[:, None, :]) > 1e-3
    assert ((warm[:, :, None] != warm[:, None, :]) | ~apart).all()


def test_temperature_1_changes_nothing_but_zeros() -> None:
    np.testing.assert_allclose(tempered(np.array([[0.7, 0.2, 0.1]]), 1.0), [[0.7, 0.2, 0.1]], rtol=1e-12)
    assert tempered(np.array([[1.0, 0.0]]), 1.0).tolist() == [[1 / (1 + FLOOR), FLOOR / (1 + FLOOR)]]


def test_confusion_posterior_by_hand() -> None:
    """Votes for a: 6 true a, 2 true b; for b: 1 and 1; k = 10 cells follow the shares .7 and .3."""
    counts = confusion_counts(np.array([0] * 8 + [1, 1, -1]), np.array([0] * 6 + [1] * 2 + [0, 1, 0]), n_terms=2)
    assert counts.tolist() == [[6, 2], [1, 1]]
    np.testing.assert_allclose(
        confusion_posterior(counts, smoothing=10), [[(6 + 7) / 18, (2 + 3) / 18], [(1 + 7) / 12, (1 + 3) / 12]]
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([[3, 1], [0, 0]], [[0.75, 0.25], [0.75, 0.25]], id="vote_never_cast_says_the_shares"),
        pytest.param([[0, 0], [0, 0]], [[0.5, 0.5], [0.5, 0.5]], id="without_cells_all_terms_alike"),
    ],
)
def test_confusion_posterior_of_what_was_never_seen(counts: list[list[float]], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(confusion_posterior(np.array(counts, float)), expected)


def test_auto_takes_what_predicts_other_folds_better() -> None:
    """An honest member keeps its probabilities; one whose every sure vote for term 0 is as often a term 1 does not."""
    chances, truth = honest(600, seed=1)
    fold = np.repeat(np.arange(3), 200).astype(np.int32)
    assert calibrate_member(powered(chances, 2), truth, fold=fold).method == "temperature"
    kind = np.arange(600) % 4
    sure = np.eye(N_TERMS)[np.where(kind == 1, 0, kind)]
    made = calibrate_member(sure, kind.astype(np.int32), fold=fold)
    assert made.method == "confusion"
    other = calibrate_member(sure, kind.astype(np.int32), method="temperature")
    assert made.log_loss < other.log_loss
    # 300 votes for term 0, of which 150 are right: (150 + 20 / 4) / (300 + 20).
    assert made.apply(sure[:1]) == pytest.approx(np.array([[155, 155, 5, 5]]) / 320)
    assert (made.accuracy, made.n_cells) == (0.75, 600)


def test_auto_needs_two_folds_to_choose() -> None:
    kind = (np.arange(40) % 4).astype(np.int32)
    sure = np.eye(N_TERMS)[np.where(kind == 1, 0, kind)]
    assert calibrate_member(sure, kind, fold=np.zeros(40, np.int32)).method == "temperature"


@pytest.mark.parametrize("method", ["temperature", "confusion", "none"])
def test_cells_without_a_vote_stay_without_and_teach_nothing(method: str) -> None:
    chances, truth = honest(200, seed=2)
    silent = np.zeros((50, N_TERMS))
    alone = calibrate_member(chances, truth, method=method)
    among = calibrate_member(np.concatenate([silent, chances]), np.concatenate([truth[:50], truth]), method=method)
    assert (among.temperature, among.n_cells, among.log_loss) == (alone.temperature, 200, alone.log_loss)
    np.testing.assert_array_equal(among.posterior, alone.posterior)
    applied = among.apply(np.concatenate([silent, chances]))
    assert not applied[:50].any()
    np.testing.assert_array_equal(applied[50:], alone.apply(chances))
    np.testing.assert_allclose(applied[50:].sum(axis=1), 1)


def test_member_that_never_voted_has_no_figures() -> None:
    made = calibrate_member(np.zeros((5, N_TERMS)), np.zeros(5, np.int32))
    assert (made.method, made.temperature, made.n_cells) == ("temperature", 1.0, 0)
    assert np.isnan(
        [made.accuracy, made.macro_f1, made.log_loss, made.log_loss_before, made.ece, made.ece_before]
    ).all()
    assert not made.apply(np.zeros((3, N_TERMS))).any()


@pytest.mark.parametrize(
    ("bins", "expected"),
    [
        pytest.param(1, 0.175, id="one_group_sure_.675_right_.5"),
        pytest.param(2, 0.175, id="two_groups_.5_of_.5_and_.85_of_.5"),
        pytest.param(4, 0.425, id="four_groups_of_one"),
        pytest.param(15, 0.425, id="no_more_groups_than_cells"),
    ],
)
def test_calibration_error_by_hand(bins: int, expected: float) -> None:
    sure, right = np.array([0.9, 0.4, 0.8, 0.6]), np.array([True, False, False, True])
    assert expected_calibration_error(sure, right, bins=bins) == pytest.approx(expected)


def test_calibration_error_does_not_part_equally_sure_cells() -> None:
    """Ten cells sure at .8, eight right, are calibrated, in whatever order they stand."""
    right = np.array([True] * 8 + [False] * 2)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(10)
        assert expected_calibration_error(np.full(10, 0.8), right[order], bins=5) == pytest.approx(0, abs=1e-12)
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_macro_f1_by_hand() -> None:
    """Term 0: 2 hits of 2 true and 3 called, 4/5; term 1: 1 of 2 and 1, 2/3; term 3 is never true and has no F1."""
    called, truth = np.array([0, 0, 0, 1, 3]), np.array([0, 0, 1, 1, 2])
    assert macro_f1(called, truth) == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert macro_f1(np.array([-1, -1]), np.array([0, 1])) == 0
    assert np.isnan(macro_f1(np.zeros(0, int), np.zeros(0, int)))


# The calibrated pool ------------------------------------------------------------------------------------------------


@st.composite
def worthy(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw mass (n_members, n_cells, n_terms), its top votes (n_cells, n_members) and the votes' worth."""
    mass = draw(masses())
    vote = np.where(mass.sum(axis=2) > 0, mass.argmax(axis=2), -1).T.astype(np.int32)
    row = st.lists(st.floats(0.05, 4), min_size=N_TERMS, max_size=N_TERMS)
    return mass, vote, np.array(draw(st.lists(row, min_size=len(mass), max_size=len(mass))))


def test_pool_by_hand() -> None:
    """Worth of the votes cast: 3 and 1; .75 x (.6, .4) + .25 x (.2, .8)."""
    mass = [np.array([[0.6, 0.4], [0.6, 0.4]]), np.array([[0.2, 0.8], [0, 0]])]
    worth = np.array([[3.0, 9.0], [9.0, 1.0]])
    found = pooled(mass, np.array([[0, 1], [0, -1]], np.int32), worth)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.6, 0.4]], atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(worthy())
def test_rows_of_the_pool_sum_to_1_or_0(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    mass, vote, worth = drawn
    found = pooled(list(mass), vote, worth)
    np.testing.assert_allclose(found.sum(axis=1), (vote >= 0).any(axis=1), atol=1e-12)
    assert (found >= 0).all()


@settings(max_examples=100, deadline=None)
@given(worthy(), st.integers(0, 4))
def test_member_that_abstains_everywhere_changes_no_bit(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], at: int
) -> None:
    mass, vote, worth = drawn
    at = min(at, len(mass))
    more = [*mass[:at], np.full(mass[0].shape, 0.25), *mass[at:]]  # what it would say does not matter either
    found = pooled(more, np.insert(vote, at, -1, axis=1).astype(np.int32), np.insert(worth, at, 7.0, axis=0))
    np.testing.assert_array_equal(found, pooled(list(mass), vote, worth))


@settings(max_examples=100, deadline=None)
@given(worthy(), st.randoms(use_true_random=False))
def test_order_of_members_with_their_worth_changes_nothing(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], random: Random
) -> None:
    mass, vote, worth = drawn
    order = list(range(len(mass)))
    random.shuffle(order)
    found = pooled([mass[j] for j in order], vote[:, order], worth[order])
    np.testing.assert_allclose(found, pooled(list(mass), vote, worth), atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(worthy(), st.integers(0, N_TERMS - 1))
def test_unanimous_votes_stay_the_top_term(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], term: int) -> None:
    mass, vote, worth = drawn
    sure = np.zeros_like(mass)
    sure[..., term] = vote.T >= 0
    found = pooled(list(sure), np.where(vote >= 0, term, -1).astype(np.int32), worth)
    np.testing.assert_allclose(found[:, term], (vote >= 0).any(axis=1), atol=1e-12)
    some = (vote >= 0).any(axis=1)
    assert (tempered(found, 3.0).argmax(axis=1)[some] == term).all()


def test_blocks_of_cells_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    mass = rng.dirichlet(np.ones(N_TERMS), (3, 100))
    vote, worth = mass.argmax(axis=2).T.astype(np.int32), rng.uniform(0.1, 3, (3, N_TERMS))
    made = MemberCalibration("temperature", 1.7, np.eye(N_TERMS), 1, *([0.0] * 6))
    whole = pooled([made.apply(m) for m in mass], vote, worth)
    for rows in (slice(0, 1), slice(3, 40), rng.permutation(100)):
        part = pooled([made.apply(m[rows]) for m in mass], vote[rows], worth)
        np.testing.assert_array_equal(part, whole[rows])


def test_no_members_pool_to_nothing() -> None:
    assert pooled([], np.zeros((3, 0), np.int32), np.zeros((0, 0))).shape == (3, 0)


# Between terms and columns ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree() -> CellOntology:
    parents = {"cell": [], "blood": ["cell"], "T": ["blood"], "B": ["blood"], "stone": ["cell"]}
    return ontology_from_edges({name: name for name in parents}, parents, release="toy")


def test_shares_too_small_to_matter_are_dropped_and_the_rest_is_whole(tree: CellOntology) -> None:
    columns = np.sort(tree.indices(["T", "B", "stone"]))
    found = as_terms(np.array([[0.5, 0.5 - DROP / 2, DROP / 2], [0, 0, 0]]), columns, n_terms=len(tree))
    assert found.nnz == 2
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1).ravel(), [[1, 0]], atol=1e-6)
    assert set(found.indices) == set(columns[:2])


def test_votes_and_mass_outside_the_columns_do_not_count(tree: CellOntology) -> None:
    columns = np.sort(tree.indices(["T", "B"]))
    i_stone = tree.index("stone")
    mass = np.zeros((1, 3, len(tree)))
    mass[0, 0, columns[1]] = mass[0, 1, i_stone] = 1
    votes = votes_with(mass)
    assert vote_columns(votes, columns).tolist() == [[1], [-1], [-1]]
    assert dense_mass(votes, columns)[0].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert vote_columns(votes, np.zeros(0, np.int32)).tolist() == [[-1], [-1], [-1]]


def test_mass_below_by_hand(tree: CellOntology) -> None:
    names = ("T", "B", "stone")
    row = np.zeros((4, len(tree)), np.float32)
    row[:3, tree.indices(names)] = [0.5, 0.3, 0.2]
    term = np.array([tree.index("T"), tree.index("blood"), -1, tree.index("cell")], np.int32)
    np.testing.assert_allclose(mass_below(csr_matrix(row), term, tree), [0.5, 0.8, 0, 0], atol=1e-6)
    assert mass_below(csr_matrix(row), np.full(4, -1, np.int32), tree).tolist() == [0, 0, 0, 0]
