"""Blocks of a query are the query, whatever their size; the sample depends on names alone and is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import vstack

from celljury.cells import open_cells
from celljury.errors import BatchError, GenesError
from celljury.genes import GeneTable
from celljury.query import Query, sample_rows

if TYPE_CHECKING:
    import anndata as ad

GENES = GeneTable(tuple(f"G{i}" for i in range(39, 9, -1)), ("",) * 30, np.full(30, 1 / 30))
N_CELLS = 50


@pytest.fixture(scope="module")
def cells(toy_adata: Any) -> ad.AnnData:
    return toy_adata(n_cells=N_CELLS, n_genes=40)


def query(adata: Any, *, block_size: int = 8, batch: str | None = "sample") -> Query:
    return Query.of(open_cells(adata), GENES, batch=batch, min_shared=10, block_size=block_size)


@settings(deadline=None)
@given(block_size=st.integers(1, 2 * N_CELLS))
def test_blocks_of_any_size_put_together_are_the_whole(cells: ad.AnnData, block_size: int) -> None:
    view = query(cells, block_size=block_size)
    blocks = [view.block(i) for i in range(view.n_blocks)]
    assert [block.n_cells for block in blocks[:-1]] == [block_size] * (view.n_blocks - 1)
    assert 1 <= blocks[-1].n_cells <= block_size
    expected = cells.X.toarray()[:, 10:40][:, ::-1]
    np.testing.assert_array_equal(vstack([block.counts for block in blocks]).toarray(), expected)
    np.testing.assert_array_equal(np.concatenate([block.batch for block in blocks]), view.batch)
    assert all(block.genes == GENES.names and block.batches == ("s1", "s2") for block in blocks)
    assert all(block.counts.has_sorted_indices and block.counts.dtype == np.float32 for block in blocks)


@settings(deadline=None)
@given(order=st.permutations(range(N_CELLS)), block_size=st.integers(1, 2 * N_CELLS), per_batch=st.integers(1, N_CELLS))
def test_a_sample_depends_on_names_alone(cells: ad.AnnData, order: list[int], block_size: int, per_batch: int) -> None:
    expected = query(cells).sample(per_batch=per_batch)
    found = query(cells[order].copy(), block_size=block_size).sample(per_batch=per_batch)
    np.testing.assert_array_equal(found.counts.toarray(), expected.counts.toarray())
    np.testing.assert_array_equal(found.batch, expected.batch)
    assert found.batches == expected.batches


@settings(deadline=None)
@given(
    batch=st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda b: np.unique(b, return_inverse=True)[1]),
    per_batch=st.integers(1, 20),
)
def test_a_sample_is_bounded_in_every_batch_and_takes_all_of_a_small_one(batch: Any, per_batch: int) -> None:
    names = np.array([f"cell{i}" for i in range(len(batch))])
    rows = sample_rows(names, batch.astype(np.int32), per_batch=per_batch)
    assert len(set(rows.tolist())) == len(rows)
    n_taken = np.bincount(batch[rows], minlength=batch.max() + 1)
    assert n_taken.tolist() == np.minimum(np.bincount(batch), per_batch).tolist()


def test_a_sample_is_no_slice_of_the_file() -> None:
    names = np.array([f"cell{i:04d}" for i in range(1000)])
    rows = sample_rows(names, np.zeros(1000, np.int32), per_batch=100)
    # Uniform draws of 100 of 1,000 put 50 below the middle, within 5 standard deviations of 4.7.
    assert 26 <= (rows < 500).sum() <= 74
    assert rows.tolist() != sorted(rows.tolist())


def test_more_cells_leave_the_choice_among_the_old_ones() -> None:
    names = np.array([f"cell{i}" for i in range(200)])
    few = sample_rows(names[:100], np.zeros(100, np.int32), per_batch=1000)
    many = sample_rows(names, np.zeros(200, np.int32), per_batch=1000)
    assert [row for row in many.tolist() if row < 100] == few.tolist()


def test_opening_a_query_checks_genes_and_batches(cells: ad.AnnData) -> None:
    assert query(cells, batch=None).batches == ("all",)
    with pytest.raises(GenesError, match=r"30 of the jury's 30 genes.*at least 31 are needed"):
        Query.of(open_cells(cells), GENES, batch=None, min_shared=31, block_size=8)
    spoiled = cells.copy()
    spoiled.obs["sample"] = np.nan
    with pytest.raises(BatchError, match="missing for 50 of 50 cells"):
        query(spoiled)
