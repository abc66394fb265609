"""popV's predictors as members: the shared checks, what each one's library says of the same cells, and real cells."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import end_to_end, p1
from scipy.sparse import csr_matrix
from scipy.special import softmax

from celljury.members.base import Block, Member, Reference
from celljury.members.bbknn import Bbknn
from celljury.members.checks import N_GENES, TERMS, Trial, member_checks, rows_of
from celljury.members.components import moments
from celljury.members.connectivity import connectivities, tally
from celljury.members.harmony_knn import HarmonyKnn, batch_shifts, cells_of_batches, pull
from celljury.members.integrated import LEAST_CELLS
from celljury.members.random_forest import FLOOR, RandomForest
from celljury.members.scanorama_knn import ScanoramaKnn
from celljury.members.soft_clusters import unit
from celljury.members.subsample import halves
from celljury.members.svm import Svm
from celljury.members.trees import Tree, Trees
from celljury.members.xgboost import XGBoost

MEMBERS = (Svm, RandomForest, XGBoost, HarmonyKnn, Bbknn, ScanoramaKnn)
INTEGRATED = (HarmonyKnn, ScanoramaKnn)


@pytest.fixture(scope="module", params=MEMBERS, ids=lambda kind: kind.name)
def trial(request: pytest.FixtureRequest) -> Trial:
    return trial_of(request.param)


@pytest.fixture(scope="module", params=INTEGRATED, ids=lambda kind: kind.name)
def integrated(request: pytest.FixtureRequest) -> Trial:
    return trial_of(request.param)


def trial_of(kind: type[Member]) -> Trial:
    if missing := kind.missing():
        pytest.skip(f"needs {', '.join(missing)}")
    return Trial(kind)


def two_types(trial: Trial) -> Reference:
    kept = np.flatnonzero(trial.reference.label < 2)
    return Reference(rows_of(trial.reference.cells, kept), trial.reference.label[kept], trial.reference.terms[:2])


def lacking(block: Block, genes: list[int]) -> Block:
    """Return the block as a query that did not measure some genes."""
    present = np.ones(len(block.genes), np.bool_)
    present[genes] = False
    counts = csr_matrix(block.counts.multiply(present.astype(np.float32)), dtype=np.float32)
    counts.eliminate_zeros()
    return Block(counts, block.genes, present, block.batch, block.batches)


# The contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_shared_check(check, trial) -> None:
    check(trial)


def test_names_and_extras_are_those_of_the_package(trial) -> None:
    expected = {
        "svm": ("sklearn", ""),
        "random_forest": ("sklearn", ""),
        "xgboost": ("xgboost", "xgboost"),
        "harmony_knn": ("harmonypy", "harmony"),
        "bbknn": ("sklearn", ""),
        "scanorama_knn": ("scanorama", "scanorama"),
    }
    kind = type(trial.member)
    assert kind.kind == "light"
    assert (kind.modules[0], kind.extra) == expected[kind.name]
    assert kind.library_version().startswith(kind.distribution)
    assert not kind.library_version().endswith("unknown")
    assert kind.about is not None
    assert all((kind.about.what, kind.about.score, kind.about.right, kind.about.fails, kind.about.licence))
    assert any("popV" in paper for paper in kind.about.cite)


def test_saved_folder_holds_only_json_and_npz_without_objects(trial, tmp_path) -> None:
    trial.member.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            assert all(not archive[name].dtype.hasobject for name in archive.files)


def test_two_types_give_probabilities(trial) -> None:
    votes = trial.make().fit(two_types(trial)).adapt(trial.query).predict(trial.query)
    seen = trial.truth < 2
    assert np.mean(votes.mass.argmax(axis=1)[seen] == trial.truth[seen]) > 0.9


def test_nothing_is_printed(trial, capfd) -> None:
    trial.make().fit(trial.reference).adapt(trial.query).predict(trial.query)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


# Probabilities on held-out cells ----------------------------------------------------------------------------------


def test_votes_are_sure_where_types_are_plain() -> None:
    """Margins and shares of trees alone would leave the true type of plain cells at about .6."""
    for kind in (Svm, RandomForest):
        trial = trial_of(kind)
        right = trial.votes.mass[np.arange(trial.truth.size), trial.truth]
        assert np.median(right) > 0.9


def test_margins_are_those_of_scikit_learn() -> None:
    from sklearn.svm import LinearSVC

    trial = Trial(Svm)
    member = trial.member
    expression, label = member.normalized(trial.reference.cells), trial.reference.label
    scale = np.sqrt(moments(expression)[1])
    model = LinearSVC(C=0.001, class_weight="balanced", max_iter=5_000, random_state=0)
    model.fit(expression.multiply(1 / scale).tocsr(), label)
    query = member.normalized(trial.query)
    expected = model.decision_function(query.multiply(1 / scale).tocsr())
    assert_allclose(query @ member.coef.T + member.intercept, expected, atol=1e-4)
    assert_allclose(trial.votes.mass, softmax(expected / member.temperature, axis=1), atol=1e-3)


def test_temperature_comes_from_cells_that_the_machines_did_not_see() -> None:
    """Labels without meaning: margins of the cells learned from are large, those of others say nothing."""
    trial = Trial(Svm)
    label = np.random.default_rng(0).permutation(trial.reference.label)
    member = Svm(inverse_penalty=1.0).fit(Reference(trial.reference.cells, label, TERMS))
    mass = member.predict(trial.query).mass
    assert mass.max(axis=1).mean() < 0.6
    seen = member.predict(trial.reference.cells).mass
    assert np.mean(seen.argmax(axis=1) == label) > 0.9  # the machines themselves learned them by heart
    assert halves(label, seed=0).any()


def test_gene_that_the_query_lacks_counts_as_average_in_a_margin() -> None:
    trial = Trial(Svm)
    member, genes = trial.member, [0, 1, 2, 15]
    query = lacking(trial.query, genes)
    values = member.normalized(query).toarray()
    values[:, genes] = member.mean[genes]
    expected = softmax((values @ member.coef.T + member.intercept) / member.temperature, axis=1)
    assert_allclose(member.predict(query).mass, expected, atol=1e-5)


# Trees ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stump() -> Trees:
    """Gene 0 at 1: left, 3 of 4 cells, gene 1 at 2 (1 and 2 cells, which name terms 0 and 1); right, term 2."""
    nothing = [0.0, 0.0, 0.0]
    value = csr_matrix([nothing, nothing, [0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0]])
    return Trees.join([
        Tree(
            left=np.array([1, 3, -1, -1, -1]), right=np.array([2, 4, -1, -1, -1]), gene=np.array([0, 1, -2, -2, -2]),
            threshold=np.array([1.0, 2.0, -2, -2, -2]), weight=np.array([4.0, 3, 1, 1, 2]), value=value,
        )
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param((True, True), ([1, 0, 0], [0, 1, 0], [0, 0, 1]), id="at_most_the_threshold_goes_left"),
        pytest.param((False, True), ([0.75, 0, 0.25], [0, 0.75, 0.25], [0.75, 0, 0.25]), id="first_gene_lacking"),
        pytest.param((True, False), ([1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0], [0, 0, 1]), id="second_gene_lacking"),
        pytest.param((False, False), ([0.25, 0.5, 0.25],) * 3, id="shares_of_the_training_cells_without_genes"),
    ],
)
def test_walk_worked_by_hand(stump, present, expected) -> None:
    cells = csr_matrix(np.array([[1, 2], [0, 3], [1.5, 0]], np.float32))
    assert_allclose(stump.vote(cells, present=np.array(present)), expected)
    twice = Trees.from_arrays(stump.arrays(), n_terms=3)
    assert_allclose(twice.vote(cells, present=np.array(present)), expected)


def test_forest_gives_the_probabilities_of_scikit_learn() -> None:
    from sklearn.ensemble import RandomForestClassifier

    for trial in (Trial(RandomForest), Trial(RandomForest, seed=3)):
        member = trial.member
        forest = RandomForestClassifier(
            n_estimators=100, max_features=N_GENES, min_samples_leaf=3, class_weight="balanced", random_state=0
        )
        forest.fit(member.normalized(trial.reference.cells).toarray(), trial.reference.label)
        expected = forest.predict_proba(member.normalized(trial.query).toarray())
        assert_allclose(member.shares(trial.query), expected, atol=1e-12)
        assert_allclose(
            trial.votes.mass, softmax(np.log(expected + FLOOR) / member.temperature, axis=1), rtol=1e-5, atol=1e-7
        )


def test_type_of_one_cell_does_not_spoil_the_temperature() -> None:
    """The trees that did not learn from its only cell cannot name it: counted, it would say that no share is sure."""
    member = RandomForest()
    member.terms = TERMS
    share = np.array([[0.8, 0.2, 0], [0.7, 0.3, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0.9, 0.1, 0]])
    assert member._temperature(share, np.array([0, 0, 1, 1, 2])) < 0.2
    assert member._temperature(share, np.array([0, 0, 2, 1, 2])) > 0.5  # a second cell, so that trees could know it


@pytest.mark.parametrize("n_terms", [pytest.param(2, id="two_types"), pytest.param(3, id="three_types")])
def test_boosted_trees_give_the_probabilities_of_xgboost(n_terms) -> None:
    xgboost = pytest.importorskip("xgboost")
    trial = Trial(XGBoost)
    reference = trial.reference if n_terms == 3 else two_types(trial)
    member = XGBoost(rounds=20).fit(reference)
    booster = member._boosted(member.normalized(reference.cells).toarray(), reference.label)
    # The reference's own values as well: thresholds lie at them.
    for cells in (trial.query, trial.reference.cells):
        expected = booster.predict(xgboost.DMatrix(member.normalized(cells).toarray(), nthread=1))
        assert_allclose(member.predict(cells).mass, expected, atol=2e-6)


# Connections ------------------------------------------------------------------------------------------------------


def test_connectivities_worked_by_hand() -> None:
    # rho = 1; exp(0) + 2 exp(-1 / sigma) = log2(4) gives exp(-1 / sigma) = 1 / 2.
    assert_allclose(connectivities(np.array([[1.0, 2.0, 2.0]])), [[1, 0.5, 0.5]])
    assert_allclose(connectivities(np.array([[3.0], [0.0]])), [[1], [1]])  # one neighbour is all there is
    assert_allclose(connectivities(np.zeros((1, 4))), [[1, 1, 1, 1]])


@given(
    st.lists(st.floats(0.01, 100), min_size=3, max_size=20).map(sorted),
    st.floats(0.5, 2),
)
def test_connectivities_fall_with_distance_and_know_no_units(distances, factor) -> None:
    distance = np.array([distances])
    found = connectivities(distance)
    assert found.max() == 1
    assert (np.diff(found[0]) <= 1e-12).all()
    assert_allclose(connectivities(distance * factor), found, atol=1e-6)
    batch = distance + 5.0  # a shift that lengthens all distances alike changes the strengths only by UMAP's bound
    if (distance[0, 1:] - distance[0, 0]).min() > 0.5:
        assert_allclose(connectivities(batch), found, atol=0.05)


def test_tally_worked_by_hand() -> None:
    found = tally(np.array([[1.0, 0.5, 0.5], [1.0, 1.0, 0.0]]), np.array([[2, 0, 2], [1, 0, 2]]), n_terms=3)
    assert_allclose(found, [[0.25, 0, 0.75], [0.5, 0.5, 0]])


# BBKNN ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bbknn_matrix():
    pytest.importorskip("bbknn")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed")
        from bbknn import matrix
    return matrix


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
def test_neighbors_are_those_of_bbknn(bbknn_matrix, metric) -> None:
    trial = Trial(Bbknn)
    member = Bbknn(metric=metric).fit(trial.reference)
    query = member.components.coordinates(member.normalized(trial.query), present=trial.query.present).astype(float)
    distance, neighbor = member.neighbors(query)
    assert distance.shape == (trial.query.n_cells, 16)  # 8 of each of two batches
    points = np.concatenate([member.points, query])
    batch = np.concatenate([member.batch, 2 + trial.query.batch])
    theirs, _, _ = bbknn_matrix.bbknn(
        unit(points) if metric == "angular" else points, batch, neighbors_within_batch=8, computation="cKDTree", trim=0
    )
    n = member.label.size
    expected = theirs[n:, :n].toarray()
    got = np.zeros_like(expected)
    np.put_along_axis(got, neighbor, distance, axis=1)
    assert_allclose(got, expected, atol=1e-6)


def test_connectivities_are_those_of_umap(bbknn_matrix) -> None:
    from umap.umap_ import compute_membership_strengths, smooth_knn_dist

    rng = np.random.default_rng(0)
    distance = np.sort(rng.gamma(3.0, 1.0, (30, 15)), axis=1)
    itself = np.concatenate([np.zeros((30, 1)), distance], axis=1).astype(np.float32)
    neighbor = np.tile(np.arange(30, 46), (30, 1))  # none is the cell itself but the first, which is left out
    sigma, rho = smooth_knn_dist(itself, 16.0)
    *_, strength, _ = compute_membership_strengths(neighbor, itself, sigma, rho)
    assert_allclose(connectivities(distance), strength.reshape(30, 16)[:, 1:], atol=1e-3)


def test_batch_with_fewer_cells_gives_all_it_has() -> None:
    trial = Trial(Bbknn)
    cells = trial.reference.cells
    kept = np.concatenate([np.flatnonzero(cells.batch == 0), np.flatnonzero(cells.batch == 1)[:3]])
    member = Bbknn().fit(Reference(rows_of(cells, kept), trial.reference.label[kept], TERMS))
    _, neighbor = member.neighbors(member.points)
    assert_array_equal((member.batch[neighbor] == 1).sum(axis=1), 3)
    assert_array_equal((member.batch[neighbor] == 0).sum(axis=1), 8)


# Integration ------------------------------------------------------------------------------------------------------


def test_sample_in_another_order_is_the_same_sample(integrated) -> None:
    """Rows, and the order in which a query names its batches, are no part of what cells are."""
    query = integrated.query
    order = np.random.default_rng(5).permutation(query.n_cells)
    names = query.batches[::-1]
    turned = Block(query.counts[order], query.genes, query.present, 1 - query.batch[order], names)
    member = integrated.make().fit(integrated.reference).adapt(turned)
    integrated.agree(member.predict(query), integrated.votes, what="adapted to shuffled cells")


def test_sample_is_bounded(integrated) -> None:
    member = integrated.make(adapt_cells_per_batch=12, adapt_cells=20).fit(integrated.reference)
    member.adapt(integrated.query)
    assert_array_equal(np.bincount(member.adapted.batch), [LEAST_CELLS, LEAST_CELLS])
    assert np.mean(member.predict(integrated.query).mass.argmax(axis=1) == integrated.truth) > 0.9


def test_small_and_new_batches_vote_as_if_nothing_were_adapted(integrated) -> None:
    query = integrated.query
    small = np.concatenate([np.flatnonzero(query.batch == 0), np.flatnonzero(query.batch == 1)[: LEAST_CELLS - 1]])
    some = rows_of(query, small)
    member = integrated.make().fit(integrated.reference)
    before = member.predict(query)
    member.adapt(some)
    assert member.adapted.batches == ("query1",)
    after = member.predict(query)
    second = query.batch == 1
    assert_array_equal(after.mass[second], before.mass[second])
    # Plain types have the same neighbours before and after: what was integrated has moved all the same.
    first = rows_of(query, np.flatnonzero(~second))
    apart = np.concatenate([member._coordinates(first), member.fitted])
    assert np.abs(unit(np.concatenate([member.place(first), member.adapted.reference])) - unit(apart)).max() > 0.01
    assert np.mean(after.mass[~second].argmax(axis=1) == integrated.truth[~second]) > 0.9
    few = rows_of(query, np.arange(LEAST_CELLS - 1))
    assert member.adapt(few).adapted is None
    assert_array_equal(member.predict(query).mass, before.mass)


def test_batch_is_brought_to_its_types(integrated) -> None:
    """A query whose every gene is off by its own factor has its types nearer to the reference's afterwards."""
    query = integrated.query
    factor = np.random.default_rng(2).lognormal(0, 0.7, len(query.genes))
    counts = csr_matrix(np.round(query.counts.toarray() * factor), dtype=np.float32)
    shifted = Block(counts, query.genes, query.present, np.zeros_like(query.batch), ("other",))
    member = integrated.make().fit(integrated.reference).adapt(shifted)

    def off(placed, reference) -> float:
        there = np.array([unit(reference)[member.label == term].mean(axis=0) for term in range(3)])
        here = np.array([unit(placed)[integrated.truth == term].mean(axis=0) for term in range(3)])
        return float(np.linalg.norm(here - there, axis=1).mean())

    before = off(member._coordinates(shifted), member.fitted)
    assert off(member.place(shifted), member.adapted.reference) < 0.6 * before


