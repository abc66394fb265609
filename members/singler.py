"""SingleR: Spearman correlation with the reference cells of each term over the genes that tell terms apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.subsample import cap_per_term, halves

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

MADS = 3.0  # SingleR's pruneScores: a label's calls below median - 3 MAD of their delta are pruned
MAD_TO_SD = 1.4826  # R's mad() estimates a standard deviation
CELLS_FOR_A_MAD = 10  # with fewer query cells of a label, the held-out reference cells set its bound
HELD_OUT_PER_TERM = 50
ADAPT_CELLS = 500  # a median and a MAD per term need no more, and scoring is what SingleR's time goes into
TEMPERATURES = (1e-3, 1.0)  # scores are correlations, so a temperature outside says nothing


class SingleRSettings(MemberSettings):
    """Settings of `SingleR`.

    Attributes
    ----------
    markers
        Genes per pair of terms, ranked by difference of medians. None gives SingleR's 500 (2/3)^log2(n_terms), made
        for whole transcriptomes: of the genes that a jury selects it takes nearly all. Accuracy with None and 25:
        .944 and .979 across technologies, .922 and .932 across donors, .906 and .908 across laboratories, .988 and
        1.00 in pancreas, at a third of the time.
    prune
        Abstain where the best term leads by less than SingleR's bound for that term.
    cells_per_term, max_cells
        Caps on the reference cells compared with; time grows with them (4 ms a query cell at 6,000 of 30 terms).
        Accuracy at 30, 50, 100, 200 and all cells a term: .950, .963, .968, .968, .979 across technologies, .902, .891,
        .898, .904, .908 across laboratories (means of three draws).
    """

    markers: int | None = Field(default=25, ge=1)
    prune: bool = True
    cells_per_term: int = Field(default=200, ge=1)
    max_cells: int = Field(default=3_000, ge=1)


@dataclass(frozen=True, slots=True)
class Scored:
    """What SingleR says of some cells.

    Attributes
    ----------
    score
        0.8 quantile of a cell's correlations with each term's cells, float64 (n_cells, n_terms).
    best
        Term left after fine-tuning, intp (n_cells,).
    delta
        Its lead over the next in the last round of fine-tuning, float64 (n_cells,).
    """

    score: NDArray[np.float64]
    best: NDArray[np.intp]
    delta: NDArray[np.float64]

    def lifted(self) -> NDArray[np.float64]:
        """Scores with the fine-tuned term put ``delta`` above all others, so that its vote stays SingleR's label."""
        score = self.score.copy()
        rows = np.arange(self.best.size)
        score[rows, self.best] = score.max(axis=1) + self.delta
        return score


