"""Where a cell lies in the principal components of a Seurat reference: from log counts, or from an SCT model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

CLIP: Final = 10.0  # Seurat's scale.max, a bound from above only
CHUNK: Final = 2_048  # cells made dense at a time
DEPTHS: Final = np.linspace(0.0, 7.0, 701)  # log10 of a cell's counts at which the model's expectation is tabled


@dataclass(frozen=True, slots=True)
class _Saved:
    """What both kinds of projection share: they are made of arrays."""

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Everything there is to save."""
        return {f"projection_{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read back what `arrays` gave."""
        return cls(*(np.asarray(arrays[f"projection_{field.name}"], np.float64) for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class LogProjection(_Saved):
    """Scaled log1p of counts per 10,000 times loadings; a gene that the query lacks counts as average.

    Attributes
    ----------
    mean, scale
        Of each gene in the reference, float64 (n_genes,); the standard deviation is that of a sample (n - 1).
    loadings
        Of each gene, float64 (n_genes, n_components); 0 for a gene that the reference does not use.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    loadings: NDArray[np.float64]

    def points(self, counts: csr_matrix, expression: csr_matrix, *, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Coordinates of cells from log1p CP10k ``expression``, float64 (n_cells, n_components)."""
        used = np.flatnonzero(present & self.loadings.any(axis=1))
        found = np.zeros((counts.shape[0], self.loadings.shape[1]))
        chosen = expression[:, used].astype(np.float64)
        for start in range(0, counts.shape[0], CHUNK):
            z = (chosen[start : start + CHUNK].toarray() - self.mean[used]) / self.scale[used]
            found[start : start + CHUNK] = np.minimum(z, CLIP) @ self.loadings[used]
        return found


@dataclass(frozen=True, slots=True)
class SctProjection(_Saved):
    """Pearson residuals of a regularised negative binomial regression times loadings.

    The model is that of Hafemeister 2019 (doi:10.1186/s13059-019-1874-1): a gene's expected count is
    exp(intercept + slope log10 depth), its variance m + m^2 / theta. The residuals are shifted by their mean in the
    reference and cut at its clip range, as Seurat does where it maps a query on a reference's model.

    A jury sees the counts of its own genes and not a cell's depth over all. It is taken to be the depth of which these
    counts are the share that the model expects the genes that both have to take of all of the model's.

    Attributes
    ----------
    intercept, slope, theta, offset
        Of each gene, float64 (n_genes,); offset is the mean residual in the reference. NaN for a gene outside the model.
    whole
        Counts that the model expects on all its genes at each of `DEPTHS`, float64.
    clip
        Lower and upper bound of a residual, float64 (2,).
    loadings
        Of each gene, float64 (n_genes, n_components); 0 for a gene that the reference does not use.
    """

    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    theta: NDArray[np.float64]
    offset: NDArray[np.float64]
    whole: NDArray[np.float64]
    clip: NDArray[np.float64]
    loadings: NDArray[np.float64]

    def points(self, counts: csr_matrix, expression: csr_matrix, *, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Coordinates of cells from their ``counts``, float64 (n_cells, n_components)."""
        modelled = np.flatnonzero(present & np.isfinite(self.intercept))
        depth = self.depth(counts[:, modelled], modelled)
        used = modelled[self.loadings[modelled].any(axis=1)]
        found = np.zeros((counts.shape[0], self.loadings.shape[1]))
        chosen = counts[:, used].astype(np.float64)
        for start in range(0, counts.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            found[rows] = self.residuals(chosen[rows].toarray(), depth[rows], used) @ self.loadings[used]
        return found

    def residuals(
        self, counts: NDArray[np.float64], depth: NDArray[np.float64], genes: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return shifted and cut residuals of dense ``counts`` of some ``genes``, with log10 ``depth`` of the cells."""
        expected = np.exp(self.intercept[genes] + depth[:, np.newaxis] * self.slope[genes])
        residual = (counts - expected) / np.sqrt(expected + expected**2 / self.theta[genes])
        return np.clip(residual - self.offset[genes], *self.clip)

    def depth(self, counts: csr_matrix, genes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Log10 of the depths of cells from their ``counts`` of some ``genes``, float64 (n_cells,)."""
        total = np.log10(np.maximum(np.asarray(counts.sum(axis=1), np.float64).ravel(), 1.0))
        share = expected_total(self.intercept[genes], self.slope[genes]) / self.whole
        return np.interp(total, np.maximum.accumulate(DEPTHS + np.log10(share)), DEPTHS)


def expected_total(intercept: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the counts that a model expects on some genes in all at each of `DEPTHS`, float64."""
    return np.exp(intercept[:, np.newaxis] + slope[:, np.newaxis] * DEPTHS).sum(axis=0)


Projection = LogProjection | SctProjection


def projection_from(arrays: Mapping[str, NDArray[np.generic]]) -> Projection:
    """Read back the projection that a member saved."""
    kind = SctProjection if "projection_intercept" in arrays else LogProjection
    return kind.from_arrays(arrays)