def test_shifts_worked_by_hand() -> None:
    # One cluster, batches of 3 cells at 0 and 1 cell at 4; penalties .2 x 3 and .2 x 1. The normal equations are
    # 4 a + 3 u + v = 4, 3 a + 3.6 u = 0, a + 1.2 v = 4: a = 1, u = -3 / 3.6, v = 3 / 1.2.
    points = np.array([[0.0], [0.0], [0.0], [4.0]])
    found = batch_shifts(points, np.ones((4, 1)), np.array([0, 0, 0, 1], np.int32), ridge=0.2)
    assert_allclose(found, [[[-3 / 3.6]], [[3 / 1.2]]])


def test_pull_worked_by_hand() -> None:
    # Two cells of one batch and two of another; the first batch is in cluster 0 only, the second in both.
    membership = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    batch = np.array([0, 0, 1, 1], np.int32)
    observed, expected = cells_of_batches(membership, batch)
    assert_allclose(observed, [[2, 0], [1, 1]])
    assert_allclose(expected, [[1.5, 0.5], [1.5, 0.5]])
    assert_allclose(pull(membership, batch), np.log([[1.5 / 3.5, 1], [1.5 / 2.5, 0.5 / 1.5]]), atol=1e-9)


@pytest.fixture(scope="module")
def harmony():
    pytest.importorskip("harmonypy")
    reference, query, _ = p1()
    member = HarmonyKnn().fit(reference).adapt(query)
    rows, _ = member._sample(query)
    return member, rows_of(query, rows)


