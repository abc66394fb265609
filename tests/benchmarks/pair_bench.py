"""Real pairs whose query types the reference knows: members, rules on the same votes, pooling rules, calls and tiers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_runs import over_cells
from queue_bench import queue_rows

from celljury.baselines import baseline_calls
from celljury.evaluate import COMPARED, cells_of
from celljury.evaluation_calls import Cells, calls_part, depth_table
from celljury.evaluation_scores import calibration_part, selective_part, unseen_part
from celljury.intervals import Estimate, estimate
from celljury.promise import promise
from celljury.selective import Tally, auroc
from celljury.unseen import Belongs, belonging

if TYPE_CHECKING:
    from bench_runs import Case
    from numpy.typing import NDArray

    from celljury.decide import Decision
    from celljury.heldout import HeldOut

    Doubles = NDArray[np.float64]
    Ints = NDArray[np.int32]

PRIORS = (20.0, 200.0)
DEFAULT = "pool: reliability, prior 20"
# Every pooling rule by its name in the tables.
RULES: dict[str, dict[str, Any]] = {
    "pool: equal": {"pool": "equal"},
    "pool: calibrated": {"pool": "calibrated"},
    "pool: held-out": {"pool": "held-out"},
    **{
        f"pool: {rule}, prior {prior:.0f}": {"pool": rule, "prior_votes": prior}
        for rule in ("reliability", "dawid-skene")
        for prior in PRIORS
    },
}
TIERS = ("exact-donor", "cluster-t", "cell", "none")
CALLS = (
    "covered_error", "covered_error_lenient", "unconditional_error", "information_kept", "coverage", "hierarchical_f",
)  # fmt: skip


def pair_report(case: Case) -> dict[str, Any]:
    """Return everything that is reported of one pair.

    ``rows``: metrics of `celljury.evaluate.COMPARED` by rule, at the reference's level (`at_level`); ``ranking``: AUROC of
    the top term's probability for its own errors by pooling rule; ``calls``, ``selective``, ``calibration``, ``unseen``: of
    the run's calls; ``tiers``: by wanted tier; ``queue``: what orders of the review queue win; ``match``: with and without
    query-matched calibration, where it matters.
    """
    held = case.held
    level = at_level(case)
    rows = {
        name.replace("member:", "member: "): call for name, call in baseline_calls(case.votes, case.ontology).items()
    }
    ranking = {}
    for name, changes in RULES.items():
        decision = case.decide(held, **changes)
        found = decision.pool(case.votes)
        rows[name] = np.where(found.top >= 0, decision.columns[np.maximum(found.top, 0)], np.int32(-1))
        ranking[name] = level.ranks(rows[name], found.mass.max(axis=1, initial=0))
    cells = cells_of(case.run, case.ontology, case.truth, over_cells(len(case.truth)))
    default = case.decide(held)
    if not case.agrees(case.judged(default, cells.resampling)):
        message = f"{case.folder}: calls that were computed again differ from those of its run"
        raise AssertionError(message)
    rows["calls of the run"] = cells.call
    selective, _ = selective_part(cells)
    calibration, _ = calibration_part(cells)
    unseen, _ = unseen_part(cells, case.terms)
    return {
        "facts": case.facts,
        "cost": case.cost,
        "rows": {name: calls_part(level.cells, call=level.call(call), names=COMPARED) for name, call in rows.items()},
        "ranking": ranking,
        "calls": calls_part(cells, names=CALLS),
        "selective": selective,
        "calibration": calibration,
        "unseen": unseen,
        "tier": case.run.record["tier"],
        "promise": case.run.record["promise"],
        "matching": case.run.record["calibration"]["matching"],
        "reliability": case.run.record["calibration"]["reliability"],
        "tiers": {tier: tier_row(case, case.decide(held, tier=tier), held) for tier in TIERS},
        "left_out": {row["label"]: row for row in case.jury.about["calibration"]["left_out"]},
        "queue": queue_rows(case),
        "match": match_rows(case) if case.run.record["calibration"]["matching"]["matched"] else None,
    }


class Level:
    """Query cells at the level of the reference's types, without cells that it could not have named.

    A true term is rolled up to the most informative reference term at or above it; a truth above reference terms stays,
    and a call at or below it counts as that truth.
    """

    def __init__(self, case: Case) -> None:
        ontology = case.ontology
        kind = belonging(case.truth, case.terms, ontology).kind
        self.kept = kind != Belongs.UNSEEN
        truth = case.truth[self.kept]
        above = ontology.ancestor_rows(truth)[:, case.terms]
        # Terms ascend with falling information: the smallest index is the most informative.
        order = np.argsort(case.terms)
        first = case.terms[order][above[:, order].argmax(axis=1)]
        self.open = kind[self.kept] == Belongs.OPEN
        self.truth = np.where(self.open, truth, first).astype(np.int32)
        self.ontology = ontology
        none = np.full(len(truth), np.nan)
        no = np.zeros(len(truth), bool)
        empty = np.full(len(truth), np.int32(-1))
        self.cells = Cells(
            ontology=ontology, truth=self.truth, term=empty, call=empty, said_unseen=no, support=none, agreement=none,
            p_seen=none, needs_review=no, resampling=over_cells(len(truth)),
        )  # fmt: skip

    def call(self, call: Ints) -> Ints:
        """Return calls on the kept cells, those within an open truth as that truth."""
        own = call[self.kept]
        within = self.open & self.ontology.is_ancestor(self.truth, own)
        return np.where(within, self.truth, own).astype(np.int32)

    def ranks(self, call: Ints, score: Doubles) -> Estimate:
        """Return the AUROC of a score for right against wrong calls."""
        return auroc_of(score[self.kept], self.call(call) == self.truth)


def at_level(case: Case) -> Level:
    """Return a case's cells at its reference's level."""
    return Level(case)


def auroc_of(score: Doubles, outcome: NDArray[np.bool_]) -> Estimate:
    """Return the AUROC of a score for an outcome with an interval over cells; cells without a score are left out."""
    known = np.isfinite(score)
    score, outcome = score[known], outcome[known]
    tally = Tally.of(score, outcome)
    found = estimate(
        lambda weights: {"auroc": auroc(*tally.split(weights))}, tally.row, tally.n_rows, over_cells(len(score)),
        n=len(score),
    )  # fmt: skip
    return found["auroc"]


def tier_row(case: Case, decision: Decision, held: HeldOut) -> dict[str, Any]:
    """Return what a run says where this tier is asked for, and how its calls fare."""
    cells = case.judged(decision, over_cells(len(case.truth)))
    worst = decision.weakest
    found = calls_part(cells, names=("covered_error", "unconditional_error", "information_kept", "coverage"))
    return {
        "attained": worst.tier,
        "threshold": worst.value,
        "why": worst.why,
        "says": promise(worst, unit=held.unit, eps=decision.settings.eps),
        **found,
    }


def match_rows(case: Case) -> dict[str, dict[str, Any]]:
    """Return what query-matched calibration gives: the same pair with held-out cells as they are, and matched."""
    rows = {}
    for name, held in (("off", case.plain), ("auto", case.held)):
        decision = case.decide(held)
        cells = case.judged(decision, over_cells(len(case.truth)))
        level = at_level(case)
        found = decision.pool(case.votes)
        top = np.where(found.top >= 0, decision.columns[np.maximum(found.top, 0)], np.int32(-1))
        unseen, _ = unseen_part(cells, case.terms)
        rows[name] = {
            "threshold": decision.weakest.value,
            "temperature": decision.temperature,
            "accuracy": calls_part(level.cells, call=level.call(top), names=("accuracy",))["accuracy"],
            **calls_part(cells, names=("covered_error", "unconditional_error", "information_kept", "coverage")),
            "calibration_error": calibration_part(cells)[0].get("calibration_error"),
            "auroc": selective_part(cells)[0]["auroc"],
            "top_auroc": level.ranks(top, found.mass.max(axis=1, initial=0)),
            "false_unseen": unseen["false_unseen"],
        }
    return rows


def joined(cases: list[Case]) -> Cells:
    """Return the calls of several runs as one, for figures; their juries share one ontology."""
    parts = [cells_of(case.run, case.ontology, case.truth, over_cells(len(case.truth))) for case in cases]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("truth", "term", "call", "said_unseen", "support", "agreement", "p_seen", "needs_review")
    }
    return replace(parts[0], **columns, resampling=over_cells(len(columns["truth"])))


def figure_tables(cells: Cells) -> dict[str, Any]:
    """Return the tables behind the figures of `celljury.report.evaluation_figures`."""
    return {
        "risk_coverage": selective_part(cells)[1],
        "reliability": calibration_part(cells)[1],
        "by_depth": depth_table(cells),
    }
