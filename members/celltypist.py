"""CellTypist: one logistic regression per term, trained on the reference or brought by the user."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from celljury.errors import ConfigError, GenesError, UntrustedModelError
from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.celltypist_library import annotated, import_celltypist, load_model
from celljury.members.components import CLIP, moments
from celljury.members.label_terms import terms_of_labels
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Where every sigmoid is below it the model knows nothing of the cell. One of 3,445 cells of the four development pairs
# came below; of 8 below 0.01 the best term was still right for 5, so that bound would cost votes.
LEAST_SIGMOID = 1e-3
CHUNK = 4_096  # cells that CellTypist makes dense at a time


class CellTypistSettings(MemberSettings):
    """Settings of `CellTypist`.

    Attributes
    ----------
    model
        A pretrained model (``.pkl``) to use in place of training on the reference.
    trust_model
        Say that loading ``model`` may run the code in it.
    label_map
        SSSOM table (TSV) from the model's cell types to terms, as ``celljury map`` drafts it; not needed where they are
        ids, labels or exact synonyms of the Cell Ontology.
    inverse_penalty
        C of each regression; CellTypist's default is 1. Accuracy / log loss measured at 0.1 and 1: .967/.145 and
        .963/.145 across technologies, .959/.203 and .963/.210 across donors, .932/.215 and .928/.207 across
        laboratories, .938/.219 and .938/.170 in pancreas.
    cells_per_term, max_cells
        Caps on the reference cells learned from.
    """

    model: str | None = None
    trust_model: bool = False
    label_map: str | None = None
    inverse_penalty: float = Field(default=1.0, gt=0)
    cells_per_term: int = Field(default=500, ge=1)
    max_cells: int = Field(default=10_000, ge=1)


class CellTypist(Member):
    """CellTypist (Dominguez Conde 2022, doi:10.1126/science.abl5197), through its own `annotate`.

    `celltypist.train` fails with scikit-learn >= 1.8 (it asks for ``multi_class``), and its stochastic descent gave
    .860, .709 and .001 across technologies, donors and laboratories, so its regressions (one term against the rest on
    z-scores cut at 10) are fitted here and handed over as a `celltypist.models.Model`.

    Probabilities are its sigmoids divided by their sum; a cell whose largest sigmoid is below 0.001 abstains.

    CellTypist leaves out genes that the query lacks, which is to say that they take the reference's mean. It wants
    log1p of counts per 10,000 of all genes, so what those genes would take stands in one column beside them.

    A pretrained model sees the jury's genes only (``genes.n_variable``), in shares of their counts; others take its own
    mean. For a model of 2,000 genes that took accuracy from .906 to .875 at 1,000 and .862 at 300 (pbmc3k), for one of
    11,132 it cost nothing down to 500 (175 cells of pancreas). Its cell types vote as they are mapped, also for terms
    that the reference lacks; those that map to no term abstain. What they are worth beside the reference is learned on
    held-out donors like any other member's.
    """

    name = "celltypist"
    modules = ("celltypist",)
    classifier: ClassVar[bool] = True
    distribution = "celltypist"
    extra = "celltypist"
    about: ClassVar[About] = About(
        what=(
            "CellTypist: one logistic regression a type against all others, learned on the reference or "
            "taken from a model of yours."
        ),
        needs="Nothing; for a pretrained model its .pkl file, a label map and --trust-model.",
        score=(
            "Each type's sigmoid over their sum. A low one says that types are near each other, not that the "
            "cell is new."
        ),
        right=(
            "Quick labels of immune cells, above all with a published model that knows more types than the reference."
        ),
        fails=(
            "Input that is not log1p of counts per 10,000 (refused here); asked to map cells of another "
            "tissue than its model's."
        ),
        licence="MIT",
        cite=("CellTypist: Dominguez Conde 2022, doi:10.1126/science.abl5197",),
    )
    Settings: ClassVar[type[MemberSettings]] = CellTypistSettings

    coef: NDArray[np.float64]  # (n_classes, n_genes), of genes divided by scale; (1, n_genes) for two classes
    intercept: NDArray[np.float64]  # (n_classes,)
    mean: NDArray[np.float64]  # (n_genes,)
    scale: NDArray[np.float64]  # (n_genes,)
    known: NDArray[np.bool_]  # genes of the model (n_genes,)
    term: NDArray[np.int32]  # of the member's terms, that of each class, -1 = none (n_classes,)

    def __init__(self, *, seed: int = 0, threads: int = 1, **settings: Any) -> None:
        super().__init__(seed=seed, threads=threads, **settings)
        if self.settings.model is not None and not self.settings.trust_model:
            raise UntrustedModelError.for_path(Path(self.settings.model))

    def _fit(self, reference: Reference) -> None:
        if self.settings.model is not None:
            self._take(Path(self.settings.model))
            return
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        expression = self.normalized(reference.cells)[kept]
        mean, scale = moments(expression)
        z = expression.toarray()
        z -= mean
        z /= scale
        np.minimum(z, CLIP, out=z)  # CellTypist cuts at the top only
        self._train(z, reference.label[kept])
        self.mean = mean.astype(np.float64)
        self.scale = scale.astype(np.float64)
        self.known = np.ones(len(self.genes), np.bool_)
        self.term = np.arange(len(self.terms), dtype=np.int32)

    def _train(self, z: NDArray[np.float32], label: NDArray[np.int32]) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        n_terms = len(self.terms)
        against = range(n_terms) if n_terms > 2 else (1,)
        models = [LogisticRegression(C=self.settings.inverse_penalty, max_iter=1_000) for _ in against]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            for term, model in zip(against, models, strict=True):
                model.fit(z, label == term)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            logger.warning("celltypist: some regressions stopped after 1,000 iterations without converging")
        self.coef = np.concatenate([model.coef_ for model in models]).astype(np.float64)
        self.intercept = np.concatenate([model.intercept_ for model in models]).astype(np.float64)

    def _take(self, path: Path) -> None:
        """Take over the user's model, restricted to the reference's genes."""
        model = load_model(path)
        features = {str(gene): column for column, gene in enumerate(model.features)}
        columns = np.array([features.get(gene, -1) for gene in self.genes])
        self.known = columns >= 0
        if not self.known.any():
            message = (
                f"{path} has none of the reference's {len(self.genes):,} genes; it names them like"
                f" {', '.join(list(features)[:3])}, the reference like {', '.join(self.genes[:3])}"
            )
            raise GenesError(message)
        n_genes = len(self.genes)
        self.coef = np.zeros((model.classifier.coef_.shape[0], n_genes))
        self.coef[:, self.known] = np.asarray(model.classifier.coef_)[:, columns[self.known]]
        self.intercept = np.asarray(model.classifier.intercept_, dtype=np.float64)
        self.mean, self.scale = np.zeros(n_genes), np.ones(n_genes)
        if model.scaler.with_mean:
            self.mean[self.known] = np.asarray(model.scaler.mean_)[columns[self.known]]
        self.scale[self.known] = np.asarray(model.scaler.scale_)[columns[self.known]]
        labels = [str(label) for label in model.cell_types]
        named = terms_of_labels(labels, self.settings.label_map)
        lost = [label for label, term in zip(labels, named, strict=True) if term is None]
        if len(lost) == len(labels):
            message = (
                f"[settings.celltypist] none of the {len(labels)} cell types of {path} ({', '.join(labels[:3])}, ...)"
                " is a Cell Ontology term. Write them into a file, one a line, draft a map with celljury map FILE --out"
                " map.sssom.tsv, finish it, and name it as label_map."
            )
            raise ConfigError(message)
        if lost:
            logger.warning(
                "celltypist: %d of %d cell types of %s map to no term and abstain: %s",
                len(lost), len(labels), path, ", ".join(lost[:10]) + (", ..." if len(lost) > 10 else ""),
            )  # fmt: skip
        # The model knows types that the reference lacks: they keep their own terms, behind the reference's.
        beside = sorted({term for term in named if term is not None} - set(self.terms))
        self.terms = (*self.terms, *beside)
        position = {term: place for place, term in enumerate(self.terms)}
        self.term = np.array([-1 if term is None else position[term] for term in named], np.int32)

    def _predict(self, block: Block) -> MemberVotes:
        strange = np.full(block.n_cells, np.nan, np.float32)
        mass = np.zeros((block.n_cells, len(self.terms)), np.float32)
        shared = block.present & self.known
        if not shared.any():
            return MemberVotes(mass, strange)
        model = self._model()
        expression = self.normalized(block)
        counted = np.flatnonzero(np.diff(block.counts.indptr) > 0)
        into = np.zeros((self.term.size, len(self.terms)))
        into[np.flatnonzero(self.term >= 0), self.term[self.term >= 0]] = 1.0
        for start in range(0, counted.size, CHUNK):
            rows = counted[start : start + CHUNK]
            sigmoid = annotated(expression[rows], model, genes=self.genes, present=block.present)
            found = sigmoid @ into
            silent = (sigmoid.max(axis=1) < LEAST_SIGMOID) | (self.term[sigmoid.argmax(axis=1)] < 0)
            found[silent] = 0.0
            total = found.sum(axis=1, keepdims=True)
            mass[rows] = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
        return MemberVotes(mass, strange)

    def _model(self) -> Any:
        """CellTypist's own object, built from the arrays."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        celltypist = import_celltypist()
        classifier = LogisticRegression()
        classifier.classes_ = np.arange(self.term.size)
        classifier.coef_ = self.coef[:, self.known]
        classifier.intercept_ = self.intercept
        classifier.features = np.array(self.genes)[self.known]
        classifier.n_features_in_ = int(self.known.sum())
        scaler = StandardScaler()
        scaler.mean_ = self.mean[self.known]
        scaler.scale_ = self.scale[self.known]
        scaler.n_features_in_ = classifier.n_features_in_
        return celltypist.models.Model(classifier, scaler, {"number_celltypes": self.term.size})

    def _save(self, folder: Path) -> None:
        names = ("coef", "intercept", "mean", "scale", "known", "term")
        save_arrays(folder / "celltypist.npz", **{name: getattr(self, name) for name in names})

    def _load(self, folder: Path) -> None:
        arrays: Mapping[str, NDArray[np.generic]] = load_arrays(folder / "celltypist.npz")
        self.coef = np.asarray(arrays["coef"], dtype=np.float64)
        self.intercept = np.asarray(arrays["intercept"], dtype=np.float64)
        self.mean = np.asarray(arrays["mean"], dtype=np.float64)
        self.scale = np.asarray(arrays["scale"], dtype=np.float64)
        self.known = np.asarray(arrays["known"], dtype=np.bool_)
        self.term = np.asarray(arrays["term"], dtype=np.int32)