class SingleR(Member):
    """SingleR 'classic' (Aran 2019, doi:10.1038/s41590-018-0276-y) through singler.

    Probabilities are softmax(s / T): s are the scores with the fine-tuned term lifted by its delta, and T the
    temperature with the least log loss on held-out reference cells (up to 50 a term, scored against an index of the
    other half of their term). A term with one cell cannot be held out and does not count for T.

    SingleR's pruning bound of a term comes from the sample that `adapt` gets, or from the held-out reference cells
    where fewer than 10 cells of the sample are called that term; it is stored, so it does not depend on the block.

    Genes that the query lacks are left out of the index and of the choice of markers.
    """

    name = "singler"
    modules = ("singler",)
    distribution = "singler"
    extra = "singler"
    strangeness = "1 - SingleR's best score (a Spearman correlation)"
    about: ClassVar[About] = About(
        what=(
            "SingleR: Spearman correlation of a cell with reference cells over marker genes, fine-tuned "
            "between the best types."
        ),
        score="A softmax of its scores at a temperature learned on held-out reference cells; pruned cells abstain.",
        right="Few reference cells, other technologies: ranks do not mind depth or scale.",
        fails="Types that differ by few genes; many reference cells of one type, whose quantile wins by numbers.",
        licence="MIT",
        cite=("SingleR: Aran 2019, doi:10.1038/s41590-018-0276-y",),
    )
    Settings: ClassVar[type[MemberSettings]] = SingleRSettings

    expression: csr_matrix  # log1p CP10k of the reference cells kept (n_cells, n_genes)
    label: NDArray[np.int32]  # (n_cells,)
    present: NDArray[np.bool_]  # genes of the index (n_genes,)
    temperature: float
    bound: NDArray[np.float64]  # least delta of a call of each term (n_terms,)

    def _fit(self, reference: Reference) -> None:
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        self.expression = self.normalized(reference.cells)[kept]
        self.label = reference.label[kept].astype(np.int32)
        self._use(np.ones(len(self.genes), np.bool_))

    def _adapt(self, query: Block) -> None:
        self._use(query.present)
        counted = np.flatnonzero(np.diff(query.counts.indptr) > 0)
        if counted.size > ADAPT_CELLS:
            counted = np.sort(np.random.default_rng(self.seed).choice(counted, ADAPT_CELLS, replace=False))
        sample = self._score(query.counts[counted], self._index)
        called = np.bincount(sample.best, minlength=len(self.terms))
        self.bound = np.where(called >= CELLS_FOR_A_MAD, self._bounds(sample), self.bound)

    def _predict(self, block: Block) -> MemberVotes:
        from scipy.special import softmax

        if not np.array_equal(block.present, self.present):  # never adapted to this query
            self._use(block.present)
        # Only ranks within a cell count, and those of counts and of log1p CP10k are the same.
        scored = self._score(block.counts, self._index)
        mass = softmax(scored.lifted() / self.temperature, axis=1).astype(np.float32)
        if self.settings.prune:
            mass[scored.delta < self.bound[scored.best]] = 0.0
        mass[~scored.score.any(axis=1)] = 0.0  # no marker among the cell's genes: nothing was compared
        return MemberVotes(mass, (1.0 - scored.score.max(axis=1)).astype(np.float32))

    # Index, scores, bounds --------------------------------------------------------------------------------------

    def _use(self, present: NDArray[np.bool_]) -> None:
        """Build the index of the present genes and calibrate on held-out reference cells."""
        self.present = np.array(present)
        self._built = None
        second = halves(self.label, seed=self.seed)
        self.temperature, self.bound = 0.05, np.full(len(self.terms), -np.inf)
        if not second.any():
            return
        index = self._train(~second)
        rows = np.flatnonzero(second)
        rows = rows[cap_per_term(self.label[rows], per_term=HELD_OUT_PER_TERM, total=rows.size, seed=self.seed)]
        held_out = self._score(self.expression[rows], index)
        self.temperature = fit_temperature(held_out.lifted(), self.label[rows])
        self.bound = self._bounds(held_out)

    @property
    def _index(self) -> Any:
        if self._built is None:
            self._built = self._train(np.ones(self.label.size, np.bool_))
        return self._built

    def _train(self, rows: NDArray[np.bool_]) -> Any:
        import singler

        genes = np.flatnonzero(self.present)
        width = len(str(len(self.terms)))  # sorted as text, codes must sort as numbers
        return singler.train_single(
            self.expression[rows][:, genes].T.tocsc(),
            [f"{term:0{width}d}" for term in self.label[rows]],
            [str(gene) for gene in genes],
            num_de=self.settings.markers,
            check_missing=False,
            num_threads=self.threads,
        )

    def _score(self, expression: csr_matrix, index: Any) -> Scored:
        import singler

        genes = np.flatnonzero(self.present)
        found = singler.classify_single(expression[:, genes].T.tocsc(), index, num_threads=self.threads)
        names = list(found["scores"].get_column_names())
        score = np.column_stack([np.asarray(found["scores"].column(name), dtype=np.float64) for name in names])
        best = np.array([int(name) for name in found["best"]], dtype=np.intp)
        delta = np.asarray(found["delta"], dtype=np.float64)
        # A term whose cells are all constant over the markers has no correlation.
        return Scored(np.nan_to_num(score, nan=0.0), best, np.nan_to_num(delta, nan=0.0))

    def _bounds(self, scored: Scored) -> NDArray[np.float64]:
        """Median - 3 MAD of delta among the calls of each term, -inf where there are none, float64 (n_terms,)."""
        bound = np.full(len(self.terms), -np.inf)
        for term in np.unique(scored.best):
            delta = scored.delta[scored.best == term]
            middle = np.median(delta)
            bound[term] = middle - MADS * MAD_TO_SD * np.median(np.abs(delta - middle))
        return bound

    # Files --------------------------------------------------------------------------------------------------------

    def _save(self, folder: Path) -> None:
        save_arrays(
            folder / "singler.npz",
            values=self.expression.data,
            columns=self.expression.indices,
            starts=self.expression.indptr,
            label=self.label,
            present=self.present,
            temperature=np.array(self.temperature),
            bound=self.bound,
        )

    def _load(self, folder: Path) -> None:
        from scipy.sparse import csr_matrix

        arrays = load_arrays(folder / "singler.npz")
        self.label = np.asarray(arrays["label"], dtype=np.int32)
        self.expression = csr_matrix(
            (arrays["values"], arrays["columns"], arrays["starts"]), shape=(self.label.size, len(self.genes))
        )
        self.present = np.asarray(arrays["present"], dtype=np.bool_)
        self.temperature = float(np.asarray(arrays["temperature"], dtype=np.float64))
        self.bound = np.asarray(arrays["bound"], dtype=np.float64)
        self._built = None


def fit_temperature(score: NDArray[np.float64], label: NDArray[np.int32]) -> float:
    """Return the T with the least mean log loss of softmax(score / T) for the true ``label``."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(label.size)

    def loss(log_temperature: float) -> float:
        return float(-np.mean(log_softmax(score / np.exp(log_temperature), axis=1)[rows, label]))

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))
