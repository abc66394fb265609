"""A reference compressed to soft clusters, and what mapping a query onto it needs (Symphony, from its formulas)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CompressedReference:
    """What mapping needs to know of the reference's soft clusters (Kang 2021, doi:10.1038/s41467-021-25957-x, Methods).

    Attributes
    ----------
    weight
        Number of reference cells in each cluster (N_r), float64 (n_clusters,).
    total
        Sum of their corrected coordinates (C), float64 (n_clusters, n_components).
    center
        Mean of their coordinates before correction, float64 (n_clusters, n_components).
    whiten
        W with W' W = the inverse of their covariance, float64 (n_clusters, n_components, n_components).
    """

    weight: NDArray[np.float64]
    total: NDArray[np.float64]
    center: NDArray[np.float64]
    whiten: NDArray[np.float64]

    @classmethod
    def of(cls, membership: NDArray[np.float64], *, plain: NDArray[np.float64], corrected: NDArray[np.float64]) -> Self:
        """Compress cells with soft ``membership`` (n_cells, n_clusters), coordinates before and after correction.

        Covariances are those before correction, as in R's Symphony, one cluster at a time. A cluster with few cells
        has a poor one, so the covariance within all clusters joins with the weight of n_components cells.
        """
        weight = membership.sum(axis=0)
        center = (membership.T @ plain) / weight[:, np.newaxis]
        n_dims = plain.shape[1]
        scatter = np.empty((weight.size, n_dims, n_dims))
        for cluster in range(weight.size):
            rest = plain - center[cluster]
            scatter[cluster] = (membership[:, cluster, np.newaxis] * rest).T @ rest
        pooled = scatter.sum(axis=0) / weight.sum()
        pooled += np.eye(n_dims) * max(1e-6 * float(np.trace(pooled)) / n_dims, 1e-12)
        covariance = (scatter + n_dims * pooled) / (weight + n_dims)[:, np.newaxis, np.newaxis]
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        return cls(weight, membership.T @ corrected, center, whiten)

    def membership(self, plain: NDArray[np.float64], *, bandwidth: float) -> NDArray[np.float64]:
        """Soft clusters of cells: softmax of -2 (1 - cosine to each centroid) / sigma, (n_cells, n_clusters)."""
        return soft_clusters(plain, self.total, bandwidth=bandwidth)

    def shift(
        self,
        plain: NDArray[np.float64],
        membership: NDArray[np.float64],
        rows: NDArray[np.intp],
        *,
        n_batches: int,
        ridge: float,
    ) -> NDArray[np.float64]:
        """Fit each cluster's shift of each query batch, (n_batches, n_clusters, n_components).

        Harmony's mixture of experts with the reference's cells standing in as one batch without a shift: in each
        cluster a ridge regression, weighted by membership, of coordinates on an intercept and the batches. ``rows`` is
        the batch of each cell. A cell is in one batch, so the normal equations have an arrow's shape: batch b gives
        shift_b = (y_b - n_b intercept) / (n_b + ridge), and eliminating these leaves one number for the intercept.
        """
        from scipy.sparse import csr_matrix

        n_cells, n_clusters = membership.shape
        member_of = csr_matrix((np.ones(n_cells), (rows, np.arange(n_cells))), shape=(n_batches, n_cells))
        cells = np.asarray(member_of @ membership)[:, :, np.newaxis]  # n_b, (n_batches, n_clusters, 1)
        total = np.empty((n_batches, n_clusters, plain.shape[1]))  # y_b
        for cluster in range(n_clusters):
            total[:, cluster] = member_of @ (membership[:, cluster, np.newaxis] * plain)
        left = ridge / (cells + ridge)  # what the ridge leaves of a batch to the intercept
        intercept = self.total + (left * total).sum(axis=0)
        intercept /= self.weight[:, np.newaxis] + (left * cells).sum(axis=0)
        return np.asarray((total - cells * intercept) / (cells + ridge), dtype=np.float64)

    def distance(self, plain: NDArray[np.float64], membership: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mahalanobis distance to the clusters before correction, weighted by membership, (n_cells,)."""
        found = np.zeros(plain.shape[0])
        for cluster in range(self.weight.size):
            rest = (plain - self.center[cluster]) @ self.whiten[cluster].T
            found += membership[:, cluster] * np.sqrt(np.sum(rest**2, axis=1))
        return found


def soft_clusters(
    points: NDArray[np.float64], centroids: NDArray[np.float64], *, bandwidth: float
) -> NDArray[np.float64]:
    """Return membership of points in clusters by cosine distance; rows sum to 1.

    Harmony's soft assignment (Korsunsky 2019, doi:10.1038/s41592-019-0619-0).
    """
    from scipy.special import softmax

    cosine = unit(points) @ unit(centroids).T
    return np.asarray(softmax(-2.0 * (1.0 - cosine) / bandwidth, axis=1), dtype=np.float64)


def unit(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points at length 1, (n_cells, n_dims); one at the origin stays there."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(np.divide(points, length, out=np.zeros_like(points), where=length > 0), dtype=np.float64)
