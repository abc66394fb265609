"""Harmony over the reference and a sample of the query, then the nearest reference cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.integrated import IntegratedMember, IntegratedSettings, Integration
from celljury.members.soft_clusters import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.members.base import MemberSettings

CELLS_PER_CLUSTER: Final = 30  # Harmony's number of clusters is cells / 30, at most 100
MOST_CLUSTERS: Final = 100
LEAST: Final = 1e-12  # of an expected or observed number of cells, so that its logarithm is finite


class HarmonyKnnSettings(IntegratedSettings):
    """Settings of `HarmonyKnn`, beside those of `IntegratedSettings`.

    Attributes
    ----------
    diversity
        Harmony's theta: how much clusters shun what mixes batches badly. Harmony's default is 2.
    bandwidth
        Harmony's sigma of the soft clusters.
    ridge
        Harmony's alpha: the penalty on a batch's shift in a cluster is this times the cells expected there. Against a
        penalty of 1, which Harmony's paper has, log loss .368 and .373, .251 and .268, .355 and .358, .475 and .477,
        .552 and .956 on five pairs of PBMC.
    """

    diversity: float = Field(default=2.0, ge=0)
    bandwidth: float = Field(default=0.1, gt=0)
    ridge: float = Field(default=0.2, gt=0)


class HarmonyKnn(IntegratedMember):
    """Harmony (Korsunsky 2019, doi:10.1038/s41592-019-0619-0) through harmonypy, and the nearest reference cells.

    popV integrates all cells of reference and query, so a vote depends on which others came along. Here harmonypy
    integrates the reference with a sample of the query, and a further cell is placed by Harmony's own formula: soft
    clusters from the direction it has after correction, drawn towards clusters that its batch is rare in, and in each
    cluster the shift of its batch. The centroids and memberships are harmonypy's; the shifts are the ridge regression
    of the sampled cells' coordinates on their batches, which gives harmonypy's coordinates to 0.01 where clouds are 10
    wide. Direction and correction depend on one another: the direction is taken after the correction that the nearest
    sampled cell of the batch got. Sampled cells land where harmonypy put them: median .01-.21 on four pairs of PBMC, 1 %
    off by more than .1-1.3. Without that start (from where the cell was, ten rounds) cells of a strong batch drifted to
    other clusters, 1 % by 9; more rounds with it helped nothing.

    Symphony maps into an integration of the reference alone; this one lets the reference move as well.
    """

    name = "harmony_knn"
    modules = ("harmonypy",)
    distribution = "harmonypy"
    extra = "harmony"
    strangeness = "mean distance to the voting reference cells after Harmony"
    about: ClassVar[About] = About(
        what=(
            "Harmony over the reference and a sample of the query, further cells placed by its own formula, nearest"
            " reference cells vote."
        ),
        score="The neighbours' weighted share of each type; a cell of no known type has neighbours, too.",
        right=(
            "Query and reference hold about the same types and differ by a shift that is the same within a type:"
            " another chemistry, another laboratory."
        ),
        fails=(
            "A query of few of the reference's types, or of others: Harmony mixes what it is given, and moves cells of"
            " a new type onto known ones (its distance then finds less than the one before integration)."
        ),
        licence="GPL-3.0-or-later (harmonypy: called, not contained)",
        cite=(
            "Harmony: Korsunsky 2019, doi:10.1038/s41592-019-0619-0",
            "popV: Ergen 2024, doi:10.1038/s41588-024-01993-3",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = HarmonyKnnSettings

    def _join(
        self, points: NDArray[np.float64], batch: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        import pandas as pd
        from harmonypy import run_harmony

        n_clusters = min(max(2, min(MOST_CLUSTERS, round(points.shape[0] / CELLS_PER_CLUSTER))), points.shape[0])
        found = run_harmony(
            points,
            pd.DataFrame({"batch": batch}),
            ["batch"],
            theta=self.settings.diversity,
            sigma=self.settings.bandwidth,
            alpha=self.settings.ridge,
            nclust=n_clusters,
            verbose=False,
            random_state=self.seed % 2**31,
            ncores=self.threads,
        )
        membership = np.asarray(found.R, np.float64)
        learned = {
            "centroids": np.asarray(found.Y, np.float64).T,
            "shifts": batch_shifts(points, membership, batch, ridge=self.settings.ridge),
            "pull": self.settings.diversity * pull(membership, batch),
        }
        return np.asarray(found.Z_corr, np.float64), learned

    def _place(
        self, points: NDArray[np.float64], batch: NDArray[np.int32], integration: Integration
    ) -> NDArray[np.float64]:
        from scipy.special import softmax
        from sklearn.neighbors import NearestNeighbors

        learned = integration.learned
        towards = unit(learned["centroids"]).T
        placed = np.empty_like(points)
        for code in np.unique(batch):
            rows, sampled = batch == code, integration.batch == code
            nearest = NearestNeighbors(n_neighbors=1).fit(integration.plain[sampled])
            like = nearest.kneighbors(points[rows], return_distance=False)[:, 0]
            moved = points[rows] + (integration.moved - integration.plain)[sampled][like]
            shift, drawn = learned["shifts"][self.n_batches + code], learned["pull"][self.n_batches + code]
            cosine = unit(moved) @ towards
            membership = softmax(-2.0 * (1.0 - cosine) / self.settings.bandwidth + drawn, axis=1)
            placed[rows] = points[rows] - membership @ shift
        return placed


def batch_shifts(
    points: NDArray[np.float64], membership: NDArray[np.float64], batch: NDArray[np.int32], *, ridge: float
) -> NDArray[np.float64]:
    """Return each batch's shift in each cluster, float64 (n_batches, n_clusters, n_components).

    Harmony's mixture of experts: in each cluster a regression, weighted by membership, of coordinates on an intercept
    and the batches, with a penalty on batch b of ``ridge`` times the cells expected of it in the cluster. A cell is in
    one batch, so with n_b cells that sum to y_b the shift is (y_b - n_b a) / (n_b + penalty_b), and the intercept a is
    the mean of the y_b / n_b with weights n_b penalty_b / (n_b + penalty_b).

    Parameters
    ----------
    points
        Coordinates before integration, (n_cells, n_components).
    membership
        In the soft clusters, (n_cells, n_clusters).
    batch
        0, 1, ..., each with cells, (n_cells,).
    """
    observed, expected = cells_of_batches(membership, batch)
    total = np.stack([membership[batch == code].T @ points[batch == code] for code in range(observed.shape[0])])
    penalty = np.maximum(ridge * expected, LEAST)
    left = penalty / (observed + penalty)  # what the ridge leaves of a batch to the intercept
    weight = np.maximum((left * observed).sum(axis=0), LEAST)
    intercept = (left[:, :, np.newaxis] * total).sum(axis=0) / weight[:, np.newaxis]
    shifts = total - observed[:, :, np.newaxis] * intercept
    return np.asarray(shifts / (observed + penalty)[:, :, np.newaxis], np.float64)


def pull(membership: NDArray[np.float64], batch: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return how much each batch is drawn to each cluster, log(E / (O + E)), float64 (n_batches, n_clusters).

    O and E are the cells observed of the batch in the cluster and expected there. Summed over a cell's clusters,
    Harmony's formula is off harmonypy 2.1's memberships by .035, .034, .037 and .027 with it (means over the cells of
    four pairs), by .042, .054, .046 and .043 with the paper's (E + 1) / (O + 1) and by .041, .059, .046 and .046 without.
    """
    observed, expected = cells_of_batches(membership, batch)
    return np.asarray(np.log(expected + LEAST) - np.log(observed + expected + LEAST), np.float64)


def cells_of_batches(
    membership: NDArray[np.float64], batch: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cells of each batch in each cluster, observed and expected, float64 (n_batches, n_clusters) each."""
    size = np.bincount(batch)
    observed = np.stack([membership[batch == code].sum(axis=0) for code in range(size.size)])
    expected = np.outer(size / batch.size, membership.sum(axis=0))
    return observed, expected
