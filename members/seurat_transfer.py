"""Seurat's label transfer: anchors between the reference and the query in the reference's principal components."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from celljury.errors import UntrustedModelError
from celljury.members.about import About
from celljury.members.anchors import Anchors
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.azimuth_reference import projection_of, terms_and_labels
from celljury.members.base import Block, MemberVotes, Reference
from celljury.members.r_packages import RMember
from celljury.members.remote import RemoteSettings
from celljury.members.seurat_projection import LogProjection, Projection, projection_from
from celljury.members.strangeness import ClassGaussians
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.members.base import MemberSettings

AZIMUTH_FILE = "ref.Rds"  # beside it lies idx.annoy, a search index that is not needed here

# Seurat's 50 anchors a cell are nearly all that a query of few cells has. With one for every 4 cells of the sample, at least
# 3, accuracy on draws of 20, 60 and 120 cells (means of five draws, three cross pairs, both reductions) is .845, .875, .886;
# with all, up to 50, it is .850, .828, .860. From 200 cells on this is Seurat's 50.
CELLS_PER_ANCHOR = 4
LEAST_ANCHORS = 3
# Where the reference's own cells vote (nine cross pairs, .718 with 50 of them, .761 with 15; supervised .762 and .790).
REFERENCE_CELLS = 15


class SeuratTransferSettings(RemoteSettings):
    """Settings of `SeuratTransfer`; names and defaults are those of Seurat's own arguments.

    Attributes
    ----------
    reduction
        ``"pcaproject"``: principal components, Seurat's default. ``"spca"``: supervised ones (RunSPCA, on the graph of
        shared neighbours), which Azimuth uses. Accuracy on nine cross pairs .861 and .871, supervised ones never worse
        by more than .006 and better by up to .021.
    components
        Components, Seurat's ``npcs`` and ``dims``.
    variable_genes
        Genes that the components are made of, by FindVariableFeatures; all where the jury has no more. The time of
        supervised components grows with their square.
    k_anchor
        Neighbours among which two cells must find each other to be an anchor.
    k_score
        Neighbours whose overlap scores an anchor.
    k_weight
        Anchors that vote on a cell, at most one for every four cells of the query's sample.
    sd_weight
        Bandwidth of their weights.
    azimuth_reference
        Folder of a reference made for Azimuth (``ref.Rds``), whose cells and components take the place of the
        reference's. Its labels vote as they are mapped, also for terms that the reference lacks.
    annotation
        Column of its cell labels, e.g. ``"celltype.l2"``.
    label_map
        SSSOM table (TSV) from those labels to terms; None = ids, names and exact synonyms of terms only.
    trust_model
        Say that reading ``ref.Rds`` may run the code in it.
    cells_per_term, max_cells
        Caps on the reference cells used.
    """

    reduction: Literal["pcaproject", "spca"] = "spca"
    components: int = Field(default=30, ge=2, le=100)
    variable_genes: int = Field(default=2_000, ge=10)
    k_anchor: int = Field(default=5, ge=1)
    k_score: int = Field(default=30, ge=1)
    k_weight: int = Field(default=50, ge=1)
    sd_weight: float = Field(default=1.0, gt=0)
    azimuth_reference: str | None = None
    annotation: str | None = None
    label_map: str | None = None
    trust_model: bool = False
    cells_per_term: int = Field(default=1_000, ge=1)
    max_cells: int = Field(default=10_000, ge=1)


class SeuratTransfer(RMember):
    """FindTransferAnchors of R's Seurat on a sample of the query, then the weights of its TransferData.

    Seurat transfers to a query as a whole. Here `adapt` has it find the anchors between the reference and the sample
    and keeps them: each one's reference cell, its query cell's place in the reference's components, and its score.
    `predict` places a cell by the reference's loadings and lets the anchors near it vote, so a cell's vote depends on
    that cell alone. For the cells of the sample that is what TransferData gives (equal to 1e-6; but for the few
    that its approximate search serves with other neighbours than the nearest).

    A query of no or one cell, or one without an anchor, and a query never adapted to, is voted on by the reference
    cells themselves, as anchors of score 1. Batches do not count: a batch never seen is read like the others.

    Out of the reference are cells far from every type in the components. Seurat's mapping score asks how a cell's
    neighbours in the whole query change, which is not a cell's alone. Types left out of the P1 reference, mean AUROC of seven:
    .803 for the Mahalanobis distance, .729 for 1 - mapping score, .610 for 1 - the largest prediction score (.792, .784
    and .575 with components that are not supervised).
    """

    name: ClassVar[str] = "seurat_transfer"
    worker: ClassVar[str] = "seurat_worker"
    adapts: ClassVar[bool] = True
    distribution: ClassVar[str] = "Seurat"
    install_with: ClassVar[str] = "apt-get install r-cran-seurat (Debian, Ubuntu), or in R: install.packages('Seurat')"
    strangeness: ClassVar[str] = "Mahalanobis distance to the nearest type in the reference's principal components"
    about: ClassVar[About] = About(
        what=(
            "R's Seurat: cells of reference and query that find each other in the reference's principal components carry"
            " labels over; what Azimuth does, whose references it reads, too."
        ),
        needs=(
            "R with Seurat (4.3 was tried; Seurat 5 takes the same calls) and the environment 'r'; for an Azimuth reference its"
            " folder, a label map and --trust-model."
        ),
        score=(
            "The share of each type among the anchors near a cell, weighed by distance and by how well their"
            " neighbourhoods agree. It tells nothing of belonging: a new type has anchors, too."
        ),
        right="A curated reference exists for Azimuth, or the results must be comparable with Seurat's.",
        fails=(
            "A very divergent query finds few anchors, and those at its edge vote on everything; a type of few cells is"
            " outvoted within the 50 nearest anchors."
        ),
        licence="MIT",
        cite=(
            "Seurat anchors: Stuart 2019, doi:10.1016/j.cell.2019.05.031",
            "Azimuth: Hao 2021, doi:10.1016/j.cell.2021.04.048",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = SeuratTransferSettings

    projection: Projection
    embedding: NDArray[np.float64]  # reference cells in the components (n_cells, n_components)
    label: NDArray[np.int32]  # their terms, -1 = none (n_cells,)
    gaussians: ClassGaussians  # of the terms
    anchors: Anchors
    voters: int  # anchors that vote on a cell

    def __init__(self, *, seed: int = 0, threads: int = 1, **settings: Any) -> None:
        super().__init__(seed=seed, threads=threads, **settings)
        if self.settings.azimuth_reference is not None and not self.settings.trust_model:
            message = (
                f"{Path(self.settings.azimuth_reference) / AZIMUTH_FILE} is a file of R objects: using them can run any"
                " code that its author put in it. If you trust where it came from, say so with --trust-model."
            )
            raise UntrustedModelError(message)

    def options(self) -> dict[str, Any]:
        """Return the path of the Azimuth reference's file for the worker."""
        folder = self.settings.azimuth_reference
        return {} if folder is None else {"azimuth_file": str(Path(folder).resolve() / AZIMUTH_FILE)}

    # The contract -----------------------------------------------------------------------------------------------

    def _fit(self, reference: Reference) -> None:
        self._versions = {name: str(version) for name, version in self._ask("versions", None).items()}
        if self.settings.azimuth_reference is None:
            kept = self._kept(reference.label)
            cells = reference.cells
            some = Block(cells.counts[kept], cells.genes, cells.present, cells.batch[kept], cells.batches)
            found = self._ask("fit", some)
            self.projection = LogProjection(found["mean"], found["scale"], found["loadings"])
            self.embedding, self.label = found["points"], reference.label[kept].astype(np.int32)
        else:
            self._take(self._ask("azimuth", reference.cells))
        named = self.label >= 0
        self.gaussians = ClassGaussians.fit(
            self.embedding[named].astype(np.float32), self.label[named], n_terms=len(self.terms)
        )
        self._forget()

    def _forget(self) -> None:
        self.anchors = Anchors.of_reference(self.embedding, self.label)
        self.voters = min(self.settings.k_weight, REFERENCE_CELLS)

    def _adapt(self, query: Block) -> None:
        self._forget()
        counted = np.asarray(query.counts.sum(axis=1)).ravel() > 0
        points = self._points(query)[counted]
        if points.shape[0] < 2:
            return
        found = self._ask("adapt", query, from_points=self.embedding, to_points=points)
        if found["score"].size:
            used, cell = np.unique(found["query"], return_inverse=True)
            term = self.label[found["reference"]]
            self.anchors = Anchors(points[used], cell.astype(np.int32), term, found["score"])
            self.voters = min(self.settings.k_weight, max(LEAST_ANCHORS, points.shape[0] // CELLS_PER_ANCHOR))

    def _predict(self, block: Block) -> MemberVotes:
        points = self._points(block)
        mass = self.anchors.vote(points, n_terms=len(self.terms), k=self.voters, sd=self.settings.sd_weight)
        own, _, _ = self.gaussians.distances(points.astype(np.float32))
        strange = np.sqrt(own).astype(np.float32)
        return MemberVotes(mass, strange, self.gaussians.signals(points.astype(np.float32)))

    def _points(self, block: Block) -> NDArray[np.float64]:
        return self.projection.points(block.counts, self.normalized(block), present=block.present)

    def _kept(self, label: NDArray[np.int32]) -> NDArray[np.intp]:
        caps = self.settings
        return cap_per_term(label, per_term=caps.cells_per_term, total=caps.max_cells, seed=self.seed)

    def _take(self, found: dict[str, Any]) -> None:
        """Take over cells, components and normalisation of an Azimuth reference, restricted to the jury's genes."""
        settings = self.settings
        where = f"{settings.azimuth_reference} ([settings.seurat_transfer])"
        self.projection = projection_of(found, self.genes, where=where)
        self.terms, label = terms_and_labels(found["label"], self.terms, label_map=settings.label_map, where=where)
        kept = self._kept(label + 1)
        self.embedding, self.label = found["points"][kept], label[kept]

    # Files --------------------------------------------------------------------------------------------------------

    def _save(self, folder: Path) -> None:
        (folder / "seurat.json").write_text(json.dumps({"versions": self._versions}), encoding="utf-8")
        save_arrays(
            folder / "seurat.npz",
            embedding=self.embedding,
            label=self.label,
            voters=np.array(self.voters),
            **self.projection.arrays(),
            **self.gaussians.arrays(),
            **self.anchors.arrays(),
        )

    def _load(self, folder: Path) -> None:
        self._versions = json.loads((folder / "seurat.json").read_text(encoding="utf-8"))["versions"]
        arrays = load_arrays(folder / "seurat.npz")
        self.embedding = np.asarray(arrays["embedding"], np.float64)
        self.label = np.asarray(arrays["label"], np.int32)
        self.projection = projection_from(arrays)
        self.gaussians = ClassGaussians.from_arrays(arrays)
        self.anchors = Anchors.from_arrays(arrays)
        self.voters = int(np.asarray(arrays["voters"], np.int64))
