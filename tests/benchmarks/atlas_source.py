"""The real cells that the semi-synthetic atlas is made from, and profiles resampled from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd
from pairs import TRUTH
from scipy.sparse import csr_matrix

from celljury.demo import LABELS, demo_halves, demo_map
from celljury.ontology.load import load_ontology
from celljury.ontology.mapping import read_sssom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

# Weight of the type's mean in a profile, the rest is two real cells: without a core, the sampling noise of each real cell
# would be taken for biology.
CORE = 0.5
# A technology with fewer cells of a type lends the cells of all: it would repeat one or two of them.
FEWEST_CELLS = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Real cells by type and technology.

    Attributes
    ----------
    share
        Counts divided by the cell's sum, float32 (n_cells, n_genes).
    total
        Counts of the cell, float64 (n_cells,).
    kind
        Position of the cell's type in ``terms``, int64 (n_cells,).
    genes, terms, assays
        Names (n_genes,), ids (n_types,) and technologies (n_assays,).
    pools
        Cells to draw from, for each assay and type: of that assay where there are `FEWEST_CELLS`, else of all.
    means
        Mean share in each pool, float32 (n_assays, n_types, n_genes).
    neighbours
        The two types with the most similar mean profile (correlation of log1p CP10k), int64 (n_types, 2).
    """

    share: Floats
    total: NDArray[np.float64]
    kind: Ints
    genes: tuple[str, ...]
    terms: tuple[str, ...]
    assays: tuple[str, ...]
    pools: tuple[tuple[Ints, ...], ...]
    means: Floats
    neighbours: Ints

    @classmethod
    def of(cls, cells: ad.AnnData, *, n_genes: int) -> Source:
        """Take the ``n_genes`` genes of the highest mean share, every type counted alike."""
        if not 0 < n_genes <= cells.n_vars:
            message = f"n_genes: expected 1 to the {cells.n_vars} genes of the real cells, got {n_genes}"
            raise ValueError(message)
        term, assay = (pd.Categorical(cells.obs[column].astype(str)) for column in (TRUTH, "assay"))
        kind = term.codes.astype(np.int64)
        by_type = [np.flatnonzero(kind == t) for t in range(len(term.categories))]
        counts = csr_matrix(cells.X).toarray().astype(np.float64)
        share = counts / counts.sum(axis=1, keepdims=True)
        mean = np.stack([share[of_type].mean(axis=0) for of_type in by_type])
        kept = np.sort(np.argsort(-mean.mean(axis=0), kind="stable")[:n_genes])
        total = np.maximum(counts[:, kept].sum(axis=1), 1)
        share = (counts[:, kept] / total[:, None]).astype(np.float32)
        pools = []
        for a in range(len(assay.categories)):
            own = [of_type[assay.codes[of_type] == a] for of_type in by_type]
            pools.append(tuple(few if len(few) >= FEWEST_CELLS else by_type[t] for t, few in enumerate(own)))
        alike = np.corrcoef(np.log1p(1e4 * mean[:, kept]))
        np.fill_diagonal(alike, -1)
        return cls(
            share=share,
            total=total,
            kind=kind,
            genes=tuple(cells.var_names[kept]),
            terms=tuple(term.categories),
            assays=tuple(assay.categories),
            pools=tuple(pools),
            means=np.stack([[share[pool].mean(axis=0) for pool in row] for row in pools]).astype(np.float32),
            neighbours=np.argsort(-alike, axis=1, kind="stable")[:, :2],
        )

    @property
    def type_share(self) -> NDArray[np.float64]:
        """Share of the real cells that each type has, float64 (n_types,)."""
        return np.bincount(self.kind, minlength=len(self.terms)) / len(self.kind)

    def profiles(self, kind: Ints, *, assay: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.float64]]:
        """Return new profiles (n, n_genes) of cells of these types (n,), and the counts (n,) of a real cell behind each.

        The mean of the type's pool, and two real cells of it in random parts: no profile is a real cell's own, and genes
        that go together in real cells of the type still do.
        """
        pools = self.pools[assay]
        size = np.array([len(pool) for pool in pools])
        start = np.concatenate([[0], np.cumsum(size)[:-1]])
        drawn = start[kind, None] + (rng.random((len(kind), 2)) * size[kind, None]).astype(np.int64)
        first, second = np.concatenate(pools)[drawn].T
        profile = self.share[second]
        profile += rng.random((len(kind), 1), dtype=np.float32) * (self.share[first] - profile)
        profile *= 1 - CORE
        profile += CORE * self.means[assay, kind]
        return profile, self.total[first]


def read_source(source: Path | Literal["embedded"], *, n_genes: int) -> Source:
    """Return the real cells of an h5ad with the columns of ``../shared/data``, or of the set that scanpy ships."""
    if source != "embedded":
        return Source.of(ad.read_h5ad(source), n_genes=n_genes)
    # The two halves are all cells but the reference's CD34+.
    cells = ad.concat(demo_halves())
    mapping = read_sssom(demo_map(), load_ontology()).terms
    cells.obs[TRUTH] = [mapping[label][0][0] for label in cells.obs[LABELS]]
    cells.obs["assay"] = "10x 3' v1"
    return Source.of(cells, n_genes=n_genes)
