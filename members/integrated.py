"""What `harmony_knn` and `scanorama_knn` share: the reference integrated with a sample of the query, then neighbours."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.components import Components
from celljury.members.connectivity import connectivities, tally
from celljury.members.neighbors import NeighborIndex
from celljury.members.scvi_cells import content_order
from celljury.members.soft_clusters import unit
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

LEAST_CELLS: Final = 10  # of a query batch: how fewer lie says more of their types than of their batch
CHUNK: Final = 4_096  # cells placed and searched at a time


class IntegratedSettings(MemberSettings):
    """Settings of members that integrate the reference with a sample of the query.

    Attributes
    ----------
    components
        Principal components of the reference in which cells are integrated.
    neighbors
        Reference cells that vote; popV's 15.
    adapt_cells_per_batch, adapt_cells
        Caps on the query cells that are integrated with the reference, of each batch and in all.
    cells_per_term, max_cells
        Caps on the reference cells that are integrated and vote.
    """

    components: int = Field(default=20, ge=2)
    neighbors: int = Field(default=15, ge=1, le=200)
    adapt_cells_per_batch: int = Field(default=2_000, ge=LEAST_CELLS)
    adapt_cells: int = Field(default=10_000, ge=LEAST_CELLS)
    cells_per_term: int = Field(default=1_000, ge=1)
    max_cells: int = Field(default=10_000, ge=1)


@dataclass(frozen=True, slots=True)
class Integration:
    """Where an integration moved cells, and what it learned.

    Attributes
    ----------
    reference
        Reference cells after it, float64 (n_reference, n_components).
    plain, moved
        Sampled query cells before and after it, float64 (n_sample, n_components).
    batch
        Of each, index into ``batches``, int32 (n_sample,).
    batches
        Names of the query batches that took part.
    learned
        What the method's own formula needs to place further cells of these batches.
    """

    reference: NDArray[np.float64]
    plain: NDArray[np.float64]
    moved: NDArray[np.float64]
    batch: NDArray[np.int32]
    batches: tuple[str, ...]
    learned: Mapping[str, NDArray[np.float64]]


class IntegratedMember(Member):
    """A member that integrates the reference with a sample of the query and lets the nearest reference cells vote.

    The library integrates once, in `adapt`; what it learned there places every cell of the query, in the sample or not,
    by the cell's own counts and batch. A batch with fewer than 10 cells in the sample, one that came later and a
    query that was not adapted to are not moved, and vote with the reference as it was integrated by itself.

    Neighbours are sought among coordinates at length 1. Log loss after Harmony with and without that: .368 and .341,
    .251 and .260, .355 and .368, .475 and .485, .552 and .618 on five pairs of PBMC, accuracy higher in all (.901
    against .782 on the last, 344 of 1,267 genes).
    """

    components: Components
    plain: NDArray[np.float64]  # reference cells before integration (n_cells, n_components)
    label: NDArray[np.int32]  # (n_cells,)
    batch: NDArray[np.int32]  # of the reference: 0, 1, ... (n_cells,)
    fitted: NDArray[np.float64]  # reference cells integrated by themselves (n_cells, n_components)
    adapted: Integration | None = None
    _indices: dict[str, NeighborIndex]

    @abstractmethod
    def _join(
        self, points: NDArray[np.float64], batch: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Integrate cells of two batches or more; return their coordinates after it, and what was learned.

        Batches are numbered 0, 1, ..., those of the reference first.
        """

    @abstractmethod
    def _place(
        self, points: NDArray[np.float64], batch: NDArray[np.int32], integration: Integration
    ) -> NDArray[np.float64]:
        """Return where the integration would have moved cells; ``batch`` is an index into its ``batches``."""

    @property
    def n_batches(self) -> int:
        """Number of batches of the reference."""
        return int(self.batch.max()) + 1

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
        self.plain = self.components.coordinates(expression, present=everything).astype(np.float64)
        self.label = reference.label[kept].astype(np.int32)
        self.batch = np.unique(reference.cells.batch[kept], return_inverse=True)[1].astype(np.int32)
        self.fitted = self._join(self.plain, self.batch)[0] if self.n_batches > 1 else self.plain
        self.adapted, self._indices = None, {}

    def _adapt(self, query: Block) -> None:
        self.adapted, self._indices = None, {}
        rows, batches = self._sample(query)
        if not batches:
            return
        position = {name: place for place, name in enumerate(batches)}
        batch = np.array([position[query.batches[code]] for code in query.batch[rows]], np.int32)
        sample = Block(query.counts[rows], query.genes, query.present, query.batch[rows], query.batches)
        plain = self._coordinates(sample)
        moved, learned = self._join(
            np.concatenate([self.plain, plain]), np.concatenate([self.batch, batch + self.n_batches])
        )
        n_reference = self.plain.shape[0]
        self.adapted = Integration(moved[:n_reference], plain, moved[n_reference:], batch, batches, learned)

    def _sample(self, query: Block) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        """Return rows to integrate and the batches they are of, in an order that does not depend on the rows' own."""
        counted = np.diff(query.counts.indptr) > 0
        of_batch = {query.batches[code]: np.flatnonzero(counted & (query.batch == code)) for code in set(query.batch)}
        large = sorted(name for name, rows in of_batch.items() if rows.size >= LEAST_CELLS)
        if not large:
            return np.empty(0, np.intp), ()
        most = min(self.settings.adapt_cells_per_batch, max(LEAST_CELLS, self.settings.adapt_cells // len(large)))
        chosen = [of_batch[name][content_order(query.counts[of_batch[name]])[:most]] for name in large]
        return np.concatenate(chosen), tuple(large)

    def _predict(self, block: Block) -> MemberVotes:
        plain = self._coordinates(block)
        mass = np.zeros((block.n_cells, len(self.terms)), np.float32)
        strange = np.full(block.n_cells, np.nan, np.float32)
        position = {name: place for place, name in enumerate(self.adapted.batches)} if self.adapted else {}
        batch = np.array([position.get(name, -1) for name in block.batches], np.int32)[block.batch]
        for known in (True, False):
            cells = np.flatnonzero((batch >= 0) == known)
            for start in range(0, cells.size, CHUNK):
                rows = cells[start : start + CHUNK]
                if known and self.adapted is not None:
                    placed, reference = self._place(plain[rows], batch[rows], self.adapted), self.adapted.reference
                else:
                    placed, reference = plain[rows], self.fitted
                mass[rows], strange[rows] = self._vote(placed, reference, self._index(reference, adapted=known))
        return MemberVotes(mass, strange)

    def _vote(
        self, placed: NDArray[np.float64], reference: NDArray[np.float64], index: NeighborIndex
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the neighbours' votes and the mean distance to them at full lengths, NaN where it is no score."""
        distance, neighbor = index.search(unit(placed))
        mass = tally(connectivities(distance), self.label[neighbor], n_terms=len(self.terms))
        if not self.strangeness:
            return mass, np.full(placed.shape[0], np.nan)
        away = placed[:, np.newaxis] - reference[neighbor]
        return mass, np.sqrt(np.sum(away**2, axis=2)).mean(axis=1)

    def place(self, block: Block) -> NDArray[np.float64]:
        """Return where cells of batches that `adapt` saw stand among the reference's, float64 (n_cells, n_components)."""
        if self.adapted is None:
            return self._coordinates(block)
        position = {name: place for place, name in enumerate(self.adapted.batches)}
        batch = np.array([position[block.batches[code]] for code in block.batch], np.int32)
        return self._place(self._coordinates(block), batch, self.adapted)

    def _coordinates(self, block: Block) -> NDArray[np.float64]:
        return self.components.coordinates(self.normalized(block), present=block.present).astype(np.float64)

    def _index(self, reference: NDArray[np.float64], *, adapted: bool) -> NeighborIndex:
        key = "adapted" if adapted else "fitted"
        if key not in self._indices:
            self._indices[key] = NeighborIndex(
                unit(reference),
                self.label,
                n_terms=len(self.terms),
                k=self.settings.neighbors,
                seed=self.seed,
                threads=self.threads,
            )
        return self._indices[key]

    def _save(self, folder: Path) -> None:
        adapted: dict[str, NDArray[np.generic]] = {}
        if self.adapted is not None:
            adapted = {
                f"adapted_{name}": getattr(self.adapted, name) for name in ("reference", "plain", "moved", "batch")
            }
            adapted["adapted_batches"] = np.array(self.adapted.batches, np.str_)
            adapted |= {f"learned_{name}": values for name, values in self.adapted.learned.items()}
        save_arrays(
            folder / "integrated.npz",
            plain=self.plain,
            label=self.label,
            batch=self.batch,
            fitted=self.fitted,
            **self.components.arrays(),
            **adapted,
        )

    def _load(self, folder: Path) -> None:
        arrays = load_arrays(folder / "integrated.npz")
        self.components = Components.from_arrays(arrays)
        self.plain = np.asarray(arrays["plain"], np.float64)
        self.label = np.asarray(arrays["label"], np.int32)
        self.batch = np.asarray(arrays["batch"], np.int32)
        self.fitted = np.asarray(arrays["fitted"], np.float64)
        self.adapted, self._indices = None, {}
        if "adapted_batches" in arrays:
            self.adapted = Integration(
                reference=np.asarray(arrays["adapted_reference"], np.float64),
                plain=np.asarray(arrays["adapted_plain"], np.float64),
                moved=np.asarray(arrays["adapted_moved"], np.float64),
                batch=np.asarray(arrays["adapted_batch"], np.int32),
                batches=tuple(str(name) for name in arrays["adapted_batches"]),
                learned={
                    name.removeprefix("learned_"): np.asarray(values, np.float64)
                    for name, values in arrays.items()
                    if name.startswith("learned_")
                },
            )
