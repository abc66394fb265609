"""Metrics of calls against known types: exact matches, the ontology where right is a matter of depth, and information.

Every metric takes calls set beside the truth (`Judged`), one row a cell or one row a distinct (call, truth) pair, and
``weights``: how often each row counts, float64 (..., n_rows), ones if None. It returns one number for each leading
index of the weights, so that a thousand resamples cost one matrix product (`celljury.intervals`). NaN = nothing to
divide by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from celljury.ontology.graph import CellOntology

    Floats = NDArray[np.float64]

# What a call is to the truth on the graph, in the order in which the first that holds is taken. The categories are
# those of popV's evaluation (Ergen 2024, doi:10.1038/s41588-024-01993-3); "no call" is ours, popV always answers.
MATCHES = ("exact", "parent", "child", "sibling", "none", "no call")


@dataclass(frozen=True, slots=True)
class Judged:
    """Calls set beside the truth; every field has one entry a row.

    Attributes
    ----------
    call
        Called term, int32, -1 = no label.
    truth
        True term, int32.
    labelled
        Whether there is a label, bool.
    exact
        Whether the call is the true term, bool.
    holds
        Whether the true term is at or below the call, bool.
    coarser
        Whether the true term is strictly above the call, bool: the truth cannot say whether the call is right.
    given
        Bits of the call over bits of the truth, at most 1, float64; 0 without a label, 1 where the truth has no bits.
    kept
        The same where call and truth are on one line, else 0, float64.
    shared, n_call, n_truth
        Ancestors (with the term itself, without roots) of both, of the call, of the truth, int32.
    """

    call: NDArray[np.int32]
    truth: NDArray[np.int32]
    labelled: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    holds: NDArray[np.bool_]
    coarser: NDArray[np.bool_]
    given: Floats
    kept: Floats
    shared: NDArray[np.int32]
    n_call: NDArray[np.int32]
    n_truth: NDArray[np.int32]


def judge(call: NDArray[np.int32], truth: NDArray[np.int32], ontology: CellOntology) -> Judged:
    """Set calls beside true terms.

    Parameters
    ----------
    call
        int32 (n_rows,), -1 = no label.
    truth
        int32 (n_rows,); every row has one.
    """
    labelled = call >= 0
    holds = labelled & ontology.is_ancestor(call, truth)
    exact = labelled & (call == truth)
    coarser = labelled & ontology.is_ancestor(truth, call) & ~exact
    bits, wanted = ontology.ic[call], ontology.ic[truth]
    ratio_of_bits = np.divide(bits, wanted, out=np.ones(len(call)), where=wanted > 0)
    given = np.where(labelled, np.minimum(ratio_of_bits, 1.0), 0.0)
    shared, n_call, n_truth = _ancestor_counts(call, truth, ontology)
    kept = np.where(holds | coarser, given, 0.0)
    return Judged(call, truth, labelled, exact, holds, coarser, given, kept, shared, n_call, n_truth)


def _ancestor_counts(
    call: NDArray[np.int32], truth: NDArray[np.int32], ontology: CellOntology
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    used, code = np.unique(np.concatenate([call, truth]), return_inverse=True)
    rows = ontology.ancestor_rows(np.maximum(used, 0)).astype(np.float32)
    rows[used < 0] = 0
    rows[:, ontology.roots] = 0
    both = np.rint(rows @ rows.T).astype(np.int32)
    i, j = np.split(code.ravel(), 2)
    return both[i, j], both[i, i], both[j, j]


def _weighted(judged: Judged, weights: Floats | None) -> Floats:
    return np.ones(len(judged.call)) if weights is None else weights


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Return above / below, NaN where below is 0."""
    over, under = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(over, under, out=np.full(under.shape, np.nan), where=under > 0)


