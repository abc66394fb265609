"""Symphony by R's own package: it builds the reference and maps the query, the nearest reference cells vote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from celljury.errors import MemberError
from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, MemberVotes, Reference
from celljury.members.components import CLIP
from celljury.members.neighbors import NeighborIndex
from celljury.members.r_packages import RMember
from celljury.members.remote import RemoteSettings
from celljury.members.soft_clusters import CompressedReference, soft_clusters
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.members.base import MemberSettings

SIGMA: Final = (
    0.1  # of the soft clusters: Harmony's and Symphony's default, which buildReference does not let one choose
)
RIDGE: Final = 1.0  # Symphony's, fixed in mapQuery
CHUNK: Final = 2_048  # cells made dense at a time
# What R says of a cell may differ by rounding from what is computed here: relative to the coordinates' root mean square.
AGREEMENT: Final = 1e-4

# Slots of a Symphony reference as its manual names them, all that mapping needs.
SLOTS: Final = ("mean", "stddev", "loadings", "R", "Z_orig", "Z_corr", "centroids", "Nr", "C")


class SymphonyRSettings(RemoteSettings):
    """Settings of `SymphonyR`.

    Attributes
    ----------
    components
        Principal components, buildReference's ``d``.
    theta
        Harmony's penalty on clusters of few batches.
    neighbors
        Reference cells that vote on a query cell. knnPredict has 5 vote alike; these are weighed by distance as in
        `celljury.members.symphony`, whose settings this has otherwise.
    cells_per_term, max_cells
        Caps on the reference cells learned from.
    """

    components: int = Field(default=20, ge=2)
    theta: float = Field(default=2.0, ge=0)
    neighbors: int = Field(default=15, ge=1, le=200)
    cells_per_term: int = Field(default=1_000, ge=1)
    max_cells: int = Field(default=20_000, ge=1)


class SymphonyR(RMember):
    """buildReference and mapQuery of R's symphony (Kang 2021, doi:10.1038/s41467-021-25957-x), where the user has it.

    The reference is R's and is kept as arrays. `adapt` has R map the sample and fits, from the same cells, the shift of
    every batch in every cluster that the paper describes; `predict` moves each cell by what its own clusters and batch
    say, so a cell's vote depends on that cell alone. Both must place the cells of the sample alike, else there is no
    member: its version then maps in a way that is not known here.

    A batch that `adapt` never saw is not moved. Genes that the query lacks count as average.
    """

    name: ClassVar[str] = "symphony_r"
    worker: ClassVar[str] = "symphony_r_worker"
    adapts: ClassVar[bool] = True
    distribution: ClassVar[str] = "symphony"
    install_with: ClassVar[str] = "in R, install.packages('symphony')"
    strangeness: ClassVar[str] = "Mahalanobis distance to the reference's soft clusters before correction"
    about: ClassVar[About] = About(
        what=(
            "Symphony by its own R package: cells are mapped into the reference's Harmony embedding, where the nearest"
            " reference cells vote."
        ),
        needs="R with the package symphony, which Debian does not have, and the environment 'r'.",
        score="The neighbours' weighted share of each type; a cell of no known type has neighbours, too.",
        right="The member 'symphony' is to be checked against R, or results must be comparable with R's.",
        fails="As 'symphony' does: strong batch effects that are not linear and that the reference never saw.",
        licence="GPL-3.0-or-later",
        cite=(
            "Symphony: Kang 2021, doi:10.1038/s41467-021-25957-x",
            "Harmony: Korsunsky 2019, doi:10.1038/s41592-019-0619-0",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = SymphonyRSettings

    reference: dict[str, NDArray[np.float64]]  # slots of R's object (`SLOTS`), cells and clusters in R's orientation
    label: NDArray[np.int32]  # terms of its cells (n_cells,)
    batches: tuple[str, ...]  # query batches that have a shift
    shifts: NDArray[np.float64]  # (n_batches, n_clusters, n_components)
    _size: tuple[int, int] = (0, 0)  # clusters and components to ask for
    _compressed: CompressedReference | None
    _neighbors: NeighborIndex | None

    def options(self) -> dict[str, Any]:
        """Return what depends on the number of cells, and the bandwidth."""
        return {"clusters": self._size[0], "components": self._size[1], "sigma": SIGMA}

    # The contract -----------------------------------------------------------------------------------------------

    def _fit(self, reference: Reference) -> None:
        self._versions = {name: str(version) for name, version in self._ask("versions", None).items()}
        caps = self.settings
        kept = cap_per_term(reference.label, per_term=caps.cells_per_term, total=caps.max_cells, seed=self.seed)
        cells = reference.cells
        some = Block(cells.counts[kept], cells.genes, cells.present, cells.batch[kept], cells.batches)
        clusters = max(2, min(100, round(kept.size / 30)))  # Symphony's min(N / 30, 100)
        self._size = (clusters, min(caps.components, min(some.counts.shape) - 1))
        found = self._ask("fit", some)
        self.reference = {name: np.asarray(found[name], np.float64) for name in SLOTS}
        self.label = reference.label[kept].astype(np.int32)
        weight, total = self.reference["R"].sum(axis=1), self.reference["R"] @ self.reference["Z_corr"].T
        self._hold(self.reference["Nr"], weight, what="number of cells of its clusters")
        self._hold(self.reference["C"], total, what="corrected centres of its clusters")
        self._forget()

    def _adapt(self, query: Block) -> None:
        self._forget()
        counted = np.flatnonzero(np.asarray(query.counts.sum(axis=1)).ravel() > 0)
        if not counted.size:
            return
        sample = Block(query.counts[counted], query.genes, query.present, query.batch[counted], query.batches)
        theirs = self._ask("adapt", sample, **self.reference)
        plain = self._coordinates(sample)
        membership = self._membership(plain)
        seen, rows = np.unique(sample.batch, return_inverse=True)
        self.batches = tuple(query.batches[batch] for batch in seen)
        self.shifts = self.compressed.shift(plain, membership, rows, n_batches=seen.size, ridge=RIDGE)
        self._hold(theirs["plain"], plain, what="coordinates before correction")
        self._hold(theirs["membership"], membership, what="soft clusters")
        self._hold(theirs["corrected"], self._moved(plain, membership, sample), what="corrected coordinates")

    def _predict(self, block: Block) -> MemberVotes:
        plain = self._coordinates(block)
        membership = self._membership(plain)
        mass, _ = self._index().vote(self._moved(plain, membership, block))
        return MemberVotes(mass, self.compressed.distance(plain, membership).astype(np.float32))

    # Mapping ----------------------------------------------------------------------------------------------------

    @property
    def compressed(self) -> CompressedReference:
        """The reference's soft clusters."""
        if self._compressed is None:
            slots = self.reference
            self._compressed = CompressedReference.of(
                slots["R"].T, plain=slots["Z_orig"].T, corrected=slots["Z_corr"].T
            )
        return self._compressed

    def _coordinates(self, block: Block) -> NDArray[np.float64]:
        used = np.flatnonzero(block.present & self.reference["loadings"].any(axis=1))
        mean, stddev, loadings = (self.reference[name][used] for name in ("mean", "stddev", "loadings"))
        expression = self.normalized(block)[:, used].astype(np.float64)
        found = np.zeros((block.n_cells, loadings.shape[1]))
        for start in range(0, block.n_cells, CHUNK):
            z = (expression[start : start + CHUNK].toarray() - mean) / stddev
            found[start : start + CHUNK] = np.clip(z, -CLIP, CLIP) @ loadings
        return found

    def _membership(self, plain: NDArray[np.float64]) -> NDArray[np.float64]:
        return soft_clusters(plain, self.reference["centroids"].T, bandwidth=SIGMA)

    def _moved(self, plain: NDArray[np.float64], membership: NDArray[np.float64], block: Block) -> NDArray[np.float64]:
        """Coordinates moved by the stored shift of each cell's batch in its clusters."""
        moved = plain.copy()
        position = {name: place for place, name in enumerate(self.batches)}
        for batch in np.unique(block.batch):
            if (place := position.get(block.batches[batch])) is not None:
                rows = block.batch == batch
                moved[rows] -= membership[rows] @ self.shifts[place]
        return moved

    def _index(self) -> NeighborIndex:
        if self._neighbors is None:
            self._neighbors = NeighborIndex(
                self.reference["Z_corr"].T,
                self.label,
                n_terms=len(self.terms),
                k=self.settings.neighbors,
                seed=self.seed,
                threads=self.threads,
            )
        return self._neighbors

    def _hold(self, theirs: NDArray[np.float64], ours: NDArray[np.float64], *, what: str) -> None:
        """Raise MemberError where R and this module differ by more than rounding."""
        scale = float(np.sqrt(np.mean(ours**2)))
        apart = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else np.inf
        if not apart <= AGREEMENT * max(scale, 1e-12):
            message = (
                f"symphony {self._versions.get('symphony', '?')} of R gives other {what} than Kang 2021 describes: they differ"
                f" by {apart:.3g} where their size is {scale:.3g}. Ask the member 'symphony' instead, and report this version."
            )
            raise MemberError(message)

    def _forget(self) -> None:
        n_components, n_clusters = self.reference["centroids"].shape
        self.batches = ()
        self.shifts = np.zeros((0, n_clusters, n_components))
        self._neighbors, self._compressed = None, None

    # Files --------------------------------------------------------------------------------------------------------

    def _save(self, folder: Path) -> None:
        text = json.dumps({"versions": self._versions, "batches": list(self.batches)})
        (folder / "symphony_r.json").write_text(text, encoding="utf-8")
        save_arrays(folder / "symphony_r.npz", label=self.label, shifts=self.shifts, **self.reference)

    def _load(self, folder: Path) -> None:
        said = json.loads((folder / "symphony_r.json").read_text(encoding="utf-8"))
        arrays = load_arrays(folder / "symphony_r.npz")
        self._versions = said["versions"]
        self.reference = {name: np.asarray(arrays[name], np.float64) for name in SLOTS}
        self.label = np.asarray(arrays["label"], np.int32)
        self._forget()
        self.batches = tuple(said["batches"])
        self.shifts = np.asarray(arrays["shifts"], np.float64)
