"""BBKNN: the nearest cells of every batch of the reference vote, so that no batch is left out for its distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.components import Components
from celljury.members.connectivity import connectivities, tally
from celljury.members.neighbors import NeighborIndex
from celljury.members.soft_clusters import unit
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LEAST_NEIGHBORS: Final = 15  # in all batches together: what popV asks of a vote
MOST_NEIGHBORS: Final = 240  # in all batches together; with a hundred batches popV, too, goes down to a few of each
CHUNK: Final = 2_048  # cells searched at a time: bounds memory at CHUNK x MOST_NEIGHBORS x components


class BbknnSettings(MemberSettings):
    """Settings of `Bbknn`.

    Attributes
    ----------
    components
        Principal components in which neighbours are sought.
    neighbors
        Reference cells of each batch that vote; more where a reference of few batches would give fewer than 15 in
        all. BBKNN's default is 3 and popV's was 8. Accuracy / log loss of 3, 5, 8 and 15 on two pairs of two batches:
        .925/.189, .938/.173, .933/.178, .921/.196 and .907/.505, .921/.429, .914/.358, .914/.312.
    metric
        ``"angular"``: distance of the coordinates at length 1, which BBKNN offers under that name and popV once used;
        ``"euclidean"`` is BBKNN's default. Accuracy of 8 neighbours with both: .905 and .905, .933 and .912, .914 and
        .886, .885 and .859, .874 and .706 (the last with 344 of 1,267 genes): a batch changes lengths more than
        directions.
    cells_per_term, max_cells
        Caps on the reference cells compared with.
    """

    components: int = Field(default=20, ge=2)
    neighbors: int = Field(default=8, ge=1, le=100)
    metric: Literal["angular", "euclidean"] = "angular"
    cells_per_term: int = Field(default=1_000, ge=1)
    max_cells: int = Field(default=20_000, ge=1)


class Bbknn(Member):
    """Batch-balanced nearest neighbours (Polanski 2020, doi:10.1093/bioinformatics/btz625) and their weighted vote.

    BBKNN moves no cell: it seeks the nearest cells within every batch and joins the lists. A query cell's list over the
    reference's batches is all that a vote needs, and it does not depend on other query cells, so nothing is adapted and
    a new batch needs nothing. The lists are those of `bbknn.matrix.bbknn` with an exact search, which the tests
    compare; the library itself is not needed. A neighbour weighs what UMAP and BBKNN call its connectivity, in the one
    direction that depends on the cell alone. A batch with fewer cells gives all it has.
    """

    name = "bbknn"
    modules = ("sklearn",)
    strangeness = "mean distance to the voting reference cells, before lengths are set to 1"
    about: ClassVar[About] = About(
        what=(
            "BBKNN: the nearest cells within every batch of the reference, in its principal components, vote with the"
            " weight of their connection."
        ),
        score=(
            "The neighbours' weighted share of each type. Batches that have nothing like the cell vote as well, so it is"
            " lower than elsewhere where batches hold different types."
        ),
        right=(
            "A reference of several batches that hold the same types: the one nearest to the query cannot outvote the"
            " others. Nothing is moved, so nothing is moved wrongly."
        ),
        fails="Types that only one batch of the reference has: the other batches' nearest cells vote as well.",
        licence="MIT (bbknn; its definition is computed here)",
        cite=(
            "BBKNN: Polanski 2020, doi:10.1093/bioinformatics/btz625",
            "popV: Ergen 2024, doi:10.1038/s41588-024-01993-3",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = BbknnSettings

    components: Components
    points: NDArray[np.float64]  # reference cells in the components (n_cells, n_components)
    label: NDArray[np.int32]  # (n_cells,)
    batch: NDArray[np.int32]  # of the reference (n_cells,)
    _indices: list[tuple[NDArray[np.intp], NeighborIndex]] | None = None  # rows and index of each batch

    def _fit(self, reference: Reference) -> None:
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        expression = self.normalized(reference.cells)[kept]
        self.components = Components.fit(expression, n_components=self.settings.components, seed=self.seed)
        everything = np.ones(len(self.genes), np.bool_)
        self.points = self.components.coordinates(expression, present=everything).astype(np.float64)
        self.label = reference.label[kept].astype(np.int32)
        self.batch = reference.cells.batch[kept].astype(np.int32)
        self._indices = None

    def _predict(self, block: Block) -> MemberVotes:
        points = self.components.coordinates(self.normalized(block), present=block.present).astype(np.float64)
        mass = np.zeros((block.n_cells, len(self.terms)), np.float32)
        strange = np.zeros(block.n_cells, np.float32)
        for start in range(0, block.n_cells, CHUNK):
            rows = slice(start, start + CHUNK)
            distance, neighbor = self.neighbors(points[rows])
            mass[rows] = tally(connectivities(distance), self.label[neighbor], n_terms=len(self.terms))
            away = points[rows, np.newaxis] - self.points[neighbor]
            strange[rows] = np.sqrt(np.sum(away**2, axis=2)).mean(axis=1)
        return MemberVotes(mass, strange)

    def neighbors(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return distances and rows of the nearest reference cells of every batch, (n_cells, k) each, nearest first."""
        seen = self._seen(points)
        found = [(*index.search(seen), rows) for rows, index in self._by_batch()]
        distance = np.concatenate([near for near, _, _ in found], axis=1)
        neighbor = np.concatenate([rows[place] for _, place, rows in found], axis=1)
        order = np.argsort(distance, axis=1, kind="stable")
        return np.take_along_axis(distance, order, axis=1), np.take_along_axis(neighbor, order, axis=1)

    def _by_batch(self) -> list[tuple[NDArray[np.intp], NeighborIndex]]:
        if self._indices is None:
            batches = np.unique(self.batch)
            wanted = max(self.settings.neighbors, -(-LEAST_NEIGHBORS // batches.size))
            k = max(1, min(wanted, MOST_NEIGHBORS // batches.size))
            points = self._seen(self.points)
            self._indices = []
            for batch in batches:
                rows = np.flatnonzero(self.batch == batch)
                index = NeighborIndex(
                    points[rows],
                    self.label[rows],
                    n_terms=len(self.terms),
                    k=k,
                    seed=self.seed,
                    threads=self.threads,
                )
                self._indices.append((rows, index))
        return self._indices

    def _seen(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return unit(points) if self.settings.metric == "angular" else points

    def _save(self, folder: Path) -> None:
        save_arrays(
            folder / "bbknn.npz",
            points=self.points,
            label=self.label,
            batch=self.batch,
            **self.components.arrays(),
        )

    def _load(self, folder: Path) -> None:
        arrays = load_arrays(folder / "bbknn.npz")
        self.components = Components.from_arrays(arrays)
        self.points = np.asarray(arrays["points"], np.float64)
        self.label = np.asarray(arrays["label"], np.int32)
        self.batch = np.asarray(arrays["batch"], np.int32)
        self._indices = None
