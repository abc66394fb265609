"""Members' probabilities, each calibrated on held-out cells, pooled into one distribution per cell.

P(l|x) = sum_m w_m(v) p_m(l|x), then one more temperature. p_m is member m's probability after calibration and w_m(v)
what its vote v is worth; a member that abstained has no weight on that cell, an abstention is never a vote. The linear
pool keeps the members' disagreement in the result, which a product or the posterior of Dawid and Skene destroys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csr_matrix, diags

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.votes import Votes

    Doubles = NDArray[np.float64]

Rule = Literal["equal", "calibrated", "held-out", "reliability", "dawid-skene"]

# Probabilities are read as at least this, so that one certain error does not decide a temperature, and a neighbour
# vote of exactly 0 can be warmed.
FLOOR = 1e-4
TEMPERATURES = (0.05, 20.0)
# The confusion posterior is smoothed as if this many cells had followed the labels' shares (`decision.md`, A).
SMOOTHING = 20.0
# Shares of pooled mass below this are dropped, as `celljury.votes.MASS_FLOOR` does for a member's.
DROP = 1e-4
ECE_BINS = 15
SUM_TOLERANCE = 1e-3  # as in `celljury.members.base`: what rounding may take from a row's sum


@dataclass(frozen=True, slots=True)
class MemberCalibration:
    """How one member's probabilities become believable, from held-out cells.

    Attributes
    ----------
    method
        ``temperature``: p^(1/T), rescaled. ``confusion``: the vote's smoothed confusion posterior. ``none``: as it is.
    temperature
        T; above 1 the member was too sure.
    posterior
        p(true term | vote), float64 (n_terms, n_terms), row = vote.
    n_cells
        Held-out cells that it voted on.
    accuracy, macro_f1
        Of its top votes on held-out cells, 0-1.
    log_loss, log_loss_before
        Mean -log of the true term's probability after and before calibration, in nats.
    ece, ece_before
        Expected calibration error after and before, 0-1, see `expected_calibration_error`.
    """

    method: Literal["temperature", "confusion", "none"]
    temperature: float
    posterior: Doubles
    n_cells: int
    accuracy: float
    macro_f1: float
    log_loss: float
    log_loss_before: float
    ece: float
    ece_before: float

    def apply(self, mass: Doubles) -> Doubles:
        """Return calibrated probabilities of a member's mass, float64 (n_cells, n_terms); empty rows stay empty."""
        voted = mass.sum(axis=1) > 0
        if self.method == "confusion":
            found = self.posterior[mass.argmax(axis=1)]
        elif self.method == "temperature":
            found = tempered(mass, self.temperature)
        else:
            found = mass
        return np.where(voted[:, np.newaxis], found, 0.0)


def tempered(mass: Doubles, temperature: float) -> Doubles:
    """Return mass^(1/T), rescaled to 1, float64 (n, n_terms) (Guo 2017, arXiv 1706.04599, on probabilities)."""
    if not mass.shape[1]:
        return mass
    found = np.power(np.maximum(mass, FLOOR), 1.0 / temperature)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float64)


def log_loss(mass: Doubles, truth: NDArray[np.integer]) -> float:
    """Return the mean of -log P(true term), in nats; probabilities below `FLOOR` count as `FLOOR`."""
    own = mass[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(own, FLOOR)).mean()) if len(truth) else float("nan")


def expected_calibration_error(sure: Doubles, right: NDArray[np.bool_], *, bins: int = ECE_BINS) -> float:
    """Return the mean gap between how sure and how often right, over ``bins`` groups of equally many cells, 0-1.

    Naeini 2015 (doi:10.1609/aaai.v29i1.9602), with equal-mass bins (Nguyen & O'Connor 2015, arXiv 1508.05154): bins of
    equal width leave most of them empty where members are sure. Cells that are equally sure are never parted: the order
    of the rows would decide, and chance differences between parts of one group would count as error.
    """
    if not len(sure):
        return float("nan")
    order = np.argsort(sure, kind="stable")
    ordered = sure[order]
    starts = [rows[0] for rows in np.array_split(np.arange(len(order)), min(bins, len(order)))]
    groups = np.split(order, np.unique(np.searchsorted(ordered, ordered[starts]))[1:])
    gaps = [abs(float(sure[group].mean()) - float(right[group].mean())) * len(group) for group in groups]
    return float(sum(gaps) / len(sure))