def coverage(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return the share of cells with a label: labelled / n."""
    w = _weighted(judged, weights)
    return ratio(w @ judged.labelled, w.sum(axis=-1))


def accuracy(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return the share of all cells whose call is the true term itself; a cell without a label is not right."""
    w = _weighted(judged, weights)
    return ratio(w @ judged.exact, w.sum(axis=-1))


def at_or_below(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return the share of all cells whose true term is at or below the call."""
    w = _weighted(judged, weights)
    return ratio(w @ judged.holds, w.sum(axis=-1))


def covered_error(judged: Judged, weights: Floats | None = None, *, lenient: bool = False) -> Floats:
    """Return the share of labelled cells whose true term is not at or below the call.

    This is the loss that the calibrated threshold controls (Angelopoulos 2023, arXiv:2208.02814). ``lenient`` does not
    count cells whose truth is strictly above the call: a coarse truth does not contradict a finer call.
    """
    w = _weighted(judged, weights)
    wrong = judged.labelled & ~judged.holds & ~(judged.coarser if lenient else False)
    return ratio(w @ wrong, w @ judged.labelled)


def truth_coarser(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return the share of labelled cells whose truth is strictly above the call: strict minus lenient error."""
    w = _weighted(judged, weights)
    return ratio(w @ judged.coarser, w @ judged.labelled)


def unconditional_error(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return strict errors over all cells, labelled or not."""
    w = _weighted(judged, weights)
    return ratio(w @ (judged.labelled & ~judged.holds), w.sum(axis=-1))


def information_kept(
    judged: Judged, weights: Floats | None = None, *, over: Literal["labelled", "all"] = "all"
) -> Floats:
    """Return the mean of IC(call) / IC(truth), at most 1.

    Bits are intrinsic (Seco 2004, see `celljury.ontology.edges.index_edges`). A call on another line than the truth
    keeps nothing, however specific it is; a call below a coarser truth keeps all of it.
    """
    w = _weighted(judged, weights)
    return ratio(w @ judged.kept, w @ judged.labelled if over == "labelled" else w.sum(axis=-1))


def hierarchical_precision(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return hP = sum |A(call) & A(truth)| / sum |A(call)|, A = ancestors with the term, without roots.

    Kiritchenko, Matwin & Famili 2005, "Functional annotation of genes using hierarchical text categorization"; sums run
    over cells (micro-averaged), a cell without a label adds nothing to either.
    """
    w = _weighted(judged, weights)
    return ratio(w @ judged.shared, w @ judged.n_call)


def hierarchical_recall(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return hR = sum |A(call) & A(truth)| / sum |A(truth)|, see `hierarchical_precision`."""
    w = _weighted(judged, weights)
    return ratio(w @ judged.shared, w @ judged.n_truth)


def hierarchical_f(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return hF = 2 hP hR / (hP + hR) = 2 sum shared / (sum |A(call)| + sum |A(truth)|)."""
    w = _weighted(judged, weights)
    return ratio(2 * (w @ judged.shared), w @ judged.n_call + w @ judged.n_truth)


@dataclass(frozen=True, slots=True)
class PerType:
    """Counts and scores of each type that occurs in the truth; fields but ``term`` are (..., n_types).

    Attributes
    ----------
    term
        int32 (n_types,), ascending.
    n, n_called, n_right
        Cells of the type, cells called exactly so, both.
    recall, precision, f1
        n_right / n; n_right / n_called; 2 n_right / (n + n_called), NaN where n is 0.
    """

    term: NDArray[np.int32]
    n: Floats
    n_called: Floats
    n_right: Floats
    recall: Floats
    precision: Floats
    f1: Floats


def per_type(judged: Judged, weights: Floats | None = None) -> PerType:
    """Return one-against-rest scores on exact terms, for each type in the truth."""
    w = _weighted(judged, weights)
    term = np.unique(judged.truth)
    n = w @ _one_hot(judged.truth, term, judged.truth >= 0)
    n_called = w @ _one_hot(judged.call, term, judged.labelled)
    n_right = w @ _one_hot(judged.truth, term, judged.exact)
    f1 = np.where(n > 0, ratio(2 * n_right, n + n_called), np.nan)
    return PerType(term, n, n_called, n_right, ratio(n_right, n), ratio(n_right, n_called), f1)


def macro_f1(judged: Judged, weights: Floats | None = None) -> Floats:
    """Return the mean F1 over the types that occur in the truth, each counting once however rare."""
    f1 = per_type(judged, weights).f1
    return ratio(np.nansum(f1, axis=-1), np.isfinite(f1).sum(axis=-1))


def _one_hot(term: NDArray[np.int32], terms: NDArray[np.int32], kept: NDArray[np.bool_]) -> csr_matrix:
    """Return the rows' place among sorted terms as CSR (n_rows, n_terms), empty where not kept or not among them."""
    place = np.minimum(np.searchsorted(terms, term), len(terms) - 1)
    row = np.flatnonzero(kept & (terms[place] == term))
    return csr_matrix((np.ones(len(row)), (row, place[row])), shape=(len(term), len(terms)))


def match_kinds(judged: Judged, ontology: CellOntology) -> NDArray[np.int8]:
    """Return what each call is to its truth, int8 (n_rows,), index into `MATCHES`.

    ``exact``: the same term. ``parent``: the call is a direct parent of the truth. ``child``: a direct child of it.
    ``sibling``: they share a direct parent. ``none``: anything else, an ancestor two levels up too. The first that
    holds is taken, since in a graph with several parents more than one can.
    """
    edges = csr_matrix(
        (np.ones(len(ontology.parents_indices), np.int8), ontology.parents_indices, ontology.parents_indptr),
        shape=(len(ontology), len(ontology)),
    )
    call, truth = np.maximum(judged.call, 0), judged.truth
    up, down = edges[truth, call], edges[call, truth]
    siblings = edges[call].multiply(edges[truth]).sum(axis=1)
    tests = (judged.exact, _flat(up), _flat(down), _flat(siblings))
    kind = np.select(tests, range(len(tests)), default=MATCHES.index("none"))
    return np.where(judged.labelled, kind, MATCHES.index("no call")).astype(np.int8)


def _flat(column: object) -> NDArray[np.bool_]:
    return np.asarray(column).ravel() > 0


Metric = Callable[[Judged, "Floats | None"], "Floats"]
# Name -> the metric, and whether its n is all cells or those with a label.
METRICS: dict[str, tuple[Metric, Literal["all", "labelled"]]] = {
    "accuracy": (accuracy, "all"),
    "macro_f1": (macro_f1, "all"),
    "at_or_below": (at_or_below, "all"),
    "covered_error": (covered_error, "labelled"),
    "covered_error_lenient": (lambda judged, w: covered_error(judged, w, lenient=True), "labelled"),
    "truth_coarser": (truth_coarser, "labelled"),
    "unconditional_error": (unconditional_error, "all"),
    "information_kept": (information_kept, "all"),
    "information_kept_labelled": (lambda judged, w: information_kept(judged, w, over="labelled"), "labelled"),
    "hierarchical_precision": (hierarchical_precision, "labelled"),
    "hierarchical_recall": (hierarchical_recall, "all"),
    "hierarchical_f": (hierarchical_f, "all"),
    "coverage": (coverage, "all"),
}