def test_shifts_are_those_of_harmonypy(harmony) -> None:
    """harmonypy's own memberships and the shifts computed here give harmonypy's coordinates."""
    import pandas as pd
    from harmonypy import run_harmony

    member, _ = harmony
    points = np.concatenate([member.plain, member.adapted.plain])
    batch = np.concatenate([member.batch, member.n_batches + member.adapted.batch])
    found = run_harmony(points, pd.DataFrame({"b": batch}), ["b"], nclust=40, verbose=False, ncores=1, random_state=0)
    membership = np.asarray(found.R, np.float64)
    shifts = batch_shifts(points, membership, batch, ridge=0.2)
    moved = points - np.einsum("ik,ikd->id", membership, shifts[batch])
    assert np.linalg.norm(points - found.Z_corr, axis=1).mean() > 1  # there is something to undo
    assert_allclose(moved, found.Z_corr, atol=0.05)
    assert_allclose(member.adapted.reference, found.Z_corr[: member.plain.shape[0]], atol=1e-4)


def test_sampled_cells_land_where_harmony_put_them(harmony) -> None:
    member, sample = harmony
    off = np.linalg.norm(member.place(sample) - member.adapted.moved, axis=1)
    wide = np.sqrt(np.var(member.adapted.reference, axis=0).sum())
    assert np.median(off) < 0.005 * wide
    assert np.quantile(off, 0.99) < 0.1 * wide