def macro_f1(called: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Return the mean F1 over the terms in ``truth``; a call of -1 is of no term."""
    terms = np.unique(truth)
    if not terms.size:
        return float("nan")
    hit = np.array([np.sum((called == t) & (truth == t)) for t in terms], np.float64)
    said = np.array([np.sum(called == t) for t in terms], np.float64)
    true = np.array([np.sum(truth == t) for t in terms], np.float64)
    return float(np.mean(2 * hit / (said + true)))


def fit_temperature(mass: Doubles, truth: NDArray[np.integer]) -> float:
    """Return the temperature with the least log loss of ``truth``, between the bounds of `TEMPERATURES`."""
    from scipy.optimize import minimize_scalar

    if not len(truth):
        return 1.0
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(lambda t: log_loss(tempered(mass, float(np.exp(t))), truth), bounds=(low, high),
                            method="bounded", options={"xatol": 1e-3})  # fmt: skip
    return float(np.exp(found.x))


def agreement(columns: NDArray[np.int32], foreign: NDArray[np.bool_], ontology: CellOntology) -> NDArray[np.bool_]:
    """Return which votes are right of which true terms, bool (n_columns true, n_columns voted).

    A vote for one of the reference's terms is right of that term alone. A vote for a term that the reference lacks, as
    members with a model of their own or with a tree cast it, is right of every true term above or below it: the
    reference cannot say more.

    Parameters
    ----------
    columns
        Ontology indices of the terms that can be voted for, int32 (n_columns,).
    foreign
        Which of them the reference lacks, bool (n_columns,).
    """
    agrees = np.eye(len(columns), dtype=bool)
    if foreign.any():
        above = ontology.ancestor_rows(columns)[:, columns]  # [i, j]: column j is above column i, or the same
        agrees |= (above | above.T) & foreign[np.newaxis, :] & ~foreign[:, np.newaxis]
    return agrees


def right_votes(vote: NDArray[np.int32], truth: NDArray[np.int32], agrees: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which votes are right, bool (n_cells, n_members); -1 never is."""
    return np.asarray(agrees[truth[:, np.newaxis], np.maximum(vote, 0)] & (vote >= 0), bool)


def confusion_counts(vote: NDArray[np.integer], truth: NDArray[np.integer], *, n_terms: int) -> Doubles:
    """Return how many cells of each true term (column) got each vote (row), float64 (n_terms, n_terms)."""
    counts = np.zeros((n_terms, n_terms))
    cast = vote >= 0
    np.add.at(counts, (vote[cast], truth[cast]), 1.0)
    return counts


def confusion_posterior(
    counts: Doubles, *, smoothing: float = SMOOTHING, foreign: NDArray[np.bool_] | None = None
) -> Doubles:
    """Return p(l | vote j) = (C[j,l] + k pi_l) / (sum_l C[j,l] + k), rows sum to 1 (`decision.md`, A).

    A vote for a term that the reference lacks (``foreign``, bool (n_terms,)) is smoothed towards itself in place of the
    labels' shares pi: until held-out cells say what is meant by it, it means what it says.
    """
    share = counts.sum(axis=0)
    share = share / share.sum() if share.sum() else np.full(len(counts), 1.0 / max(len(counts), 1))
    prior = np.broadcast_to(share, counts.shape)
    if foreign is not None and foreign.any():
        prior = np.where(foreign[:, np.newaxis], np.eye(len(counts)), prior)
    return np.asarray((counts + smoothing * prior) / (counts.sum(axis=1, keepdims=True) + smoothing), np.float64)


def calibrate_member(
    mass: Doubles,
    truth: NDArray[np.int32],
    *,
    method: Literal["auto", "temperature", "confusion", "none"] = "auto",
    fold: NDArray[np.int32] | None = None,
    agrees: NDArray[np.bool_] | None = None,
    foreign: NDArray[np.bool_] | None = None,
) -> MemberCalibration:
    """Learn how a member's probabilities are to be read.

    Parameters
    ----------
    mass
        Its probabilities on held-out cells, float64 (n_cells, n_terms); an empty row abstained.
    truth
        True term of each, int32 (n_cells,), as a column of ``mass``.
    method
        ``auto`` takes the one of temperature and confusion posterior whose log loss is lower on cells of other folds.
    fold
        Fold of each cell, int32 (n_cells,), for that comparison; halves of the rows if None.
    agrees
        Which votes (columns) are right of which true terms (rows), bool (n_terms, n_terms), see `agreement`; None = the
        vote for the true term.
    foreign
        Columns that are no term of the reference, bool (n_terms,); None = there are none.
    """
    n_terms = mass.shape[1]
    agrees = np.eye(n_terms, dtype=bool) if agrees is None else agrees
    voted = mass.sum(axis=1) > 0
    p, y = mass[voted], truth[voted]
    vote = p.argmax(axis=1) if n_terms else np.zeros(0, np.intp)
    posterior = confusion_posterior(confusion_counts(vote, y, n_terms=n_terms), foreign=foreign)
    temperature = fit_temperature(p, y)
    if method == "auto":
        part = np.arange(len(y)) % 2 if fold is None else fold[voted]
        method = _better_method(p, y, vote, part, foreign)
    made = MemberCalibration(method, temperature, posterior, int(voted.sum()), *([float("nan")] * 6))
    after = made.apply(p)
    right = agrees[y, vote] if len(y) else np.zeros(0, bool)
    right_after = agrees[y, after.argmax(axis=1)] if len(y) else np.zeros(0, bool)
    return MemberCalibration(
        method,
        temperature,
        posterior,
        n_cells=int(voted.sum()),
        accuracy=float(right.mean()) if len(y) else float("nan"),
        macro_f1=macro_f1(np.where(right, y, vote), y),
        log_loss=log_loss(after, y),
        log_loss_before=log_loss(p, y),
        ece=expected_calibration_error(after.max(axis=1, initial=0), right_after),
        ece_before=expected_calibration_error(p.max(axis=1, initial=0), right),
    )


def _better_method(
    p: Doubles,
    y: NDArray[np.int32],
    vote: NDArray[np.intp],
    part: NDArray[np.integer],
    foreign: NDArray[np.bool_] | None,
) -> Literal["temperature", "confusion"]:
    loss = {"temperature": 0.0, "confusion": 0.0}
    for held in np.unique(part):
        here, rest = part == held, part != held
        if not rest.any():
            return "temperature"
        warm = tempered(p[here], fit_temperature(p[rest], y[rest]))
        table = confusion_posterior(confusion_counts(vote[rest], y[rest], n_terms=p.shape[1]), foreign=foreign)
        loss["temperature"] += log_loss(warm, y[here]) * here.sum()
        loss["confusion"] += log_loss(table[vote[here]], y[here]) * here.sum()
    return "confusion" if loss["confusion"] < loss["temperature"] else "temperature"


def pooled(mass: list[Doubles], vote: NDArray[np.int32], worth: Doubles) -> Doubles:
    """Return sum_m w_m(v_m) p_m / sum_m w_m(v_m), float64 (n_cells, n_terms); rows sum to 1, or 0 where nobody voted.

    Parameters
    ----------
    mass
        Calibrated probabilities of each member, (n_cells, n_terms) each.
    vote
        Top term of each member as a column, int32 (n_cells, n_members), -1 = abstained.
    worth
        What a member's vote for a term is worth, float64 (n_members, n_terms), see `celljury.reliability`.
    """
    n_cells, n_terms = mass[0].shape if mass else (len(vote), 0)
    total, weight = np.zeros((n_cells, n_terms)), np.zeros(n_cells)
    for j, probability in enumerate(mass):
        w = np.where(vote[:, j] >= 0, worth[j, np.maximum(vote[:, j], 0)], 0.0)
        total += w[:, np.newaxis] * probability
        weight += w
    return np.divide(total, weight[:, np.newaxis], out=np.zeros_like(total), where=weight[:, np.newaxis] > 0)


def as_terms(mass: Doubles, columns: NDArray[np.int32], *, n_terms: int) -> csr_matrix:
    """Return dense mass over some terms as CSR float32 over the whole ontology, small shares dropped, rows rescaled.

    Parameters
    ----------
    columns
        Ontology index of each column, int32 (n_columns,), ascending.
    """
    kept = np.where(mass < DROP, 0.0, mass)
    total = kept.sum(axis=1, keepdims=True)
    kept = np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
    row, column = np.nonzero(kept)
    shape = (len(mass), n_terms)
    return csr_matrix((kept[row, column].astype(np.float32), (row, columns[column])), shape=shape, dtype=np.float32)


def dense_mass(votes: Votes, columns: NDArray[np.int32]) -> list[Doubles]:
    """Return each member's mass over some terms, float64 (n_cells, n_columns) each.

    Mass on other terms is left out and the rest rescaled.
    """
    if votes.mass is None:
        message = "these votes carry top terms only; reduce them on votes"
        raise ValueError(message)
    return [_rescaled(np.asarray(matrix[:, columns].toarray(), np.float64)) for matrix in votes.mass]


def _rescaled(mass: Doubles) -> Doubles:
    """Return rows that lost mass to terms that are no column rescaled to 1; the others, and empty ones, as they are."""
    total = mass.sum(axis=1, keepdims=True)
    lost = (total > 0) & (total < 1 - SUM_TOLERANCE)
    return np.divide(mass, total, out=mass, where=lost) if lost.any() else mass


def vote_columns(votes: Votes, columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return top votes as positions among ``columns``, int32 (n_cells, n_members); -1 = abstained, or another term."""
    place = np.searchsorted(columns, np.maximum(votes.terms, 0)).clip(max=max(len(columns) - 1, 0))
    known = (votes.terms >= 0) & (columns[place] == votes.terms) if len(columns) else np.zeros(votes.terms.shape, bool)
    return np.where(known, place, -1).astype(np.int32)


def mass_below(mass: csr_matrix, term: NDArray[np.int32], ontology: CellOntology) -> NDArray[np.float32]:
    """Return the mass at or below each cell's term, float32 (n_cells,) 0-1; 0 where the term is -1."""
    called = np.unique(term[term >= 0])
    if not len(called) or not mass.nnz:
        return np.zeros(len(term), np.float32)
    place = np.searchsorted(called, np.maximum(term, called[0])).clip(max=len(called) - 1)
    used, code = np.unique(mass.indices, return_inverse=True)
    below = ontology.ancestor_rows(used.astype(np.int32))[:, called]
    row = np.repeat(np.arange(len(term)), np.diff(mass.indptr))
    kept = mass.data * below[code.ravel(), place[row]]
    value = np.bincount(row, weights=kept, minlength=len(term))
    return np.where(term >= 0, np.minimum(value, 1), 0).astype(np.float32)


# Without a calibration ------------------------------------------------------------------------------------------------


def checked_weights(weights: NDArray[np.float64] | None, n_members: int) -> NDArray[np.float64]:
    """Return the members' weights, float64 (n_members,), all 1 if None.

    Raises
    ------
    ValueError
        If there is not one finite weight a member, one is below zero, or all are zero.
    """
    given = np.ones(n_members) if weights is None else np.asarray(weights, np.float64)
    valid = given.shape == (n_members,) and bool((np.isfinite(given) & (given >= 0)).all())
    if not valid or (n_members and not given.any()):
        message = f"weights: expected {n_members} numbers, none below zero and not all zero, got {given.tolist()}"
        raise ValueError(message)
    return given


def member_weights(votes: Votes, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return each member's weight on each cell, float64 (n_cells, n_members): 0 where it abstained, rows sum to 1 or 0."""
    given = checked_weights(weights, len(votes.members))
    cast = (votes.terms >= 0) * given
    total = cast.sum(axis=1, keepdims=True)
    return np.divide(cast, total, out=np.zeros_like(cast), where=total > 0)


def pool_mass(votes: Votes, weights: NDArray[np.float64] | None = None) -> csr_matrix:
    """Return the plain linear pool, CSR float32 (n_cells, n_ontology_terms), for votes without a calibration.

    Equal weights unless others are given; over the members that voted on the cell. Rows sum to 1, or to 0 where nobody
    voted.
    """
    if votes.mass is None:
        message = "these votes carry top terms only; reduce them on votes"
        raise ValueError(message)
    share = member_weights(votes, weights)
    pooled_mass = csr_matrix(votes.mass[0].shape, dtype=np.float64) if votes.mass else csr_matrix((votes.n_cells, 0))
    for j, matrix in enumerate(votes.mass):
        pooled_mass = pooled_mass + diags(share[:, j]) @ matrix
    return csr_matrix(pooled_mass, dtype=np.float32)
