"""Symphony: map a query into the reference's Harmony embedding, then ask the nearest reference cells."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.components import Components, Scaling
from celljury.members.neighbors import NeighborIndex
from celljury.members.soft_clusters import CompressedReference, soft_clusters, unit
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


class SymphonySettings(MemberSettings):
    """Settings of `Symphony`.

    Attributes
    ----------
    components
        Principal components; Symphony's default is 20.
    scaling
        How genes are scaled before the components. ``"unit"`` is R's Symphony; ``"pareto"`` is better wherever
        genes are plenty: across technologies .960 against .949, donors .926 against .899, 94 pancreas cells .765
        against .370; across laboratories (271 genes) .926 against .932.
    neighbors
        Reference cells that vote on a query cell.
    bandwidth
        Sigma of the soft clusters; Harmony's and Symphony's default is 0.1.
    ridge
        Penalty on a query batch's shift; Symphony's default is 1.
    cells_per_term, max_cells
        Caps on the reference cells learned from.
    """

    components: int = Field(default=20, ge=2)
    scaling: Scaling = "pareto"
    neighbors: int = Field(default=15, ge=1, le=200)
    bandwidth: float = Field(default=0.1, gt=0)
    ridge: float = Field(default=1.0, gt=0)
    cells_per_term: int = Field(default=1_000, ge=1)
    max_cells: int = Field(default=20_000, ge=1)


class Symphony(Member):
    """Symphony's mapping and the votes of the nearest reference cells.

    The reference is integrated over its batches by harmonypy through symphonypy; one with a single batch keeps its
    principal components and gets seeded soft clusters. `adapt` fits the shift of every query batch in every cluster
    and stores it, so `predict` moves each cell by what its own clusters and batch say; a batch that `adapt` never saw
    is not moved. The shift is that of the sample it gets, by default 2,000 cells of a batch (`sample_per_batch`): of
    4,000, on the semi-synthetic atlas, they cost nothing (0.890 and 0.890, three seeds) and gave 0.5 % of the cells
    another type; 400 gave 0.892 and 1.8 %, 50 gave 0.889 and 3.9 % (tests/benchmarks/surgery_bench.py).
    """

    name = "symphony"
    modules = ("symphonypy", "harmonypy")
    distribution = "symphonypy"
    extra = "symphony"
    strangeness = "Mahalanobis distance to the reference's soft clusters before correction"
    about: ClassVar[About] = About(
        what=(
            "Symphony: the reference integrated by Harmony, query batches moved towards it cluster by "
            "cluster, nearest neighbours vote."
        ),
        score=(
            "The neighbours' weighted share of each type. Its distance to the soft clusters finds new types, "
            "not wrong labels."
        ),
        right="Seconds on one core, the same result at every run, many queries on one compressed reference.",
        fails="A batch effect that is strong, not linear and of a kind that the reference never saw.",
        licence="GPL-3.0-or-later (symphonypy, harmonypy: called, not contained)",
        cite=(
            "Symphony: Kang 2021, doi:10.1038/s41467-021-25957-x",
            "Harmony: Korsunsky 2019, doi:10.1038/s41592-019-0619-0",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = SymphonySettings

    components: Components
    compressed: CompressedReference
    embedding: NDArray[np.float32]  # corrected coordinates of the reference (n_cells, n_components)
    label: NDArray[np.int32]  # (n_cells,)
    batches: tuple[str, ...]  # query batches that have a shift
    shifts: NDArray[np.float64]  # (n_batches, n_clusters, n_components)
    _neighbors: NeighborIndex | None

    def _fit(self, reference: Reference) -> None:
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        expression = self.normalized(reference.cells)[kept]
        everything = np.ones(len(self.genes), np.bool_)
        self.components = Components.fit(
            expression, n_components=self.settings.components, scaling=self.settings.scaling, seed=self.seed
        )
        plain = self.components.coordinates(expression, present=everything).astype(np.float64)
        batch = reference.cells.batch[kept]
        n_clusters = max(2, min(100, round(kept.size / 30)))  # Symphony's min(N / 30, 100)
        n_clusters = min(n_clusters, kept.size)
        if np.unique(batch).size > 1:
            corrected, membership = self._integrated(plain, batch, n_clusters=n_clusters)
        else:
            corrected, membership = plain, self._clustered(plain, n_clusters=n_clusters)
        filled = membership.sum(axis=0) > 1e-6
        self.compressed = CompressedReference.of(membership[:, filled], plain=plain, corrected=corrected)
        self.embedding = corrected.astype(np.float32)
        self.label = reference.label[kept].astype(np.int32)
        self._forget()

    def _integrated(
        self, plain: NDArray[np.float64], batch: NDArray[np.int32], *, n_clusters: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coordinates corrected by Harmony and soft clusters (n_cells, n_clusters)."""
        import pandas as pd
        from anndata import AnnData
        from symphonypy.pp import harmony_integrate

        names = [str(row) for row in range(plain.shape[0])]
        cells = AnnData(obs=pd.DataFrame({"batch": pd.Categorical(batch.astype(str))}, index=names))
        cells.obsm["X_pca"] = plain
        harmony_integrate(
            cells,
            key="batch",
            random_seed=self.seed,
            nclust=n_clusters,
            sigma=self.settings.bandwidth,
            ncores=self.threads,
        )
        corrected = np.asarray(cells.obsm["X_pca_harmony"], dtype=np.float64)
        return corrected, np.asarray(cells.uns["harmony"]["R"], dtype=np.float64).T

    def _clustered(self, plain: NDArray[np.float64], *, n_clusters: int) -> NDArray[np.float64]:
        """Return soft clusters of a reference with one batch, (n_cells, n_clusters)."""
        from sklearn.cluster import KMeans

        means = KMeans(n_clusters=n_clusters, n_init=10, max_iter=25, random_state=self.seed).fit(unit(plain))
        return soft_clusters(plain, means.cluster_centers_, bandwidth=self.settings.bandwidth)

    def _adapt(self, query: Block) -> None:
        self._forget()
        counted = np.flatnonzero(np.diff(query.counts.indptr) > 0)
        plain = self._coordinates(query)[counted]
        membership = self.compressed.membership(plain, bandwidth=self.settings.bandwidth)
        seen, rows = np.unique(query.batch[counted], return_inverse=True)
        self.batches = tuple(query.batches[batch] for batch in seen)
        self.shifts = self.compressed.shift(plain, membership, rows, n_batches=seen.size, ridge=self.settings.ridge)

    def _predict(self, block: Block) -> MemberVotes:
        plain = self._coordinates(block)
        membership = self.compressed.membership(plain, bandwidth=self.settings.bandwidth)
        corrected = self.corrected(plain, membership, block)
        mass, _ = self._index().vote(corrected)
        return MemberVotes(mass, self.compressed.distance(plain, membership).astype(np.float32))

    def corrected(
        self, plain: NDArray[np.float64], membership: NDArray[np.float64], block: Block
    ) -> NDArray[np.float64]:
        """Coordinates of a block's cells moved by the stored shift of their batch in their clusters."""
        moved = plain.copy()
        position = {name: place for place, name in enumerate(self.batches)}
        for batch in np.unique(block.batch):
            if (place := position.get(block.batches[batch])) is not None:
                rows = block.batch == batch
                moved[rows] -= membership[rows] @ self.shifts[place]
        return moved

    def _coordinates(self, block: Block) -> NDArray[np.float64]:
        return self.components.coordinates(self.normalized(block), present=block.present).astype(np.float64)

    def _index(self) -> NeighborIndex:
        if self._neighbors is None:
            self._neighbors = NeighborIndex(
                self.embedding,
                self.label,
                n_terms=len(self.terms),
                k=self.settings.neighbors,
                seed=self.seed,
                threads=self.threads,
            )
        return self._neighbors

    def _forget(self) -> None:
        self.batches = ()
        self.shifts = np.zeros((0, *self.compressed.total.shape))
        self._neighbors = None

    def _save(self, folder: Path) -> None:
        compressed = {field.name: getattr(self.compressed, field.name) for field in fields(self.compressed)}
        save_arrays(
            folder / "symphony.npz",
            embedding=self.embedding,
            label=self.label,
            batches=np.array(self.batches, dtype=np.str_),
            shifts=self.shifts,
            **self.components.arrays(),
            **compressed,
        )

    def _load(self, folder: Path) -> None:
        arrays: Mapping[str, NDArray[np.generic]] = load_arrays(folder / "symphony.npz")
        self.components = Components.from_arrays(arrays)
        named = (np.asarray(arrays[field.name], dtype=np.float64) for field in fields(CompressedReference))
        self.compressed = CompressedReference(*named)
        self.embedding = np.asarray(arrays["embedding"], dtype=np.float32)
        self.label = np.asarray(arrays["label"], dtype=np.int32)
        self._forget()
        self.batches = tuple(str(name) for name in arrays["batches"])
        self.shifts = np.asarray(arrays["shifts"], dtype=np.float64)
