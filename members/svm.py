"""Linear support vector machine on log expression, its margins turned into probabilities on cells held out."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.components import moments
from celljury.members.singler import fit_temperature
from celljury.members.subsample import cap_per_term, halves

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

logger = logging.getLogger(__name__)

WIDEST = 10.0  # temperature that is sought: margins of cells learned from are about 1, whatever the genes


class SvmSettings(MemberSettings):
    """Settings of `Svm`.

    Attributes
    ----------
    inverse_penalty
        scikit-learn's C. popV's is 1, on genes that are not scaled. Accuracy / log loss measured at 0.01, 0.001 and
        0.0003: .947/.166, .949/.149, .933/.195 (3' v1 -> 5'), .927/.195, .935/.172, .927/.185 (3' v1 and 5' -> 3' v2),
        .888/.276, .883/.281, .866/.307 (donors), .959/.261, .967/.258, .963/.266 (laboratories, 344 of 1,267 genes).
    cells_per_term, max_cells
        Caps on the reference cells learned from.
    """

    inverse_penalty: float = Field(default=0.001, gt=0)
    cells_per_term: int = Field(default=500, ge=1)
    max_cells: int = Field(default=10_000, ge=1)


class Svm(Member):
    """scikit-learn's linear support vector machine, one type against the rest, types weighted to count alike.

    Genes are divided by the root of their standard deviation (as `Components` does): log loss .149, .172, .281, .258
    against .146, .185, .299, .257 undivided and .223, .225, .268, .307 with the whole deviation (C = 0.001, pairs as in
    `SvmSettings`). A gene that the query lacks takes the reference's mean.

    A margin is no probability. Here it is softmax(margin / T), T with the least log loss on half of the reference's
    cells for machines trained on the other half; the machines that vote learn from all. scikit-learn's
    `CalibratedClassifierCV`, which popV uses, gave log losses of .275, .223 and .317 where this gives .174, .225 and .296
    (C = 1), and it refuses references with a type of one cell.

    A cell that no machine claims is not strange for that: the largest margin found cells of a type left out with an
    AUROC of .18 (NK), .88 (B), .78 (CD8 T) and .85 (monocytes), so it is not used as a score.
    """

    name = "svm"
    modules = ("sklearn",)
    classifier: ClassVar[bool] = True
    about: ClassVar[About] = About(
        what="A linear support vector machine on log1p counts per 10,000, one type against the rest.",
        score=(
            "A softmax over margins, at a temperature learned on reference cells held out: how sure the machines are"
            " among the reference's types, nothing about whether the cell is of one."
        ),
        right=(
            "Types told apart by many genes, and rare types beside large ones: it looks at the cells near a border and"
            " not at how many lie behind."
        ),
        fails=(
            "Another laboratory: the temperature is learned within the reference, so the probabilities are too sure"
            " there until the jury has calibrated them. It says much of what logistic says."
        ),
        licence="BSD-3-Clause (scikit-learn)",
        cite=(
            "Support vector machines: Cortes 1995, doi:10.1007/BF00994018",
            "scikit-learn: Pedregosa 2011, J Mach Learn Res 12:2825",
            "popV: Ergen 2024, doi:10.1038/s41588-024-01993-3",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = SvmSettings

    coef: NDArray[np.float64]  # of log1p CP10k (n_terms, n_genes)
    intercept: NDArray[np.float64]  # (n_terms,)
    mean: NDArray[np.float64]  # of log1p CP10k in the cells learned from (n_genes,)
    temperature: float

    def _fit(self, reference: Reference) -> None:
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        expression, label = self.normalized(reference.cells)[kept], reference.label[kept]
        mean, deviation = moments(expression)
        scale = np.sqrt(deviation).astype(np.float64)
        scaled = expression.multiply(1.0 / scale).tocsr()
        second = halves(label, seed=self.seed)
        self.temperature = 1.0
        if second.any():
            coef, intercept = self._machines(scaled[~second], label[~second])
            margin = scaled[second] @ coef.T + intercept
            self.temperature = WIDEST * fit_temperature(margin / WIDEST, label[second])
        coef, self.intercept = self._machines(scaled, label)
        self.coef = coef / scale
        self.mean = mean.astype(np.float64)

    def _machines(
        self, scaled: csr_matrix, label: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Train one machine a term, each with cells; return normals (n_terms, n_genes) and offsets in scaled genes."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        model = LinearSVC(
            C=self.settings.inverse_penalty, class_weight="balanced", max_iter=5_000, random_state=self.seed % 2**32
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(scaled, label)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            logger.warning("svm: stopped after %d iterations without converging", model.max_iter)
        coef, intercept = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
        if len(self.terms) == 2:  # one machine then, for the second term
            return np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
        return coef, intercept

    def _predict(self, block: Block) -> MemberVotes:
        from scipy.special import softmax

        absent = self.coef[:, ~block.present] @ self.mean[~block.present]
        margin = self.normalized(block) @ self.coef.T + (self.intercept + absent)
        mass = softmax(margin / self.temperature, axis=1).astype(np.float32)
        return MemberVotes(mass, np.full(block.n_cells, np.nan, np.float32))

    def _save(self, folder: Path) -> None:
        save_arrays(
            folder / "svm.npz",
            coef=self.coef,
            intercept=self.intercept,
            mean=self.mean,
            temperature=np.array(self.temperature),
        )

    def _load(self, folder: Path) -> None:
        arrays = load_arrays(folder / "svm.npz")
        self.coef = np.asarray(arrays["coef"], np.float64)
        self.intercept = np.asarray(arrays["intercept"], np.float64)
        self.mean = np.asarray(arrays["mean"], np.float64)
        self.temperature = float(np.asarray(arrays["temperature"], np.float64))