def test_what_draws_batches_to_clusters_brings_sampled_cells_nearer(harmony) -> None:
    member, sample = harmony
    drawn = np.linalg.norm(member.place(sample) - member.adapted.moved, axis=1)
    learned = {**member.adapted.learned, "pull": np.zeros_like(member.adapted.learned["pull"])}
    other = HarmonyKnn().fit(p1()[0])
    other.adapted = replace(member.adapted, learned=learned)
    assert np.median(drawn) < 0.85 * np.median(np.linalg.norm(other.place(sample) - member.adapted.moved, axis=1))


def test_cells_outside_the_sample_go_with_those_inside(harmony) -> None:
    """Half of a query integrated: the other half lands among the types where integrating all would have put it."""
    whole, sample = harmony
    inside, outside = np.arange(0, sample.n_cells, 2), np.arange(1, sample.n_cells, 2)
    half = HarmonyKnn().fit(p1()[0]).adapt(rows_of(sample, inside))
    same = half.predict(rows_of(sample, outside)).mass.argmax(axis=1) == whole.predict(
        rows_of(sample, outside)
    ).mass.argmax(axis=1)
    assert same.mean() > 0.93


def test_sampled_cells_land_near_where_scanorama_put_them() -> None:
    pytest.importorskip("scanorama")
    reference, query, _ = p1()
    member = ScanoramaKnn().fit(reference).adapt(query)
    rows, _ = member._sample(query)
    moved = np.linalg.norm(member.adapted.moved - unit(member.adapted.plain), axis=1)
    off = np.linalg.norm(member.place(rows_of(query, rows)) - member.adapted.moved, axis=1)
    assert np.median(moved) > 0.2
    assert np.median(off) < 0.05
    assert np.quantile(off, 0.99) < 0.15


