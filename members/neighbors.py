"""Votes of the nearest reference cells in an embedding."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.members.strangeness import crowding

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 100_000  # reference cells; beyond, exact search costs more than what it learns from
CHUNK = 8_192  # query cells searched at a time: bounds memory at CHUNK x k pairs


class NeighborIndex:
    """Reference cells in an embedding, built once and asked for any number of blocks.

    Parameters
    ----------
    embedding
        Coordinates of the reference cells, (n_cells, n_dims).
    label
        Index of each one's term, (n_cells,).
    n_terms
        Number of terms, which is the number of columns of the votes.
    k
        Neighbours per query cell; fewer where the reference is smaller.
    seed, threads
        Used by the approximate search only.
    """

    def __init__(
        self, embedding: ArrayLike, label: ArrayLike, *, n_terms: int, k: int, seed: int = 0, threads: int = 1
    ) -> None:
        self.label = np.asarray(label, dtype=np.intp)
        self.n_terms = n_terms
        self.k = min(k, self.label.size)
        self.approximate = self.label.size > EXACT_UP_TO and find_spec("pynndescent") is not None
        # float64: in float32 the distance of near-identical cells is lost to cancellation and depends on the block.
        points = np.asarray(embedding, dtype=np.float32 if self.approximate else np.float64)
        self._index: Any
        if self.approximate:
            from pynndescent import NNDescent

            self._index = NNDescent(points, n_neighbors=max(self.k, 15), random_state=seed, n_jobs=threads)
            self._index.prepare()
        else:
            from sklearn.neighbors import NearestNeighbors

            self._index = NearestNeighbors(n_neighbors=self.k, n_jobs=threads).fit(points)

    def search(self, query: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return distances and indices of the k nearest reference cells, (n_query, k) each, nearest first."""
        if self.approximate:
            index, distance = self._index.query(np.asarray(query, dtype=np.float32), k=self.k)
        else:
            distance, index = self._index.kneighbors(np.asarray(query, dtype=np.float64))
        return np.asarray(distance, dtype=np.float64), np.asarray(index, dtype=np.intp)

    def vote(self, query: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return vote mass by term, float32 (n_query, n_terms), and mean neighbour distance, float32 (n_query,).

        A neighbour at distance d weighs exp(-(d / s)^2), with s the root mean square of the cell's own k distances, so
        the scale of the embedding cancels. Rows sum to 1.
        """
        mass, mean, _ = self._vote(query, None)
        return mass, mean

    def vote_and_crowding(
        self, query: ArrayLike, spacing: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return what `vote` does and `crowding`, from the same search; ``spacing`` is that of the reference cells."""
        return self._vote(query, spacing)

    def _vote(
        self, query: ArrayLike, spacing: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        points = np.asarray(query)
        mass = np.zeros((points.shape[0], self.n_terms), np.float32)
        mean, crowded = np.zeros((2, points.shape[0]), np.float32)
        for start in range(0, points.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            distance, index = self.search(points[rows])
            mean[rows] = distance.mean(axis=1)
            mass[rows] = self._mass(distance, index)
            if spacing is not None:
                crowded[rows] = crowding(distance, index, spacing.astype(np.float64))
        return mass, mean, crowded

    def _mass(self, distance: NDArray[np.float64], index: NDArray[np.intp]) -> NDArray[np.float64]:
        square = distance**2
        scale = square.mean(axis=1, keepdims=True)
        # All k neighbours on top of the cell: each weighs the same.
        weight = np.exp(-np.divide(square, scale, out=np.zeros_like(square), where=scale > 0))
        n_cells = distance.shape[0]
        flat = self.label[index] + self.n_terms * np.arange(n_cells)[:, np.newaxis]
        total = np.bincount(flat.ravel(), weights=weight.ravel(), minlength=n_cells * self.n_terms)
        mass = total.reshape(n_cells, self.n_terms)
        return np.asarray(mass / mass.sum(axis=1, keepdims=True), dtype=np.float64)


def knn_vote(
    embedding: ArrayLike,
    label: ArrayLike,
    query: ArrayLike,
    *,
    n_terms: int,
    k: int,
    seed: int = 0,
    threads: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vote mass and mean neighbour distance of ``query``; see `NeighborIndex` for shapes and weights."""
    return NeighborIndex(embedding, label, n_terms=n_terms, k=k, seed=seed, threads=threads).vote(query)
