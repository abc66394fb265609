"""How far a cell lies from the reference's cells in some space, in ways that fail differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from celljury.members.neighbors import NeighborIndex

# The kinds of signal that members may give; a signal of another name is refused. All are logarithms of distances, or
# differences of squared ones: larger is stranger, and a shift between batches adds to them.
KINDS: Final = ("residual", "class_residual", "mahalanobis", "relative", "crowding")
RIDGE: Final = 1e-3  # of the mean variance, so that a space with more dimensions than cells keeps an inverse
TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ClassGaussians:
    """A Gaussian for each term with one covariance for all, and one for the reference as a whole.

    Attributes
    ----------
    means
        Mean of each term's cells, float64 (n_terms, n_dims); NaN for a term without cells.
    within
        Inverse of the covariance within terms, float64 (n_dims, n_dims).
    center, whole
        Mean and inverse covariance of all cells, float64 (n_dims,) and (n_dims, n_dims).
    """

    means: NDArray[np.float64]
    within: NDArray[np.float64]
    center: NDArray[np.float64]
    whole: NDArray[np.float64]

    @classmethod
    def fit(cls, points: NDArray[np.float32], label: NDArray[np.int32], *, n_terms: int) -> Self:
        """Learn from reference cells at ``points`` (n_cells, n_dims) with terms ``label`` (n_cells,)."""
        x = points.astype(np.float64)
        n_cells, n_dims = x.shape
        size = np.bincount(label, minlength=n_terms)
        means = np.full((n_terms, n_dims), np.nan)
        for term in np.flatnonzero(size):
            means[term] = x[label == term].mean(axis=0)
        rest = x - means[label]
        within = rest.T @ rest / n_cells
        center = x.mean(axis=0)
        whole = (x - center).T @ (x - center) / max(n_cells - 1, 1)
        ridge = np.eye(n_dims) * max(RIDGE * float(np.trace(within)) / n_dims, 1e-12)
        return cls(means, np.linalg.inv(within + ridge), center, np.linalg.inv(whole + ridge))

    def distances(
        self, points: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
        """Return the squared Mahalanobis distance to the nearest term, that term, and the distance to the whole; (n,)."""
        x = points.astype(np.float64)
        found = np.full(len(x), np.inf)
        nearest = np.zeros(len(x), np.intp)
        for term in np.flatnonzero(np.isfinite(self.means[:, 0])):
            square = _square(x - self.means[term], self.within)
            closer = square < found
            found[closer], nearest[closer] = square[closer], term
        return found, nearest, _square(x - self.center, self.whole)

    def signals(self, points: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return ``mahalanobis`` (log of the squared distance to the nearest term) and ``relative``, float32 (n,).

        ``relative`` is that distance less the one to the whole reference (Ren 2021, arXiv 2106.09022): what is far
        from everything for a trivial reason, such as its depth, is far from the whole as well.
        """
        own, _, whole = self.distances(points)
        return {
            "mahalanobis": np.log(own + TINY).astype(np.float32),
            "relative": (own - whole).astype(np.float32),
        }

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Everything there is to save."""
        return {f"gaussian_{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read back what `arrays` gave."""
        return cls(*(np.asarray(arrays[f"gaussian_{name}"], np.float64) for name in cls.__slots__))


def own_spacing(index: NeighborIndex, points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each reference cell's mean distance to its nearest others in the index, float64 (n_cells,)."""
    distance, _ = index.search(points)
    # The first neighbour of a reference cell is itself, at distance 0.
    others = distance[:, 1:] if distance.shape[1] > 1 else distance
    return np.asarray(others.mean(axis=1), np.float64)


def crowding(
    distance: NDArray[np.float64], neighbor: NDArray[np.intp], spacing: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the log of a cell's mean neighbour distance over its neighbours' own, float32 (n,).

    Like the local outlier factor (Breunig 2000, doi:10.1145/342009.335388): a cell in a sparse region is not strange
    for being far from others, one beside a dense region is.

    Parameters
    ----------
    distance, neighbor
        Of the nearest reference cells, (n, k).
    spacing
        Of each reference cell, see `own_spacing`.
    """
    around = spacing[neighbor].mean(axis=1)
    return np.log((distance.mean(axis=1) + TINY) / (around + TINY)).astype(np.float32)


def _square(rest: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    # einsum, not a matrix product: its sums over a row do not depend on how many rows there are.
    return np.asarray(np.einsum("ij,jk,ik->i", rest, inverse, rest, optimize=False), np.float64)
