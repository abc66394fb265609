"""The decision that held-out cells support: how votes are pooled, how far up a call walks, what counts as strange.

Learned anew for every query, since three of its parts depend on it: what members' votes are worth, how many genes and
counts the held-out cells are compared at, and the shift of its strangeness. All of it is a function of the held-out
votes and of sums over the query's cells, so it does not depend on how the query is cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.calibrate import Threshold, best_threshold, stratified_thresholds
from celljury.ontology.patterns import distinct_rows
from celljury.ontology.slims import load_slim
from celljury.pool import (
    MemberCalibration,
    agreement,
    as_terms,
    calibrate_member,
    dense_mass,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    macro_f1,
    pooled,
    right_votes,
    tempered,
    vote_columns,
)
from celljury.reject import Belonging, learn_belonging, summed
from celljury.reliability import Reliability, learn_reliability, worth_by_rule
from celljury.walk import climb, critical_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.config import CalibrationSettings
    from celljury.heldout import HeldOut
    from celljury.ontology.graph import CellOntology
    from celljury.votes import Votes

    Doubles = NDArray[np.float64]

# Names of what is compared between held-out donors and the query's batches, as people read them.
DEPTH, SURENESS, STRANGENESS = "median counts per cell (log10)", "mean top probability", "median strangeness"

# Differences too small to matter: a quarter more or less depth (within donors of one study 10-30 % are usual), two
# points of probability, a quarter of a cell's spread in strangeness for each of its kinds.
TOLERANCE = {DEPTH: 0.1, SURENESS: 0.02, STRANGENESS: 1.0}


@dataclass(frozen=True, slots=True)
class Pooled:
    """Pooled probabilities of some cells.

    Attributes
    ----------
    mass
        Over the decision's columns, float64 (n_cells, n_columns); rows sum to 1, or to 0 where nobody voted.
    top
        Likeliest column, int32 (n_cells,), -1 = nobody voted.
    """

    mass: Doubles
    top: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that turns one query's votes into calls.

    Attributes
    ----------
    members
        Names, in the order of the votes.
    columns
        Ontology indices of the terms that can be voted for, int32 (n_columns,), ascending.
    calibrations
        One a member.
    reliability
        What members' votes are worth on this query.
    worth
        Weight of a member's vote for a column, float64 (n_members, n_columns).
    temperature
        Of the pool.
    thresholds
        One for each stratum, the last for all cells outside the strata.
    stratum
        Index into ``thresholds`` of each column, int32 (n_columns,).
    belonging
        The test for unseen cells, before the query's shift; None where no member gives a signal.
    strangeness
        Distribution of single members' own scores on held-out cells, sorted float64, by member.
    settings
        What it was asked for.
    evidence
        Figures on held-out cells, for the card: see `evidence_of`.
    donor_statistics
        By name, float64 (n_donors,): what query batches are compared with.
    """

    members: tuple[str, ...]
    columns: NDArray[np.int32]
    calibrations: tuple[MemberCalibration, ...]
    reliability: Reliability
    worth: Doubles
    temperature: float
    thresholds: tuple[Threshold, ...]
    stratum: NDArray[np.int32]
    belonging: Belonging | None
    strangeness: dict[str, Doubles]
    settings: CalibrationSettings
    evidence: dict[str, Any]
    donor_statistics: dict[str, Doubles]

    def pool(self, votes: Votes) -> Pooled:
        """Return the pooled probabilities of a block of votes."""
        mass = [c.apply(m) for c, m in zip(self.calibrations, dense_mass(votes, self.columns), strict=True)]
        return self._pool(mass, vote_columns(votes, self.columns))

    def _pool(self, mass: list[Doubles], vote: NDArray[np.int32]) -> Pooled:
        found = _pooled_by(self.settings.pool, mass, vote, self.worth, self.reliability)
        return _warmed(found, self.temperature)

    def threshold(self, top: NDArray[np.int32]) -> Doubles:
        """Return the threshold of cells with these likeliest columns, float64 (n_cells,)."""
        return np.array([threshold.value for threshold in self.thresholds])[self.place(top)]

    def place(self, top: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return which of ``thresholds`` such cells have, int64 (n_cells,)."""
        return np.where(top >= 0, self.stratum[np.maximum(top, 0)], len(self.thresholds) - 1).astype(np.int64)

    @property
    def weakest(self) -> Threshold:
        """The threshold with the weakest tier: what can be said of the run as a whole."""
        order = ("none", "cell", "cluster-t", "exact-donor")
        return min(self.thresholds, key=lambda threshold: order.index(threshold.tier))


def learn_decision(
    held: HeldOut,
    ontology: CellOntology,
    settings: CalibrationSettings,
    *,
    terms: NDArray[np.int32],
    patterns: NDArray[np.int32] | None = None,
    n_cells: NDArray[np.int64] | None = None,
) -> Decision:
    """Learn the decision from held-out votes and, where there is a query, its distinct vote patterns.

    Parameters
    ----------
    held
        Votes on held-out cells, of the members that take part (absent ones silent).
    terms
        Ontology indices of the reference's terms, int32 (n_terms,).
    patterns, n_cells
        Distinct votes of the query as ontology indices, int32 (n_patterns, n_members), and cells with each; None =
        the held-out cells stand for a query.
    """
    columns = np.unique(np.concatenate([terms, held.votes.terms[held.votes.terms >= 0]])).astype(np.int32)
    if patterns is not None:
        columns = np.unique(np.concatenate([columns, patterns[patterns >= 0]])).astype(np.int32)
    reviewed_vote, reviewed_truth = None, None
    if held.reviewed is not None:
        vote_terms = held.reviewed.terms
        columns = np.unique(np.concatenate([columns, vote_terms[vote_terms >= 0], held.reviewed.truth])).astype(
            np.int32
        )
        reviewed_vote = _as_columns(vote_terms, columns)
        reviewed_truth = _as_columns(held.reviewed.truth, columns)
    # Members may vote for terms that the reference lacks; no reference cell has such a term.
    labels = [terms, held.truth, *([held.reviewed.truth] if held.reviewed is not None else [])]
    foreign = ~np.isin(columns, np.concatenate(labels))
    agrees = agreement(columns, foreign, ontology) if foreign.any() else None
    known = held.take(held.known)
    truth = np.searchsorted(columns, known.truth).astype(np.int32)
    raw = dense_mass(known.votes, columns)
    vote = vote_columns(known.votes, columns)
    method = "none" if settings.pool == "equal" else settings.member
    calibrations = tuple(
        calibrate_member(
            mass,
            truth,
            method=method,
            fold=known.fold_of(name),
            agrees=agrees,
            foreign=foreign if foreign.any() else None,
        )
        for name, mass in zip(known.votes.members, raw, strict=True)
    )
    mass = [c.apply(m) for c, m in zip(calibrations, raw, strict=True)]
    accuracy = np.array([c.accuracy for c in calibrations])
    n_terms = len(columns)

    def learned(rows: NDArray[np.bool_], others: NDArray[np.bool_]) -> Reliability:
        first, inverse = distinct_rows(vote[rows])
        return learn_reliability(
            vote[rows][first], np.bincount(inverse, minlength=len(first)), held_vote=vote[others],
            held_truth=truth[others], n_terms=n_terms, prior_votes=settings.prior_votes, reviewed_vote=reviewed_vote,
            reviewed_truth=reviewed_truth, agrees=agrees,
        )  # fmt: skip

    # Each fold is pooled as a query is: by weights from its own votes, with the other folds and the same reviewed items as
    # prior. Whatever curators said, thresholds are then those of the very rule that the query is pooled by.
    before = np.zeros((known.n_cells, n_terms))
    for fold in np.unique(known.fold):
        rows = known.fold == fold
        others = ~rows if (~rows).any() else rows
        own = learned(rows, others)
        worth = worth_by_rule(settings.pool, own, accuracy, n_terms=n_terms)
        before[rows] = _pooled_by(settings.pool, [m[rows] for m in mass], vote[rows], worth, own)
    voted = before.sum(axis=1) > 0
    temperature = fit_temperature(before[voted], truth[voted]) if settings.pool != "equal" else 1.0
    found = _warmed(before, temperature)
    as_csr = as_terms(found.mass, columns, n_terms=len(ontology))
    critical = critical_values(as_csr, known.truth, ontology, loss=settings.loss)
    compartment = compartments(columns, ontology) if settings.strata == "auto" else np.full(n_terms, -1, np.int32)
    thresholds, stratum = _thresholds(critical, known.donor_codes(), found.top, compartment, settings)
    if patterns is None:
        reliability = learned(np.ones(known.n_cells, bool), np.ones(known.n_cells, bool))
    else:
        assert n_cells is not None
        reliability = learn_reliability(
            _as_columns(patterns, columns), n_cells, held_vote=vote, held_truth=truth, n_terms=n_terms,
            prior_votes=settings.prior_votes, reviewed_vote=reviewed_vote, reviewed_truth=reviewed_truth, agrees=agrees,
        )  # fmt: skip
    belonging = _learn_belonging(known, found.top, compartment)
    decision = Decision(
        members=held.votes.members,
        columns=columns,
        calibrations=calibrations,
        reliability=reliability,
        worth=worth_by_rule(settings.pool, reliability, accuracy, n_terms=n_terms),
        temperature=temperature,
        thresholds=thresholds,
        stratum=stratum,
        belonging=belonging,
        strangeness={
            name: np.sort(scores[np.isfinite(scores)].astype(np.float64))
            for name, scores in zip(known.votes.members, known.votes.strange.T, strict=True)
        },
        settings=settings,
        evidence={},
        donor_statistics=donor_statistics(known, found, belonging),
    )
    said = vote if agrees is None else np.where(right_votes(vote, truth, agrees), truth[:, np.newaxis], vote)
    return replace(decision, evidence=evidence_of(known, found, as_csr, decision, truth, said, ontology))


def compartments(columns: NDArray[np.int32], ontology: CellOntology) -> NDArray[np.int32]:
    """Return the compartment of each term as a code, int32 (n_terms,), -1 = none: its class in CELLxGENE's class list."""
    places = load_slim(ontology, "cell_class").rollup[columns]
    used = np.unique(places[places >= 0])
    return np.where(places >= 0, np.searchsorted(used, places), -1).astype(np.int32)


def _thresholds(
    critical: Doubles,
    donor: NDArray[np.int32] | None,
    top: NDArray[np.int32],
    compartment: NDArray[np.int32],
    settings: CalibrationSettings,
) -> tuple[tuple[Threshold, ...], NDArray[np.int32]]:
    """Return thresholds and each column's place among them; one for all where no compartment has its own."""
    default = 1.0 - settings.alpha
    overall = best_threshold(critical, donor, alpha=settings.alpha, wanted=settings.tier, default=default)
    n_strata = int(compartment.max(initial=-1)) + 1
    nowhere = np.zeros(len(compartment), np.int32)
    if n_strata < 2 or overall.tier == "none":
        return (overall,), nowhere
    of_cell = np.where(top >= 0, compartment[np.maximum(top, 0)], -1)
    parts = stratified_thresholds(
        critical, donor, of_cell, alpha=settings.alpha, wanted=settings.tier, default=default, n_strata=n_strata
    )
    if not any(part.scope == "stratum" for part in parts):
        return (overall,), nowhere
    return (*parts, overall), np.where(compartment >= 0, compartment, n_strata).astype(np.int32)


def _learn_belonging(known: HeldOut, top: NDArray[np.int32], compartment: NDArray[np.int32]) -> Belonging | None:
    if not known.votes.signals or known.n_cells < 2:
        return None
    fold = {name: known.fold_of(name) for name in known.votes.members}
    made = learn_belonging(known.votes, top, fold, heavy=frozenset(known.heavy), stratum=compartment)
    return made if made.signals else None


def _pooled_by(
    rule: str, mass: list[Doubles], vote: NDArray[np.int32], worth: Doubles, reliability: Reliability
) -> Doubles:
    if rule == "dawid-skene":
        return reliability.posterior(vote)
    return pooled(mass, vote, worth)


def _warmed(mass: Doubles, temperature: float) -> Pooled:
    voted = mass.sum(axis=1) > 0
    found = np.where(voted[:, np.newaxis], tempered(mass, temperature) if temperature != 1 else mass, 0.0)
    # Of equals the more informative term, which has the smaller index, as everywhere.
    top = np.round(found, 5).argmax(axis=1) if found.shape[1] else np.zeros(len(found), np.intp)
    return Pooled(found, np.where(voted, top, -1).astype(np.int32))


def _as_columns(terms: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    place = np.searchsorted(columns, np.maximum(terms, 0)).clip(max=max(len(columns) - 1, 0))
    return np.where(terms >= 0, place, -1).astype(np.int32)


def donor_statistics(known: HeldOut, found: Pooled, belonging: Belonging | None) -> dict[str, Doubles]:
    """Return what tells whether a query batch is like the held-out donors, by name, float64 (n_donors,)."""
    statistics = {DEPTH: known.log_counts.astype(np.float64), SURENESS: found.mass.max(axis=1, initial=0)}
    if belonging is not None:
        statistics[STRANGENESS] = unshifted(belonging, known.votes, found.top)
    return {name: by_group(values, known.donor, name) for name, values in statistics.items()}


def unshifted(belonging: Belonging, votes: Votes, top: NDArray[np.int32]) -> Doubles:
    """Return strangeness without the query's shift taken out, float64 (n_cells,)."""
    return summed(belonging.units(votes, top), belonging.signals)


def by_group(values: Doubles, group: NDArray[np.int32], name: str) -> Doubles:
    """Return the mean (of `SURENESS`) or the median of each group's known values, float64 (n_groups,)."""
    middle = np.nanmean if name == SURENESS else np.nanmedian
    codes = np.unique(group)
    found = [values[group == code] for code in codes]
    return np.array([middle(own) if np.isfinite(own).any() else 0.0 for own in found], np.float64)


def evidence_of(
    known: HeldOut,
    found: Pooled,
    as_csr: Any,
    decision: Decision,
    truth: NDArray[np.int32],
    vote: NDArray[np.int32],
    ontology: CellOntology,
) -> dict[str, Any]:
    """Return figures on held-out cells as plain values: of the pool beside its members, and of its calls.

    ``members`` and ``pool``: accuracy, macro_f1, log_loss (and before calibration), ece, weight, recall by term;
    ``calls``: share wrong, share labelled, information kept, at the thresholds in force.
    """
    ids = [ontology.ids[i] for i in decision.columns.tolist()]

    def recall(called: NDArray[np.int32]) -> dict[str, float | None]:
        return {ids[t]: round(float((called[truth == t] == t).mean()), 4) for t in np.unique(truth).tolist()}

    members = []
    for j, (name, made) in enumerate(zip(known.votes.members, decision.calibrations, strict=True)):
        weight = decision.worth[j, np.maximum(vote[:, j], 0)][vote[:, j] >= 0]
        members.append(
            {
                "name": name,
                "method": made.method,
                "temperature": _plain(made.temperature),
                "n_cells": made.n_cells,
                "accuracy": _plain(made.accuracy),
                "macro_f1": _plain(made.macro_f1),
                "log_loss_before": _plain(made.log_loss_before),
                "log_loss": _plain(made.log_loss),
                "ece_before": _plain(made.ece_before),
                "ece": _plain(made.ece),
                "weight": _plain(float(weight.mean())) if len(weight) else None,
                "recall": recall(vote[:, j]) if made.n_cells else {},
            }
        )
    right = found.top == truth
    walked = climb(as_csr, ontology, threshold=decision.threshold(found.top))
    labelled = walked.end >= 0
    covered = ontology.is_ancestor(walked.end, known.truth)
    kept = np.where(covered, np.minimum(ontology.ic[np.maximum(walked.end, 0)], ontology.ic[known.truth]), 0.0)
    total = ontology.ic[known.truth].sum()
    voted = found.top >= 0
    return {
        "n_cells": known.n_cells,
        "members": members,
        "pool": {
            "rule": decision.settings.pool, "temperature": _plain(decision.temperature),
            "accuracy": _plain(_share(right)), "macro_f1": _plain(macro_f1(found.top, truth)),
            "log_loss": _plain(log_loss(found.mass[voted], truth[voted])),
            "ece": _plain(expected_calibration_error(found.mass.max(axis=1, initial=0), right)),
            "recall": recall(found.top),
        },
        "calls": {
            "wrong": _plain(_share(labelled & ~covered)), "labelled": _plain(_share(labelled)),
            "information_kept": _plain(float(kept.sum() / total)) if total > 0 else None,
        },
    }  # fmt: skip


def _share(cells: NDArray[np.bool_]) -> float:
    return float(cells.mean()) if len(cells) else float("nan")


def _plain(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
