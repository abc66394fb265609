"""A small space shared by all cells of a run: principal components of the reference, and clusters of the query in it.

It serves the figures and groups cells for review. No call depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from celljury.errors import UnreadableFileError
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.normalize import log1p_cp10k

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.members.base import Block, Reference

N_COMPONENTS = 20
MAX_FIT_CELLS = 20_000
# About 50 sampled cells a cluster: fine enough to tell subtypes apart, coarse enough to be one item of review.
CELLS_PER_CLUSTER, MAX_CLUSTERS = 50, 40


@dataclass(frozen=True, slots=True)
class Space:
    """Principal components and clusters.

    Attributes
    ----------
    components
        Loadings, float32 (n_components, n_genes).
    mean
        Mean log1p counts per 10,000 of the reference's genes, float32 (n_genes,): what a gene the query lacks is taken for.
    share
        Mean share of a reference cell's counts, float64 (n_genes,).
    centers
        Cluster centres of the query, float32 (n_clusters, n_components); empty before `for_query`.
    """

    components: NDArray[np.float32]
    mean: NDArray[np.float32]
    share: NDArray[np.float64]
    centers: NDArray[np.float32]

    @classmethod
    def fit(cls, reference: Reference, *, share: NDArray[np.float64], seed: int) -> Self:
        """Learn the components from (at most `MAX_FIT_CELLS` of) the reference."""
        from sklearn.decomposition import TruncatedSVD

        rng = np.random.default_rng(seed)
        n_cells = reference.cells.n_cells
        rows = np.sort(rng.choice(n_cells, min(n_cells, MAX_FIT_CELLS), replace=False))
        normalized = log1p_cp10k(reference.cells.counts[rows], share=1.0)
        n = max(1, min(N_COMPONENTS, min(normalized.shape) - 1))
        svd = TruncatedSVD(n, random_state=seed, algorithm="randomized").fit(normalized)
        mean = np.asarray(normalized.mean(axis=0), np.float32).ravel()
        return cls(svd.components_.astype(np.float32), mean, share, np.empty((0, n), np.float32))

    def project(self, block: Block) -> NDArray[np.float32]:
        """Return coordinates of a block's cells, float32 (n_cells, n_components)."""
        normalized = log1p_cp10k(block.counts, share=float(self.share[block.present].sum()))
        lost = np.where(block.present, 0, self.mean)
        return np.asarray(normalized @ self.components.T + lost @ self.components.T, np.float32)

    def for_query(self, sample: Block, *, seed: int) -> Space:
        """Return the space with clusters of a query's sample."""
        from sklearn.cluster import KMeans

        points = self.project(sample)
        # Cells that are all alike (an empty droplet many times over) have fewer places than cells.
        n_distinct = len(np.unique(points, axis=0))
        k = int(np.clip(len(points) // CELLS_PER_CLUSTER, 1, min(MAX_CLUSTERS, n_distinct)))
        centers = KMeans(k, n_init=3, random_state=seed).fit(points).cluster_centers_
        return replace(self, centers=centers.astype(np.float32))

    def cluster(self, points: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the nearest cluster of each cell, int32 (n_cells,)."""
        from sklearn.metrics import pairwise_distances_argmin

        if not len(points):
            return np.zeros(0, np.int32)
        return np.asarray(pairwise_distances_argmin(points, self.centers), np.int32)

    def save(self, path: Path) -> None:
        """Write as npz."""
        save_arrays(path, components=self.components, mean=self.mean, share=self.share, centers=self.centers)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises UnreadableFileError where it is not that."""
        try:
            return cls(**load_arrays(path))  # type: ignore[arg-type]
        except (OSError, EOFError, TypeError, ValueError) as error:
            message = f"{path} cannot be read: {error}. The jury is damaged; copy it again, or fit it again."
            raise UnreadableFileError(message) from error
