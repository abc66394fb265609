"""Cells as sequences of gene tokens, as pretrained transformers read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class Sequences:
    """Tokens of some cells, padded on the right to the longest.

    Attributes
    ----------
    tokens
        int64 (n_cells, length).
    values
        Value of each token, float32 (n_cells, length); zeros where the model reads none.
    length
        Tokens of each cell, int64 (n_cells,); what lies behind is padding.
    genes
        How many of them are genes, int64 (n_cells,); of a cell without any nothing can be said.
    """

    tokens: NDArray[np.int64]
    values: NDArray[np.float32]
    length: NDArray[np.int64]
    genes: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which places hold a token of the cell, bool (n_cells, length)."""
        return np.asarray(np.arange(self.tokens.shape[1]) < self.length[:, np.newaxis], np.bool_)

    def take(self, rows: NDArray[np.integer]) -> Sequences:
        """Return some of the cells, padded to the longest of them."""
        longest = int(self.length[rows].max(initial=1))
        return Sequences(self.tokens[rows, :longest], self.values[rows, :longest], self.length[rows], self.genes[rows])


def descending(
    expression: csr_matrix, token: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return (row, column, value) of each cell's expressed genes that have a token, row by row, highest value first.

    Of equal values the gene that stands first comes first.

    Parameters
    ----------
    expression
        Values by which genes are ranked, CSR (n_cells, n_genes).
    token
        Of each gene, -1 = the model does not know it, int64 (n_genes,).
    """
    coo = expression.tocoo()
    kept = (coo.data > 0) & (token[coo.col] >= 0)
    row, column, value = coo.row[kept].astype(np.intp), coo.col[kept].astype(np.intp), coo.data[kept].astype(np.float64)
    order = np.lexsort((column, -value, row))
    return row[order], column[order], value[order]


def laid_out(
    row: NDArray[np.intp],
    token: NDArray[np.int64],
    *,
    n_cells: int,
    most: int,
    first: int | None,
    last: int | None,
    padding: int,
    values: NDArray[np.float32] | None = None,
    value_beside: float = 0.0,
) -> Sequences:
    """Return sequences of the first genes of each cell, with an optional token before and behind them.

    Parameters
    ----------
    row, token, values
        Of each gene, row by row in the order of the sequence.
    most
        Tokens that a cell may have, with those before and behind; the genes beyond are cut.
    first, last
        Tokens to put before and behind; None = nothing.
    padding
        Token of places behind.
    value_beside
        Value of places that are no gene.
    """
    lead = 0 if first is None else 1
    tail = 0 if last is None else 1
    place = np.arange(row.size) - np.searchsorted(row, np.arange(n_cells))[row]
    short = place < most - lead - tail
    row, place, token = row[short], place[short], token[short]
    genes = np.bincount(row, minlength=n_cells).astype(np.int64)
    length = genes + lead + tail
    longest = max(int(length.max(initial=1)), 1)
    tokens = np.full((n_cells, longest), padding, np.int64)
    tokens[row, place + lead] = token
    if first is not None:
        tokens[:, 0] = first
    if last is not None:
        tokens[np.arange(n_cells), genes + lead] = last
    laid = np.full((n_cells, longest), value_beside, np.float32)
    if values is not None:
        laid[row, place + lead] = values[short]
    return Sequences(tokens, laid, length, genes)
