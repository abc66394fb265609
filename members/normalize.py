"""Counts to log1p counts per 10,000, on one scale for reference and query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGET = 1e4  # CellTypist's models and most published ones expect log1p of counts per 10,000


def gene_shares(counts: csr_matrix) -> NDArray[np.float64]:
    """Mean share of a cell's counts that each gene takes, float64 (n_genes,), sums to 1; empty cells are left out."""
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    weight = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    share = np.asarray(counts.T @ weight, dtype=np.float64).ravel()
    return share / max(float(share.sum()), 1e-300)


def log1p_cp10k(counts: csr_matrix, *, share: float) -> csr_matrix:
    """log1p(10,000 * share * count / total of the cell), CSR float32, same shape.

    ``share`` is the part of the reference's counts that falls on the genes which the query has (1 = all of them). With
    it the shared genes of a query that lacks some keep the values that they would have had beside all genes; without
    it they would be inflated.
    """
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    factor = np.divide(TARGET * share, total, out=np.zeros_like(total), where=total > 0)
    values = counts.data * np.repeat(factor, np.diff(counts.indptr))
    # Copies: whoever drops zeros or sorts columns of the result in place must not reach the counts.
    parts = (np.log1p(values).astype(np.float32), counts.indices.copy(), counts.indptr.copy())
    return csr_matrix(parts, shape=counts.shape)
