"""Doublets: found among unlike types, by library, in any order; probability on two lineages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, vstack

from celljury.doublets import doublet_scores, two_lineages

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

QUICK = settings(max_examples=60, deadline=None)


class Library(NamedTuple):
    counts: csr_matrix
    doublet: NDArray[np.bool_]


@pytest.fixture(scope="module")
def library() -> Library:
    """300 cells of four well apart types, and 15 sums of two cells of unlike types."""
    rng = np.random.default_rng(0)
    rate = np.full((4, 400), 0.3)
    for i in range(4):
        rate[i, i * 100 : (i + 1) * 100] = 3
    kind = rng.integers(0, 4, 300)
    cells = rng.poisson(rate[kind])
    first = rng.integers(0, 300, 15)
    second = np.array([rng.choice(np.flatnonzero(kind != kind[i])) for i in first])
    counts = np.vstack([cells, cells[first] + cells[second]]).astype(np.float32)
    return Library(csr_matrix(counts), np.arange(315) >= 300)


def test_doublets_of_unlike_types_are_found(library: Library) -> None:
    found = doublet_scores(library.counts, np.zeros(315, np.int32), seed=0)
    assert found.why_not is None
    assert np.isfinite(found.score).all()
    assert found.predicted[library.doublet].mean() >= 0.9
    assert found.predicted[~library.doublet].mean() <= 0.02


def test_cells_of_one_kind_are_not_called_doublets() -> None:
    """Simulated doublets lie among the cells, and a split of their scores would flag half of these."""
    counts = np.random.default_rng(0).poisson(np.linspace(0.1, 2, 400), (300, 400))
    found = doublet_scores(csr_matrix(counts.astype(np.float32)), np.zeros(300, np.int32), seed=0)
    assert np.isfinite(found.score).all()
    assert found.predicted.mean() <= 0.05


def test_order_of_rows_changes_no_score_and_seed_repeats(library: Library) -> None:
    batch = np.zeros(315, np.int32)
    base = doublet_scores(library.counts, batch, seed=3)
    again = doublet_scores(library.counts, batch, seed=3)
    order = np.random.default_rng(1).permutation(315)
    moved = doublet_scores(csr_matrix(library.counts[order]), batch, seed=3)
    np.testing.assert_array_equal(again.score, base.score)
    np.testing.assert_array_equal(moved.score, base.score[order])
    np.testing.assert_array_equal(moved.predicted, base.predicted[order])


def test_a_batch_is_scored_by_itself_and_a_small_one_not(library: Library) -> None:
    alone = doublet_scores(library.counts, np.zeros(315, np.int32), seed=0)
    both = csr_matrix(vstack([library.counts, library.counts[:40]]))
    found = doublet_scores(both, np.repeat([0, 1], [315, 40]).astype(np.int32), seed=0, batches=("large", "small"))
    np.testing.assert_array_equal(found.score[:315], alone.score)
    assert np.isnan(found.score[315:]).all()
    assert not found.predicted[315:].any()
    assert found.why_not == "No doublet score for 1 batch (small) with fewer than 100 cells with counts."


def test_chunks_score_every_cell(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celljury.doublets.DOUBLET_CHUNK", 160)
    found = doublet_scores(library.counts, np.zeros(315, np.int32), seed=0)
    assert np.isfinite(found.score).all()
    above = found.score[library.doublet][:, None] > found.score[~library.doublet][None, :]
    assert above.mean() > 0.95
    assert found.predicted[~library.doublet].mean() <= 0.03


def test_empty_cells_and_few_genes_are_not_scored(library: Library) -> None:
    counts = library.counts.tolil()
    counts[5] = 0
    found = doublet_scores(csr_matrix(counts), np.zeros(315, np.int32), seed=0)
    assert np.flatnonzero(np.isnan(found.score)).tolist() == [5]
    few = doublet_scores(csr_matrix(library.counts[:, :20]), np.zeros(315, np.int32), seed=0)
    assert np.isnan(few.score).all()
    assert few.why_not == "No doublet score for 1 batch (0) with fewer than 30 variable genes."


# Two lineages -----------------------------------------------------------------------------------------------------------

COMPARTMENT = np.array([0, 0, 1, 1, 2, -1], np.int32)  # T, T, myeloid, myeloid, B, and "leukocyte" above all


@pytest.mark.parametrize(
    ("mass", "expected"),
    [
        pytest.param([0.6, 0.0, 0.4, 0, 0, 0], (True, 0, 2), id="two_compartments_heavier_first"),
        pytest.param([0.3, 0.0, 0.7, 0, 0, 0], (True, 2, 0), id="the_heavier_compartment_leads"),
        pytest.param([0.5, 0.5, 0.0, 0, 0, 0], (False, -1, -1), id="two_terms_of_one_compartment_are_one_lineage"),
        pytest.param([0.8, 0.0, 0.2, 0, 0, 0], (False, -1, -1), id="less_than_a_quarter_is_no_second_lineage"),
        pytest.param([0.75, 0.0, 0.25, 0, 0, 0], (True, 0, 2), id="a_quarter_is"),
        pytest.param([0.7, 0.0, 0.14, 0.16, 0, 0], (True, 0, 3), id="a_compartments_terms_count_together"),
        pytest.param([0.5, 0.0, 0.0, 0, 0, 0.5], (False, -1, -1), id="a_term_above_all_is_no_lineage"),
        pytest.param([0.5, 0.0, 0.0, 0, 0.5, 0], (True, 0, 4), id="equal_compartments_lower_code_first"),
        pytest.param([0.25, 0.25, 0.5, 0, 0, 0], (True, 0, 2), id="equal_terms_lower_index"),
        pytest.param([0.0, 0.0, 0.0, 0, 0, 0], (False, -1, -1), id="nobody_voted"),
    ],
)
def test_two_lineages(mass: list[float], expected: tuple[bool, int, int]) -> None:
    split, first, second = two_lineages(csr_matrix(np.array([mass], np.float32)), COMPARTMENT)
    assert (bool(split[0]), int(first[0]), int(second[0])) == expected


@QUICK
@given(seed=st.integers(0, 10_000))
def test_two_lineages_is_the_plain_rule_and_rows_are_independent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mass = rng.random((9, 6)) ** 3 * (rng.random((9, 6)) < 0.6)
    mass /= np.maximum(mass.sum(axis=1, keepdims=True), 1e-9)
    split, first, second = two_lineages(csr_matrix(mass.astype(np.float32)), COMPARTMENT)
    for i, row in enumerate(mass):
        by_group = sorted(((row[COMPARTMENT == c].sum(), c) for c in range(3)), reverse=True)
        assert bool(split[i]) == (by_group[1][0] >= 0.25)
        if split[i]:
            best = [int(np.argmax(np.where(COMPARTMENT == c, row, -1))) for _, c in by_group[:2]]
            assert [int(first[i]), int(second[i])] == best
    order = rng.permutation(9)
    moved = two_lineages(csr_matrix(mass[order].astype(np.float32)), COMPARTMENT)
    for found, whole in zip(moved, (split, first, second), strict=True):
        np.testing.assert_array_equal(found, whole[order])


def test_one_compartment_or_no_cell_is_never_split() -> None:
    assert not two_lineages(csr_matrix(np.eye(2)), np.zeros(2, np.int32))[0].any()
    assert not two_lineages(csr_matrix(np.eye(2)), np.full(2, -1, np.int32))[0].any()
    assert two_lineages(csr_matrix((0, 6)), COMPARTMENT)[0].shape == (0,)


def test_real_doublets_across_types_rank_above_real_cells(shared_data: Path) -> None:
    three = ad.read_h5ad(shared_data / "pbmc_symphony_3tech.h5ad")
    cells = three[(three.obs["batch"] == "5p").to_numpy()]
    kind = cells.obs["cell_type_ontology_label"].astype(str).to_numpy()
    counts, rng = csr_matrix(cells.X), np.random.default_rng(0)
    b, mono = (rng.choice(np.flatnonzero(kind == name), 20) for name in ("B cell", "CD14-positive monocyte"))
    found = doublet_scores(
        csr_matrix(vstack([counts, counts[b] + counts[mono]])), np.zeros(len(kind) + 20, np.int32), seed=0
    )
    above = (found.score[len(kind) :, None] > found.score[None, : len(kind)]).mean()
    assert above > 0.9
    assert found.predicted[: len(kind)].mean() < 0.05
