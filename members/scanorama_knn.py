"""Scanorama over the reference and a sample of the query, then the nearest reference cells."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.integrated import LEAST_CELLS, IntegratedMember, IntegratedSettings, Integration
from celljury.members.soft_clusters import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.members.base import MemberSettings

KERNEL: Final = 15.0  # Scanorama's sigma: a match at distance d weighs exp(-sigma d^2 / 2)
ALIGNED: Final = 0.1  # Scanorama's alpha: two batches are joined where this share of one is matched


class ScanoramaKnnSettings(IntegratedSettings):
    """Settings of `ScanoramaKnn`, beside those of `IntegratedSettings`.

    Attributes
    ----------
    matches
        Nearest cells among which mutual ones are sought, Scanorama's knn.
    max_cells, adapt_cells_per_batch, adapt_cells
        Smaller than elsewhere: Scanorama goes through its matches one by one, 1.3 CPU s for 3,100 cells of 4 batches,
        4.9 for 6,000 of 6.
    """

    matches: int = Field(default=20, ge=1)
    adapt_cells_per_batch: int = Field(default=500, ge=LEAST_CELLS)
    adapt_cells: int = Field(default=2_000, ge=LEAST_CELLS)
    cells_per_term: int = Field(default=500, ge=1)
    max_cells: int = Field(default=5_000, ge=1)


class ScanoramaKnn(IntegratedMember):
    """Scanorama (Hie 2019, doi:10.1038/s41587-019-0113-3) through its `assemble`, and the nearest reference cells.

    Cells that are each other's nearest across two batches are taken for matches, and a batch moves by the mean of its
    matches' differences under a Gaussian kernel. The library moves reference and sample; a further cell moves by the
    same kernel's mean over the sampled cells of its batch, which is how Scanorama carries an integration of a sketch
    over to all cells. The mean is smoother than what moved the sample: sampled cells land .03-.09 (median) from where
    Scanorama put them, where it moved them by .1-.4 and clouds are .9 wide. Accuracy there and where they land: .940 and
    .938, .893 and .897 (two pairs of PBMC).

    Scanorama's kernel wants cells of length 1. It gets the components at length 1, with exact neighbours (its own
    search is approximate and depends on the order of cells). Batches with fewer than 10 cells stay where they are.

    There is no score of strangeness: cells that Scanorama moved are near their matches, whatever they are. Distance to
    neighbours found types left out with an AUROC of .44 (NK), .98 (B), .79 (CD8 T) and .24 (monocytes).
    """

    name = "scanorama_knn"
    modules = ("scanorama",)
    distribution = "scanorama"
    extra = "scanorama"
    about: ClassVar[About] = About(
        what=(
            "Scanorama over the reference and a sample of the query: matched cells pull their batches together, then"
            " the nearest reference cells vote."
        ),
        score=(
            "The neighbours' weighted share of each type. A cell of no known type is moved beside one, so neither its"
            " share nor its distance says that it is new."
        ),
        right="Batches that share only some of their types: those without a match are not pulled.",
        fails=(
            "A type that only the query has and that lies near a known one: its cells find matches all the same. popV's"
            " published models leave Scanorama out."
        ),
        licence="MIT (scanorama)",
        cite=(
            "Scanorama: Hie 2019, doi:10.1038/s41587-019-0113-3",
            "popV: Ergen 2024, doi:10.1038/s41588-024-01993-3",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = ScanoramaKnnSettings

    def _join(
        self, points: NDArray[np.float64], batch: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        moved = unit(points)
        large = np.flatnonzero(np.bincount(batch) >= LEAST_CELLS)
        if large.size < 2:
            return moved, {}
        rows = [np.flatnonzero(batch == code) for code in large]
        scanorama = import_scanorama()
        parts = scanorama.assemble(
            [moved[of_batch] for of_batch in rows],  # copies: it may write into them
            knn=min(self.settings.matches, min(of_batch.size for of_batch in rows)),
            sigma=KERNEL,
            alpha=ALIGNED,
            approx=False,
            verbose=0,
        )
        for of_batch, part in zip(rows, parts, strict=True):
            moved[of_batch] = np.asarray(part)
        return moved, {}

    def _place(
        self, points: NDArray[np.float64], batch: NDArray[np.int32], integration: Integration
    ) -> NDArray[np.float64]:
        from scipy.spatial.distance import cdist

        placed = unit(points)
        sampled = unit(integration.plain)
        for code in np.unique(batch):
            rows, here = batch == code, integration.batch == code
            weight = np.exp(-0.5 * KERNEL * cdist(placed[rows], sampled[here], "sqeuclidean"))
            pulled = weight @ (integration.moved - sampled)[here]
            placed[rows] += pulled / weight.sum(axis=1, keepdims=True)
        return placed


def import_scanorama() -> Any:
    """Import scanorama without what its import does: it seeds numpy's global generator."""
    state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import scanorama
    finally:
        np.random.set_state(state)
    return scanorama
