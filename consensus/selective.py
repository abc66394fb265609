"""Metrics of a score: whether it ranks errors last, finds unseen cells, and means what it says.

Every metric takes amounts per distinct score, float64 (..., n_scores), scores ascending: cells with the same score are
never ordered by chance, a metric takes its mean over their orders. `Tally` makes the amounts from cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import digamma

from celljury.metrics import ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_BINS = 15
# Beyond this many distinct scores they are rounded to DIGITS: a rank is off by less than a ten-thousandth of the scale,
# and a thousand resamples of a million cells take seconds.
MAX_SCORES = 10_000
DIGITS = 4
# A support of exactly 0 or 1 that is wrong would cost infinitely much; support is kept to six digits.
CLIP = 1e-6


@dataclass(frozen=True, slots=True)
class Tally:
    """Cells by distinct score and outcome; a row of it is a (score, yes / no) pair.

    Attributes
    ----------
    score
        Distinct scores, ascending, float64 (n_scores,).
    row
        Row of each cell, int64 (n_cells,): twice the place of its score, plus 1 where the outcome is yes.
    """

    score: Floats
    row: NDArray[np.int64]

    @classmethod
    def of(cls, score: Floats, outcome: NDArray[np.bool_]) -> Self:
        """Tally finite scores (n_cells,), 0-1, and outcomes (n_cells,)."""
        values = np.asarray(score, np.float64)
        distinct, code = np.unique(values, return_inverse=True)
        if len(distinct) > MAX_SCORES:
            distinct, code = np.unique(np.round(values, DIGITS), return_inverse=True)
        return cls(distinct, code.ravel().astype(np.int64) * 2 + outcome)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return 2 * len(self.score)

    def split(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """Return the amounts of (yes, no) per distinct score, float64 (..., n_scores) each.

        Parameters
        ----------
        weights
            How often each row counts, float64 (..., n_rows); the cells themselves if None.
        """
        w = np.bincount(self.row, minlength=self.n_rows).astype(np.float64) if weights is None else weights
        return w[..., 1::2], w[..., 0::2]


def auroc(positive: Floats, negative: Floats) -> Floats:
    """Return the area under the ROC curve: P(score of a positive > of a negative) + P(equal) / 2 (Hanley 1982)."""
    below = np.cumsum(negative, axis=-1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=-1)
    return ratio(wins, positive.sum(axis=-1) * negative.sum(axis=-1))


def roc(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return (false, true) positive rates as the threshold falls from above all scores, float64 (..., n_scores + 1)."""

    def rates(amount: Floats) -> Floats:
        found = np.cumsum(np.pad(amount[..., ::-1], [(0, 0)] * (amount.ndim - 1) + [(1, 0)]), axis=-1)
        return ratio(found, np.broadcast_to(found[..., -1:], found.shape))

    return rates(negative), rates(positive)


def fpr_at_tpr(positive: Floats, negative: Floats, *, tpr: float = 0.95) -> Floats:
    """Return the smallest false positive rate of a threshold that finds at least ``tpr`` of the positives."""
    false, true = roc(positive, negative)
    enough = np.where(true >= tpr - 1e-12, false, np.inf).min(axis=-1)
    return np.where(np.isfinite(enough), enough, np.nan)


def risk_coverage(right: Floats, wrong: Floats, *, total: Floats | None = None) -> tuple[Floats, Floats]:
    """Return (coverage, risk) as the threshold falls through the distinct scores, float64 (..., n_scores).

    Coverage: amount with at least that score over ``total`` (all of it if None); risk: share of it that is wrong
    (Geifman & El-Yaniv 2017, arXiv:1705.08500).
    """
    covered = np.cumsum((right + wrong)[..., ::-1], axis=-1)
    lost = np.cumsum(wrong[..., ::-1], axis=-1)
    whole = covered[..., -1:] if total is None else np.asarray(total)[..., None]
    return ratio(covered, np.broadcast_to(whole, covered.shape)), ratio(lost, covered)


