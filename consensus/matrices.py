"""Matrices in memory or on disk: how rows are cut from them, and whether they hold raw counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stored_matrix(element: Any) -> Any:
    """Return what an element of an h5ad or zarr holds as something that rows can be cut from."""
    from anndata.io import read_elem, sparse_dataset

    encoding = str(element.attrs.get("encoding-type", ""))
    if encoding == "csr_matrix":
        return sparse_dataset(element)
    # Columns first: rows cannot be cut from it without reading all of it, so it is read once.
    return read_elem(element).tocsr() if encoding == "csc_matrix" else element


def as_csr(rows: Any) -> csr_matrix:
    """Return some rows as CSR float32 without stored zeros."""
    matrix = rows if issparse(rows) else csr_matrix(np.asarray(rows))
    # A damaged index would take the process down in compiled code.
    matrix.check_format(full_check=True)
    counts = csr_matrix(matrix, dtype=np.float32, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def why_not_counts(values: NDArray[Any]) -> str | None:
    """Say why the stored values are not raw counts; None where they are."""
    if not len(values) or not values.any():
        return "all values are zero"
    if not np.isfinite(values).all():
        return "some values are missing or infinite"
    if (lowest := values.min()) < 0:
        return f"values below zero (lowest {lowest:.4g})"
    whole = values == np.rint(values)
    if not whole.all():
        return f"{100 * (1 - whole.mean()):.0f} % of its values are not whole numbers (e.g. {values[~whole][0]:.4g})"
    return None