def test_reference_is_where_scanorama_puts_it() -> None:
    scanorama = pytest.importorskip("scanorama")
    trial = Trial(ScanoramaKnn)
    member = trial.member
    parts = [unit(member.plain[member.batch == code]) for code in (0, 1)]
    parts += [unit(member.adapted.plain[member.adapted.batch == code]) for code in (0, 1)]
    expected = scanorama.assemble(parts, knn=20, sigma=15, alpha=0.1, approx=False, verbose=0)
    for code in (0, 1):
        assert_allclose(member.adapted.reference[member.batch == code], expected[code])
        assert_allclose(member.adapted.moved[member.adapted.batch == code], expected[2 + code])


def test_importing_scanorama_leaves_the_global_generator_alone() -> None:
    pytest.importorskip("scanorama")
    code = (
        "import numpy as np; np.random.seed(7); expected = np.random.RandomState(7).random()\n"
        "from celljury.members.scanorama_knn import import_scanorama; import_scanorama()\n"
        "assert np.random.random() == expected"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Real cells -------------------------------------------------------------------------------------------------------


# About two points, 9 of 430 cells, below what was measured: .974, .972, .981, .953, .972, .965.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "accuracy", "macro_f1"),
    [
        pytest.param(Svm, 0.95, 0.79, id="svm_reaches_95"),
        pytest.param(RandomForest, 0.95, 0.79, id="random_forest_reaches_95"),
        pytest.param(XGBoost, 0.96, 0.80, id="xgboost_reaches_96"),
        pytest.param(HarmonyKnn, 0.93, 0.70, id="harmony_knn_reaches_93"),
        pytest.param(Bbknn, 0.95, 0.79, id="bbknn_reaches_95"),
        pytest.param(ScanoramaKnn, 0.94, 0.70, id="scanorama_knn_reaches_94"),
    ],
)
def test_accuracy_across_technologies(kind: type[Member], accuracy: float, macro_f1: float) -> None:
    if missing := kind.missing():
        pytest.skip(f"needs {', '.join(missing)}")
    found = end_to_end(kind)
    assert found.accuracy >= accuracy
    assert found.macro_f1 >= macro_f1
