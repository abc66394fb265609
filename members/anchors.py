"""Votes of anchors: pairs of a reference and a query cell that are each other's neighbours, as Seurat weighs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from celljury.members.neighbors import NeighborIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CHUNK = 2_048  # cells voted on at a time: bounds memory at CHUNK x k x anchors of a cell


@dataclass(frozen=True)
class Anchors:
    """Anchors between a reference and a sample of a query.

    Attributes
    ----------
    points
        Coordinates of the query cells that have an anchor, float64 (n_cells, n_dims).
    cell
        Query cell of each anchor, index into ``points``, int32 (n_anchors,).
    term
        Term of its reference cell, int32 (n_anchors,); -1 = none.
    score
        How much the neighbourhoods of its two cells overlap, float64 (n_anchors,), 0 to 1.
    """

    points: NDArray[np.float64]
    cell: NDArray[np.int32]
    term: NDArray[np.int32]
    score: NDArray[np.float64]

    @classmethod
    def of_reference(cls, points: NDArray[np.float64], term: NDArray[np.int32]) -> Self:
        """Take every reference cell for an anchor with itself, for a query that gives none."""
        return cls(points, np.arange(term.size, dtype=np.int32), term, np.ones(term.size))

    def vote(self, points: NDArray[np.float64], *, n_terms: int, k: int, sd: float) -> NDArray[np.float32]:
        """Return the votes on cells at ``points`` (n, n_dims), float32 (n, n_terms); rows sum to 1, or to 0.

        The weights are Seurat's (Stuart 2019, doi:10.1016/j.cell.2019.05.031): an anchor of score S whose query cell is
        at distance d weighs 1 - exp(-(1 - d / d_k) S / (2 / sd)^2), d_k being the distance to the k-th nearest cell
        with anchors. As in Seurat 4 the k nearest anchors count, and a cell may have several.

        Where all these weights are 0 (k = 1, or only anchors of score 0) the anchors count alike. A cell abstains whose
        largest share falls on reference cells of no term; else they are left out.
        """
        found = np.zeros((points.shape[0], n_terms + 1))  # the last column is for term -1
        for start in range(0, points.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            found[rows] = self._shares(points[rows], n_terms=n_terms, k=min(k, self.points.shape[0]), sd=sd)
        mass = found[:, :-1]
        total = mass.sum(axis=1, keepdims=True)
        mass = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
        mass[found[:, -1] > found[:, :-1].max(axis=1)] = 0.0
        return mass.astype(np.float32)

    def _shares(self, points: NDArray[np.float64], *, n_terms: int, k: int, sd: float) -> NDArray[np.float64]:
        n_cells = points.shape[0]
        distance, near = self._index(k).search(points)
        anchor = self._anchors_of_cell[near]  # (n_cells, k, anchors of a cell)
        farthest = distance[:, -1:]
        closeness = 1.0 - np.divide(distance, farthest, out=np.ones_like(distance), where=farthest > 0)
        there = (anchor >= 0).reshape(n_cells, -1)
        counts = there & (np.cumsum(there, axis=1) <= k)
        weight = 1.0 - np.exp(-closeness[:, :, np.newaxis] * self.score[anchor] / (2.0 / sd) ** 2)
        weight = weight.reshape(n_cells, -1) * counts
        silent = weight.sum(axis=1) == 0
        weight[silent] = counts[silent]
        term = self.term[anchor].reshape(n_cells, -1)
        flat = np.where(term >= 0, term, n_terms) + (n_terms + 1) * np.arange(n_cells)[:, np.newaxis]
        total = np.bincount(flat.ravel(), weights=weight.ravel(), minlength=n_cells * (n_terms + 1))
        shares = total.reshape(n_cells, n_terms + 1)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)

    def _index(self, k: int) -> NeighborIndex:
        if k not in self._indices:
            nothing = np.zeros(self.points.shape[0], np.int32)
            self._indices[k] = NeighborIndex(self.points, nothing, n_terms=1, k=k)
        return self._indices[k]

    @cached_property
    def _indices(self) -> dict[int, NeighborIndex]:
        return {}

    @cached_property
    def _anchors_of_cell(self) -> NDArray[np.intp]:
        """Anchors of each cell in their order, padded with -1, (n_cells, most anchors of a cell)."""
        size = np.bincount(self.cell, minlength=self.points.shape[0])
        order = np.argsort(self.cell, kind="stable")
        place = np.arange(order.size) - (np.cumsum(size) - size)[self.cell[order]]
        padded = np.full((size.size, size.max()), -1, np.intp)
        padded[self.cell[order], place] = order
        return padded

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything there is to save."""
        names = ("points", "cell", "term", "score")
        return {f"anchor_{name}": np.asarray(getattr(self, name)) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read back what `arrays` gave."""
        return cls(
            np.asarray(arrays["anchor_points"], np.float64),
            np.asarray(arrays["anchor_cell"], np.int32),
            np.asarray(arrays["anchor_term"], np.int32),
            np.asarray(arrays["anchor_score"], np.float64),
        )
