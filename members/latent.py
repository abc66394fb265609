"""What `scvi_knn`, `scanvi` and `totalvi_knn` share: place query cells in the latent space of the reference's network."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberVotes, Proteins, Reference
from celljury.members.neighbors import NeighborIndex
from celljury.members.scvi_cells import TrainingCells, content_order, filled
from celljury.members.scvi_model import Encoder, Network, widen
from celljury.members.scvi_training import operate
from celljury.members.strangeness import ClassGaussians, own_spacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class LatentMember(Member):
    """A member that votes on where a network puts a cell.

    A batch that `adapt` did not see, or no adaptation at all, is read as the mean of the reference's batches.

    Every query batch is operated on alone, from a sample of its own cells, so its votes do not depend on the batches
    that came with it. The sample is chosen and ordered by a hash of the cells' counts, not by their order.
    """

    kind: ClassVar[Literal["light", "torch"]] = "torch"
    heavy: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("scvi", "torch")
    distribution: ClassVar[str] = "scvi-tools"
    extra: ClassVar[str] = "scvi"

    network: Network
    latent: NDArray[np.float32]  # reference cells with counts, (n_cells, n_latent)
    label: NDArray[np.int32]  # their terms, (n_cells,)
    spacing: NDArray[np.float32]  # mean distance of each to its nearest others, (n_cells,)
    gaussians: ClassGaussians  # of the terms
    batches: tuple[str, ...] = ()  # of the query adapted to, those with counts
    columns: dict[str, NDArray[np.float32]]  # of those batches in each first layer, (n_hidden, n_batches)
    _encoder: Encoder | None = None
    _index: NeighborIndex | None = None

    @abstractmethod
    def _train(self, cells: TrainingCells) -> Network: ...

    @abstractmethod
    def _vote(self, latent: NDArray[np.float32]) -> MemberVotes: ...

    def _read(self, block: Block) -> Proteins | None:
        """Return the cells' proteins as the network reads them, without gaps; None = it reads none."""
        del block
        return None

    @property
    def index(self) -> NeighborIndex:
        """The reference cells, ready to be searched."""
        if self._index is None:
            self._index = NeighborIndex(
                self.latent,
                self.label,
                n_terms=len(self.terms),
                k=self.settings.neighbors,
                seed=self.seed,
                threads=self.threads,
            )
        return self._index

    def _fit(self, reference: Reference) -> None:
        cells = TrainingCells.of(reference)
        self.network = self._train(cells)
        self.latent = Encoder(self.network, threads=self.threads).latent(
            cells.counts, cells.batch, present=np.ones(len(self.genes), np.bool_), share=self.gene_share,
            proteins=cells.proteins if self.network.n_proteins else None,
        )  # fmt: skip
        self.label = cells.label
        self.batches, self._encoder, self._index = (), None, None
        self.spacing = own_spacing(self.index, self.latent).astype(np.float32)
        self.gaussians = ClassGaussians.fit(self.latent, self.label, n_terms=len(self.terms))

    def _adapt(self, query: Block) -> None:
        seen = np.asarray(query.counts.sum(axis=1)).ravel() > 0
        complete = bool(query.present.all())
        worth = float(self.gene_share[query.present].sum()) >= self.settings.surgery_min_share
        used = np.unique(query.batch[seen]) if worth else np.empty(0, np.int32)
        proteins = self._read(query)
        learned = []
        for i in used:
            rows = np.flatnonzero(seen & (query.batch == i))
            rows = rows[content_order(query.counts[rows])[: self.settings.surgery_cells_per_batch]]
            counts = query.counts[rows]
            learned.append(
                operate(
                    self.network,
                    counts if complete else filled(counts, present=query.present, share=self.gene_share),
                    epochs=self.settings.surgery_epochs,
                    device=self.settings.device,
                    seed=self.seed,
                    threads=self.threads,
                    proteins=proteins and proteins.take(rows),
                )
            )
        self.columns = {
            name: np.concatenate([columns[name] for columns in learned], axis=1) if learned else typical
            for name, typical in self.network.typical_batch().items()
        }
        self.batches = tuple(query.batches[i] for i in used)
        self._encoder = None

    @property
    def encoder(self) -> Encoder:
        """The network with the query's batches, behind one more that stands for any other batch."""
        if self._encoder is None:
            network = widen(self.network, self.network.typical_batch())
            self._encoder = Encoder(widen(network, self.columns) if self.batches else network, threads=self.threads)
        return self._encoder

    def placed(self, block: Block) -> NDArray[np.float32]:
        """Return where the adapted network puts cells of the query, float32 (n_cells, n_latent)."""
        typical = self.network.n_batches
        place = {name: typical + 1 + i for i, name in enumerate(self.batches)}
        code = np.array([place.get(name, typical) for name in block.batches], np.int64)
        return self.encoder.latent(
            block.counts, code[block.batch], present=block.present, share=self.gene_share, proteins=self._read(block)
        )

    def _predict(self, block: Block) -> MemberVotes:
        return self._vote(self.placed(block))

    def _near(self, latent: NDArray[np.float32]) -> MemberVotes:
        """Return the votes of the nearest reference cells, their distance, and the signals of strangeness."""
        mass, distance, crowded = self.index.vote_and_crowding(latent, self.spacing)
        return MemberVotes(mass, distance, {**self.gaussians.signals(latent), "crowding": crowded})

    def _save(self, folder: Path) -> None:
        self.network.save(folder)
        names = self.network.first_layers()
        adapted = {f"c{i}": self.columns[name] for i, name in enumerate(names)} if self.batches else {}
        known = {"latent": self.latent, "label": self.label, "spacing": self.spacing} | self.gaussians.arrays()
        save_arrays(folder / "latent.npz", **known, **adapted)
        (folder / "batches.json").write_text(json.dumps(list(self.batches)), encoding="utf-8")

    def _load(self, folder: Path) -> None:
        self.network = Network.load(folder)
        arrays = load_arrays(folder / "latent.npz")
        self.latent = arrays["latent"].astype(np.float32)
        self.label = arrays["label"].astype(np.int32)
        self.spacing = arrays["spacing"].astype(np.float32)
        self.gaussians = ClassGaussians.from_arrays(arrays)
        self.batches = tuple(json.loads((folder / "batches.json").read_text(encoding="utf-8")))
        if self.batches:
            self.columns = {
                name: arrays[f"c{i}"].astype(np.float32) for i, name in enumerate(self.network.first_layers())
            }
