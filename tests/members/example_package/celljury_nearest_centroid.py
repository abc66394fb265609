"""A member for celljury in a package of its own: the type whose mean profile correlates best with the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class NearestCentroidSettings(MemberSettings):
    """Settings of `NearestCentroid`, as [settings.nearest_centroid] gives them.

    Attributes
    ----------
    temperature
        What correlations are divided by before the softmax: how far a lead of so much goes. The jury calibrates anyway.
    """

    temperature: float = Field(default=0.1, gt=0)


class NearestCentroid(Member):
    """Correlation with the mean profile of each type, over the genes that the query has."""

    name = "nearest_centroid"
    distribution = "celljury-nearest-centroid"  # whose version a run records
    classifier: ClassVar[bool] = True
    strangeness = "1 - correlation with the nearest profile"
    about: ClassVar[About] = About(
        what="The mean profile of each type, compared with the cell by correlation.",
        score="A softmax over correlations: which type is nearest, not whether one is near.",
        right="A first member to read: it shows all that a member has to do, in one file.",
        fails="Types whose means differ little, and large types that hold several kinds of cell.",
        licence="BSD-3-Clause",
        cite=("None: it is an example.",),
    )
    Settings: ClassVar[type[MemberSettings]] = NearestCentroidSettings

    mean: NDArray[np.float64]  # of log1p CP10k over types (n_genes,)
    profiles: NDArray[np.float64]  # of each type, less that mean (n_terms, n_genes)

    def _fit(self, reference: Reference) -> None:
        expression = self.normalized(reference.cells)
        profiles = np.stack(
            [np.asarray(expression[reference.label == term].mean(axis=0)).ravel() for term in range(len(self.terms))]
        )
        self.mean = profiles.mean(axis=0)
        self.profiles = profiles - self.mean

    def _predict(self, block: Block) -> MemberVotes:
        measured = np.flatnonzero(block.present)  # a gene that the query lacks is not a zero: it is left out
        cells = self.normalized(block)[:, measured].toarray() - self.mean[measured]
        profiles = self.profiles[:, measured]
        length = np.linalg.norm(cells, axis=1)[:, np.newaxis] * np.linalg.norm(profiles, axis=1)
        product = np.einsum("cg,tg->ct", cells, profiles)
        correlation = np.divide(product, length, out=np.zeros_like(product), where=length > 0)
        weight = np.exp((correlation - correlation.max(axis=1, keepdims=True)) / self.settings.temperature)
        mass = weight / weight.sum(axis=1, keepdims=True)
        return MemberVotes(mass.astype(np.float32), (1 - correlation.max(axis=1)).astype(np.float32))

    def _save(self, folder: Path) -> None:
        save_arrays(folder / "nearest_centroid.npz", mean=self.mean, profiles=self.profiles)

    def _load(self, folder: Path) -> None:
        arrays = load_arrays(folder / "nearest_centroid.npz")
        self.mean = np.asarray(arrays["mean"], np.float64)
        self.profiles = np.asarray(arrays["profiles"], np.float64)
