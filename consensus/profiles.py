"""How reference cells of each term express the marker genes of all terms: what a curator compares a group of cells with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_matrix

from celljury.errors import UnreadableFileError
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.normalize import log1p_cp10k

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.members.base import Reference


@dataclass(frozen=True, slots=True)
class Profiles:
    """Expression of marker genes by term.

    Attributes
    ----------
    terms
        Ids of the reference's terms (n_terms,).
    genes
        Marker genes, the union of all terms', in the jury's order (n_genes,).
    share
        Share of a term's cells that express a gene, float32 (n_terms, n_genes), 0-1; NaN = not kept.
    mean
        Mean log1p counts per 10,000 of the jury's genes, float32 (n_terms, n_genes); NaN = not kept.
    n_cells
        Cells of each term, int64 (n_terms,).
    """

    terms: tuple[str, ...]
    genes: tuple[str, ...]
    share: NDArray[np.float32]
    mean: NDArray[np.float32]
    n_cells: NDArray[np.int64]

    @classmethod
    def fit(cls, reference: Reference, markers: Mapping[str, Sequence[str]]) -> Self:
        """Measure the reference's cells; ``markers`` are the genes of each term (`celljury.fitting.marker_genes`)."""
        columns = marker_columns(reference.cells.genes, markers)
        normalized = log1p_cp10k(reference.cells.counts, share=1.0)[:, columns]
        n_terms = len(reference.terms)
        expressing, total = sums_by_group(normalized, reference.label, n_groups=n_terms)
        n_cells = np.bincount(reference.label, minlength=n_terms).astype(np.int64)
        per_cell = 1 / np.maximum(n_cells, 1)[:, None]
        return cls(
            reference.terms, tuple(reference.cells.genes[i] for i in columns.tolist()),
            (expressing * per_cell).astype(np.float32), (total * per_cell).astype(np.float32), n_cells,
        )  # fmt: skip

    @classmethod
    def unknown(cls, n_cells: Mapping[str, int], markers: Mapping[str, Sequence[str]]) -> Self:
        """Return what is known where no expression was kept: terms with their cells, and genes; values are NaN."""
        genes = tuple(dict.fromkeys(gene for names in markers.values() for gene in names))
        none = np.full((len(n_cells), len(genes)), np.nan, np.float32)
        return cls(tuple(n_cells), genes, none, none, np.fromiter(n_cells.values(), np.int64, len(n_cells)))

    def save(self, path: Path) -> None:
        """Write as npz."""
        save_arrays(
            path, terms=np.array(self.terms, np.str_), genes=np.array(self.genes, np.str_), share=self.share,
            mean=self.mean, n_cells=self.n_cells,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises UnreadableFileError where it is missing or not that."""
        arrays = load_arrays(path)
        try:
            terms, genes = (tuple(str(name) for name in arrays[kind]) for kind in ("terms", "genes"))
            found = cls(
                terms, genes, arrays["share"].astype(np.float32), arrays["mean"].astype(np.float32),
                arrays["n_cells"].astype(np.int64),
            )  # fmt: skip
            shape = (len(terms), len(genes))
            if not found.share.shape == found.mean.shape == shape or found.n_cells.shape != shape[:1]:
                message = f"expected {shape[0]} terms x {shape[1]} genes, got {found.share.shape}"
                raise ValueError(message)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path} cannot be read: {error}. The jury is damaged; copy it again, or fit it again."
            raise UnreadableFileError(message) from error
        return found


def marker_columns(genes: Sequence[str], markers: Mapping[str, Sequence[str]]) -> NDArray[np.int64]:
    """Return where the markers of all terms stand among the jury's genes, int64, ascending."""
    wanted = {gene for names in markers.values() for gene in names}
    return np.flatnonzero([gene in wanted for gene in genes])


def sums_by_group(
    normalized: csr_matrix, group: NDArray[np.integer], *, n_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cells that express each gene, and the sums of its values, float64 (n_groups, n_genes) each.

    Parameters
    ----------
    normalized
        log1p counts per 10,000, CSR (n_cells, n_genes).
    group
        Group of each cell, (n_cells,), 0 to ``n_groups`` - 1.
    """
    n = normalized.shape[0]
    member = csr_matrix((np.ones(n), (group, np.arange(n))), shape=(n_groups, n))
    expressed = csr_matrix((normalized.data > 0, normalized.indices, normalized.indptr), shape=normalized.shape)
    return (member @ expressed.astype(np.float64)).toarray(), (member @ normalized.astype(np.float64)).toarray()
