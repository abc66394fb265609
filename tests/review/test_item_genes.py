"""Markers of review items: the same as a loop over cells, in blocks that hold such cells only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from celljury.cells import open_cells
from celljury.genes import GeneTable
from celljury.query import Query
from celljury.review.item_genes import item_expression

if TYPE_CHECKING:
    from collections.abc import Callable

GENES = ("A", "B", "C", "D", "GONE")
SHARE = np.array([0.1, 0.2, 0.3, 0.2, 0.2])


@pytest.fixture
def make_query() -> Callable[[int], Query]:
    counts = np.random.default_rng(0).poisson(0.7, size=(23, 5))
    # A gene that the jury does not know, and the jury's in another order; one that the jury knows is not there.
    var = pd.DataFrame(index=["D", "B", "other", "A", "C"])
    obs = pd.DataFrame(index=[f"c{i}" for i in range(23)])
    cells = open_cells(ad.AnnData(csr_matrix(counts, dtype=np.float32), obs=obs, var=var))
    table = GeneTable(GENES, ("",) * 5, SHARE)
    return lambda block_size: Query.of(cells, table, batch=None, min_shared=1, block_size=block_size)


@pytest.mark.parametrize("block_size", [1, 4, 100])
def test_share_and_mean_are_those_of_a_loop(make_query: Any, block_size: int) -> None:
    query = make_query(block_size)
    rows, item = np.array([20, 3, 7, 0, 15]), np.array([0, 0, 2, 2, 2])
    share, mean = item_expression(query, rows, item, ("C", "GONE", "A"), n_items=3)
    assert {share.dtype, mean.dtype} == {np.dtype(np.float32)}
    whole = query.alignment.apply(query.cells.rows(0, 23)).toarray()
    scaled = np.log1p(1e4 * SHARE[:4].sum() * whole / np.maximum(whole.sum(axis=1, keepdims=True), 1))
    for i in (0, 2):
        cells = rows[item == i]
        for j, gene in ((0, 2), (2, 0)):
            assert share[i, j] == pytest.approx((whole[cells, gene] > 0).mean())
            assert mean[i, j] == pytest.approx(scaled[cells, gene].mean(), rel=1e-5)
    assert np.isnan(share[:, 1]).all()
    assert np.isnan(mean[:, 1]).all()
    assert share[1, [0, 2]].tolist() == [0, 0]


def test_only_blocks_with_such_cells_are_read(make_query: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    query, read = make_query(5), []
    whole = type(query.cells).rows
    monkeypatch.setattr(
        type(query.cells), "rows", lambda self, start, stop: read.append((start, stop)) or whole(self, start, stop)
    )
    seen: list[tuple[str, int, int]] = []
    item_expression(
        query, np.array([21, 6, 7]), np.array([0, 0, 1]), ("A",), n_items=2, progress=lambda *step: seen.append(step)
    )
    assert read == [(5, 10), (20, 23)]
    assert [step[1:] for step in seen] == [(0, 2), (1, 2), (2, 2)]


def test_run_without_cells_for_review_reads_nothing(make_query: Any) -> None:
    none = np.zeros(0, np.int64)
    share, mean = item_expression(make_query(5), none, none, ("A", "B"), n_items=0)
    assert share.shape == mean.shape == (0, 2)
