"""Who is reliable on this query: learned from the query's own votes, with held-out cells of the reference as prior.

Which member is best changes with the query, and the reference cannot tell it. What can: how often each agrees with what
the others together make likely (Dawid & Skene 1979, doi:10.2307/2346806). Only the reliabilities are used, as weights of
a linear pool: the posteriors of the model take correlated members for independent ones and are far too sure.

Measured with four light members on twelve pairs of data sets (technologies, donors, laboratories), mean accuracy / AUROC
of the support for errors: best single member .902 / .827, majority .909 / .865, mean of probabilities .911 / .864, mean
of calibrated ones .913 / .854, held-out accuracy as weight .913 / .853, this with a prior of 20 votes .917 / .843 (200:
.919 / .837, 5: .916 / .847), posterior of the model .916 / .771.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celljury.pool import Rule, confusion_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

# A held-out confusion row counts as much as this many of the query's votes.
PRIOR_VOTES = 20.0
ROUNDS, TOLERANCE = 50, 1e-6
# Before any cell was counted, a member is as if half a cell of each term had been voted right and a tenth in all wrong.
RIGHT_BEFORE, WRONG_BEFORE = 0.5, 0.1
# Shares of the query's terms start from the reference's, which count as much as five of its cells: a query of few cells
# is read by them, and a term that nobody votes for stays possible.
SHARE_PRIOR = 5.0
# A vote is worth at least a little, and no vote is certain.
SURE = (0.02, 0.98)
LEAST_WORTH = 0.05


@dataclass(frozen=True, slots=True)
class Reliability:
    """What members' votes are worth on one query.

    Attributes
    ----------
    right
        Estimated probability that a member's vote for a term is right, float64 (n_members, n_terms).
    accuracy
        Estimated share of each member's votes that are right, float64 (n_members,).
    share
        Estimated share of each term among the query's cells, float64 (n_terms,).
    confusion
        p(vote | true term), float64 (n_members, n_terms true, n_terms voted).
    worth
        Weight of a member's vote for a term in the pool, float64 (n_members, n_terms).
    """

    right: Doubles
    accuracy: Doubles
    share: Doubles
    confusion: Doubles
    worth: Doubles

    def posterior(self, vote: NDArray[np.int32]) -> Doubles:
        """Return the model's p(true term | all votes), float64 (n, n_terms), for the rule ``dawid-skene``.

        Rows where nobody voted are 0.
        """
        found = _posterior(vote, np.log(self.share), np.log(self.confusion))
        return np.where((vote >= 0).any(axis=1, keepdims=True), found, 0.0)


def learn_reliability(
    vote: NDArray[np.int32],
    n_cells: NDArray[np.integer],
    *,
    held_vote: NDArray[np.int32],
    held_truth: NDArray[np.int32],
    n_terms: int,
    prior_votes: float = PRIOR_VOTES,
    reviewed_vote: NDArray[np.int32] | None = None,
    reviewed_truth: NDArray[np.int32] | None = None,
    agrees: NDArray[np.bool_] | None = None,
) -> Reliability:
    """Learn from the query's distinct vote patterns what each member's votes are worth.

    Parameters
    ----------
    vote
        Distinct patterns of votes as term columns, int32 (n_patterns, n_members), -1 = abstained.
    n_cells
        Cells with each pattern, (n_patterns,). Sums over patterns do not depend on how the query was cut into blocks.
    held_vote, held_truth
        Votes and true terms of held-out cells, int32 (n_held, n_members) and (n_held,).
    n_terms
        Number of terms.
    prior_votes
        How many of the query's votes the held-out confusion of a term is worth.
    reviewed_vote, reviewed_truth
        Votes and curators' terms of reviewed items, int32 (n_items, n_members) and (n_items,); None = none. An item counts
        as one of the query's votes whose true term is known. They say nothing of how common a term is: what is reviewed
        is what was in doubt.
    agrees
        Which votes (columns) are right of which true terms (rows), bool (n_terms, n_terms), see `celljury.pool.agreement`;
        None = the vote for the true term.
    """
    n_members = vote.shape[1]
    prior = np.empty((n_members, n_terms, n_terms))
    for j in range(n_members):
        counts = confusion_counts(held_vote[:, j], held_truth, n_terms=n_terms).T
        counts += RIGHT_BEFORE * np.eye(n_terms) + WRONG_BEFORE / max(n_terms, 1)
        prior[j] = prior_votes * counts / counts.sum(axis=1, keepdims=True)
        if reviewed_vote is not None and reviewed_truth is not None:
            prior[j] += confusion_counts(reviewed_vote[:, j], reviewed_truth, n_terms=n_terms).T
    share = np.bincount(held_truth, minlength=n_terms) + 1.0
    share /= share.sum()
    share_prior = SHARE_PRIOR * share
    confusion = prior / prior.sum(axis=2, keepdims=True)
    weight = n_cells.astype(np.float64)[:, np.newaxis]
    before = np.inf
    for _ in range(ROUNDS if len(vote) else 0):
        belief = weight * _posterior(vote, np.log(share), np.log(confusion))
        share = belief.sum(axis=0) + share_prior
        share /= share.sum()
        counts = prior.copy()
        for j in range(n_members):
            cast = vote[:, j] >= 0
            into = np.zeros((n_terms, n_terms))
            np.add.at(into, vote[cast, j], belief[cast])
            counts[j] += into.T
        confusion = counts / counts.sum(axis=2, keepdims=True)
        change = float(np.abs(share - before).max()) if np.ndim(before) else np.inf
        before = share
        if change < TOLERANCE:
            break
    joint = share[np.newaxis, :, np.newaxis] * confusion
    agreed = np.einsum("jll->jl", joint) if agrees is None else np.einsum("jlv,lv->jv", joint, agrees)
    right = agreed / np.maximum(joint.sum(axis=1), 1e-300)
    accuracy = np.asarray(agreed.sum(axis=1), np.float64)
    return Reliability(right, accuracy, np.asarray(share, np.float64), confusion, worth_of(right))


def worth_of(right: Doubles) -> Doubles:
    """Return log((n_terms - 1) p / (1 - p)) of the chance p that a vote is right: its weight in a vote among n_terms.

    The optimal weight of independent voters (Nitzan & Paroush 1982, doi:10.2307/2526438), at least `LEAST_WORTH`.
    """
    n_terms = right.shape[1]
    p = np.clip(right, *SURE)
    return np.maximum(np.log(p / (1 - p)) + np.log(max(n_terms - 1, 1)), LEAST_WORTH)


def worth_by_rule(rule: Rule, reliability: Reliability, held_accuracy: Doubles, *, n_terms: int) -> Doubles:
    """Return what a member's vote is worth under a pooling rule, float64 (n_members, n_terms).

    ``equal`` and ``calibrated`` weigh all alike, ``held-out`` by accuracy on held-out cells, ``reliability`` and
    ``dawid-skene`` (of which only the support is pooled) by what `learn_reliability` found.
    """
    n_members = len(held_accuracy)
    if rule in ("equal", "calibrated"):
        return np.ones((n_members, n_terms))
    if rule == "held-out":
        return worth_of(np.repeat(np.nan_to_num(held_accuracy, nan=0.5)[:, np.newaxis], n_terms, axis=1))
    return reliability.worth


def _posterior(vote: NDArray[np.int32], log_share: Doubles, log_confusion: Doubles) -> Doubles:
    """Return p(true term | votes) with members independent given the term, float64 (n, n_terms)."""
    total = np.broadcast_to(log_share, (len(vote), len(log_share))).copy()
    for j in range(vote.shape[1]):
        cast = vote[:, j] >= 0
        total[cast] += log_confusion[j].T[vote[cast, j]]
    total -= total.max(axis=1, keepdims=True)
    found = np.exp(total)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float64)