def aurc(right: Floats, wrong: Floats) -> Floats:
    """Return the area under the risk-coverage curve, (1 / n) sum_k (errors among the k highest scores) / k.

    Geifman & El-Yaniv 2017 (arXiv:1705.08500). Within equal scores errors are spread evenly, which is the mean over
    their orders: sum_{k=a+1}^{b} (E + s (k - a)) / k = (E - s a) (H(b) - H(a)) + s (b - a), H the harmonic numbers.
    """
    m = (right + wrong)[..., ::-1]
    e = wrong[..., ::-1]
    b = np.cumsum(m, axis=-1)
    a, before = b - m, np.cumsum(e, axis=-1) - e
    slope = np.divide(e, m, out=np.zeros_like(m), where=m > 0)
    parts = (before - slope * a) * (digamma(b + 1) - digamma(a + 1)) + slope * m
    return ratio(parts.sum(axis=-1), m.sum(axis=-1))


def best_aurc(right: Floats, wrong: Floats) -> Floats:
    """Return the area that the same errors would have if all of them had the lowest scores."""
    r, w = right.sum(axis=-1), wrong.sum(axis=-1)
    n = r + w
    return ratio(w - r * (digamma(n + 1) - digamma(r + 1)), n)


def information_aurc(right: Floats, wrong: Floats) -> Floats:
    """Return the area under the risk-coverage curve with information as coverage, divided by the coverage at its end.

    Amounts are bits given (`Judged.given`) instead of cells: a general call covers little, and its error costs little
    (hierarchical selective classification, Goren 2024, arXiv:2405.11533). The amounts are no whole numbers, so the sum
    over cells becomes an integral: int_a^b (E + s (c - a)) / c dc = (E - s a) ln(b / a) + s (b - a).
    """
    m = (right + wrong)[..., ::-1]
    e = wrong[..., ::-1]
    b = np.cumsum(m, axis=-1)
    a = b - m
    before = np.cumsum(e, axis=-1) - e
    slope = np.divide(e, m, out=np.zeros_like(m), where=m > 0)
    # Before the first amount nothing is lost yet, and its logarithm has no part.
    grows = np.log(np.divide(b, a, out=np.ones_like(b), where=a > 1e-12))
    return ratio(((before - slope * a) * grows + slope * m).sum(axis=-1), m.sum(axis=-1))


def review_yield(right: Floats, wrong: Floats, *, share: float) -> Floats:
    """Return the share of all errors among the ``share`` of cells with the lowest scores."""
    m = right + wrong
    b = np.cumsum(m, axis=-1)
    taken = np.clip(share * b[..., -1:] - (b - m), 0, m)
    found = (np.divide(taken, m, out=np.zeros_like(m), where=m > 0) * wrong).sum(axis=-1)
    return ratio(found, wrong.sum(axis=-1))


def equal_mass_bins(amount: Floats, *, n_bins: int = N_BINS) -> NDArray[np.int64]:
    """Return the bin of each distinct score, int64 (n_scores,), 0 .. n_bins - 1, about equally many cells in each.

    A score goes where the middle of its cells falls, so equal scores share a bin and bins may be empty.
    """
    end = np.cumsum(amount)
    middle = (end - amount / 2) / max(float(end[-1]) if len(end) else 0.0, 1.0)
    return np.minimum((middle * n_bins).astype(np.int64), n_bins - 1)


def calibration_error(score: Floats, right: Floats, wrong: Floats, bins: NDArray[np.int64]) -> Floats:
    """Return the expected calibration error, sum_b n_b / n |mean score - share right| over bins b.

    Naeini 2015 (AAAI 29), with bins of equal mass (Nixon 2019, arXiv:1904.01685). The bins stay those of the cells
    when cells are drawn anew.
    """
    member = csr_matrix((np.ones(len(bins)), (np.arange(len(bins)), bins)))
    amount = right + wrong
    gap = np.abs((amount * score) @ member - right @ member)
    return ratio(gap.sum(axis=-1), amount.sum(axis=-1))


def log_loss(score: Floats, right: Floats, wrong: Floats) -> Floats:
    """Return -mean(ln score where right, ln(1 - score) where wrong), scores clipped to 1e-6 .. 1 - 1e-6."""
    p = np.clip(score, CLIP, 1 - CLIP)
    return ratio(-(right @ np.log(p) + wrong @ np.log(1 - p)), (right + wrong).sum(axis=-1))
