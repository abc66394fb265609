"""totalVI and the nearest reference cells in its latent space, for references with surface proteins (CITE-seq)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from celljury.errors import InputError
from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Proteins, Reference
from celljury.members.latent import LatentMember
from celljury.members.scvi_training import NetworkSettings
from celljury.members.totalvi_training import mean_counts, train_totalvi, without_gaps

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.members.base import MemberSettings, MemberVotes
    from celljury.members.scvi_cells import TrainingCells
    from celljury.members.scvi_model import Network


class TotalviKnnSettings(NetworkSettings):
    """Settings of `TotalviKnn`, beside those of `NetworkSettings`.

    ``epochs``: those of SCVI by default. With ten made proteins 200 gave 0.946 on 720 cells (two seeds) where 100 gave
    0.940; on two references of 290 cells 100 were the better, 0.897 against 0.873 (two seeds each).

    Attributes
    ----------
    neighbors
        Reference cells that vote, as many as for scVI kNN.
    """

    neighbors: int = Field(default=15, ge=1, le=200)


class TotalviKnn(LatentMember):
    """Weighted vote of the nearest reference cells in totalVI's latent space, after surgery on the query's batches.

    totalVI: Gayoso 2021, doi:10.1038/s41592-020-01050-x. The reference needs protein counts, the query does not: what it
    lacks is read as the reference's mean (`without_gaps`), and surgery learns nothing from it.
    """

    name: ClassVar[str] = "totalvi_knn"
    strangeness: ClassVar[str] = "mean distance to the nearest reference cells in totalVI's latent space"
    about: ClassVar[About] = About(
        what=(
            "totalVI on a reference with surface proteins, the query's batches added by scArches surgery, nearest "
            "reference cells in the latent space of both modalities vote."
        ),
        needs=(
            "Protein counts of the reference's cells in obsm, named by the setting proteins; those of the query where "
            "it has them."
        ),
        score="The neighbours' weighted share of each type; a cell of no known type has neighbours, too.",
        right="A CITE-seq reference, and types that surface proteins tell apart better than RNA: T cell subsets first.",
        fails=(
            "The query has no proteins or another panel: its cells then lie where RNA alone puts them, and the jury's "
            "scVI has said that already."
        ),
        licence="BSD-3-Clause",
        cite=(
            "totalVI: Gayoso 2021, doi:10.1038/s41592-020-01050-x",
            "scArches: Lotfollahi 2022, doi:10.1038/s41587-021-01001-7",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = TotalviKnnSettings

    proteins: tuple[str, ...]  # names of the reference's
    protein_mean: NDArray[np.float64]  # counts of a mean reference cell, (n_proteins,)

    def _fit(self, reference: Reference) -> None:
        known = reference.cells.proteins
        if known is None:
            message = (
                'totalvi_knn: expected protein counts of the reference (setting proteins, e.g. "protein_expression":'
                " the key of obsm that holds them), got none. Name it, or leave totalvi_knn out of the members."
            )
            raise InputError(message)
        self.proteins = known.names
        self.protein_mean = mean_counts(known.counts, reference.cells.batch)
        super()._fit(reference)

    def _train(self, cells: TrainingCells) -> Network:
        return train_totalvi(cells, settings=self.settings, seed=self.seed, threads=self.threads)

    def _read(self, block: Block) -> Proteins:
        found = block.proteins
        if found is None:
            n = len(self.proteins)
            found = Proteins(np.zeros((block.n_cells, n), np.float32), self.proteins, np.zeros(n, np.bool_))
        if found.names != self.proteins:
            message = (
                f"totalvi_knn was fitted on {len(self.proteins)} proteins and got a block of {len(found.names)} other or"
                " differently ordered ones. Align the query with celljury.proteins.align_proteins."
            )
            raise InputError(message)
        return replace(found, counts=without_gaps(found, mean=self.protein_mean))

    def _vote(self, latent: NDArray[np.float32]) -> MemberVotes:
        return self._near(latent)

    def _save(self, folder: Path) -> None:
        super()._save(folder)
        (folder / "proteins.json").write_text(json.dumps(list(self.proteins)), encoding="utf-8")
        save_arrays(folder / "proteins.npz", mean=self.protein_mean)

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self.proteins = tuple(json.loads((folder / "proteins.json").read_text(encoding="utf-8")))
        self.protein_mean = load_arrays(folder / "proteins.npz")["mean"].astype(np.float64)
